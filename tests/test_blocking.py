"""Nothing on the loop may block: no file, name lookup, connect, sleep or child process."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from chaosproxy.errors import CannotListen
from chaosproxy.model import Address
from chaosproxy.net.sockets.binding import bind_all
from chaosproxy.net.tls import contexts
from chaosproxy.net.tls.contexts import ReloadedOnChange
from chaosproxy.tasks import in_thread
from tests import tour
from tests.test_architecture import SOURCES

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.parametrize("loop_name", ["uvloop", "asyncio"])
def test_nothing_on_the_loop_waits_for_a_file_or_a_name_or_a_peer(loop_name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.tour", loop_name, str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240.0, check=False)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == []


def test_the_hook_of_the_tour_sees_each_kind(tmp_path: Path) -> None:
    program = f"""
import asyncio, socket, sys, threading
from tests import tour
tour.PACKAGE = "<string>"
sys.addaudithook(tour.hook)

async def main():
    tour.watched = threading.get_ident()
    open({str(tmp_path / "x")!r}, "w").close()
    socket.getaddrinfo("127.0.0.1", 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(server.getsockname())
        client.close()
        await asyncio.to_thread(open, {str(tmp_path / "y")!r}, "w")
    tour.watched = None

asyncio.run(main())
print([line.split(": ")[1].split()[0] for line in tour.found])
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60.0)
    seen = ast.literal_eval(ended.stdout.strip() or "[]")
    assert [one for one in seen if one != "import"] == [
        "open", "socket.getaddrinfo", "socket.getaddrinfo", "socket.connect",
    ], ended.stderr  # fmt: skip


MAY_BLOCK = {
    "open", "connect", "getaddrinfo", "load_cert_chain", "load_default_certs", "load_verify_locations", "urlopen",
    "NamedTemporaryFile", "mkstemp", "fdopen", "stat", "lstat", "unlink", "replace", "read", "write", "exists",
    "read_bytes", "read_text", "write_bytes", "write_text", "getresponse",
}  # fmt: skip
"""The last parts of the names of functions that may wait for a disk or a network."""
OWNERS = {"stat": "os", "lstat": "os", "unlink": "os", "replace": "os", "read": "os", "write": "os", "open": ""}
"""The modules of those whose names are common; without one it is a builtin."""


def test_the_documentation_lists_every_module_with_a_call_that_may_block() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    section = text.partition("## Calls that may block")[2].partition("\n## ")[0]
    listed = set(re.findall(r"`([\w.]+)`", "\n".join(re.findall(r"^\| ([^|]*) \|", section, re.MULTILINE))))
    calling = {name.removeprefix("chaosproxy.") for name, path in SOURCES.items() if may_block(path.read_text())}
    assert {name for name in calling if not name.startswith("cli.")} == listed


def may_block(text: str) -> bool:
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in MAY_BLOCK and not OWNERS.get(name):
                return True
            case ast.Call(func=ast.Attribute(value=owner, attr=name)) if name in MAY_BLOCK:
                if name not in OWNERS or (isinstance(owner, ast.Name) and owner.id == OWNERS[name]):
                    return True
    return False


@pytest.mark.parametrize("loop_name", ["uvloop", "asyncio"])
def test_a_stale_unix_socket_is_found_without_waiting_for_its_owner(loop_name: str, tmp_path: Path) -> None:
    """The backlog of the owner is full: a connect that blocks would wait for it."""
    path = tmp_path / "busy.sock"
    owner = socket.socket(socket.AF_UNIX)
    owner.bind(str(path))
    owner.listen(0)
    waiting = [socket.socket(socket.AF_UNIX) for _ in range(3)]
    for one in waiting:
        one.setblocking(False)
        one.connect_ex(str(path))
    ended = threading.Event()
    refused: list[CannotListen] = []

    def bind() -> None:
        with pytest.raises(CannotListen) as caught:
            asyncio.run(bind_all(Address(str(path), None)))
        refused.append(caught.value)
        ended.set()

    threading.Thread(target=bind, daemon=True).start()
    assert ended.wait(30.0), "it waits for the owner of the socket"
    assert refused[0].code == "address-in-use"
    assert path.exists()
    for one in (owner, *waiting):
        one.close()


def test_a_socket_that_is_left_over_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    [sock] = asyncio.run(bind_all(Address(str(path), None)))
    with sock, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


# ── threads ───────────────────────────────────────────────────────────────────────────────


def test_a_call_in_a_thread_returns_its_result_or_raises_its_error() -> None:
    async def scenario() -> None:
        own = threading.get_ident()
        assert await in_thread(threading.get_ident) != own
        with pytest.raises(ZeroDivisionError):
            await in_thread(lambda: 1 // 0)

    asyncio.run(scenario())


def test_a_call_that_never_returns_does_not_keep_the_process_from_ending() -> None:
    program = """
import asyncio, threading
from chaosproxy.tasks import in_thread

async def main():
    begun = threading.Event()
    waiting = in_thread(lambda: begun.set() or threading.Event().wait())
    begun.wait()
    waiting.cancel()

asyncio.run(main())
print("over")
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60.0)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "over\n", "")


def test_a_file_system_that_does_not_respond_delays_new_connections_only_a_little(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its files are as before, in use; a connection waits for the check once, and the next ones do not."""
    monkeypatch.setattr(contexts, "CHECK_EVERY", 0.0)
    monkeypatch.setattr(contexts, "PATIENCE", 0.05)
    file = tmp_path / "a.pem"
    file.write_text("1")
    hanging, responds, checked = threading.Event(), threading.Event(), threading.Event()

    def make() -> str:
        if threading.current_thread() is not threading.main_thread():
            hanging.set()
            assert responds.wait(30.0)
        text = file.read_text()
        if text == "22":
            checked.set()
        return text

    async def scenario() -> None:
        context = ReloadedOnChange(make, [str(file)], "test")
        file.write_text("22")
        await context.refresh(1.0)
        assert hanging.wait(30.0)
        assert context.value == "1"
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = 30.0
        for now in (2.0, 3.0):
            await context.refresh(now)
            assert context.value == "1"
        responds.set()
        async with asyncio.timeout(30.0):
            while context.value != "22":
                await asyncio.sleep(0.001)
        await context.refresh(4.0)
        assert context.value == "22"

    asyncio.run(scenario())


def test_the_tour_gives_a_reason_for_each_call_that_it_lets_pass() -> None:
    assert all(reason for reason in tour.HARMLESS.values())
    files = {str(path.relative_to(ROOT / "chaosproxy")) for path in SOURCES.values()}
    assert {place for _, place in tour.HARMLESS} <= files
