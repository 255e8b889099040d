"""The law of the reader: any input is a Config, or located errors; never another exception, never slow."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaosproxy.config import ConfigError, load
from chaosproxy.config.yaml_tree import MOST_BYTES
from tests.cpu import cpu_time

VALID = b"""\
version: 1
seed: 42
control: {listen: "127.0.0.1:8474", token: "${TOKEN:-}"}
policy:
  upstreams: ["127.0.0.0/8", &glob "*.internal"]
proxies:
  db: &db
    listen: 127.0.0.1:15432
    upstream: 127.0.0.1:5432
    faults:
      slow: {type: latency, direction: both, delay: 100ms, wave: {amplitude: 50ms, period: 10s}}
      lossy: {type: packet_loss, rate: 5%, probability: 0.5, ttl: 1m}
  unix: {listen: "unix:/tmp/a.sock", upstream: "[::1]:80"}
"""
ENVIRONMENT = {"A": "1", "EMPTY": "", "TOKEN": "t"}
PIECES = [
    b"*",
    b"&a ",
    b"!!python/x ",
    b"[",
    b"]",
    b"{",
    b"}",
    b": ",
    b"- ",
    b"\n",
    b"\t",
    b"'",
    b'"',
    b"|\n",
    b"---\n",
]
PIECES += [
    b"${A}",
    b"${",
    b"$$",
    b"*db",
    b"*glob",
    b"<<: ",
    b"\x00",
    b"\xff",
    b"\xef\xbb\xbf",
    b"1e999",
    b".nan",
    b"? ",
]
PIECES += [b"9" * 500, b"version", b"null", b"%YAML 1.1\n", b"...\n", b"\xe2\x80\xa8", b"\r", b"-1", b"0x", b"@", b"`"]

LOCATED = re.compile(r"f\.yaml:(\d+):(\d+): \S.*")


def judged(text: bytes) -> list[str]:
    """The errors, if there are any; every one of them located, in order, and in one line."""
    try:
        load(text, "f.yaml", ENVIRONMENT)
    except ConfigError as error:
        lines = str(error).split("\n")
        places = []
        for line in lines:
            match = LOCATED.fullmatch(line)
            assert match, f"not located: {line!r}"
            places.append((int(match[1]), int(match[2])))
            assert len(line) < 2000
        assert places == sorted(places)
        assert all(line >= 1 and column >= 1 for line, column in places)
        return lines
    return []


def test_the_valid_file_is_valid() -> None:
    assert judged(VALID) == []


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    judged(text.encode(errors="surrogatepass"))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(text: bytes) -> None:
    judged(text)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([*PIECES, b"a", b" ", b"  "]), max_size=30).map(b"".join))
def test_anything_made_of_the_signs_of_yaml(text: bytes) -> None:
    judged(text)


@settings(max_examples=500, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, len(VALID)), st.integers(0, 12), st.sampled_from([*PIECES, b""]) | st.binary(max_size=4)
        ),
        min_size=1,
        max_size=4,
    )
)
def test_a_valid_file_with_mistakes(edits: list[tuple[int, int, bytes]]) -> None:
    text = VALID
    for at, cut, piece in edits:
        text = text[:at] + piece + text[at + cut :]
    judged(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.sampled_from(["latency", "1s"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "listen", "delay", "faults", "burst", "rate", "x"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["seed", "control", "policy", "proxies", "proxy", "faults", "fault"]), JSON)
def test_any_value_in_any_place(place: str, value: object) -> None:
    """JSON is YAML, nearly: whatever stands where a proxy or a fault is due."""
    import json

    data: dict[str, object] = {"version": 1, place: value}
    proxy: dict[str, object] = {"listen": "a:1", "upstream": "b:1"}
    if place in ("proxy", "faults", "fault"):
        proxy = {"faults": value} | proxy if place == "faults" else {"faults": {"f": value}} | proxy
        data = {"version": 1, "proxies": {"p": value if place == "proxy" else proxy}}
    judged(json.dumps(data).encode())


BOMBS = {
    "aliases": b"a: &a [x,x,x,x,x,x,x,x,x,x]\n"
    + b"".join(b"%c: &%c [%s]\n" % (98 + i, 98 + i, b",".join([b"*%c" % (97 + i)] * 10)) for i in range(20)),
    "brackets": b"[" * MOST_BYTES,
    "braces": b"{" * MOST_BYTES,
    "dashes": b"- " * (MOST_BYTES // 2),
    "questions": b"? " * (MOST_BYTES // 2),
    "items": b"[" + b"1," * (MOST_BYTES // 2 - 2) + b"]",
    "unknown keys": b"version: 1\n" + b"".join(b"upstreem%d: 1\n" % i for i in range(45_000)),
    "duplicate keys": b"version: 1\n" * 45_000,
    "one address for all": b"version: 1\nproxies:\n"
    + b"".join(b' p%d: {listen: "a:1", upstream: "a:1"}\n' % i for i in range(10_000)),
    "long key": b"version: 1\n? " + b"x" * 1_000_000 + b"\n: 1\n",
    "long value": b"version: 1\nproxies: {p: {upstream: 'a:1', listen: " + b"1:" * 400_000 + b"1}}",
    "long number": b"version: " + b"1" * 1_000_000,
    "long tag": b"version: !" + b"x" * 1_000_000 + b" 1",
    "references": b"version: '" + b"${A:-" * 200_000 + b"'",
    "open quote": b'version: "' + b"\\n" * 500_000,
    "newlines": b"\n" * MOST_BYTES,
    "too large": b" " * (MOST_BYTES + 1),
    "patterns": b"version: 1\npolicy: {upstreams: ['" + b"a:" * 500_000 + b"']}",
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_a_file_made_to_hurt_is_refused_quickly(bomb: bytes) -> None:
    with cpu_time() as used:
        assert judged(bomb)
    assert used.seconds < 2.0  # measured: 0.9 s at most; hours without the bounds
