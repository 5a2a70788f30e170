"""What may stand in `EPHEMERA_DATABASE_URL`. It may carry a password, so no message quotes it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

if TYPE_CHECKING:
    from sqlalchemy import URL

SQLITE = "sqlite:///"
POSTGRESQL = "postgresql://"
PASSWORD_FILE = "password_file"  # noqa: S105 - the name of an option

_SQLITE_FILE = re.compile(r"sqlite:///(?!:memory:)[^?#]+")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*|[0-9A-Fa-f:.]{2,45}")
_DIRECTORY = re.compile(r"/[^\s,?]*")
_NAME = re.compile(r"[\w.$-]+")
_OPTIONS = frozenset(
    {
        "channel_binding",
        "gssencmode",
        "host",
        PASSWORD_FILE,
        "passfile",
        "require_auth",
        "sslcert",
        "sslcrl",
        "sslkey",
        "sslmode",
        "sslrootcert",
        "target_session_attrs",
    }
)
_EXAMPLE = (
    "must be sqlite:///PATH (sqlite:////PATH for an absolute path) "
    "or postgresql://USER@HOST/DATABASE"
)


class Server(NamedTuple):
    """A database on a PostgreSQL server: where, and the options of the URL."""

    url: URL
    host: str
    options: dict[str, str]

    @property
    def location(self) -> str:
        """The URL without user, password and options."""
        port = f":{self.url.port}" if self.url.port else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{POSTGRESQL}{host}{port}/{self.url.database}"


def check(text: str) -> str:
    """Return a URL that names a database as it came.

    Raises:
        ValueError: It names none, with what it must be.
    """
    if text.startswith(POSTGRESQL):
        server(text)
    elif text != "sqlite://" and not _SQLITE_FILE.fullmatch(text):
        raise ValueError(_EXAMPLE)
    return text


def server(text: str) -> Server:
    """Read a PostgreSQL URL. What a slip of the pen could make of a password is refused.

    Raises:
        ValueError: It is none, or has an option that it may not have.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ValueError(_EXAMPLE) from None
    options: dict[str, str] = {}
    for name, value in url.query.items():
        if name not in _OPTIONS or not isinstance(value, str):
            raise ValueError(f"its options may be {', '.join(sorted(_OPTIONS))}, each once")
        options[name] = value
    host = url.host or options.get("host", "")
    if bool(url.host) == ("host" in options) or not _NAME.fullmatch(url.database or ""):
        raise ValueError(_EXAMPLE)
    if not (_DIRECTORY if "host" in options else _HOST).fullmatch(host):
        raise ValueError(f"{_EXAMPLE}; a password is written with %-escapes")
    if PASSWORD_FILE in options and url.password is not None:
        raise ValueError(f"its password is in the URL or in {PASSWORD_FILE}, not in both")
    options.pop("host", None)
    return Server(url, host, options)
