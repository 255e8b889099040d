"""TLS terminated for clients: one bulk stream and handshakes, against nginx `stream` with the same certificate."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.checks import Check, number
from bench.peers import Chaosproxy, Nginx, Route, Running
from bench.processes import Child
from bench.report import Section, Table
from bench.session import Session, Set, interleave
from bench.stats import ratio, spread
from chaosproxy.certs import make_certs

__all__ = ["tls"]

_NAME = "api.test"
_CLIENT = Path(__file__).with_name("tls_client.py")


@dataclass(frozen=True, slots=True)
class Run:
    """The result of one client, and the proxy's CPU cost."""

    rate: float
    """Bytes or handshakes per second."""
    per_cpu_s: float
    """Bytes or handshakes per second of the proxy's CPU time."""


class NginxTls(Nginx):
    """nginx `stream` that terminates TLS."""

    name = "nginx"

    def __init__(self, certificates: Path) -> None:
        self._certificates = certificates

    def commands(self, directory: Path, routes: Sequence[Route]) -> list[list[str]]:
        commands = super().commands(directory, routes)
        config = directory / "nginx.conf"
        pem, key = self._certificates / f"{_NAME}.pem", self._certificates / f"{_NAME}.key"
        text = config.read_text().replace(" backlog=4096;", " ssl backlog=4096;")
        tls = f"    ssl_certificate {pem};\n    ssl_certificate_key {key};\n    ssl_protocols TLSv1.3;\n"
        config.write_text(text.replace("stream {\n", f"stream {{\n{tls}"))
        return commands


def tls(session: Session) -> Section:
    """Measure a download of one stream through TLS, and full handshakes of one client, one after the other."""
    certificates = session.directory / "certs"
    make_certs(certificates, [_NAME], 30)
    tls = {"cert": str(certificates / f"{_NAME}.pem"), "key": str(certificates / f"{_NAME}.key")}
    peers = [Chaosproxy(), *([] if Nginx().missing() else [NginxTls(certificates)])]
    with ExitStack() as stack:
        at: dict[str, tuple[Running, int, int]] = {}
        for peer in peers:
            how = {"listen_tls": tls} if isinstance(peer, Chaosproxy) else {}
            proxy, [bulk, echo] = stack.enter_context(
                session.start(peer, Set(session.source, how), Set(session.echo, how))
            )
            at[peer.name] = proxy, bulk, echo
        seconds = session.pace.window
        runs: dict[str, Callable[[], Run]] = {}
        for name, (proxy, bulk, echo) in at.items():
            runs[f"{name}, bulk"] = partial(_run, session, certificates, proxy, "bulk", bulk, seconds)
            runs[f"{name}, handshakes"] = partial(_run, session, certificates, proxy, "handshakes", echo, seconds)
        results = interleave("tls", session.pace.speed_rounds, runs)
    return Section(
        "TLS with clients: one bulk download, and handshakes one after the other",
        Table(
            ("proxy", "download MB/s", "MB per s of CPU", "handshakes/s", "handshakes per s of CPU"),
            [
                (
                    name,
                    _of(results[f"{name}, bulk"], lambda run: run.rate / 1e6),
                    _of(results[f"{name}, bulk"], lambda run: run.per_cpu_s / 1e6),
                    _of(results[f"{name}, handshakes"], lambda run: run.rate),
                    _of(results[f"{name}, handshakes"], lambda run: run.per_cpu_s),
                )
                for name in at
            ],
        ),
        [_against_nginx(results, "download through TLS", "bulk", at_least=0.6)],
        figures={what: [run.rate for run in runs] for what, runs in results.items()},
    )


def _run(session: Session, certificates: Path, proxy: Running, what: str, port: int, seconds: float) -> Run:
    argv = [sys.executable, str(_CLIENT), what, str(port), str(certificates / "ca.pem"), _NAME, str(seconds)]
    with Child(argv, session.cores.load, session.directory / "tls-client.log") as client:
        client.line(30)
        before = proxy.cpu_seconds()
        client.line(seconds + 30)
        cpu = proxy.cpu_seconds() - before
        count, took = map(float, client.line(30).split())
    return Run(count / took, count / cpu)


def _against_nginx(results: Mapping[str, Sequence[Run]], what: str, kind: str, *, at_least: float) -> Check:
    ours, theirs = (results.get(f"{name}, {kind}") for name in (Chaosproxy.name, "nginx"))
    measured = ratio([run.rate for run in ours], [run.rate for run in theirs]) if ours and theirs else None
    return Check(
        what=f"{what}, against nginx", measured=measured, unit=" ×", at_least=at_least, note="nginx is not installed"
    )


def _of(runs: Sequence[Run], value: Callable[[Run], float]) -> str:
    return number(spread(map(value, runs)).median)
