"""Projects whose stages obey the test, and what comes of them: for the tests with real stages."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from running import HOTPIPE, environment

Event = dict[str, Any]
_DROP, _DAC_OVERRIDE = 24, 1  # PR_CAPBSET_DROP, <linux/prctl.h>; CAP_DAC_OVERRIDE, <linux/capability.h>
# As the tests' user, who may be root, but without root's right to write where the mode forbids it.
UNPRIVILEGED = (
    sys.executable,
    "-c",
    f"import ctypes as c, os, sys; c.CDLL(None).prctl({_DROP}, {_DAC_OVERRIDE}); os.execv(sys.argv[1], sys.argv[1:])",
)


def project(folder: Path, config: str, files: Mapping[str, str] | None = None) -> Path:
    """A folder with this configuration and these files."""
    for name, content in {"hotpipe.toml": config, **(files or {})}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return folder


class Checked(NamedTuple):
    """What `hotpipe check` came to."""

    code: int
    events: list[Event]
    said: str

    def of(self, kind: str, **fields: object) -> list[Event]:
        return such(self.events, kind, **fields)

    def texts(self, stage: str) -> list[str]:
        return [event["text"] for event in self.of("stage.output", stage=stage)]

    @property
    def statuses(self) -> dict[str, str]:
        return statuses(self.events)


def check(folder: Path, *arguments: str, launcher: Iterable[str] = (), env: Mapping[str, str] | None = None) -> Checked:
    """Run `hotpipe check --json` to its end."""
    command = [*launcher, *HOTPIPE, "check", "--json", *arguments]
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment() | dict(env or {}),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    return Checked(done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr)


def such(events: Iterable[Event], kind: str, **fields: object) -> list[Event]:
    """The events of that type and with these fields."""
    return [e for e in events if e["type"] == kind and all(e[key] == value for key, value in fields.items())]


def statuses(events: Iterable[Event]) -> dict[str, str]:
    """What each stage came to, the last time."""
    return {event["stage"]: event["status"] for event in such(events, "stage.finished")}


class Tap:
    """A FIFO at which stages wait: `read word < NAME`. It is never at its end, so who comes late misses nothing."""

    def __init__(self, folder: Path, name: str) -> None:
        os.mkfifo(folder / name)
        self._end = os.open(folder / name, os.O_RDWR)

    def let(self, word: str = "go") -> None:
        """One of those who wait may go on."""
        os.write(self._end, f"{word}\n".encode())

    def close(self) -> None:
        os.close(self._end)


MakeTap = Callable[[Path, str], Tap]


@pytest.fixture
def tap() -> Iterator[MakeTap]:
    made: list[Tap] = []

    def make(folder: Path, name: str) -> Tap:
        made.append(Tap(folder, name))
        return made[-1]

    yield make
    for each in made:
        each.close()
