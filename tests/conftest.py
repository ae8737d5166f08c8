"""What holds for every test: where skipping is allowed, how Hypothesis searches, and which loop anyio's plugin runs.

HOTPIPE_REQUIRE=1 (set by .ci/run) says that this machine has all that the tests use, so a skip is a failure.
"""

import os
from collections.abc import Generator

import pytest
from atterminal import at_terminal  # noqa: F401 - a fixture
from browsing import browser  # noqa: F401 - a fixture
from gating import tap  # noqa: F401 - a fixture
from hypothesis import HealthCheck, settings
from repository import repository, temporary  # noqa: F401 - fixtures
from running import start  # noqa: F401 - a fixture

REQUIRE = os.environ.get("HOTPIPE_REQUIRE") == "1"

# No deadlines and no "too slow": the tests run beside others on busy cores, where the time of one example says nothing.
# Here each run looks for new examples; in CI the same ones, so that red means that the change did it.
_patient = settings(deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("hotpipe", _patient)
settings.register_profile("ci", _patient, derandomize=True, max_examples=200)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if REQUIRE else "hotpipe"))


@pytest.fixture
def anyio_backend() -> str:
    """The loop of `@pytest.mark.anyio` tests; those of a fake clock ask for trio themselves."""
    return "asyncio"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if not hasattr(report, "wasxfail"):
        _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report)
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if REQUIRE and report.outcome == "skipped":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"HOTPIPE_REQUIRE=1, but this was skipped: {reason}"
