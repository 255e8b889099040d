"""The server under test, its configuration, and the backends that the proxies lead to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from chaosproxy.certs import make_certs
from tests.control.hostile_requests import FAULTS_PER_PROXY
from tests.soak.ear import Ear
from tests.soak.verdict import Findings, Sample, waits_of

__all__ = ["HTTP", "LOSSLESS_PROXIES", "LOSSY_PROXIES", "World", "running"]

_HERE = Path(__file__).parent
LOSSLESS_PROXIES = ("checked-0", "checked-1", "checked-unix", "checked-tls")
LOSSY_PROXIES = ("lossy-0", "lossy-1", "lossy-unix", "lossy-tls")
HTTP = ("web-0", "web-1")
NODES = {name: ("clients", f"{name.split('-')[0]}-servers") for name in (*LOSSLESS_PROXIES, *LOSSY_PROXIES, *HTTP)}
CROWD = 300
"""Disabled proxies in a ring of nodes, some of them with many faults, which make requests costly."""


@dataclass(frozen=True, slots=True)
class World:
    """A running server, with the addresses of its proxies by name."""

    process: asyncio.subprocess.Process
    control: int
    doors: dict[str, str]
    trust: ssl.SSLContext
    findings: Findings

    async def connect(self, proxy: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to a proxy as its clients do."""
        door = self.doors[proxy]
        if door.startswith("unix:"):
            return await asyncio.open_unix_connection(door.removeprefix("unix:"))
        host, _, port = door.rpartition(":")
        if proxy.endswith("-tls"):
            return await asyncio.open_connection(host, int(port), ssl=self.trust, server_hostname="localhost")
        return await asyncio.open_connection(host, int(port))

    def sample(self) -> Sample:
        """Read the number of open descriptors and the resident memory of the server."""
        pid = self.process.pid
        status = Path(f"/proc/{pid}/status").read_text()
        resident = re.search(r"VmRSS:\s+(\d+)", status)
        if resident is None:
            raise ProcessLookupError("the server has ended")
        return Sample(len(os.listdir(f"/proc/{pid}/fd")), int(resident[1]) * 1024)


@contextlib.asynccontextmanager
async def running(findings: Findings, seed: int) -> AsyncIterator[World]:
    """Run backends, the server with an unread standard error, and the sentinel; end them after the block."""
    ear = Ear()
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        made = make_certs(Path(directory), ["localhost"], 2)
        echo = await asyncio.start_server(_echo, "127.0.0.1", 0, backlog=1000)
        local = await asyncio.start_unix_server(_echo, f"{directory}/echo.sock", backlog=1000)
        web = await asyncio.start_server(_respond, "127.0.0.1", 0, backlog=1000)
        sentinel = await _start(str(_HERE / "sentinel.py"))
        server = None
        try:
            assert sentinel.stdin is not None and sentinel.stdout is not None
            upstreams = {
                "untouched": f"127.0.0.1:{int(await sentinel.stdout.readline())}",
                **dict.fromkeys((*LOSSLESS_PROXIES, *LOSSY_PROXIES), _address(echo)),
                **dict.fromkeys(HTTP, _address(web)),
                "checked-unix": f"unix:{directory}/echo.sock",
            }
            config = Path(directory) / "soak.yaml"
            config.write_text(json.dumps(_config(upstreams, Path(directory), seed)))
            server = await _start("-m", "chaosproxy", "serve", str(config), stderr=ear.write)
            os.close(ear.write)
            assert server.stdout is not None
            ready = (await server.stdout.readline()).decode()
            match = re.search(r"control=http://127\.0\.0\.1:(\d+) ", ready)
            assert match is not None, ready or ear.end(5)[:3000]
            control = int(match[1])
            doors = await _doors(control)
            untouched = doors["untouched"].rpartition(":")[2]
            sentinel.stdin.write(f"{untouched} {control} {server.pid}\n".encode())
            trust = ssl.create_default_context(cafile=str(made.ca.cert))
            yield World(server, control, doors, trust, findings)
        finally:
            await _end_sentinel(sentinel, findings)
            if server is not None:
                ear.hear()
                await _end_server(server, findings)
                findings.log = ear.end(5)
                findings.most_unread = ear.most_unread
            for backend in (echo, local, web):
                backend.close()


async def _start(*arguments: str, stderr: int | None = None) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=stderr,
        limit=2**30,
    )  # fmt: skip


async def _end_sentinel(sentinel: asyncio.subprocess.Process, findings: Findings) -> None:
    assert sentinel.stdin is not None and sentinel.stdout is not None
    sentinel.stdin.close()
    lines = b""
    try:
        async with asyncio.timeout(40):
            lines = await sentinel.stdout.read()
            await sentinel.wait()
    except TimeoutError:
        findings.damaged.append("the sentinel has waited for more than 40 s")
        sentinel.kill()
        lines = await sentinel.stdout.read()
        await sentinel.wait()
    looks = lines.decode().splitlines()
    findings.damaged += [f"the sentinel {line}" for line in looks if line.startswith("failed:")]
    findings.waits = waits_of([line for line in looks if not line.startswith("failed:")])


async def _end_server(server: asyncio.subprocess.Process, findings: Findings) -> None:
    if server.returncode is None:
        server.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(server.wait(), 30)
    except TimeoutError:
        findings.damaged.append("the server did not end within 30 s after SIGTERM")
        server.kill()
        await server.wait()
    findings.exit_code = server.returncode


def _config(upstreams: dict[str, str], directory: Path, seed: int) -> dict[str, object]:
    proxies: dict[str, object] = {}
    for name, upstream in upstreams.items():
        settings: dict[str, object] = {"listen": "127.0.0.1:0", "upstream": upstream, "queue": "256KiB"}
        if name.endswith("-unix"):
            settings["listen"] = f"unix:{directory}/{name}.sock"
        if name.endswith("-tls"):
            settings["listen_tls"] = {"cert": f"{directory}/localhost.pem", "key": f"{directory}/localhost.key"}
        if name in HTTP:
            settings["protocol"] = "http"
        if name in NODES:
            settings["from"], settings["to"] = NODES[name]
        proxies[name] = settings
    for at in range(CROWD):
        count = FAULTS_PER_PROXY - 50 if at < 10 else 1
        slow = {f"slow-{number}": {"type": "latency", "delay": "100ms"} for number in range(count)}
        proxies[f"proxy-{at}"] = {
            "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9", "enabled": False, "protocol": "http",
            "from": f"n{at}", "to": f"n{(at + 1) % CROWD}", "faults": slow,
        }  # fmt: skip
    return {"version": 1, "seed": seed, "control": {"listen": "127.0.0.1:0"}, "proxies": proxies}


def _address(server: asyncio.Server) -> str:
    host, port = server.sockets[0].getsockname()
    return f"{host}:{port}"


async def _doors(control: int) -> dict[str, str]:
    import aiohttp

    url = f"http://127.0.0.1:{control}/v1/status?limit=1000"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        status = await answer.json()
    return {one["name"]: one["listening_on"][0] for one in status["proxies"] if one["listening_on"]}


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
