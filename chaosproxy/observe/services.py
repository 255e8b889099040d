"""Tell the reactions to faults as events and metrics, soon after they happen.

    bus ─▶ is a fault on, or was one in the last minute?
    if so, when turns were counted: ring ─▶ a copy, in slices ─▶ thread: reactions, claims ─▶ those not told yet ─▶ bus

Turns are counted once a second. A look just after it has no second in which a load only seems to be missing, because
it is not counted yet. The loop copies the ring in 0.5 ms at most. One thread unpacks the events and
computes, for as long as it takes. The wait until the next time is 19 times the processor time of the last: so this
takes at most a twentieth of one processor, and tells later when the ring is full.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from chaosproxy.events import (
    Bus,
    Event,
    FaultAdded,
    FaultExpired,
    FaultRemoved,
    PartitionAdded,
    PartitionExpired,
    PartitionRemoved,
    ProxyRemoved,
    ServiceFailedOver,
    ServiceRecovered,
    TurnsCounted,
)
from chaosproxy.heap import holding_many
from chaosproxy.journal.form import Packed, unpack
from chaosproxy.journal.ring import Ring
from chaosproxy.observe.histogram import histogram
from chaosproxy.reaction.facts import facts_of
from chaosproxy.reaction.news import Subject, claims_of, news, recent, retries_by_episode
from chaosproxy.reaction.reactions import reactions_of
from chaosproxy.reaction.window import AFTER_S
from chaosproxy.tallies import Histogram

__all__ = ["Services", "ServicesCollector", "wait_after"]

EVERY_S = 1.0
"""Seconds between two looks, at least nearly."""
_EARLY_S, _AFTER_COUNT_S = 0.2, 0.02
"""Seconds before the next count at which the wait for it begins, and after it, until all proxies are counted."""
_REST = 19.0
"""Seconds of waiting per second of computing."""
_OVER_S = AFTER_S + 5.0
"""Seconds after the end of a fault in which something about it may become known."""
_MOST_WINDOWS = 40
"""Windows of faults that are looked at; of more, those that began last. Each may take milliseconds."""
_MOST = 1_000
"""Label values, or tuples of them, for which a metric has a series; those beyond are counted as `other`."""
_OTHER = "other"
_BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 120.0, 300.0)

Key = TypeVar("Key", bound=Hashable)

logger = logging.getLogger(__name__)


def wait_after(cpu_s: float) -> float:
    """Return the seconds to wait after a computation that took `cpu_s` of a processor."""
    return max(EVERY_S - _EARLY_S, _REST * cpu_s)


@dataclass(frozen=True, slots=True)
class _Seen:
    """The result of one computation."""

    claims: dict[Subject, Event]
    retries: dict[tuple[str, float], int]
    amplification: dict[str, float]
    begin: float
    """The time of the oldest event."""
    cpu_s: float


def _look(packed: list[Packed], now: float) -> _Seen:
    with holding_many():
        return _seen(packed, now)


def _seen(packed: list[Packed], now: float) -> _Seen:
    began = time.thread_time()
    events = [unpack(one) for one in packed]
    facts = facts_of(recent(events, now, _OVER_S), now)
    begin = min((one.at for one in events), default=now)
    reactions = reactions_of(facts, since=now - _OVER_S, most=_MOST_WINDOWS)
    latest = {name: reactions.latest_of(name) for name in facts.proxies}
    amplification = {
        name: one.retries.amplification
        for name, one in latest.items()
        if one is not None and one.retries.amplification is not None
    }
    return _Seen(claims_of(reactions), retries_by_episode(reactions), amplification, begin, time.thread_time() - began)


class Services:
    """Publishes what clients did about faults; runs in the loop in which `start` is called."""

    def __init__(self, bus: Bus, ring: Ring, now: Callable[[], float]) -> None:
        """`now` is the clock of the events."""
        self._bus, self._ring, self._now = bus, ring, now
        self._active: set[tuple[str, str]] = set()
        self._last_end = -math.inf
        self._read = 0
        """The number of the latest event at the last computation."""
        self._told: dict[Subject, float] = {}
        """The time of each claim that was told. Those older than the ring cannot be seen again, and are forgotten."""
        self._retried: dict[tuple[str, float], int] = {}
        self._counted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "chaosproxy-reactions")
        self.failovers: dict[tuple[str, str, str], int] = {}
        """By service, old and new proxy."""
        self.failover_s: dict[str, Histogram] = {}
        """By service."""
        self.recovery_s: dict[str, Histogram] = {}
        """By proxy, like the next two."""
        self.retries: dict[str, int] = {}
        self.amplification: dict[str, float] = {}
        self._unsubscribe = bus.subscribe(self._on_event)

    @property
    def is_watching(self) -> bool:
        """Return whether a fault is on, or was on a short time ago."""
        return bool(self._active) or self._now() - self._last_end < _OVER_S

    def start(self) -> None:
        """Look once a second from now on."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="reactions")

    async def stop(self) -> None:
        """Look no more. A computation that has begun is left alone, and tells nothing."""
        self._unsubscribe()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def look(self) -> float:
        """Tell what is new; return the processor time that the thread took, in seconds."""
        events, self._read = self._ring.snapshot(), self._ring.last
        seen = await asyncio.get_running_loop().run_in_executor(self._thread, _look, events, self._now())
        self._tell(seen)
        return seen.cpu_s

    async def _run(self) -> None:
        wait = EVERY_S
        while True:
            await asyncio.sleep(wait)
            wait = EVERY_S - _EARLY_S
            if not self.is_watching:
                continue
            self._counted.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await self._counted.wait()
                    await asyncio.sleep(_AFTER_COUNT_S)
            if self._ring.last != self._read:
                try:
                    wait = wait_after(await self.look())
                except Exception:  # a defect here must not end what tells the next reaction
                    logger.exception("the reactions to a fault could not be inferred")
                    wait = 60 * EVERY_S

    def _tell(self, seen: _Seen) -> None:
        for event in news(self._told, seen.claims):
            self._count(event)
            self._bus.publish(event)
        self._told.update((subject, event.at) for subject, event in seen.claims.items())
        self._told = {subject: at for subject, at in self._told.items() if at >= seen.begin}
        for (proxy, episode), number in seen.retries.items():
            more = number - self._retried.get((proxy, episode), 0)
            if more > 0:
                self._retried[proxy, episode] = number
                name = _known(self.retries, proxy, _OTHER)
                self.retries[name] = self.retries.get(name, 0) + more
        self._retried = {key: number for key, number in self._retried.items() if key[1] >= seen.begin}
        for proxy, amplification in seen.amplification.items():
            if proxy in self.amplification or len(self.amplification) < _MOST:
                self.amplification[proxy] = amplification

    def _count(self, event: Event) -> None:
        match event:
            case ServiceFailedOver():
                labels = event.service, event.from_proxy, event.to_proxy
                labels = _known(self.failovers, labels, (_OTHER, _OTHER, _OTHER))
                self.failovers[labels] = self.failovers.get(labels, 0) + 1
                _add(self.failover_s, event.service, event.after_s)
            case ServiceRecovered():
                _add(self.recovery_s, event.proxy, event.recovered_after_s)

    def _on_event(self, event: Event) -> None:
        match event:
            case TurnsCounted():
                self._counted.set()
            case FaultAdded():
                self._active.add((event.proxy, event.fault))
            case PartitionAdded():
                self._active.add(("", event.partition))
            case FaultRemoved() | FaultExpired():
                self._end({(event.proxy, event.fault)}, event.at)
            case PartitionRemoved() | PartitionExpired():
                self._end({("", event.partition)}, event.at)
            case ProxyRemoved():
                self._end({one for one in self._active if one[0] == event.proxy}, event.at)

    def _end(self, ended: set[tuple[str, str]], at: float) -> None:
        if ended & self._active:
            self._active -= ended
            self._last_end = max(self._last_end, at)


def _known(series: dict[Key, int], labels: Key, other: Key) -> Key:
    return labels if labels in series or len(series) < _MOST else other


def _add(series: dict[str, Histogram], name: str, seconds: float) -> None:
    name = name if name in series or len(series) < _MOST else _OTHER
    series.setdefault(name, Histogram(_BOUNDS)).add(seconds)


class ServicesCollector:
    """Makes the metric families of the reactions, at each scrape."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        """Yield every metric family, from copies: a scrape is rendered in a thread."""
        services = self._services
        failovers = CounterMetricFamily(
            "chaosproxy_service_failovers",
            "Failovers from one proxy of a service to another, as inferred from turns.",
            labels=("service", "from", "to"),
        )
        for labels, number in list(services.failovers.items()):
            failovers.add_metric(labels, number)
        yield failovers
        yield histogram(
            "chaosproxy_failover_seconds",
            "Time from the start of a fault to the first good turn at another proxy of the service.",
            ("service",),
            [((name,), one) for name, one in list(services.failover_s.items())],
        )
        yield histogram(
            "chaosproxy_recovery_seconds",
            "Time from the end of a fault until the proxy's load was as before.",
            ("proxy",),
            [((name,), one) for name, one in list(services.recovery_s.items())],
        )
        retries = CounterMetricFamily(
            "chaosproxy_retries", "Repetitions of failed work while a fault was on, without reconnects.",
            labels=("proxy",),
        )  # fmt: skip
        for name, number in list(services.retries.items()):
            retries.add_metric((name,), number)
        yield retries
        amplification = GaugeMetricFamily(
            "chaosproxy_retry_amplification",
            "Attempts per piece of work in the latest fault with trouble, divided by the same before it.",
            labels=("proxy",),
        )
        for name, value in list(services.amplification.items()):
            amplification.add_metric((name,), value)
        yield amplification

    def describe(self) -> Iterable[Metric]:
        """Return no families: the registry then asks for none at registration."""
        return ()
