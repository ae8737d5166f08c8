"""The placeholders in a server's commands: `{fd}`, `{fd:NAME}`, `{host}`, `{port}`, `{addr}`, `{url}`."""

import re
from collections.abc import Mapping, Sequence

from hotpipe.server import sockets
from hotpipe.server.listener import Group, Listener, Shared

FIRST_DESCRIPTOR = 3  # SD_LISTEN_FDS_START, sd_listen_fds(3)
_PLACEHOLDER = re.compile(r"\{(fd(?::[^{}]+)?|host|port|addr|url)\}")
_SCHEMES = frozenset({"http", "https"})


def public(listeners: Sequence[Listener]) -> Mapping[str, str]:
    """What they stand for: those of the first socket, and each descriptor by its name."""
    words = {f"fd:{each.name}": str(FIRST_DESCRIPTOR + place) for place, each in enumerate(listeners)}
    if listeners:
        first = listeners[0]
        words |= {"fd": str(FIRST_DESCRIPTOR), "addr": first.addr, "url": first.addr, "host": "", "port": ""}
        if isinstance(first, Group | Shared):
            words |= {"host": first.host, "port": str(first.port), "url": _url(first.listen.type, *first.target)}
    return words


def leading_to(listener: Listener, host: str, port: int) -> Mapping[str, str]:
    """The same, where another way than the public one leads to the server."""
    kind = "http" if listener.listen.type == "unix" else listener.listen.type
    return {"host": host, "port": str(port), "addr": sockets.joined(host, port), "url": _url(kind, host, port)}


def fill(text: str, words: Mapping[str, str]) -> str:
    """Only the known names are replaced; every other brace stays as it is."""
    return _PLACEHOLDER.sub(lambda found: words.get(found[1], found[0]), text)


def fill_command(run: str | tuple[str, ...], words: Mapping[str, str]) -> str | tuple[str, ...]:
    """The same in a text for sh, or in each part of an argv."""
    return fill(run, words) if isinstance(run, str) else tuple(fill(part, words) for part in run)


def are_in(run: str | tuple[str, ...]) -> bool:
    """Whether a command has any."""
    return _PLACEHOLDER.search(run if isinstance(run, str) else " ".join(run)) is not None


def _url(kind: str, host: str, port: int) -> str:
    """As a browser takes it, where that makes sense."""
    where = sockets.joined(host, port)
    return f"{kind}://{where}" if kind in _SCHEMES else where
