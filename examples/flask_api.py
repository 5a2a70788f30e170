"""An API under Flask: one guard around the application, and a view that needs one scope more.

    EPHEMERA_CLIENT_ISSUER=http://127.0.0.1:8700 PORT=8080 python examples/flask_api.py

AUDIENCE is what callers ask for a token for. Without a PORT, any free one is taken.
"""

import os

from flask import Flask
from flask.typing import ResponseReturnValue
from werkzeug.serving import make_server

from ephemera_client import SingleProcessReplayCache, Verifier
from ephemera_client.flask import RequireToken, access_token, token_required

verifier = Verifier(
    issuer=os.environ.get("EPHEMERA_CLIENT_ISSUER", "http://127.0.0.1:8700"),
    audience=os.environ.get("AUDIENCE", "https://billing.internal"),
    algorithm="ES256",
    replay_cache=SingleProcessReplayCache(),
)
app = Flask(__name__)
RequireToken(app, verifier, scopes={"invoices:read"})


@app.get("/invoices")
def invoices() -> ResponseReturnValue:
    return {"invoices": [], "for": access_token().client_id}


@app.post("/invoices")
@token_required(verifier, scopes={"invoices:write"})
def add_invoice() -> ResponseReturnValue:
    return {"added_by": access_token().client_id}, 201


if __name__ == "__main__":
    server = make_server("127.0.0.1", int(os.environ.get("PORT", "0")), app, threaded=True)
    print(f"serving (listening on http://127.0.0.1:{server.port})", flush=True)
    server.serve_forever()
