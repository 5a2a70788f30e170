"""One connection to one Redis server: redis-py's, without its retries.

The only module that imports redis-py. What that raises leaves here as a `LinkFailed` or a
`Refusal`, which hold a `cause_code` and none of its texts.
"""

import os
import re
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from redis import connection, exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from ephemera_client.errors import ConfigurationError
from ephemera_client.failure import explain
from ephemera_client.http import CaFile, tls_context
from ephemera_client.replay.redis_primary import LinkFailed, Refusal, Word

_PORT = 6379
_SCHEMES = frozenset({"redis", "rediss", "unix"})
# The server's words for why it does not do as it is told. Before version 7 an error inside a script
# brings them in the middle of a longer text.
_WORDS = {
    "ASK": "slot_moving",
    "BUSY": "timeout",
    "CLUSTERDOWN": "cluster_down",
    "LOADING": "loading",
    "MASTERDOWN": "not_primary",
    "MOVED": "moved",
    "NOAUTH": "auth_failed",
    "NOPERM": "auth_failed",
    "NOREPLICAS": "no_replicas",
    "NOSCRIPT": "no_script",
    "OOM": "full",
    "READONLY": "not_primary",
    "TRYAGAIN": "slot_moving",
    "WRONGPASS": "auth_failed",
}
_WORD = re.compile(rf"(?:^|-)({'|'.join(_WORDS)})\b")
_KINDS: dict[type[Exception], str] = {
    exceptions.AuthenticationError: "auth_failed",
    exceptions.AuthorizationError: "auth_failed",
    exceptions.NoPermissionError: "auth_failed",
    exceptions.BusyLoadingError: "loading",
    exceptions.OutOfMemoryError: "full",
    exceptions.ReadOnlyError: "not_primary",
    exceptions.NoScriptError: "no_script",
    exceptions.MovedError: "moved",
    exceptions.AskError: "slot_moving",
    exceptions.TryAgainError: "slot_moving",
    exceptions.MasterDownError: "not_primary",
    exceptions.ClusterDownError: "cluster_down",
}


class Server(NamedTuple):
    """How to reach a server; `path` is that of a Unix socket, and stands for host and port."""

    host: str
    port: int
    path: str
    database: int
    tls: bool
    ca_file: CaFile
    username: str | None
    password: str | None

    def __repr__(self) -> str:
        return self.path or f"{self.host}:{self.port}"

    def at(self, host: str, port: int) -> "Server":
        """Return another server of the same cluster."""
        return self._replace(host=host, port=port, path="")


def server(url: str, *, ca_file: CaFile) -> Server:
    """Read `redis://`, `rediss://` (TLS) or `unix://`, with user, password and database, if any.

    Raises:
        ConfigurationError: the URL or the file cannot be used; without the password in its text.
    """
    wrong = ConfigurationError(
        "url must be redis://host:port/0, rediss:// for TLS, or unix:///path"
    )
    try:
        parts = urlsplit(url)
        is_unix = parts.scheme == "unix"
        port = 0 if is_unix else parts.port or _PORT
        database = 0 if is_unix else int(parts.path.strip("/") or 0)
    except (AttributeError, TypeError, ValueError):
        raise wrong from None
    if parts.scheme not in _SCHEMES or parts.query or parts.fragment or database < 0:
        raise wrong
    if not (parts.path if is_unix else parts.hostname):
        raise wrong
    if ca_file is not None:
        if parts.scheme != "rediss":
            raise ConfigurationError("ca_file= is for TLS, whose URL begins with rediss://")
        tls_context(ca_file)
    return Server(
        host=parts.hostname or "",
        port=port,
        path=unquote(parts.path) if is_unix else "",
        database=database,
        tls=parts.scheme == "rediss",
        ca_file=ca_file,
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
    )


class Wire:
    """An open connection.

    Whatever goes wrong in an exchange, the replies that are still to come could be taken for those
    of the next: so it is to be closed then, and never used again.

    Args:
        server: what to connect to.
        timeout: seconds for the connection, and then for each exchange as a whole.

    Raises:
        LinkFailed: there is no connection.
    """

    def __init__(self, server: Server, *, timeout: float) -> None:
        self._server = server
        self._timeout = timeout
        options: dict[str, Any] = {
            "db": server.database,
            "username": server.username,
            "password": server.password,
            "socket_timeout": timeout,
            "retry": Retry(NoBackoff(), 0),
            "health_check_interval": 0,
            "protocol": 2,
        }
        if server.path:
            kind: Any = connection.UnixDomainSocketConnection
            options["path"] = server.path
        else:
            kind = connection.SSLConnection if server.tls else connection.Connection
            options |= {
                "host": server.host,
                "port": server.port,
                "socket_connect_timeout": timeout,
                "socket_keepalive": True,
            }
        if server.tls:
            # Said here, whatever the default of redis-py's release is.
            options |= {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
        if server.ca_file is not None:
            options["ssl_ca_certs"] = os.fspath(server.ca_file)
        self._connection = kind(**options)
        try:
            self._connection.connect()
        except (exceptions.RedisError, OSError, UnicodeError) as error:
            # UnicodeError: a host name that the resolver cannot spell.
            self.close()
            raise LinkFailed(self._code(error, lost="connect_failed")) from None

    def exchange(self, commands: Sequence[Sequence[Word]]) -> list[Any]:
        """Send all commands at once and return their replies, errors among them as `Refusal`.

        Raises:
            LinkFailed: not all replies came in time; what was done is unknown.
        """
        give_up_at = time.monotonic() + self._timeout
        replies: list[Any] = []
        try:
            packed = [_packed(command) for command in commands]
            self._connection.send_packed_command(packed, check_health=False)
            for _ in commands:
                replies.append(self._reply())
                if time.monotonic() > give_up_at:
                    raise LinkFailed("timeout")
        except (exceptions.RedisError, OSError) as error:
            raise LinkFailed(self._code(error, lost="connection_lost")) from None
        return replies

    def info(self, section: str) -> dict[str, str]:
        """Return one section of INFO.

        Raises:
            LinkFailed: there is none.
        """
        (reply,) = self.exchange([("INFO", section)])
        if isinstance(reply, Refusal):
            raise LinkFailed(reply.code)
        lines = reply.decode("utf-8", "replace").splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def owners(self) -> Iterable[tuple[range, str, int]]:
        """Say which slots belong to which host and port, as this node of a cluster sees it.

        Raises:
            LinkFailed: it does not say.
        """
        (reply,) = self.exchange([("CLUSTER", "SLOTS")])
        if isinstance(reply, Refusal):
            raise LinkFailed(reply.code)
        for first, last, (host, port, *_), *_ in reply:
            # A node that has not learned its own address yet leaves it out.
            name = host.decode() if host else self._server.host
            yield range(first, last + 1), name, port

    def close(self) -> None:
        """Close it; in a forked child without disturbing the parent's."""
        with suppress(exceptions.RedisError, OSError):
            self._connection.disconnect()

    def _reply(self) -> Any:
        try:
            return self._connection.read_response(disable_decoding=True)
        except exceptions.ResponseError as error:
            return Refusal(self._code(error, lost="failed"))

    def _code(self, error: Exception, *, lost: str) -> str:
        for kind in type(error).__mro__:
            if kind in _KINDS:
                return _KINDS[kind]
        if found := _WORD.search(str(error)):
            return _WORDS[found[1]]
        if isinstance(error, exceptions.ResponseError):
            return "failed"
        if isinstance(error, exceptions.TimeoutError):
            return "timeout"
        code = explain(error, repr(self._server)).code
        return lost if code in {"connection_lost", "connect_failed", "protocol_error"} else code


def _packed(command: Sequence[Word]) -> bytes:
    # RESP, as redis-py would pack it; that takes five times as long, more than all else here.
    words = [word if isinstance(word, bytes) else str(word).encode() for word in command]
    return b"*%d\r\n" % len(words) + b"".join([b"$%d\r\n%b\r\n" % (len(it), it) for it in words])
