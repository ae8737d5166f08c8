"""Events of stages as reports are made of, and `hotpipe check` run to its end."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from running import environment

from hotpipe.events import (
    AnyEvent,
    RunFinished,
    RunStarted,
    RunStatus,
    Severity,
    StageFinding,
    StageFinished,
    StageOutput,
    StageStarted,
    StageStatus,
    Stamp,
    Stamped,
)

TREE = "c33c87cf5a6e4f3d9b1c2d3e4f5a6b7c"
STAMP = Stamp(seq=1, time="2026-01-02T03:04:05.678Z", mono=1.0)


def stamped(*events: AnyEvent) -> list[Stamped]:
    return [Stamped(STAMP, event) for event in events]


def begun() -> RunStarted:
    return RunStarted(run=1, tree=TREE, changed=())


def over(status: RunStatus = "red", took_ms: float = 2_420.0) -> RunFinished:
    return RunFinished(run=1, status=status, took_ms=took_ms)


def output(stage: str, *lines: str) -> list[AnyEvent]:
    return [StageOutput(run=1, stage=stage, stream="stdout", text=line) for line in lines]


def finding(
    stage: str = "lint",
    message: str = "unused import",
    severity: Severity = "error",
    at: tuple[str | None, int | None, int | None] = ("app.py", 3, 7),
    code: str | None = "F401",
) -> StageFinding:
    path, line, column = at
    return StageFinding(
        run=1, stage=stage, tool="ruff", severity=severity, path=path, line=line, column=column, code=code,
        message=message,
    )  # fmt: skip


def ended(stage: str, status: StageStatus = "passed", code: int | None = None, **more: Any) -> StageFinished:
    took_ms = more.pop("took_ms", 1_234.5)
    return StageFinished(run=1, stage=stage, status=status, exit_code=code, took_ms=took_ms, **more)


def stage(name: str, status: StageStatus, *between: AnyEvent, code: int | None = None, **more: Any) -> list[AnyEvent]:
    """All events of one stage."""
    return [StageStarted(run=1, stage=name, command=f"run {name}"), *between, ended(name, status, code, **more)]


def check(folder: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """`hotpipe check ARGUMENTS…` in the folder, run to its end; `env` is added to what it starts with."""
    env = environment() | options.pop("env", {})
    options = {"cwd": folder, "capture_output": True, "timeout": 60} | options
    command = [sys.executable, "-m", "hotpipe", "check", *arguments]
    return subprocess.run(
        command, env=env, check=False, text=True, encoding="utf-8", errors="surrogateescape", **options
    )


def project(folder: Path, **stages: str) -> Path:
    """A project whose stages run these Python programs, by name, in this order."""
    tables = []
    for name, program in stages.items():
        (folder / f"{name}.py").write_text(program, encoding="utf-8")
        tables.append(f'[stage.{name}]\nrun = ["{sys.executable}", "{name}.py"]\n')
    (folder / "hotpipe.toml").write_text("\n".join(tables))
    return folder
