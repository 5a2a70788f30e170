"""What a listener needs to receive callers, beside its address: room, a certificate, proxies."""

from __future__ import annotations

import resource
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from ephemera_issuer.certificate import Certificate
from ephemera_issuer.connection import Times
from ephemera_issuer.proxies import Proxies

if TYPE_CHECKING:
    from ephemera_issuer.settings import Settings

SPARE_FILES = 256
"""Descriptors that a process needs beside its callers' connections."""


@dataclass(frozen=True, slots=True)
class Reception:
    """How callers are received.

    Args:
        in_all: Connections of one process.
        of_address: And of one address; trusted proxies have no share of their own.
        certificate: What TLS shows; None for plain HTTP.
        proxies: Whose word is taken for who calls.
        times: How long callers may take.
    """

    in_all: int = 4096
    of_address: int = 1024
    certificate: Certificate | None = None
    proxies: Proxies = field(default_factory=Proxies)
    times: Times = field(default_factory=Times)


def reception(settings: Settings) -> Reception:
    """Make ready what `settings` want: read the certificate, and have enough descriptors.

    Raises:
        SettingsInvalid: The certificate cannot be used.
    """
    certificate = None
    if settings.tls_cert_file is not None and settings.tls_key_file is not None:
        certificate = Certificate(settings.tls_cert_file, settings.tls_key_file)
    in_all = room_for(settings.max_connections)
    return Reception(
        in_all,
        min(settings.max_connections_of_address, in_all),
        certificate,
        Proxies(settings.trusted_proxies),
    )


def room_for(connections: int) -> int:
    """Raise the limit of open files as far as is needed and allowed; the connections that fit."""
    needed = connections + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        if allowed < needed:
            fitting = max(allowed - SPARE_FILES, allowed // 2)
            structlog.get_logger().warning(
                "connections_limited", wanted=connections, connections=fitting, open_files=allowed
            )
            return fitting
    return connections
