"""Messages that two parties may read differently, and bytes that are no messages: a table.

From the published lists of request smuggling and response splitting (RFC 9112 §11), and from
what the fuzzer found. `framed` is what is expected: a shape that a strict reader would refuse
must not be framed. Whatever is expected, the bytes come out as they went in.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CORPUS", "LEGAL_ANSWER", "LEGAL_REQUEST", "Shape"]

LEGAL_REQUEST = b"GET /next HTTP/1.1\r\nHost: h\r\n\r\n"
LEGAL_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_ABC = b"3\r\nabc\r\n0\r\n\r\n"


@dataclass(frozen=True)
class Shape:
    """What one side sends, or both."""

    name: str
    client: bytes
    server: bytes
    framed: bool
    in_body: bool
    """The offence is in a body, behind a head that is well formed."""


CORPUS: list[Shape] = []


def _add(name: str, framed: bool, client: bytes, server: bytes = b"", in_body: bool = False) -> None:
    CORPUS.append(Shape(name, client, server, framed, in_body))


def _post(name: str, framed: bool, *lines: bytes, body: bytes = b"abc", version: bytes = b"1.1") -> None:
    head = b"POST / HTTP/" + version + b"\r\nHost: h\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    _add(name, framed, head + body + LEGAL_REQUEST)


def _line(name: str, framed: bool, line: bytes) -> None:
    _add(name, framed, line + b"\r\nHost: h\r\n\r\n" + LEGAL_REQUEST)


def _chunked(name: str, framed: bool, body: bytes) -> None:
    head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    _add(name, framed, head + body + LEGAL_REQUEST, in_body=True)


def _answer(name: str, framed: bool, server: bytes, request: bytes = LEGAL_REQUEST, in_body: bool = False) -> None:
    _add(name, framed, request, server, in_body)


# ── two lengths ───────────────────────────────────────────────────────────────────────
_post("CL.TE", False, b"Content-Length: 6", b"Transfer-Encoding: chunked", body=b"0\r\n\r\nG")
_post("TE.CL", False, b"Transfer-Encoding: chunked", b"Content-Length: 3", body=b"8\r\nSMUGGLED\r\n0\r\n\r\n")
_post("CL.0", True, b"Content-Length: 3")
_post("two equal lengths", False, b"Content-Length: 3", b"Content-Length: 3")
_post("two different lengths", False, b"Content-Length: 3", b"Content-Length: 4")
_post("two lengths in two cases", False, b"Content-Length: 3", b"content-length: 0")
_post("an equal list of lengths", False, b"Content-Length: 3, 3")
_post("a list of lengths", False, b"Content-Length: 3, 4")
_post("a length with leading zeros", True, b"Content-Length: 0003")
_post("a length with spaces around", True, b"Content-Length:\t 3 \t")
for _value in (b"+3", b"-3", b"3 3", b"0x3", b"3x", b"3_0", b"3.0", b"3e0", b"", b"\x0b3", b"3\x0b", b"\xb23", b"three",
               b"99999999999999999999", b"18446744073709551619", b"3;a", b'"3"', b"3\x00", b"3,", b",3"):  # fmt: skip
    _post(f"Content-Length: {_value!r}", False, b"Content-Length: " + _value)
_post("a length without end", True, b"Content-Length: 18446744073709551615")
_post("an almost-length", True, b"Content-Lengt: 3", body=b"")
_post("a length that is no length", False, b"Content_Length: 3")  # the body is read as a request
_post("a length behind a bare CR", False, b"X: a\rContent-Length: 3")
_post("a length behind a bare LF", False, b"X: a\nContent-Length: 3")
_post("a length behind a NUL", False, b"X: a\x00\r\nContent-Length: 3")
_post("no length, and a body", False)
_add("a request with a length whose body is a request", True,
     b"GET / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(LEGAL_REQUEST) + LEGAL_REQUEST * 2)  # fmt: skip

# ── codings ───────────────────────────────────────────────────────────────────────────
for _value in (b"xchunked", b"chunkedx", b"chunked;a", b"chunked, identity", b"identity, chunked", b"identity",
               b"gzip, chunked", b"chunked, gzip", b"gzip", b"chunked, chunked", b"chunked,", b",chunked", b",", b"",
               b'"chunked"', b"'chunked'", b"\x0bchunked", b"chunked\x0b", b"\x0cchunked", b"chunked\x00", b"chu nked",
               b"x chunked", b"cow", b"chunk", b"chunked\xa0", b"\xe2\x80\x8bchunked", b"chun\rked", b"chunked\r x",
               b"\r\n chunked", b"\n chunked", b"chunked\r\n "):  # fmt: skip
    _post(f"Transfer-Encoding: {_value!r}", False, b"Transfer-Encoding: " + _value, body=_ABC)
_post("chunked behind a tab", True, b"Transfer-Encoding:\tchunked", body=_ABC)
_post("chunked in capitals", True, b"TRANSFER-ENCODING:CHUNKED ", body=_ABC)
_post("a space before the colon", False, b"Transfer-Encoding : chunked", body=_ABC)
_post("a tab before the colon", False, b"Transfer-Encoding\t: chunked", body=_ABC)
_post("a space before the name", False, b" Transfer-Encoding: chunked", body=_ABC)
_post("a coding in a folded line", False, b"X: a", b" Transfer-Encoding: chunked", body=_ABC)
_post("a coding behind a bare LF", False, b"X: a\nTransfer-Encoding: chunked", body=_ABC)
_post("a coding behind a bare CR", False, b"X: a\rTransfer-Encoding: chunked", body=_ABC)
_post("a coding in a name with underscore", False, b"Transfer_Encoding: chunked", body=_ABC)
_post("a coding in a name with a control", False, b"Transfer\x01Encoding: chunked", body=_ABC)
_post("a name in quotes", False, b'"Transfer-Encoding": chunked', body=_ABC)
_post("an empty name", False, b": chunked", body=_ABC)
_post("a line without colon", False, b"Transfer-Encoding chunked", body=_ABC)
for _second in (b"chunked", b"identity", b"x", b"", b"cow"):
    _post(f"chunked, and a line {_second!r}", False, b"Transfer-Encoding: chunked", b"Transfer-encoding: " + _second,
          body=_ABC)  # fmt: skip
    _post(f"a line {_second!r}, and chunked", False, b"Transfer-encoding: " + _second, b"Transfer-Encoding: chunked",
          body=_ABC)  # fmt: skip
_post("a coding in HTTP/1.0", False, b"Transfer-Encoding: chunked", body=_ABC, version=b"1.0")
_post("a coding in HTTP/1.0 that stays open", False, b"Connection: keep-alive", b"Transfer-Encoding: chunked",
      body=_ABC, version=b"1.0")  # fmt: skip
_add("a GET with a chunked body", True, b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + _ABC)

# ── chunks ────────────────────────────────────────────────────────────────────────────
for _size in (b"0x3", b"+3", b"-3", b"3 ", b" 3", b"3\t", b"\t3", b"3_0", b"0_3", b"", b"g", b"3g", b"3\x00", b"\x003",
              b"3,", b"3.0", b"0000000000000003", b"00000000000000000000000003", b"10000000000000003",
              b"fffffffffffffffffffff", b"3;", b"3 ;a", b"3\t;a", b"3;a\rb", b"3;a\x00", b"3;a\nb", b"3;a\n",
              b"3\n", b"3\r", b"\r\n3", b"\xef\xbc\x93"):  # fmt: skip
    _chunked(f"chunk size {_size!r}", False, _size + b"\r\nabc\r\n0\r\n\r\n")
for _size in (b"3", b"03", b"000000000000003", b"3;a", b'3;a="b;c"', b"3;a=b;c", b"3;" + b"a" * 3000):
    _chunked(f"chunk size {_size[:20]!r}", True, _size + b"\r\nabc\r\n0\r\n\r\n")
_chunked("a chunk's line that ends with LF", False, b"3\nabc\r\n0\r\n\r\n")
_chunked("a chunk's line that ends with CR", False, b"3\rabc\r\n0\r\n\r\n")
_chunked("a chunk that ends with LF", False, b"3\r\nabc\n0\r\n\r\n")
_chunked("a chunk that ends with CR", False, b"3\r\nabc\r0\r\n\r\n")
_chunked("a chunk longer than its size", False, b"3\r\nabcd\r\n0\r\n\r\n")
_chunked("a chunk shorter than its size", False, b"4\r\nabc\r\n0\r\n\r\n")
_chunked("a chunk that is followed by two bytes of anything", False, b"3\r\nabcXX0\r\n\r\n")
_chunked("a last chunk that ends with LF", False, b"0\n\r\n")
_chunked("trailers that end with LF", False, b"0\r\n\n")
_chunked("a trailer that ends with LF", False, b"0\r\nX: a\n\r\n")
_chunked("a newline in an extension, and a request", False, b"3;\nabc\r\nGET /smuggled HTTP/1.1\r\n\r\n0\r\n\r\n")
_chunked("extensions without end", False, b"3;" + b"a" * 10_000 + b"\r\nabc\r\n0\r\n\r\n")
for _trailer in (b"Content-Length: 5", b"content-LENGTH:0", b"Transfer-Encoding: chunked", b"X : a", b" X: a", b"X a",
                 b": a", b"X: a\r\n b", b"X: a\x00", b"X: a\rb", b"X\x00: a", b"GET / HTTP/1.1"):  # fmt: skip
    _chunked(f"trailer {_trailer!r}", False, b"3\r\nabc\r\n0\r\n" + _trailer + b"\r\n\r\n")
_chunked("trailers", True, b"3\r\nabc\r\n0\r\nX: a\r\nx:\xff \t\r\nContent-Length-X: 3\r\n\r\n")
_chunked("trailers without end", False, b"0\r\n" + b"X: aaaaaaaaaaaaaaaaaaaaaa\r\n" * 3000 + b"\r\n")

# ── lines ─────────────────────────────────────────────────────────────────────────────
_line("two spaces behind the method", False, b"GET  / HTTP/1.1")
_line("two spaces behind the target", False, b"GET /  HTTP/1.1")
_line("two spaces and HEAD", False, b"HEAD  / HTTP/1.1")
_line("a tab behind the method", False, b"GET\t/ HTTP/1.1")
_line("a space behind the version", False, b"GET / HTTP/1.1 ")
_line("a space ahead of the method", False, b" GET / HTTP/1.1")
_line("a method in lower case", False, b"get / HTTP/1.1")
_line("a method with a digit", False, b"GET1 / HTTP/1.1")
_line("a very long method", False, b"G" * 70_000 + b" / HTTP/1.1")
_line("a very long target", False, b"GET /" + b"a" * 70_000 + b" HTTP/1.1")
_line("a long target", True, b"GET /" + b"a" * 9_000 + b" HTTP/1.1")
_line("HTTP/0.9 that says so", False, b"GET / HTTP/0.9")
_line("HTTP/1.2", False, b"GET / HTTP/1.2")
_line("HTTP/2.0", False, b"GET / HTTP/2.0")
_line("HTTP/2", False, b"GET / HTTP/2")
_line("HTTP/1.10", False, b"GET / HTTP/1.10")
_line("HTTP/01.1", False, b"GET / HTTP/01.1")
_line("HTTP/1,1", False, b"GET / HTTP/1,1")
_line("a version in lower case", False, b"GET / http/1.1")
_line("a version without number", False, b"GET / HTTP/")
_line("no version", False, b"GET /")
_line("no version, and one in a field", False, b"GET /\r\nX: HTTP/1.1")
_line("a version of another, and ours in a field", False, b"GET / HTTP/2.0\r\nX: HTTP/1.1")
_line("no target", False, b"GET HTTP/1.1")
_line("no target but a space", False, b"GET  HTTP/1.1")
_line("RTSP", False, b"OPTIONS / RTSP/1.0")
_line("DESCRIBE of RTSP", False, b"DESCRIBE / RTSP/1.0")
_line("ICE", False, b"SOURCE / ICE/1.0")
_line("a target with a NUL", False, b"GET /\x00 HTTP/1.1")
_line("a target with a control", False, b"GET /\x01 HTTP/1.1")
_line("a target with a tab", False, b"GET /\ta HTTP/1.1")
_line("a target with DEL", False, b"GET /\x7f HTTP/1.1")
_line("a target with obs-text", False, b"GET /\xff HTTP/1.1")
_line("a target with a space", False, b"GET /a b HTTP/1.1")
_line("a target with a CR", False, b"GET /\rX: a HTTP/1.1")
_line("a target that says HTTP/1.1", True, b"GET /HTTP/1.1 HTTP/1.1")
_line("a line that ends with LF", False, b"GET / HTTP/1.1\nX: a")
_line("a line that ends with CR", False, b"GET / HTTP/1.1\rX: a")
_line("a line that ends with CR CR LF", False, b"GET / HTTP/1.1\r")
_line("a field that ends with LF", False, b"GET / HTTP/1.1\r\nX: a\nY: b")
_line("a field that ends with CR", False, b"GET / HTTP/1.1\r\nX: a\rY: b")
_line("a folded field", False, b"GET / HTTP/1.1\r\nX: a\r\n b")
_line("a field folded with a tab", False, b"GET / HTTP/1.1\r\nX: a\r\n\tb")
_line("a fold behind the first line", False, b"GET / HTTP/1.1\r\n X: a")
_line("a head that ends with CR LF LF", False, b"GET / HTTP/1.1\r\n\nX: a")
_line("a head that ends with LF CR LF", False, b"GET / HTTP/1.1\n\r\nX: a")
_line("a head that ends with LF LF", False, b"GET / HTTP/1.1\n\nX: a")
_line("a head that ends with CR CR", False, b"GET / HTTP/1.1\r\rX: a")
_line("a line of one space", False, b"GET / HTTP/1.1\r\nX: a\r\n ")
for _byte in (b"\x00", b"\x01", b"\x08", b"\x0b", b"\x0c", b"\x1b", b"\x7f"):
    _line(f"a value with {_byte!r}", False, b"GET / HTTP/1.1\r\nX: a" + _byte + b"b")
    _line(f"a name with {_byte!r}", False, b"GET / HTTP/1.1\r\nX" + _byte + b"Y: b")
for _byte in (b" ", b"\t", b'"', b"(", b"/", b"[", b"@", b"\xff", b"\\"):
    _line(f"a name with {_byte!r}", False, b"GET / HTTP/1.1\r\nX" + _byte + b"Y: b")
_line("a value with obs-text", True, b"GET / HTTP/1.1\r\nX: \x80\xff")
_line("two hosts", True, b"GET / HTTP/1.1\r\nHost: a")
_line("thousands of fields", True, b"GET / HTTP/1.1" + b"\r\nX: a" * 5000)
_line("a head beyond the limit", False, b"GET / HTTP/1.1" + b"\r\nX: a" * 20_000)
_line("one field beyond the limit", False, b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000)
_line("empty lines ahead", True, b"\r\n\r\nGET / HTTP/1.1")
_line("empty lines ahead of HEAD", True, b"\r\nHEAD / HTTP/1.1")
_line("LFs ahead", True, b"\n\n\nGET / HTTP/1.1")
_line("thousands of empty lines ahead", True, b"\r\n" * 20_000 + b"GET / HTTP/1.1")
_line("empty lines beyond the limit", False, b"\r\n" * 40_000 + b"GET / HTTP/1.1")

# ── upgrades ──────────────────────────────────────────────────────────────────────────
_CONNECT = b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n"
_UPGRADE = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
_SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
_add("CONNECT, and bytes ahead of the answer", False, _CONNECT + b"\x16\x03\x01")
_add("CONNECT, and a request ahead of the answer", False, _CONNECT + LEGAL_REQUEST)
_add("CONNECT refused", True, _CONNECT, b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
_add("an upgrade, and bytes ahead of the answer", False, _UPGRADE + b"\x81\x05hello")
_add("an upgrade, and a request ahead of the answer", False, _UPGRADE + LEGAL_REQUEST)
_add("an upgrade refused", True, _UPGRADE, LEGAL_ANSWER)
_add("an upgrade with a body", False, _UPGRADE[:-2] + b"Content-Length: 3\r\n\r\nabc" + LEGAL_REQUEST)
_answer("101 without asking", False, _SWITCH + b"\x81\x05hello")
_answer("101 for the request before the upgrade", False, _SWITCH, LEGAL_REQUEST + _UPGRADE)
_answer("200 to CONNECT is a body to GET", True, b"HTTP/1.1 200 OK\r\n\r\nabc")

# ── answers ───────────────────────────────────────────────────────────────────────────
_answer("a flood of interim answers", True, b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" * 3000 + LEGAL_ANSWER)
_answer("an interim answer with a body", False, b"HTTP/1.1 100 Go\r\nContent-Length: 3\r\n\r\nabc" + LEGAL_ANSWER)
_answer("two answers to one request", True, LEGAL_ANSWER * 2)
_answer("three answers to one request", False, LEGAL_ANSWER * 3)
_answer("an answer split off by CR LF CR LF", True,
        b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n" + LEGAL_ANSWER)  # fmt: skip
_answer("a field split off by CR", False, b"HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: a\r\nContent-Length: 0\r\n\r\n")
_answer("a field split off by LF", False, b"HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: a\r\nContent-Length: 0\r\n\r\n")
_answer("HEAD answered with a body", False, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")  # fmt: skip
_answer("HEAD behind an empty line, with an answer", True, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n" * 2,
        b"\r\nHEAD / HTTP/1.1\r\nHost: h\r\n\r\n" * 2)  # fmt: skip
_answer("204 with a body", False, b"HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\nabc")
_answer("204 with a coding", True, b"HTTP/1.1 204 No\r\nTransfer-Encoding: gzip\r\n\r\n")
_answer("304 with a length", True, b"HTTP/1.1 304 No\r\nContent-Length: 3\r\n\r\n")
_answer("304 with a body", False, b"HTTP/1.1 304 No\r\nContent-Length: 3\r\n\r\nabc")
_answer("an answer longer than its length", False, LEGAL_ANSWER + b"more")
_answer("an answer with two lengths", False, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok")
_answer("an answer with a length and a coding", False,
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n" + _ABC)  # fmt: skip
for _value in (b"gzip", b"identity", b"xchunked", b"chunked, chunked", b"gzip, chunked", b""):
    _answer(f"an answer in {_value!r}", False,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: " + _value + b"\r\n\r\n" + _ABC)  # fmt: skip
_answer("an answer with chunked twice", False,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + _ABC)  # fmt: skip
_answer("a chunked answer in HTTP/1.0", False, b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + _ABC)
_answer("a chunked answer with long zeros", False,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0000000000000003\r\nabc\r\n0\r\n\r\n",
        in_body=True)  # fmt: skip
_answer("a chunked answer with a long line", False,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;" + b"a" * 5000 + b"\r\nabc\r\n0\r\n\r\n",
        in_body=True)  # fmt: skip
for _status in (b"HTTP/1.1 20 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1 099 No", b"HTTP/1.1 000 No", b"HTTP/1.1  200 OK",
                b"HTTP/1.1 2x0 OK", b"HTTP/1.1\t200 OK", b"HTTP/1.2 200 OK", b"HTTP/2.0 200 OK", b"HTTP/0.9 200 OK",
                b"RTSP/1.0 200 OK", b"ICE/1.0 200 OK", b"ICY 200 OK", b"http/1.1 200 OK", b"HTTP/1.1 200 O\x00K",
                b"HTTP/1.1 200 O\x01K", b"HTTP/1.1 200 OK\rX: a", b" HTTP/1.1 200 OK", b"HTTP/1.1 -200 OK",
                b"HTTP/1.1", b"200 OK", b"HTTP/1.1 200OK"):  # fmt: skip
    _answer(f"status line {_status!r}", False, _status + b"\r\nContent-Length: 2\r\n\r\nok")
for _status in (b"HTTP/1.1 200", b"HTTP/1.1 200 ", b"HTTP/1.0 200 OK", b"HTTP/1.1 200 \xff\t", b"HTTP/1.1 999 Odd",
                b"\r\nHTTP/1.1 200 OK"):  # fmt: skip
    _answer(f"status line {_status!r}", True, _status + b"\r\nContent-Length: 2\r\n\r\nok")
_add("an answer before any request", True, b"", LEGAL_ANSWER)
_add("two answers before any request", False, b"", LEGAL_ANSWER * 2)

# ── other protocols ───────────────────────────────────────────────────────────────────
for _name, _data in {
    "HTTP/0.9": b"GET /\r\n",
    "HTTP/0.9 with an empty line": b"GET /\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    "a TLS hello": bytes.fromhex("1603010200010001fc0303") + bytes(range(256)),
    "an SSH banner": b"SSH-2.0-OpenSSH_9.6\r\n",
    "SMTP": b"EHLO h\r\n",
    "Redis": b"*1\r\n$4\r\nPING\r\n",
    "Redis inline": b"PING\r\n",
    "a protocol that begins like a method": b"GETX\x00\x01",
    "PostgreSQL": b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
    "NULs": b"\x00" * 1000,
    "every byte": bytes(range(256)) * 4,
    "PROXY protocol": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + LEGAL_REQUEST,
    "UTF-8 with BOM": b"\xef\xbb\xbf" + LEGAL_REQUEST,
}.items():
    _add(_name, False, _data)
    _answer(f"{_name}, from the server", False, _data)
