"""Settings: `EPHEMERA_*` environment variables, each also an option of `ephemera serve`."""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ephemera_issuer import database_url
from ephemera_issuer.errors import SettingsInvalid
from ephemera_issuer.form import MAXIMUM_COUNT
from ephemera_issuer.proxies import Proxies
from ephemera_keys.ring import MINIMUM_PUBLICATION

PREFIX = "EPHEMERA_"
IN_MEMORY = "sqlite://"
OFF = "off"
_PRIVATE_PORT = 8701
_CLIENT_LIBRARY = "EPHEMERA_CLIENT_"
_COMMAND = ("ADMIN_ID", "ADMIN_KEY_FILE", "ADMIN_CA_FILE")
"""Variables of the command's own, for `ephemera --server`."""
_SERVICE_LINK = re.compile(
    r"_SERVICE_HOST$|_SERVICE_PORT(_[A-Z0-9_]+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$"
)
_SERVICE_URL = re.compile(r"(tcp|udp|sctp)://")
_ORIGIN = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9]([a-z0-9._-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])"
    r"(:(?P<port>[1-9][0-9]{0,4}))?"
)
_COLLECTOR_PATH = re.compile(r"(/[A-Za-z0-9._~/-]*)?")
_HOST = re.compile(r"[a-z0-9]([a-z0-9._-]{0,251}[a-z0-9])?|[0-9a-f:.]{2,45}")
_DEFAULT_PORTS = {"https": "443", "http": "80"}
_LARGEST_PORT = 65535
_SQLITE_FILE = re.compile(r"sqlite:///(?!:memory:)[^?#]+")
REDIS_SCHEMES = ("redis://", "rediss://", "unix://")
_PERIOD = re.compile(r"([0-9]{1,6})([mhd])")
_UNITS = {"m": 60, "h": 3600, "d": 86400}
_AUDIT_FILES = "file:"
_SHORTEST_PERIOD = MINIMUM_PUBLICATION
_LONGEST_PERIOD = 366 * 86400
_MOST_WORKERS = 64


class Address(NamedTuple):
    """Where to listen: `host` without brackets; port 0 leaves the choice to the system."""

    host: str
    port: int


def is_loopback(host: str) -> bool:
    """Whether `host` (a name or a literal, without brackets) is this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _parse_address(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not colon or not host or not port.isascii() or not port.isdigit():
        raise ValueError("must be HOST:PORT, such as 127.0.0.1:8700 or [::1]:8700")
    if int(port) > _LARGEST_PORT:
        raise ValueError(f"the port must be {_LARGEST_PORT} at most")
    return Address(host, int(port))


def _check_listen(text: str) -> str:
    _parse_address(text)
    return text


def _check_private_listen(text: str) -> str:
    return text if text == OFF else _check_listen(text)


def _check_issuer(text: str) -> str:
    origin = _ORIGIN.fullmatch(text)
    if origin is None:
        raise ValueError(
            "must be an https origin in lower case, such as https://tokens.internal: "
            "no path, query or final slash"
        )
    scheme, port = origin["scheme"], origin["port"]
    if port == _DEFAULT_PORTS[scheme]:
        raise ValueError(f"leave out :{port}, verifiers compare the issuer as text")
    if port is not None and int(port) > _LARGEST_PORT:
        raise ValueError(f"the port must be {_LARGEST_PORT} at most")
    return text


def _split(value: object) -> object:
    return [name.strip() for name in value.split(",")] if isinstance(value, str) else value


def _check_hosts(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not _HOST.fullmatch(name):
            raise ValueError(
                "must be host names in lower case with commas between them, without ports"
            )
    return names


_Hosts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split), AfterValidator(_check_hosts)]


def _check_networks(names: tuple[str, ...]) -> tuple[str, ...]:
    try:
        Proxies(names)
    except ValueError:
        raise ValueError(
            "must be addresses and networks with commas between them, such as 10.0.0.7 or fd00::/8"
        ) from None
    return names


_Networks = Annotated[
    tuple[str, ...], NoDecode, BeforeValidator(_split), AfterValidator(_check_networks)
]
_Rate = Annotated[int, Field(ge=1, le=1_000_000_000)]
_DatabaseUrl = Annotated[str, AfterValidator(database_url.check)]


def _check_replay_url(text: str) -> str:
    # A URL may carry a password here too.
    if text == IN_MEMORY:
        raise ValueError("must be sqlite:///PATH: in memory, a restart would forget what is spent")
    if not _SQLITE_FILE.fullmatch(text) and not text.startswith(REDIS_SCHEMES):
        raise ValueError("must be sqlite:///PATH, redis://HOST:PORT or rediss://HOST:PORT")
    return text


def _parse_period(value: object) -> object:
    """Seconds of "24h", "90m" or "7d"; None for "off"."""
    if not isinstance(value, str):
        return value
    if value == OFF:
        return None
    duration = _PERIOD.fullmatch(value)
    seconds = int(duration[1]) * _UNITS[duration[2]] if duration else 0
    if not _SHORTEST_PERIOD <= seconds <= _LONGEST_PERIOD:
        raise ValueError('must be from "15m" to "366d", such as "24h", or "off"')
    return seconds


def _check_audit(text: str) -> str:
    if text not in {"off", "database"} and not text.startswith(_AUDIT_FILES):
        raise ValueError("must be off, file:DIR or database")
    if text == _AUDIT_FILES:
        raise ValueError("must name a directory, such as file:/var/lib/ephemera/audit")
    return text


def _parse_traces(value: object) -> object:
    """Check the URL of a collector; None for "off"."""
    if not isinstance(value, str) or value == OFF:
        return None
    origin = _ORIGIN.match(value)
    if origin and int(origin["port"] or 0) > _LARGEST_PORT:
        raise ValueError(f"the port must be {_LARGEST_PORT} at most")
    if origin is None or not _COLLECTOR_PATH.fullmatch(value, origin.end()):
        raise ValueError(
            "must be the URL of an OTLP/HTTP collector, such as https://collector.internal:4318, "
            "without user name and query, or off"
        )
    return value


class Settings(BaseSettings):
    """What one issuer process runs with.

    Options given by name win over the environment; an option that is None counts as not given,
    and so does an empty variable. A variable that begins with `EPHEMERA_` and is no setting stops
    the start, since a misspelt setting would otherwise silently be its default; names that belong
    to the client library or that Kubernetes makes for a service are left alone.

    Raises:
        SettingsInvalid: with one line for each wrong or unknown setting.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True
    )

    issuer: Annotated[str, AfterValidator(_check_issuer)] | None = None
    listen: Annotated[str, AfterValidator(_check_listen)] = "127.0.0.1:8700"
    private_listen: Annotated[str, AfterValidator(_check_private_listen)] | None = None
    database_url: _DatabaseUrl = Field("sqlite:///ephemera.db", repr=False)
    sealing_key_file: Path | None = None
    replay_url: Annotated[str, AfterValidator(_check_replay_url)] | None = Field(None, repr=False)
    replay_ca_file: Path | None = None
    jwks_uri_hosts: _Hosts = ()
    algorithm: Literal["ES256", "EdDSA", "RS256"] = "ES256"
    tls_ends_in_front: bool = False
    rotate_every: Annotated[int | None, BeforeValidator(_parse_period)] = 86400
    dpop_nonce: Literal["off", "required"] = "off"
    workers: Annotated[int, Field(ge=1, le=_MOST_WORKERS)] = 1
    unencrypted_hosts: _Hosts = ()
    audit: Annotated[str, AfterValidator(_check_audit)] = "off"
    audit_when_behind: Literal["slow", "stop"] = "slow"
    audit_before_answer: bool = False
    log_format: Literal["json", "console"] | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    access_log: bool = False
    traces: Annotated[str | None, BeforeValidator(_parse_traces)] = None
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    trusted_proxies: _Networks = ()
    tokens_per_second: _Rate = 10_000
    tokens_burst: Annotated[int, Field(ge=MAXIMUM_COUNT, le=1_000_000_000)] = 20_000
    requests_per_second: _Rate = 10_000
    failures_per_second: _Rate = 100
    max_connections: Annotated[int, Field(ge=16, le=1_000_000)] = 4096
    max_connections_of_address: Annotated[int, Field(ge=1, le=1_000_000)] = 1024

    def __init__(self, **options: Any) -> None:
        problems = _unknown_names(set(type(self).model_fields))
        if problems:
            raise SettingsInvalid("\n".join(problems))
        try:
            super().__init__(
                **{name: value for name, value in options.items() if value is not None}
            )
        except ValidationError as error:
            # The cause quotes the values it was given, and a database URL may hold a password.
            raise SettingsInvalid(_explain(error)) from None
        if self.issuer is None and not is_loopback(self.address.host):
            raise SettingsInvalid(
                f"{PREFIX}ISSUER: must be set, since {PREFIX}LISTEN={self.listen} is not loopback: "
                "it is the name that verifiers know, such as https://tokens.internal"
            )
        if self.workers > 1 and self.database_url == IN_MEMORY:
            raise SettingsInvalid(
                f"{PREFIX}WORKERS: is {self.workers}, and a database in memory is for one process"
            )
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise SettingsInvalid(
                f"{PREFIX}TLS_CERT_FILE, {PREFIX}TLS_KEY_FILE: one without the other"
            )
        host = self.plain_http_host
        if host is not None and self.tls_cert_file is not None:
            raise SettingsInvalid(
                f"{PREFIX}ISSUER: must be https, since {PREFIX}TLS_CERT_FILE is set"
            )
        if host is not None and not self._plain_http_allowed(host):
            raise SettingsInvalid(
                f"{PREFIX}ISSUER: must be https; http is for loopback, and for hosts that "
                f"{PREFIX}UNENCRYPTED_HOSTS names because their network is private"
            )

        collector = _plain_http_host(self.traces)
        if collector is not None and not self._plain_http_allowed(collector):
            raise SettingsInvalid(
                f"{PREFIX}TRACES: must be https; http is for loopback, and for hosts that "
                f"{PREFIX}UNENCRYPTED_HOSTS names because their network is private"
            )

    def _plain_http_allowed(self, host: str) -> bool:
        return is_loopback(host) or host in self.unencrypted_hosts

    @property
    def address(self) -> Address:
        """`listen`, parsed."""
        return _parse_address(self.listen)

    @property
    def audit_directory(self) -> Path | None:
        """Where the audit is, if it is kept in files."""
        if not self.audit.startswith(_AUDIT_FILES):
            return None
        return Path(self.audit.removeprefix(_AUDIT_FILES))

    @property
    def private_address(self) -> Address | None:
        """`private_listen`, parsed; None where it is off.

        Not set, it is port 8701 of 127.0.0.1, or a free one where `listen` takes a free one too.
        """
        if self.private_listen is None:
            return Address("127.0.0.1", _PRIVATE_PORT if self.address.port else 0)
        return None if self.private_listen == OFF else _parse_address(self.private_listen)

    @property
    def tls_or_meant_without(self) -> bool:
        """Whether a listener may be where other machines reach it."""
        return self.tls_cert_file is not None or self.tls_ends_in_front or self.plain_http_meant

    @property
    def plain_http_meant(self) -> bool:
        """Whether callers elsewhere are to come over plain HTTP, as the issuer's name says."""
        return self.plain_http_host in self.unencrypted_hosts

    @property
    def plain_http_host(self) -> str | None:
        """The host of `issuer` where its scheme is http."""
        return _plain_http_host(self.issuer)

    def issuer_at(self, port: int) -> str:
        """The issuer identifier, when the listener got `port`.

        Only a loopback issuer without a configured name depends on the port.
        """
        if self.issuer is not None:
            return self.issuer
        host = self.address.host
        scheme = "http" if self.tls_cert_file is None else "https"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _plain_http_host(url: str | None) -> str | None:
    origin = _ORIGIN.match(url or "")
    return origin["host"].strip("[]") if origin and origin["scheme"] == "http" else None


def _unknown_names(fields: set[str]) -> list[str]:
    known = [*sorted(field.upper() for field in fields), *_COMMAND]
    problems = []
    for name in sorted(os.environ):
        upper = name.upper()
        setting = upper.removeprefix(PREFIX)
        if setting == upper or setting in known or upper.startswith(_CLIENT_LIBRARY):
            continue
        if _SERVICE_LINK.search(upper):
            continue
        if upper.endswith("_PORT") and _SERVICE_URL.match(os.environ[name]):
            continue
        near = difflib.get_close_matches(setting, known, n=1)
        hint = (
            f"did you mean {PREFIX}{near[0]}?"
            if near
            else f"there are {', '.join(PREFIX + setting for setting in known)}"
        )
        problems.append(f"{name}: no such setting; {hint}")
    return problems


def _explain(error: ValidationError) -> str:
    lines = []
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        name = PREFIX + str(detail["loc"][0]).upper() if detail["loc"] else "settings"
        lines.append(f"{name}: {_sentence(detail['type'], detail['msg'])}")
    return "\n".join(lines)


def _sentence(kind: str, message: str) -> str:
    match kind:
        case "value_error":
            return message.removeprefix("Value error, ")
        case "extra_forbidden":
            return "no such setting"
        case "bool_parsing":
            return "must be true or false"
        case "literal_error" | "greater_than_equal" | "less_than_equal":
            return message.replace("Input should be", "must be")
        case "int_parsing":
            return "must be a whole number"
        case _:
            return message
