"""What the faces are told to show: the events, folded."""

from hotpipe.events import (
    Address,
    AnyEvent,
    ChangeDetected,
    ConfigRejected,
    ConfigReloaded,
    GatePaused,
    GateResumed,
    Listening,
    RunFinished,
    RunStarted,
    ServerDiscarded,
    ServerDraining,
    ServerFailed,
    ServerLive,
    ServerOutput,
    ServerReady,
    ServerStarting,
    ServerStopped,
    ServerVerified,
    StageStarted,
    Started,
    TriggerTouched,
)
from hotpipe.ui import view
from hotpipe.ui.view import View

SOCKETS = (Address("http", "127.0.0.1:8000"),)
STARTED = Started(
    version="1", pid=1, root="/p", role="watch", stages=("lint", "test"), servers=(Listening("web", SOCKETS),)
)


def shown(*events: AnyEvent) -> View:
    """Each event a second after the one before, the first at 0."""
    after = View()
    for at, event in enumerate(events):
        after.apply(event, float(at))
    return after


def saved(path: str = "app.py") -> ChangeDetected:
    return ChangeDetected(paths=(path,), cause="event")


def begun(run: int, tree: str) -> RunStarted:
    return RunStarted(run=run, tree=tree, changed=())


def over(run: int, status: view.RunStatus) -> RunFinished:
    return RunFinished(run=run, status=status, took_ms=1.0)


def touched(tree: str) -> TriggerTouched:
    return TriggerTouched(run=3, server="web", path=".trigger", tree=tree)


def boots(number: int, tree: str | None) -> ServerStarting:
    return ServerStarting(server="web", generation=number, pid=100 + number, tree=tree)


def live(number: int) -> ServerLive:
    return ServerLive(server="web", generation=number, pid=100 + number, sockets=SOCKETS, took_ms=1.0)


def line(text: str) -> ServerOutput:
    return ServerOutput(server="web", generation=1, stream="stdout", text=text)


def stopped(number: int) -> ServerStopped:
    return ServerStopped(server="web", generation=number, exit_code=0, signal=None, killed=False)


class TestWhatThereIs:
    def test_stages_and_servers_are_known_before_anything_happens(self) -> None:
        now = shown(STARTED)
        assert now.stages == ("lint", "test")
        assert now.servers["web"].sockets == SOCKETS
        assert now.servers["web"].generation is None

    def test_another_configuration_replaces_them(self) -> None:
        now = shown(STARTED, ConfigReloaded(path="hotpipe.toml", stages=("all",), servers=(Listening("api", ()),)))
        assert now.stages == ("all",)
        assert list(now.servers) == ["api"]

    def test_a_server_that_is_being_stopped_stays_in_sight(self) -> None:
        gone = ConfigReloaded(path="hotpipe.toml", stages=(), servers=())
        assert list(shown(STARTED, boots(1, "A"), live(1), gone).servers) == ["web"]

    def test_what_is_wrong_with_a_configuration_is_shown_until_it_is_right(self) -> None:
        wrong = ConfigRejected(path="hotpipe.toml", errors=("line 1",))
        assert shown(STARTED, wrong).errors == ("line 1",)
        assert shown(STARTED, wrong, ConfigReloaded(path="hotpipe.toml")).errors == ()

    def test_a_pause_is_shown(self) -> None:
        assert shown(GatePaused()).paused
        assert not shown(GatePaused(), GateResumed()).paused


class TestBehind:
    def test_what_is_served_falls_behind_with_each_save(self) -> None:
        now = shown(begun(1, "A"), boots(1, "A"), live(1), saved(), begun(2, "B"), over(2, "red"), saved())
        assert now.servers["web"].behind == 2

    def test_a_generation_that_is_up_to_date_is_not_behind(self) -> None:
        now = shown(begun(1, "A"), boots(1, "A"), live(1), saved(), begun(2, "B"), boots(2, "B"), live(2))
        assert now.servers["web"].behind == 0

    def test_nor_is_one_whose_tree_has_come_back(self) -> None:
        assert shown(begun(1, "A"), boots(1, "A"), live(1), saved(), saved(), begun(2, "A")).servers["web"].behind == 0

    def test_one_whose_tree_nobody_knows_is_not_said_to_be(self) -> None:
        assert shown(begun(1, "A"), boots(1, None), live(1), saved()).servers["web"].behind == 0

    def test_a_verdict_is_of_what_is_on_disk_or_it_is_not(self) -> None:
        green = (begun(1, "A"), over(1, "green"))
        assert shown(*green).is_current()
        assert not shown(*green, saved()).is_current()
        assert not shown(begun(1, "A")).is_current()
        assert not shown(begun(1, "A"), over(1, "superseded")).is_current()


class TestGenerations:
    def test_each_phase_has_its_time(self) -> None:
        ready = ServerReady(server="web", generation=1, how="", took_ms=1.0)
        draining = ServerDraining(server="web", generation=1)
        server = shown(boots(1, "A"), ready, live(1), draining, stopped(1)).servers["web"]
        (past,) = server.past
        assert (past.starting, past.ready, past.live, past.draining, past.stopped) == (0.0, 1.0, 2.0, 3.0, 4.0)
        assert (past.pid, past.outcome, server.generation) == (101, "live", None)

    def test_the_candidate_is_the_one_that_boots(self) -> None:
        server = shown(boots(1, "A"), live(1), boots(2, "B")).servers["web"]
        assert (server.generation, server.candidate and server.candidate.number) == (1, 2)

    def test_one_that_failed_is_remembered_with_its_reason(self) -> None:
        failed = ServerFailed(server="web", generation=2, reason="exited with status 1", serving=1)
        before = shown(boots(1, "A"), live(1), boots(2, "B"), failed, stopped(2))
        after = shown(boots(1, "A"), live(1), boots(2, "B"), stopped(2), failed)
        for now in (before, after):
            (past,) = now.servers["web"].past
            assert (past.number, past.outcome, past.why) == (2, "failed", "exited with status 1")
            assert now.servers["web"].candidate is None
            assert now.servers["web"].failure == failed
            assert now.servers["web"].generation == 1

    def test_the_next_one_that_comes_up_is_no_failure(self) -> None:
        failed = ServerFailed(server="web", generation=1, reason="", serving=None)
        assert shown(boots(1, "A"), failed, stopped(1), boots(2, "B"), live(2)).servers["web"].failure is None

    def test_what_failed_is_over_once_what_is_served_is_wanted_again(self) -> None:
        failed = ServerFailed(server="web", generation=2, reason="exited with status 1", serving=1)
        events = (boots(1, "A"), live(1), boots(2, "B"), failed, stopped(2))
        assert shown(*events, touched("A")).servers["web"].failure is None
        assert shown(*events, touched("C")).servers["web"].failure == failed

    def test_what_failed_of_the_very_tree_that_is_served_stays_a_failure(self) -> None:
        failed = ServerFailed(server="web", generation=2, reason="exited with status 1", serving=1)
        assert shown(boots(1, "A"), live(1), boots(2, "A"), failed, stopped(2), touched("A")).servers["web"].failure

    def test_one_that_was_not_wanted_says_why(self) -> None:
        discarded = ServerDiscarded(server="web", generation=2, reason="files changed", serving=1)
        server = shown(boots(1, "A"), live(1), boots(2, "B"), discarded).servers["web"]
        assert server.candidate is None
        assert server.generations[2].why == "files changed"

    def test_what_is_served_is_verified_or_not(self) -> None:
        verified = ServerVerified(server="web", generation=1, tree="A")
        assert not shown(boots(1, "A"), live(1)).servers["web"].verified
        assert shown(boots(1, "A"), live(1), verified).servers["web"].verified

    def test_only_the_last_of_the_dead_are_kept(self) -> None:
        events = [event for n in range(1, 200) for event in (boots(n, None), stopped(n))]
        assert len(shown(*events).servers["web"].past) == view.MOST_GENERATIONS


class TestOutput:
    def test_the_last_lines_are_kept_and_the_others_counted(self) -> None:
        server = shown(*(line(str(number)) for number in range(view.MOST_LINES + 3))).servers["web"]
        assert [server.output[0].text, server.output[-1].text] == ["3", str(view.MOST_LINES + 2)]
        assert server.lost == 3
        assert server.characters == sum(len(each.text) for each in server.output)

    def test_long_lines_make_it_fewer(self) -> None:
        server = shown(*(line("x" * 65_536) for _ in range(100))).servers["web"]
        assert server.characters <= view.MOST_CHARACTERS
        assert server.lost + len(server.output) == 100


class TestStages:
    def test_a_stage_at_work_says_since_when(self) -> None:
        now = shown(begun(1, "A"), StageStarted(run=1, stage="test", command="pytest"))
        assert now.run is not None
        assert now.run.stages["test"].began == 1.0

    def test_one_that_goes_on_began_when_it_began(self) -> None:
        test = StageStarted(run=1, stage="test", command="pytest")
        kept = StageStarted(run=2, stage="test", command="pytest", kept=True)
        now = shown(begun(1, "A"), test, saved(), over(1, "superseded"), begun(2, "B"), kept)
        assert now.run is not None
        assert now.run.stages["test"].began == 1.0
