"""What bench/stale_green tells: who did what in each scenario, as tables for a terminal and for Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from measure import table
from stale_scenarios import Outcome, Scenario
from stale_tools import Tool

OURS = "hotpipe"
SIGNS = {"right": "right", "wrong": "WRONG", "not driven": "?"}
LEGEND = """\
–: the tool does not do such a thing, and so is not wrong either: a watcher of one command remembers nothing (a, b, g2)
and knows no second task (e, g). ?: it did not come to that moment. Each tool runs with its own defaults, and with what
its documentation shows for the purpose."""


@dataclass
class Results:
    """All outcomes, {(scenario's key, tool's name): outcome}; `head` says where and with what they were made."""

    scenarios: Sequence[Scenario]
    tools: Sequence[Tool]
    outcomes: dict[tuple[str, str], Outcome] = field(default_factory=dict)
    head: Sequence[str] = ()
    skipped: Sequence[str] = ()

    def overview(self) -> tuple[list[str], list[list[str]]]:
        """A row a tool, a column a scenario; – where the tool does not do such a thing."""
        head = ["tool", *(scenario.key for scenario in self.scenarios)]
        rows = [[tool.name, *(self._sign(scenario, tool) for scenario in self.scenarios)] for tool in self.tools]
        return head, rows

    def _sign(self, scenario: Scenario, tool: Tool) -> str:
        outcome = self.outcomes.get((scenario.key, tool.name))
        return SIGNS[outcome.verdict] if outcome else "–"

    def of(self, scenario: Scenario) -> list[tuple[str, Outcome]]:
        found = ((tool.name, self.outcomes.get((scenario.key, tool.name))) for tool in self.tools)
        return [(name, outcome) for name, outcome in found if outcome]

    def better(self) -> list[str]:
        """Where neighbours do better than hotpipe: they are right and it is not, or they need fewer runs."""
        lines = []
        for scenario in self.scenarios:
            ours = self.outcomes.get((scenario.key, OURS))
            names = [name for name, theirs in self.of(scenario) if ours and _is_better(theirs, ours)]
            if ours and names:
                lines.append(f"{scenario.key}. {scenario.title}: {', '.join(names)} (hotpipe: {ours.told})")
        return lines

    def plain(self) -> str:
        lines = [*self.head, "", table(*self.overview()), ""]
        for scenario in self.scenarios:
            lines.append(f"{scenario.key}. {scenario.title} (right: {scenario.right})")
            lines += [f"   {SIGNS[outcome.verdict]:5}  {name}: {outcome.told}" for name, outcome in self.of(scenario)]
        lines += ["", "Better than hotpipe:", *(self.better() or ["nobody, in these scenarios"])]
        return "\n".join([*lines, *self.skipped])

    def markdown(self) -> str:
        head, rows = self.overview()
        lines = ["# What is blessed or lost", "", *self.head, "", LEGEND, "", *_markdown(head, rows), ""]
        for scenario in self.scenarios:
            lines += [f"## {scenario.key}. {scenario.title}", "", _play(scenario), ""]
            found = self.of(scenario)
            lines += [*_markdown(["tool", "", "what it did"], [[n, SIGNS[o.verdict], o.told] for n, o in found]), ""]
        better = [f"- {line}" for line in self.better()] or ["Nobody, in these scenarios."]
        lines += ["## Where others do better", "", *better, ""]
        lines += ["## How each was run", "", *_markdown(["tool", "as"], [[t.name, _how(t)] for t in self.tools])]
        if self.skipped:
            lines += ["", *(f"- {reason}" for reason in self.skipped)]
        return "\n".join(lines) + "\n"


def _is_better(theirs: Outcome, ours: Outcome) -> bool:
    if theirs.verdict != "right":
        return False
    return ours.verdict != "right" or theirs.runs < ours.runs


def _play(scenario: Scenario) -> str:
    played = " ".join((scenario.play.__doc__ or "").split())
    return f"{played} Right: {scenario.right}. Users' words: {scenario.pain}."


def _how(tool: Tool) -> str:
    return tool.note or f"`{' '.join(tool.watch([]) if tool.watch else tool.staged or ())}`"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]
