"""Endings from errors, and the prose that is made of them."""

from __future__ import annotations

import errno
import os
import ssl

import pytest

from chaosproxy.endings import Ending, describe, ending_of


@pytest.mark.parametrize(
    ("error", "by", "how"),
    [
        (None, "client", "reset"),
        (ConnectionResetError(errno.ECONNRESET, "x"), "client", "reset"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "client", "reset"),
        (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), "network", "timeout"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "network", "timeout"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "network", "timeout"),
        (ssl.SSLError(1, "bad record mac"), "client", "tls"),
        (RuntimeError("of a loop"), "client", "reset"),
    ],
)
def test_errors_of_a_lost_socket_are_told_apart(error: Exception | None, by: str, how: str) -> None:
    ending = ending_of("client", error)
    assert (ending.by, ending.how) == (by, how)


def test_the_reason_of_a_lost_socket_is_kept() -> None:
    assert ending_of("server", BrokenPipeError(errno.EPIPE, "Broken pipe")).error == "Broken pipe"
    assert ending_of("client", ssl.SSLError(1, "client ended TLS")).error == "client ended TLS"
    assert ending_of("server", OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))).error == (
        "connection to the server lost: No route to host"
    )


@pytest.mark.parametrize(
    ("ending", "then", "text"),
    [
        (Ending("client", "fin"), None, "client closed first"),
        (Ending("client", "fin"), Ending("server", "fin"), "client closed first"),
        (Ending("client", "fin"), Ending("server", "reset"), "client closed first, then server reset"),
        (Ending("client", "fin"), Ending("client", "reset"), "client closed first, then client reset"),
        (Ending("server", "fin"), Ending("client", "reset"), "server closed first, then client reset"),
        (
            Ending("server", "fin"),
            Ending("network", "timeout", error="connection to the client lost: Connection timed out"),
            "server closed first, then connection to the client lost: Connection timed out",
        ),
        (Ending("client", "fin", "lost"), None, "client gave up, unanswered for fault lost"),
        (Ending("server", "reset"), Ending("client", "fin"), "server reset"),
        (Ending("server", "reset", error="Broken pipe"), None, "server reset (Broken pipe)"),
        (Ending("client", "tls", error="client broke off"), None, "client broke off"),
        (Ending("client", "reset", during="accept", error="gone"), None, "client left while it was accepted (gone)"),
        (Ending("client", "fin", during="dial"), None, "client left while its upstream was dialled"),
        (Ending("client", "fin", "late", during="dial"), None, "client left while fault late delayed it"),
        (Ending("server", "reset", error="upstream a:1 not reached: no", during="dial"), None,
         "upstream a:1 not reached: no"),
        (Ending("network", "timeout", error="connection to the client lost: x"), None,
         "connection to the client lost: x"),
        (Ending("injected", "closed", "f"), None, "closed by fault f"),
        (Ending("injected", "reset", "f"), Ending("server", "reset"), "reset by fault f"),
        (Ending("injected", "reset", "f", during="handshake"), None, "reset by fault f during the TLS handshake"),
        (Ending("injected", "tls", "f", "client does not trust it"), None, "client does not trust it (fault f)"),
        (Ending("operator", "closed"), None, "closed by the operator"),
        (Ending("operator", "reset", error="strict: no HTTP"), None, "reset by strict: no HTTP"),
        (Ending("bug", "reset"), None, "a fault failed; the log has the traceback"),
    ],
)
def test_prose(ending: Ending, then: Ending | None, text: str) -> None:
    assert describe(ending, then) == text
