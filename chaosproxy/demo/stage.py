"""Put the demo together: start servers and client, play the acts, print the addresses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from chaosproxy.control.supervisor import Supervisor
from chaosproxy.demo.client import Client
from chaosproxy.demo.policy import Policy, Role
from chaosproxy.demo.store import primary, replica
from chaosproxy.demo.told import compare
from chaosproxy.demo.walk import PRIMARY, REPLICA, STORY, print_verdict, walk, watch
from chaosproxy.journal.ring import Ring
from chaosproxy.model import Address, ProxySpec
from chaosproxy.reaction.facts import facts_of
from chaosproxy.reaction.reactions import Reactions, reactions_of
from chaosproxy.reaction.story import story
from chaosproxy.tasks import TaskOwner, in_thread

__all__ = ["Demo"]

_NAMES: dict[Role, str] = {"primary": PRIMARY, "replica": REPLICA}


@dataclass(frozen=True, slots=True)
class Demo:
    """Running servers, and the proxies to put in front of them."""

    proxies: tuple[ProxySpec, ...]

    @classmethod
    @asynccontextmanager
    async def starting(cls) -> AsyncIterator[Demo]:
        """Run both servers until the block ends."""
        async with primary() as first:
            first.set("greeting", "hello")
            async with replica(first) as second:
                ports: dict[Role, int] = {"primary": first.port, "replica": second.port}
                yield cls(tuple(_proxy(role, port) for role, port in ports.items()))

    async def perform(
        self, supervisor: Supervisor, ring: Ring, control_url: str, console: Console, *, once: bool, stop: asyncio.Event
    ) -> list[str]:
        """Play the acts, tell their story and, unless `once`, keep everything running until `stop`.

        Return the acts that failed, with "story" among them if it is not true of the client.
        """
        policy = Policy()
        ports = {role: _bound_port(supervisor, name) for role, name in _NAMES.items()}
        client = Client(ports, policy)
        owner = TaskOwner("demo")
        _print_cast(console, policy)
        owner.start(client.run(), "client")
        try:
            walked = await walk(supervisor, client, policy, console, stop)
            failed = walked.failed
            if not stop.is_set():
                events, now = [event for _, event in ring.after(0)], supervisor.now()
                reactions = await in_thread(lambda: reactions_of(facts_of(events, now)))
                failed += _tell(reactions, policy, walked.moved_s, console)
            if once or stop.is_set():
                return failed
            _print_addresses(console, supervisor, control_url)
            owner.start(watch(client, console), "watch")
            await stop.wait()
            return failed
        finally:
            await owner.end()


def _proxy(role: Role, port: int) -> ProxySpec:
    return ProxySpec(
        name=_NAMES[role],
        listen=Address("127.0.0.1", 0),
        upstream=Address("127.0.0.1", port),
        from_node="app",
        to_node=_NAMES[role],
        service="kv",
    )


def _bound_port(supervisor: Supervisor, name: str) -> int:
    port = supervisor.proxy(name).listening_on[0].port
    assert port is not None, "the demo's proxies listen on TCP"
    return port


def _print_cast(console: Console, policy: Policy) -> None:
    console.print("client -> chaosproxy -> key-value store (primary and replica), all on this machine.")
    console.print(
        f"The client waits {policy.timeout:g} s for a response. It pauses {policy.first_backoff:g} s after a failure,\n"
        f"{policy.factor:g} times as long after each further one, and fails over to the replica after"
        f" {policy.failures_to_fail_over} failures in a row.",
        highlight=False,
    )


def _tell(reactions: Reactions, policy: Policy, moved_s: float | None, console: Console) -> list[str]:
    """Print the story, and how true it is; return its name if it is not."""
    console.print()
    console.print(Text("The story of it, told by chaosproxy from what it saw on the connections:", style="bold"))
    _print_plain(console, *(f"   {line}" for line in story(reactions)))
    console.print("The partition's story, compared with the client:")
    compared = compare(reactions, STORY, policy, moved_s)
    _print_plain(console, *(f"   {line}" for shown in compared for line in shown.lines))
    holds = bool(compared) and all(shown.holds for shown in compared)
    return [] if print_verdict(console, holds) else ["story"]


def _print_addresses(console: Console, supervisor: Supervisor, control_url: str) -> None:
    console.print()
    console.print(Text("Everything keeps running until Ctrl-C. Addresses:", style="bold"))
    proxies = supervisor.proxies()
    _print_plain(
        console,
        f"  control     {control_url}/v1",
        f"  metrics     {control_url}/metrics",
        *(f"  {proxy.spec.name}  {proxy.listening_on[0]} -> {proxy.spec.upstream}" for proxy in proxies),
    )
    console.print(Text("Try these commands in another terminal, and watch the client here:", style="bold"))
    _print_plain(
        console,
        f"  chaosproxy status --url {control_url}",
        f"  chaosproxy inject {PRIMARY} latency delay=300ms jitter=100ms --ttl 10s --url {control_url}",
        f"  chaosproxy inject {PRIMARY} stall --ttl 10s --url {control_url}",
        "",
    )


def _print_plain(console: Console, *lines: str) -> None:
    """Print lines for copying, without colours or wrapping."""
    for line in lines:
        console.print(line, highlight=False, markup=False)
