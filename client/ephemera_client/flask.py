"""Tokens for Flask: a guard around an application or blueprint, or at a view (extra `flask`)."""

import functools
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec

import flask
from flask.sansio.scaffold import Scaffold

from ephemera_client import admission, bearer, wsgi
from ephemera_client.any_issuer import AnyVerifier, check_kind
from ephemera_client.errors import InsufficientScope
from ephemera_client.scope import scope_set
from ephemera_client.token import AccessToken

P = ParamSpec("P")


class RequireToken:
    """Lets in requests with an acceptable token.

    The token is verified and claimed once per request, before any view runs, and then kept with
    it, see `access_token`; a further guard of the same verifier, such as on a blueprint, only
    demands its scopes. An `InsufficientScope` that a view raises becomes the 403.

    Args:
        app: the application, all of it with its static files and its 404; or a blueprint.
        verifier: a `Verifier`, or an `AnyIssuer` of such.
        scopes: what every request must have; views may demand more.

    Raises:
        ConfigurationError: the verifier is one that is awaited, or a scope is none.
    """

    def __init__(self, app: Scaffold, verifier: AnyVerifier, *, scopes: Iterable[str] = ()) -> None:
        check_kind(verifier, awaited=False)
        self._verifier = verifier
        self._scopes = scope_set(scopes)
        app.before_request(self._admit)
        app.register_error_handler(InsufficientScope, self._refuse)

    def _admit(self) -> flask.Response | None:
        return _admit(self._verifier, self._scopes)

    def _refuse(self, error: InsufficientScope) -> flask.Response:
        return _refuse(error, self._verifier)


def token_required(
    verifier: AnyVerifier, *, scopes: Iterable[str] = ()
) -> Callable[[Callable[P, Any]], Callable[P, Any]]:
    """Return a decorator, to stand below `route`, for a view that needs a token.

    Where a guard has accepted it for this request already, it only demands the scopes.

    Raises:
        ConfigurationError: the verifier is one that is awaited, or a scope is none.
    """
    check_kind(verifier, awaited=False)
    needed = scope_set(scopes)

    def decorate(view: Callable[P, Any]) -> Callable[P, Any]:
        @functools.wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> Any:
            refusal = _admit(verifier, needed)
            if refusal is not None:
                return refusal
            try:
                return flask.current_app.ensure_sync(view)(*args, **kwargs)
            except InsufficientScope as error:
                return _refuse(error, verifier)

        return guarded

    return decorate


def access_token() -> AccessToken:
    """Return the token that was accepted for the request at hand.

    Raises:
        ConfigurationError: nothing demanded a token of it.
    """
    return admission.access_token(flask.request.environ)


def _admit(verifier: AnyVerifier, scopes: frozenset[str]) -> flask.Response | None:
    environ = flask.request.environ
    try:
        admission.admit(environ, wsgi.authorization(environ), verifier, scopes, wsgi.seen)
    except bearer.REFUSALS as error:
        return _refuse(error, verifier)
    return None


def _refuse(error: bearer.Refused, verifier: AnyVerifier) -> flask.Response:
    refusal = admission.refuse(error, verifier)
    return flask.Response(refusal.body, refusal.status, list(refusal.headers))
