"""Resolve `mode: auto` to packet or stream, by the machine, the proxy's sockets and the fault itself. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from chaosproxy.errors import Unsupported
from chaosproxy.faults.base import Fault, Mode
from chaosproxy.model.fault import FaultSpec
from chaosproxy.model.proxy import ProxySpec
from chaosproxy.net.kernel.capabilities import Capabilities

__all__ = ["ResolvedMode", "resolve_mode"]


@dataclass(frozen=True, slots=True)
class ResolvedMode:
    """The mode in which a fault acts on one proxy."""

    settings: Fault
    """The fault's settings, with this mode if its type has modes."""
    mode: Mode | None = None
    """None if the type has no modes."""
    why: str = ""
    """The reason why `auto` became `stream`; empty otherwise."""


def resolve_mode(fault: FaultSpec, proxy: ProxySpec, kernel: Capabilities) -> ResolvedMode:
    """Resolve the mode in which `fault` acts on `proxy`.

    :raises Unsupported: it needs mode packet, which is not supported here.
    """
    settings = fault.settings
    if settings.in_kernel is None:
        return ResolvedMode(settings)
    wanted: str = settings.mode  # type: ignore[attr-defined]  # a fault type with `in_kernel` has modes
    if wanted == "stream":
        return ResolvedMode(settings, "stream")
    obstacle = _obstacle(fault, proxy, kernel)
    if wanted == "packet":
        if obstacle:
            message = f"mode packet of {fault.type} is not supported on proxy {proxy.name!r}: {obstacle}"
            raise Unsupported(f"{message}, or give mode: stream", code="unsupported-mode")
        return ResolvedMode(settings, "packet")
    why = settings.why_stream() or obstacle
    return ResolvedMode(settings.in_mode("stream" if why else "packet"), "stream" if why else "packet", why)


def _obstacle(fault: FaultSpec, proxy: ProxySpec, kernel: Capabilities) -> str:
    """Return the reason why the fault cannot act on packets; empty if it can."""
    capability = kernel.filters if fault.settings.in_kernel == "filters" else kernel.pacing
    if not capability.available:
        return f"{capability.lacking}; {capability.remedy} (`chaosproxy doctor` explains)"
    directions = fault.placement.directions if fault.settings.on_pipes else ()
    # A filter acts on the socket that a direction is read from, pacing on the one it is written to.
    reads = capability is kernel.filters
    sockets = {"listen": proxy.listen, "upstream": proxy.upstream}
    used = {"listen" if (direction == "upstream") == reads else "upstream" for direction in directions}
    if fault.settings.at_listener:
        used.add("listen")
    for name in ("listen", "upstream"):
        if name in used and sockets[name].is_unix:
            return f"its {name} address is a unix socket, which has no packets; use a TCP address"
    return ""
