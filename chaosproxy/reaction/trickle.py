"""Whether a time-out is one of silence (`read`) or a deadline (`total`).

Both end a turn of which no byte of the answer comes. They differ while bytes trickle: a deadline still ends the turn,
a read time-out does not. A turn is answered with its first byte. So its later end is seen in two ways:

- `AnswerCut`: the client ended that long after it had asked, while a fault still held a part of its answer, and soon
  after the latest byte. And `TurnsCounted.longest_answer_s`: bytes of an answer left the fault that long after the
  client had asked. Only answers that began while bytes trickled count: a stream may have been opened long before.
- The end of the connection is the end of the turn if the client uses a connection for one turn, which the baseline
  shows: its connections last less than half of the time-out. A connection may be idle before its turn, as the
  baseline's are at most. Where the kernel makes bytes trickle (`bandwidth`), only this is seen. A server that closes
  after its answer (HTTP/1.0) ends before any client: its end-of-stream waits behind the bytes that trickle. There the
  client has cut the answer if it resets, since it then refuses bytes that still come.

Told apart only if a fault of silence and one that trickles have been active on the proxy. `total`: the clients of three
connections ended after the time-out, within an answer that trickled. `read`: three answers lasted much longer, or an
answer did in three seconds, and none was cut then. Else `unknown`, as where bytes come so slowly that a time-out of
silence may have run out between two of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from chaosproxy.events import ClientEnded, ServerEnded
from chaosproxy.reaction.facts import Facts, ProxyFacts
from chaosproxy.reaction.span import between
from chaosproxy.reaction.timeouts import Kind
from chaosproxy.reaction.waits import tolerance
from chaosproxy.reaction.window import Window, unfaulted_before, windows_of

__all__ = ["SILENT", "TRICKLING", "kind_of"]

SILENT = frozenset({"stall", "pause", "blackhole", "partition", "http_drop_request", "http_drop_response"})
"""Types of faults under which no byte comes."""
TRICKLING = frozenset({"bandwidth", "slicer", "http_slow_body"})
"""Types of faults under which bytes come slowly."""
_FEWEST = 3
_LONGER = 1.3
"""A turn has outlived a time-out if it lasted this many times as long."""


def kind_of(seconds: float, proxy: ProxyFacts, window: Window, facts: Facts) -> Kind:
    """Return the kind of a time-out that a proxy's clients have shown in a window.

    A trickle after the window counts before those of an earlier time, when the clients may have been others.
    """
    windows = [one for one in windows_of(facts) if proxy.name in one.proxies and len(one.types) == 1]
    trickling = [one for one in windows if TRICKLING.issuperset(one.types)]
    trickling = [one for one in trickling if one.started >= window.started] or trickling
    if not trickling or not any(SILENT.issuperset(one.types) for one in windows):
        return "unknown"
    before = _usual_s(proxy, trickling, facts)
    after_server = _after_server(proxy)
    cut: set[int] = set()
    longer = longer_turns = 0
    for one in trickling:
        end = inf if one.ended is None else one.ended
        for each in between(proxy.cut, one.started, end):
            if abs(each.waited_s - seconds) <= tolerance(seconds):
                if each.quiet_s > seconds / 2:
                    return "unknown"
                cut.add(each.connection)
        longer_turns += sum(
            each.at - one.started >= each.longest_answer_s >= _LONGER * seconds
            for each in between(proxy.counted, one.started, end)
        )
        for closed in between(proxy.closed, one.started, end) if before <= seconds / 2 else ():
            if closed.bytes_downstream and one.has(closed.at - closed.lasted_s):
                lasted = closed.lasted_s if closed.client_ended_s is None else closed.client_ended_s
                is_client = closed.first == "client" or closed.connection in after_server
                if is_client and -tolerance(seconds) <= lasted - seconds <= tolerance(seconds) + before:
                    cut.add(closed.connection)
                longer += lasted - before >= _LONGER * seconds
    if len(cut) >= _FEWEST and not longer and not longer_turns:
        return "total"
    return "read" if max(longer, longer_turns) >= _FEWEST and not cut else "unknown"


def _usual_s(proxy: ProxyFacts, trickling: Sequence[Window], facts: Facts) -> float:
    """Return how long most connections last without a fault, in seconds; infinity if there are too few."""
    usual: list[float] = []
    for begin, end in sorted({span for one in trickling for span in unfaulted_before(one, proxy.name, facts)}):
        usual += (one.lasted_s for one in between(proxy.closed, begin, end) if one.at - one.lasted_s >= begin)
    usual.sort()
    return usual[int(0.9 * (len(usual) - 1))] if len(usual) >= _FEWEST else inf


def _after_server(proxy: ProxyFacts) -> set[int]:
    """Return the connections whose client has reset while a fault held the end of the server back."""
    held = {one.connection for one in proxy.ended if isinstance(one, ServerEnded) and one.held_by}
    return {
        one.connection for one in proxy.ended
        if isinstance(one, ClientEnded) and one.how == "reset" and one.connection in held
    }  # fmt: skip
