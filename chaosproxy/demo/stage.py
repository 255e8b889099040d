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
from chaosproxy.demo.walk import PRIMARY, REPLICA, walk, watch
from chaosproxy.model import Address, ProxySpec
from chaosproxy.tasks import TaskOwner

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
        self, supervisor: Supervisor, control_url: str, console: Console, *, once: bool, stop: asyncio.Event
    ) -> list[str]:
        """Play the acts and, unless `once`, keep everything running until `stop`; return the acts that failed."""
        policy = Policy()
        ports = {role: _bound_port(supervisor, name) for role, name in _NAMES.items()}
        client = Client(ports, policy)
        owner = TaskOwner("demo")
        _print_cast(console, policy)
        owner.start(client.run(), "client")
        try:
            failed = await walk(supervisor, client, policy, console, stop)
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
