"""A run as a JUnit report. Pure.

There is no standard of it. This is what the schema of Jenkins' xUnit plugin (junit-10.xsd) has a place for; it has none
for properties of a testcase, so there are none. tests/schema/junit.rng says it again, and the tests hold it.

- failed: `<failure>` with the findings, the first error first, and the end of the output; timed_out: `type="timeout"`.
- cached: a plain pass, with a property of the suite that says so. It *has* passed, on just these inputs; who counts
  skipped tests would take a green run for one that tested nothing.
- skipped, cancelled, a failure that may be: `<skipped>` with the reason. flaky: `<flakyFailure>`, as surefire has it.
- a run that proves nothing, because the tree changed or hotpipe was stopped, has one more testcase with an `<error>`: a
  report must not read as green when the exit code does not.
"""

from collections.abc import Iterable, Sequence
from xml.etree import ElementTree as ET

from hotpipe.ui.excerpt import readable
from hotpipe.ui.results import Results, StageResult, sentence

_NAME = "hotpipe"
_TAIL_LINES = 200  # below a failure's findings; all that is left of the output stands in <system-out>
_TAIL_CHARACTERS = 60_000
_ALLOWED = "which allow_failure permits"
_VOID = {
    "superseded": "the tree changed while it was checked, so the run proves nothing",
    "stopped": "hotpipe was told to end before the run was over",
}


def to_xml(results: Results) -> bytes:
    """The report, as a file's content."""
    cases = [_case(stage) for stage in results.stages.values()]
    if void := _void(results):
        cases.append(void)
    took_ms = results.finished.took_ms if results.finished else sum(map(_took_ms, results.stages.values()))
    counted = {"tests": str(len(cases)), "failures": _count(cases, "failure"), "errors": _count(cases, "error")}
    root = ET.Element("testsuites", counted, name=_NAME, time=_seconds(took_ms))
    suite = ET.SubElement(root, "testsuite", counted, name=_NAME, time=_seconds(took_ms))
    suite.set("skipped", _count(cases, "skipped"))
    if results.began:
        suite.set("timestamp", results.began[: len("2026-01-02T03:04:05")])  # UTC; the form has no zone
    suite.append(_properties(results))
    suite.extend(cases)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _properties(results: Results) -> ET.Element:
    properties = ET.Element("properties")
    status = results.finished.status if results.finished else "stopped"
    stages = ((f"stage.{stage.name}", stage.ended) for stage in results.stages.values())
    for name, value in (("tree", results.tree), ("status", status), *stages):
        ET.SubElement(properties, "property", name=readable(name), value=readable(value))
    return properties


def _case(stage: StageResult) -> ET.Element:
    case = ET.Element("testcase", classname=_NAME, name=readable(stage.name), time=_seconds(_took_ms(stage)))
    if stage.failed:
        case.append(_failure(stage))
    elif (reason := _skipped(stage)) is not None:
        ET.SubElement(case, "skipped", message=readable(reason))
    elif stage.finished is not None and stage.finished.flaky:
        ET.SubElement(case, "flakyFailure", type="flaky", message="passed only after a retry")
    if stage.output:
        ET.SubElement(case, "system-out").text = _lines(stage.output.lines())
    return case


def _failure(stage: StageResult) -> ET.Element:
    findings = list(map(sentence, stage.findings))
    failure = ET.Element("failure", message=findings[0] if findings else stage.ended)
    failure.set("type", "timeout" if stage.finished and stage.finished.status == "timed_out" else "failed")
    tail = stage.output.last(_TAIL_LINES, _TAIL_CHARACTERS)
    failure.text = "\n".join([*findings, *([""] if findings and tail else []), *tail]) or stage.ended
    return failure


def _skipped(stage: StageResult) -> str | None:
    """Why it counts neither as passed nor as failed, if so."""
    if stage.finished is None:
        return f"{stage.ended} when hotpipe was told to end"
    if stage.forgiven:
        return f"{stage.ended}, {_ALLOWED}"
    match stage.finished.status:
        case "skipped":
            return stage.finished.why or "not started, because another stage failed"
        case "cancelled":
            return stage.finished.why or "cancelled before it was over"
        case _:
            return None


def _void(results: Results) -> ET.Element | None:
    status = results.finished.status if results.finished else "stopped"
    if status not in _VOID:
        return None
    case = ET.Element("testcase", classname=_NAME, name="hotpipe check", time="0.000")
    ET.SubElement(case, "error", type=status, message=_VOID[status])
    return case


def _took_ms(stage: StageResult) -> float:
    return stage.finished.took_ms if stage.finished else 0.0


def _count(cases: Sequence[ET.Element], kind: str) -> str:
    return str(sum(case.find(kind) is not None for case in cases))


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{readable(line)}\n" for line in lines)


def _seconds(took_ms: float) -> str:
    return f"{took_ms / 1000:.3f}"
