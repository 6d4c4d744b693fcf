"""pytest --cpu: which files, tests and fixtures cost how many CPU seconds, those of their processes included.

CPU seconds say the same on a machine that does other things too, which wall time does not. A process that a test starts
counts when it has ended. What a test imports first is counted to it, though others need it as well.
"""

from __future__ import annotations

import resource
from collections import defaultdict
from collections.abc import Generator

import pytest

LEAST_OF_A_FILE, LEAST_OF_A_TEST = 1.0, 2.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--cpu", action="store_true", help="print CPU seconds by file, and of the dearest tests and fixtures"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--cpu"):
        config.pluginmanager.register(CpuTable(), "cpu-table")


def cpu_seconds() -> float:
    """CPU seconds of this process and of those that it started and that ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


class CpuTable:
    """Measures in the process that runs a test; the reports carry the numbers to the one that prints them."""

    def __init__(self) -> None:
        self._since = 0.0
        self._fixtures: dict[str, float] = {}
        self._by_test: dict[str, float] = defaultdict(float)
        self._by_fixture: dict[str, list[float]] = defaultdict(list)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[object]) -> Generator[None, object, object]:
        """Measure a fixture without those that it asks for, which are set up before."""
        before = cpu_seconds()
        try:
            return (yield)
        finally:
            if (spent := cpu_seconds() - before) >= 0.1:
                self._fixtures[f"{fixturedef.baseid or 'conftest'}::{fixturedef.argname} ({fixturedef.scope})"] = spent

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self) -> None:
        self._since = cpu_seconds()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Give each report the seconds since the one before it: setting up, the test itself, tearing down."""
        report = yield
        now = cpu_seconds()
        # Whatever a report holds goes to the process that prints.
        vars(report).update(cpu=now - self._since, cpu_of_fixtures=self._fixtures)
        self._since, self._fixtures = now, {}
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._by_test[report.nodeid] += getattr(report, "cpu", 0.0)
        for name, seconds in getattr(report, "cpu_of_fixtures", {}).items():
            self._by_fixture[name].append(seconds)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        by_file: dict[str, list[float]] = defaultdict(list)
        for name, seconds in self._by_test.items():
            by_file[name.partition("::")[0]].append(seconds)
        sums = {f"{name} ({len(each)} tests)": sum(each) for name, each in by_file.items()}
        fixtures = {f"{name} ({len(each)} times)": sum(each) for name, each in self._by_fixture.items()}
        for title, table, least in (
            ("files", sums, LEAST_OF_A_FILE),
            ("tests", self._by_test, LEAST_OF_A_TEST),
            ("fixtures", fixtures, LEAST_OF_A_TEST),
        ):
            terminalreporter.write_sep("-", f"CPU seconds of {title}: {sum(table.values()):.0f} in all")
            for name, seconds in sorted(table.items(), key=lambda item: -item[1]):
                if seconds >= least:
                    terminalreporter.write_line(f"{seconds:7.1f}  {name}")
