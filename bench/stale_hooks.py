"""The scenario of commit hooks, which hide unstaged changes from the check, and bring them back after it."""

from stale_steps import Outcome, expect, judged
from stale_tools import Tool
from stale_world import APP, CHECK, NOTES, World

STAGED, UNSTAGED, DURING = "good staged\n", "good staged\ngood unstaged\n", "good staged\ngood unstaged\ngood during\n"


def edited_during_the_hook(tool: Tool, world: World) -> Outcome:
    """A file is staged in part; while the hook runs, it and another one are edited."""
    assert tool.staged is not None
    world.prepare(tool.files([CHECK]))
    (world.root / APP).write_text(STAGED)
    world.git("add", APP)
    (world.root / APP).write_text(UNSTAGED)
    world.set("linger-check")
    program = world.start(tool.staged)
    expect("the hook never ran", lambda: any(run.seen for run in world.runs()), program)
    hidden = world.text(APP) != UNSTAGED
    world.save(APP, DURING.rstrip("\n"))
    world.save(NOTES, "good during")
    world.release()
    code = program.wait()
    kept = (world.text(APP) == DURING, "during" in world.text(NOTES))
    read = "the staged content" if "unstaged" not in (world.runs()[0].seen or "") else "the working tree"
    lost = [name for name, there in zip((APP, NOTES), kept, strict=True) if not there]
    told = f"the hook read {read}; " + (
        f"the edit of {' and of '.join(lost)} is gone" if lost else "both edits are there"
    )
    return judged(f"{told}{', unstaged changes were hidden' if hidden else ''}; exit {code}", right=not lost)
