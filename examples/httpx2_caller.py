"""Call an API with httpx2: each attempt, and each hop of a redirect, carries a token of its own.

    EPHEMERA_CLIENT_ISSUER=http://127.0.0.1:8700 EPHEMERA_CLIENT_ID=orders \
        EPHEMERA_CLIENT_SECRET_FILE=orders.secret \
        python examples/httpx2_caller.py http://127.0.0.1:8080 /invoices

AUDIENCE is the name of the API, as its tokens have it. For httpx there is `tokens.transport(...)`;
httpx2 has classes of its own, so this is that transport for one origin.
"""

import asyncio
import os
import sys

import httpx2

from ephemera_client import AsyncTokenClient, ClientSecret, IssuedToken, Target


class TokenTransport(httpx2.AsyncBaseTransport):
    """Sends each request to `origin` with a fresh token, and none elsewhere."""

    def __init__(self, tokens: AsyncTokenClient, origin: str, target: Target) -> None:
        self._tokens, self._origin, self._target = tokens, httpx2.URL(origin), target
        self._inner = httpx2.AsyncHTTPTransport(trust_env=False)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send it, and once more if the token was refused for its age."""
        for part in ("scheme", "host", "port"):
            if getattr(request.url, part) != getattr(self._origin, part):
                raise httpx2.UnsupportedProtocol(f"only {self._origin} is called from here")
        token = await self._token()
        response = await self._attempt(token, request)
        told = response.headers.get("www-authenticate", "")
        refused = response.status_code == httpx2.codes.UNAUTHORIZED and "invalid_token" in told
        in_memory = isinstance(request.stream, httpx2.ByteStream)
        if refused and in_memory and "token_replayed" not in told:
            await response.aclose()
            response = await self._attempt(await self._token(instead_of=token), request)
        return response

    async def _token(self, instead_of: IssuedToken | None = None) -> IssuedToken:
        target = self._target
        return await self._tokens.get(target.audience, scopes=target.scopes, instead_of=instead_of)

    async def _attempt(self, token: IssuedToken, request: httpx2.Request) -> httpx2.Response:
        # A copy: on the caller's own request the token would outlive the call.
        headers = request.headers.copy()
        headers["Authorization"] = f"Bearer {token}"
        sent = httpx2.Request(
            request.method,
            request.url,
            headers=headers,
            stream=request.stream,
            extensions=request.extensions,
        )
        return await self._inner.handle_async_request(sent)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


async def main(origin: str, paths: list[str]) -> None:
    billing = Target(os.environ.get("AUDIENCE", "https://billing.internal"), {"invoices:read"})
    async with AsyncTokenClient(
        os.environ.get("EPHEMERA_CLIENT_ISSUER", "http://127.0.0.1:8700"),
        client_id=os.environ["EPHEMERA_CLIENT_ID"],
        credential=ClientSecret.from_file(os.environ["EPHEMERA_CLIENT_SECRET_FILE"]),
    ) as tokens:
        transport = TokenTransport(tokens, origin, billing)
        async with httpx2.AsyncClient(transport=transport, follow_redirects=True) as api:
            for path in paths:
                response = await api.get(f"{origin}{path}")
                print(response.status_code, response.text)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
