"""Plays of real clients and a real server around one fault, and the table of all that may be told of them.

Every play has a supervisor of its own and four clients, which begin one after the other: ends at several moments are
the evidence that a claim needs. Two kinds of plays:

- `Acts`: the fault does what it is for. The clients wait as long as it takes, and the server answers after `SERVICE_S`.
  `told` has all that may be told before the clients close; they never gave up, and the server never ended.
- harmless: the fault is on, and its settings or its direction keep it out of the way. One of the two sides really
  ends a turn after `WAITED_S`, and is told as the one who did.

`TABLE` has a row for each type.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from dataclasses import dataclass, field

from chaosproxy.events import (
    ClientEnded,
    ClientGaveUp,
    ConnectionClosed,
    DialFailed,
    Event,
    PeerEnded,
    ServerEnded,
    TlsFailed,
    TurnFailed,
)
from chaosproxy.net.proxy import Proxy
from chaosproxy.reaction.facts import facts_of
from chaosproxy.reaction.reactions import Reactions, reactions_of
from tests.net.building import fault
from tests.net.harness import Stage, address_of
from tests.net.tls_peers import Certs

__all__ = ["KERNEL", "TABLE", "WAITED_S", "Acts", "Played", "Row", "play"]

CLIENTS = 4
APART_S = 0.07
"""Seconds from the begin of one client to that of the next: more than one moment of `reaction.waits`."""
SERVICE_S = 0.12
WAITED_S = 0.4
"""Seconds after which the side that ends a turn does so."""
PATIENT_S = 0.9
"""Seconds for which a fault acts on clients that wait."""

REQUEST = b"POST /orders HTTP/1.1\r\nHost: h\r\nContent-Length: 64\r\n\r\n" + b"r" * 64
ANSWER = b"HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Length: 64\r\n\r\n" + b"a" * 64

Settings = dict[str, object]
INJECTED = frozenset({"turn_failed: injected", "closed: injected"})
CUT = frozenset({"closed: injected"})
"""A fault has ended a connection whose turn was answered, since the first byte of the answer had left."""
BAD_CERTIFICATE = frozenset({"tls_failed: injected", "closed: injected", "client_ended"})
"""The client ends the connection, since the fault makes it do so."""


@dataclass(frozen=True)
class Acts:
    """Settings under which a fault acts, and all that may be told of it."""

    settings: Settings
    told: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Row:
    """The plays of one type of fault."""

    acts: tuple[Acts, ...]
    harmless: tuple[Settings, ...]
    has_tls: bool = False


def _door(**settings: object) -> tuple[Acts, ...]:
    """Return the plays of a fault that keeps new clients out, and may end open connections."""
    return (
        Acts({"existing": "keep", **settings}),
        Acts({"existing": "close", **settings}, INJECTED),
        Acts({"existing": "reset", **settings}, INJECTED),
    )


def _limit(told: frozenset[str] = INJECTED, **settings: object) -> tuple[Acts, ...]:
    return (
        Acts({"then": "close", **settings}, told),
        Acts({"then": "reset", **settings}, told),
        Acts({"then": "stall", **settings}),
    )


ELSEWHERE: Settings = {"match": {"path": "/elsewhere"}}

TABLE: dict[str, Row] = {
    "latency": Row((Acts({"delay": "50ms", "direction": "both"}),), ({"delay": "1ms"},)),
    "bandwidth": Row((Acts({"rate": "1kB/s"}),), ({"rate": "1MB/s"},)),
    "stall": Row(
        (Acts({"direction": "upstream"}), Acts({"direction": "downstream"}), Acts({"for": "100ms"})),
        ({"direction": "downstream"},),
    ),
    "blackhole": Row(
        (Acts({"direction": "upstream"}), Acts({"direction": "downstream"})), ({"direction": "downstream"},)
    ),
    "packet_loss": Row((Acts({"rate": "20%", "mode": "stream"}),), ({"rate": "0%", "mode": "stream"},)),
    "slicer": Row((Acts({"size": "8B", "gap": "2ms"}),), ({"size": "1KiB"},)),
    "limit_data": Row(
        (*_limit(size="8B", direction="upstream"), *_limit(CUT, size="8B", direction="downstream")), ({"size": "1MiB"},)
    ),
    "limit_time": Row(_limit(time="50ms"), ({"time": "1h"},)),
    "slow_close": Row((Acts({"delay": "200ms", "direction": "both"}),), ({"delay": "5ms", "direction": "both"},)),
    "slow_accept": Row((Acts({"delay": "200ms"}),), ({"delay": "200ms"},)),
    "tls_handshake": Row(
        (
            *(Acts({"how": how}, BAD_CERTIFICATE) for how in ("expired_cert", "wrong_host", "unknown_ca")),
            Acts({"how": "old_version"}, frozenset({"tls_failed: injected", "closed: injected"})),
            Acts({"how": "reset"}, CUT),
            Acts({"how": "stall"}),
        ),
        ({"how": "expired_cert"},),
        has_tls=True,
    ),
    "refuse": Row(_door(), ({"existing": "keep"},)),
    "unreachable": Row(_door(mode="stream"), ({"existing": "keep", "mode": "stream"},)),
    "partition": Row(
        (
            Acts({"direction": "both", "mode": "stream"}),
            Acts({"direction": "upstream", "mode": "stream"}),
            Acts({"fail_fast": True}, INJECTED),
        ),
        ({"direction": "downstream", "mode": "stream"},),
    ),
    "pause": Row((Acts({"direction": "both"}),), ({"direction": "downstream"},)),
    "reset": Row(
        (Acts({}, INJECTED), Acts({"delay": "50ms"}, INJECTED), Acts({"size": "8B"}, CUT)), ({"delay": "1h"},)
    ),
    "corrupt": Row((Acts({"rate": "10%", "direction": "both"}),), ({"rate": "0%"},)),
    "http_delay": Row((Acts({"delay": "100ms"}), Acts({"delay": "100ms", "on": "request"})), ({"delay": "1ms"},)),
    "http_abort": Row((Acts({"status": 503}, frozenset({"turn_failed: injected"})),), (ELSEWHERE,)),
    "http_drop_request": Row((Acts({}), Acts({"close_after": "50ms"}, INJECTED)), (ELSEWHERE,)),
    "http_drop_response": Row((Acts({}), Acts({"close_after": "50ms"}, INJECTED)), ({},)),
    "http_duplicate": Row((Acts({"copies": 1}),), ({"copies": 1},)),
    "http_truncate": Row(
        (
            Acts({"size": "8B", "then": "close"}, CUT),
            Acts({"size": "8B", "then": "reset"}, CUT),
        ),
        ({"size": "1MiB"},),
    ),
    "http_corrupt": Row((Acts({"rate": "50%"}),), ({"rate": "0%"},)),
    "http_slow_body": Row((Acts({"rate": "200B/s"}),), ({"rate": "1MB/s"},)),
    "http_headers": Row((Acts({"add": {"X-It": "1"}}),), ({"add": {"X-It": "1"}},)),
    "http_clock_skew": Row((Acts({"offset": "1h"}),), ({"offset": "1h"},)),
    "http_reset": Row((Acts({}, INJECTED), Acts({"size": "8B"}, CUT)), (ELSEWHERE,)),
}

KERNEL: dict[str, Row] = {
    "packet_loss": Row((Acts({"rate": "20%", "mode": "packet"}),), ({"rate": "0%", "mode": "packet"},)),
    "unreachable": Row(_door(mode="packet"), ({"existing": "keep", "mode": "packet"},)),
    "partition": Row(
        (
            Acts({"direction": "both", "mode": "packet"}),
            Acts({"direction": "both", "mode": "packet", "acks": "drop"}),
            Acts({"direction": "upstream", "mode": "packet"}),
        ),
        (),  # the kernel drops the end too, so it is told after the heal
    ),
}
"""The rows of the types that act on packets, in the kernel."""


@dataclass
class Played:
    """The events and claims of a play."""

    told: frozenset[str]
    """See `told_of`."""
    wrong_faults: list[Event]
    """Injected failures and ends that name another fault, or none."""
    waits: list[float]
    """Seconds that clients waited before they gave up, as told."""
    are_touched: bool
    """True if an event of a turn names a fault: claims about time-outs are made of these only."""
    client_timeouts: list[float]
    server_timeouts: list[float]
    others: list[str]
    """Other claims: circuit breakers and failovers."""
    ended_patiently: frozenset[str] = field(default_factory=frozenset)
    """Told after the fault was healed, once clients that had their answers have closed."""


def told_of(events: list[Event]) -> frozenset[str]:
    """Return in short all that is told about who ended or failed."""
    told: set[str] = set()
    for event in events:
        match event:
            case ClientGaveUp():
                told.add("client_gave_up")
            case TurnFailed():
                told.add(f"turn_failed: {event.reason}")
            case ConnectionClosed():
                told.add(f"closed: {event.cause}")
            case PeerEnded():
                told.add(event.kind)
            case TlsFailed():
                told.add(f"tls_failed: {'injected' if event.fault else event.side}")
            case DialFailed():
                told.add("dial_failed")
    return frozenset(told)


def _claims(reactions: Reactions) -> tuple[list[float], list[float], list[str]]:
    clients: list[float] = []
    servers: list[float] = []
    others: list[str] = []
    for window in reactions.windows:
        others += [repr(one) for one in window.failovers]
        for one in window.proxies:
            clients += [each.s for each in one.gave_up.timeouts]
            servers += [each.s for each in one.gave_up.server_timeouts]
            if one.gave_up.deadline is not None:
                clients.append(one.gave_up.deadline.s)
            if one.breaker is not None:
                others.append(repr(one.breaker))
    return clients, servers, others


class Server:
    """Answers each request after `SERVICE_S`; later, once `ends` says so, it ends instead after `WAITED_S`."""

    def __init__(self) -> None:
        self.ends = "never"
        """`never`: it answers; `silent`: it waits for the client's end; `closes` or `resets`."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        received = answered = 0
        try:
            while data := await reader.read(65536):
                received += len(data)
                while received // len(REQUEST) > answered:  # a fault may add a few bytes to each
                    answered += 1
                    if self.ends == "never":
                        await asyncio.sleep(SERVICE_S)
                        if not writer.transport.is_closing():
                            writer.write(ANSWER)
                    elif self.ends != "silent":
                        await asyncio.sleep(WAITED_S)
                        end(writer, with_reset=self.ends == "resets")
                        return
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        while self._tasks:
            await asyncio.sleep(0.001)


def end(writer: asyncio.StreamWriter, with_reset: bool = False) -> None:
    if with_reset:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    else:
        writer.close()


class Client:
    """One client; it never gives up by itself."""

    def __init__(self, running: Proxy, tls: ssl.SSLContext | None) -> None:
        self._where, self._tls = address_of(running), tls
        self._reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None
        self.is_waiting = False

    async def connect(self) -> None:
        name = None if self._tls is None else "api.test"
        self._reader, self.writer = await asyncio.open_connection(
            *self._where, ssl=self._tls, server_hostname=name, ssl_handshake_timeout=None if name is None else 60
        )

    async def ask(self) -> bool:
        """Send a request and wait; return whether there was a whole answer."""
        assert self._reader is not None and self.writer is not None
        self.is_waiting = True
        try:
            self.writer.write(REQUEST)
            head = await self._reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0].strip()
            is_sound = length.isdigit() and len(length) < 4  # else it is corrupt, and as long as it should be
            await self._reader.readexactly(int(length) if is_sound else max(0, len(ANSWER) - len(head)))
        finally:
            self.is_waiting = False
        return True

    async def be_patient(self) -> None:
        """Ask again and again, and connect again after an end."""
        while True:
            try:
                if self.writer is None:
                    await self.connect()
                await self.ask()
                await asyncio.sleep(0.05)
            except (OSError, EOFError):
                self.leave()
                await asyncio.sleep(0.15)

    def leave(self, with_reset: bool = False) -> None:
        if self.writer is not None:
            end(self.writer, with_reset)
        self._reader = self.writer = None


async def play(settings: Settings, row: Row, who: str, certs: Certs | None) -> Played:
    """Play with one fault of these settings.

    `who` ends: `nobody`, `client closes`, `client resets`, `server closes` or `server resets`.
    """
    stage, server = Stage(), Server()
    proxy_settings: Settings = {"protocol": "http"} if str(settings["type"]).startswith("http_") else {}
    tls = None
    if row.has_tls:
        assert certs is not None
        proxy_settings["listen_tls"], tls = certs.listen(), certs.client_context()
    tasks: list[asyncio.Task[None]] = []
    clients: list[Client] = []
    try:
        running = await stage.proxy_to(f"127.0.0.1:{await server.start()}", **proxy_settings)
        clients += [Client(running, tls) for _ in range(CLIENTS)]
        before = clients[: CLIENTS // 2] if who == "nobody" else clients
        await asyncio.gather(*(_once(one) for one in before))
        if who == "nobody":
            tasks += [asyncio.create_task(one.be_patient()) for one in before]
            await asyncio.sleep(SERVICE_S / 3)  # turns are open when the fault begins
        else:
            server.ends = who.removeprefix("server ") if who.startswith("server") else "silent"
        since = len(stage.events)
        stage.supervisor.put_fault("proxy", fault("it", **settings), "test")
        if who == "nobody":
            return await _patiently(stage, running, clients, tasks, since)
        tasks += [asyncio.create_task(_until_one_ends(one, number, who)) for number, one in enumerate(clients)]
        side = ClientEnded if who.startswith("client") else ServerEnded
        async with asyncio.timeout(10):
            await stage.until_event_makes(lambda: _number_of(stage, side) >= CLIENTS)
            stage.supervisor.heal("test")  # a fault may have held the end until now
            await stage.until_event_makes(lambda: _number_of(stage, ConnectionClosed) >= CLIENTS)
            await asyncio.gather(*tasks)
        return _played(stage, running, since)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for one in clients:
            one.leave()
        await server.stop()
        await stage.close()


async def _once(client: Client) -> None:
    await client.connect()
    await client.ask()


async def _patiently(
    stage: Stage, running: Proxy, clients: list[Client], tasks: list[asyncio.Task[None]], since: int
) -> Played:
    for one in clients[len(tasks) :]:
        await asyncio.sleep(APART_S)
        tasks.append(asyncio.create_task(one.be_patient()))
    await asyncio.sleep(PATIENT_S)
    played = _played(stage, running, since)
    at_heal = len(stage.events)
    stage.supervisor.heal("test")
    await asyncio.sleep(0.05)
    for one, task in zip(clients, tasks, strict=True):
        for _ in range(20):  # the answer to some may be lost
            if one.is_waiting:
                await asyncio.sleep(0.01)
        if not one.is_waiting and one.writer is not None:
            task.cancel()
            one.leave()
    await asyncio.sleep(0.1)
    played.ended_patiently = told_of(stage.events[at_heal:])
    return played


async def _until_one_ends(client: Client, number: int, who: str) -> None:
    """Ask, and end after `WAITED_S` if the client is to end; else wait for the server's end."""
    await asyncio.sleep(number * APART_S)
    asking = asyncio.create_task(client.ask())
    if who.startswith("client"):
        await asyncio.sleep(WAITED_S)
        client.leave(with_reset=who == "client resets")
    await asyncio.gather(asking, return_exceptions=True)
    client.leave()


def _number_of(stage: Stage, kind: type[Event]) -> int:
    return sum(isinstance(one, kind) for one in stage.events)


def _played(stage: Stage, running: Proxy, since: int) -> Played:
    for _ in running.count_turns():
        pass
    events = stage.events[since:]
    ends = [one for one in events if isinstance(one, TurnFailed | ConnectionClosed)]
    gave_up = [one for one in events if isinstance(one, ClientGaveUp)]
    turns = [one for one in events if isinstance(one, ClientGaveUp | TurnFailed)]
    reactions = reactions_of(facts_of(stage.events, stage.supervisor.now()))
    return Played(
        told_of(events),
        [one for one in ends if one.fault != "it" and any(told.endswith("injected") for told in told_of([one]))],
        [one.waited_s for one in gave_up if not one.is_pending],
        any(one.faults for one in turns),
        *_claims(reactions),
    )
