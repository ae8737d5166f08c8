"""The band across the top: the one thing that is seen from across the room. Never by its colour alone. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from hotpipe.events import ServerFailed
from hotpipe.ui import words
from hotpipe.ui.view import GenerationView, RunView, ServerView, View


@dataclass(frozen=True, slots=True)
class Band:
    """A word, what is to be said with it, and the colour behind both."""

    colour: str
    word: str
    rest: str = ""


def band(view: View, now: float) -> Band:
    """What matters most; `now` is CLOCK_MONOTONIC, in seconds."""
    if view.ending:
        return Band("on grey", "STOPPING", "everything is being ended; Ctrl-C kills at once")
    run = view.run
    if run is not None and run.status is None:
        return _red(run) if run.failures() else Band("on blue", "CHECKING", _checking(run, now))
    if view.paused:
        return Band("on grey", "PAUSED", _paused(view))
    if run is not None and not view.is_current():
        return Band("on blue", "CHANGED", "the next run is about to begin")
    if run is not None and run.status == "red":
        return _red(run)
    return _of_servers(view, now) or _of_run(view) or Band("on grey", "STARTING", _starting(view))


def _red(run: RunView) -> Band:
    failed = run.failures()
    return Band("on red", "RED", _first(run) + _and_more(len(failed) - 1) if failed else f"run {run.number}")


def _of_run(view: View) -> Band | None:
    run = view.run
    if run is None:
        return _only_servers(view)
    parts = [f"run {run.number}", words.duration(run.took_ms), words.count(len(run.stages), "stage")]
    parts += [f"{words.blame(stage)} (allowed)" for stage in run.allowed()]
    parts += [f"{stage.name} flaky" for stage in run.flaky()]
    return Band("on green", "GREEN", " · ".join(parts))


def _of_servers(view: View, now: float) -> Band | None:
    """Only what is wrong with them: green means that all is well."""
    for server in view.servers.values():
        if server.failure is not None:
            word = "FAILED" if server.generation else "DOWN"
            return Band("on red", word, f"{server.name}: {' · '.join(_of_failed(server, server.failure, now))}")
    return None


def _of_failed(server: ServerView, failure: ServerFailed, now: float) -> Iterator[str]:
    """What boots comes first, for the rest is what was before."""
    candidate = server.candidate
    if candidate is not None and candidate.starting is not None:
        yield on_the_way(candidate, now)
        yield f"generation {failure.generation}: {failure.reason}"
    else:
        yield failure.reason
    if server.generation:
        yield f"generation {server.generation} goes on serving"


def _only_servers(view: View) -> Band | None:
    """Where nothing is checked."""
    if view.stages or not view.servers or (view.started is not None and view.started.role != "serve"):
        return None
    booting = [server.name for server in view.servers.values() if server.generation is None]
    if booting:
        return Band("on blue", "STARTING", words.listed(booting))
    return Band("on green", "LIVE", " · ".join(map(_live, view.servers.values())))


def _live(server: ServerView) -> str:
    return f"{server.name} generation {server.generation}"


def _first(run: RunView) -> str:
    """The first failure, and the first thing to look at in it."""
    stage = run.failures()[0]
    finding = next(iter(stage.foremost()), None)
    if finding is None:
        return f"{stage.name}: {'timed out' if stage.status == 'timed_out' else words.ended(stage.exit_code)}"
    return f"{stage.name}: " + " ".join(filter(None, (words.where(finding), finding.code, finding.message)))


def _and_more(failures: int) -> str:
    return f" · and {failures:,} more" if failures else ""


def _paused(view: View) -> str:
    run = view.run
    told = f"run {run.number} was {run.status}" if run is not None else "nothing is checked"
    changed = ", and something has changed since" if run is not None and not view.is_current() else ""
    return f"{told}{changed} · p goes on"


def _checking(run: RunView, now: float) -> str:
    done = sum(stage.status is not None for stage in run.stages.values())
    at_work = list(_at_work(run))
    parts = [f"{done} of {len(run.stages)}" if run.stages else "", words.listed(at_work)]
    parts.append(seconds(now - run.began) if run.began else "")
    return " · ".join(filter(None, parts))


def _at_work(run: RunView) -> Iterator[str]:
    return (stage.name for stage in run.stages.values() if stage.status is None and stage.began is not None)


def _starting(view: View) -> str:
    return "" if view.watching is None else "waiting for the first run"


def on_the_way(candidate: GenerationView, now: float) -> str:
    """One that boots, and for how long it has."""
    ready = "is ready" if candidate.ready is not None else "is starting"
    says = f": {candidate.says}" if candidate.says else ""
    return f"generation {candidate.number} {ready} {seconds(now - (candidate.starting or now))}{says}"


def seconds(passed: float) -> str:
    """How long something has gone on: in tenths, then in seconds, then in minutes."""
    passed = max(0.0, passed)
    if passed < 99.95:
        return f"{passed:.1f} s"
    minutes, rest = divmod(int(passed), 60)
    return f"{minutes} m {rest:02} s"
