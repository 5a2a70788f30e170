"""Which primary owns which part of the ledger: one all of it, or each of a cluster its slots."""

import threading
from binascii import crc_hqx
from collections.abc import Callable

from ephemera_client.instant import Clock
from ephemera_client.replay.redis_primary import PARTITIONS, Attempt, Link, LinkFailed, Primary
from ephemera_client.replay.redis_wire import Server

_SLOTS = 16384
# The slot of a key with a hash tag (Redis Cluster Specification, "Hash tags").
_SLOT_OF = [crc_hqx(f"{partition:02x}".encode(), 0) % _SLOTS for partition in range(PARTITIONS)]


class Primaries:
    """The primaries known, at first the one that is configured.

    A node of a cluster that is asked for what is not its own says so; then it is asked who owns
    what, and so are the others when a primary is lost.
    """

    def __init__(
        self, seed: Server, *, connect: Callable[[Server], Link], prefix: str, clock: Clock
    ) -> None:
        self._seed = seed
        self._connect = connect
        self._prefix = prefix
        self._clock = clock
        self._lock = threading.Lock()
        self._is_cluster = False
        self._known = {seed: self._primary(seed)}
        self._owners = [self._known[seed]] * PARTITIONS

    def route(self, attempt: Attempt) -> None:
        """Send a claim to the owner of its slot."""
        self._owners[attempt.partition].submit(attempt)

    def learn(self, link: Link) -> None:
        """Ask a node of a cluster who owns what.

        Raises:
            LinkFailed: it does not say.
        """
        owners = list(link.owners())
        with self._lock:
            self._is_cluster = True
            known: dict[Server, Primary] = {}
            for slots, host, port in owners:
                server = self._seed.at(host, port)
                for partition, slot in enumerate(_SLOT_OF):
                    if slot in slots:
                        known[server] = self._known.get(server) or self._primary(server)
                        self._owners[partition] = known[server]
            kept = set(self._owners)
            gone = {server: it for server, it in self._known.items() if it not in kept}
            self._known |= known
            for server in gone:
                del self._known[server]
        for primary in gone.values():
            primary.retire()

    def search(self, lost: Primary) -> None:
        """Ask the other nodes of a cluster, until one says who owns what."""
        with self._lock:
            others = [server for server, primary in self._known.items() if primary is not lost]
            is_cluster = self._is_cluster
        if not is_cluster:
            return
        for server in dict.fromkeys([*others, self._seed]):
            try:
                link = self._connect(server)
            except LinkFailed:
                continue
            try:
                self.learn(link)
            except LinkFailed:
                continue
            finally:
                link.close()
            return

    def close(self) -> None:
        """Close all connections; the next claim opens what it needs."""
        with self._lock:
            known = list(self._known.values())
        for primary in known:
            primary.close()

    def _primary(self, server: Server) -> Primary:
        return Primary(lambda: self._connect(server), self, prefix=self._prefix, clock=self._clock)
