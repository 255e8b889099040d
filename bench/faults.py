"""Scenarios of chaosproxy alone: the cost of a fault, and its accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from bench.checks import Check, number
from bench.load import Sample
from bench.peers import Chaosproxy
from bench.report import Section, Table
from bench.session import Faulty, Session, interleave
from bench.stats import Spread, exactly, ratio, spread

__all__ = ["bandwidth", "fault_cost", "latency"]

STREAMS = 8
_BURST_S = 0.5
"""Excluded at the start of a rate-limited stream: the burst that a token bucket releases at once."""
_ROUND_TRIP = ("min_us", "p50_us", "p99_us", "max_us")


def _latency(delay_ms: int) -> dict[str, object]:
    return {"type": "latency", "direction": "downstream", "delay": f"{delay_ms}ms"}


def _bandwidth(megabytes: int, *, shared: bool = False) -> dict[str, object]:
    return {"type": "bandwidth", "direction": "downstream", "rate": f"{megabytes}MB/s", "shared": shared}


def fault_cost(session: Session) -> Section:
    """Measure CPU per message with one latency fault, relative to the same proxy without it.

    A closed loop with few connections cannot compare the two: 20 ms of latency would limit 400
    connections to 20 000 messages per second, and at that rate a proxy wakes up more often per message
    than when it is saturated. So measure once at the same fixed rate below saturation, and once with
    enough connections to saturate both.
    """
    delayed = Faulty(session.echo, _latency(20))
    with session.start(Chaosproxy(), session.echo, delayed) as (proxy, [plain, slow]):
        run = partial(session.load.run, watched=proxy, seconds=session.pace.window, warmup=0.5)
        steady = partial(run, "paced", connections=400, period_us=25_000)
        flooded = partial(run, "pingpong", connections=2000)
        samples = interleave(
            "fault-cost",
            session.pace.fault_rounds,
            {
                "steady, no fault": partial(steady, port=plain),
                "steady, latency": partial(steady, port=slow),
                "flooded, no fault": partial(flooded, port=plain),
                "flooded, latency": partial(flooded, port=slow),
            },
        )
    cost = {what: [run.cpu_s * 1e6 / run["count"] for run in runs] for what, runs in samples.items()}
    return Section(
        "CPU of one latency fault (20 ms, downstream)",
        Table(
            ("load", "messages/s", "CPU µs each", "proxy's core"),
            [
                (
                    what,
                    number(spread(run["rate"] for run in runs).median),
                    number(spread(cost[what]).median),
                    f"{spread(run.cpu_s / run.window_s for run in runs).median:.0%}",
                )
                for what, runs in samples.items()
            ],
        ),
        [
            Check(
                what=f"CPU per message, latency against no fault, {load}",
                measured=ratio(cost[f"{load}, latency"], cost[f"{load}, no fault"]),
                unit=" ×",
                at_most=3,
            )
            for load in ("steady", "flooded")
        ],
        notes=["Steady: 400 connections, 16,000 messages/s on a schedule. Flooded: 2,000, closed loop."],
        samples=samples,
    )


def latency(session: Session) -> Section:
    """Measure how late responses are, beyond the configured delay and the round trip without a fault."""
    pace = session.pace
    behind = (
        session.echo,
        Faulty(session.echo, _latency(20)),
        Faulty(session.echo, _latency(50)),
        session.source,
        Faulty(session.source, _latency(20)),
    )
    with session.start(Chaosproxy(), *behind) as (proxy, [echo, echo20, echo50, source, source20]):
        run = partial(session.load.run, watched=proxy)
        lone = partial(run, "paced", connections=1, period_us=25_000)
        crowd = partial(run, "paced", connections=1000, period_us=250_000, warmup=0.5)
        stream = partial(run, "bulk", seconds=pace.window, warmup=0.5)
        samples = interleave(
            "latency",
            pace.fault_rounds,
            {
                "1 connection, no fault": partial(lone, port=echo, seconds=pace.lone / 3),
                "1 connection, 20 ms": partial(lone, port=echo20, seconds=pace.lone, below_us=20_000),
                "1,000 connections, no fault": partial(crowd, port=echo, seconds=pace.crowd / 2),
                "1,000 connections, 50 ms": partial(crowd, port=echo50, seconds=pace.crowd, below_us=50_000),
                "stream, no fault": partial(stream, port=source),
                "stream, 20 ms": partial(stream, port=source20),
            },
        )
    rates = {what: [run["rate"] for run in runs] for what, runs in samples.items()}
    return Section(
        "Accuracy of latency",
        Table(
            ("load", "messages", "min ms", "p50 ms", "p99 ms", "max ms"),
            [
                (
                    what,
                    f"{sum(run['count'] for run in runs):,.0f}",
                    *map(partial(_milliseconds, runs), _ROUND_TRIP),
                )
                for what, runs in samples.items()
                if not what.startswith("stream")
            ],
        ),
        [
            *_punctuality(samples, "1 connection", 20, p50=0.3, p99=0.8),
            *_punctuality(samples, "1,000 connections", 50, p50=1, p99=3),
            Check(
                what="one stream under 20 ms, against no fault",
                measured=ratio(rates["stream, 20 ms"], rates["stream, no fault"]),
                unit=" ×",
                at_least=0.5,
            ),
        ],
        samples=samples,
    )


def _milliseconds(runs: Sequence[Sample], key: str) -> str:
    """Return the median of the rounds; for a minimum or maximum, that over all rounds."""
    values = [run[key] / 1e3 for run in runs]
    figure = {"min_us": min(values), "max_us": max(values)}.get(key, spread(values).median)
    return f"{figure:.3f}"


def _punctuality(
    samples: Mapping[str, Sequence[Sample]], load: str, delay_ms: int, *, p50: float, p99: float
) -> list[Check]:
    """Check that no response is early, and that lateness stays below `p50` and `p99` milliseconds."""
    plain, slow = samples[f"{load}, no fault"], samples[f"{load}, {delay_ms} ms"]

    def late(percentile: str) -> Spread:
        own = (run["p50_us"] for run in plain)
        return spread((run[percentile] - base) / 1e3 - delay_ms for run, base in zip(slow, own, strict=True))

    what = f"{delay_ms} ms on {load}"
    return [
        # Over all rounds: even one early response is an error.
        Check(what=f"{what}: early responses", measured=exactly(sum(run["below"] for run in slow)), at_most=0),
        Check(what=f"{what}: late, p50", measured=late("p50_us"), unit=" ms", at_most=p50),
        Check(what=f"{what}: late, p99", measured=late("p99_us"), unit=" ms", at_most=p99),
    ]


def bandwidth(session: Session) -> Section:
    """Measure rates over seconds, for one stream and shared by eight, from the first to the last byte."""
    rates = (1, 10, 100)
    faults = [*map(_bandwidth, rates), _bandwidth(10, shared=True)]
    behind = [Faulty(session.source, fault) for fault in faults]
    with session.start(Chaosproxy(), *behind) as (proxy, ports):
        run = partial(session.load.run, "bulk", watched=proxy, seconds=session.pace.rate, warmup=_BURST_S)
        *alone, together = ports
        runs = {f"{rate} MB/s": partial(run, port=port) for rate, port in zip(rates, alone, strict=True)}
        shared = f"10 MB/s shared by {STREAMS} streams"
        runs[shared] = partial(run, port=together, connections=STREAMS)
        samples = interleave("bandwidth", session.pace.fault_rounds, runs)
    asked = {what: float(what.split()[0]) * 1e6 for what in samples}
    return Section(
        "Accuracy of bandwidth",
        Table(
            ("configured", "measured MB/s", "CPU s/GB", "share of each stream"),
            [
                (
                    what,
                    f"{spread(run['rate'] for run in runs).median / 1e6:.3f}",
                    number(spread(run.cpu_s * 1e9 / run["bytes"] for run in runs).median),
                    _shares(runs) if what == shared else "",
                )
                for what, runs in samples.items()
            ],
        ),
        [
            *(
                Check(
                    what=f"{what}: deviation",
                    measured=spread(abs(run["rate"] / asked[what] - 1) * 100 for run in runs),
                    unit=" %",
                    at_most=2,
                )
                for what, runs in samples.items()
            ),
            Check(
                what=f"{shared}: largest deviation of a share from an eighth",
                measured=spread(map(_unfairness, samples[shared])),
                unit=" %",
                at_most=10,
            ),
        ],
        samples=samples,
    )


def _unfairness(run: Sample) -> float:
    """Return the largest deviation of a share from an equal one, in percent of an equal share."""
    equal = sum(run.streams) / len(run.streams)
    return max(abs(stream / equal - 1) for stream in run.streams) * 100


def _shares(runs: Sequence[Sample]) -> str:
    shares = [stream / sum(run.streams) for run in runs for stream in run.streams]
    return f"{min(shares):.2%} to {max(shares):.2%}"
