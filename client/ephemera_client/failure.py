"""Why there is no answer: one code and one sentence for all that the engine, TLS and DNS raise."""

import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Literal

import httpcore

FailureCode = Literal[
    "client_closed",
    "client_forked",
    "connect_failed",
    "connection_lost",
    "content_encoded",
    "dns_failed",
    "link_local",
    "protocol_error",
    "redirected",
    "timeout",
    "tls_certificate_expired",
    "tls_certificate_unfit",
    "tls_failed",
    "tls_host_mismatch",
    "tls_not_spoken",
    "tls_unknown_authority",
    "too_large",
]

# OpenSSL's X509_V_ERR_*, which Python passes on as a number only.
_UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21})
_EXPIRED = frozenset({9, 10})
_HOST_MISMATCH = frozenset({62, 64})

# OpenSSL's words for a first record that is none.
_NOT_TLS = frozenset({"HTTP_REQUEST", "RECORD_LAYER_FAILURE", "WRONG_VERSION_NUMBER"})

_SENTENCES: Mapping[str, str] = {
    "client_closed": "the httpx client given as http= has been closed",
    "client_forked": "the httpx client given as http= is that of the parent process: a forked"
    " child needs one of its own",
    "connect_failed": "no connection could be made",
    "connection_lost": "the connection was lost before the whole answer had come",
    "content_encoded": "the answer came compressed although none of that was asked for",
    "dns_failed": "the host name does not resolve",
    "link_local": "the host name resolves to link-local addresses alone, and those are refused",
    "protocol_error": "the answer was not one whole HTTP/1.1 response",
    "redirected": "the answer was a redirect, and those are not followed",
    "timeout": "there was no whole answer in time",
    "tls_certificate_expired": "the certificate of the server, or of its authority, has expired or"
    " is not valid yet: renew it, or compare the clocks",
    "tls_certificate_unfit": "the certificate of the server, or of its authority, is not for this"
    " use: see its basicConstraints, keyUsage and extendedKeyUsage",
    "tls_failed": "the TLS handshake failed",
    "tls_host_mismatch": "the server's certificate is for other hosts: use a name that it holds, or"
    " issue one that holds this name as a subjectAltName",
    "tls_not_spoken": "what answers there speaks no TLS: is it another port, or plain http?",
    "tls_unknown_authority": "the server's certificate is signed by no authority trusted here:"
    " name a private one with ca_file=",
    "too_large": "the answer is larger than allowed",
}


class OnlyLinkLocal(Exception):
    """A host name resolves to addresses that were not to be connected to."""


class HttpFailed(Exception):
    """There is no answer to judge.

    The text names the configured origin and the kind of failure; it never quotes what was sent or
    what came back.
    """

    def __init__(self, code: FailureCode, origin: str) -> None:
        super().__init__(f"{origin}: {_SENTENCES[code]}")
        self.code: FailureCode = code


def sentence(code: str) -> str | None:
    """Return what a code says to people; None for the codes of others."""
    return _SENTENCES.get(code)


def explain(error: Exception, origin: str) -> HttpFailed:
    """Return what `error` comes down to; an exchange with `origin` raised it."""
    if isinstance(error, HttpFailed):
        return error
    return HttpFailed(_code(list(_causes(error))), origin)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _code(causes: list[BaseException]) -> FailureCode:
    codes: dict[type[BaseException] | tuple[type[BaseException], ...], FailureCode] = {
        ssl.SSLError: _tls_code(causes),
        (socket.gaierror, UnicodeError): "dns_failed",
        OnlyLinkLocal: "link_local",
        (httpcore.TimeoutException, TimeoutError): "timeout",
        httpcore.ConnectError: "connect_failed",
        (httpcore.NetworkError, OSError): "connection_lost",
    }
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _certificate_code(cause.verify_code)
    if isinstance(causes[0], httpcore.RemoteProtocolError) and len(causes) == 1:
        # httpcore's own word for a connection closed in place of an answer; the others are h11's.
        return "connection_lost"
    for kinds, code in codes.items():
        if any(isinstance(cause, kinds) for cause in causes):
            return code
    return "protocol_error"


def _tls_code(causes: list[BaseException]) -> FailureCode:
    reasons = {cause.reason for cause in causes if isinstance(cause, ssl.SSLError)}
    return "tls_failed" if reasons.isdisjoint(_NOT_TLS) else "tls_not_spoken"


def _certificate_code(verify_code: int) -> FailureCode:
    if verify_code in _UNKNOWN_AUTHORITY:
        return "tls_unknown_authority"
    if verify_code in _EXPIRED:
        return "tls_certificate_expired"
    return "tls_host_mismatch" if verify_code in _HOST_MISMATCH else "tls_certificate_unfit"
