"""What hotpipe is to do, as a verb says it."""

from dataclasses import dataclass, field

from hotpipe.config.file import Project
from hotpipe.config.model import Config
from hotpipe.errors import UsageError
from hotpipe.gate.cache import FOLDER as CACHE
from hotpipe.instance import Role
from hotpipe.ui.face import Face, Screen


@dataclass(frozen=True, slots=True)
class Job:
    """What to run: which halves, in which role (none: beside any other hotpipe), and which runs end it (none of them:
    only a signal does).

    `as_found`: green counts only for the tree that was found; what a stage that mutates has mended was not right.
    `changed` are the paths that count as changed, relative to the root and as from `os.fsdecode`: a stage none of whose
    inputs is among them is skipped (none: all count). `cache` is the folder of the cache, relative to the root or
    absolute; empty: nothing is remembered, and nothing that was is believed. `web`: with the dashboard.
    `ttys`: the user looks at a terminal, and so children get one to write to.
    `notify`: somebody is told who looks elsewhere, as the configuration wants it.
    """

    project: Project
    face: Face | Screen
    gate: bool = False
    serve: bool = False
    touch: bool = True
    role: Role | None = None
    ends: frozenset[str] = field(default_factory=frozenset)
    as_found: bool = False
    changed: tuple[str, ...] | None = None
    cache: str = CACHE
    web: bool = False
    ttys: bool = False
    notify: bool = False

    def check(self, config: Config, path: str) -> None:
        """Raises UsageError where the configuration gives it nothing to do, or what it needs is not installed."""
        if self.web:
            from hotpipe.web.opening import require

            require()
        if self.gate and self.serve and not config.stage and not config.server:
            hint = 'write [stage.test] with run = "pytest", or [server.web]'
            raise UsageError(f"{path} has neither a stage nor a server: there is nothing to do", hint)
        if self.serve and not self.gate and not config.server:
            raise UsageError(f"{path} has no server", hint="write [server.web] with run and listen")
