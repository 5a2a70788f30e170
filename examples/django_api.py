"""An API under Django: a middleware before the project, and a view that needs one scope more.

    EPHEMERA_CLIENT_ISSUER=http://127.0.0.1:8700 PORT=8080 python examples/django_api.py

AUDIENCE is what callers ask for a token for. Without a PORT, any free one is taken. A project of
several files has the verifier and `guard` in one of its own, which MIDDLEWARE names.
"""

import os
from collections.abc import Callable
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

from ephemera_client import SingleProcessReplayCache, Verifier
from ephemera_client.django import RequireToken, access_token, token_required

verifier = Verifier(
    issuer=os.environ.get("EPHEMERA_CLIENT_ISSUER", "http://127.0.0.1:8700"),
    audience=os.environ.get("AUDIENCE", "https://billing.internal"),
    algorithm="ES256",
    replay_cache=SingleProcessReplayCache(),
)


def guard(get_response: Callable[[HttpRequest], HttpResponse]) -> RequireToken:
    return RequireToken(get_response, verifier, scopes={"invoices:read"})


def invoices(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"invoices": [], "for": access_token(request).client_id})


@token_required(verifier, scopes={"invoices:write"})
def add_invoice(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"added_by": access_token(request).client_id}, status=201)


urlpatterns = [path("invoices", invoices), path("invoices/new", add_invoice)]

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"], ROOT_URLCONF=__name__, MIDDLEWARE=[f"{__name__}.guard"]
)
app = get_wsgi_application()


class Server(ThreadingMixIn, WSGIServer):
    """Handles each request in a thread."""

    daemon_threads = True


if __name__ == "__main__":
    port = int(os.environ.get("PORT", "0"))
    with make_server("127.0.0.1", port, app, server_class=Server) as server:
        print(f"serving (listening on http://127.0.0.1:{server.server_port})", flush=True)
        server.serve_forever()
