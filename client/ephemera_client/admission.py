"""A request and the token that it brought: claimed once, whoever asks for it how often."""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple

from ephemera_client import bearer
from ephemera_client.any_issuer import AnyAsyncVerifier, AnyVerifier
from ephemera_client.dpop.demand import Presented
from ephemera_client.errors import ConfigurationError, ProofRefused
from ephemera_client.token import AccessToken

Place = MutableMapping[str, Any]
"""What a framework keeps of one request: its ASGI scope, its WSGI environ."""

PATH_SAFE = "/:@!$&'()*+,;=~"
"""What stands in a path without escape (RFC 3986 section 3.3), where only its text is known."""

_ACCEPTED = "ephemera.accepted"


class Seen(NamedTuple):
    """What a proof is compared with: the method and the path of a request, and its DPoP headers."""

    method: str
    path: str
    proofs: Sequence[bytes | str]


Look = Callable[[Place], Seen]
"""How a framework tells it; asked for where a token is shown by the scheme DPoP alone."""


class Accepted(NamedTuple):
    """A token, and the verifier that accepted it for this request."""

    verifier: AnyVerifier | AnyAsyncVerifier
    token: AccessToken


def admit(
    place: Place,
    authorization: Sequence[bytes | str],
    verifier: AnyVerifier,
    scopes: frozenset[str],
    look: Look | None = None,
) -> None:
    """Accept the token of a request that has these Authorization headers, and keep it there.

    If this verifier accepted it for the request before, only the scopes are demanded. Without
    `look` a token by the scheme DPoP is none.

    Raises:
        TokenRefused: or another of `bearer.REFUSALS`, which `bearer.refuse` makes the answer of.
    """
    if not _admitted(place, verifier, scopes):
        raw, presented = _shown(place, authorization, verifier, look)
        token = verifier.verify(raw, scopes=scopes, presented=presented)
        place[_ACCEPTED] = Accepted(verifier, token)


async def admit_async(
    place: Place,
    authorization: Sequence[bytes | str],
    verifier: AnyAsyncVerifier,
    scopes: frozenset[str],
    look: Look | None = None,
) -> None:
    """Do as `admit`."""
    if not _admitted(place, verifier, scopes):
        raw, presented = _shown(place, authorization, verifier, look)
        token = await verifier.verify(raw, scopes=scopes, presented=presented)
        place[_ACCEPTED] = Accepted(verifier, token)


def refuse(error: bearer.Refused, verifier: AnyVerifier | AnyAsyncVerifier) -> bearer.Refusal:
    """Return the response that this error comes to, with the challenges that the verifier makes."""
    return bearer.refuse(error, realm=verifier.audience, dpop=verifier.dpop)


def _shown(
    place: Place,
    authorization: Sequence[bytes | str],
    verifier: AnyVerifier | AnyAsyncVerifier,
    look: Look | None,
) -> tuple[str, Presented | None]:
    dpop = verifier.dpop
    if dpop is None or look is None:
        return bearer.extract(authorization), None
    try:
        scheme, raw = bearer.extract_either(authorization)
        if scheme == "bearer":
            return raw, None
        seen = look(place)
        # What follows the origin must not be able to continue its host.
        path = seen.path if seen.path.startswith("/") else f"/{seen.path}"
        return raw, Presented(seen.method, dpop.origin + path, bearer.proof(seen.proofs))
    except ProofRefused as error:
        verifier.report(error)
        raise


def _admitted(place: Place, verifier: object, scopes: frozenset[str]) -> bool:
    accepted = place.get(_ACCEPTED)
    if not isinstance(accepted, Accepted) or accepted.verifier is not verifier:
        return False
    accepted.token.require(*scopes)
    return True


def access_token(request: Mapping[str, Any]) -> AccessToken:
    """Return the token that was accepted for this request.

    Args:
        request: its ASGI scope, its Starlette or FastAPI `Request` or `WebSocket`, or its WSGI
            environ.

    Raises:
        ConfigurationError: nothing demanded a token of this request.
    """
    accepted = request.get(_ACCEPTED)
    if not isinstance(accepted, Accepted):
        raise ConfigurationError("no RequireToken is around this part of the application")
    return accepted.token
