"""Whose pages may be told what hotpipe knows, and may have files opened. Pure.

Invariant: an origin is allowed only if it is that of a socket that hotpipe holds for one of its servers, or stands in
`[web] origins`. A page from elsewhere cannot forge it: browsers write `Origin`, not pages (RFC 6454).

A socket on all addresses is this machine under its own name, too. What else leads here (a proxy's name, an address in
the local network), only the user knows: names are answered by whoever runs the network, and are not believed.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from hotpipe.events import Address

_ORIGIN = re.compile(r"(https?)://(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::(\d{1,5}))?")
_SOCKET = re.compile(r"(?:\[([^\]]+)\]|([^:\[\]]+)):(\d{1,5})")
_PORTS = {"http": 80, "https": 443}
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

Place = tuple[str, str, int]  # scheme, host as a URL has it, port


@dataclass(slots=True)
class Origins:
    """The origins of `servers` (their sockets, by name), and those that the user `named`; `machine` is its own name."""

    machine: str = ""
    named: tuple[str, ...] = ()
    servers: Mapping[str, Iterable[Address]] = field(default_factory=dict)

    def allows(self, origin: str | None) -> bool:
        place = parse(origin)
        return place is not None and (place in map(parse, self.named) or self.server(origin) is not None)

    def server(self, origin: str | None) -> str | None:
        """Whose page that is; None: nobody's, or that of a proxy."""
        place = parse(origin)
        if place is None:
            return None
        return next((name for name, sockets in self.servers.items() if place in self._places(sockets)), None)

    def _places(self, sockets: Iterable[Address]) -> Iterator[Place]:
        for socket in sockets:
            yield from _places(socket, self.machine.lower())


def parse(origin: str | None) -> Place | None:
    """What browsers send as `Origin`; None: something else ("null", say)."""
    found = _ORIGIN.fullmatch((origin or "").lower())
    if found is None:
        return None
    scheme, host, port = found.groups()
    return scheme, _known(host), int(port or _PORTS[scheme])


def _known(host: str) -> str:
    """A name below localhost never leaves this machine (RFC 6761, 6.3), and browsers do not even ask."""
    return "localhost" if host.endswith(".localhost") else host


def _places(socket: Address, machine: str) -> Iterator[Place]:
    found = _SOCKET.fullmatch(socket.addr)
    if found is None:  # a unix socket
        return
    hosts = _hosts(found[1] or found[2], machine)
    for scheme in _schemes(socket.name):
        for host in hosts:
            yield scheme, host, int(found[3])


def _schemes(name: str) -> tuple[str, ...]:
    """A socket without a name of its own bears its type; what speaks behind others is not known."""
    kind = name.rstrip("0123456789")
    if kind in _PORTS:
        return (kind,)
    return () if kind == "udp" else tuple(_PORTS)


def _hosts(bound: str, machine: str) -> tuple[str, ...]:
    try:
        address = ipaddress.ip_address(bound)
    except ValueError:
        return (bound.lower(),)
    if address.is_unspecified:
        return (*_LOOPBACK, machine) if machine else _LOOPBACK
    if address.is_loopback:
        own = f"[{address}]" if address.version == 6 else str(address)
        return (*_LOOPBACK, own)
    return (f"[{address}]" if address.version == 6 else str(address),)
