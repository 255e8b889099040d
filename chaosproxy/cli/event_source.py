"""Follow the stream of events of a running server, over lost connections too."""

from __future__ import annotations

import json
import select
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from chaosproxy.cli.client import Client, ConnectionLost, Stream
from chaosproxy.cli.exits import CannotReach
from chaosproxy.journal.stream import messages_in

__all__ = ["StdoutWatch", "events_of"]

Json = dict[str, Any]  # Any: JSON

SILENCE_S = 45.0
"""Seconds without a byte after which the connection counts as lost: three heartbeats of the server."""
FIRST_DELAY_S, LONGEST_DELAY_S = 0.25, 8.0
"""Seconds before the first and the later attempts to connect again; each wait is twice the one before."""


class StdoutWatch:
    """Notices that the reader of stdout has left, also while nothing is printed, as `head -1` does."""

    def __init__(self) -> None:
        self.closed = threading.Event()
        self._stream: Stream | None = None
        with suppress(OSError, ValueError, AttributeError):  # stdout has no descriptor, or the system no poll
            descriptor = sys.stdout.fileno()
            poll = select.poll()
            poll.register(descriptor, 0)  # POLLERR and POLLHUP are always reported
            threading.Thread(target=self._watch, args=(poll,), name="stdout", daemon=True).start()

    def interrupt(self, stream: Stream | None) -> None:
        """Interrupt this stream, instead of the one before, when the reader leaves."""
        self._stream = stream
        if stream is not None and self.closed.is_set():
            stream.interrupt()

    def _watch(self, poll: select.poll) -> None:
        found = [event for _, event in poll.poll()]
        if found and not found[0] & select.POLLNVAL:
            self.closed.set()
            stream = self._stream
            if stream is not None:
                stream.interrupt()


def events_of(
    client: Client,
    query: Sequence[tuple[str, str]],
    follow: bool,
    watch: StdoutWatch,
    notice: Callable[[str], None],
) -> Iterator[Json]:
    """Yield the data of the events that a query selects; with `follow`, until the reader of stdout leaves.

    If the connection is lost, `notice` is called with a line for the user, and the stream resumes after the last event.

    :raises CannotReach: nothing responds at first, or without `follow` the connection was lost before the end.
    :raises BadInput: the server refused the request.
    """
    last_id, run, delay, is_lost = "", "", FIRST_DELAY_S, False
    while True:
        reason = ""
        try:
            with client.stream("events", query=query, last_id=last_id, silence_s=SILENCE_S) as stream:
                watch.interrupt(stream)
                if is_lost:
                    notice(f"connected to {client.url} again")
                    is_lost = False
                if last_id and stream.run != run:
                    notice("the server was restarted")
                    last_id, run = "0", stream.run  # begin with all events of the new one
                    continue
                run = stream.run
                for message in messages_in(stream.chunks(), last_id):
                    last_id, delay = message.last_id, FIRST_DELAY_S
                    if message.data is not None:
                        yield _parsed(message.data, client)
        except ConnectionLost as lost:
            reason = str(lost)
        except CannotReach:
            if not is_lost:
                raise
        watch.interrupt(None)
        if watch.closed.is_set():
            return
        if not follow:
            if reason:
                raise CannotReach(f"the connection to {client.url} was lost before the last event ({reason})")
            return
        if not is_lost:
            notice(f"the connection to {client.url} was lost ({reason or 'the server ended it'}); trying again")
            is_lost = True
        watch.closed.wait(delay)
        delay = min(2 * delay, LONGEST_DELAY_S)


def _parsed(data: str, client: Client) -> Json:
    try:
        value = json.loads(data)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise CannotReach(f"the server at {client.url} is not a chaosproxy: an event is not JSON; use another --url")
    return value
