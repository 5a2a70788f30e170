"""HTTP: requests in, responses out. The only place that knows a status code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ephemera_issuer.snapshot import Snapshot


class Current(Protocol):
    """Whatever keeps the snapshot to answer from."""

    @property
    def current(self) -> Snapshot | None:
        """The latest; None while there has been none."""
        ...
