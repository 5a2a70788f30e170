import io
from collections.abc import Iterable, Iterator
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import flask
import pytest
from client.fixtures_frameworks import WRITE
from client.fixtures_requesting import Issuer

import ephemera_client.flask
from ephemera_client import (
    ConfigurationError,
    InsufficientScope,
    SingleProcessReplayCache,
    StaticKeys,
    Verifier,
)
from ephemera_client.wsgi import RequireToken, access_token

AUDIENCE = "https://billing.internal"
JSON = [("Content-Type", "application/json")]


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def verifier(issuer: Issuer) -> Verifier:
    return Verifier(
        issuer=issuer.origin,
        audience=AUDIENCE,
        algorithm="ES256",
        replay_cache=SingleProcessReplayCache(),
        keys=StaticKeys(issuer.jwks),
    )


class Served:
    """A server of one request that does as PEP 3333 says, and checks that the application does."""

    def __init__(self, app: Any, token: str) -> None:
        self.status = ""
        self.sent: list[bytes] = []
        self.errors = io.StringIO()
        environ: WSGIEnvironment = {"HTTP_AUTHORIZATION": f"Bearer {token}", "QUERY_STRING": ""}
        setup_testing_defaults(environ)
        environ["wsgi.errors"] = self.errors
        answer = validator(app)(environ, self.start_response)
        try:
            self.sent.extend(answer)
        finally:
            getattr(answer, "close", lambda: None)()

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None, /
    ) -> Any:
        if exc_info and self.sent:
            raise exc_info[1]
        assert exc_info or not self.status
        self.status = status
        self.headers = headers
        return self.sent.append


def lazily(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    access_token(environ).require(*WRITE)
    start_response("200 OK", JSON)
    yield b"{}"


def after_start(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", JSON)
    access_token(environ).require(*WRITE)
    return [b"{}"]


def after_the_first_bytes(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterator[bytes]:
    start_response("200 OK", JSON)
    yield b"{"
    access_token(environ).require(*WRITE)


@pytest.mark.parametrize("app", [lazily, after_start])
def test_a_scope_demanded_before_the_answer_is_sent_becomes_the_403(
    app: Any, verifier: Verifier, issuer: Issuer
) -> None:
    served = Served(RequireToken(app, verifier), issuer.mint(AUDIENCE))
    assert served.status == "403 Forbidden"
    assert b"".join(served.sent).startswith(b'{"error":"insufficient_scope"')
    assert Served(RequireToken(app, verifier), issuer.mint(AUDIENCE, "invoices:write")).sent == [
        b"{}"
    ]


def test_a_scope_demanded_after_the_answer_began_is_not_hidden(
    verifier: Verifier, issuer: Issuer
) -> None:
    with pytest.raises(InsufficientScope):
        Served(RequireToken(after_the_first_bytes, verifier), issuer.mint(AUDIENCE))


def test_what_an_application_answers_passes_through_as_it_is(
    verifier: Verifier, issuer: Issuer
) -> None:
    answer = [b"{}"]

    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", JSON)
        return answer

    environ = {"HTTP_AUTHORIZATION": f"Bearer {issuer.mint(AUDIENCE)}"}
    assert RequireToken(app, verifier)(environ, lambda *_: lambda _: None) is answer


def test_without_the_middleware_there_is_no_token_to_ask_for() -> None:
    with pytest.raises(ConfigurationError, match="no RequireToken"):
        access_token({"HTTP_AUTHORIZATION": "Bearer x", "ephemera.accepted": "x"})


@pytest.mark.parametrize("scopes", ["invoices:read", ["a b"]])
def test_scopes_that_are_none_are_a_configuration_error(scopes: Any, verifier: Verifier) -> None:
    for guard in (
        lambda: RequireToken(after_start, verifier, scopes=scopes),
        lambda: ephemera_client.flask.RequireToken(flask.Flask("x"), verifier, scopes=scopes),
        lambda: ephemera_client.flask.token_required(verifier, scopes=scopes),
    ):
        with pytest.raises(ConfigurationError):
            guard()


def flask_with_a_blueprint(verifier: Verifier) -> flask.Flask:
    app = flask.Flask("billing")
    guarded = flask.Blueprint("invoices", "invoices")
    ephemera_client.flask.RequireToken(guarded, verifier, scopes={"invoices:read"})

    @guarded.get("/invoices")
    def invoices() -> str:
        ephemera_client.flask.access_token().require(*WRITE)
        return ephemera_client.flask.access_token().client_id

    @app.get("/healthz")
    def health() -> str:
        return "well"

    app.register_blueprint(guarded)
    return app


def test_a_guarded_blueprint_leaves_the_rest_of_a_flask_application_open(
    verifier: Verifier, issuer: Issuer
) -> None:
    client = flask_with_a_blueprint(verifier).test_client()
    assert client.get("/healthz").status_code == 200
    assert client.get("/invoices").status_code == 401
    reading = {"Authorization": f"Bearer {issuer.mint(AUDIENCE, 'invoices:read')}"}
    assert client.get("/invoices", headers=reading).json == {
        "error": "insufficient_scope",
        "reason": "insufficient_scope",
        "scope": "invoices:write",
    }
    scope = "invoices:read invoices:write"
    writing = {"Authorization": f"Bearer {issuer.mint(AUDIENCE, scope)}"}
    assert client.get("/invoices", headers=writing).text == "orders"


def test_a_guard_around_a_flask_application_and_one_in_it_claim_once(
    verifier: Verifier, issuer: Issuer
) -> None:
    app = flask_with_a_blueprint(verifier)
    app.wsgi_app = RequireToken(app.wsgi_app, verifier)  # type: ignore[method-assign] # Flask's own way
    client = app.test_client()
    scope = "invoices:read invoices:write"
    headers = {"Authorization": f"Bearer {issuer.mint(AUDIENCE, scope)}"}
    assert client.get("/invoices", headers=headers).text == "orders"
    assert client.get("/invoices", headers=headers).status_code == 401
    assert client.get("/healthz").status_code == 401


def test_a_guarded_flask_application_says_nothing_of_its_routes_without_a_token(
    verifier: Verifier,
) -> None:
    app = flask.Flask("billing")
    ephemera_client.flask.RequireToken(app, verifier)
    assert app.test_client().get("/no/such/route").status_code == 401


def test_what_a_flask_view_returns_without_a_guard_has_no_token(verifier: Verifier) -> None:
    del verifier
    with flask.Flask("billing").test_request_context(), pytest.raises(ConfigurationError):
        ephemera_client.flask.access_token()
