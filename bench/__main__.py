"""`python -m bench`: run the scenarios, print the results, and show which targets were met."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import faults, kernel, queue, speed, throughput, tls, web
from bench.machine import describe, raise_file_limit
from bench.peers import Chaosproxy, Haproxy, Nginx, Peer, Socat, find
from bench.processes import BenchError
from bench.report import Report, Section, as_document, as_json, as_text
from bench.session import QUICK, Pace, Session, open_session

SCENARIOS: dict[str, Callable[[Session], Section]] = {
    "pingpong": speed.pingpong,
    "bulk": speed.bulk,
    "connect": speed.connect,
    "idle": speed.idle,
    "requests": web.requests,
    "web-memory": web.memory,
    "tls": tls.tls,
    "fault-cost": faults.fault_cost,
    "latency": faults.latency,
    "bandwidth": faults.bandwidth,
    "throughput": throughput.throughput,
    "queue": queue.queue,
    "partitions": kernel.partitions,
    "pacing": kernel.pacing,
}
DOCUMENT = Path(__file__).parents[1] / "docs" / "performance.md"
# A proxy needs two files per connection, and some others.
_FILES_PER_CONNECTION, _SPARE_FILES = 2, 1000


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Exit codes: 0 measured; 1 measured, with --strict and a missed target; 2 bad usage; 3 failed."""
    args = _parser().parse_args(argv)
    if args.write_docs and (args.quick or args.only):
        print("--write-docs needs a complete run; remove --quick and --only", file=sys.stderr)
        return 2
    try:
        report = _measure(args)
    except BenchError as error:
        print(f"the benchmark failed: {error}", file=sys.stderr)
        return 3
    print(as_text(report))
    if args.json:
        args.json.write_text(json.dumps(as_json(report), indent=1) + "\n")
    if args.write_docs:
        DOCUMENT.write_text(as_document(report))
    return 1 if args.strict and report.missed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m bench", description="Measure chaosproxy against its targets.")
    parser.add_argument(
        "--quick", action="store_true", help="run few and short rounds, to test the benchmark itself"
    )
    parser.add_argument(
        "--only",
        metavar="NAME",
        action="append",
        choices=SCENARIOS,
        help=f"run only this scenario: {', '.join(SCENARIOS)}; repeatable",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write every run to FILE")
    parser.add_argument("--write-docs", action="store_true", help="write docs/performance.md")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a target is missed")
    parser.add_argument("--no-install", action="store_true", help="do not install missing peers, even as root")
    parser.add_argument(
        "--loop",
        choices=("asyncio", "uvloop"),
        help="chaosproxy's event loop; the default is CHAOSPROXY_LOOP, if set",
    )
    return parser


def _measure(args: argparse.Namespace) -> Report:
    chaosproxy = Chaosproxy()
    if trouble := chaosproxy.missing():
        raise BenchError(trouble)
    present, absent = find([Haproxy(), Nginx(), Socat()], install=not args.no_install)
    peers: list[Peer] = [chaosproxy, *present]
    for line in absent:
        print(line, file=sys.stderr)

    pace = QUICK if args.quick else Pace()
    needed = _FILES_PER_CONNECTION * pace.idle + _SPARE_FILES
    if (allowed := raise_file_limit(_FILES_PER_CONNECTION * pace.keep_alive + _SPARE_FILES)) < needed:
        raise BenchError(
            f"{pace.idle} connections need {needed} open files, and {allowed} are allowed; raise `ulimit -n`"
        )

    loop = args.loop or os.environ.get("CHAOSPROXY_LOOP")
    with open_session(peers, pace, {"CHAOSPROXY_LOOP": loop} if loop else {}) as session:
        machine = describe(session.cores)
        sections = [SCENARIOS[name](session) for name in args.only or SCENARIOS]
    versions = {peer.name: peer.version() for peer in peers}
    if loop:
        versions["event loop"] = loop
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return Report(today, machine, versions, sections, absent)


if __name__ == "__main__":
    sys.exit(main())
