"""Scenarios of HTTP mode: requests, compared with TCP mode and HAProxy; memory of connections and of an upload."""

from __future__ import annotations

import resource
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial

from bench.checks import Check, number
from bench.load import Sample
from bench.machine import free_ports
from bench.peers import Chaosproxy, Haproxy, HaproxyHttp, Running
from bench.processes import Child, wait_for_port
from bench.report import Section, Table
from bench.session import Session, Set, interleave
from bench.stats import ratio, spread

__all__ = ["memory", "requests"]

HTTP = {"protocol": "http", "routes": ["/bench", "/users/{id}", "/static/**"]}
TEN_RULES = HTTP | {
    "faults": {
        f"rule-{number}": {
            "type": "http_abort",
            "match": {"path": f"/checkout-{number}/*", "headers": {"x-tenant": "acme"}},
        }
        for number in range(10)
    }
}
MODES: Mapping[str, Mapping[str, object]] = {"tcp": {}, "http": HTTP, "http, ten rules": TEN_RULES}
HEADS: Mapping[str, Mapping[str, int | bool]] = {
    "bare": {"fields": 1},
    "15 fields": {"fields": 14},
    "15 fields, none alike": {"fields": 13, "serial": True},
}
"""The load repeats its requests, like polls, and HTTP mode recognises them; not in the last case, where all differ."""
_SPARE_CONNECTIONS = 700
_ONE_PROXY = 0.8
"""The share of all connections that one of two proxies may have: chaosproxy keeps the last eighth for the other."""
_UPLOAD = 2**30
_PIECE = 2**20


def requests(session: Session) -> Section:
    """Measure HTTP requests with a bare head and with 15 fields, in TCP mode, in HTTP mode and with ten rules."""
    with _nginx(session) as server, ExitStack() as stack:
        proxy, ports = stack.enter_context(session.start(Chaosproxy(), *(Set(server, how) for how in MODES.values())))
        at: dict[str, tuple[Running, int]] = dict(zip(MODES, ((proxy, port) for port in ports), strict=True))
        for peer in (Haproxy(), HaproxyHttp()):
            if not peer.missing():
                running, [port] = stack.enter_context(session.start(peer, server))
                at[peer.name] = running, port
        runs: dict[str, Callable[[], Sample]] = {}
        for head, options in HEADS.items():
            for name, (running, port) in at.items():
                runs[f"{name}, {head}"] = partial(
                    session.load.run, "request", port, running,
                    connections=50, seconds=session.pace.window, **options,
                )  # fmt: skip
        samples = interleave("requests", session.pace.speed_rounds, runs)
    return Section(
        "HTTP requests on 50 connections, against nginx",
        Table(
            ("proxy", "requests/s", "CPU µs each", "p50 µs", "p99 µs", "load's core"),
            [
                (
                    name,
                    _of(one, lambda run: run["rate"]),
                    _of(one, _cpu_us),
                    _of(one, lambda run: run["p50_us"]),
                    _of(one, lambda run: run["p99_us"]),
                    f"{spread(run.load_busy for run in one).median:.0%}",
                )
                for name, one in samples.items()
            ],
        ),
        [
            _times_tcp(samples, "http", "bare", 1.2),
            _times_tcp(samples, "http", "15 fields", 1.2),
            _times_tcp(samples, "http, ten rules", "bare", 1.4),
            _times_tcp(samples, "http, ten rules", "15 fields", 1.4),
        ],
        samples=samples,
    )


def memory(session: Session) -> Section:
    """Measure the memory of idle keep-alive connections in HTTP mode, and of an upload of 1 GiB."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(session.pace.keep_alive, int(files // 2 * _ONE_PROXY) - _SPARE_CONNECTIONS)
    grown: list[float] = []
    peaks: list[float] = []
    with _nginx(session) as server:
        for _ in range(session.pace.fault_rounds):
            with (
                session.start(Chaosproxy(), Set(server, HTTP), Set(session.sink, HTTP)) as (proxy, [port, upload]),
                session.load.hold(port, 100, fields=1),  # these include one-time allocations
            ):
                before = proxy.resident_bytes()
                with session.load.hold(port, count, fields=1):
                    grown.append((proxy.resident_bytes() - before) / count / 1024)
                peaks.append(_peak_of_upload(proxy, upload) / 2**20)
    return Section(
        "Memory in HTTP mode",
        Table(
            ("what", "median"),
            [
                (f"KiB RSS per idle keep-alive connection, of {count:,}", number(spread(grown).median)),
                ("MiB RSS that an upload of 1 GiB adds at its peak", number(spread(peaks).median)),
            ],
        ),
        [
            Check(
                what=f"RSS per idle keep-alive connection at {count:,}",
                measured=spread(grown),
                unit=" KiB",
                at_most=8,
            ),
            Check(what="RSS added by an upload of 1 GiB", measured=spread(peaks), unit=" MiB", at_most=32),
        ],
        figures={"KiB per connection": grown, "MiB by an upload": peaks},
    )


def _peak_of_upload(proxy: Running, port: int) -> float:
    """Return the bytes of memory that one upload adds at its peak."""
    before = peak = proxy.resident_bytes()
    done = threading.Event()
    thread = threading.Thread(target=_upload, args=(port, done))
    thread.start()
    while not done.wait(0.02):
        peak = max(peak, proxy.resident_bytes())
    thread.join()
    return peak - before


def _upload(port: int, done: threading.Event) -> None:
    try:
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(f"POST /upload HTTP/1.1\r\nHost: sink\r\nContent-Length: {_UPLOAD}\r\n\r\n".encode())
            piece = bytes(_PIECE)
            for _ in range(_UPLOAD // _PIECE):
                sock.sendall(piece)
    finally:
        done.set()


@contextmanager
def _nginx(session: Session) -> Iterator[int]:
    """Run a web server on the load's core that responds from memory; give its port."""
    [port] = free_ports(1)
    directory = session.directory / "web"
    directory.mkdir(exist_ok=True)
    config = directory / "nginx.conf"
    config.write_text(_CONFIG.format(directory=directory, port=port))
    argv = ["nginx", "-p", str(directory), "-e", "stderr", "-c", str(config)]
    child = Child(argv, session.cores.load, directory / "nginx.log", {})
    try:
        wait_for_port(port, child)
        session.load.watch(child)
        yield port
    finally:
        child.stop()


_CONFIG = """\
daemon off;
worker_processes 1;
master_process off;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 12000; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 600;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        add_header X-Request-Id $http_x_request_id;
        location / {{ return 200 "an answer of nginx that is forty-three bytes\\n"; }}
    }}
}}
"""


def _times_tcp(samples: Mapping[str, list[Sample]], mode: str, head: str, at_most: float) -> Check:
    """Divide CPU per request by that of chaosproxy's TCP mode, round by round."""
    measured = ratio(*([_cpu_us(run) for run in samples[f"{name}, {head}"]] for name in (mode, "tcp")))
    return Check(what=f"CPU per request, {mode}, {head}, against tcp", measured=measured, unit=" ×", at_most=at_most)


def _cpu_us(sample: Sample) -> float:
    return sample.cpu_s * 1e6 / sample["count"]


def _of(samples: list[Sample], value: Callable[[Sample], float]) -> str:
    return number(spread(map(value, samples)).median)
