"""Tokens for a calling service: `TokenClient` for threads, `AsyncTokenClient` for tasks."""

import re
from collections.abc import Collection, Generator, Iterable, Mapping
from types import TracebackType
from typing import NamedTuple, Self

from ephemera_client import discovery, instant, token_request
from ephemera_client.credential import Credential
from ephemera_client.errors import ConfigurationError, IssuerUnavailable, ResponseInvalid
from ephemera_client.http import AsyncHttp, CaFile, Http, HttpFailed, Response
from ephemera_client.token_request import Asker, IssuedToken
from ephemera_client.transport import (
    AsyncInner,
    AsyncTokenTransport,
    Inner,
    Target,
    TokenTransport,
)
from ephemera_client.url import check_url

# An issuer that moves its token endpoint is followed within this many seconds.
_METADATA_SECONDS = 3600.0

# RFC 6749 appendix A.1.
_CLIENT_ID = re.compile(r"[\x20-\x7e]+")


class Step(NamedTuple):
    """One exchange to make; without a body it is a GET."""

    url: str
    headers: Mapping[str, str]
    body: bytes | None

    def __repr__(self) -> str:
        # The rest is the credential.
        return f"Step({self.url!r}, ...)"


class TokenSource:
    """What both clients do but for the sending: the exchanges that come to a token, in order."""

    def __init__(
        self,
        issuer: str,
        *,
        client_id: str,
        credential: Credential,
        unencrypted_hosts: Collection[str],
        clock: instant.Clock,
    ) -> None:
        if not isinstance(client_id, str) or not _CLIENT_ID.fullmatch(client_id):
            raise ConfigurationError("client_id must be a str of printable ASCII characters")
        if not hasattr(credential, "prove"):
            raise ConfigurationError("credential must be a credential, such as ClientSecret(...)")
        check_url(issuer, unencrypted_hosts=unencrypted_hosts, what="issuer")
        self._asker = Asker(issuer, client_id, credential.method)
        self._metadata_url = discovery.metadata_url(issuer)
        self._credential = credential
        self._clock = clock
        self._learned: tuple[str, instant.Instant] | None = None

    def steps(
        self, audience: str, scopes: Iterable[str] | None, lifetime: int | None
    ) -> Generator[Step, Response, IssuedToken]:
        """Yield the exchanges to make, be sent the answer to each, and return the token."""
        wanted = token_request.want(audience, scopes, lifetime)
        endpoint = self._known_endpoint()
        if endpoint is None:
            answer = yield Step(self._metadata_url, {"accept": "application/json"}, None)
            endpoint = self._learn(answer)
        proof = self._credential.prove(self._asker.client_id, issuer=self._asker.issuer)
        headers = {
            "accept": "application/json",
            "content-type": "application/x-www-form-urlencoded",
            **proof.headers,
        }
        # Read before sending, so that the token ends here no later than at its audience.
        sent_at = self._clock().wall
        answer = yield Step(endpoint, headers, token_request.form(wanted, proof.form))
        try:
            (token,) = token_request.issued(answer, wanted, asker=self._asker, now=sent_at)
        except ResponseInvalid:
            self._learned = None
            raise
        return token

    def unavailable(self, failure: HttpFailed) -> IssuerUnavailable:
        """Return the error for an exchange that had no answer."""
        return IssuerUnavailable(f"no token: {failure}", cause_code=failure.code)

    def _known_endpoint(self) -> str | None:
        if self._learned is None:
            return None
        endpoint, learned_at = self._learned
        return endpoint if self._clock().since(learned_at) < _METADATA_SECONDS else None

    def _learn(self, answer: Response) -> str:
        now = self._clock()
        token_request.require_available(answer, asker=self._asker, now=now.wall)
        if answer.status != token_request.OK:
            raise ResponseInvalid(f"{self._metadata_url} answered with status {answer.status}")
        try:
            endpoint = discovery.parse(answer.body, issuer=self._asker.issuer).token_endpoint
        except discovery.MetadataInvalid as error:
            raise ResponseInvalid(f"{self._metadata_url}: {error}") from error
        self._learned = endpoint, now
        return endpoint


class TokenClient:
    """Tokens of one issuer for one client, for any number of threads.

    The issuer's endpoints are discovered at the first request, and again each hour; `timeout`, in
    seconds, is for each exchange. A process may fork with it.
    """

    def __init__(  # noqa: PLR0913 - a client's settings, each by its name
        self,
        issuer: str,
        *,
        client_id: str,
        credential: Credential,
        unencrypted_hosts: Collection[str] = (),
        ca_file: CaFile = None,
        timeout: float = 10.0,
        clock: instant.Clock = instant.read,
    ) -> None:
        self._source = TokenSource(
            issuer,
            client_id=client_id,
            credential=credential,
            unencrypted_hosts=unencrypted_hosts,
            clock=clock,
        )
        self._unencrypted_hosts = unencrypted_hosts
        self._ca_file = ca_file
        self._http = Http(ca_file=ca_file, timeout=timeout, max_bytes=token_request.MAX_BYTES)

    def get(
        self,
        audience: str,
        *,
        scopes: Iterable[str] | None = None,
        lifetime: int | None = None,
    ) -> IssuedToken:
        """Request a token for one call to `audience`.

        Args:
            audience: the API's identifier, exactly as its verifier has it.
            scopes: what the call needs; None asks for all that policy grants.
            lifetime: seconds; None leaves it to the issuer, which may also grant less.

        Raises:
            ConfigurationError: an argument is wrong.
            TokenRequestRefused: the issuer says no; a `ClientRefused` if to the credential.
            IssuerUnavailable: there is no answer, or one that says to come back later.
            ResponseInvalid: the answer breaks the protocol.
        """
        steps = self._source.steps(audience, scopes, lifetime)
        try:
            step = next(steps)
            while True:
                step = steps.send(self._http.exchange(*step))
        except StopIteration as done:
            token: IssuedToken = done.value
            return token
        except HttpFailed as failure:
            raise self._source.unavailable(failure) from failure

    def transport(
        self, targets: Mapping[str, Target], *, inner: Inner | None = None
    ) -> TokenTransport:
        """Return an httpx transport that puts a fresh token on each request to these origins.

        Without `inner` it connects by itself and trusts this client's `ca_file`.

        Raises:
            ConfigurationError: a target is no origin that a token may be sent to.
        """
        return TokenTransport(
            self,
            targets,
            inner=inner,
            ca_file=self._ca_file,
            unencrypted_hosts=self._unencrypted_hosts,
        )

    def close(self) -> None:
        """Close the connections to the issuer."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncTokenClient:
    """Does for tasks of asyncio and trio what `TokenClient` does for threads."""

    def __init__(  # noqa: PLR0913 - a client's settings, each by its name
        self,
        issuer: str,
        *,
        client_id: str,
        credential: Credential,
        unencrypted_hosts: Collection[str] = (),
        ca_file: CaFile = None,
        timeout: float = 10.0,
        clock: instant.Clock = instant.read,
    ) -> None:
        self._source = TokenSource(
            issuer,
            client_id=client_id,
            credential=credential,
            unencrypted_hosts=unencrypted_hosts,
            clock=clock,
        )
        self._unencrypted_hosts = unencrypted_hosts
        self._ca_file = ca_file
        self._http = AsyncHttp(ca_file=ca_file, timeout=timeout, max_bytes=token_request.MAX_BYTES)

    async def get(
        self,
        audience: str,
        *,
        scopes: Iterable[str] | None = None,
        lifetime: int | None = None,
    ) -> IssuedToken:
        """Request a token for one call to `audience`; see `TokenClient.get`."""
        steps = self._source.steps(audience, scopes, lifetime)
        try:
            step = next(steps)
            while True:
                step = steps.send(await self._http.exchange(*step))
        except StopIteration as done:
            token: IssuedToken = done.value
            return token
        except HttpFailed as failure:
            raise self._source.unavailable(failure) from failure

    def transport(
        self, targets: Mapping[str, Target], *, inner: AsyncInner | None = None
    ) -> AsyncTokenTransport:
        """Return the transport for `httpx.AsyncClient`; see `TokenClient.transport`."""
        return AsyncTokenTransport(
            self,
            targets,
            inner=inner,
            ca_file=self._ca_file,
            unencrypted_hosts=self._unencrypted_hosts,
        )

    async def aclose(self) -> None:
        """Close the connections to the issuer."""
        await self._http.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
