from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from client.fixtures_requesting import certificate
from examples.fixtures_examples import AUDIENCE, EXAMPLES, environment, run_example

if TYPE_CHECKING:
    from pathlib import Path

    from system.running import Issuer

    from ephemera_client import TokenClient


def test_the_grpc_caller_calls_the_grpc_api_over_tls_with_a_token_for_each_rpc(
    issuer: Issuer, tokens: TokenClient, tmp_path: Path
) -> None:
    authority = certificate(tmp_path).file
    pem = str(tmp_path / "server.pem")
    with run_example(
        "grpc_api", issuer, TLS_CERTIFICATE_FILE=str(authority), TLS_KEY_FILE=pem
    ) as api:
        address = api.url.removeprefix("https://")
        done = subprocess.run(
            [sys.executable, EXAMPLES / "grpc_caller.py", address],
            env=environment(issuer, TLS_CA_FILE=str(authority)),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [
            "{'number': 1, 'for': 'orders'}",
            "{'number': 2, 'for': 'orders'}",
            "[0, 1, 2]",
            "PERMISSION_DENIED: insufficient_scope",
        ]
        trusted = grpc.ssl_channel_credentials(authority.read_bytes())
        with grpc.secure_channel(address, trusted) as channel:
            get: Any = channel.unary_unary(
                "/billing.Invoices/Get", lambda message: json.dumps(message).encode(), json.loads
            )
            metadata = [("authorization", f"Bearer {tokens.get(AUDIENCE)}")]
            assert get({"number": 3}, metadata=metadata) == {"number": 3, "for": "orders"}
            with pytest.raises(grpc.RpcError, match="token_replayed"):
                get({"number": 3}, metadata=metadata)
