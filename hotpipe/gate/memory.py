"""What the gate remembers of its stages: the last record of each, and passes on disk by the content of their inputs.

A pass is remembered under its key only once the machine has vouched for it, and the key is the one that it had when the
stage started: a result never stands for content that the stage did not see.
"""

import os
from collections import deque
from collections.abc import Mapping

from msgspec import structs

from hotpipe.config.file import Project
from hotpipe.config.model import Stage
from hotpipe.events import Emit, StageFinished, StageOutput
from hotpipe.gate.cache import Cache, Entry
from hotpipe.gate.key import Keys
from hotpipe.gate.record import Record, found, told
from hotpipe.tree.identity import Entry as File
from hotpipe.tree.inputs import Inputs

_KEPT = "nothing that concerns it has changed since run {}"
_CACHED = "it has passed on just this content"
_WHILE_MS = 50.0  # nobody replaces a program in less
_SPARED = "none of its inputs is among the files in question"


class Memory:
    """Of one project's stages. `cache` is where passes are kept on disk; null: nowhere. Where the project is a copy,
    `place` is what it is a copy of."""

    def __init__(self, project: Project, cache: Cache | None, place: str | None, emit: Emit) -> None:
        self._cache = cache
        self._place = place
        self._emit = emit
        self._records: dict[str, Record] = {}
        self._fresh: dict[str, str | None] = {}  # the keys of what has run, to be kept once it is vouched for
        self._memo: dict[str, str] = {}
        self.reconfigure(project, {})

    def reconfigure(self, project: Project, files: Mapping[str, File]) -> None:
        """Other stages, perhaps, in the tree of these files."""
        self._project = project
        self._needs = project.config.needs()
        if self._cache is not None:
            self._cache.resize(project.config.gate.cache_size)
        self._keys = Keys(project.root, os.environ, self._place)
        self._inputs = Inputs({stage.inputs for stage in self._stages.values()})
        self.fill(files)

    def fill(self, files: Mapping[str, File]) -> None:
        """Read what there is for the first time."""
        self._inputs.fill(files)
        self.forget_keys()

    def changed(self, files: Mapping[str, File], paths: tuple[str, ...]) -> frozenset[str]:
        """These files may not be what they were; those of which something else was remembered are returned."""
        self.forget_keys()
        return self._inputs.update(files, paths)

    def forget_keys(self) -> None:
        """What they were made of may be different: at the start of each run, and with each change."""
        self._memo.clear()
        self._keys.forget()

    def without_files(self) -> list[str]:
        """The stages whose inputs, though there are some, match no file."""
        asked = (name for name, stage in self._stages.items() if stage.inputs)
        return [name for name in asked if not self._inputs.paths(self._stages[name].inputs)]

    def files(self, name: str, changed: frozenset[str] | None) -> tuple[str, ...]:
        """What a stage is to look at: of its inputs that exist those that have changed, or all where that is not known
        or nothing is left of them."""
        paths = self._inputs.paths(self._stages[name].inputs)
        return tuple(path for path in paths if path in changed) or paths if changed else paths

    def key(self, name: str) -> str:
        """The key of a stage in the tree as it is."""
        waiting = [name]
        while name not in self._memo:  # hundreds in a row are no trouble
            last = waiting[-1]
            missing = [need for need in self._needs[last] if need not in self._memo]
            waiting.extend(missing)
            if not missing:
                self._memo[last] = self._key(waiting.pop())
        return self._memo[name]

    def _key(self, name: str) -> str:
        stage = self._stages[name]
        needed = [self._memo[need] for need in self._needs[name]]
        return self._keys.key(name, stage, self._inputs.identity(stage.inputs), needed)

    def recall(self, run: int, name: str) -> bool:
        """Tell of an earlier pass on just this content, if there is one on disk."""
        stage = self._stages[name]
        entry = self._cache.get(self.key(name)) if self._cache is not None and stage.cache else None
        if entry is None:
            return False
        record = Record(entry.run, "passed", 0, entry.took_ms, output=deque(entry.output), lost=entry.lost)
        record.findings = found(self._project.root, stage.cwd, record)
        self._records[name] = record
        self._replay(run, name, record, _CACHED)
        record.run = run
        return True

    def keep(self, run: int, name: str) -> None:
        """Tell again what came of a stage: it still holds."""
        record = self._records[name]
        self._replay(run, name, record, _KEPT.format(record.run))

    def spare(self, run: int, name: str) -> None:
        """Tell that a stage is not concerned."""
        self._emit(StageFinished(run=run, stage=name, status="skipped", exit_code=None, took_ms=0.0, why=_SPARED))

    def _replay(self, run: int, name: str, record: Record, why: str) -> None:
        for stream, text in record.output:
            self._emit(StageOutput(run=run, stage=name, stream=stream, text=text))
        for finding in record.findings:
            self._emit(told(run, name, finding))
        event = record.finished(run, name, self._stages[name], why)
        is_good = record.status == "passed"
        self._emit(structs.replace(event, status="cached" if is_good else record.status, took_ms=0.0))

    @property
    def _stages(self) -> dict[str, Stage]:
        return self._project.config.stage

    def ended(self, name: str, key: str | None, record: Record) -> None:
        """What came of a stage that started with this key; null: it has the key of what it left. If it has another one
        by now, a program was replaced meanwhile, say: nobody knows which one ran."""
        if record.took_ms > _WHILE_MS:
            self.forget_keys()
        self._records[name] = record
        now = self.key(name) if name in self._stages else None
        self._fresh[name] = now if key in (None, now) else None

    def vouched(self, stages: frozenset[str]) -> None:
        """Keep these passes."""
        for name in stages:
            key, record = self._fresh.pop(name, None), self._records.get(name)
            if key is not None and record is not None and self._cache is not None and self._stages[name].cache:
                self._cache.put(key, Entry(name, record.command, record.took_ms, tuple(record.output), record.lost))

    @property
    def is_crowded(self) -> bool:
        """Whether what is on disk may be more than was asked for."""
        return self._cache is not None and self._cache.is_crowded

    def prune(self) -> None:
        """Forget what was used longest ago. Blocks on the disk."""
        if self._cache is not None:
            self._cache.prune()
