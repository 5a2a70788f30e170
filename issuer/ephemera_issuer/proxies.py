"""Proxies that are believed: who called them, and how, is what they say.

A proxy is trusted by its address alone. What anybody else sends under these names is not looked at.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from starlette.types import Scope

MOST_HOPS = 32
MOST_BYTES = 4096
"""Of one kind of header; proxies that are friends do not write as much."""

_FORWARDED, _FOR, _PROTO = b"forwarded", b"x-forwarded-for", b"x-forwarded-proto"
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 - RFC 9110's word for a word
_PAIR = re.compile(rf'[ \t]*({_TOKEN})=(?:({_TOKEN})|"((?:[^"\\]|\\.)*)")[ \t]*')
_NODE = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?|([0-9.]+)(?::[0-9]{1,5})?")
_BARE = re.compile(r"[0-9A-Fa-f:.]+")


class Hop(NamedTuple):
    """Who called a proxy, and by which scheme; None for what it does not say, or not clearly."""

    address: str | None
    scheme: str | None


class Proxies:
    """The addresses and networks whose word is taken.

    Raises:
        ValueError: One of them is no address and no network.
    """

    __slots__ = ("_networks",)

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks = tuple(ip_network(network) for network in networks)

    def __bool__(self) -> bool:
        """Whether anybody is trusted at all."""
        return bool(self._networks)

    def trusts(self, address: str) -> bool:
        """Whether `address` is that of a proxy."""
        return _is_in(self._networks, address)

    def resolve(self, scope: Scope) -> None:
        """Put the caller in the place of the proxies in front of it, in an ASGI scope."""
        peer = scope.get("client")
        if not self._networks or not peer or not self.trusts(peer[0]):
            return
        hop = self.caller(peer[0], scope["headers"])
        if hop.address is not None and hop.address != peer[0]:
            scope["client"] = (hop.address, 0)
        if hop.scheme is not None:
            scope["scheme"] = hop.scheme

    def caller(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> Hop:
        """Find the one that called the outermost proxy, from `peer`, which is one.

        That is the last address that is no trusted proxy's, read from the right, where each proxy
        writes. Where the walk ends at something that is no address, it is the proxy that wrote so.
        `Forwarded` (RFC 7239) and `X-Forwarded-*` are both read; where both are there and name
        different callers a client may have made one of them up, and neither is believed.
        """
        found: dict[bytes, list[bytes]] = {_FORWARDED: [], _FOR: [], _PROTO: []}
        for name, value in headers:
            if name in found:
                found[name].append(value)
        texts = {name: b",".join(values).decode("latin-1") for name, values in found.items()}
        if any(len(text) > MOST_BYTES for text in texts.values()):
            return Hop(None, None)
        chains = []
        if found[_FORWARDED]:
            chains.append(_forwarded(texts[_FORWARDED]))
        if found[_FOR] or found[_PROTO]:
            chains.append(_x_forwarded(texts[_FOR], texts[_PROTO]))
        callers = [self._walk(peer, chain) for chain in chains]
        if not callers or any(caller.address != callers[0].address for caller in callers):
            return Hop(None, None)
        schemes = {caller.scheme for caller in callers} - {None}
        return Hop(callers[0].address, schemes.pop() if len(schemes) == 1 else None)

    def _walk(self, peer: str, chain: list[Hop]) -> Hop:
        here = Hop(peer, None)
        for hop in reversed(chain[-MOST_HOPS:]):
            if hop.address is None:
                return Hop(here.address, hop.scheme or here.scheme)
            here = Hop(hop.address, hop.scheme or here.scheme)
            if not self.trusts(hop.address):
                break
        return here


def _is_in(networks: Collection[IPv4Network | IPv6Network], address: str) -> bool:
    parsed = _address(address)
    return parsed is not None and any(parsed in network for network in networks)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(text)
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return mapped or parsed


def _forwarded(text: str) -> list[Hop]:
    """Read RFC 7239 §4; what cannot be read is one hop of which nothing is known."""
    hops: list[Hop] = []
    pairs: dict[str, str] = {}
    at = 0
    while at <= len(text):
        pair = _PAIR.match(text, at)
        if pair is not None:
            name = pair[1].lower()
            if name in pairs:
                return [Hop(None, None)]
            pairs[name] = pair[2] if pair[2] is not None else re.sub(r"\\(.)", r"\1", pair[3])
            at = pair.end()
        else:
            at += len(text[at:]) - len(text[at:].lstrip(" \t"))
        end = text[at : at + 1]
        if end not in {";", ",", ""}:
            return [Hop(None, None)]
        if end != ";" and pairs:
            hops.append(Hop(_node(pairs.get("for", "")), _scheme(pairs.get("proto", ""))))
            pairs = {}
        at += 1
    return hops


def _x_forwarded(addresses: str, protocols: str) -> list[Hop]:
    """Read what proxies wrote before there was a standard; the scheme is the last one named."""
    scheme = _scheme(protocols.rpartition(",")[2].strip())
    nodes = [node.strip() for node in addresses.split(",") if node.strip()]
    hops = [Hop(_node(node), None) for node in nodes]
    if not hops:
        return [Hop(None, scheme)]
    return [*hops[:-1], Hop(hops[-1].address, scheme)]


def _node(text: str) -> str | None:
    """Return the address of `192.0.2.1:80`, `[2001:db8::1]:80` or a bare literal."""
    node = _NODE.fullmatch(text)
    literal = (node[1] or node[2]) if node else text if _BARE.fullmatch(text) else ""
    parsed = _address(literal)
    return None if parsed is None else str(parsed)


def _scheme(text: str) -> str | None:
    lowered = text.lower()
    return lowered if lowered in {"http", "https"} else None
