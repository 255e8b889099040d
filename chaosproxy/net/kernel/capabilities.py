"""Which kernel features this machine and these privileges allow, probed once on a socket connected to nobody."""

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
    """Something that the kernel does for us, or why it does not."""

    name: str
    purpose: str
    """What it is for."""
    lacking: str = ""
    """Why it cannot be had; empty where it can."""
    remedy: str = ""
    """How to get it where it is lacking."""

    @property
    def available(self) -> bool:
        return not self.lacking

    def view(self) -> dict[str, object]:
        """As JSON."""
        return {
            "name": self.name,
            "available": self.available,
            "purpose": self.purpose,
            "lacking": self.lacking or None,
            "remedy": self.remedy or None,
        }


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What this kernel and these privileges allow."""

    filters: Capability
    pacing: Capability
    tcp_info: Capability
    tap: Capability

    def all(self) -> tuple[Capability, ...]:
        return (self.filters, self.pacing, self.tcp_info, self.tap)


_FILTERS = "drops packets of one TCP socket: mode packet of packet_loss, partition and unreachable"
_PACING = "keeps a rate in the kernel: mode packet of bandwidth"
_TELLS = "tells retransmits, round-trip time and unacknowledged segments: the chaosproxy_tcp_* metrics"
_TAP = "shows connection attempts that a fault refuses or leaves unanswered, and clients that leave during a cut"
_GRANT = (
    "grant CAP_{name}: `setcap cap_{lower}+ep` on the Python that runs chaosproxy, `cap_add: [{name}]` "
    "and `user: root` for a container, or `unshare -Urn` for a network namespace of your own"
)
_LINUX = "run it on Linux"


def anywhere() -> Capabilities:
    """The capabilities of a machine that has all of them: to check a configuration, and not the machine."""
    return Capabilities(
        Capability("filters", _FILTERS), Capability("pacing", _PACING), Capability("tcp_info", _TELLS),
        Capability("tap", _TAP),
    )  # fmt: skip


@functools.cache
def probe() -> Capabilities:
    """Try each thing on a socket that is connected to nobody."""
    if sys.platform != "linux":
        lacking = f"{sys.platform} has no such thing"
        return Capabilities(
            Capability("filters", _FILTERS, lacking, _LINUX),
            Capability("pacing", _PACING, lacking, _LINUX),
            Capability("tcp_info", _TELLS, lacking, _LINUX),
            Capability("tap", _TAP, lacking, _LINUX),
        )
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        return Capabilities(
            Capability("filters", _FILTERS, *_try_filters(sock)),
            Capability("pacing", _PACING, *_try_pacing(sock)),
            Capability("tcp_info", _TELLS, *_try_tcp_info(sock)),
            Capability("tap", _TAP, *_try_tap()),
        )


def _try_filters(sock: socket.socket) -> tuple[str, str]:
    try:
        dropped(sock)
        attach(sock, KEEP_ALL)
        detach(sock)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES):
            return "this kernel asks for CAP_NET_ADMIN, which this process does not have", _grant("NET_ADMIN")
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
        return f"the kernel refuses a packet socket ({error.strerror})", "see what it says in its log"
    return "", ""


def _grant(name: str) -> str:
    return _GRANT.format(name=name, lower=name.lower())
