"""A request and the token that it brought: claimed once, whoever asks for it how often."""

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple

from ephemera_client import bearer
from ephemera_client.any_issuer import AnyAsyncVerifier, AnyVerifier
from ephemera_client.errors import ConfigurationError
from ephemera_client.token import AccessToken

Place = MutableMapping[str, Any]
"""What a framework keeps of one request: its ASGI scope, its WSGI environ."""

_ACCEPTED = "ephemera.accepted"


class Accepted(NamedTuple):
    """A token, and the verifier that accepted it for this request."""

    verifier: AnyVerifier | AnyAsyncVerifier
    token: AccessToken


def admit(
    place: Place,
    authorization: Sequence[bytes | str],
    verifier: AnyVerifier,
    scopes: frozenset[str],
) -> None:
    """Accept the token of a request that has these Authorization headers, and keep it there.

    If this verifier accepted it for the request before, only the scopes are demanded.

    Raises:
        TokenRefused: or another of `bearer.REFUSALS`, which `bearer.refuse` makes the answer of.
    """
    if not _admitted(place, verifier, scopes):
        token = verifier.verify(bearer.extract(authorization), scopes=scopes)
        place[_ACCEPTED] = Accepted(verifier, token)


async def admit_async(
    place: Place,
    authorization: Sequence[bytes | str],
    verifier: AnyAsyncVerifier,
    scopes: frozenset[str],
) -> None:
    """Do as `admit`."""
    if not _admitted(place, verifier, scopes):
        token = await verifier.verify(bearer.extract(authorization), scopes=scopes)
        place[_ACCEPTED] = Accepted(verifier, token)


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
