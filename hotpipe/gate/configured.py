"""What the configuration means for the gate: its graph of stages, its triggers, and which files are no part of it."""

import os
from collections.abc import Mapping

from hotpipe.config.file import SHARED, Project
from hotpipe.config.model import Config
from hotpipe.gate import plan
from hotpipe.gate.triggers import Trigger
from hotpipe.tree.globs import Globs
from hotpipe.tree.ignore import Ignore


def graph(config: Config, usual_ms: Mapping[str, float]) -> plan.Graph:
    """The stages; `usual_ms` is how long each takes, where that is known."""
    needs = config.needs()
    shared = {stage.inputs: globs(stage.inputs) for stage in config.stage.values()}
    nodes = (
        plan.Node(name, needs[name], shared[stage.inputs], stage.allow_failure, stage.mutates, usual_ms.get(name))
        for name, stage in config.stage.items()
    )
    return plan.graph(nodes, jobs=config.gate.jobs or os.cpu_count() or 1, fail_fast=config.gate.fail_fast)


def globs(inputs: tuple[str, ...] | None) -> Globs | None:
    """The inputs of a stage or server; None: every watched file."""
    return None if inputs is None else Globs(inputs)


def triggers(config: Config, touches: Mapping[str | None, str]) -> tuple[Trigger, ...]:
    """The triggers that are to be touched: those of these servers."""
    return tuple(_trigger(config, server) for server in touches)


def _trigger(config: Config, server: str | None) -> Trigger:
    if server is None:
        return Trigger(None)
    asked = config.server[server]
    needs = None if asked.needs is None else plan.with_needed(config.needs(), asked.needs)
    return Trigger(server, needs, globs(asked.inputs))


def own(project: Project) -> str | None:
    """hotpipe's own file, which concerns no server: what it says of one is compared with what it said before."""
    path = os.path.relpath(project.file, project.root)
    return None if path == SHARED else path


def ignore(project: Project) -> Ignore:
    """What is not watched."""
    return Ignore(project.root, extra=project.config.watch.ignore, never=never(project))


def never(project: Project) -> tuple[str, ...]:
    """What is never watched: the triggers and what is prepared beside them, and where our own output goes."""
    triggers = (path for t in project.config.triggers().values() for path in (t, f"{t}.{os.getpid()}.tmp"))
    outputs = (os.path.relpath(os.path.realpath(f"/dev/fd/{d}"), os.path.realpath(project.root)) for d in (1, 2))
    return (*triggers, *(path for path in outputs if not path.startswith("..")))
