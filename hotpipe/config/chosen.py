"""A part of the stages: those that somebody has named, and what they need in so many words. Pure."""

from collections.abc import Collection, Iterable, Mapping

from msgspec.structs import replace

from hotpipe.config.model import Config

_Needs = Mapping[str, tuple[str, ...]]


def only(config: Config, names: Iterable[str]) -> Config:
    """The configuration with the stages `names`, and with those that they need by a `needs` that is written.

    That a stage without `needs` needs the one above it is an order, and nobody asked for the stages above. Among those
    that are left the order stays: `lint`, `types`, `test` without `types` is `lint`, then `test`.
    """
    kept = frozenset(_closure(config, names))
    needs = config.needs()
    stages = {
        name: replace(stage, needs=_nearest(needs, kept, name)) for name, stage in config.stage.items() if name in kept
    }
    return replace(config, stage=stages)


def _closure(config: Config, names: Iterable[str]) -> set[str]:
    found: set[str] = set()
    wanted = list(names)
    while wanted:
        name = wanted.pop()
        if name not in found:
            found.add(name)
            wanted.extend(config.stage[name].needs or ())
    return found


def _nearest(needs: _Needs, kept: Collection[str], name: str) -> tuple[str, ...]:
    """What `name` needs; in place of a stage that is left out, what that one needs."""
    nearest: dict[str, None] = {}
    seen: set[str] = set()
    waiting = list(needs[name])
    while waiting:
        need = waiting.pop(0)
        if need in kept:
            nearest[need] = None
        elif need not in seen:
            seen.add(need)
            waiting.extend(needs[need])
    return tuple(nearest)
