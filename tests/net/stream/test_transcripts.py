"""Conversations of well-known protocols, as their bytes pass: the shape and the turns that are seen in each.

The bytes are those of the protocols' own documents: RFC 9112 (HTTP/1.1), 9113 (HTTP/2), 6455 (WebSocket), 8446 (TLS),
5321 (SMTP), 4253 (SSH); PostgreSQL's and MySQL's message formats; RESP; MQTT 3.1.1; AMQP 0-9-1; RFC 5424 (syslog).
Only the directions and times matter for turns, which is the point: it works on any protocol.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest

from chaosproxy.events import Event
from chaosproxy.net.stream.turn_counts import FailedTurns, ProxyTurns
from chaosproxy.net.stream.turns import Turns


@dataclass(frozen=True)
class Transcript:
    name: str
    steps: str
    """One step per line: seconds since accept, C or S, and what is said."""
    shape: str
    turns: int
    answered: int
    is_open: bool = False
    """True if a turn is open at the end, a second after the last step."""


TRANSCRIPTS = [
    Transcript("HTTP/1.1 keep-alive", """
        0.01 C GET / HTTP/1.1 Host: a
        0.02 S HTTP/1.1 200 OK Content-Length: 5 hello
        5.00 C GET /big HTTP/1.1 Host: a
        5.20 S HTTP/1.1 200 OK Transfer-Encoding: chunked
        5.30 S 5 hello
        5.31 S 0
        """, "turns", 2, 2),
    Transcript("HTTP/1.1 with Expect: 100-continue", """
        0.01 C POST / HTTP/1.1 Expect: 100-continue Content-Length: 5
        0.02 S HTTP/1.1 100 Continue
        0.03 C hello
        0.20 S HTTP/1.1 201 Created
        """, "turns", 2, 2),
    Transcript("HTTP/1.1 long poll that waits", """
        0.01 C GET /news HTTP/1.1
        25.0 S HTTP/1.1 204 No Content
        25.1 C GET /news HTTP/1.1
        """, "turns", 2, 1, True),
    Transcript("Server-Sent Events", """
        0.01 C GET /events HTTP/1.1
        0.02 S HTTP/1.1 200 OK Content-Type: text/event-stream
        4.00 S data: one
        9.00 S data: two
        """, "push", 1, 1),
    Transcript("WebSocket echo", """
        0.01 C GET /ws HTTP/1.1 Upgrade: websocket
        0.02 S HTTP/1.1 101 Switching Protocols
        1.00 C 81 85 masked hello
        1.01 S 81 05 hello
        """, "turns", 2, 2),
    Transcript("WebSocket with news", """
        0.01 C GET /ws HTTP/1.1 Upgrade: websocket
        0.02 S HTTP/1.1 101 Switching Protocols
        4.00 S 81 04 news
        """, "push", 1, 1),
    Transcript("HTTP/2, several streams at once", """
        0.01 C PRI * HTTP/2.0 SM SETTINGS HEADERS 1
        0.02 S SETTINGS HEADERS 1 DATA 1
        1.00 C HEADERS 3
        1.15 C HEADERS 5
        1.30 S HEADERS 5 DATA 5
        1.60 S HEADERS 3 DATA 3
        """, "pipelined", 2, 2),
    Transcript("TLS 1.3 passed through", """
        0.00 C 16 03 01 ClientHello
        0.02 S 16 03 03 ServerHello
        0.03 C 14 03 03 Finished
        0.04 S 17 03 03 NewSessionTicket
        1.00 C 17 03 03 request
        1.01 S 17 03 03 response
        """, "turns", 3, 3),
    Transcript("PostgreSQL, simple query", """
        0.00 C startup user postgres
        0.01 S R S S K Z
        0.02 C Q SELECT 1
        0.03 S T D C Z
        9.00 C X
        """, "turns", 3, 2, True),
    Transcript("PostgreSQL, extended query", """
        0.00 C startup user postgres
        0.01 S R S S K Z
        0.02 C P parse
        0.02 C B bind D describe E execute S sync
        0.05 S 1 2 T
        0.06 S D D D C Z
        """, "turns", 2, 2),
    Transcript("PostgreSQL, COPY FROM STDIN", """
        0.00 C startup user postgres
        0.01 S R S S K Z
        0.02 C Q COPY t FROM STDIN
        0.03 S G
        0.04 C d row
        0.06 C d row
        0.08 C d row
        0.09 C c
        0.50 S C Z
        """, "turns", 3, 3),
    Transcript("PostgreSQL, COPY FROM STDIN of a slow source", """
        0.00 C startup user postgres
        0.01 S R S S K Z
        0.02 C Q COPY t FROM STDIN
        0.03 S G
        0.04 C d row
        0.54 C d row
        1.04 C d row
        1.05 C c
        1.50 S C Z
        """, "pipelined", 3, 3),
    Transcript("PostgreSQL, COPY TO STDOUT", """
        0.00 C startup user postgres
        0.01 S R S S K Z
        0.02 C Q COPY t TO STDOUT
        0.03 S H d d
        0.80 S d d d
        1.60 S d d d
        2.40 S d d d
        3.20 S c C Z
        """, "turns", 2, 2),
    Transcript("PostgreSQL, LISTEN", """
        0.00 C startup user postgres
        0.01 S R S S K Z
        0.02 C Q LISTEN news
        0.03 S C Z
        4.00 S A news
        8.00 S A news
        """, "push", 2, 2),
    Transcript("MySQL", """
        0.01 S 0a 8.0.36 greeting
        0.02 C login
        0.03 S OK
        0.04 C 03 SELECT 1
        0.05 S columns rows EOF
        """, "server-first", 2, 2),
    Transcript("Redis, one command after the other", """
        0.00 C *2 GET a
        0.01 S $1 1
        0.02 C *2 GET b
        0.03 S $-1
        """, "turns", 2, 2),
    Transcript("Redis, a pipeline", """
        0.000 C *2 GET a *2 GET b
        0.001 C *2 GET c
        0.010 S $1 1 $1 2
        0.011 S $1 3
        """, "turns", 1, 1),
    Transcript("Redis, MULTI", """
        0.00 C *1 MULTI
        0.01 S +OK
        0.02 C *3 SET a 1
        0.03 S +QUEUED
        0.04 C *1 EXEC
        0.05 S *1 +OK
        """, "turns", 3, 3),
    Transcript("Redis, SUBSCRIBE", """
        0.00 C *2 SUBSCRIBE news
        0.01 S *3 subscribe news 1
        6.00 S *3 message news hello
        """, "push", 1, 1),
    Transcript("Redis, MONITOR", """
        0.00 C *1 MONITOR
        0.01 S +OK
        3.50 S +1339518083.107412 GET a
        9.50 S +1339518089.107412 GET b
        """, "push", 1, 1),
    Transcript("SMTP", """
        0.01 S 220 mail ESMTP
        0.02 C EHLO client
        0.03 S 250 mail
        0.04 C MAIL FROM:<a@b>
        0.05 S 250 OK
        0.06 C DATA
        0.07 S 354 Go ahead
        0.08 C Subject: hello
        0.09 C .
        2.00 S 250 queued
        """, "server-first", 4, 4),
    Transcript("SSH, the server speaks first", """
        0.01 S SSH-2.0-OpenSSH_9.2
        0.02 C SSH-2.0-OpenSSH_9.6
        0.03 S KEXINIT
        0.04 C KEXINIT KEX_ECDH_INIT
        0.05 S KEX_ECDH_REPLY NEWKEYS
        """, "server-first", 2, 2),
    Transcript("SSH, the client speaks first", """
        0.00 C SSH-2.0-OpenSSH_9.6
        0.01 S SSH-2.0-OpenSSH_9.2 KEXINIT
        0.02 C KEXINIT KEX_ECDH_INIT
        0.03 S KEX_ECDH_REPLY NEWKEYS
        """, "turns", 2, 2),
    Transcript("MQTT, publishing with confirmation", """
        0.00 C 10 CONNECT
        0.01 S 20 CONNACK
        1.00 C 32 PUBLISH 1
        1.01 S 40 PUBACK 1
        9.00 C c0 PINGREQ
        9.01 S d0 PINGRESP
        """, "turns", 3, 3),
    Transcript("MQTT, publishing without confirmation", """
        0.00 C 10 CONNECT
        0.01 S 20 CONNACK
        1.00 C 30 PUBLISH
        1.50 C 30 PUBLISH
        2.00 C 30 PUBLISH
        """, "pipelined", 2, 1, True),
    Transcript("MQTT, subscribed", """
        0.00 C 10 CONNECT
        0.01 S 20 CONNACK
        0.02 C 82 SUBSCRIBE
        0.03 S 90 SUBACK
        5.00 S 30 PUBLISH
        """, "push", 2, 2),
    Transcript("AMQP, consuming", """
        0.00 C AMQP 0 0 9 1
        0.01 S connection.start
        0.02 C connection.start-ok
        0.03 S connection.tune
        0.04 C connection.tune-ok connection.open
        0.05 S connection.open-ok
        0.06 C channel.open
        0.07 S channel.open-ok
        0.08 C basic.consume
        0.09 S basic.consume-ok
        4.00 S basic.deliver
        4.01 C basic.ack
        """, "push", 6, 5, True),
    Transcript("AMQP, publishing without confirmation", """
        0.00 C AMQP 0 0 9 1
        0.01 S connection.start
        0.02 C basic.publish
        0.50 C basic.publish
        """, "pipelined", 2, 1, True),
    Transcript("syslog, one way", """
        0.00 C <34>1 2026-01-31T12:00:00Z a one
        0.70 C <34>1 2026-01-31T12:00:01Z a two
        9.00 C <34>1 2026-01-31T12:00:09Z a three
        """, "one-way", 1, 0, True),
    Transcript("an upload that is answered at its end", """
        0.00 C block
        0.02 C block
        0.04 C block
        0.90 S stored
        """, "turns", 1, 1),
    Transcript("a connection on which no word is said", "", "", 0, 0),
]  # fmt: skip


@pytest.mark.parametrize("told", TRANSCRIPTS, ids=lambda told: told.name)
def test_the_shape_and_the_turns_of_a_conversation(told: Transcript) -> None:
    events: list[Event] = []
    proxy = ProxyTurns("proxy", events.append, FailedTurns(b"key"))
    turns = Turns(proxy, 1, "10.0.0.7:99", 0.0)
    turns.is_connected = True
    now, downstream = 0.0, 0
    steps = [line.split(maxsplit=2) for line in told.steps.strip().splitlines()]
    for seconds, side, said in [*steps, [str(float(steps[-1][0] if steps else 0.0) + 1.0), "", ""]]:
        at = float(seconds)
        for second in range(math.floor(now) + 1, math.floor(at) + 1):
            turns.look(float(second), downstream)
        now = at
        if side == "C":
            turns.sent(at, said.encode())
        elif side == "S":
            turns.answer(at)
            downstream += len(said)
    answered = sum(one.number for one in proxy.take(now).answers.values())
    assert (turns.shape, turns.number, answered, turns.is_open) == (told.shape, told.turns, told.answered, told.is_open)
    assert events == [], "no one has ended"
