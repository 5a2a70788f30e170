"""Ask the issuer in this container whether it is alive (`/healthz`) or ready (`/readyz`).

For machines whose supervisor cannot ask over HTTP by itself. Needs nothing but Python. Status 0 is
yes, 1 is no, with the reason on standard error.
"""

import http.client
import os
import ssl
import sys

PATIENCE = 4.0


def main() -> None:
    """Ask, and end with the answer."""
    path = sys.argv[1]
    address = os.environ.get("EPHEMERA_LISTEN") or "127.0.0.1:8700"
    host, _, port = address.rpartition(":")
    # Wherever it listens it can be asked by loopback, but for an address of another interface.
    if host in {"0.0.0.0", "[::]"}:  # noqa: S104 - compared, not listened on
        host = "127.0.0.1" if host == "0.0.0.0" else "[::1]"  # noqa: S104
    asked: http.client.HTTPConnection
    if os.environ.get("EPHEMERA_TLS_CERT_FILE"):
        # Whether the process answers, and nothing else. Its certificate is for the name that
        # others call it by, and nothing is told to it or believed.
        tls = ssl.create_default_context()
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
        asked = http.client.HTTPSConnection(
            host.strip("[]"), int(port), timeout=PATIENCE, context=tls
        )
    else:
        asked = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=PATIENCE)
    try:
        asked.request("GET", path)
        status = asked.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        sys.exit(f"{path}: {error}")
    finally:
        asked.close()
    if status != http.HTTPStatus.OK:
        sys.exit(f"{path}: {status}")


if __name__ == "__main__":
    main()
