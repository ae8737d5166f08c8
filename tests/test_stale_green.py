"""Where neighbours bless what was never checked, or lose what they were told: the same moments, played to hotpipe.

The scenarios are those of bench/stale_green.py; docs/stale_green.md shows what the neighbours do in them.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from running import BIN
from stale_scenarios import SCENARIOS, Outcome, play
from stale_tools import Tool, hotpipe, hotpipe_mutates
from stale_world import strays, world

Played = Callable[..., Outcome]


@pytest.fixture
def played(tmp_path: Path) -> Played:
    """Play a scenario to hotpipe; nothing of it may be running in the end."""

    def outcome(key: str, tool: Tool | None = None) -> Outcome:
        scenario = next(scenario for scenario in SCENARIOS if scenario.key == key)
        with world(tmp_path / "world", f"{BIN}:{os.environ['PATH']}") as made:
            found = play(scenario, tool or hotpipe(), made)
        assert not strays(made.desk, made.root)
        return found

    return outcome


def is_right(outcome: Outcome) -> bool:
    assert outcome.verdict == "right", outcome.told
    return True


def test_bad_content_is_not_remembered_as_green_because_it_was_fixed_while_the_check_ran(played: Played) -> None:
    """turborepo #1146, SCons #2701; wireit, turbo, moon and go-task do remember it."""
    assert is_right(played("a"))


def test_a_check_during_which_hotpipe_was_killed_is_made_again(played: Played) -> None:
    """go-task writes its checksum first, and says "up to date"; turborepo #9421 #12505."""
    assert is_right(played("b"))


def test_a_check_that_was_interrupted_is_made_again(played: Played) -> None:
    """turborepo #9421 #12505."""
    assert is_right(played("g2"))


@pytest.mark.parametrize("moment", ["c", "c2"], ids=["a second later", "at once"])
def test_a_save_while_the_check_runs_is_checked(played: Played, moment: str) -> None:
    """pre-commit #2473, turborepo #1146; watchexec drops it by default."""
    assert is_right(played(moment))


def test_what_is_edited_while_the_hook_runs_is_still_there_after_it(played: Played) -> None:
    """pre-commit #2473: it stashes unstaged changes, and destroys what was saved meanwhile."""
    assert is_right(played("d"))


def test_an_unrelated_save_neither_stops_nor_repeats_a_stage(played: Played) -> None:
    """go-task #2715, turborepo #13115."""
    assert is_right(played("e"))


@pytest.mark.timeout(180)
def test_a_stage_that_triggers_itself_is_named_and_slowed_down(played: Played) -> None:
    """watchexec #40, tilt #3404, turborepo's watch docs."""
    assert is_right(played("f"))


@pytest.mark.timeout(180)
def test_a_stage_that_mutates_does_not_trigger_itself(played: Played) -> None:
    """watchexec #40, tilt #3404, turborepo's watch docs."""
    outcome = played("f", hotpipe_mutates())
    assert is_right(outcome)
    assert outcome.runs <= 3, outcome.told  # one that never settles is run three times, and then taken as it is


def test_a_stage_beside_the_one_that_a_save_interrupts_comes_to_its_end(played: Played) -> None:
    """turborepo #9421 #12505."""
    assert is_right(played("g"))


def test_a_branch_switch_runs_nothing_on_half_a_tree(played: Played) -> None:
    """node-sass #1614."""
    assert is_right(played("h"))


def test_a_save_that_changes_nothing_runs_nothing(played: Played) -> None:
    """watchexec #204 #367, cargo-watch #272."""
    assert is_right(played("i"))
