"""Scenarios with the peers: round trips, bulk, connections, memory."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

from bench.checks import Check, number
from bench.load import Sample
from bench.peers import Chaosproxy, Peer, Running
from bench.report import Section, Table
from bench.session import Session, interleave
from bench.stats import Spread, exactly, ratio, spread

__all__ = ["bulk", "connect", "idle", "pingpong"]

Samples = dict[str, list[Sample]]
_EACH = ("CPU µs each", "p50 µs", "p99 µs", "load's core")


def pingpong(session: Session) -> Section:
    """Measure 64-byte round trips on 50 connections; each sends again as soon as it receives the reply."""
    samples = _compare(session, "pingpong", session.echo, connections=50, size=64)
    return Section(
        "64-byte round trips on 50 connections",
        Table(
            ("proxy", "round trips/s", *_EACH),
            _rows(samples),
        ),
        [
            _against(samples, "CPU per round trip", "haproxy", _cpu_us, at_most=1.25),
            _against(samples, "round trips/s", "haproxy", _rate, at_least=0.8),
            _against(samples, "round trips/s", "nginx", _rate, at_least=0.75),
        ],
        samples=samples,
    )


def bulk(session: Session) -> Section:
    """Measure one stream at full speed, down and up."""
    down = _compare(session, "bulk", session.source)
    up = _compare(session, "bulk", session.sink, upload=True)
    return Section(
        "Bulk: one stream",
        Table(
            ("proxy", "download MB/s", "CPU s/GB", "load's core", "upload MB/s", "CPU s/GB"),
            [
                (
                    name,
                    _of(down[name], _megabytes),
                    _of(down[name], _cpu_s_per_gb),
                    _busy(down[name]),
                    _of(up[name], _megabytes),
                    _of(up[name], _cpu_s_per_gb),
                )
                for name in down
            ],
        ),
        [
            _against(down, "download", "haproxy", _rate, at_least=1.0),
            _against(down, "CPU per GB downloaded", "haproxy", _cpu_s_per_gb, at_most=1.2),
        ],
        samples=down | {f"{name} upload": runs for name, runs in up.items()},
    )


def connect(session: Session) -> Section:
    """Measure connections that connect, carry one byte in both directions and close; 32 at a time."""
    samples = _compare(session, "connect", session.echo, connections=32)
    failed = sum(run["failed"] for runs in samples.values() for run in runs)
    return Section(
        "Connections: connect, one byte both ways, close; 32 at a time",
        Table(
            ("proxy", "connections/s", *_EACH),
            _rows(samples),
        ),
        [
            _against(samples, "connections/s", "haproxy", _rate, at_least=0.5),
        ],
        notes=[f"{failed:.0f} connections failed."] if failed else [],
        samples=samples,
    )


def idle(session: Session) -> Section:
    """Measure the memory of idle connections that have carried a byte each way, and garbage collection meanwhile."""
    count = session.pace.idle
    peers = [peer for peer in session.peers if peer.name != "socat"]  # it would need thousands of processes
    pauses: list[float] = []

    def grow(peer: Peer) -> float:
        # The first hundred include one-time allocations. They stay open, so that their memory is not reused.
        with session.start(peer, session.echo) as (proxy, [port]), session.load.hold(port, 100):
            long_before = _long_pauses(proxy)
            before = _settled(proxy)
            with session.load.hold(port, count):
                grown = _settled(proxy) - before
                if long_before is not None:
                    session.load.run("connect", port, connections=16, seconds=session.pace.window)
                    pauses.append((_long_pauses(proxy) or 0.0) - long_before)
        return grown / count / 1024

    grown = interleave("idle", session.pace.fault_rounds, {peer.name: partial(grow, peer) for peer in peers})
    return Section(
        f"Memory: {count:,} idle connections",
        Table(
            ("proxy", "KiB RSS per connection"),
            [(name, number(spread(kib).median)) for name, kib in grown.items()],
        ),
        [
            Check(
                what=f"RSS per idle connection at {count:,}",
                measured=spread(grown[Chaosproxy.name]),
                unit=" KiB",
                at_most=6,
            ),
            Check(
                what=f"garbage collections over 1 ms, while {count:,} connections open and during churn",
                measured=exactly(sum(pauses)) if pauses else None,  # over all rounds: there must be none
                at_most=0,
                note="/metrics has no chaosproxy_gc_pause_seconds",
            ),
        ],
        figures={f"{name} KiB": kib for name, kib in grown.items()} | {"gc pauses over 1 ms": pauses},
    )


def _compare(session: Session, command: str, backend: int, **options: float | bool) -> Samples:
    """Run the same load through every proxy, interleaved; all proxies run throughout, idle without load."""
    with ExitStack() as stack:
        runs: dict[str, Callable[[], Sample]] = {}
        for peer in session.peers:
            proxy, [port] = stack.enter_context(session.start(peer, backend))
            runs[peer.name] = partial(
                session.load.run, command, port, proxy, seconds=session.pace.window, **options
            )
        return interleave(command, session.pace.speed_rounds, runs)


def _against(
    samples: Samples,
    what: str,
    peer: str,
    value: Callable[[Sample], float],
    *,
    at_most: float | None = None,
    at_least: float | None = None,
) -> Check:
    """Divide chaosproxy's figure by a peer's, round by round."""
    measured: Spread | None = None
    if peer in samples:
        measured = ratio(*([value(run) for run in samples[name]] for name in (Chaosproxy.name, peer)))
    return Check(
        what=f"{what}, against {peer}",
        measured=measured,
        unit=" ×",
        at_most=at_most,
        at_least=at_least,
        note=f"{peer} is not installed",
    )


def _rate(sample: Sample) -> float:
    return sample["rate"]


def _cpu_us(sample: Sample) -> float:
    return sample.cpu_s * 1e6 / sample["count"]


def _cpu_s_per_gb(sample: Sample) -> float:
    return sample.cpu_s * 1e9 / sample["bytes"]


def _megabytes(sample: Sample) -> float:
    return _rate(sample) / 1e6


def _rows(samples: Samples) -> list[tuple[str, ...]]:
    """Return the figures of a closed loop, one row for each proxy."""
    return [
        (
            name,
            _of(runs, _rate),
            _of(runs, _cpu_us),
            _of(runs, lambda run: run["p50_us"]),
            _of(runs, lambda run: run["p99_us"]),
            _busy(runs),
        )
        for name, runs in samples.items()
    ]


def _of(runs: Sequence[Sample], value: Callable[[Sample], float]) -> str:
    return number(spread(map(value, runs)).median)


def _busy(runs: Sequence[Sample]) -> str:
    return f"{spread(run.load_busy for run in runs).median:.0%}"


def _settled(proxy: Running, patience: float = 2.0) -> int:
    """Return the resident memory once it has stopped changing, or after `patience` seconds."""
    deadline, last = time.monotonic() + patience, -1
    while (now := proxy.resident_bytes()) != last and time.monotonic() < deadline:
        last = now
        time.sleep(0.2)
    return now


def _long_pauses(proxy: Running) -> float | None:
    """Return the number of garbage collections over 1 ms in a chaosproxy; None if it does not report them."""
    if proxy.control is None:
        return None
    with urllib.request.urlopen(f"{proxy.control}/metrics", timeout=10) as response:
        metrics = dict(line.rsplit(" ", 1) for line in response.read().decode().splitlines())
    every = metrics.get("chaosproxy_gc_pause_seconds_count")
    short = metrics.get('chaosproxy_gc_pause_seconds_bucket{le="0.001"}')
    return None if every is None or short is None else float(every) - float(short)
