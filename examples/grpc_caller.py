"""Call a gRPC service: each RPC carries a token of its own.

    EPHEMERA_CLIENT_ISSUER=http://127.0.0.1:8700 EPHEMERA_CLIENT_ID=orders \
        EPHEMERA_CLIENT_SECRET_FILE=orders.secret TLS_CA_FILE=authority.pem \
        python examples/grpc_caller.py 127.0.0.1:8443

AUDIENCE is the name of the API, as its tokens have it.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import grpc

from ephemera_client import ClientSecret, Target, TokenClient
from ephemera_client.grpc import token_credentials

billing = Target(os.environ.get("AUDIENCE", "https://billing.internal"), {"invoices:read"})


def encode(message: Any) -> bytes:
    return json.dumps(message).encode()


if __name__ == "__main__":
    authority = Path(os.environ["TLS_CA_FILE"]).read_bytes()
    with TokenClient(
        os.environ.get("EPHEMERA_CLIENT_ISSUER", "http://127.0.0.1:8700"),
        client_id=os.environ["EPHEMERA_CLIENT_ID"],
        credential=ClientSecret.from_file(os.environ["EPHEMERA_CLIENT_SECRET_FILE"]),
    ) as tokens:
        credentials = grpc.composite_channel_credentials(
            grpc.ssl_channel_credentials(authority), token_credentials(tokens, billing)
        )
        with grpc.secure_channel(sys.argv[1], credentials) as channel:
            get: Any = channel.unary_unary("/billing.Invoices/Get", encode, json.loads)
            watch: Any = channel.unary_stream("/billing.Invoices/Watch", encode, json.loads)
            add: Any = channel.unary_unary("/billing.Invoices/Add", encode, json.loads)
            for number in (1, 2):
                print(get({"number": number}, timeout=10))
            print([invoice["number"] for invoice in watch({"count": 3}, timeout=10)])
            try:
                add({}, timeout=10)
            except grpc.RpcError as error:
                print(f"{error.code().name}: {error.details()}")
