"""Tests marked `namespace` run elsewhere, and are reported as if they ran here."""

from __future__ import annotations

import array
import errno
import os
import re
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import namespace
from tests.servers.processes import wait_until

ROOT = Path(__file__).parents[2]

SO_ATTACH_FILTER = 26
SO_MEMINFO = 55
RETURN_0 = array.array("B", struct.pack("HBBI", 6, 0, 0, 0))


def attach(sock: socket.socket) -> None:
    """A classic filter that drops every packet."""
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", 1, RETURN_0.buffer_info()[0]))


def dropped(sock: socket.socket) -> int:
    """Return the number of packets that the socket has dropped (SK_MEMINFO_DROPS)."""
    return int(struct.unpack("9I", sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36))[8])


# Inside


@pytest.mark.namespace
def test_the_network_namespace_is_another() -> None:
    ours, parents = os.readlink("/proc/self/ns/net"), os.environ[namespace.INSIDE]
    assert ours.startswith("net:[")
    assert ours != parents


@pytest.mark.namespace
def test_lo_carries_a_connection_of_which_a_filter_drops_the_packets() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        server, _ = listener.accept()
        with server:
            client.sendall(b"before")
            assert server.recv(10) == b"before"
            attach(server)
            client.sendall(b"after")
            wait_until(lambda: dropped(server) > 0, 30.0, "the filter has dropped the packet")
            server.setblocking(False)
            with pytest.raises(BlockingIOError):
                server.recv(10)


@pytest.mark.namespace
def test_the_mtu_of_lo_is_ours_to_set() -> None:
    namespace.set_mtu("lo", 1400)
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) < 1400


@pytest.mark.namespace
def test_a_command_without_net_admin_may_not_do_so() -> None:
    assert namespace.has_net_admin()
    program = (
        "from tests.servers import namespace\n"
        "try: namespace.set_mtu('lo', 1400)\n"
        "except OSError as error: print(namespace.has_net_admin(), error.errno, namespace.without_net_admin())\n"
        "else: print('done')\n"
    )
    command = [sys.executable, "-c", program]
    with_it = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    without = subprocess.run(
        [*namespace.without_net_admin(), *command], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert with_it.stdout == "done\n"
    assert without.stdout == f"False {errno.EPERM} []\n"


@pytest.mark.namespace(seconds=60)
@pytest.mark.parametrize("text", ["plain", "a::b[c] d/e", 'it\'s "quoted" $HOME;*', "new\nline", "ü\0", ""])
def test_any_parameter_and_fixtures_reach_the_test(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    print(text, end="")  # noqa: T201
    Path("file").write_text(capsys.readouterr().out)
    assert (tmp_path / "file").read_text() == text


# Seen from outside


WITHOUT_PLUGINS = "PYTEST_DISABLE_PLUGIN_AUTOLOAD"
"""What is installed beside pytest takes longer to load than these tests to run."""


def pytest_of(directory: Path, source: str, *options: str, **environment: str) -> str:
    """What a pytest says about a module of that source."""
    (directory / "conftest.py").write_text("from tests.conftest import pytest_runtest_protocol\n")
    (directory / "pytest.ini").write_text("[pytest]\nmarkers =\n    namespace\n")
    (directory / "test_it.py").write_text(f"import os, pytest, time\n\n{source}")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "CI"))}
    inherited.pop(namespace.INSIDE, None)
    path = os.pathsep.join([str(ROOT), inherited.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", f"--basetemp={directory / 'tmp'}", *options],
        cwd=directory, env=inherited | {"PYTHONPATH": path, WITHOUT_PLUGINS: "1"} | environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
    )  # fmt: skip
    return done.stdout


def outcomes(output: str) -> dict[str, str]:
    """By test, from the summary that `-rA` gives."""
    lines = re.findall(r"^(PASSED|FAILED|ERROR|XFAIL|XPASS) test_it\.py::(\S+)", output, re.MULTILINE)
    assert len(lines) == len({name for _, name in lines}), "a test has two outcomes"
    return {name: outcome for outcome, name in lines}


MANY = """
@pytest.fixture(scope="module")
def shared():
    yield

@pytest.fixture
def fails_at_once():
    raise ValueError("at once")

def test_plain(shared): pass

@pytest.mark.namespace
def test_passes(shared): pass

@pytest.mark.namespace
def test_fails():
    print("printed by the test")
    os.system("echo printed by its child")
    assert "this" == "that"

@pytest.mark.namespace
def test_skips(): pytest.skip("skipped within")

@pytest.mark.namespace
@pytest.mark.xfail(strict=True)
def test_is_known(): assert False

@pytest.mark.namespace
@pytest.mark.xfail(strict=True, reason="should fail")
def test_is_better_than_known(): pass

@pytest.mark.namespace
def test_set_up_fails(fails_at_once): pass

@pytest.mark.namespace
def test_crashes():
    print("last words", end="")
    os._exit(7)

@pytest.mark.namespace
def test_warns():
    import warnings
    warnings.warn("a warning")

@pytest.mark.namespace(second=1)
def test_marked_wrongly(): pass

def test_plain_at_the_end(shared): pass
"""

EXPECTED = {
    "test_plain": "PASSED",
    "test_passes": "PASSED",
    "test_fails": "FAILED",
    "test_is_known": "XFAIL",
    "test_is_better_than_known": "FAILED",
    "test_set_up_fails": "ERROR",
    "test_crashes": "FAILED",
    "test_warns": "FAILED",
    "test_marked_wrongly": "FAILED",
    "test_plain_at_the_end": "PASSED",
}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [(), ("-p", "xdist", "-n2")], ids=["one process", "xdist"])
def test_every_outcome_is_reported_as_it_was(workers: tuple[str, ...], tmp_path: Path) -> None:
    output = pytest_of(tmp_path, MANY, "-Werror", *workers)
    assert outcomes(output) == EXPECTED, output
    assert re.search(r"SKIPPED \[1\] test_it.py:\d+: skipped within", output)
    assert "assert 'this' == 'that'" in output
    assert re.search(r"Captured stdout and stderr call -*\nprinted by the test\nprinted by its child\n", output)
    assert "ValueError: at once" in output
    assert "ended with 7; all that it printed:" in output
    assert "last words" in output
    assert "unexpected keyword argument 'second'" in output


@pytest.mark.slow
def test_failures_at_the_end_are_errors(tmp_path: Path) -> None:
    source = """
@pytest.fixture
def late():
    yield
    raise ValueError("at the end")

@pytest.mark.namespace
def test_one(late): pass
"""
    output = pytest_of(tmp_path, source)
    assert " 1 passed, 1 error in " in output.splitlines()[-1], output
    assert "ValueError: at the end" in output


@pytest.mark.slow
def test_the_parent_sets_nothing_up_and_tears_down_what_is_over(tmp_path: Path) -> None:
    source = """
def note(line):
    with open("notes", "a") as file:
        file.write(f"{'inside' if 'CHAOSPROXY_TEST_NAMESPACE' in os.environ else 'outside'} {line}\\n")

@pytest.fixture(scope="class")
def shared():
    note("up")
    yield
    note("down")

@pytest.mark.usefixtures("shared")
class TestA:
    def test_1(self): note("1")

    @pytest.mark.namespace
    def test_2(self): note("2")

class TestB:
    def test_3(self): note("3")
"""
    output = pytest_of(tmp_path, source)
    assert " 3 passed in " in output.splitlines()[-1], output
    assert (tmp_path / "notes").read_text().splitlines() == [
        "outside up", "outside 1", "inside up", "inside 2", "inside down", "outside down", "outside 3"
    ]  # fmt: skip


@pytest.mark.slow
def test_a_hanging_test_is_stopped_and_says_where_it_hung(tmp_path: Path) -> None:
    source = """
@pytest.fixture
def tidy():
    yield
    print("fixtures were torn down")

@pytest.mark.namespace(seconds=8)
def test_hangs(tidy):
    print("hangs now")
    time.sleep(1000)
"""
    output = pytest_of(tmp_path, source)
    assert outcomes(output) == {"test_hangs": "FAILED"}, output
    for words in ("stopped after 8 s", "hangs now", "in test_hangs", "fixtures were torn down"):
        assert words in output


@pytest.mark.slow
def test_a_test_that_the_child_does_not_find_fails(tmp_path: Path) -> None:
    source = """
@pytest.mark.namespace
@pytest.mark.parametrize("value", [os.getpid()])
def test_one(value): pass
"""
    output = pytest_of(tmp_path, source)
    assert " 1 failed in " in output.splitlines()[-1], output
    assert "this process does not find the test test_it.py::test_one[" in output


ONE = """
@pytest.mark.namespace
def test_one(): pass
"""


@pytest.mark.slow
def test_where_no_namespace_is_to_be_had_it_is_skipped_and_fails_in_ci(tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    assert "SKIPPED [1] " in (output := pytest_of(tmp_path, ONE, PATH=str(programs))), output
    assert "unshare (util-linux) is not installed" in output
    assert outcomes(output := pytest_of(tmp_path, ONE, PATH=str(programs), CI="true")) == {"test_one": "FAILED"}, output
    assert "unshare (util-linux) is not installed" in output

    (programs / "unshare").write_text("#!/bin/sh\necho not today >&2\nexit 1\n")
    (programs / "unshare").chmod(0o755)
    assert "SKIPPED [1] " in (output := pytest_of(tmp_path, ONE, PATH=str(programs))), output
    assert outcomes(output := pytest_of(tmp_path, ONE, PATH=str(programs), CI="true")) == {"test_one": "FAILED"}, output
    assert re.search(r"no network namespace with CAP_NET_ADMIN: .*--net: not today; --user --map-root-user", output)


@pytest.mark.slow
def test_options_that_choose_tests_are_the_parents_alone(tmp_path: Path) -> None:
    source = ONE + "\n@pytest.mark.namespace\ndef test_two(): pass\n"
    output = pytest_of(tmp_path, source, "-k", "two", "--durations=3", PYTEST_ADDOPTS="-p no:doctest -p xdist -n1")
    assert outcomes(output) == {"test_two": "PASSED"}, output
