"""A connection from accept to the end of both sockets: each test is a transcript of acts and their results."""

from __future__ import annotations

import errno

import pytest

from chaosproxy.faults.base import Direction
from chaosproxy.faults.latency import Latency
from chaosproxy.faults.pause import Pause
from chaosproxy.faults.stall import Stall
from chaosproxy.net.sockets.dial import DialError
from chaosproxy.net.stream.connection import CLOSE_GRACE
from tests.net.stream.scene import BOTH, REFUSED, UNANSWERED, Scene
from tests.net.stream.virtual import Flavour

# ── beginning ────────────────────────────────────────────────────────────────────────────


def test_bytes_wait_for_the_dial_and_then_flow(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.accept()
        line.client.send(b"early ")
        line.client.send(b"bird")
        assert (line.server_got(), line.held) == (b"", (0, 0))
        line.dial_succeeds()
        assert line.server_got() == b"early bird"
        assert line.told() == ["opened"]
        line.server.send(b"worm")
        assert line.client_got() == b"worm"


def test_an_end_of_stream_ahead_of_the_dial_follows_its_bytes(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.accept()
        line.client.send(b"all there is")
        line.client.finish()
        assert line.told() == ["client fin"]
        line.dial_succeeds()
        assert line.server_got() == b"all there is"
        assert line.ends() == (None, "fin")
        line.server.send(b"answer")
        assert line.client_got() == b"answer"


@pytest.mark.parametrize(
    ("error", "closed"),
    [
        (REFUSED, "closed (server): upstream server:1 not reached: Connection refused"),
        (UNANSWERED, "closed (network): upstream server:1 not reached: no answer within 5 s"),
    ],
)
def test_a_dial_that_fails_resets_the_client(error: DialError, closed: str, flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.accept()
        line.client.send(b"hello?")
        scene.advance(1.5)
        line.dial_fails(error)
        assert line.told() == [f"dial failed: {error}", closed]
        assert line.ends() == ("reset", None)
        assert (line.closed.first, line.closed.lasted_s) == (None, 1.5)


def test_a_client_that_leaves_during_the_dial_cancels_it(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.accept()
        line.client.reset()
        assert line.told() == [
            "client reset",
            "closed (client): client left while its upstream was dialled",
        ]
        assert line.reached.cancelled()


def test_a_client_that_has_closed_and_is_lost_during_the_dial_closed_first(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        scene.put("frozen", Pause(), "upstream")
        line = scene.accept()
        line.client.send(b"unread")
        line.client.finish()
        assert line.told() == ["client fin, held by frozen"]
        line.client.inbox.pop()  # lost before its end-of-stream is read
        line.client.lose(errno.ETIMEDOUT)
        scene.heal()
        assert line.told() == ["client timeout", "closed (client): client left while its upstream was dialled"]
        assert (line.closed.cause, line.closed.first) == ("client", "client")


@pytest.mark.parametrize("how", ["close", "reset"])
def test_an_operator_ends_it_during_the_dial(how: str, flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.accept()
        scene.loop.settle()
        line.operator(how)
        past = {"close": "closed", "reset": "reset"}[how]
        assert line.told() == [f"closed (operator): {past} by the operator"]
        assert line.ends() == ("fin" if how == "close" else "reset", None)


def test_a_client_that_is_gone_when_it_is_attached(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.accept(attach=False)
        line.attached.set_exception(OSError(errno.ENOTCONN, "not connected"))
        assert line.told() == ["closed (client): client left while it was accepted (not connected)"]


def test_an_end_before_the_client_is_attached_stands(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.accept(attach=False)
        scene.loop.settle()
        line.operator("close")
        assert line.told() == []
        line.attached.set_result(None)
        assert line.told() == ["closed (operator): closed by the operator"]
        assert line.ends() == ("reset", None)


def test_an_operators_end_stands_if_the_client_is_gone_when_it_is_attached(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.accept(attach=False)
        scene.loop.settle()
        line.operator("close")
        line.attached.set_exception(OSError(errno.ENOTCONN, "not connected"))
        assert line.told() == ["closed (operator): closed by the operator"]


def test_a_slow_accept_dials_late(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.accept(delay=3.0)
        line.client.send(b"hello")
        line.dial_succeeds()
        scene.advance(2.9)
        assert line.told() == []
        scene.advance(0.1)
        assert line.told() == ["opened"]
        assert line.server_got() == b"hello"


def test_a_client_leaves_during_a_slow_accept(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.accept(delay=3.0)
        scene.advance(1.0)
        line.client.reset()
        assert line.told()[0] == "client reset"
        assert line.closed.client_ended_s == 1.0


@pytest.mark.parametrize("words", [[], [b"welcome"]], ids=["silent", "welcome"])
@pytest.mark.parametrize("turns", range(8))
def test_a_client_that_leaves_as_the_dial_succeeds_leaves_nothing_behind(
    turns: int, words: list[bytes], flavour: Flavour
) -> None:
    with Scene(flavour) as scene:
        line = scene.accept()
        line.server.inbox.extend(words)
        scene.loop.settle()
        line.dial_succeeds()
        scene.loop.turn(turns)
        line.client.reset()
        assert line.is_over
        assert (line.closed.cause, line.closed.first) == ("client", "client")


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("turns", range(8))
def test_an_operator_ends_it_as_the_dial_succeeds(turns: int, how: str, flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.accept()
        scene.loop.settle()
        line.dial_succeeds()
        scene.loop.turn(turns)
        line.operator(how)
        assert line.is_over
        assert line.closed.cause == "operator"


@pytest.mark.parametrize("number", [errno.ECONNRESET, errno.ETIMEDOUT])
def test_a_server_lost_before_the_dial_has_returned_ends_the_client_too(number: int, flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.accept()
        line.ready = scene.loop.create_future()
        line.dial_succeeds()
        line.server.send(b"welcome")
        assert line.client_got() == b"welcome"
        line.server.lose(number)
        assert line.is_over
        assert line.ends()[0] == "reset"
        assert line.closed.cause == ("server" if number == errno.ECONNRESET else "network")


def test_a_server_lost_before_the_dial_has_returned_may_be_held_by_a_fault(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        scene.put("dark", Stall(), "downstream")
        line = scene.accept()
        line.ready = scene.loop.create_future()
        line.dial_succeeds()
        line.server.send(b"welcome")
        line.server.reset()
        assert line.told() == ["server reset, held by dark"]
        line.ready.set_result(None)
        assert line.told() == ["opened"]
        scene.heal()
        assert line.client_got() == b"welcome"
        assert line.told() == ["closed (server): server reset"]


# ── orderly ends ─────────────────────────────────────────────────────────────────────────


def test_half_close_both_ways(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.open()
        line.client.send(b"question")
        line.client.finish()
        assert line.server_got() == b"question"
        assert line.told() == ["client fin"]
        assert line.ends() == (None, "fin")
        scene.advance(60)
        line.server.send(b"a long answer")
        assert line.client_got() == b"a long answer"
        line.server.finish()
        assert line.told() == ["server fin", "closed (client): client closed first"]
        assert line.ends() == ("fin", "fin")
        closed = line.closed
        assert (closed.first, closed.client_ended_s, closed.server_ended_s) == ("client", 0.0, 60.0)
        assert (closed.bytes_upstream, closed.bytes_downstream) == (8, 13)
        assert line.passed == ["upstream", "downstream"]


def test_the_last_bytes_reach_a_slow_reader_however_long_it_takes(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.open()
        line.client.stop_reading()
        line.server.send(b"x" * 1000)
        line.server.finish()
        assert line.told() == ["server fin"]
        line.client.finish()
        assert line.told() == ["client fin"]
        scene.advance(3600)
        assert not line.is_over
        line.client.read_on()
        assert line.client_got() == b"x" * 1000
        assert line.told() == ["closed (server): server closed first"]
        assert line.ends() == ("fin", "fin")


# ── resets and errors ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("side", ["client", "server"])
def test_a_reset_is_passed_on(side: str, flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.open()
        one, other = (line.client, line.server) if side == "client" else (line.server, line.client)
        one.send(b"last words")
        one.reset()
        assert line.told() == [f"{side} reset", f"closed ({side}): {side} reset"]
        assert (bytes(other.received), other.end) == (b"last words", "reset")


@pytest.mark.parametrize(
    ("number", "how", "cause", "detail"),
    [
        (errno.ECONNRESET, "reset", "client", "client reset"),
        (errno.EPIPE, "reset", "client", "client reset (Broken pipe)"),
        (errno.ETIMEDOUT, "timeout", "network", "connection to the client lost: Connection timed out"),
        (errno.EHOSTUNREACH, "timeout", "network", "connection to the client lost: No route to host"),
    ],
)
def test_the_error_says_how_a_socket_was_lost(number: int, how: str, cause: str, detail: str, flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.open()
        scene.advance(2.5)
        line.client.lose(number)
        assert line.told() == [f"client {how}", f"closed ({cause}): {detail}"]
        assert line.closed.first == (None if cause == "network" else "client")
        assert (line.closed.client_ended_s, line.closed.server_ended_s) == (2.5, None)
        assert line.ends()[1] == "reset"


def test_a_reset_after_the_other_sides_end_of_stream_blames_who_closed(flavour: Flavour) -> None:
    """An orderly close of AMQP against a broker that resets ends in this way."""
    with Scene(flavour) as scene:
        line = scene.open()
        line.client.finish()
        assert line.told() == ["client fin"]
        line.server.reset()
        assert line.told() == ["server reset", "closed (client): client closed first, then server reset"]
        assert line.ends()[0] == "reset"


def test_a_write_that_meets_a_reset_is_the_peers_end(flavour: Flavour) -> None:
    """A socket is not read after its end-of-stream, so only a write detects a reset that follows."""
    with Scene(flavour) as scene:
        line = scene.open()
        line.client.finish()
        assert line.told() == ["client fin"]
        line.client.reset()
        scene.advance(60)
        assert line.told() == []
        line.server.send(b"answer")
        assert line.told() == ["client reset", "closed (client): client closed first, then client reset (Broken pipe)"]
        assert line.ends()[1] == "reset"


def test_a_half_close_that_the_peer_refuses_ends_nothing_by_itself(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.open()
        line.server.finish()
        assert line.told() == ["server fin"]
        line.server.reset()
        line.client.finish()
        assert line.told()[0] == "client fin"
        assert line.is_over
        assert line.closed.first == "server"


# ── the first cause stays ────────────────────────────────────────────────────────────────


def test_the_first_to_arrive_closed_first_even_if_a_fault_lets_it_pass_last(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.open()
        scene.put("dark", Stall(), "upstream")
        scene.advance(2)
        line.client.finish()
        assert line.told() == ["client fin, held by dark"]
        scene.advance(3)
        line.server.finish()
        assert line.told() == ["server fin"]
        assert line.ends() == ("fin", None)
        scene.advance(5)
        scene.heal()
        assert line.told() == ["closed (client): client closed first"]
        closed = line.closed
        assert (closed.first, closed.client_ended_s, closed.server_ended_s, closed.lasted_s) == ("client", 2, 5, 10)


@pytest.mark.parametrize("directions", [("upstream",), BOTH], ids=len)
def test_the_end_of_a_socket_that_is_not_read_is_published_at_once(
    directions: tuple[Direction, ...], flavour: Flavour
) -> None:
    with Scene(flavour) as scene:
        line = scene.open()
        scene.put("frozen", Pause(), *directions)
        line.client.send(b"anybody?")
        line.client.finish()
        assert line.told() == ["client fin, held by frozen"]
        assert line.server_got() == b""
        scene.advance(9)
        scene.heal()
        assert line.server_got() == b"anybody?"
        assert line.told() == []
        assert line.ends() == (None, "fin")


def test_an_operators_close_is_not_overwritten_by_ends_that_pass_later(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.open()
        scene.put("slow", Latency(delay=1.0), "upstream")
        line.client.stop_reading()
        line.server.send(b"x" * 100)
        line.server.finish()
        assert line.told() == ["server fin"]
        line.client.finish()
        assert line.told() == ["client fin, held by slow"]
        scene.advance(0.5)
        line.operator("close")
        scene.advance(CLOSE_GRACE)
        assert line.told() == ["closed (operator): closed by the operator"]


def test_a_reset_that_passes_a_fault_during_a_close_does_not_cut_it_short(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.open()
        scene.put("slow", Latency(delay=1.0), "upstream")
        line.server.stop_reading()
        line.client.send(b"wanted")
        scene.advance(1.0)
        line.client.reset()
        assert line.told() == ["client reset, held by slow"]
        scene.advance(0.5)
        line.operator("close")
        scene.advance(1.0)
        line.server.read_on()
        assert line.server_got() == b"wanted"
        assert line.told() == ["closed (operator): closed by the operator"]
        assert line.ends()[1] == "fin"


# ── the grace of a close ─────────────────────────────────────────────────────────────────


def test_a_close_lets_what_is_written_go_out(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.open()
        line.client.stop_reading()
        line.server.send(b"x" * 1000)
        scene.loop.settle()
        line.operator("close")
        scene.advance(CLOSE_GRACE - 0.1)
        assert line.ends() == (None, "fin")
        line.client.read_on()
        assert line.client_got() == b"x" * 1000
        assert line.ends() == ("fin", "fin")
        assert line.told() == ["closed (operator): closed by the operator"]


def test_a_close_aborts_when_its_grace_is_over(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.open()
        line.client.stop_reading(10)
        line.server.send(b"x" * 1000)
        scene.loop.settle()
        line.operator("close")
        scene.advance(CLOSE_GRACE - 0.1)
        assert not line.is_over
        scene.advance(0.1)
        assert line.told() == ["closed (operator): closed by the operator"]
        assert line.client_got() == b"x" * 10


def test_a_close_drops_what_faults_hold(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.open()
        scene.put("dark", Stall())
        line.client.send(b"held")
        assert line.held == (4, 0)
        line.operator("close")
        assert line.told() == ["closed (operator): closed by the operator"]
        assert line.server_got() == b""


def test_a_reset_during_a_close_ends_it_at_once(flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.open()
        line.client.stop_reading()
        line.server.send(b"x" * 1000)
        scene.loop.settle()
        line.operator("close")
        assert not line.is_over
        line.operator("reset")
        assert line.told() == ["closed (operator): closed by the operator"]
        assert line.ends()[0] == "reset"


@pytest.mark.parametrize("how", ["close", "reset"])
def test_ends_that_come_after_an_operators_are_nobodys(how: str, flavour: Flavour) -> None:
    with Scene(flavour) as scene:
        line = scene.open()
        line.client.finish()
        line.operator(how)
        line.server.reset()
        assert [one for one in line.told() if not one.startswith("closed (operator)")] == []
        assert (line.closed.first, line.closed.client_ended_s, line.closed.server_ended_s) == (None, None, None)
