"""Which URLs a token, a secret or trust in keys may travel over."""

import ipaddress
import os
import re
from collections.abc import Collection
from urllib.parse import SplitResult, urlsplit

from ephemera_client.errors import ConfigurationError

CaFile = str | os.PathLike[str] | None
"""A PEM file of authorities to trust, for those URLs that travel over TLS."""

# RFC 1035 section 2.3.4; the resolver would raise a UnicodeError.
_LABEL = 63
_BRACKETED = re.compile(r"(?:[^\[\]]*@)?\[[^\[\]]+\](?::\d*)?", re.ASCII)


def check_url(url: str, *, unencrypted_hosts: Collection[str], what: str) -> str:
    """Return `url` if a token, a secret or a key may travel over it.

    That takes https, or http to a literal loopback address or a host in `unencrypted_hosts`.

    Raises:
        ConfigurationError: saying what is wrong with `what`.
    """
    if isinstance(unencrypted_hosts, str):
        raise ConfigurationError(
            "unencrypted_hosts must be a collection of host names, not one string"
        )
    if (
        not isinstance(url, str)
        or not url.isascii()
        or not url.isprintable()
        or set(url) & set(' "<>\\^`{|}')
    ):
        raise ConfigurationError(f"{what} must be a URL of printable ASCII characters")
    parts = _split(url)
    host = parts.hostname if parts else None
    if parts is None or not host or parts.scheme not in {"https", "http"}:
        raise ConfigurationError(f"{what} must be an absolute https URL")
    if "@" in parts.netloc:
        raise ConfigurationError(f"{what} must not contain a user name or password")
    if "#" in url:
        raise ConfigurationError(f"{what} must not contain a fragment")
    if parts.scheme == "http" and not _may_be_plain(host, unencrypted_hosts):
        raise ConfigurationError(
            f"{what} must be https: plain http is only for literal loopback addresses "
            "(127.0.0.1, [::1]) and for hosts named in unencrypted_hosts="
        )
    return url


def origin(url: str) -> str:
    """Return scheme, host and port of an http or https URL, spelled so that they can be compared.

    Raises:
        ValueError: the URL has no host or no such port.
    """
    parts = _split(url)
    if parts is None or not parts.hostname or parts.scheme not in {"https", "http"}:
        raise ValueError("not an absolute http or https URL")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = "" if parts.port in {None, 443 if parts.scheme == "https" else 80} else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        labels = (parts.hostname or "").rstrip(".").split(".")
        # Asking for the port is what makes urllib check it. Of a host with brackets it reads what
        # stands in them and passes over the rest.
        valid = (
            parts.port != 0
            and all(0 < len(label) <= _LABEL for label in labels)
            and ("[" not in parts.netloc or _BRACKETED.fullmatch(parts.netloc) is not None)
        )
    except ValueError:
        return None
    return parts if valid else None


def _may_be_plain(host: str, unencrypted_hosts: Collection[str]) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in {name.lower() for name in unencrypted_hosts}
