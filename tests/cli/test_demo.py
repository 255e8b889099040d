"""The demo as a user runs it."""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import time
import urllib.request

import pytest

from chaosproxy.demo.walk import ACTS
from tests.servers.chaos import chaosproxy_command

LOOPS = ("uvloop", "asyncio")


@pytest.mark.slow
@pytest.mark.parametrize("loop", LOOPS)
def test_once_every_act_shows_its_effect(loop: str) -> None:
    command = [*chaosproxy_command(), "demo", "--once", "--loop", loop]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120.0, check=False)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout
    assert ended.stdout.count("as expected") == len(ACTS) + 1  # and the story
    assert re.search(r"median response time \d.* -> [12]\d\d ms", ended.stdout)
    assert re.search(r"gave up after [5-7]\d\d ms", ended.stdout)
    assert re.search(r"reset \d+ times", ended.stdout)
    assert re.search(r"failed over to the replica after [1-9]\.\d s", ended.stdout)
    assert re.search(r"back at the primary after \d\.\d s", ended.stdout)
    assert "kv-primary, while `kv-primary/partition` was on" in ended.stdout
    assert "time-out: 0.5" in ended.stdout and "it is set to 0.5 s" in ended.stdout
    assert re.search(r"failover: after [4-6]\.\d\d s; its own log says [4-6]\.\d\d s", ended.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("loop", LOOPS)
def test_it_keeps_running_with_its_control_api_until_interrupted(loop: str) -> None:
    command = [*chaosproxy_command(), "demo", "--loop", loop]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        said = read_until(process, "chaosproxy inject kv-primary stall")
        control = re.search(r"metrics +(http://\S+)/metrics", said)
        assert control, said
        with urllib.request.urlopen(f"{control[1]}/metrics", timeout=30.0) as answer:
            assert b'proxy="kv-primary"' in answer.read()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60.0)
        assert (process.returncode, errors) == (0, b"")
    finally:
        process.kill()
        process.communicate()


def read_until(process: subprocess.Popen[bytes], text: str, longest: float = 60.0) -> str:
    assert process.stdout is not None
    said, deadline = "", time.monotonic() + longest
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while text not in said:
            assert selector.select(deadline - time.monotonic()), f"only said:\n{said}"
            more = os.read(process.stdout.fileno(), 65536)
            assert more, f"ended after:\n{said}"
            said += more.decode()
    return said
