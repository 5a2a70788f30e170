"""Who is asking: the client behind a token request (RFC 6749 §2.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ephemera_issuer.authentication import secret
from ephemera_issuer.errors import RequestRefused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ephemera_issuer.form import TokenRequest
    from ephemera_issuer.registry.entries import Client


def identify(
    clients: Mapping[str, Client], *, authorization: Sequence[bytes], request: TokenRequest
) -> Client:
    """Find the client that a request proves to come from.

    Whatever is wrong with a credential, the refusal reads the same and costs the same: nobody
    learns which clients exist. What is said apart can be seen in the request alone, or is said to
    a client that has proved its secret.

    Args:
        clients: The registered clients by id.
        authorization: The value of each Authorization header of the request.
        request: The form that came with it.

    Raises:
        RequestRefused: `invalid_client`; `invalid_request` for two credentials or two client ids
            at once; `unauthorized_client` for a disabled client.
    """
    if len(authorization) + request.credential_in_form > 1:
        raise RequestRefused("invalid_request", "send one client credential, in one way")
    if not authorization:
        raise unauthenticated()
    try:
        credential = secret.parse(authorization[0])
    except ValueError:
        raise unauthenticated() from None
    if request.client_id is not None and request.client_id != credential.client_id:
        raise RequestRefused("invalid_request", "client_id is not the client that authenticates")
    client = clients.get(credential.client_id)
    if not secret.proves(credential, client) or client is None:
        raise unauthenticated()
    if client.disabled:
        raise RequestRefused("unauthorized_client", "this client is disabled")
    return client


def unauthenticated() -> RequestRefused:
    """Make the one refusal of every caller that has not proved who it is."""
    return RequestRefused("invalid_client", "client authentication failed")
