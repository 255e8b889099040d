"""How a connection ended, as one value from the socket to event, log, metric and REST.

Only this module puts an ending into words.
"""

from __future__ import annotations

import errno
import ssl
from dataclasses import dataclass
from typing import Literal, get_args

from chaosproxy.tallies import Side

__all__ = ["CAUSES", "Cause", "Ending", "How", "Phase", "describe", "ending_of"]

Cause = Literal["client", "server", "network", "injected", "operator", "bug"]
"""The cause of an end: a peer, the network between, a fault, the operator of chaosproxy, or a defect in it."""
CAUSES: tuple[Cause, ...] = get_args(Cause)

How = Literal["fin", "reset", "timeout", "tls", "closed"]
"""`fin`: end-of-stream; `reset`: RST; `timeout`: the kernel gave up or has no route; `tls`: TLS failed;
`closed`: chaosproxy closed both sides in good order."""

Phase = Literal["", "accept", "dial", "handshake"]
"""The phase in which a connection ended before it could carry bytes; empty if it ended later."""

_UNREACHABLE = {
    errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.ENETRESET,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ending:
    """The cause of the end of a connection, or of one side of it, and how it ended."""

    by: Cause
    how: How
    fault: str = ""
    """The fault that ended it, or that kept a client waiting until it left; empty if there is none."""
    error: str = ""
    """The reason in words, if the kernel, TLS or a setting gives one; else empty."""
    during: Phase = ""


def ending_of(side: Side, error: Exception | None) -> Ending:
    """Return how the socket to `side` ended, from the error its transport was closed with.

    A lost socket without an error, and without an end-of-stream before, counts as reset.
    """
    match error:
        case ssl.SSLError():  # its message is the reason in words: see `net.tls.transport`
            return Ending(side, "tls", error=str(error))
        case OSError(errno=number) if number in _UNREACHABLE:
            return Ending("network", "timeout", error=f"connection to the {side} lost: {error.strerror}")
        case OSError(errno=number) if number == errno.ECONNRESET:
            return Ending(side, "reset")
        case OSError():
            return Ending(side, "reset", error=error.strerror or str(error))
        case _:
            return Ending(side, "reset")


def describe(ending: Ending, then: Ending | None = None) -> str:
    """Return an ending in words; `then` is the later ending of the other side, if there was one."""
    verb = "reset" if ending.how == "reset" else "closed"
    match ending.by:
        case "injected":
            if ending.how == "tls":
                return f"{ending.error} (fault {ending.fault})"
            return f"{verb} by fault {ending.fault}" + (" during the TLS handshake" if ending.during else "")
        case "operator" if ending.during == "dial" and ending.error:
            return ending.error
        case "operator":
            return f"{verb} by {ending.error or 'the operator'}"
        case "bug":
            return "a fault failed; the log has the traceback"
        case "network":
            return ending.error
        case "client" | "server":
            return _describe_peer(ending, then)


def _describe_peer(ending: Ending, then: Ending | None) -> str:
    if ending.how == "tls" or (ending.during == "dial" and ending.error):
        return ending.error
    because = f" ({ending.error})" if ending.error else ""
    if ending.during == "accept":
        return f"{ending.by} left while it was accepted{because}"
    if ending.during == "dial":
        return f"{ending.by} left while " + (
            f"fault {ending.fault} delayed it" if ending.fault else "its upstream was dialled"
        )
    if ending.how == "reset":
        return f"{ending.by} reset{because}"
    if ending.fault:
        text = f"{ending.by} gave up, unanswered for fault {ending.fault}"
    else:
        text = f"{ending.by} closed first"
    if then is not None and then.how != "fin":
        text += f", then {describe(then)}"
    return text
