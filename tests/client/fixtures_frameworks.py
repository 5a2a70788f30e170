"""One billing API, written for each framework as its teams would, and real HTTP clients of it.

`GET /invoices` takes `invoices:read`, `POST /invoices` also `invoices:write`, and so does
`/inside`, where it is asked for in the handler. Each answers who is calling.
"""

import json
from collections.abc import Callable, Iterable
from functools import partial
from types import SimpleNamespace
from typing import Annotated, Any
from wsgiref.types import StartResponse, WSGIEnvironment

import anyio.to_thread
import django
import fastapi
import flask
import httpx
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.http import require_GET
from fastapi import Security
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import ephemera_client.django
import ephemera_client.flask
from ephemera_client import AccessToken, asgi, wsgi
from ephemera_client.fastapi import TokenRequired

READ, WRITE = {"invoices:read"}, {"invoices:write"}

Api = Callable[[Any], Any]


def with_starlette(verifier: Any) -> Starlette:
    async def who(request: Request) -> JSONResponse:
        return JSONResponse({"for": asgi.access_token(request).client_id})

    async def inside(request: Request) -> JSONResponse:
        asgi.access_token(request).require(*WRITE)
        return await who(request)

    def needs(scopes: set[str]) -> list[Middleware]:
        return [Middleware(asgi.RequireToken, verifier=verifier, scopes=scopes)]

    return Starlette(
        routes=[
            Route("/invoices", who, methods=["GET"]),
            Route("/invoices", who, methods=["POST"], middleware=needs(WRITE)),
            Route("/inside", inside),
        ],
        middleware=needs(READ),
    )


def with_fastapi(verifier: Any) -> fastapi.FastAPI:
    billing = TokenRequired(verifier)
    reader = Security(billing, scopes=[*READ])
    writer = Security(billing, scopes=[*WRITE])
    app = fastapi.FastAPI(dependencies=[reader])

    @app.get("/invoices")
    async def invoices(token: Annotated[AccessToken, reader]) -> dict[str, str]:
        return {"for": token.client_id}

    @app.post("/invoices")
    async def write(token: Annotated[AccessToken, writer]) -> dict[str, str]:
        return {"for": token.client_id}

    @app.get("/inside")
    async def inside(token: Annotated[AccessToken, reader]) -> dict[str, str]:
        token.require(*WRITE)
        return {"for": token.client_id}

    return app


def with_wsgi(verifier: Any) -> wsgi.RequireToken:
    def who(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        token = wsgi.access_token(environ)
        if environ["PATH_INFO"] == "/inside":
            token.require(*WRITE)
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps({"for": token.client_id}).encode()]

    writing = wsgi.RequireToken(who, verifier, scopes=WRITE)

    def routed(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        posted = environ["REQUEST_METHOD"] == "POST"
        return (writing if posted else who)(environ, start_response)

    return wsgi.RequireToken(routed, verifier, scopes=READ)


def with_flask(verifier: Any) -> flask.Flask:
    app = flask.Flask("billing")
    ephemera_client.flask.RequireToken(app, verifier, scopes=READ)

    @app.get("/invoices")
    def invoices() -> dict[str, str]:
        return {"for": ephemera_client.flask.access_token().client_id}

    @app.post("/invoices")
    @ephemera_client.flask.token_required(verifier, scopes=WRITE)
    def write() -> dict[str, str]:
        return invoices()

    @app.get("/inside")
    def inside() -> dict[str, str]:
        ephemera_client.flask.access_token().require(*WRITE)
        return invoices()

    return app


def with_flask_views(verifier: Any) -> flask.Flask:
    app = flask.Flask("billing")

    @app.get("/invoices")
    @ephemera_client.flask.token_required(verifier, scopes=READ)
    def invoices() -> dict[str, str]:
        return {"for": ephemera_client.flask.access_token().client_id}

    @app.post("/invoices")
    @ephemera_client.flask.token_required(verifier, scopes=READ | WRITE)
    async def write() -> dict[str, str]:
        return {"for": ephemera_client.flask.access_token().client_id}

    @app.get("/inside")
    @ephemera_client.flask.token_required(verifier, scopes=READ)
    def inside() -> dict[str, str]:
        ephemera_client.flask.access_token().require(*WRITE)
        return {"for": ephemera_client.flask.access_token().client_id}

    return app


_django: dict[str, Any] = {}


def django_guard(get_response: Any) -> Any:
    """What `MIDDLEWARE` names: the guard of the project that is being made."""
    guard, urls = _django["guard"](get_response), _django["urls"]

    def routed(request: HttpRequest) -> Any:
        request.urlconf = urls
        return guard(request)

    if hasattr(guard, "process_exception"):
        routed.process_exception = guard.process_exception  # type: ignore[attr-defined] # Django's protocol
    return routed


def django_project(urls: list[Any], *, guard: Api, handler: Any = WSGIHandler) -> Any:
    """Make a project: several of them in one process, which Django itself does not foresee."""
    if not settings.configured:
        settings.configure(
            ALLOWED_HOSTS=["*"],
            DEBUG_PROPAGATE_EXCEPTIONS=False,
            ROOT_URLCONF="client.fixtures_frameworks",
            MIDDLEWARE=["client.fixtures_frameworks.django_guard"],
        )
        django.setup()
    _django.update(guard=guard, urls=SimpleHashable(urlpatterns=urls))
    return handler()


class SimpleHashable(SimpleNamespace):
    """An URLconf that Django's cache of resolvers can keep."""

    __hash__ = object.__hash__  # type: ignore[assignment]


urlpatterns: list[Any] = []


def with_django(verifier: Any, handler: Any = WSGIHandler) -> Any:
    from_ = ephemera_client.django

    def who(request: HttpRequest) -> JsonResponse:
        return JsonResponse({"for": from_.access_token(request).client_id})

    def invoices(request: HttpRequest) -> Any:
        return (write if request.method == "POST" else who)(request)

    write = from_.token_required(verifier, scopes=WRITE)(who)

    def inside(request: HttpRequest) -> Any:
        from_.access_token(request).require(*WRITE)
        return who(request)

    return django_project(
        [path("invoices", invoices), path("inside", inside)],
        guard=lambda get_response: from_.RequireToken(get_response, verifier, scopes=READ),
        handler=handler,
    )


def with_django_views(verifier: Any, handler: Any = WSGIHandler) -> Any:
    from_ = ephemera_client.django

    def who(request: HttpRequest) -> JsonResponse:
        return JsonResponse({"for": from_.access_token(request).client_id})

    @from_.token_required(verifier, scopes=READ | WRITE)
    def write(request: HttpRequest) -> JsonResponse:
        return who(request)

    read = from_.token_required(verifier, scopes=READ)(require_GET(who))

    def invoices(request: HttpRequest) -> Any:
        return (write if request.method == "POST" else read)(request)

    @from_.token_required(verifier, scopes=READ)
    async def inside(request: HttpRequest) -> JsonResponse:
        from_.access_token(request).require(*WRITE)
        return who(request)

    return django_project(
        [path("invoices", invoices), path("inside", inside)],
        guard=lambda get_response: get_response,
        handler=handler,
    )


SYNC: dict[str, Api] = {
    "wsgi": with_wsgi,
    "flask": with_flask,
    "flask views": with_flask_views,
    "django": with_django,
    "django views": with_django_views,
}
ASYNC: dict[str, Api] = {"starlette": with_starlette, "fastapi": with_fastapi}
SYNC_UNDER_ASGI: dict[str, Api] = {
    "django under asgi": lambda verifier: with_django(verifier, ASGIHandler),
    "django views under asgi": lambda verifier: with_django_views(verifier, ASGIHandler),
}


async def call(
    app: Any,
    *authorization: str,
    method: str = "GET",
    at: str = "/invoices",
    proofs: Iterable[str] = (),
) -> Any:
    """Send one request to an ASGI application, or in a thread to a WSGI one."""
    headers = [("Authorization", value) for value in authorization]
    headers += [("DPoP", value) for value in proofs]
    url = f"http://billing{at}"
    if any(isinstance(app, kind) for kind in (Starlette, ASGIHandler)):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
            return await client.request(method, url, headers=headers)
    # What WSGI servers do with repeated headers; of this transport, the last would win.
    joined = {
        name: ", ".join(value for each, value in headers if each == name) for name, _ in headers
    }
    # The exception that start_response is told of is not for us, the answer is.
    transport = httpx.WSGITransport(app, raise_app_exceptions=False)
    with httpx.Client(transport=transport) as client:
        send = partial(client.request, method, url, headers=joined)
        return await anyio.to_thread.run_sync(send)
