"""Metrics of a real supervisor, read with Prometheus' own parser and linter."""

from __future__ import annotations

import asyncio
import re
import shutil
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from chaosproxy import __version__
from chaosproxy.control.supervisor import Supervisor
from chaosproxy.control.web import ControlTally
from chaosproxy.events import Bus, ConnectionClosed, DialFailed, Event, TlsFailed
from chaosproxy.journal.ring import Ring
from chaosproxy.observe import (
    ControlCollector,
    GcPauses,
    JournalCollector,
    LineWriter,
    Services,
    ServicesCollector,
    make_registry,
)
from chaosproxy.seed import Seed
from tests.control.serving import echo_server
from tests.net.building import fault, proxy
from tests.net.tls_peers import Certs

Labels = dict[str, str]


class Scraped:
    """The metrics of a registry, parsed by Prometheus' own parser."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.text = generate_latest(registry).decode()
        self.families = {family.name: family for family in text_string_to_metric_families(self.text)}
        self.labels = {key for family in self.families.values() for one in family.samples for key in one.labels}

    def value(self, sample: str, **labels: str) -> float:
        found = [
            one.value
            for family in self.families.values()
            for one in family.samples
            if one.name == sample and labels.items() <= one.labels.items()
        ]
        assert len(found) == 1, f"{len(found)} samples {sample}{labels} in\n{self.text}"
        return float(found[0])


class Watch:
    """Waits for events."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        supervisor.bus.subscribe(self._events.put_nowait)

    async def until(self, kind: type[Event]) -> None:
        async with asyncio.timeout(60):
            while not isinstance(await self._events.get(), kind):
                pass


def with_supervisor(scenario: Callable[[Supervisor, Callable[[], Scraped]], Awaitable[None]]) -> None:
    async def main() -> None:
        supervisor = Supervisor(Seed(1))
        registry = make_registry(supervisor, GcPauses(), "asyncio")
        registry.register(ControlCollector(ControlTally()))
        registry.register(JournalCollector(None))
        registry.register(ServicesCollector(Services(Bus(), Ring(Bus()), lambda: 0.0)))
        try:
            await scenario(supervisor, lambda: Scraped(registry))
        finally:
            await supervisor.close()

    asyncio.run(main())


async def exchange(supervisor: Supervisor, text: bytes) -> asyncio.StreamWriter:
    port = supervisor.proxy("db").listening_on[0].port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text)
    assert await reader.readexactly(len(text)) == text
    return writer


async def end(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


def test_connections_and_bytes_are_counted() -> None:
    async def scenario(supervisor: Supervisor, scrape: Callable[[], Scraped]) -> None:
        async with echo_server() as upstream:
            await supervisor.add_proxy(proxy("db", upstream=f"127.0.0.1:{upstream}"), "test")
            watch = Watch(supervisor)
            writer = await exchange(supervisor, b"hello")
            seen = scrape()
            assert seen.value("chaosproxy_connections", proxy="db") == 1
            assert seen.value("chaosproxy_connections_opened_total", proxy="db") == 1
            assert seen.value("chaosproxy_connections_closed_total", proxy="db", cause="client") == 0
            assert seen.value("chaosproxy_bytes_total", proxy="db", direction="upstream") == 5
            assert seen.value("chaosproxy_bytes_total", proxy="db", direction="downstream") == 5
            assert seen.value("chaosproxy_dial_seconds_count", proxy="db") == 1
            assert seen.value("chaosproxy_dial_seconds_sum", proxy="db") > 0

            await end(writer)
            await watch.until(ConnectionClosed)
            seen = scrape()
            assert seen.value("chaosproxy_connections", proxy="db") == 0
            assert seen.value("chaosproxy_connections_closed_total", proxy="db", cause="client") == 1
            assert seen.value("chaosproxy_bytes_total", proxy="db", direction="upstream") == 5

    with_supervisor(scenario)


def test_a_fault_shows_what_it_touched_held_and_delayed() -> None:
    async def scenario(supervisor: Supervisor, scrape: Callable[[], Scraped]) -> None:
        async with echo_server() as upstream:
            slow = {"type": "latency", "delay": "20ms"}
            await supervisor.add_proxy(proxy("db", upstream=f"127.0.0.1:{upstream}", faults={"slow": slow}), "test")
            writer = await exchange(supervisor, b"hello")
            seen = scrape()
            assert seen.value("chaosproxy_faults_active", proxy="db", fault="slow") == 1
            assert seen.value("chaosproxy_fault_connections_touched_total", proxy="db", fault="slow") == 1
            assert seen.value("chaosproxy_fault_chunks_touched_total", proxy="db", fault="slow") == 1
            delay = {"proxy": "db", "fault": "slow"}
            assert seen.value("chaosproxy_injected_delay_seconds_count", **delay) == 1
            assert seen.value("chaosproxy_injected_delay_seconds_sum", **delay) == pytest.approx(0.02, rel=0.01)
            assert seen.value("chaosproxy_injected_delay_seconds_bucket", le="0.01", **delay) == 0
            assert seen.value("chaosproxy_injected_delay_seconds_bucket", le="0.025", **delay) == 1
            assert seen.value("chaosproxy_injected_delay_seconds_bucket", le="+Inf", **delay) == 1

            supervisor.put_fault("db", fault("hold", type="latency", delay="1h", direction="upstream"), "test")
            writer.write(b"12345678")
            async with asyncio.timeout(60):
                held = {"proxy": "db", "direction": "upstream"}
                while scrape().value("chaosproxy_held_bytes", **held) != 8:
                    await asyncio.sleep(0.005)  # no event announces that a held count grows
            assert scrape().value("chaosproxy_held_bytes", proxy="db", direction="downstream") == 0

            supervisor.heal("test")
            seen = scrape()
            assert seen.value("chaosproxy_faults_active", proxy="db", fault="slow") == 0
            assert seen.value("chaosproxy_fault_connections_touched_total", proxy="db", fault="slow") == 1
            await end(writer)

    with_supervisor(scenario)


def test_an_upstream_that_is_not_there_is_counted() -> None:
    async def scenario(supervisor: Supervisor, scrape: Callable[[], Scraped]) -> None:
        async with echo_server() as port:
            pass  # now nothing listens there
        await supervisor.add_proxy(proxy("db", upstream=f"127.0.0.1:{port}"), "test")
        watch = Watch(supervisor)
        _, writer = await asyncio.open_connection("127.0.0.1", supervisor.proxy("db").listening_on[0].port)
        await watch.until(DialFailed)
        assert scrape().value("chaosproxy_dial_failures_total", proxy="db") == 1
        writer.close()

    with_supervisor(scenario)


def test_turns_are_counted_by_their_result() -> None:
    async def scenario(supervisor: Supervisor, scrape: Callable[[], Scraped]) -> None:
        async with echo_server() as upstream:
            running = await supervisor.add_proxy(proxy("db", upstream=f"127.0.0.1:{upstream}"), "test")
            writer = await exchange(supervisor, b"hello")
            for _ in running.count_turns():
                pass
            found = {result: scrape().value("chaosproxy_turns_total", proxy="db", result=result) for result in RESULTS}
            assert found == {"answered": 1, "failed": 0, "gave_up": 0}
            assert scrape().value("chaosproxy_turn_seconds_count", proxy="db") == 1
            supervisor.put_fault("db", fault("held", type="stall", direction="upstream"), "test")
            writer.write(b"again")
            watch = Watch(supervisor)
            while not running.registry.held("upstream"):
                await asyncio.sleep(0.001)
            for _ in running.count_turns():
                pass
            assert scrape().value("chaosproxy_turns_open", proxy="db") == 1
            supervisor.put_fault("db", fault("cut", type="reset"), "test")
            await watch.until(ConnectionClosed)
            for _ in running.count_turns():
                pass
            found = {result: scrape().value("chaosproxy_turns_total", proxy="db", result=result) for result in RESULTS}
            assert found == {"answered": 1, "failed": 1, "gave_up": 0}
            supervisor.heal("test")
            await end(await exchange(supervisor, b"again"))
            for _ in running.count_turns():
                pass
            assert scrape().value("chaosproxy_turns_repeated_total", proxy="db") == 1
            assert scrape().value("chaosproxy_turns_open", proxy="db") == 0

    with_supervisor(scenario)


RESULTS = ("answered", "failed", "gave_up")


def test_labels_never_hold_an_address_and_the_linter_has_nothing_to_say() -> None:
    async def scenario(supervisor: Supervisor, scrape: Callable[[], Scraped]) -> None:
        async with echo_server() as upstream:
            odd = 'd"b\\ ü'
            slow = {"type": "latency", "delay": "1ms"}
            await supervisor.add_proxy(proxy("db", upstream=f"127.0.0.1:{upstream}", faults={odd: slow}), "test")
            await end(await exchange(supervisor, b"hello"))
            seen = scrape()
            assert seen.value("chaosproxy_faults_active", proxy="db", fault=odd) == 1
            assert seen.labels == {
                "proxy", "direction", "fault", "cause", "side", "met", "le", "version", "python", "loop", "limit",
                "result",
            }  # fmt: skip
            assert "127.0.0.1" not in seen.text
            assert seen.value("chaosproxy_build_info", version=__version__, loop="asyncio") == 1
            assert seen.value("chaosproxy_gc_pause_seconds_max") == 0
            if (promtool := shutil.which("promtool")) is not None:
                check = [promtool, "check", "metrics"]
                linted = await asyncio.to_thread(subprocess.run, check, input=seen.text.encode(), capture_output=True)
                assert (linted.returncode, linted.stdout + linted.stderr) == (0, b"")

    with_supervisor(scenario)


def test_the_documentation_lists_every_metric() -> None:
    async def scenario(supervisor: Supervisor, scrape: Callable[[], Scraped]) -> None:
        text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
        documented = re.findall(r"^\| `(chaosproxy_\w+)` \|", text, re.MULTILINE)
        assert {name.removesuffix("_total") for name in documented} == set(scrape().families)

    with_supervisor(scenario)


def test_the_documentation_agrees_with_the_help_text_of_every_metric() -> None:
    """A row begins with the help text; it may add code marks, parentheses and details."""

    async def scenario(supervisor: Supervisor, scrape: Callable[[], Scraped]) -> None:
        text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
        rows = re.findall(r"^\| `(\w+)` \|.*?\|.*?\| (.*) \|$", text, re.MULTILINE)
        meanings = {name.removesuffix("_total"): re.sub(r" \(.*?\)|`", "", meaning) for name, meaning in rows}
        for name, family in scrape().families.items():
            help_text = family.documentation.removesuffix(".")
            if help_text[1].islower():
                help_text = help_text[0].lower() + help_text[1:]
            assert meanings[name].startswith(help_text), f"{name}: {meanings[name]!r} is not {help_text!r}"

    with_supervisor(scenario)


def test_without_proxies_there_is_still_something_to_scrape() -> None:
    async def scenario(supervisor: Supervisor, scrape: Callable[[], Scraped]) -> None:
        assert scrape().value("chaosproxy_gc_pause_seconds_count") == 0

    with_supervisor(scenario)


def test_dropped_lines_of_the_log_are_counted() -> None:
    async def scenario(supervisor: Supervisor, scrape: Callable[[], Scraped]) -> None:
        log = LineWriter(2, lambda lines: b"", max_bytes=0)
        registry = make_registry(supervisor, GcPauses(), "asyncio", log=log)
        for _ in range(3):
            log.put(b"too long\n")
        assert Scraped(registry).value("chaosproxy_log_lines_dropped_total") == 3
        assert scrape().value("chaosproxy_log_lines_dropped_total") == 0
        log.close()

    with_supervisor(scenario)


def test_tls_handshakes_are_counted_by_side_and_result(tmp_path: Path) -> None:
    async def scenario(supervisor: Supervisor, scrape: Callable[[], Scraped]) -> None:
        certs = Certs(tmp_path)
        watch = Watch(supervisor)
        async with echo_server() as upstream:
            settings = {"upstream": f"127.0.0.1:{upstream}", "listen_tls": certs.listen()}
            running = await supervisor.add_proxy(proxy("db", **settings), "test")
            assert "chaosproxy_tls_handshakes_total{" not in scrape().text
            address = (running.listening_on[0].host, running.listening_on[0].port)
            context = certs.client_context()
            _, writer = await asyncio.open_connection(*address, ssl=context, server_hostname="api.test")
            await end(writer)
            with pytest.raises(ssl.SSLCertVerificationError):
                await asyncio.open_connection(*address, ssl=context, server_hostname="other.test")
            await watch.until(TlsFailed)
            seen = scrape()
            for result in ("ok", "failed"):
                name = "chaosproxy_tls_handshakes_total"
                assert seen.value(name, proxy="db", side="client", result=result) == 1
            assert seen.value("chaosproxy_tls_handshake_seconds_count", proxy="db", side="client") == 1

    with_supervisor(scenario)
