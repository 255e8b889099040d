"""The ends of both sides, in the order of their arrival."""

from __future__ import annotations

from chaosproxy.endings import Ending
from chaosproxy.net.stream.arrivals import Arrivals, SideEnd

CLIENT_FIN, CLIENT_RESET = Ending("client", "fin"), Ending("client", "reset")
SERVER_FIN, SERVER_RESET = Ending("server", "fin"), Ending("server", "reset")
LOST = Ending("network", "timeout", error="connection to the client lost: Connection timed out")


def test_the_first_to_arrive_stays_the_first() -> None:
    arrivals = Arrivals()
    arrivals.note("client", CLIENT_FIN, 1.0)
    arrivals.note("server", SERVER_RESET, 2.0)
    assert arrivals.first == arrivals.client == SideEnd("client", CLIENT_FIN, 1.0)
    assert arrivals.then == arrivals.server == SideEnd("server", SERVER_RESET, 2.0)
    assert (arrivals.first_side, arrivals.ending) == ("client", CLIENT_FIN)


def test_a_side_that_resets_after_its_end_of_stream_keeps_the_time_of_the_first() -> None:
    arrivals = Arrivals()
    arrivals.note("client", CLIENT_FIN, 1.0)
    assert arrivals.note("client", CLIENT_RESET, 3.0) == SideEnd("client", CLIENT_RESET, 3.0)
    assert arrivals.client == SideEnd("client", CLIENT_FIN, 1.0)
    assert arrivals.then == SideEnd("client", CLIENT_RESET, 3.0)


def test_the_same_end_seen_twice_is_noted_once() -> None:
    arrivals = Arrivals()
    assert arrivals.note("server", SERVER_FIN, 1.0) is not None
    assert arrivals.note("server", SERVER_FIN, 5.0) is None
    assert arrivals.then is None


def test_nobody_is_first_where_the_network_broke() -> None:
    arrivals = Arrivals()
    arrivals.note("client", LOST, 1.0)
    arrivals.note("server", SERVER_FIN, 2.0)
    assert (arrivals.first_side, arrivals.ending) == (None, LOST)


def test_without_any_end_the_connection_was_lost() -> None:
    assert Arrivals().ending == Ending("network", "closed", error="connection lost")
    assert Arrivals().first_side is None
