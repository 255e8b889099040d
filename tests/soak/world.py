"""The server under test, its configuration, and the backends that the proxies lead to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from tests.soak.verdict import Findings, Sample, waits_of

__all__ = ["HTTP", "LOSSLESS_PROXIES", "LOSSY_PROXIES", "World", "running"]

_HERE = Path(__file__).parent
LOSSLESS_PROXIES = tuple(f"checked-{number}" for number in range(4))
LOSSY_PROXIES = tuple(f"lossy-{number}" for number in range(4))
HTTP = ("web-0", "web-1")
NODES = {name: ("clients", f"{name.split('-')[0]}-servers") for name in (*LOSSLESS_PROXIES, *LOSSY_PROXIES, *HTTP)}


@dataclass(frozen=True, slots=True)
class World:
    """A running server, with the ports of its proxies by name."""

    process: asyncio.subprocess.Process
    control: int
    ports: dict[str, int]
    findings: Findings

    def sample(self) -> Sample:
        """Read the number of open descriptors and the resident memory of the server."""
        pid = self.process.pid
        status = Path(f"/proc/{pid}/status").read_text()
        resident = re.search(r"VmRSS:\s+(\d+)", status)
        assert resident is not None
        return Sample(len(os.listdir(f"/proc/{pid}/fd")), int(resident[1]) * 1024)


@contextlib.asynccontextmanager
async def running(findings: Findings, seed: int) -> AsyncIterator[World]:
    """Run backends, the server with an unread standard error, and the sentinel; end them after the block."""
    sentinel = await _start(str(_HERE / "sentinel.py"))
    assert sentinel.stdin is not None and sentinel.stdout is not None
    quiet = int(await sentinel.stdout.readline())
    echo = await asyncio.start_server(_echo, "127.0.0.1", 0)
    web = await asyncio.start_server(_respond, "127.0.0.1", 0)
    backends = {
        "untouched": quiet,
        **dict.fromkeys((*LOSSLESS_PROXIES, *LOSSY_PROXIES), echo.sockets[0].getsockname()[1]),
        **dict.fromkeys(HTTP, web.sockets[0].getsockname()[1]),
    }
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        config = Path(directory) / "soak.yaml"
        config.write_text(json.dumps(_config(backends, seed)))
        server = await _start("-m", "chaosproxy", "serve", str(config), stderr=asyncio.subprocess.PIPE)
        try:
            assert server.stdout is not None
            ready = (await server.stdout.readline()).decode()
            match = re.search(r"control=http://127\.0\.0\.1:(\d+) ", ready)
            assert match is not None, ready or (await server.communicate())[1].decode()
            control = int(match[1])
            ports = await _ports(control)
            sentinel.stdin.write(f"{ports['untouched']} {control}\n".encode())
            yield World(server, control, ports, findings)
        finally:
            await _end(server, sentinel, findings)
            for backend in (echo, web):
                backend.close()


async def _start(*arguments: str, stderr: int | None = None) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=stderr,
        limit=2**30,
    )  # fmt: skip


async def _end(
    server: asyncio.subprocess.Process, sentinel: asyncio.subprocess.Process, findings: Findings
) -> None:
    try:
        lines, _ = await asyncio.wait_for(sentinel.communicate(), 60)
    except TimeoutError:
        findings.damaged.append("the sentinel has waited for more than 60 s")
        sentinel.kill()
        lines, _ = await sentinel.communicate()
    findings.waits = waits_of(lines.decode().splitlines())
    if sentinel.returncode:
        findings.damaged.append("the sentinel lost its connection, or /healthz failed")
    if server.returncode is None:
        server.send_signal(signal.SIGTERM)
    try:
        _, log = await asyncio.wait_for(server.communicate(), 30)
    except TimeoutError:
        findings.damaged.append("the server did not end within 30 s after SIGTERM")
        server.kill()
        _, log = await server.communicate()
    findings.log, findings.exit_code = log.decode(errors="replace"), server.returncode


def _config(backends: dict[str, int], seed: int) -> dict[str, object]:
    proxies: dict[str, object] = {}
    for name, backend in backends.items():
        settings: dict[str, object] = {"listen": "127.0.0.1:0", "upstream": f"127.0.0.1:{backend}", "queue": "256KiB"}
        if name in HTTP:
            settings["protocol"] = "http"
        if name in NODES:
            settings["from"], settings["to"] = NODES[name]
        proxies[name] = settings
    return {"version": 1, "seed": seed, "control": {"listen": "127.0.0.1:0"}, "proxies": proxies}


async def _ports(control: int) -> dict[str, int]:
    import aiohttp

    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{control}/v1/status") as answer:
        status = await answer.json()
    return {one["name"]: int(one["listening_on"][0].rsplit(":", 1)[1]) for one in status["proxies"]}


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    writer.close()


async def _respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each request with a body whose size is in its path, such as /a?20000; leave if a fault has broken it."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, IndexError):
        while head := await reader.readuntil(b"\r\n\r\n"):
            size = int(head.split(b" ", 2)[1].partition(b"?")[2] or 0)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
            await writer.drain()
    writer.close()
