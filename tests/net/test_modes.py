"""The mode that a fault resolves to, by the requested mode, the machine, the sockets and the fault itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chaosproxy.errors import Unsupported
from chaosproxy.model import ProxySpec
from chaosproxy.model.types import FAULT_TYPES
from chaosproxy.net.kernel.capabilities import Capabilities, Capability
from chaosproxy.net.placement.modes import ResolvedMode, resolve_mode
from tests.net.building import fault, proxy

KERNEL = Capabilities(*(Capability(name, "for tests") for name in ("filters", "pacing", "tcp_info", "tap")))
NO_FILTERS = replace(KERNEL, filters=Capability("filters", "for tests", "no privilege for it", "get the privilege"))
NO_PACING = replace(KERNEL, pacing=Capability("pacing", "for tests", "no pacing here", "get another kernel"))
NOTHING = replace(NO_FILTERS, pacing=NO_PACING.pacing)

TCP = proxy(listen="127.0.0.1:0", upstream="127.0.0.1:5432")
UNIX_LISTEN = proxy(listen="unix:/tmp/door.sock", upstream="127.0.0.1:5432")
UNIX_UPSTREAM = proxy(listen="127.0.0.1:0", upstream="unix:/tmp/db.sock")

LOSS = {"type": "packet_loss", "rate": "2%"}
BURSTS = {"type": "packet_loss", "burst": {"p": "1%", "r": "30%"}}
CUT = {"type": "partition"}
DEAD = {"type": "unreachable"}
FAST = {"type": "bandwidth", "rate": "200MB/s"}
UP, DOWN, BOTH = ({"direction": way} for way in ("upstream", "downstream", "both"))

IN_PACKETS = [
    (LOSS, TCP, KERNEL),
    (BURSTS, TCP, KERNEL),
    (CUT, TCP, KERNEL),
    (CUT | BOTH | {"acks": "drop"}, TCP, KERNEL),
    (DEAD, TCP, KERNEL),
    (DEAD | {"existing": "reset"}, TCP, KERNEL),
    (LOSS, TCP, NO_PACING),
    # A filter acts on the socket that a direction is read from: upstream the client's, downstream the server's.
    (LOSS | UP, UNIX_UPSTREAM, KERNEL),
    (LOSS | DOWN, UNIX_LISTEN, KERNEL),
    (CUT | UP, UNIX_UPSTREAM, KERNEL),
    # Pacing acts on the socket that a direction is written to.
    (FAST | UP, UNIX_LISTEN, KERNEL),
    (FAST | DOWN, UNIX_UPSTREAM, KERNEL),
    (FAST, TCP, NO_FILTERS),
    ({"type": "bandwidth", "rate": "100MB/s"}, TCP, KERNEL),
    ({"type": "bandwidth", "rate": "400MB/s"}, TCP, KERNEL),
    # It acts only on the listening socket.
    (DEAD | UP, UNIX_UPSTREAM, KERNEL),
    (DEAD | DOWN, UNIX_UPSTREAM, KERNEL),
]
"""Cases in which auto resolves to packet and packet is supported."""

CANNOT = [
    (LOSS, TCP, NO_FILTERS, "no privilege for it; get the privilege (`chaosproxy doctor` explains)"),
    (BURSTS, TCP, NO_FILTERS, "get the privilege"),
    (CUT, TCP, NOTHING, "get the privilege"),
    (DEAD, TCP, NO_FILTERS, "get the privilege"),
    (FAST, TCP, NO_PACING, "no pacing here; get another kernel (`chaosproxy doctor` explains)"),
    (LOSS | UP, UNIX_LISTEN, KERNEL, "its listen address is a unix socket, which has no packets; use a TCP address"),
    (LOSS | DOWN, UNIX_UPSTREAM, KERNEL, "its upstream address is a unix socket"),
    (LOSS | BOTH, UNIX_LISTEN, KERNEL, "its listen address is a unix socket"),
    (LOSS | BOTH, UNIX_UPSTREAM, KERNEL, "its upstream address is a unix socket"),
    (FAST | UP, UNIX_UPSTREAM, KERNEL, "its upstream address is a unix socket"),
    (FAST | DOWN, UNIX_LISTEN, KERNEL, "its listen address is a unix socket"),
    (FAST | BOTH, UNIX_LISTEN, KERNEL, "its listen address is a unix socket"),
    # A fault that acts on the listening socket needs one with packets, whatever its direction.
    (CUT | DOWN, UNIX_LISTEN, KERNEL, "its listen address is a unix socket"),
    (CUT | DOWN, UNIX_UPSTREAM, KERNEL, "its upstream address is a unix socket"),
    (DEAD | DOWN, UNIX_LISTEN, KERNEL, "its listen address is a unix socket"),
]
"""Cases in which auto resolves to stream and packet is refused, with the reason."""

RATHER_NOT = [
    ({"type": "packet_loss", "rate": "2%", "correlation": "25%"}, "no memory for correlation"),
    ({"type": "bandwidth", "rate": "99MB/s"}, "more exact than the kernel's pacing"),
    ({"type": "bandwidth", "rate": "401MB/s"}, "more exact than the kernel's pacing"),
    (FAST | {"burst": "64KiB"}, "none of burst, shared and chunk"),
    (FAST | {"shared": True}, "none of burst, shared and chunk"),
    (CUT | {"fail_fast": True}, "fail_fast drops no packets"),
]
"""Cases in which auto resolves to stream on any machine, with the reason."""

Given = dict[str, object]


def settled(given: Given, on: ProxySpec, kernel: Capabilities) -> ResolvedMode:
    """Resolve the mode, and check that only the mode differs in the settings."""
    spec = fault(**given)
    found = resolve_mode(spec, on, kernel)
    assert found.settings == replace(spec.settings, mode=found.mode)  # type: ignore[type-var]  # Fault is no dataclass
    return found


@pytest.mark.parametrize(("given", "on", "kernel"), IN_PACKETS)
def test_auto_acts_on_packets_where_it_can(given: Given, on: ProxySpec, kernel: Capabilities) -> None:
    found = settled(given, on, kernel)
    assert (found.mode, found.why) == ("packet", "")
    assert settled(given | {"mode": "packet"}, on, kernel) == found


@pytest.mark.parametrize(("given", "on", "kernel", "words"), CANNOT)
def test_where_it_cannot_auto_is_stream_and_packet_is_refused(
    given: Given, on: ProxySpec, kernel: Capabilities, words: str
) -> None:
    found = settled(given, on, kernel)
    assert found.mode == "stream"
    assert words in found.why
    with pytest.raises(Unsupported) as caught:
        resolve_mode(fault(**given, mode="packet"), on, kernel)
    assert str(caught.value).startswith(f"mode packet of {given['type']} is not supported on proxy 'proxy': ")
    assert words in str(caught.value)
    assert str(caught.value).endswith(", or give mode: stream")


@pytest.mark.parametrize(("given", "words"), RATHER_NOT)
def test_some_settings_are_better_off_as_a_stream(given: Given, words: str) -> None:
    for kernel in (KERNEL, NOTHING):
        found = settled(given, TCP, kernel)
        assert found.mode == "stream"
        assert words in found.why


@pytest.mark.parametrize("given", [{"type": "bandwidth", "rate": "1MB/s"}, CUT | {"fail_fast": True}])
def test_but_packet_can_be_asked_for(given: Given) -> None:
    expected = ResolvedMode(fault(**given, mode="packet").settings, "packet")
    assert settled(given | {"mode": "packet"}, TCP, KERNEL) == expected


@pytest.mark.parametrize("given", [LOSS, CUT, DEAD, FAST])
def test_stream_can_be_had_anywhere_and_needs_no_reason(given: Given) -> None:
    for on in (TCP, UNIX_LISTEN, UNIX_UPSTREAM):
        for kernel in (KERNEL, NOTHING):
            assert settled(given | {"mode": "stream"}, on, kernel) == ResolvedMode(
                fault(**given, mode="stream").settings, "stream"
            )


def test_a_type_without_modes_acts_as_it_is() -> None:
    for given in ({"type": "latency", "delay": "1ms"}, {"type": "pause"}, {"type": "refuse"}):
        spec = fault(**given)
        assert resolve_mode(spec, UNIX_LISTEN, NOTHING) == ResolvedMode(spec.settings, None, "")


def test_the_tables_leave_no_type_out() -> None:
    modal = {name for name, one in FAULT_TYPES.items() if one.in_kernel is not None}
    assert {one["type"] for one in (LOSS, CUT, DEAD, FAST)} == modal
