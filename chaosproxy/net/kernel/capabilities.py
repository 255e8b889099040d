"""Probe once which kernel features are available on this machine, with the privileges of this process.

A `Capability` is one feature: available, or `lacking` with a reason and a remedy. `Capabilities` holds
all of them. `probe` tries each on a socket that is not connected. Proxies use the result to resolve
the mode of a fault; `chaosproxy doctor` and REST show it to the user.
"""

from __future__ import annotations

import errno
import functools
import socket
import sys
from dataclasses import dataclass

from chaosproxy.net.kernel.bpf import KEEP_ALL
from chaosproxy.net.kernel.sockopts import attach, detach, dropped, limit_pacing, tcp_info
from chaosproxy.net.kernel.tap import try_tap

__all__ = ["Capabilities", "Capability", "anywhere", "probe"]


@dataclass(frozen=True, slots=True)
class Capability:
    """One feature of the kernel, and why it is unavailable if it is."""

    name: str
    purpose: str
    """The faults or metrics that need it."""
    lacking: str = ""
    """The reason why it is unavailable; empty if it is available."""
    remedy: str = ""
    """The way to make it available; empty if it is."""

    @property
    def available(self) -> bool:
        return not self.lacking

    def view(self) -> dict[str, object]:
        """Return it as a value for JSON."""
        return {
            "name": self.name,
            "available": self.available,
            "purpose": self.purpose,
            "lacking": self.lacking or None,
            "remedy": self.remedy or None,
        }


@dataclass(frozen=True, slots=True)
class Capabilities:
    """All features that chaosproxy uses."""

    filters: Capability
    pacing: Capability
    tcp_info: Capability
    tap: Capability

    def all(self) -> tuple[Capability, ...]:
        return (self.filters, self.pacing, self.tcp_info, self.tap)


_FILTERS = "drops packets of one TCP socket: mode packet of packet_loss, partition and unreachable"
_PACING = "limits the rate of one TCP socket: mode packet of bandwidth"
_TCP_INFO = "reports retransmits, round-trip time and unacknowledged segments: the chaosproxy_tcp_* metrics"
_TAP = "shows connection attempts that a fault refuses or leaves unanswered, and clients that leave during a cut"
_GRANT = (
    "grant CAP_{name}: `setcap cap_{lower}+ep` on the Python that runs chaosproxy, `cap_add: [{name}]` "
    "and `user: root` for a container, or `unshare -Urn` for a network namespace of your own"
)
_LINUX = "run chaosproxy on Linux"


def anywhere() -> Capabilities:
    """Return the capabilities of a machine with all features, to check a configuration for any machine."""
    return Capabilities(
        Capability("filters", _FILTERS), Capability("pacing", _PACING), Capability("tcp_info", _TCP_INFO),
        Capability("tap", _TAP),
    )  # fmt: skip


@functools.cache
def probe() -> Capabilities:
    """Try each feature on a socket that is not connected."""
    if sys.platform != "linux":
        lacking = f"{sys.platform} does not have it"
        return Capabilities(
            Capability("filters", _FILTERS, lacking, _LINUX),
            Capability("pacing", _PACING, lacking, _LINUX),
            Capability("tcp_info", _TCP_INFO, lacking, _LINUX),
            Capability("tap", _TAP, lacking, _LINUX),
        )
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        return Capabilities(
            Capability("filters", _FILTERS, *_try_filters(sock)),
            Capability("pacing", _PACING, *_try_pacing(sock)),
            Capability("tcp_info", _TCP_INFO, *_try_tcp_info(sock)),
            Capability("tap", _TAP, *_try_tap()),
        )


def _try_filters(sock: socket.socket) -> tuple[str, str]:
    try:
        dropped(sock)
        attach(sock, KEEP_ALL)
        detach(sock)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES):
            return "this kernel requires CAP_NET_ADMIN, which this process does not have", _grant("NET_ADMIN")
        return f"the kernel refuses a socket filter ({error.strerror})", "use Linux 4.12 or newer"
    return "", ""


def _try_pacing(sock: socket.socket) -> tuple[str, str]:
    try:
        limit_pacing(sock, 1e6)
    except OSError as error:
        return f"the kernel refuses SO_MAX_PACING_RATE ({error.strerror})", "use Linux 4.20 or newer"
    return "", ""


def _try_tcp_info(sock: socket.socket) -> tuple[str, str]:
    try:
        known = tcp_info(sock) is not None
    except OSError as error:
        return f"the kernel refuses TCP_INFO ({error.strerror})", "use Linux 2.6 or newer"
    return ("", "") if known else ("the kernel's TCP_INFO is too short", "use Linux 2.6 or newer")


def _try_tap() -> tuple[str, str]:
    try:
        try_tap()
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES):
            return "packet sockets need CAP_NET_RAW, which this process does not have", _grant("NET_RAW")
        if error.errno == errno.EAFNOSUPPORT:
            return "this kernel has no packet sockets", "load its module af_packet, or use a kernel with CONFIG_PACKET"
        return f"the kernel refuses a packet socket ({error.strerror})", "read the kernel's log"
    return "", ""


def _grant(name: str) -> str:
    return _GRANT.format(name=name, lower=name.lower())
