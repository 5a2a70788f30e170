"""gunicorn forks its workers from a process that has the client, and a pool that is full."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
from client.fixtures_requesting import closed_port

if TYPE_CHECKING:
    from pathlib import Path

    from system.running import Issuer

APP = """
import json, os
from ephemera_client import ClientSecret, TokenClient

AUDIENCE = "https://billing.internal"
tokens = TokenClient(
    os.environ["ISSUER"],
    client_id="orders",
    credential=ClientSecret.from_file(os.environ["SECRET_FILE"]),
)
used = [str(tokens.get(AUDIENCE)) for _ in range(100)]
(stock,) = tokens._pool._stocks.values()
used += [str(tokens.get(AUDIENCE)) for _ in range(len(stock._held) // 2)]
print(json.dumps({"used": used, "held": len(stock._held)}), flush=True)

def app(environ, start_response):
    start_response("200 OK", [("content-type", "application/json")])
    got = [str(tokens.get(AUDIENCE)) for _ in range(10)]
    return [json.dumps({"pid": os.getpid(), "got": got}).encode()]
"""


def test_workers_forked_from_a_warm_client_never_hand_out_one_token_twice(
    issuer: Issuer, tmp_path: Path
) -> None:
    (tmp_path / "forking.py").write_text(APP)
    port = closed_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "--preload", "--workers", "4"]
        + ["--bind", f"127.0.0.1:{port}", "--pythonpath", str(tmp_path), "forking:app"],
        env=os.environ | {"ISSUER": issuer.url, "SECRET_FILE": str(issuer.secret_file)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    try:
        assert server.stdout
        assert server.stderr
        warm = json.loads(server.stdout.readline())
        while "Booting worker" not in server.stderr.readline():
            pass

        def ask(_: int) -> tuple[int, list[str]]:
            answer = httpx.get(f"http://127.0.0.1:{port}/", trust_env=False, timeout=30).json()
            return answer["pid"], answer["got"]

        answers: list[tuple[int, list[str]]] = []
        with ThreadPoolExecutor(8) as threads:
            while len({pid for pid, _ in answers}) < 3 and len(answers) < 1000:
                answers += threads.map(ask, range(40))
    finally:
        server.terminate()
        server.communicate(timeout=30)
    got = warm["used"] + [token for _, tokens in answers for token in tokens]
    assert warm["held"] > 5
    assert len({pid for pid, _ in answers}) >= 3
    assert len(set(got)) == len(got)
