"""The private listener of a running issuer, and what it tells."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx
from issuer.fixtures_observing import samples, value

if TYPE_CHECKING:
    from issuer.fixtures_observing import Samples

    from ephemera_issuer.demo.process import Service

_PRIVATE = re.compile(r"private listener on (http://\S+)")


def private_url(service: Service) -> str:
    """Where it listens, as the line on standard output says."""
    (found,) = filter(None, map(_PRIVATE.search, service.output))
    return found[1]


def exposition(service: Service) -> str:
    """The whole text of `/metrics`, by a connection of its own."""
    answer = httpx.get(f"{private_url(service)}/metrics", trust_env=False, timeout=30)
    assert answer.status_code == 200
    return answer.text


def metrics(service: Service) -> Samples:
    return samples(exposition(service))


def mints(service: Service, client: str, audience: str) -> float:
    return value(metrics(service), "ephemera_mints_total", client=client, audience=audience)
