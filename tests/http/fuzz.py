"""Broken messages without end: the corpus and legal conversations, mutated, cut and interleaved at will.

    python -m tests.http.fuzz --seconds 60 --seed 1 [--lines]

Laws: nothing is raised; what comes out is what went in; each exchange is counted once; and
how bytes are cut, and whether faults look at them, changes nothing about what is framed.
A finding is printed as the inputs that show it, and belongs into the corpus.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from chaosproxy.http.states import Requesting
from tests.http.corpus import CORPUS, LEGAL_ANSWER, LEGAL_REQUEST
from tests.http.driving import HOWS, Driven, Event, cut, singly
from tests.http.talk import make_talks

TOKENS = (
    b"\r\n", b"\r", b"\n", b"\r\n\r\n", b"\n\n", b"\n\r\n", b" ", b"\t", b"\x00", b"\x0b", b":", b",", b";", b"0",
    b"0\r\n\r\n", b"Content-Length: 3\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: x\r\n",
    b"HTTP/1.0", b"HTTP/1.1", b"HTTP/0.9", b"HTTP/2.0", b"HEAD ", b"CONNECT h:1 ", b"GET ", b"3\r\nabc\r\n",
    b"ffffffff",
    b"Connection: upgrade\r\nUpgrade: x\r\n", b"Connection: close\r\n", b"Expect: 100-continue\r\n", b" 100 ", b" 101 ",
    b" 204 ", b" 304 ", b"\xff", LEGAL_REQUEST, LEGAL_ANSWER, b"0000000000000000", b"X: a\r\n", b"\x7f", b"a" * 5000,
)  # fmt: skip


def mutated(dice: random.Random, data: bytes) -> bytes:
    """The bytes with a few changes, or none."""
    for _ in range(dice.choice((0, 1, 1, 2, 4))):
        place = dice.randint(0, len(data))
        end = min(len(data), place + dice.choice((1, 1, 2, 8, 60)))
        match dice.randrange(6):
            case 0:
                data = data[:place] + dice.choice(TOKENS) + data[place:]
            case 1:
                data = data[:place] + data[end:]
            case 2:
                data = data[:place] + data[place:end] * 2 + data[end:]
            case 3:
                data = data[:place] + dice.randbytes(1) + data[place + 1 :]
            case 4:
                data = data[:place] + dice.choice(TOKENS) + data[end:]
            case _:
                data = data[:place]
    return data


def make_inputs(dice: random.Random) -> tuple[bytes, bytes]:
    """What the client sends, and the server."""
    if dice.random() < 0.5:
        shape = dice.choice(SHAPES)
        client, server = shape.client, shape.server
    else:
        talks = make_talks(dice, 3)
        client = b"".join(one.request.data for one in talks)
        server = b"".join(one.answer for one in talks)
    client, server = mutated(dice, client), mutated(dice, server)
    return (server, client) if dice.random() < 0.01 else (client, server)


SHAPES = [shape for shape in CORPUS if len(shape.client) + len(shape.server) < 4000]


def pieces(dice: random.Random, data: bytes) -> list[bytes]:
    match dice.randrange(4):
        case 0:
            return [data] if data else []
        case 1 if len(data) < 500:
            return singly(data)
        case _:
            return cut(data, [dice.randint(0, len(data)) for _ in range(dice.randint(1, 6))])


def interleaved(dice: random.Random, client: Sequence[bytes], server: Sequence[bytes]) -> list[Event]:
    events: list[Event] = []
    rows: list[tuple[Any, list[bytes]]] = [("client", [*client]), ("server", [*server])]
    while rows[0][1] or rows[1][1]:
        side, row = dice.choice([one for one in rows if one[1]])
        events.append((side, row.pop(0)))
    return events


def check(dice: random.Random, client: bytes, server: bytes) -> str | None:
    """What is wrong with how this conversation passes; None where nothing is."""
    limit = dice.choice((64 * 1024, 64 * 1024, 200))
    events = interleaved(dice, pieces(dice, client), pieces(dice, server))
    driven = Driven(how=dice.choice(HOWS), head_limit=limit)
    switches = dice.random() < 0.5
    for event in events:
        if switches and dice.random() < 0.3:
            driven.switch(dice.choice(HOWS))
        driven.play([event])
    driven.play([("client", None), ("server", None)])
    if (complaint := _complaint(driven, client, server)) is not None:
        return f"{complaint}: {events!r}"
    whole: list[Event] = [("client", client), ("server", server)]
    first = Driven(how="glance", head_limit=limit).play(whole)
    facts = _facts(first)
    ordered: list[Event] = [("client", piece) for piece in pieces(dice, client)]
    ordered += [("server", piece) for piece in pieces(dice, server)]
    others = (Driven(how=dice.choice(HOWS), head_limit=limit), ordered), (Driven(how="glance", after=first), whole)
    for other, events in others:
        if (found := _facts(other.play(events))) != facts:
            return f"in one piece, at a glance: {facts}; {other.client.how}: {found}, in {events!r}"
    return None


def _complaint(driven: Driven, client: bytes, server: bytes) -> str | None:
    if driven.client.out != client:
        return "the client's bytes are not those that come out"
    if driven.server.out != server:
        return "the server's bytes are not those that come out"
    if driven.client.is_closed or driven.server.is_closed:
        return "closed"
    driven.conversation.close()
    if sum(driven.statuses) != driven.conversation.count:
        return f"{driven.conversation.count} exchanges, counted {driven.statuses}"
    return None


def _facts(driven: Driven) -> dict[str, object]:
    """What must not depend on how the bytes are cut, on who looks at them, and on what came before."""
    conversation = driven.conversation
    return {
        "framed": conversation.is_framed,
        "count": conversation.count,
        "outstanding": conversation.outstanding,
        "statuses": driven.statuses,
        "upgrading": conversation.states.requests is Requesting.UPGRADING,
    }


def fuzz(seed: int, until: Callable[[int], bool]) -> tuple[int, list[str]]:
    """How many inputs there were, and what was found."""
    dice = random.Random(seed)
    findings: list[str] = []
    count = 0
    while not until(count) and len(findings) < 20:
        count += 1
        client, server = make_inputs(dice)
        try:
            found = check(dice, client, server)
        except Exception as error:
            found = f"{error!r} for {client!r} and {server!r}"
        if found is not None:
            findings.append(found)
    return count, findings


class Lines:
    """Which lines of chaosproxy.http have run."""

    def __init__(self) -> None:
        self.seen: dict[str, set[int]] = {}

    def __call__(self, frame: FrameType, event: str, argument: object) -> object:
        name = frame.f_code.co_filename
        return self._line if "/chaosproxy/http/" in name else None

    def _line(self, frame: FrameType, event: str, argument: object) -> object:
        self.seen.setdefault(frame.f_code.co_filename, set()).add(frame.f_lineno)
        return self._line

    def report(self) -> Iterable[str]:
        for name in ("conversation", "exchange", "framing", "glance", "head", "parse", "stage", "context", "states"):
            path = next((one for one in self.seen if one.endswith(f"/http/{name}.py")), None)
            if path is not None:
                lines = _lines_of_functions(Path(path))
                missed = sorted(lines - self.seen[path])
                yield f"{name}: {len(lines) - len(missed)} of {len(lines)} lines in functions; not {missed}"


def _lines_of_functions(path: Path) -> set[int]:
    def inside(code: Any) -> set[int]:
        lines = {line for _, _, line in code.co_lines() if line and line != code.co_firstlineno}
        return lines.union(*(inside(one) for one in code.co_consts if hasattr(one, "co_lines")))

    whole = compile(path.read_text(), str(path), "exec")
    top = [one for one in whole.co_consts if hasattr(one, "co_lines")]
    bodies = [one for code in top for one in (code, *code.co_consts) if hasattr(one, "co_lines")]
    return set().union(*(inside(code) for code in bodies if code.co_flags & 0x02))  # 0x02: a function


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lines", action="store_true", help="tell which lines of chaosproxy.http have run; slow")
    options = parser.parse_args()
    lines = Lines()
    if options.lines:
        sys.settrace(lines)
    started = time.monotonic()
    count, findings = fuzz(options.seed, lambda count: time.monotonic() - started > options.seconds)
    sys.settrace(None)
    seconds = time.monotonic() - started
    sys.stdout.write(
        f"{count} inputs in {seconds:.0f} s ({count / seconds:.0f} per second), {len(findings)} findings\n"
    )
    for line in (*findings, *lines.report()):
        sys.stdout.write(line[:3000] + "\n")
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
