"""Tests marked `namespace`: each runs in a child, in a network namespace of its own, with CAP_NET_ADMIN and `lo` up.

The parent sets nothing up for such a test and does not run it. The child is a whole pytest for that one test; it
writes its reports to a file, and the parent passes them on as if they were its own. What a child does not report
(it crashed, hung or never found the test) is a failure with everything that it printed.

By hand, with any option of pytest:

    unshare --net .venv/bin/python tests/servers/namespace.py -s tests/servers/test_namespace.py
"""

from __future__ import annotations

import faulthandler
import fcntl
import functools
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.servers.processes import do_without

__all__ = [
    "INSIDE", "has_net_admin", "interface_up", "run_marked", "set_mtu", "without_net_admin", "without_privileges",
]  # fmt: skip

INSIDE = "CHAOSPROXY_TEST_NAMESPACE"
"""Set for those who run inside: the network namespace that the parent has."""

STOP_SECONDS = 10.0
TELL_WHERE = signal.SIGUSR1
"""On this signal the child prints the stacks of all its threads."""

SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCSIFMTU = 0x8913, 0x8914, 0x8922
IFF_UP = 1
CAPABILITIES = {"net_admin": 12, "net_raw": 13}


def interface_up(name: str = "lo") -> None:
    """:raises PermissionError: without CAP_NET_ADMIN in this network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        answer = fcntl.ioctl(sock, SIOCGIFFLAGS, struct.pack("16sH22x", name.encode(), 0))
        flags = struct.unpack("16sH22x", answer)[1]
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sH22x", name.encode(), flags | IFF_UP))


def set_mtu(name: str, mtu: int) -> None:
    """:raises PermissionError: without CAP_NET_ADMIN in this network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCSIFMTU, struct.pack("16si20x", name.encode(), mtu))


def has_net_admin() -> bool:
    """Whether this process has CAP_NET_ADMIN in its own user namespace."""
    return _has("net_admin")


def without_net_admin() -> list[str]:
    """The words to put before a command that must not have CAP_NET_ADMIN; none where we lack it ourselves."""
    return _without("net_admin")


def without_privileges() -> list[str]:
    """The words to put before a command that must have neither CAP_NET_ADMIN nor CAP_NET_RAW."""
    return _without("net_admin", "net_raw")


def _has(capability: str) -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> CAPABILITIES[capability] & 1)
    raise AssertionError("no CapEff in /proc/self/status")


def _without(*capabilities: str) -> list[str]:
    had = ",".join(f"-{one}" for one in capabilities if _has(one))
    return ["setpriv", *(f"--{where}={had}" for where in ("bounding-set", "inh-caps", "ambient-caps"))] if had else []


# The parent


def run_marked(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """For the hook `pytest_runtest_protocol`: runs a marked test in a child, leaves any other to pytest."""
    marker = item.get_closest_marker("namespace")
    if marker is None or INSIDE in os.environ:
        return None

    def limit(seconds: float = 120.0) -> float:
        return seconds

    reports: list[pytest.TestReport] = []
    hook, reraise = item.ihook, (pytest.exit.Exception, KeyboardInterrupt)
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    call = pytest.CallInfo.from_call(
        lambda: _run_in_child(item, limit(*marker.args, **marker.kwargs), reports), "call", reraise
    )
    if call.excinfo is not None:
        reports.append(hook.pytest_runtest_makereport(item=item, call=call))
    # What earlier tests of this process shared with this one and the next does not need.
    end = pytest.CallInfo.from_call(lambda: item.session._setupstate.teardown_exact(nextitem), "teardown", reraise)
    if end.excinfo is not None or not any(report.when == "teardown" for report in reports):
        reports.append(hook.pytest_runtest_makereport(item=item, call=end))
    for report in reports:
        hook.pytest_runtest_logreport(report=report)
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _run_in_child(item: pytest.Item, seconds: float, reports: list[pytest.TestReport]) -> None:
    """Extends `reports` by the child's; skips or fails for what the child could not report itself."""
    way, reason = _way_in()
    if reason is not None:
        if sys.platform != "linux":
            pytest.skip(reason)
        do_without(reason)
    directory = item.config._tmp_path_factory.mktemp("ns")
    ended = _wait_for_child([*way, *_child_command(item, directory)], directory, seconds)
    reports += _read_reports(item.config, directory / "reports")
    failed = any(report.failed for report in reports)
    complete = any(report.when == "teardown" for report in reports)
    if not complete or (ended != "0" and not failed):
        reports[:] = [report for report in reports if report.failed or report.when == "setup"]
        output = (directory / "output").read_text(errors="replace")
        pytest.fail(f"its process in the namespace ended with {ended}; all that it printed:\n{output}", pytrace=False)


def _read_reports(config: pytest.Config, path: Path) -> Iterator[pytest.TestReport]:
    text = path.read_text() if path.exists() else ""
    for line in text.split("\n")[:-1]:  # the last one is empty, or was not written to its end
        report = config.hook.pytest_report_from_serializable(config=config, data=json.loads(line))
        if isinstance(report.longrepr, list):  # where and why it was skipped: a tuple, before it was JSON
            report.longrepr = tuple(report.longrepr)
        yield report


@functools.cache
def _way_in() -> tuple[Sequence[str], str | None]:
    """The words that run a command in a network namespace of its own, or why there are none."""
    if sys.platform != "linux":
        return (), "network namespaces are of Linux"
    unshare = shutil.which("unshare")
    if unshare is None:
        return (), "no network namespace: unshare (util-linux) is not installed"
    as_root = [unshare, "--user", "--map-root-user", "--net"]
    if os.geteuid() == 0:
        ways = [[unshare, "--net"], as_root]
    else:  # first as who we are: PostgreSQL refuses to run as root
        ways = [[unshare, "--user", "--map-current-user", "--keep-caps", "--net"], as_root]
    reasons = []
    for way in ways:
        try:
            probe = subprocess.run(
                [*way, *_PYTHON, "--probe"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
            )
        except subprocess.TimeoutExpired as error:
            reasons.append(str(error))
            continue
        if probe.returncode == 0:
            return way, None
        words = (probe.stderr.strip() or f"exit code {probe.returncode}").splitlines()[-1]
        reasons.append(f"{' '.join(way[1:])}: {words}")
    return (), f"no network namespace with CAP_NET_ADMIN: {'; '.join(reasons)}"


_PYTHON = [sys.executable, "-u", "-P", __file__]


def _child_command(item: pytest.Item, directory: Path) -> list[str]:
    """A pytest like ours, for one test. Of our options it gets those that shape reports, none that choose tests."""
    config = item.config
    options = [
        f"--namespace-test={item.nodeid}",
        f"--namespace-directory={directory}",
        f"--rootdir={config.rootpath}",
        f"--basetemp={directory / 'tmp'}",
        f"--import-mode={config.getoption('importmode')}",
        f"--tb={config.getoption('tbstyle')}",
        f"--verbosity={config.getoption('verbose')}",
        *(["--showlocals"] if config.getoption("showlocals") else []),
        *(f"-W{one}" for one in config.getoption("pythonwarnings") or ()),
        *(f"--override-ini={one}" for one in config.getoption("override_ini") or ()),
        "--override-ini=addopts=",
        "--capture=no",  # it prints to a file, where nothing is lost
        *("-p", "no:cacheprovider"),
    ]
    if config.inipath is not None:
        options += ["-c", str(config.inipath)]
    return [*_PYTHON, *options, str(item.path)]


def _wait_for_child(command: Sequence[str], directory: Path, seconds: float) -> str:
    """How it ended: its exit code, or a time-out."""
    ours = ("PYTEST_ADDOPTS", "PYTEST_XDIST")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment[INSIDE] = os.readlink("/proc/self/ns/net")
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # plug-ins take 0.9 s to import; none is needed
    with (directory / "output").open("ab") as output:
        child = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        return str(child.wait(seconds))
    except subprocess.TimeoutExpired:
        return f"a time-out: stopped after {seconds:g} s"
    finally:
        if child.returncode is None:
            _stop(child)


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Say where it hangs, then as Ctrl-C does, so that its fixtures stop their servers; at last all of its session."""
    child.send_signal(TELL_WHERE)
    child.send_signal(signal.SIGINT)
    try:
        child.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


# The child


class _Recorder:
    """A plug-in of the child: keeps the one test, adds what it printed to its reports, writes them down."""

    def __init__(self) -> None:
        self._printed = 0

    def pytest_addoption(self, parser: pytest.Parser) -> None:
        parser.addoption("--namespace-test")
        parser.addoption("--namespace-directory", type=Path)

    def pytest_configure(self, config: pytest.Config) -> None:
        self._config = config
        self._directory: Path | None = config.getoption("--namespace-directory")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        wanted = config.getoption("--namespace-test")
        if wanted is not None:
            config.hook.pytest_deselected(items=[item for item in items if item.nodeid != wanted])
            items[:] = [item for item in items if item.nodeid == wanted]
            if not items:
                raise pytest.UsageError(f"this process does not find the test {wanted}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        self._take_output()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self) -> None:
        self._take_output()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self) -> None:
        self._take_output()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        if output := self._take_output():
            item.add_report_section(call.when, "stdout and stderr", output)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self._directory is None:
            return
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        with (self._directory / "reports").open("a") as file:
            file.write(json.dumps(data, default=str) + "\n")

    def _take_output(self) -> str:
        """What was printed since the last call."""
        if self._directory is None:
            return ""
        with (self._directory / "output").open("rb") as file:
            file.seek(self._printed)
            output = file.read()
        self._printed += len(output)
        return output.decode(errors="replace")


def main(arguments: list[str]) -> int:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored if our shell runs in the background
    faulthandler.register(TELL_WHERE)
    interface_up()
    if arguments == ["--probe"]:
        return 0
    os.environ.setdefault(INSIDE, "of whoever ran this by hand")
    return pytest.main(arguments, plugins=[_Recorder()])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
