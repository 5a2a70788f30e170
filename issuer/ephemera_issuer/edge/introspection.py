"""`POST /oauth2/introspect`: is a token good, for APIs that cannot verify it (RFC 7662)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse

from ephemera_issuer.edge.errors import NO_STORE
from ephemera_issuer.edge.presented import fresh
from ephemera_issuer.issued import recognise

if TYPE_CHECKING:
    from starlette.responses import Response

    from ephemera_client.instant import Clock
    from ephemera_issuer.edge import Current
    from ephemera_issuer.edge.presented import Answer
    from ephemera_issuer.issued import IssuedToken
    from ephemera_issuer.registry.entries import Client
    from ephemera_issuer.snapshot import Snapshot


def introspection(snapshots: Current, *, issuer: str, clock: Clock) -> Answer:
    """Describe tokens to the clients that their audience names; nothing is consumed.

    All else is one and the same answer, so that nobody learns about the tokens of others.
    """

    async def answer(client: Client, raw: str) -> Response:
        now = clock()
        # Not the snapshot that the client was found in: to spend its assertion took time.
        snapshot = fresh(snapshots, now)
        token = recognise(raw, issuer=issuer, ring=snapshot.ring)
        if token is None or not _is_active(token, client, snapshot, now.wall):
            return JSONResponse({"active": False}, headers=NO_STORE)
        return JSONResponse(
            {
                "active": True,
                "iss": token.issuer,
                "sub": token.client_id,
                "client_id": token.client_id,
                "aud": token.audience,
                "scope": token.scope,
                "iat": token.issued_at,
                "exp": token.expires_at,
                "jti": token.jti,
                **_binding(token.thumbprint),
            },
            headers=NO_STORE,
        )

    return answer


def _binding(thumbprint: str | None) -> dict[str, object]:
    # RFC 9449 section 6.2: what the API must compare with the proof that came along.
    if thumbprint is None:
        return {"token_type": "Bearer"}
    return {"token_type": "DPoP", "cnf": {"jkt": thumbprint}}


def _is_active(token: IssuedToken, client: Client, snapshot: Snapshot, now: float) -> bool:
    audience = snapshot.audiences.get(token.audience)
    return (
        audience is not None
        and client.id in audience.introspected_by
        and now < token.expires_at
        and not snapshot.revocations.revokes(token)
    )
