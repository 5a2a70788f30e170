"""An issuer and three services on one laptop, until Ctrl-C or until one of them ends.

    python examples/local/run.py

What they say comes out with their names in front. Secrets are made anew, in a directory that is
gone afterwards. `--free-ports` takes other ports than 8700 to 8702.
"""

import argparse
import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import NoReturn

HERE = Path(__file__).parent
PATIENCE = 30

_WHERE = re.compile(r"listening on (http://\S+:\d+)\)")


class Services:
    """Processes that end together, the last that was started first."""

    def __init__(self) -> None:
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()

    def start(self, name: str, *command: str, **environment: str) -> str:
        """Start one, and return where it listens, if it is told of a PORT.

        Raises:
            SystemExit: it has ended, or says nothing.
        """
        process = subprocess.Popen(  # noqa: S603 - the services of this directory
            [sys.executable, *command],
            cwd=HERE,
            env={key: value for key, value in os.environ.items() if "EPHEMERA" not in key}
            | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Ctrl-C is for this process alone, which ends the others in order.
            start_new_session=True,
        )
        self._processes[name] = process
        where: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._follow, args=(name, process, where), daemon=True).start()
        if "PORT" not in environment:
            return ""
        with contextlib.suppress(queue.Empty):
            if url := where.get(timeout=PATIENCE):
                return url
        raise SystemExit(f"{name} did not start")

    def _follow(
        self, name: str, process: subprocess.Popen[str], where: queue.SimpleQueue[str]
    ) -> None:
        for line in process.stdout or ():
            print(f"{name:8}| {line}", end="", flush=True)
            if found := _WHERE.search(line):
                where.put(found[1])
        where.put("")
        self._ended.put(name)

    def wait(self) -> str:
        """Return the name of one that has ended."""
        return self._ended.get()

    def end(self) -> None:
        """End all that still run."""
        for process in reversed(self._processes.values()):
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


def run(services: Services, secrets: Path, ports: list[str]) -> str:
    """Start everything, and return the name of what has ended first."""
    issuer_port, stock_port, billing_port = ports
    serve = ["-m", "ephemera_issuer", "serve", "--dev", "registry.toml", "--private-listen", "off"]
    issuer = services.start(
        "issuer",
        *[*serve, "--listen", f"127.0.0.1:{issuer_port}", "--secrets-dir", str(secrets)],
        PORT=issuer_port,
    )

    def client(name: str) -> dict[str, str]:
        return {
            "EPHEMERA_CLIENT_ISSUER": issuer,
            "EPHEMERA_CLIENT_ID": name,
            "EPHEMERA_CLIENT_SECRET_FILE": str(secrets / f"{name}.secret"),
        }

    stock = services.start("stock", "stock.py", PORT=stock_port, EPHEMERA_CLIENT_ISSUER=issuer)
    billing = services.start(
        "billing", "billing.py", PORT=billing_port, STOCK_URL=stock, **client("billing")
    )
    by_hand = " ".join(f"{name}={value}" for name, value in client("orders").items())
    print(f"to call billing at {billing} by hand: export {by_hand}", flush=True)
    services.start("orders", "orders.py", BILLING_URL=billing, **client("orders"))
    return services.wait()


def _stop(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    options = argparse.ArgumentParser(description="Several services on one laptop.")
    options.add_argument("--free-ports", action="store_true")
    ports = ["0", "0", "0"] if options.parse_args().free_ports else ["8700", "8701", "8702"]
    signal.signal(signal.SIGTERM, _stop)
    services = Services()
    with tempfile.TemporaryDirectory() as secrets:
        try:
            ended = run(services, Path(secrets), ports)
            sys.exit(f"{ended} has ended, and with it the others")
        except KeyboardInterrupt:
            print("ending all", flush=True)
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            services.end()
