"""The standard descriptors: closed ones, full ones, and readers that do not read or have left."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers.chaos import chaosproxy_command
from tests.servers.processes import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc; the descriptors of Linux")

LOOPS = ("uvloop", "asyncio")


def shell(redirection: str, *words: str) -> list[str]:
    """The command with its descriptors as a shell redirects them."""
    return ["sh", "-c", f'exec "$0" "$@" {redirection}', *chaosproxy_command(), *words]


@contextmanager
def serving(redirection: str, loop: str, **popen: object) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A `serve` and the address of its control API, which has no line that says so."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        control = f"127.0.0.1:{probe.getsockname()[1]}"
    words = shell(redirection, "serve", "--control", control, "--loop", loop)
    process = subprocess.Popen(words, **popen)  # type: ignore[call-overload]
    try:
        wait_until(lambda: process.poll() is not None or healthy(control), 30.0, "it serves")
        assert process.poll() is None, "it has ended by itself"
        yield process, f"http://{control}"
    finally:
        process.kill()
        process.wait(30.0)


def healthy(control: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{control}/healthz", timeout=30.0) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def stop(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(30.0)


@pytest.mark.slow
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("redirection", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_a_closed_descriptor_is_no_socket_of_ours_and_the_end_is_orderly(
    tmp_path: Path, loop: str, redirection: str
) -> None:
    with (tmp_path / "log").open("wb") as log:
        files = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": log}
        with serving(redirection, loop, **files) as (process, control):
            numbers = [number for number in (0, 1, 2) if f"{number}>&-" in redirection or f"{number}<&-" in redirection]
            held = [os.readlink(f"/proc/{process.pid}/fd/{number}") for number in numbers]
            assert held == ["/dev/null"] * len(numbers)
            assert stop(process) == 0
    text = (tmp_path / "log").read_text()
    assert ("stdout is closed, so the ready line was not printed: ready control=" in text) is (redirection == "1>&-")


@pytest.mark.parametrize("redirection", ["1>&-", "2>&-", "0<&- 1>&- 2>&-"])
@pytest.mark.parametrize("words", [("faults", "latency"), ("status", "--url", "http://127.0.0.1:1")])
def test_other_commands_end_as_always_with_closed_descriptors(redirection: str, words: tuple[str, ...]) -> None:
    usual = subprocess.run(shell("", *words), capture_output=True, timeout=60.0, check=False)
    ended = subprocess.run(shell(redirection, *words), capture_output=True, timeout=60.0, check=False)
    assert ended.returncode == usual.returncode
    assert ended.stderr == (b"" if "2>&-" in redirection else usual.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("loop", LOOPS)
def test_a_ready_line_that_stdout_does_not_take_is_logged(tmp_path: Path, loop: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    full_reading, full = os.pipe()
    os.set_blocking(full, False)
    while True:
        try:
            os.write(full, b"x" * 4096)
        except BlockingIOError:
            break
    os.set_blocking(full, True)
    cases = [
        ("1>/dev/full", None, "No space left on device"), ("", writing, "Broken pipe"), ("", full, "stdout is full"),
    ]  # fmt: skip
    for redirection, stdout, reason in cases:
        path = tmp_path / "log"
        with path.open("wb") as log, serving(redirection, loop, stdout=stdout, stderr=log) as (process, _):
            wait_until(lambda: reason in path.read_text(), 30.0, "it has logged the reason")  # noqa: B023
            assert stop(process) == 0
            assert path.read_text().count("the ready line") == 1
    for number in (writing, full_reading, full):
        os.close(number)


@pytest.mark.slow
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("redirection", ["", "1>&2"], ids=["stderr", "both"])
def test_a_log_that_nobody_reads_delays_neither_requests_nor_the_end(loop: str, redirection: str) -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    with serving(redirection, loop, stdout=subprocess.DEVNULL, stderr=writing) as (process, control):
        os.close(writing)
        call(control, "POST", "/v1/proxies", {"name": "db", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1"})
        for _ in range(40):  # the lines of 20 of them would fill the pipe
            call(control, "PUT", "/v1/proxies/db/faults/slow", {"type": "latency", "delay": "1ms"})
            call(control, "DELETE", "/v1/proxies/db/faults/slow")
        with urllib.request.urlopen(f"{control}/metrics", timeout=30.0) as answer:
            assert b"chaosproxy_log_lines_dropped_total 0.0" in answer.read()
        assert stop(process) == 0
        kept = os.read(reading, 1 << 16)
        assert 1000 < len(kept) <= 4096, "as many lines as the pipe takes; those of 10 ms are written together"
        assert kept.endswith(b"\n"), "and each of them whole"
    os.close(reading)


def call(control: str, method: str, path: str, body: object = None) -> None:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(control + path, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=30.0) as answer:
        answer.read()


@pytest.mark.slow
@pytest.mark.parametrize("redirection", ["", "1>&2"], ids=["stdout", "both"])
def test_a_demo_that_nobody_reads_goes_on_and_ends(redirection: str) -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writing, False)
    os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    files = {"stdout": writing, "stderr": writing if redirection else subprocess.DEVNULL}
    with socket.create_server(("127.0.0.1", 0)) as probe:
        control = f"127.0.0.1:{probe.getsockname()[1]}"
    process = subprocess.Popen(shell(redirection, "demo", "--control", control), **files)
    try:
        wait_until(lambda: process.poll() is not None or healthy(control), 30.0, "it serves")
        assert stop(process) == 0
    finally:
        process.kill()
        process.wait(30.0)
        os.close(reading)
        os.close(writing)


DEFECT = """\
import sys, threading, warnings
from chaosproxy.cli.standard import unblock_stderr
from chaosproxy.observe import start_logging

class Defect:
    def __del__(self):
        raise ValueError("in the destructor")

unblock_stderr(start_logging("json"))
Defect()
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
warnings.warn("old")
print("written to", "stderr", file=sys.stderr)
raise KeyError("the end")
"""


def test_warnings_and_tracebacks_take_the_way_of_the_log_up_to_the_end() -> None:
    ended = subprocess.run([sys.executable, "-c", DEFECT], capture_output=True, timeout=60.0, check=False)
    assert ended.returncode == 1
    lines = ended.stderr.decode().splitlines()
    plain = [line for line in lines if not line.startswith("{")]
    logged = [json.loads(line) for line in lines if line.startswith("{")]
    assert plain == ["written to stderr"]
    # The last line of a traceback, or the first of a message: Python 3.13 adds the source to a warning.
    shown = [one.get("traceback", one["message"].splitlines()[0]).splitlines()[-1] for one in logged]
    assert shown == [
        "ValueError: in the destructor",
        "ZeroDivisionError: division by zero",
        "<string>:14: UserWarning: old",
        "KeyError: 'the end'",
    ]


@pytest.mark.slow
def test_an_unread_traceback_does_not_keep_the_process_from_ending() -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writing, False)
    os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    process = subprocess.Popen([sys.executable, "-c", DEFECT], stderr=writing)
    os.close(writing)
    try:
        assert process.wait(30.0) == 1
    finally:
        process.kill()
        os.close(reading)
