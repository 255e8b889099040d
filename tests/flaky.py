"""With CI=true a test that failed is run once more, alone in a process of its own; if it passes then, it is flaky.

A flaky test does not fail the run: it is named in the last lines of the output, and is to be mended before anything
else. Everything else fails as it does without this plug-in: a test that fails again, more failures than MOST, a
worker that crashed, an error of collection, a run that was stopped, and one that found no test.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from _pytest.terminal import TerminalReporter

from tests.servers import namespace

__all__ = ["MOST", "configure"]

MOST = 5
"""Tests that are run again; where more have failed, that is no flicker."""
SECONDS = 600.0
"""How long one of them may take."""
AGAIN = "CHAOSPROXY_TEST_AGAIN"
"""Set for those who are run again."""


def configure(config: pytest.Config) -> None:
    """Register the plug-in in the process that reports: not in workers, nor in children that run one test."""
    is_child = hasattr(config, "workerinput") or AGAIN in os.environ or namespace.INSIDE in os.environ
    if os.environ.get("CI") == "true" and not is_child:
        config.pluginmanager.register(_Again(config), "run-again")


class _Again:
    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._flaky: list[str] = []
        self._failed_again: dict[str, str] = {}
        """What was printed, by the test's id."""

    @pytest.hookimpl(trylast=True)  # all tests have run, and all workers have ended
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if session.exitstatus != pytest.ExitCode.TESTS_FAILED or session.shouldfail or session.shouldstop:
            return
        if not isinstance(reporter, TerminalReporter):
            return
        reports = [report for kind in ("failed", "error") for report in reporter.stats.get(kind, ())]
        if not all(isinstance(one, pytest.TestReport) and one.when in ("setup", "call", "teardown") for one in reports):
            return  # an error of collection, or a worker that crashed
        failed = list(dict.fromkeys(report.nodeid for report in reports))
        if not 0 < len(failed) <= MOST:
            return
        for test in failed:
            if (output := self._run_alone(test)) is None:
                self._flaky.append(test)
            else:
                self._failed_again[test] = output
        for kind in ("failed", "error"):
            here = reporter.stats.pop(kind, [])
            reporter.stats.setdefault("flaky", []).extend(one for one in here if one.nodeid in self._flaky)
            if left := [one for one in here if one.nodeid not in self._flaky]:
                reporter.stats[kind] = left
        if not self._failed_again:
            session.testsfailed = 0
            session.exitstatus = pytest.ExitCode.OK

    def _run_alone(self, test: str) -> str | None:
        """Run it in a fresh process; answers what that printed, or None where the test passed."""
        config = self._config
        options = ["-p", "no:cacheprovider", "-p", "no:xdist", f"--rootdir={config.rootpath}", "-ra"]
        if config.inipath is not None:
            options += ["-c", str(config.inipath)]
        ours = ("PYTEST_ADDOPTS", "PYTEST_XDIST")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pytest", *options, test], cwd=config.rootpath,
                env=environment | {AGAIN: "1"}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, errors="replace", timeout=SECONDS,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"it had not ended after {SECONDS:g} s"
        passed = done.returncode == pytest.ExitCode.OK and re.search(r" 1 passed\b.* in ", done.stdout) is not None
        return None if passed else done.stdout

    @pytest.hookimpl(wrapper=True, tryfirst=True)  # around all others: nothing but the closing line comes behind
    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> Iterator[None]:
        yield
        for test, output in self._failed_again.items():
            terminalreporter.section(f"{test}, run again alone")
            terminalreporter.write_line(output)
        if self._flaky:
            terminalreporter.section("flaky: failed, and passed when they were run again alone", yellow=True)
            for report in terminalreporter.stats["flaky"]:
                terminalreporter.write_sep("_", terminalreporter._getfailureheadline(report))
                terminalreporter._outrep_summary(report)
        for test in self._flaky:
            terminalreporter.write_line(f"FLAKY {test}", yellow=True)
