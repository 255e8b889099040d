"""`chaosproxy serve` as a child process, and its REST API."""

from __future__ import annotations

import json
import re
import selectors
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.servers.processes import HOST, wait_until

__all__ = ["ApiError", "ChaosproxyServer", "chaosproxy_command", "serving"]

READY = re.compile(r"ready control=(http://\S+) proxies=(\d+)\n")
START_SECONDS = 30.0
STOP_SECONDS = 30.0
ANSWER_SECONDS = 30.0
LONGEST_SECONDS = 600.0


def chaosproxy_command() -> list[str]:
    """The command as installed beside this Python."""
    return [str(Path(sys.executable).with_name("chaosproxy"))]


class ApiError(Exception):
    """The API answered with an error status."""

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(f"{status}: {problem}")
        self.status = status


class ChaosproxyServer:
    """A running `chaosproxy serve`."""

    def __init__(self, process: subprocess.Popen[str], control: str, proxies: int, log: Path) -> None:
        self.process = process
        self.control = control
        """`http://HOST:PORT` of the control API, as the ready line said."""
        self.ready_proxies = proxies
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text()

    def logged(self, text: str, count: int = 1) -> list[str]:
        """The lines of the log that hold a text, once there are so many: chaosproxy writes them a little later."""
        wait_until(lambda: len(self._whole_lines(text)) >= count, ANSWER_SECONDS, f"{count} lines say {text!r}")
        return self._whole_lines(text)

    def _whole_lines(self, text: str) -> list[str]:
        return [line for line in self.log.splitlines(keepends=True) if text in line and line.endswith("\n")]

    # Any: JSON.
    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """What the API answers, from JSON; None for an empty answer.

        :raises ApiError: for a status of 400 and above.
        """
        request = urllib.request.Request(self.control + path, method=method)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raise ApiError(error.code, error.read().decode()) from None
        return json.loads(text) if text else None

    def metrics(self) -> str:
        with urllib.request.urlopen(f"{self.control}/metrics", timeout=ANSWER_SECONDS) as answer:
            return str(answer.read().decode())

    def sample(self, name: str, **labels: str) -> float:
        """Return the value of a metric with exactly these labels."""
        shown = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
        start = f"{name}{{{shown}}} "
        [line] = [line for line in self.metrics().splitlines() if line.startswith(start)]
        return float(line.removeprefix(start))

    def withheld(self, proxy: str, direction: str) -> float:
        """Return the bytes that faults hold now, plus the packets that they have dropped."""
        names = ("chaosproxy_held_bytes", "chaosproxy_packets_dropped_total")
        return sum(self.sample(name, proxy=proxy, direction=direction) for name in names)

    def add_proxy(self, name: str, upstream_port: int, **fields: object) -> int:
        """A proxy in front of a loopback port; the port it listens on."""
        body = {"name": name, "listen": f"{HOST}:0", "upstream": f"{HOST}:{upstream_port}", **fields}
        self.call("POST", "/v1/proxies", body)
        return self.port(name)

    def port(self, proxy: str) -> int:
        """The port that a proxy really listens on."""
        listen = str(self.call("GET", f"/v1/proxies/{proxy}")["listen"])
        return int(listen.rpartition(":")[2])

    def inject(self, proxy: str, name: str = "fault", **fault: object) -> None:
        """Put a fault, or change the one of this name."""
        self.call("PUT", f"/v1/proxies/{proxy}/faults/{name}", fault)

    def heal(self) -> None:
        self.call("POST", "/v1/heal")

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(sign)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(STOP_SECONDS)
            raise


@contextmanager
def serving(
    directory: Path,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    command: Sequence[str] | None = None,
) -> Iterator[ChaosproxyServer]:
    """`chaosproxy serve ARGUMENTS` until the block ends, its control API on a free port.

    At the end it must have ended with code 0 on SIGTERM, and its log must hold no traceback. It is killed
    after LONGEST_SECONDS, so that a client without a time-out does not hang with it.
    """
    log = directory / f"chaosproxy-{time.monotonic_ns()}.log"
    words = [*(command or chaosproxy_command()), "serve", *arguments, "--control", f"{HOST}:0"]
    with log.open("w") as stderr:
        process = subprocess.Popen(
            words, cwd=directory, env=None if environment is None else dict(environment),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, text=True,
        )  # fmt: skip
    assert process.stdout is not None
    watchdog = threading.Timer(LONGEST_SECONDS, process.kill)
    watchdog.start()
    try:
        line = _first_line(process)
        ready = READY.fullmatch(line)
        assert ready, f"said {line!r} instead of the ready line; log:\n{log.read_text()}"
        server = ChaosproxyServer(process, ready[1], int(ready[2]), log)
        yield server
        assert server.stop() == 0, f"ended with {process.returncode}; log:\n{server.log}"
        assert "Traceback" not in server.log, server.log
        assert process.stdout.read() == "", "the ready line is all that stdout may say"
    finally:
        watchdog.cancel()
        if process.poll() is None:
            process.kill()
            process.wait(STOP_SECONDS)
        process.stdout.close()


def _first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        if not selector.select(START_SECONDS):
            raise TimeoutError(f"chaosproxy said nothing for {START_SECONDS:g} s")
    return process.stdout.readline()
