"""Which triggers are to be touched, and which wait for nothing new. Pure."""

from collections.abc import Collection, Iterable

from msgspec import Struct
from msgspec.structs import replace

from hotpipe.tree.globs import Globs


class Trigger(Struct, frozen=True):
    """The trigger of one server (null: of a second watcher of the user's own), and what it waits for.

    `needs` are the stages that must have passed (null: all), `inputs` the changes that concern it (null: every one).
    `stale`: this gate has never touched it, or something that concerns it has changed since. `changed` is all that has
    changed since its last touch, whether that concerns it or not: the tree that it will name differs from the last one
    by nothing else. Nothing but a touch makes it forget: no red run, and no edit undone.
    """

    server: str | None
    needs: tuple[str, ...] | None = None
    inputs: Globs | None = None
    stale: bool = True
    changed: frozenset[str] = frozenset()

    def after_change(self, paths: Iterable[str]) -> "Trigger":
        stale = self.stale or any(self.inputs is None or self.inputs.matches(path) for path in paths)
        return replace(self, stale=stale, changed=self.changed.union(paths))

    def after_touch(self) -> "Trigger":
        """Fresh until something changes; what is no server of ours is told of every green run."""
        return replace(self, stale=self.server is None, changed=frozenset())


class Due(Struct, frozen=True):
    """A trigger that is to be touched, and what its record is to say has changed."""

    server: str | None
    changed: tuple[str, ...] = ()


def due(triggers: Iterable[Trigger], stages: Collection[str], passed: Collection[str]) -> tuple[Due, ...]:
    """The triggers to touch when of all `stages` these have passed."""
    return tuple(
        Due(trigger.server, tuple(sorted(trigger.changed)))
        for trigger in triggers
        if trigger.stale and set(stages if trigger.needs is None else trigger.needs) <= set(passed)
    )


def changed(triggers: Iterable[Trigger], paths: Collection[str]) -> tuple[Trigger, ...]:
    """The triggers after `paths` have changed."""
    return tuple(trigger.after_change(paths) for trigger in triggers)


def touched(triggers: Iterable[Trigger], servers: Collection[str | None]) -> tuple[Trigger, ...]:
    """The triggers after those of `servers` have been touched."""
    return tuple(trigger.after_touch() if trigger.server in servers else trigger for trigger in triggers)


def renewed(old: Iterable[Trigger], new: Iterable[Trigger], altered: Collection[str | None]) -> tuple[Trigger, ...]:
    """The `new` triggers with what the `old` ones know; those of `altered` servers are stale."""
    known = {trigger.server: trigger for trigger in old}
    return tuple(
        replace(each, stale=known[each.server].stale or each.server in altered, changed=known[each.server].changed)
        if each.server in known
        else each
        for each in new
    )
