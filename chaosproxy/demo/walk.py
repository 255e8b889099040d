"""The acts of the demo: each injects a fault into the primary's proxy and observes the client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from time import monotonic

from rich.console import Console
from rich.text import Text

from chaosproxy.control.supervisor import Supervisor
from chaosproxy.declare import Problems
from chaosproxy.demo.acts import Facts, judge, summary, switches
from chaosproxy.demo.client import Client
from chaosproxy.demo.policy import Policy
from chaosproxy.model import FaultSpec, read_fault

__all__ = ["PRIMARY", "REPLICA", "STORY", "Walk", "print_verdict", "walk", "watch"]

PRIMARY = "kv-primary"
REPLICA = "kv-replica"
STORY = f"{PRIMARY}/partition"
"""The fault whose story is compared with the client."""
_BY = "demo"


@dataclass(frozen=True, slots=True)
class Act:
    """A fault to inject, and a condition for the end of the act."""

    name: str
    words: str
    """A description of the fault for the reader."""
    enough: Callable[[Facts], bool]
    fault: Mapping[str, object] | None = None
    longest: float = 4.0
    """Seconds after which the act ends in any case."""
    stays: bool = False
    """True if the fault stays for the next act."""
    rest: int = 1
    """Responses of the primary after the fault, before the next act."""


ACTS = (
    Act("baseline", "nothing", lambda facts: len(facts.responses("primary")) >= 150),
    Act(
        "latency",
        "each response of the primary is delayed by 100 ms",
        lambda facts: len(facts.responses("primary")) >= 12,
        {"type": "latency", "delay": "100ms"},
    ),
    Act(
        "stall",
        "the responses of the primary are held",
        lambda facts: len(facts.ended_with("gave up")) >= 3,
        {"type": "stall"},
    ),
    Act(
        "reset",
        "each connection to the primary is reset after 100 ms",
        lambda facts: len(facts.ended_with("reset")) >= 5,
        {"type": "reset", "delay": "100ms"},
        rest=200,  # two seconds without a fault, with which the partition is compared
    ),
    Act(
        "partition",
        "no byte passes between client and primary in either direction",
        lambda facts: len(facts.responses("replica")) >= 60,
        {"type": "blackhole", "direction": "both"},
        longest=12.0,
        stays=True,
    ),
    # Several seconds, since it is back to normal once three seconds in a row are as before.
    Act("heal", "nothing; the fault is removed", lambda facts: len(facts.responses("primary")) >= 350, longest=10.0),
)


@dataclass(slots=True)
class Walk:
    """The results of the acts."""

    failed: list[str]
    """The names of the acts without the expected effect."""
    moved_s: float | None = None
    """Seconds from the begin of the partition to the first response of the replica."""


async def walk(
    supervisor: Supervisor, client: Client, policy: Policy, console: Console, stop: asyncio.Event
) -> Walk:
    """Play every act until `stop`."""
    walked = Walk([])
    baseline = None
    for number, act in enumerate(ACTS, start=1):
        console.print()
        console.print(Text.assemble((f"{number}. {act.name}", "bold"), f"  injected: {act.words}"))
        facts = await _play(act, supervisor, client, baseline, stop)
        if stop.is_set():
            walked.failed += (one.name for one in ACTS[number - 1 :])
            return walked
        if act.name == "baseline" and facts.responses("primary"):
            baseline = median(facts.responses("primary"))
        if act.name == "partition":
            walked.moved_s = facts.first_response("replica")
        shown = judge(act.name, facts, policy)
        for line in shown.lines:
            console.print(f"   client: {line}", highlight=False)
        if not print_verdict(console, shown.holds):
            walked.failed.append(act.name)
    return walked


def print_verdict(console: Console, holds: bool) -> bool:
    """Print whether something was as expected; return the same."""
    words = Text("   as expected", style="green") if holds else Text("   NOT as expected", style="bold red")
    console.print(words)
    return holds


async def watch(client: Client, console: Console, every: float = 2.0) -> None:
    """Until cancelled, print a summary every few seconds while attempts are not ordinary responses."""
    while True:
        began = monotonic()
        await asyncio.sleep(every)
        seen = client.since(began)
        if switches(seen) or not seen:
            console.print(f"client: {summary(seen)}", highlight=False)


async def _play(
    act: Act, supervisor: Supervisor, client: Client, baseline: float | None, stop: asyncio.Event
) -> Facts:
    began = monotonic()

    def facts() -> Facts:
        return Facts(began, client.since(began), baseline)

    if act.fault is None:
        supervisor.heal(by=_BY)
    else:
        supervisor.put_fault(PRIMARY, _spec(act.name, act.fault), by=_BY)
    await _until(lambda: stop.is_set() or act.enough(facts()), client, act.longest)
    if not act.stays:
        healed = monotonic()
        supervisor.heal(by=_BY)
        await _until(lambda: stop.is_set() or _responses(client, healed) >= act.rest, client, act.longest)
    return facts()


def _responses(client: Client, since: float) -> int:
    return len(Facts(since, client.since(since)).responses("primary"))


async def _until(seen: Callable[[], bool], client: Client, longest: float) -> None:
    """Check after each attempt; at least two attempts end per second."""
    try:
        async with asyncio.timeout(longest):
            while not seen():
                await client.next_attempt()
    except TimeoutError:
        return  # the verdict shows the missing effect


def _spec(name: str, fault: Mapping[str, object]) -> FaultSpec:
    problems = Problems()
    spec = read_fault(fault, name, problems)
    problems.raise_if_any()
    assert spec is not None
    return spec
