"""Legal conversations made from dice: each message says the number of its exchange, and knows what is in it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from tests.http.driving import Event

_NAMES = ("X-Odd", "x-odd", "X-ODD", "Accept", "!#$%&'*+.^_`|~09", "Cookie", "Via", "x", "Content-Lengthy", "Trailer")
_VALUES = (b"", b"a", b"a b\tc", b"\xe4\xff", b'"q,\\"', b"chunked", b"x" * 300, b"HTTP/1.1 200 OK", b":::", b", ,")
_SPACES = (b"", b" ", b"\t", b"  \t ", b" ")
_TARGETS = ("/", "/a/b?c=d&e", "http://h:8/p?q", "/%00", "/\"<>{}|`'", "/;a", "//", "/a=HTTP/1.1")
_BODIES = (
    b"", b"x", b"hello", b"\r\n", b"0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x00\xff" * 40, b"\n0000000000000000"
)  # fmt: skip
_EXTENSIONS = (b"", b"", b";a", b";a=b", b';a="b;c"', b";a;b=c")
_REASONS = (b" OK", b" ", b"", b" \xe4 b\t", b" HTTP/1.1 500 Not")


@dataclass
class Message:
    """One message as sent, and what it means."""

    data: bytes
    head: bytes
    body: bytes = b""
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)


@dataclass
class Talk:
    """One exchange."""

    number: int
    method: str
    target: str
    version: str
    request: Message
    interims: list[Message]
    response: Message
    status: int
    keeps_alive: bool
    blocks: bool
    """Nothing may follow the request before it is answered."""
    until_close: bool

    @property
    def answer(self) -> bytes:
        return b"".join(one.data for one in (*self.interims, self.response))


def make_talks(dice: random.Random, most: int = 5) -> list[Talk]:
    """The exchanges of one connection, in order."""
    count = dice.randint(1, most)
    return [_talk(dice, number, number == count) for number in range(1, count + 1)]


def _talk(dice: random.Random, number: int, is_last: bool) -> Talk:
    method = dice.choice(("GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT"))
    version = "1.0" if dice.random() < 0.15 else "1.1"
    target = "h:443" if method == "CONNECT" else dice.choice(_TARGETS)
    asks_upgrade = method == "GET" and dice.random() < 0.1
    fields: list[bytes] = [b"Host: h", b"X-Number: %d" % number]
    keeps_alive = version == "1.1"
    if asks_upgrade:
        fields += [b"Connection: keep-alive, Upgrade", b"Upgrade: h2c"]
    elif dice.random() < 0.2:
        option = dice.choice((b"close", b"keep-alive", b"Keep-Alive", b"CLOSE"))
        keeps_alive = option.lower() == b"keep-alive"
        fields.append(b"connection:" + option)
    fields += _odd_fields(dice)
    body = b"" if method in ("CONNECT", "HEAD") or asks_upgrade else dice.choice(_BODIES)
    lead = b"\r\n" * (dice.random() < 0.1)
    request = _message(dice, lead + f"{method} {target} HTTP/{version}".encode(), fields, body, version, bool(body))
    status = dice.choice((200, 200, 201, 204, 304, 404, 500, 503))
    if method == "CONNECT":
        status = dice.choice((403, 502))
    interims = []
    if version == "1.1":
        for _ in range(dice.choice((0, 0, 0, 1, 2))):
            code = dice.choice((b"100", b"103"))
            interims.append(_message(dice, b"HTTP/1.1 " + code + b" Go", _odd_fields(dice), b"", "1.1", False))
    fields = [b"X-Number: %d" % number, *_odd_fields(dice)]
    line = f"HTTP/{version} {status}".encode() + dice.choice(_REASONS)
    until_close = False
    if status in (204, 304):
        if status == 304 and dice.random() < 0.3:
            fields.append(b"Content-Length: 7")
        response = _message(dice, line, fields, b"", version, False)
    elif method == "HEAD":
        coding = b"Transfer-Encoding: chunked" if version == "1.1" else b"X: y"
        fields.append(dice.choice((b"Content-Length: 7", coding)))
        response = _message(dice, line, fields, b"", version, False)
    elif is_last and dice.random() < 0.2:
        until_close = True
        body = dice.choice(_BODIES)
        response = _message(dice, line, fields, b"", version, False)
        response.data, response.body = response.data + body, body
    else:
        response = _message(dice, line, fields, dice.choice(_BODIES), version, True)
    return Talk(
        number, method, target, version, request, interims, response, status, keeps_alive,
        method == "CONNECT" or asks_upgrade, until_close,
    )  # fmt: skip


def _odd_fields(dice: random.Random) -> list[bytes]:
    fields = []
    for _ in range(dice.choice((0, 0, 1, 2, 4))):
        space = dice.choice(_SPACES), dice.choice(_SPACES)
        fields.append(dice.choice(_NAMES).encode() + b":" + space[0] + dice.choice(_VALUES) + space[1])
    return fields


def _message(dice: random.Random, line: bytes, fields: list[bytes], body: bytes, version: str, framed: bool) -> Message:
    fields = list(fields)
    chunked = framed and version == "1.1" and dice.random() < 0.5
    if chunked:
        fields.append(dice.choice((b"Transfer-Encoding: chunked", b"transfer-encoding:\tCHUNKED ")))
    elif framed:
        fields.append(dice.choice((b"Content-Length: %d", b"CONTENT-length:%d\t", b"Content-Length: 00%d")) % len(body))
    dice.shuffle(fields)
    head = line + b"\r\n" + b"".join(one + b"\r\n" for one in fields) + b"\r\n"
    pairs = [(name.lower(), value.strip(b" \t")) for name, _, value in (one.partition(b":") for one in fields)]
    return Message(head + (_chunks(dice, body) if chunked else body if framed else b""), head, body, pairs)


def _chunks(dice: random.Random, body: bytes) -> bytes:
    data, place = b"", 0
    while place < len(body):
        size = dice.randint(1, len(body) - place)
        form = dice.choice(("%x", "%X", "0%x", "000%x"))
        data += (form % size).encode() + dice.choice(_EXTENSIONS) + b"\r\n" + body[place : place + size] + b"\r\n"
        place += size
    trailers = b"".join(one + b"\r\n" for one in _odd_fields(dice)) if dice.random() < 0.3 else b""
    return data + dice.choice((b"0", b"000", b"0;last")) + b"\r\n" + trailers + b"\r\n"


def make_events(dice: random.Random, talks: list[Talk]) -> list[Event]:
    """The talks in pieces, both directions interleaved in some way in which they may be."""
    client = b"".join(one.request.data for one in talks)
    server = b"".join(one.answer for one in talks)
    heads, ends, answered = [], [], []
    """Where, in its stream, each request's head is whole, each request is, and each answer."""
    sent = given = 0
    for one in talks:
        heads.append(sent + len(one.request.head))
        sent += len(one.request.data)
        given += len(one.answer)
        ends.append(sent)
        answered.append(given)
    asked = got = 0
    events: list[Event] = []
    longest = dice.choice((1, 3, 30, 300, 10_000))
    while asked < len(client) or got < len(server):
        may_ask = len(client)
        for place, one in enumerate(talks):
            if one.blocks and got < answered[place]:
                may_ask = ends[place]
                break
        may_get = 0
        for place in range(len(talks)):
            if asked >= heads[place]:
                may_get = answered[place]
        if asked < may_ask and (got >= may_get or dice.random() < 0.5):
            end = min(may_ask, asked + dice.randint(1, longest))
            events.append(("client", client[asked:end]))
            asked = end
        else:
            end = min(may_get, got + dice.randint(1, longest))
            events.append(("server", server[got:end]))
            got = end
    if talks[-1].until_close:
        events.append(("server", None))
    return events
