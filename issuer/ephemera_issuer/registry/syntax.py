"""The syntax of what registry files hold: each function checks one kind of value and returns it.

All raise ValueError with a sentence for the file's author.
"""

from __future__ import annotations

import re

from ephemera_issuer.form import MINIMUM_LIFETIME
from ephemera_issuer.policy import MAXIMUM_LIFETIME
from ephemera_issuer.registry.entries import Identity
from ephemera_issuer.settings import is_loopback

_LONGEST_AUDIENCE = 255
_CLIENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,128}")
_URI_CHARACTERS = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")
_URI = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):(?://(?P<authority>[^/?#]*))?(?P<path>[^?#]*)(?P<rest>.*)"
)
_LONGEST_JWKS_URI = 1024
_JWKS_URI = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9]([a-z0-9._-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])"
    r"(:(?P<port>[1-9][0-9]{0,4}))?(/[^#]*)?"
)
_LARGEST_PORT = 65535
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_DURATION = re.compile(r"([0-9]{1,6})(s|m)")
_LONG_DURATION = re.compile(r"([0-9]{1,6})(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
DAY = 86400
_LONGEST_FOREIGN = 366 * DAY
_ISSUER = re.compile(
    r"https?://(?:[a-z0-9](?:[a-z0-9._-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])"
    r"(?::[1-9][0-9]{0,4})?(?:/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?"
    r"|spiffe://[a-z0-9._-]{1,255}"
)
_LONGEST_TEXT = 1024
_MOST_IDENTITIES = 16
_MOST_CLAIMS = 16
_TAKEN = frozenset({"iss", "sub", "aud", "exp", "iat", "nbf", "jti"})
_LARGEST_INTEGER = 2**53


def audience_id(value: object) -> str:
    """An absolute URI without fragment (RFC 8707 §2) that is written in one way only.

    Verifiers compare audiences as text. So what invites a second spelling is refused: a final
    slash, a default port, an upper-case host, user names, a query.
    """
    text = _text(value)
    uri = _URI.fullmatch(text)
    if not uri or not _URI_CHARACTERS.fullmatch(text) or len(text) > _LONGEST_AUDIENCE:
        raise ValueError("must be an absolute URI such as https://billing.internal")
    scheme, authority, path = uri["scheme"], uri["authority"], uri["path"]
    if uri["rest"]:
        raise ValueError("must have no query and no fragment")
    if text.endswith("/"):
        raise ValueError("must not end with a slash, verifiers compare it as text")
    if scheme != scheme.lower() or (authority or "") != (authority or "").lower():
        raise ValueError("must have its scheme and host in lower case")
    if not (authority or path) or (scheme in _DEFAULT_PORTS and not authority):
        raise ValueError("must name a host")
    if "@" in (authority or ""):
        raise ValueError("must have no user name")
    if (authority or "").endswith(_DEFAULT_PORTS.get(scheme, "@")):
        raise ValueError("must leave out the default port, verifiers compare it as text")
    return text


def dpop(value: object) -> bool:
    """Whether every token must be bound to its sender's key."""
    if not isinstance(value, str) or value not in {"required", "optional"}:
        raise ValueError('must be "required" or "optional"')
    return value == "required"


def client_id(value: object) -> str:
    """A name that can be a file's name too: letters, digits, `.`, `_` and `-`."""
    text = _text(value)
    if not _CLIENT_ID.fullmatch(text):
        raise ValueError(
            "must be 128 letters, digits, dots, underscores and hyphens at most, "
            "the first a letter or digit"
        )
    return text


def scopes(value: object) -> frozenset[str]:
    """One or more scope tokens (RFC 6749 §3.3), each once."""
    if not isinstance(value, list) or not value:
        raise ValueError('must be a list of names, such as ["invoices:read"]')
    for scope in value:
        if not isinstance(scope, str) or not _SCOPE.fullmatch(scope):
            raise ValueError(
                "each must be a string of 128 printable ASCII characters at most, "
                "without spaces, quotes and backslashes"
            )
        if value.count(scope) > 1:
            raise ValueError(f"{scope} is there twice")
    return frozenset(value)


def lifetime(value: object) -> int:
    """Seconds: a whole number, or a string such as "90s" or "5m"."""
    seconds = value if type(value) is int else None
    if isinstance(value, str) and (duration := _DURATION.fullmatch(value)):
        seconds = int(duration[1]) * (60 if duration[2] == "m" else 1)
    if seconds is None:
        raise ValueError('must be a duration such as "5m", "90s" or 90')
    if not MINIMUM_LIFETIME <= seconds <= MAXIMUM_LIFETIME:
        raise ValueError(f"must be from {MINIMUM_LIFETIME} to {MAXIMUM_LIFETIME} seconds")
    return seconds


def flag(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false")  # noqa: TRY004 - a problem of the file
    return value


def secret(value: object) -> bool:
    """The word "generate"; the message does not quote what may be a secret."""
    if value != "generate":
        raise ValueError('must be "generate": a registry file holds no secrets')
    return True


def file_names(value: object) -> tuple[str, ...]:
    """A file's name, relative to the registry file that names it, or a list of such."""
    names = value if isinstance(value, list) else [value]
    for name in names:
        if not isinstance(name, str) or not name or "\0" in name or names.count(name) > 1:
            break
    else:
        if names:
            return tuple(names)
    raise ValueError('must be a file such as "orders.jwks.json", or a list of different ones')


def jwks_uri(value: object) -> str:
    """Where a client publishes its keys: https, or http on loopback."""
    text = _text(value)
    url = _JWKS_URI.fullmatch(text)
    if not url or not _URI_CHARACTERS.fullmatch(text) or len(text) > _LONGEST_JWKS_URI:
        raise ValueError(
            "must be a URL such as https://orders.internal/jwks.json: its host in lower case, "
            "no user name, no fragment"
        )
    if int(url["port"] or 0) > _LARGEST_PORT:
        raise ValueError(f"must have a port of {_LARGEST_PORT} at most")
    if url["scheme"] == "http" and not is_loopback(url["host"].strip("[]")):
        raise ValueError("must be https; http is for loopback only")
    return text


def issuer_id(value: object) -> str:
    """The `iss` of another issuer's tokens, or `spiffe://` and a trust domain."""
    text = _text(value)
    if not _ISSUER.fullmatch(text) or len(text) > _LONGEST_TEXT:
        raise ValueError(
            "must be what its tokens say in iss, such as https://gitlab.internal, "
            "or a trust domain such as spiffe://cluster.internal"
        )
    host = text.partition("://")[2].partition("/")[0]
    if text.startswith("http:") and not is_loopback(re.sub(r":[0-9]+$", "", host).strip("[]")):
        raise ValueError("must be https; http is for loopback only")
    return text


def audience_text(value: object) -> str:
    """What another issuer's tokens name as their audience."""
    text = _text(value)
    if not 0 < len(text) <= _LONGEST_TEXT or not text.isprintable():
        raise ValueError(f"must be printable, and {_LONGEST_TEXT} characters at most")
    return text


def long_lifetime(value: object) -> int:
    """Seconds: a whole number, or a string such as "10m", "24h" or "366d"."""
    seconds = value if type(value) is int else None
    if isinstance(value, str) and (duration := _LONG_DURATION.fullmatch(value)):
        seconds = int(duration[1]) * _SECONDS[duration[2]]
    if seconds is None:
        raise ValueError('must be a duration such as "10m", "24h" or 3600')
    if not MINIMUM_LIFETIME <= seconds <= _LONGEST_FOREIGN:
        raise ValueError(f"must be from {MINIMUM_LIFETIME} seconds to 366 days")
    return seconds


def identities(value: object) -> tuple[Identity, ...]:
    """Whom tokens of trusted issuers must speak of: tables of issuer, subject and claims."""
    if not isinstance(value, list) or not 0 < len(value) <= _MOST_IDENTITIES:
        raise ValueError(
            f"must be 1 to {_MOST_IDENTITIES} tables, such as "
            '[{ issuer = "https://gitlab.internal", subject = "project:orders" }]'
        )
    found = tuple(_identity(one) for one in value)
    if len(set(found)) < len(found):
        raise ValueError("one is there twice")
    return found


def _identity(value: object) -> Identity:
    keys = {"issuer", "subject", "subject_prefix", "claims"}
    if not isinstance(value, dict) or not value.keys() <= keys or "issuer" not in value:
        raise ValueError("each must have issuer, subject or subject_prefix, and perhaps claims")
    if ("subject" in value) == ("subject_prefix" in value):
        raise ValueError("each must have either subject or subject_prefix")
    prefix = "subject_prefix" in value
    subject = _text(value["subject_prefix" if prefix else "subject"])
    if not 0 < len(subject) <= _LONGEST_TEXT or not subject.isprintable():
        raise ValueError(f"subject must be printable, and {_LONGEST_TEXT} characters at most")
    if prefix and subject[-1].isalnum():
        # `repo:acme/orders` would let `repo:acme/orders-of-somebody-else` in.
        raise ValueError("subject_prefix must end with what separates parts, such as / or :")
    claims = value.get("claims", {})
    if not isinstance(claims, dict) or len(claims) > _MOST_CLAIMS:
        raise ValueError(f"claims must be a table of {_MOST_CLAIMS} names and values at most")
    for name, wanted in claims.items():
        if name in _TAKEN:
            raise ValueError(f"claims must not name {name}, which is checked anyway")
        if not isinstance(wanted, str | int) or (
            abs(wanted) > _LARGEST_INTEGER if isinstance(wanted, int) else not wanted
        ):
            raise ValueError(f"the claim {name} must be a string, a whole number, true or false")
    return Identity(issuer_id(value["issuer"]), subject, prefix, tuple(sorted(claims.items())))


def clients(value: object) -> frozenset[str]:
    """Clients' ids, each once; none is fine."""
    if not isinstance(value, list):
        raise ValueError('must be a list of clients, such as ["gateway"]')  # noqa: TRY004
    for client in value:
        client_id(client)
        if value.count(client) > 1:
            raise ValueError(f"{client} is there twice")
    return frozenset(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a string")  # noqa: TRY004 - a problem of the file
    return value
