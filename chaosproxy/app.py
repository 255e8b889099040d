"""Composition root: the one module that imports every part and connects them.

    running     run supervisor, control API, metrics and event log for a Config, until the block ends
    serve       run `running` until a signal stops it
    run_demo    run `running` in front of the demo's store and client
    run_on      run a coroutine on a new event loop of the chosen kind
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread  # noqa: F401  # the loop would import it at its first name lookup
import gc
import importlib.util
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeVar

from chaosproxy import __version__
from chaosproxy.control.limits import limits_of
from chaosproxy.control.preflight import Prepared
from chaosproxy.control.supervisor import Supervisor
from chaosproxy.control.v1 import INDEX, Api, v1_routes
from chaosproxy.control.web import ControlTally, health_routes, listening, make_app, metrics_routes
from chaosproxy.journal.lines import Header
from chaosproxy.journal.ring import Ring
from chaosproxy.model import Address, Config
from chaosproxy.net.kernel.descriptors import file_limit, raise_file_limit
from chaosproxy.net.sockets.binding import bound, bound_address, is_refused_half_close
from chaosproxy.observe import (
    ControlCollector,
    EventLog,
    FullCollections,
    GcPauses,
    Journal,
    JournalCollector,
    JournalFile,
    LogHandler,
    Registry,
    Services,
    ServicesCollector,
    Watchdog,
    make_registry,
)
from chaosproxy.seed import Seed

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["LoopChoice", "LoopName", "Running", "choose_loop", "run_demo", "run_on", "running", "serve"]

LoopName = Literal["uvloop", "asyncio"]
LoopChoice = Literal["uvloop", "asyncio", "auto"]
T = TypeVar("T")

_SWITCH_S = 0.0005
"""Seconds for which a thread that computes keeps the interpreter from the loop, instead of Python's 5 ms.

The loop waits that long after each call of epoll while another thread computes, such as one that reads certificates or
renders metrics. A round trip then took 5 to 7 ms, and takes 0.7 ms; the thread is as fast as before.
"""
_NEVER = 1_000_000_000
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Running:
    """A chaosproxy whose listeners are all bound."""

    supervisor: Supervisor
    ring: Ring
    """The latest events."""
    control: Address
    """The address of the control API, with its real port."""

    @property
    def control_url(self) -> str:
        return f"http://{self.control}"


@asynccontextmanager
async def running(
    wanted: Config | Prepared,
    loop_name: LoopName,
    by: str = "file",
    log: LogHandler | None = None,
    journal: JournalFile | None = None,
) -> AsyncIterator[Running]:
    """Run everything in a configuration until the block ends; then close all listeners and connections.

    `by` is the maker of its proxies, faults and partitions. A Prepared configuration is used as it is. Without a
    seed in a Config, a random one is drawn. `log` writes the log of this process; the metrics show what it dropped.
    Every event is written to `journal`, which is closed in the end.

    :raises CannotListen: an address could not be bound; nothing is left behind.
    """
    config = wanted.config if isinstance(wanted, Prepared) else wanted
    seed, kernel = (wanted.seed, wanted.kernel) if isinstance(wanted, Prepared) else (None, None)
    if seed is None:
        seed = Seed.drawn() if config.seed is None else Seed(config.seed)
    logger.info("seed", extra={"fields": {"seed": seed.value, "drawn": config.seed is None}})
    supervisor = Supervisor(seed, kernel=kernel)
    events, ring = EventLog(supervisor.bus), Ring(supervisor.bus)
    services = Services(supervisor.bus, ring, supervisor.now)
    written = None if journal is None else _written(supervisor, journal)
    pauses = GcPauses()
    pauses.start()
    full = FullCollections(asyncio.get_running_loop().call_later)
    full.start()
    watchdog = Watchdog(supervisor.bus.publish, pauses)
    try:
        await supervisor.apply(wanted, by)
        lines = None if log is None else log.writer
        registry = make_registry(supervisor, pauses, loop_name, watchdog=watchdog, log=lines)
        registry.register(JournalCollector(written))
        registry.register(ServicesCollector(services))
        async with _control_api(config, supervisor, ring, registry, loop_name) as control:
            watchdog.start()
            services.start()
            yield Running(supervisor, ring, control)
    finally:
        watchdog.stop()
        full.stop()
        await services.stop()
        await supervisor.close()
        pauses.stop()
        events.close()
        ring.close()
        if written is not None:
            written.close()


def _written(supervisor: Supervisor, file: JournalFile) -> Journal:
    started = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    header = Header(started=started, seed=supervisor.seed.value, chaosproxy=__version__)
    return Journal(file, supervisor.bus, header, asyncio.get_running_loop().time())


@asynccontextmanager
async def _control_api(
    config: Config, supervisor: Supervisor, ring: Ring, registry: Registry, loop_name: LoopName
) -> AsyncIterator[Address]:
    room = file_limit().control_connections  # more would take the descriptors of the data plane
    limits = partial(limits_of, config, room, supervisor.descriptors)
    api = Api(supervisor=supervisor, policy=config.policy, limits=limits, loop_name=loop_name, ring=ring)
    tally = ControlTally()
    registry.register(ControlCollector(tally))
    app = make_app(
        v1_routes(api),
        health_routes(supervisor.waiting_for),
        metrics_routes(registry),
        control=config.control,
        index=INDEX,
    )
    listen, wanted = config.control.listen, config.control.limits
    in_force = replace(wanted, connections=min(wanted.connections, room))
    try:
        async with bound(listen, "for the control API") as sockets, listening(app, sockets, in_force, tally):
            yield listen if listen.is_unix else replace(listen, port=bound_address(sockets[0]).port)
    finally:
        await api.leases.close()  # after the last request


async def serve(
    wanted: Prepared,
    loop_name: LoopName,
    announce: Callable[[Running], None],
    log: LogHandler | None = None,
    journal: JournalFile | None = None,
) -> None:
    """Run until SIGTERM or SIGINT; `announce` is called once every listener is bound.

    `log` and `journal` are those of `running`.

    :raises CannotListen: an address could not be bound.
    """
    stop = asyncio.Event()
    _on_signals(stop.set)
    raise_file_limit()
    settle_garbage_collection()  # now, since it takes 50 to 150 ms, in which no client may wait
    async with running(wanted, loop_name, log=log, journal=journal) as here:
        gc.freeze()
        announce(here)
        await stop.wait()
        logger.info("stopping")


async def run_demo(
    control: Address, once: bool, loop_name: LoopName, console: Console, log: LogHandler | None = None
) -> list[str]:
    """Run the demo until its acts have ended (`once`) or a signal stops it; return the acts that failed.

    :raises CannotListen: an address could not be bound.
    """
    from chaosproxy.demo import Demo

    stop = asyncio.Event()
    _on_signals(stop.set)
    async with Demo.starting() as demo:
        config = Config(control=replace(Config().control, listen=control), proxies=demo.proxies)
        async with running(config, loop_name, by="demo", log=log) as here:
            return await demo.perform(here.supervisor, here.ring, here.control_url, console, once=once, stop=stop)


def choose_loop(choice: LoopChoice) -> LoopName:
    """Choose uvloop if it is installed, unless `choice` is plain asyncio.

    :raises ModuleNotFoundError: `choice` is uvloop, which is not installed.
    """
    installed = importlib.util.find_spec("uvloop") is not None
    if choice == "uvloop" and not installed:
        raise ModuleNotFoundError("uvloop is not installed; install it, or choose --loop asyncio")
    return "uvloop" if installed and choice != "asyncio" else "asyncio"


def run_on(loop_name: LoopName, main: Coroutine[object, object, T]) -> T:
    """Run `main` to its end on a new loop of that kind."""
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    if loop_name == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    sys.setswitchinterval(_SWITCH_S)
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.get_loop().set_exception_handler(_unhandled)
        return runner.run(main)


def _unhandled(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    if not is_refused_half_close(context):
        loop.default_exception_handler(context)


def settle_garbage_collection() -> None:
    """Leave full garbage collections to `FullCollections`, and keep the others short, since they stop the data plane.

    A collection stops the loop for up to 1 µs per tracked object that it examines. A full one takes 10 ms with
    5 000 connections, which would distort a fault's timing, and more while a thread holds the objects of the reactions.
    So Python makes none by itself. The objects made at startup are frozen, which excludes them from later collections.
    The middle generation is collected while it is small: it has what was made since, which is 400 000 objects when 200
    faults begin to act on 1 000 connections.
    """
    gc.collect()
    gc.freeze()
    young, _, _ = gc.get_threshold()
    gc.set_threshold(young, 5, _NEVER)


def _on_signals(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in _STOP_SIGNALS:
        try:
            loop.add_signal_handler(number, stop)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))
    if hasattr(signal, "SIGHUP"):
        loop.add_signal_handler(
            signal.SIGHUP, logger.warning, "SIGHUP: this version cannot reload; restart to read the file again"
        )
