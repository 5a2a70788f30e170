"""Tokens at the door of a WSGI application, whatever the framework."""

from collections.abc import Generator, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote

from ephemera_client import admission, bearer
from ephemera_client.admission import access_token
from ephemera_client.any_issuer import AnyVerifier, check_kind
from ephemera_client.errors import InsufficientScope
from ephemera_client.scope import scope_set

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["RequireToken", "access_token", "authorization", "seen"]


class RequireToken:
    """Middleware that lets in requests with an acceptable token.

    The token is verified and claimed once per request and then kept in its environ, see
    `access_token`; a further `RequireToken` of the same verifier within only demands its scopes.
    An `InsufficientScope` that comes out of the application before it has answered becomes the
    403. Flask and Django turn what a view raises into a 500 before that: they have modules of
    their own.

    Raises:
        ConfigurationError: the verifier is one that is awaited, or a scope is none.
    """

    def __init__(
        self, app: "WSGIApplication", verifier: AnyVerifier, *, scopes: Iterable[str] = ()
    ) -> None:
        check_kind(verifier, awaited=False)
        self._app = app
        self._verifier = verifier
        self._scopes = scope_set(scopes)

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Admit or refuse a request."""
        try:
            admission.admit(environ, authorization(environ), self._verifier, self._scopes, seen)
        except bearer.REFUSALS as error:
            return self._refuse(error, start_response)
        try:
            answer = self._app(environ, start_response)
        except InsufficientScope as error:
            return self._refuse(error, start_response, late=True)
        # An application that is a generator has not run yet.
        return self._watched(answer, start_response) if isinstance(answer, Generator) else answer

    def _watched(
        self, answer: Iterable[bytes], start_response: "StartResponse"
    ) -> Generator[bytes, None, None]:
        try:
            yield from answer
        except InsufficientScope as error:
            yield from self._refuse(error, start_response, late=True)

    def _refuse(
        self,
        error: bearer.Refused,
        start_response: "StartResponse",
        *,
        late: bool = False,
    ) -> Iterable[bytes]:
        refusal = admission.refuse(error, self._verifier)
        status = f"{refusal.status} {HTTPStatus(refusal.status).phrase}"
        headers = list(refusal.headers)
        if late and error.__traceback__ is not None:
            # Told what was raised, the server raises it anew if the answer has begun (PEP 3333).
            start_response(status, headers, (type(error), error, error.__traceback__))
        else:
            start_response(status, headers)
        return [refusal.body]


def authorization(environ: "WSGIEnvironment") -> list[str]:
    """Return the Authorization headers of a request; servers join several with commas."""
    value = environ.get("HTTP_AUTHORIZATION")
    return [] if value is None else [value]


def seen(environ: admission.Place) -> admission.Seen:
    """Tell what a proof is compared with.

    WSGI servers undo the escapes of a path, so one with an escaped slash in it matches no proof.
    Several DPoP headers come joined by commas, and are then no proof.
    """
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    value = environ.get("HTTP_DPOP")
    return admission.Seen(
        environ["REQUEST_METHOD"],
        quote(path, safe=admission.PATH_SAFE, encoding="latin-1"),
        [] if value is None else [value],
    )
