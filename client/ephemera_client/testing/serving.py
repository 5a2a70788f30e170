"""A fake issuer over HTTP."""

import contextlib
import http.server
import socket
import threading
from collections.abc import Callable, Iterator, Mapping

from ephemera_client.http import Response

Answer = Callable[[str, Mapping[str, str], bytes | None], Response]

_IDLE_SECONDS = 10
_POLL_SECONDS = 0.01


class _Listener(http.server.ThreadingHTTPServer):
    daemon_threads = True


@contextlib.contextmanager
def serving(answer: Answer, door: socket.socket) -> Iterator[None]:
    """Answer at a listening socket, over HTTP/1.1 with a thread a connection, in this block."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = _IDLE_SECONDS
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_GET(self) -> None:
            self._reply(None)

        def do_POST(self) -> None:
            self._reply(self.rfile.read(int(self.headers.get("content-length", 0))))

        def _reply(self, body: bytes | None) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            response = answer(self.path, headers, body)
            self.send_response(response.status)
            for name, value in response.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(response.body)))
            self.end_headers()
            self.wfile.write(response.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            """Say nothing: a test's output is the test's."""

    listener = _Listener(door.getsockname(), Handler, bind_and_activate=False)
    listener.socket.close()
    listener.socket = door
    thread = threading.Thread(
        target=listener.serve_forever, args=(_POLL_SECONDS,), daemon=True, name="fake issuer"
    )
    thread.start()
    try:
        yield
    finally:
        listener.shutdown()
        thread.join()
