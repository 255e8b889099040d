"""Scenarios of faults in the kernel: the time of a partition, its cost for other traffic, the accuracy of pacing."""

from __future__ import annotations

import json
import socket
import statistics
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import permutations
from typing import Any

from bench.checks import Check
from bench.load import Sample, Watched
from bench.machine import free_ports
from bench.peers import Chaosproxy
from bench.processes import BenchError, Child
from bench.report import Section, Table
from bench.session import Faulty, Session, interleave
from bench.stats import exactly, ratio, spread

__all__ = ["pacing", "partitions"]

Ask = Callable[..., Any]  # Any: JSON

NODES = ("n1", "n2", "n3", "n4", "n5")
CONNECTIONS = 1000
LAYOUTS = {"isolate one": {"isolate": "n1"}, "halves": "halves", "majorities-ring": "majorities-ring"}


def partitions(session: Session) -> Section:
    """Measure the time from a REST request to its response, when every proxy has changed, for cutting and healing."""
    took: dict[tuple[str, str, str], list[float]] = {}
    with _five_nodes(session) as (proxy, ask, ports), ExitStack() as stack:
        for place in range(CONNECTIONS):
            port = ports[place % len(ports)]
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
        _until_open(ask, CONNECTIONS)
        found = ask("GET", "capabilities")["capabilities"]
        packet = any(one["name"] == "filters" and one["available"] for one in found)
        modes = ("packet", "stream") if packet else ("stream",)
        for _ in range(session.pace.partitions):
            for mode in modes:
                for name, layout in LAYOUTS.items():
                    started = time.perf_counter()
                    ask("POST", "partitions", {"id": "cut", "topology": layout, "mode": mode})
                    took.setdefault((mode, name, "cut"), []).append(time.perf_counter() - started)
                    started = time.perf_counter()
                    ask("DELETE", "partitions/cut")
                    took.setdefault((mode, name, "heal"), []).append(time.perf_counter() - started)
        samples = _beside(session, proxy, ask, ports[-1], modes[0])
    plain, beside = (samples[key] for key in ("no partition", "partition elsewhere"))
    cost = {key: [run.cpu_s * 1e6 / run["count"] for run in runs] for key, runs in samples.items()}
    return Section(
        f"Partitions: 5 nodes, {len(ports)} proxies, {CONNECTIONS:,} connections",
        Table(
            ("mode", "topology", "", "p50 ms", "p99 ms"),
            [
                (*key, f"{statistics.median(times) * 1e3:.1f}", f"{_p99(times) * 1e3:.1f}")
                for key, times in took.items()
            ],
        ),
        [
            *(
                Check(
                    what=f"{mode}: cut or heal, p99 of all",
                    measured=exactly(_p99([t for key, times in took.items() if key[0] == mode for t in times]) * 1e3),
                    unit=" ms",
                    at_most=50,
                )
                for mode in modes
            ),
            Check(
                what="CPU per round trip on a proxy that is not cut, with a partition elsewhere against none",
                measured=ratio(cost["partition elsewhere"], cost["no partition"]),
                unit=" ×",
                at_most=1.05,
            ),
        ],
        notes=[
            f"Time of the whole REST call, over {session.pace.partitions} rounds. A two-way cut changes two "
            "sockets of each connection that it cuts; `halves` cuts 12 proxies.",
            *([] if packet else ["This machine does not allow filters, so mode packet is not measured."]),
        ],
        samples={"no partition": plain, "partition elsewhere": beside},
    )  # fmt: skip


def pacing(session: Session) -> Section:
    """Compare the token bucket with the kernel's pacing at several rates, for one stream and for eight."""
    wanted = [(10, 1), (100, 1), (300, 1), (500, 1), (1000, 1), (100, 8), (200, 8)]
    cases = [(rate, streams, mode) for rate, streams in wanted for mode in ("stream", "packet", "auto")]
    behind = [Faulty(session.source, _bandwidth(rate * 1e6, mode)) for rate, _, mode in cases]
    with session.start(Chaosproxy(), *behind) as (proxy, ports):
        run = partial(session.load.run, "bulk", watched=proxy, seconds=session.pace.rate, warmup=0.5)
        runs = {
            f"{streams} × {rate} MB/s, {mode}": partial(run, port=port, connections=streams)
            for (rate, streams, mode), port in zip(cases, ports, strict=True)
        }
        samples = interleave("pacing", session.pace.fault_rounds, runs)
    off = {
        name: [abs(run["rate"] / (rate * streams * 1e6) - 1) * 100 for run in samples[name]]
        for name, (rate, streams, _) in zip(samples, cases, strict=True)
    }
    return Section(
        "Bandwidth: token bucket (mode stream) and the kernel's pacing (mode packet)",
        Table(
            ("streams × rate, mode", "deviation", "proxy's core"),
            [
                (
                    name,
                    f"{spread(off[name]).median:.3g} %",
                    f"{spread(run.cpu_s / run.window_s for run in samples[name]).median:.0%}",
                )
                for name in samples
            ],
        ),
        [
            Check(what=f"{name}: deviation", measured=spread(off[name]), unit=" %", at_most=2)
            for name in samples
            if name.startswith("1 ") and name.endswith("auto")
        ],
        notes=["One core cannot carry eight streams of 200 MB/s; these rows show how far the rate falls short."],
        samples=samples,
    )


def _bandwidth(rate: float, mode: str) -> dict[str, object]:
    return {"type": "bandwidth", "direction": "downstream", "rate": f"{rate:.0f}B/s", "mode": mode}


def _beside(session: Session, proxy: Watched, ask: Ask, port: int, mode: str) -> dict[str, list[Sample]]:
    """Measure round trips on a proxy that no partition cuts, without and with a partition on all the others."""
    run = partial(session.load.run, "pingpong", port=port, watched=proxy, connections=50, seconds=session.pace.window)

    def with_partition() -> Sample:
        ask("POST", "partitions", {"id": "cut", "groups": [[node] for node in NODES], "mode": mode})
        try:
            return run()
        finally:
            ask("DELETE", "partitions/cut")

    runs = {"no partition": run, "partition elsewhere": with_partition}
    return interleave("partitions", session.pace.fault_rounds, runs)


def _until_open(ask: Ask, connections: int) -> None:
    deadline = time.monotonic() + 30
    while ask("GET", "status")["connections"] < connections:
        if time.monotonic() > deadline:
            raise BenchError(f"fewer than {connections} connections opened within 30 s")
        time.sleep(0.05)


def _p99(times: Sequence[float]) -> float:
    return sorted(times)[min(len(times) - 1, int(len(times) * 0.99))]


@contextmanager
def _five_nodes(session: Session) -> Iterator[tuple[Watched, Ask, list[int]]]:
    """Start a chaosproxy with a proxy for each ordered pair of nodes, and one more; give also a function to call it."""
    pairs = list(permutations(NODES, 2))
    control, *ports = free_ports(len(pairs) + 2)
    proxies: dict[str, dict[str, str]] = {
        f"{one}-{other}": {"from": one, "to": other} for one, other in pairs
    } | {"beside": {}}
    for proxy, port in zip(proxies.values(), ports, strict=True):
        proxy |= {"listen": f"127.0.0.1:{port}", "upstream": f"127.0.0.1:{session.echo}"}
    config = session.directory / "nodes.yaml"
    config.write_text(json.dumps({"version": 1, "proxies": proxies}))
    command = [str(Chaosproxy.program), "serve", str(config), "--control", f"127.0.0.1:{control}"]
    with Child(command, session.cores.proxy, session.directory / "nodes.log", session.env) as child:
        child.line(30)

        def ask(method: str, path: str, body: object = None) -> Any:  # JSON
            request = urllib.request.Request(f"http://127.0.0.1:{control}/v1/{path}", method=method)
            if body is not None:
                request.data = json.dumps(body).encode()
                request.add_header("Content-Type", "application/json")
            with urllib.request.urlopen(request, timeout=10) as response:
                text = response.read()
            return json.loads(text) if text else {}

        yield Watched([child]), ask, ports
