"""Where an issuer keeps its endpoints: authorization server metadata, RFC 8414."""

from typing import NamedTuple
from urllib.parse import urlsplit

from ephemera_client.compact import strict_json
from ephemera_client.errors import ConfigurationError
from ephemera_client.reach import Getter
from ephemera_client.url import origin

MAX_BYTES = 50 * 1024

_FEED = "ephemera_revocations_endpoint"
_OK = 200


class Metadata(NamedTuple):
    """What verifiers and calling services need of the document; both URLs are the issuer's own.

    `max_count` is how many tokens one request may ask for: 1 where the issuer offers
    nothing more. `revocations_endpoint` is None where it offers no feed.
    """

    issuer: str
    token_endpoint: str
    jwks_uri: str
    max_count: int
    revocations_endpoint: str | None


class MetadataInvalid(ValueError):
    """The document cannot be relied on; the text quotes nothing of it."""

    def __init__(self, message: str, *, code: str = "metadata_invalid") -> None:
        super().__init__(message)
        self.code = code


def metadata_url(issuer: str) -> str:
    """Return the document's URL; the well-known part stands before the issuer's path (section 3.1).

    Raises:
        ConfigurationError: the issuer identifier has a query.
    """
    parts = urlsplit(issuer)
    if "?" in issuer:
        raise ConfigurationError("issuer must not contain a query")
    well_known = "/.well-known/oauth-authorization-server"
    return f"{parts.scheme}://{parts.netloc}{well_known}{parts.path.rstrip('/')}"


def fetch(http: Getter, *, issuer: str, deadline: float) -> Metadata:
    """Fetch the document of `issuer`.

    Raises:
        HttpFailed: there was no answer.
        MetadataInvalid: as `parse`; or the answer's status, with a code of its own.
    """
    response = http.get(metadata_url(issuer), {"accept": "application/json"}, deadline=deadline)
    if response.status != _OK:
        raise MetadataInvalid("no metadata were given", code="metadata_status_unexpected")
    return parse(response.body, issuer=issuer)


def parse(body: bytes, *, issuer: str) -> Metadata:
    """Read the document of exactly this issuer.

    Endpoints elsewhere are refused: whoever can write this document could otherwise send secrets
    and the trust in keys to a host of their own.

    Raises:
        MetadataInvalid: it is not the document of `issuer`, or its endpoints are not there.
    """
    try:
        document = strict_json(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise MetadataInvalid("the metadata is not a JSON object")
    # Section 3.3: compared as strings, without any normalising.
    if document.get("issuer") != issuer:
        raise MetadataInvalid(f"the metadata is not that of the issuer {issuer}, as written here")
    return Metadata(
        issuer,
        _endpoint(document, "token_endpoint", issuer),
        _endpoint(document, "jwks_uri", issuer),
        _max_count(document),
        # One that cannot be used must not pass for none at all.
        _endpoint(document, _FEED, issuer) if _FEED in document else None,
    )


def _max_count(document: dict[str, object]) -> int:
    # Verifiers read this document too, and an offer that makes no sense is no reason to lose keys.
    count = document.get("ephemera_max_count")
    return count if type(count) is int and count > 1 else 1


def _endpoint(document: dict[str, object], name: str, issuer: str) -> str:
    url = document.get(name)
    if not isinstance(url, str):
        raise MetadataInvalid(f"the metadata has no {name}")
    try:
        ours = url.isascii() and url.isprintable() and origin(url) == origin(issuer)
    except ValueError:
        ours = False
    if not ours or "@" in urlsplit(url).netloc or set(url) & set("# \\"):
        raise MetadataInvalid(f"{name} in the metadata is not a URL of the issuer's origin")
    return url
