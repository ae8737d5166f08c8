"""`hotpipe doctor`: each warning from injected facts, and real looks at real machines and projects."""

import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from running import HOTPIPE, Start, environment, free_port

from hotpipe.doctor import machine as real_machine
from hotpipe.doctor import project as real_project
from hotpipe.doctor.facts import Deaf, Inotify, Kernel, Machine, Missing, NoProject, Project, Taken
from hotpipe.doctor.judge import Finding, is_unusable, judge
from hotpipe.tree import inotify as tree_inotify

INOTIFY = Inotify(max_watches=10_000, max_instances=128, used_watches=100, used_instances=3)
MACHINE = Machine("Linux", "6.18", "3.11.7", "1.0", INOTIFY, git="git version 2.39", descriptors=1024)
PROJECT = Project(
    root="/p", file="hotpipe.toml", folders=50, files=900, stages=2, servers=1, sockets=1,
    free_bytes=10**11, free_inodes=10**6, cache_entries=3, cache_bytes=2_500_000, cache_most=256_000_000,
)  # fmt: skip


def worse(machine: Machine, project: Project | NoProject) -> list[Finding]:
    return [finding for finding in judge(machine, project) if finding.mark != "ok"]


def test_where_all_is_well_nothing_is_said_to_be_wrong() -> None:
    assert worse(MACHINE, PROJECT) == []
    said = {finding.name: finding.message for finding in judge(MACHINE, PROJECT)}
    assert said["inotify.watches"] == "10,000 inotify watches, 100 in use, 50 for this project"
    assert said["config"] == "hotpipe.toml: 2 stages, 1 server, 900 files watched"
    assert said["address"] == "1 socket in listen: free"
    assert said["cache"] == "the cache holds 3 files, 2.5 MB of 256 MB"
    assert said["folder"] == ".hotpipe can be written to, 100 GB free"


def kernel(**lacking: Any) -> Machine:
    return replace(MACHINE, kernel=Kernel(**lacking))


OF_THE_MACHINE: dict[str, tuple[Machine, str, str, str, str]] = {
    "macOS": (replace(MACHINE, system="Darwin"), "system", "warning", "without a gap", "Linux"),
    "WSL 1": (replace(MACHINE, wsl=1), "system", "warning", "WSL 1", "--set-version"),
    "no git": (replace(MACHINE, git=""), "git", "warning", "not installed", "install git"),
    "few descriptors": (replace(MACHINE, descriptors=64), "descriptors", "warning", "only 64", "ulimit -n"),
    "hardly any": (replace(MACHINE, descriptors=20), "descriptors", "bad", "cannot start anything", "ulimit -n"),
    "no instances": (
        replace(MACHINE, inotify=replace(INOTIFY, error="Too many open files")),
        "inotify.instances", "warning", "everything is polled", "max_user_instances=1024",
    ),
    "nearly no instances": (
        replace(MACHINE, inotify=replace(INOTIFY, used_instances=120)),
        "inotify.instances", "warning", "120 of 128", "max_user_instances=1024",
    ),
    "too few watches": (
        replace(MACHINE, inotify=replace(INOTIFY, used_watches=9_990)),
        "inotify.watches", "warning", "the rest is polled", "max_user_watches=524288",
    ),
    "nearly too few watches": (
        replace(MACHINE, inotify=replace(INOTIFY, used_watches=9_000)),
        "inotify.watches", "warning", "nearly all", "max_user_watches=524288",
    ),
    "no cut-over": (kernel(leads_connections=False), "cutover", "warning", "lose requests", "gVisor"),
    "no subreaper": (kernel(subreaper=False), "subreaper", "warning", "strays", "prctl"),
    "no pidfds": (kernel(pidfds=False), "pidfd", "bad", "no pidfds", "5.3"),
    "no copies": (kernel(copies_descriptors=False), "pidfd_getfd", "warning", "kept-alive", "5.6"),
    "Yama": (
        kernel(ptrace_scope=2, copies_descriptors=False),
        "pidfd_getfd", "warning", "ptrace_scope is 2", "ptrace_scope=1",
    ),
    "no INET_DIAG": (kernel(knows_connections=False), "inet_diag", "warning", "INET_DIAG", "modprobe"),
}  # fmt: skip


@pytest.mark.parametrize("machine, name, mark, said, way_out", OF_THE_MACHINE.values(), ids=OF_THE_MACHINE.keys())
def test_what_a_machine_lacks_is_told_with_a_way_out(
    machine: Machine, name: str, mark: str, said: str, way_out: str
) -> None:
    (finding,) = worse(machine, PROJECT)
    assert (finding.name, finding.mark) == (name, mark)
    assert said in finding.message
    assert way_out in finding.hint
    assert is_unusable([finding]) == (mark == "bad")


DEAF = Deaf("9p at /mnt/c", 50, "move it")
OF_THE_PROJECT: dict[str, tuple[Project | NoProject, str, str, str, str]] = {
    "WSL's drive": (replace(PROJECT, deaf=(DEAF,)), "mounts", "warning", "9p at /mnt/c gives no events", "move it"),
    "no configuration": (
        NoProject("no hotpipe.toml", "write one", is_broken=False),
        "config",
        "warning",
        "no hotp",
        "write",
    ),
    "a broken one": (NoProject("line 3: x", "see", is_broken=True), "config", "bad", "line 3", "see"),
    "nothing to do": (replace(PROJECT, stages=0, servers=0), "config", "warning", "nothing to do", "[stage.test]"),
    "nothing to watch": (replace(PROJECT, files=0), "config", "warning", "no file is watched", "hotpipe why"),
    "no program": (replace(PROJECT, missing=(Missing("stage.a.run", "x"),)), "program", "bad", "'x'", "PATH"),
    "no file": (replace(PROJECT, missing=(Missing("stage.a.run", "./x"),)), "program", "bad", "'./x'", "chmod"),
    "port": (replace(PROJECT, taken=(Taken("web", "taken by nginx", "stop it"),)), "address", "bad", "nginx", "stop"),
    "no permission": (replace(PROJECT, unwritable="denied", is_barred=True), "folder", "bad", "denied", "writable"),
    "read-only": (replace(PROJECT, unwritable="read-only"), "folder", "warning", "read-only", "writable"),
    "full": (replace(PROJECT, free_bytes=1_000), "folder", "bad", "full: 1 KB", "room"),
    "nearly full": (replace(PROJECT, free_bytes=50_000_000), "folder", "warning", "nearly full: 50 MB", "room"),
    "no inodes": (replace(PROJECT, free_inodes=5), "folder", "warning", "5 more files", "room"),
}


@pytest.mark.parametrize("project, name, mark, said, way_out", OF_THE_PROJECT.values(), ids=OF_THE_PROJECT.keys())
def test_what_a_project_lacks_is_told_with_a_way_out(
    project: Project | NoProject, name: str, mark: str, said: str, way_out: str
) -> None:
    (finding,) = worse(MACHINE, project)
    assert (finding.name, finding.mark) == (name, mark)
    assert said in finding.message
    assert way_out in finding.hint


def test_limits_are_told_in_the_words_of_the_polling_that_is_configured() -> None:
    full = replace(MACHINE, inotify=replace(INOTIFY, used_watches=9_990))
    assert worse(full, replace(PROJECT, poll="always", deaf=(DEAF,))) == []
    assert worse(MACHINE, replace(PROJECT, poll="never", deaf=(DEAF,))) == []
    (finding,) = worse(full, replace(PROJECT, poll="never"))
    assert "now and then only" in finding.message


def test_a_hotpipe_that_runs_here_has_its_watches_and_sockets_already() -> None:
    nearly = replace(MACHINE, inotify=replace(INOTIFY, used_watches=8_980))
    running = replace(PROJECT, folders=500, running=("hotpipe watch (pid 7)",))
    assert worse(nearly, running) == []
    assert worse(nearly, replace(running, running=())) != []
    assert "held by the hotpipe" in next(f.message for f in judge(MACHINE, running) if f.name == "address")


@pytest.mark.parametrize(
    "run, program",
    [
        ("ruff check .", "ruff"),
        ("  ./run.sh", "./run.sh"),
        ("A=1 B=x/y pytest -q", "pytest"),
        ("A='a b' pytest", ""),
        ("cd web && npm test", ""),
        ("$PYTHON -m x", ""),
        ("'my prog' x", ""),
        ("(a; b)", ""),
        ("if x; then y; fi", ""),
        ("a|b", ""),
        ("", ""),
        ("A=1", ""),
    ],
)
def test_the_program_of_a_text_for_sh_is_named_only_where_it_is_sure(run: str, program: str) -> None:
    assert real_project.first_word(run) == program


# --- for real ---------------------------------------------------------------------------------------------------------


def test_this_machine_is_seen_as_it_is() -> None:
    before = real_machine.examine()
    source = tree_inotify.Inotify("/")
    source.watch("tmp")
    after = real_machine.examine()
    source.close()
    assert before.system == "Linux"
    assert before.kernel.pidfds
    assert before.kernel.copies_descriptors
    assert before.inotify.max_watches > 0
    # Others come and go meanwhile, but ours is among them.
    assert (after.inotify.used_instances or 0) >= 1
    assert (after.inotify.used_watches or 0) >= 1


def doctor(folder: Path, code: int, *arguments: str) -> dict[str, list[dict[str, Any]]]:
    command = [*HOTPIPE, "doctor", "--json", *arguments]
    asked = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, timeout=60, check=False)
    assert asked.returncode == code, asked.stdout + asked.stderr
    found: dict[str, list[dict[str, Any]]] = {}
    for line in asked.stdout.splitlines():
        finding = json.loads(line)
        found.setdefault(finding["name"], []).append(finding)
    return found


def test_it_finds_taken_addresses_missing_programs_and_who_is_in_the_way(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket(socket.AF_UNIX) as live:
        live.bind(str(tmp_path / "live.sock"))
        live.listen()
        (tmp_path / "file.sock").write_text("")
        (tmp_path / "tool").write_text("#!/bin/sh\n")
        (tmp_path / "hotpipe.toml").write_text(
            f"""
            [stage.missing]
            run = "no-such-program --x"
            [stage.not_executable]
            run = ["./tool"]
            [stage.fine]
            run = "X=1 sh -c true"
            [stage.unknowable]
            run = "cd /nowhere && no-such-program"
            [server.web]
            run = "sh"
            listen = ["http::{taken.getsockname()[1]}", "unix::live.sock",
                      "unix::file.sock", "unix::no/x.sock", "tcp::0"]
            """
        )
        found = doctor(tmp_path, 1)
    assert [finding["message"] for finding in found["program"]] == [
        "stage.missing.run: there is no program 'no-such-program'",
        "stage.not_executable.run: there is no program './tool'",
    ]
    port, *paths = [finding["message"] for finding in found["address"]]
    assert "the port is taken by" in port
    assert f"(pid {os.getpid()})" in port
    assert paths == [
        "server.web: somebody listens on live.sock",
        "server.web: file.sock is no socket",
        "server.web: there is no folder no",
    ]
    assert not (tmp_path / ".hotpipe").exists()
    assert (tmp_path / "live.sock").exists()


def test_the_address_of_the_hotpipe_that_runs_here_is_not_in_the_way(tmp_path: Path, start: Start) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "hotpipe.toml").write_text(
        f'[server.web]\nrun = "sleep 1000"\nlisten = ["http::{free_port()}"]\nready = {{ after = "0s" }}\n'
    )
    running = start(project, "serve")
    running.until("server.live")
    found = doctor(project, 0)
    assert found["running"][0]["message"] == f"hotpipe serve (pid {running.process.pid}) runs here"
    assert "held by" in found["address"][0]["message"]


def test_it_works_without_a_configuration_and_with_a_broken_one(tmp_path: Path) -> None:
    assert doctor(tmp_path, 0)["config"][0]["mark"] == "warning"
    (tmp_path / "hotpipe.toml").write_text("[stage.x]\nruns = 1\n")
    (finding,) = doctor(tmp_path, 1)["config"]
    assert finding["mark"] == "bad"
    assert "hotpipe.toml:2: stage.x.runs: unknown key" in finding["message"]


def test_something_in_the_place_of_the_folder_is_found(tmp_path: Path) -> None:
    (tmp_path / "hotpipe.toml").write_text('[stage.x]\nrun = "sh"\n')
    (tmp_path / ".hotpipe").write_text("")
    assert "is no folder" in doctor(tmp_path, 1)["folder"][0]["message"]


def test_people_get_marks_and_ways_out_and_a_verdict(tmp_path: Path) -> None:
    (tmp_path / "hotpipe.toml").write_text('[stage.x]\nrun = "no-such-program"\n')
    asked = subprocess.run(
        [*HOTPIPE, "doctor"], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    lines = asked.stdout.splitlines()
    at = lines.index("✗ stage.x.run: there is no program 'no-such-program'")
    assert lines[at + 1] == "  → install it, or mend PATH; is its environment active?"
    assert lines[-2:] == ["", "1 thing must be mended"]
    assert asked.returncode == 1
