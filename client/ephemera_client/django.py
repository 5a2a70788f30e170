"""Tokens for Django: a middleware for the whole project, a decorator for a view (extra `django`).

Under WSGI and ASGI alike; under ASGI, Django runs the middleware in a thread.
"""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse

from ephemera_client import admission, asgi, bearer, wsgi
from ephemera_client.any_issuer import AnyVerifier, check_kind
from ephemera_client.errors import InsufficientScope
from ephemera_client.scope import scope_set
from ephemera_client.token import AccessToken

P = ParamSpec("P")


class RequireToken:
    """Lets in requests with an acceptable token.

    The token is verified and claimed once per request, before any URL is resolved, and then kept
    with it, see `access_token`. An `InsufficientScope` that a view raises becomes the 403.
    Django makes it by a function that `MIDDLEWARE` names::

        def guard(get_response):
            return RequireToken(get_response, verifier)

    Args:
        app: `get_response`, the rest of the project.
        verifier: a `Verifier`, or an `AnyIssuer` of such.
        scopes: what every request must have; views may demand more.

    Raises:
        ConfigurationError: the verifier is one that is awaited, or a scope is none.
    """

    def __init__(
        self,
        app: Callable[[HttpRequest], HttpResponse],
        verifier: AnyVerifier,
        *,
        scopes: Iterable[str] = (),
    ) -> None:
        check_kind(verifier, awaited=False)
        self._app = app
        self._verifier = verifier
        self._scopes = scope_set(scopes)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Admit or refuse a request."""
        refusal = _admit(request, self._verifier, self._scopes)
        return self._app(request) if refusal is None else refusal

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer for a view that raised: Django's own hook."""
        del request
        if isinstance(exception, InsufficientScope):
            return _refuse(exception, self._verifier)
        return None


def token_required(
    verifier: AnyVerifier, *, scopes: Iterable[str] = ()
) -> Callable[[Callable[P, Any]], Callable[P, Any]]:
    """Return a decorator for a view, sync or async, that needs a token.

    Where the middleware has accepted it for this request already, it only demands the scopes.
    Of a class, it is `dispatch` that is decorated, by Django's `method_decorator`.

    Raises:
        ConfigurationError: the verifier is one that is awaited, or a scope is none.
    """
    check_kind(verifier, awaited=False)
    needed = scope_set(scopes)

    def decorate(view: Callable[P, Any]) -> Callable[P, Any]:
        @functools.wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> Any:
            refusal = _admit(_request(args), verifier, needed)
            if refusal is not None:
                return refusal
            try:
                return view(*args, **kwargs)
            except InsufficientScope as error:
                return _refuse(error, verifier)

        @functools.wraps(view)
        async def guarded_async(*args: P.args, **kwargs: P.kwargs) -> Any:
            # Verifying may wait for keys or the replay cache; other requests need not.
            admit = sync_to_async(_admit, thread_sensitive=False)
            refusal = await admit(_request(args), verifier, needed)
            if refusal is not None:
                return refusal
            try:
                return await view(*args, **kwargs)
            except InsufficientScope as error:
                return _refuse(error, verifier)

        return guarded_async if inspect.iscoroutinefunction(view) else guarded

    return decorate


def access_token(request: HttpRequest) -> AccessToken:
    """Return the token that was accepted for this request.

    Raises:
        ConfigurationError: nothing demanded a token of it.
    """
    return admission.access_token(_place(request))


def _request(args: tuple[Any, ...]) -> HttpRequest:
    request: HttpRequest = args[0]
    return request


def _place(request: HttpRequest) -> admission.Place:
    place: admission.Place = request.scope if hasattr(request, "scope") else request.environ
    return place


def _admit(
    request: HttpRequest, verifier: AnyVerifier, scopes: frozenset[str]
) -> HttpResponse | None:
    value = request.META.get("HTTP_AUTHORIZATION")
    try:
        look = asgi.seen if hasattr(request, "scope") else wsgi.seen
        admission.admit(_place(request), [] if value is None else [value], verifier, scopes, look)
    except bearer.REFUSALS as error:
        return _refuse(error, verifier)
    return None


def _refuse(error: bearer.Refused, verifier: AnyVerifier) -> HttpResponse:
    refusal = admission.refuse(error, verifier)
    response = HttpResponse(refusal.body, status=refusal.status)
    for name, value in refusal.headers:
        response[name] = value
    return response
