"""Scenario of the bytes per second that pass each fault type on one connection, with the floor that each must reach."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.checks import Check, number
from bench.peers import Chaosproxy
from bench.processes import BenchError, Child
from bench.report import Section, Table
from bench.session import Session, Set, interleave
from bench.stats import spread

__all__ = ["CASES", "throughput"]

_PROGRAM = Path(__file__).parent / "body.py"
_WARMUP = 0.3
_SILENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Case:
    """A fault on the stream from the server to the client, and the least megabytes per second that must pass it."""

    fault: Mapping[str, object] = field(default_factory=dict)
    floor: float = 100.0

    @property
    def name(self) -> str:
        """The fault in YAML, without its direction and settings that only let data pass."""
        shown = {key: value for key, value in self.fault.items() if key not in ("type", "direction")}
        return " ".join([str(self.fault["type"]), *(f"{key}={value}" for key, value in shown.items())])

    @property
    def protocol(self) -> str:
        return "http" if str(self.fault["type"]).startswith("http_") else "tcp"


def _case(floor: float, type: str, **settings: object) -> Case:
    return Case({"type": type, **settings}, floor)


CASES = [
    _case(100, "latency", delay="1ms"),
    _case(100, "latency", delay="1ms", jitter="1ms"),
    _case(100, "bandwidth", rate="1GB/s"),
    _case(30, "bandwidth", rate="1GB/s", shared=True),
    _case(100, "packet_loss", rate="0%", mode="stream"),
    _case(100, "stall", **{"for": "1ms", "every": "1s"}),
    _case(100, "limit_data", size="1000000GB"),
    _case(100, "limit_time", time="1h"),
    _case(100, "reset", size="1000000GB"),
    _case(100, "slow_close", delay="1s"),
    _case(0.1, "slicer", size="1B"),
    _case(5, "slicer", size="64B"),
    _case(50, "slicer", size="1448B", variation="500B"),
    _case(30, "corrupt", rate="0.01%"),
    _case(30, "corrupt", rate="1.9%", unit="byte"),
    _case(30, "corrupt", rate="2%"),
    _case(30, "corrupt", rate="50%", unit="byte"),
    _case(30, "corrupt", rate="100%"),
    _case(50, "http_delay", delay="1ms"),
    _case(30, "http_corrupt", rate="50%"),
    _case(30, "http_slow_body", rate="1GB/s"),
    _case(50, "http_truncate", size="1000000GB"),
    _case(50, "http_reset", size="1000000GB"),
    _case(50, "http_headers", set={"X-Bench": "1"}, on="response"),
    _case(50, "http_clock_skew", offset="1h"),
    _case(50, "http_duplicate", copies=1),
    _case(50, "http_abort", match={"path": "/another"}),
    _case(50, "http_drop_response", match={"path": "/another"}),
    _case(50, "http_drop_request", match={"path": "/another"}),
]
"""Types without a case let no byte of an established connection pass, or act only before there is one."""


def throughput(session: Session) -> Section:
    """Measure one stream through each fault type."""
    with Child([sys.executable, str(_PROGRAM), "serve"], session.cores.load, session.directory / "body.log") as server:
        port = int(server.line(_SILENCE_S))
        behind = [Set(port, {"protocol": one.protocol, "faults": {"it": one.fault}}) for one in CASES]
        with session.start(Chaosproxy(), Set(port, {}), *behind) as (_, [plain, *ports]):
            runs = {"no fault": partial(_rate, session, plain)}
            runs |= {one.name: partial(_rate, session, at) for one, at in zip(CASES, ports, strict=True)}
            samples = interleave("throughput", session.pace.fault_rounds, runs)
    rates = {what: spread(values) for what, values in samples.items()}
    return Section(
        "Throughput of one stream under each fault type",
        Table(("fault", "MB/s"), [(f"`{what}`", number(rate.median)) for what, rate in rates.items()]),
        [
            Check(what=f"`{one.name}`", measured=rates[one.name], unit=" MB/s", at_least=one.floor) for one in CASES
        ],
        notes=["A byte passes per piece of `slicer size=1B`, so 0.1 MB/s are 100,000 pieces per second."],
        samples={},
    )


def _rate(session: Session, port: int) -> float:
    """Return the megabytes per second that a client reads of an endless response."""
    argv = [sys.executable, str(_PROGRAM), "read", str(port), str(_WARMUP), str(session.pace.window / 2)]
    with Child(argv, session.cores.load, session.directory / "body.log") as client:
        client.line(_SILENCE_S)
        word, count, seconds = client.line(_SILENCE_S).split()
        if word != "end":
            raise BenchError(f"{client} printed {word!r} instead of 'end'")
    return int(count) / float(seconds) / 1e6
