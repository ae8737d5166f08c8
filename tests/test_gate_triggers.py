"""Which triggers are due, and what their records say."""

import pytest

from hotpipe.gate.triggers import Due, Trigger, changed, due, renewed, touched
from hotpipe.tree.globs import Globs

STAGES = ("lint", "test")
SERVERS = (
    Trigger("web", needs=("lint",)),
    Trigger("api"),
    Trigger("docs", needs=(), inputs=Globs(["docs/"])),
)


@pytest.mark.parametrize(
    "trigger, passed, is_due",
    [
        (Trigger("web"), "lint test", True),
        (Trigger("web"), "lint", False),
        (Trigger("web", needs=("lint",)), "lint", True),
        (Trigger("web", needs=("test",)), "lint", False),
        (Trigger("web", needs=("lint", "test")), "lint", False),
        (Trigger("web", needs=()), "", True),
        (Trigger("web", needs=("gone",)), "lint test", False),
        (Trigger("web").after_touch(), "lint test", False),
        (Trigger("web").after_touch().after_change(["a.py"]), "lint test", True),
        (Trigger("web").after_touch().after_change(["a.py"]), "lint", False),
        (Trigger("web").after_touch().after_change([]), "lint test", False),
        (Trigger("web").after_touch().after_change(["a.py"]).after_touch(), "lint test", False),
        (Trigger("web", inputs=Globs(["src/"])), "lint test", True),
        (Trigger("web", inputs=Globs(["src/"])).after_touch().after_change(["a.py"]), "lint test", False),
        (Trigger("web", inputs=Globs(["src/"])).after_touch().after_change(["a.py", "src/a.py"]), "lint test", True),
        (Trigger("web", inputs=Globs(["src/"])).after_touch().after_change(["src/a.py"]), "lint", False),
        (
            Trigger("web", inputs=Globs(["src/"])).after_touch().after_change(["src/a.py"]).after_change(["a.py"]),
            "lint test",
            True,
        ),
        (Trigger(None), "lint test", True),
        (Trigger(None), "lint", False),
        (Trigger(None).after_touch(), "lint test", True),
    ],
)
def test_a_trigger_is_due_when_all_it_needs_passed_and_something_that_concerns_it_is_new(
    trigger: Trigger, passed: str, is_due: bool
) -> None:
    assert bool(due([trigger], STAGES, passed.split())) is is_due


def test_a_record_names_all_that_changed_since_the_touch_before_it() -> None:
    triggers = touched(changed(SERVERS, ["docs/old", "old.py"]), ["web", "api", "docs"])
    triggers = changed(changed(triggers, ["b.py", "docs/a"]), ["a.py", "b.py"])
    paths = ("a.py", "b.py", "docs/a")
    assert due(triggers, STAGES, STAGES) == (
        Due("web", paths),
        Due("api", paths),
        Due("docs", paths),
    )
    triggers = changed(touched(triggers, ["web"]), ["c.py"])
    assert due(triggers, STAGES, STAGES)[:2] == (
        Due("web", ("c.py",)),
        Due("api", (*paths[:2], "c.py", "docs/a")),
    )


def test_another_configuration_keeps_what_is_known_of_each_trigger() -> None:
    old = touched(SERVERS, ["web", "api", "docs"])
    old = changed(old, ["a.py"])
    new = (Trigger("web", needs=("test",)), Trigger("docs", needs=()), Trigger("new"))
    assert renewed(old, new, {"docs"}) == (
        Trigger("web", needs=("test",), stale=True, changed=frozenset({"a.py"})),
        Trigger("docs", needs=(), stale=True, changed=frozenset({"a.py"})),
        Trigger("new"),
    )
    assert not renewed(old, (Trigger("docs"),), ())[0].stale
