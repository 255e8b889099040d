"""Attempts to connect to a proxy that refuses or sends no response: counted, published, and shown as packets."""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
import socket
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from chaosproxy.control.supervisor import Supervisor
from chaosproxy.events import Bus, ConnectionAttempt, ConnectionClosed, Event
from chaosproxy.faults.base import Fault
from chaosproxy.model.address import Address
from chaosproxy.model.types import FAULT_TYPES
from chaosproxy.model.verbs import verb_fault
from chaosproxy.net.attempts import Attempts, SharedTap
from chaosproxy.net.kernel.capabilities import Capability, probe
from chaosproxy.net.kernel.descriptors import Descriptors
from chaosproxy.net.kernel.tap import Packet, PacketKind
from chaosproxy.net.placement.active_faults import Hiding
from chaosproxy.net.proxy import Proxy
from chaosproxy.net.sockets.listener import Listener
from chaosproxy.net.timer.scheduler import LoopTimer, Scheduler
from chaosproxy.observe import GcPauses, make_registry
from chaosproxy.seed import Seed
from chaosproxy.tallies import ProxyTally
from tests.net.building import fault, proxy
from tests.net.harness import Stage, address_of, close_with_reset, is_empty, receive, run, turns
from tests.net.test_packets import NODES, cut, heal
from tests.net.tls_peers import Certs
from tests.supervising import change_proxy

namespace = pytest.mark.namespace

NOBODY = "127.0.0.1:1"
"""An upstream that refuses, so accepted connections end at once."""
HIDING: dict[str, tuple[dict[str, object], str]] = {
    "refuse": ({"type": "refuse"}, "refused"),
    "unreachable, packet": ({"type": "unreachable", "mode": "packet"}, "unanswered"),
    "unreachable, stream": ({"type": "unreachable", "mode": "stream"}, "unanswered"),
    "partition, packet": ({"type": "partition", "mode": "packet", "direction": "downstream"}, "unanswered"),
    "partition, stream": ({"type": "partition", "mode": "stream", "direction": "upstream"}, "unanswered"),
    "partition, fail_fast": ({"type": "partition", "fail_fast": True, "direction": "both"}, "refused"),
    "packet_loss of all": (
        {"type": "packet_loss", "rate": 1.0, "mode": "packet", "direction": "upstream"}, "unanswered",
    ),
}  # fmt: skip
"""Faults that keep clients from the listening socket, with the results of their attempts."""
ACCEPTING: dict[str, dict[str, object]] = {
    "refuse some": {"type": "refuse", "probability": 0.5},
    "refuse the first": {"type": "refuse", "count": 3},
    "pause": {"type": "pause", "direction": "both"},
    "slow_accept": {"type": "slow_accept", "delay": "1ms"},
    "packet_loss": {"type": "packet_loss", "rate": 1e-9, "mode": "packet", "direction": "upstream"},
    "tls_handshake": {"type": "tls_handshake", "how": "reset"},
}
"""Faults that act on accepted clients, so the kernel connects them."""


def attempt(to: Proxy, host: str | None = None) -> tuple[str, int]:
    """Begin to connect, and leave at once; return the client's address and port."""
    where = (host or address_of(to)[0], address_of(to)[1])
    with socket.socket(socket.AF_INET6 if ":" in where[0] else socket.AF_INET) as client:
        client.setblocking(False)
        assert client.connect_ex(where) in (0, errno.EINPROGRESS, errno.ECONNREFUSED)
        name = client.getsockname()
        return name[0], name[1]


def published(events: list[Event]) -> list[ConnectionAttempt]:
    return [event for event in events if isinstance(event, ConnectionAttempt)]


Sums = Counter[tuple[str, str]]
"""The number of attempts by proxy and result."""


def told(events: list[Event]) -> Sums:
    """Count the attempts that the events report; an accepted one is reported when its connection is closed."""
    found: Sums = Counter()
    for event in events:
        if isinstance(event, ConnectionAttempt):
            found[event.proxy, event.met] += 1 + event.suppressed
        elif isinstance(event, ConnectionClosed):
            found[event.proxy, "accepted"] += 1
    return found


def samples(supervisor: Supervisor, name: str = "chaosproxy_connection_attempts_total") -> Sums:
    """Return the values of a metric by proxy and the other label."""
    text = generate_latest(make_registry(supervisor, GcPauses(), "asyncio")).decode()
    return Counter(
        {
            (one.labels.get("proxy", ""), one.labels.get("met") or one.labels.get("cause", "")): int(one.value)
            for family in text_string_to_metric_families(text)
            for one in family.samples
            if one.name == name
        }
    )


# ── counting and publishing ───────────────────────────────────────────────────────────────


def test_every_fault_that_acts_on_accepting_is_in_the_tables() -> None:
    acting = {kind for kind, one in FAULT_TYPES.items() if one.admission is not Fault.admission}
    assert acting == {settings["type"] for settings in (*(one for one, _ in HIDING.values()), *ACCEPTING.values())}


@namespace
def test_a_hidden_attempt_is_published_with_its_client_and_fault() -> None:
    async def scenario(stage: Stage) -> None:
        supervisor = stage.supervisor
        for host in ("127.0.0.1", "::1"):
            shown = f"[{host}]" if ":" in host else host
            for name, (settings, met) in HIDING.items():
                running = await supervisor.add_proxy(proxy(name, listen=f"{shown}:0", upstream=NOBODY), "test")
                supervisor.put_fault(name, fault("dark", **settings), "test")
                before = supervisor.now()
                _, port = attempt(running)
                await stage.until_event_makes(lambda: bool(published(stage.events)))
                [event] = published(stage.events)
                assert (event.proxy, event.client, event.met) == (name, f"{shown}:{port}", met)
                assert (event.fault, event.suppressed) == ("dark", 0)
                assert before - 0.001 <= event.at <= supervisor.now()
                supervisor.heal("test")
                await stage.connect(running)
                await stage.event("connection_closed")
                assert len(published(stage.events)) == 1, "who is let through is no event"
                assert +samples(supervisor) == {(name, met): 1, (name, "accepted"): 1}
                await supervisor.remove_proxy(name, "test")
                stage.events.clear()

    run("uvloop", scenario)


@pytest.mark.slow
@namespace
def test_events_and_metrics_agree_for_every_fault_that_acts_on_accepting(loop_name: str, tmp_path: Path) -> None:
    async def scenario(stage: Stage) -> None:
        supervisor, wanted = stage.supervisor, Counter[tuple[str, str]]()

        async def try_at(name: str, met: str, begin: Callable[[Proxy], None], many: int, **settings: object) -> None:
            running = await supervisor.add_proxy(proxy(name, upstream=NOBODY, **settings), "test")
            begin(running)
            for _ in range(many):
                attempt(running)
            wanted[name, met] += many

        def putting(**settings: object) -> Callable[[Proxy], None]:
            return lambda running: supervisor.put_fault(running.spec.name, fault("f", **settings), "test")

        def crash(running: Proxy) -> None:
            supervisor.put_fault(running.name, verb_fault("crash", None), "test")

        for name, (settings, met) in HIDING.items():
            await try_at(name, met, putting(**settings), 12)
        await try_at("storm", "refused", putting(type="refuse"), 100)
        await try_at("crash", "refused", crash, 12)
        for mode in ("packet", "stream"):
            nodes = {"from": f"a {mode}", "to": f"b {mode}"}
            await try_at(mode, "unanswered", lambda _, m=mode, n=nodes: cut(stage, m, mode=m, **n), 12, **nodes)
        tls = {"listen_tls": Certs(tmp_path).listen()}
        for name, settings in ACCEPTING.items():
            await try_at(name, "", putting(**settings), 12, **(tls if name == "tls_handshake" else {}))
        supervisor.remove_fault("pause", "f", "test")
        async with asyncio.timeout(30):
            await stage.until_event_makes(lambda: told(stage.events).total() >= wanted.total())

        agreed = told(stage.events)
        assert +samples(supervisor) == agreed
        hidden = Counter({key: count for key, count in agreed.items() if key[1] in ("refused", "unanswered")})
        assert hidden == Counter({key: count for key, count in wanted.items() if key[1]})
        for name in ACCEPTING:
            assert agreed[name, "accepted"] + agreed[name, "reset"] == 12
        assert agreed["refuse the first", "reset"] == 3
        assert 0 < agreed["refuse some", "reset"] < 12
        ended = samples(supervisor, "chaosproxy_connections_closed_total")
        opened = samples(supervisor, "chaosproxy_connections_opened_total")
        for name in {name for name, _ in wanted}:
            through = agreed[name, "accepted"]
            assert opened[name, ""] == sum(n for (one, _), n in ended.items() if one == name) == through
        supervisor.heal("test")
        assert +samples(supervisor) == told(stage.events)

    run(loop_name, scenario)


@pytest.mark.slow
@namespace
def test_a_syn_that_is_sent_again_is_the_same_attempt_until_it_gets_through() -> None:
    async def scenario(stage: Stage) -> None:
        running = await stage.proxy_to(NOBODY)
        stage.supervisor.put_fault("proxy", fault("off", type="unreachable", mode="packet"), "test")
        patient = stage.keep(socket.socket())
        connecting = asyncio.ensure_future(asyncio.get_running_loop().sock_connect(patient, address_of(running)))
        arrived = asyncio.Event()
        packets: list[str] = []

        def on_packet(kind: str, *_: object) -> None:
            packets.append(kind)
            if len(packets) == 2:
                arrived.set()

        running.attempts.on_packet = on_packet
        await arrived.wait()
        assert packets == ["syn", "syn"]
        assert +samples(stage.supervisor) == {("proxy", "unanswered"): 1}
        assert samples(stage.supervisor, "chaosproxy_syn_retransmits_total") == {("proxy", ""): 1}
        stage.supervisor.put_fault("proxy", fault("down", type="refuse"), "test")
        stage.supervisor.remove_fault("proxy", "off", "test")
        with pytest.raises(ConnectionRefusedError):
            await connecting
        await stage.until_event_makes(lambda: len(published(stage.events)) == 2)
        assert [(one.met, one.fault) for one in published(stage.events)] == [("unanswered", "off"), ("refused", "down")]
        assert samples(stage.supervisor, "chaosproxy_syn_retransmits_total") == {("proxy", ""): 1}

    run("uvloop", scenario)


def test_so_many_are_published_in_a_second_and_the_last_stands_for_the_rest() -> None:
    class Timer:
        def __init__(self, fire: Callable[[], None]) -> None:
            self.fire, self.due = fire, 0.0

        def arm(self, due: float) -> None:
            self.due = due

        def close(self) -> None:
            pass

    async def main() -> None:
        now, timers, events = [0.0], list[Timer](), list[ConnectionAttempt]()

        def make_timer(fire: Callable[[], None]) -> Timer:
            timers.append(Timer(fire))
            return timers[0]

        scheduler = Scheduler(lambda: now[0], make_timer)
        bus, tally = Bus(), ProxyTally()
        bus.subscribe(lambda event: events.append(event) if isinstance(event, ConnectionAttempt) else None)
        attempts = Attempts("proxy", tally, bus, scheduler, SharedTap(probe().tap, lambda: now[0], Descriptors()))
        refused, reset = Hiding("refused", "down"), Hiding("reset", "some")
        for number in range(50):
            attempts.count(refused, f"client {number}", number / 100)
        attempts.count(reset, "another", 0.5)
        assert [one.client for one in events] == [f"client {number}" for number in range(20)]
        now[0] = timers[0].due
        assert now == [1.0]
        timers[0].fire()
        assert [(one.client, one.met, one.at, one.suppressed) for one in events[20:]] == [
            ("client 49", "refused", 0.49, 29), ("another", "reset", 0.5, 0),
        ]  # fmt: skip
        for number in range(30):
            attempts.count(reset, f"later {number}", 1.5)
        assert len(events) == 40, "those two are among the twenty of this second"
        attempts.close()
        assert (len(events), events[-1].suppressed) == (41, 11)
        assert sum(1 + one.suppressed for one in events) == tally.attempts.total() == 81

    asyncio.run(main())


def test_a_syn_that_two_interfaces_show_is_neither_a_second_attempt_nor_sent_again() -> None:
    async def main() -> None:
        lacking = Capability("tap", "", "none is needed here", "")
        scheduler = Scheduler(lambda: 0.0, lambda fire: LoopTimer(fire, asyncio.get_running_loop(), lambda: 0.0))
        tally = ProxyTally()
        attempts = Attempts("proxy", tally, Bus(), scheduler, SharedTap(lacking, lambda: 0.0, Descriptors()))
        listener = await Listener.bind(Address("127.0.0.1", 0), lambda *_: None, scheduler, Descriptors())
        attempts.hide(Hiding("unanswered", "dark"), listener)
        for at, retransmits in ((5.0, 0), (5.002, 0), (6.0, 1), (6.001, 1), (8.0, 2)):
            attempts.on_arrival(Packet("syn", ("192.0.2.7", 40000), ("127.0.0.1", 5432), 7, at))
            assert (tally.attempts["unanswered"], tally.syn_retransmits) == (1, retransmits)
        attempts.on_arrival(Packet("syn", ("192.0.2.7", 40000), ("127.0.0.1", 5432), 8, 8.0))
        assert tally.attempts["unanswered"] == 2, "another sequence number is another attempt"
        attempts.close()
        listener.close()

    asyncio.run(main())


@namespace
def test_a_backlog_kept_full_counts_no_connection_of_its_own() -> None:
    async def scenario(stage: Stage) -> None:
        running = await stage.proxy_to(NOBODY, listen="0.0.0.0:0")
        packets: list[str] = []
        running.attempts.on_packet = lambda kind, *_: packets.append(kind)
        for mode in ("packet", "stream", "packet", "stream"):  # the tap is open when the backlog is filled
            stage.supervisor.put_fault("proxy", fault("off", type="unreachable", mode=mode), "test")
        attempt(running, "127.0.0.1")
        await stage.event("connection_attempt")
        stage.supervisor.put_fault("proxy", fault("down", type="refuse"), "test")
        stage.supervisor.remove_fault("proxy", "off", "test")
        attempt(running, "127.0.0.1")
        await stage.until_event_makes(lambda: len(published(stage.events)) == 2)
        assert packets.count("syn") == 2
        assert +samples(stage.supervisor) == {("proxy", "unanswered"): 1, ("proxy", "refused"): 1}

    run("uvloop", scenario)


def test_who_waits_in_the_backlog_when_the_server_crashes_is_counted_as_reset(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        running = await stage.proxy_to(NOBODY)
        stage.supervisor.put_fault("proxy", fault("stopped", type="pause", direction="both"), "test")
        await asyncio.sleep(0)
        waiting = await stage.connect(running)
        stage.supervisor.put_fault(running.name, verb_fault("crash", None), "test")
        [event] = published(stage.events)
        name = waiting.getsockname()
        assert (event.client, event.met, event.fault) == (f"{name[0]}:{name[1]}", "reset", "crash")
        with pytest.raises(ConnectionResetError):
            await receive(waiting, 1)
        assert samples(stage.supervisor)["proxy", "reset"] == 1

    run(loop_name, scenario)


# ── the tap ───────────────────────────────────────────────────────────────────────────────


@namespace
def test_the_tap_is_open_while_a_fault_hides_attempts(loop_name: str) -> None:
    async def scenario(stage: Stage) -> None:
        supervisor, tap = stage.supervisor, stage.supervisor.tap
        for name in ("one", "two"):
            await supervisor.add_proxy(proxy(name, upstream=NOBODY, **NODES), "test")
        for settings in ACCEPTING.values():
            if settings["type"] != "tls_handshake":
                supervisor.put_fault("one", fault("f", **settings), "test")
                assert not tap.is_open
        supervisor.put_fault("one", fault("f", type="refuse"), "test")
        assert tap.is_open
        supervisor.put_fault("one", fault("f", type="latency", delay="1ms"), "test")
        assert not tap.is_open
        cut(stage, "cut", **NODES)
        supervisor.put_fault("two", fault("f", type="refuse"), "test")
        heal(stage, "cut")
        assert tap.is_open
        await change_proxy(supervisor, replace(supervisor.proxy("two").spec, enabled=False), "test")
        assert not tap.is_open, "a proxy that is disabled has no port"
        await change_proxy(supervisor, replace(supervisor.proxy("two").spec, enabled=True), "test")
        assert tap.is_open
        await supervisor.remove_proxy("two", "test")
        assert not tap.is_open
        supervisor.put_fault("one", fault("f", type="refuse", ttl="20ms"), "test")
        assert tap.is_open
        await stage.event("fault_expired")
        assert not tap.is_open

    run(loop_name, scenario)


@namespace
def test_a_proxy_that_hides_nothing_brings_no_packet_to_the_tap() -> None:
    async def scenario(stage: Stage) -> None:
        supervisor = stage.supervisor
        plain = await supervisor.add_proxy(proxy("plain", upstream=NOBODY), "test")
        dark = await supervisor.add_proxy(proxy("dark", upstream=NOBODY), "test")
        packets: list[str] = []
        plain.attempts.on_packet = dark.attempts.on_packet = lambda kind, *_: packets.append(kind)
        supervisor.put_fault("dark", fault("down", type="refuse"), "test")
        for _ in range(10):
            await stage.connect(plain)
        attempt(dark)
        await stage.event("connection_attempt")
        assert packets == ["syn"]

    run("uvloop", scenario)


Shown = tuple[PacketKind, tuple[str, int], int, float]


def remember(
    seen: list[Shown], arrived: asyncio.Event, kind: PacketKind, source: tuple[str, int], port: int, at: float
) -> None:
    seen.append((kind, source, port, at))
    arrived.set()


@namespace
def test_a_client_that_leaves_during_a_cut_is_shown_when_it_leaves(loop_name: str) -> None:
    """The filter of its connection drops the FIN or RST, so the socket does not show it before the heal."""

    async def scenario(stage: Stage) -> None:
        for kind in ("fin", "rst"):
            running, client, server = await stage.pair(**NODES)
            seen, arrived = list[Shown](), asyncio.Event()
            running.attempts.on_packet = partial(remember, seen, arrived)
            cut(stage, **NODES)
            source, before = client.getsockname(), stage.supervisor.now()
            if kind == "fin":
                client.close()
            else:
                close_with_reset(client)
            after = stage.supervisor.now()
            await arrived.wait()
            assert seen[0][:3] == (kind, source, address_of(running)[1])
            assert before - 0.001 <= seen[0][3] <= after + 0.001
            await turns()
            assert is_empty(server), "the end itself is hidden until the heal"
            [connection] = running.connections.values()
            assert connection.client_address == f"{source[0]}:{source[1]}", "by which the registry finds it"
            assert published(stage.events) == []
            heal(stage)
            server.close()
            await stage.event("connection_closed")
            stage.events.clear()
            await stage.supervisor.remove_proxy("proxy", "test")

    run(loop_name, scenario)


@namespace
def test_a_packet_that_cannot_be_counted_fails_no_fault(
    caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(stage: Stage) -> None:
        running = await stage.proxy_to(NOBODY)

        def on_packet(*_: object) -> None:
            raise RuntimeError("a defect")

        running.attempts.on_packet = on_packet
        stage.supervisor.put_fault("proxy", fault("down", type="refuse"), "test")
        attempt(running)
        stage.supervisor.heal("test")
        await stage.connect(running)
        assert [one.met for one in published(stage.events)] == ["refused"]

    with pytest.raises(AssertionError):  # the harness fails a test that logs an error
        run("uvloop", scenario)
    assert [one.getMessage() for one in caplog.records] == ["a packet could not be counted"]


@namespace
def test_what_only_passes_through_this_machine_is_no_attempt() -> None:
    """A tap on a router sees forwarded packets too, even if a proxy there listens on every address at that port."""

    async def scenario(stage: Stage) -> None:
        running = await stage.proxy_to(NOBODY, listen="0.0.0.0:0")
        stage.supervisor.put_fault("proxy", fault("down", type="refuse"), "test")
        with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as wire:
            for source, destination in ((40001, "192.0.2.1"), (40002, "127.0.0.9")):
                segment = struct.pack("!HHIIBBHHH", source, address_of(running)[1], 1, 0, 0x50, 0x02, 502, 0, 0)
                addresses = socket.inet_aton("192.0.2.7") + socket.inet_aton(destination)
                header = struct.pack("!BBHHHBBH", 0x45, 0, 40, 1, 0, 64, 6, 0) + addresses
                wire.sendto(header + segment, ("lo", 0x0800, 0, 0, b"\0" * 6))
        await stage.event("connection_attempt")
        stage.supervisor.heal("test")
        assert +samples(stage.supervisor) == {("proxy", "refused"): 1}

    run("uvloop", scenario)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the part of each warning before the remedy."""
    return [one.getMessage().partition(";")[0] for one in caplog.records if one.levelno == logging.WARNING]


# ── without a tap ─────────────────────────────────────────────────────────────────────────


@namespace
def test_a_tap_that_cannot_be_opened_fails_no_fault_and_is_tried_again(
    caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(stage: Stage) -> None:
        running = await stage.proxy_to(NOBODY)
        other = await stage.supervisor.add_proxy(proxy("other", upstream=NOBODY), "test")
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest_free = socket.socket()
        descriptor = lowest_free.fileno()
        lowest_free.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptor, before[1]))
        try:
            for one in (running, other):
                stage.supervisor.put_fault(one.spec.name, fault("down", type="refuse"), "test")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert not stage.supervisor.tap.is_open
        lacking = "the tap could not be opened (Too many open files)"
        assert stage.supervisor.kernel.tap.lacking == lacking
        assert running.attempts_obstacle().startswith(lacking)
        with pytest.raises(ConnectionRefusedError):
            await stage.connect(running)
        assert {met for _, met in samples(stage.supervisor)} == {"accepted", "reset"}
        assert warnings(caplog) == [f"connection attempts are not visible: {lacking}"]
        stage.supervisor.put_fault("proxy", fault("down", type="refuse"), "test")
        assert stage.supervisor.tap.is_open and stage.supervisor.kernel.tap.available
        attempt(running)
        await stage.event("connection_attempt")
        assert samples(stage.supervisor)["proxy", "refused"] == 1

    with caplog.at_level(logging.WARNING):
        run("uvloop", scenario)


def test_without_a_tap_it_counts_what_it_sees_itself_and_says_so_once(
    caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(stage: Stage) -> None:
        supervisor = Supervisor(Seed(7), kernel=replace(probe(), tap=Capability("tap", "", "no privilege", "get it")))
        supervisor.bus.subscribe(stage._on_event)
        try:
            for name in ("one", "two"):
                running = await supervisor.add_proxy(proxy(name, upstream=NOBODY), "test")
                supervisor.put_fault(name, fault("down", type="refuse"), "test")
                with pytest.raises(ConnectionRefusedError):
                    await stage.connect(running)
            assert not supervisor.tap.is_open
            assert {met for _, met in samples(supervisor)} == {"accepted", "reset"}
            assert running.attempts_obstacle() == "no privilege; get it"
            supervisor.put_fault("two", fault("down", type="refuse", skip=1), "test")
            for _ in range(2):
                attempt(running)
            await stage.until_event_makes(lambda: told(stage.events).total() == 2)
            assert samples(supervisor) == {("one", "accepted"): 0, ("one", "reset"): 0} | told(stage.events)
            assert samples(supervisor)["two", "reset"] == 1
        finally:
            await supervisor.close()
        assert warnings(caplog) == ["connection attempts are not visible: no privilege"]

    with caplog.at_level(logging.WARNING):
        run("uvloop", scenario)


def test_a_unix_socket_has_no_packets(tmp_path: Path) -> None:
    async def scenario(stage: Stage) -> None:
        running = await stage.proxy_to(NOBODY, listen=f"unix:{tmp_path}/sock")
        stage.supervisor.put_fault("proxy", fault("down", type="refuse"), "test")
        assert not stage.supervisor.tap.is_open
        assert running.attempts_obstacle() == "its listen address is a unix socket, which has no packets"

    run("uvloop", scenario)
