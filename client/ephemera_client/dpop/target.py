"""What a proof says that it is for (`htu`): a URL spelled so that two can be compared."""

import re
from urllib.parse import urlsplit

from ephemera_client.url import origin

_URL = re.compile(r"[\x21-\x7e]+")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_STRAY = re.compile(r"%(?![0-9A-Fa-f]{2})|[\\<>\"^`{|}]")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def target(url: str) -> str:
    """Return a URL without query and fragment, and otherwise normalised (RFC 3986 section 6.2).

    Scheme and host become lower case and a default port goes; escapes of unreserved characters are
    undone and the others written in upper case; dot segments are resolved.

    Raises:
        ValueError: it is no absolute http or https URL, or has a user name or a stray character.
    """
    if not _URL.fullmatch(url):
        raise ValueError("not a URL")
    parts = urlsplit(url)
    if "@" in parts.netloc or _STRAY.search(parts.path):
        raise ValueError("not a URL that a request can be sent to")
    return origin(url) + _without_dots(_ESCAPE.sub(_unescaped, parts.path) or "/")


def _unescaped(escape: re.Match[str]) -> str:
    character = chr(int(escape[1], 16))
    return character if character in _UNRESERVED else escape[0].upper()


def _without_dots(path: str) -> str:
    if "/." not in path:
        return path
    kept: list[str] = []
    *segments, last = path.split("/")[1:]
    for segment in (*segments, last):
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if last in {".", ".."}:
        kept.append("")
    return "/" + "/".join(kept)
