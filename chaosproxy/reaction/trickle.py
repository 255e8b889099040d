"""Whether a time-out is one of silence (`read`) or a deadline (`total`).

Both end a turn of which no byte of the answer comes. They differ while bytes trickle: a deadline still ends the turn,
a read time-out does not. A turn is answered with its first byte, so its later end is seen only as the end of its
connection. That is the end of the turn if the client uses a connection for one turn, which the baseline shows: its
connections last less than half of the time-out.

A connection may be idle before its turn, as the baseline's are at most.

A server that closes after its answer (HTTP/1.0) ends before any client: its end-of-stream waits behind the bytes that
trickle. There the client has cut the answer if it resets, since it then refuses bytes that still come.

Told apart only if a fault of silence and one that trickles have been active on the proxy. `total`: three connections,
opened while bytes trickled, were ended by the client after the time-out. `read`: three lasted much longer, and none was
ended after it. Else `unknown`.
"""

from __future__ import annotations

from chaosproxy.events import ClientEnded, ServerEnded
from chaosproxy.reaction.facts import Facts, ProxyFacts
from chaosproxy.reaction.timeouts import Kind
from chaosproxy.reaction.waits import tolerance
from chaosproxy.reaction.window import Window, baseline_of, windows_of

__all__ = ["SILENT", "TRICKLING", "kind_of"]

SILENT = frozenset({"stall", "pause", "blackhole", "partition", "http_drop_request", "http_drop_response"})
"""Types of faults under which no byte comes."""
TRICKLING = frozenset({"bandwidth", "slicer", "http_slow_body"})
"""Types of faults under which bytes come slowly."""
_FEWEST = 3
_LONGER = 1.3
"""A turn has outlived a time-out if it lasted this many times as long."""


def kind_of(seconds: float, proxy: ProxyFacts, facts: Facts) -> Kind:
    """Return the kind of a time-out of a proxy's clients that ended turns without an answer."""
    windows = [window for window in windows_of(facts) if proxy.name in window.proxies and len(window.types) == 1]
    trickling = [window for window in windows if TRICKLING.issuperset(window.types)]
    if not trickling or not any(SILENT.issuperset(window.types) for window in windows):
        return "unknown"
    spans = [span for window in trickling for span in baseline_of(window, proxy.name, facts)]
    usual = sorted(
        one.lasted_s
        for one in proxy.closed
        if any(begin <= one.at - one.lasted_s and one.at < end for begin, end in spans)
    )
    before = usual[int(0.9 * (len(usual) - 1))] if len(usual) >= _FEWEST else seconds  # idle before the turn
    if before > seconds / 2:
        return "unknown"
    cut = longer = 0
    for window in trickling:
        for lasted, is_client in _lasted(proxy, window):
            cut += is_client and -tolerance(seconds) <= lasted - seconds <= tolerance(seconds) + before
            longer += lasted - before >= _LONGER * seconds
    if cut >= _FEWEST and not longer:
        return "total"
    return "read" if longer >= _FEWEST and not cut else "unknown"


def _lasted(proxy: ProxyFacts, window: Window) -> list[tuple[float, bool]]:
    """Return how long the connections of a window lasted that got an answer, and whether the client ended them."""
    held = {one.connection for one in proxy.ended if isinstance(one, ServerEnded) and one.held_by}
    reset = {one.connection for one in proxy.ended if isinstance(one, ClientEnded) and one.how == "reset"}
    cut = held & reset
    return [
        (
            one.lasted_s if one.client_ended_s is None else one.client_ended_s,
            one.first == "client" or one.connection in cut,
        )
        for one in proxy.closed
        if one.bytes_downstream and window.has(one.at - one.lasted_s) and window.has(one.at)
    ]
