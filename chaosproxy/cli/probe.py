"""`probe`: the one-command experiment on a proxy of a running server.

`chaosproxy.probe` decides; this module looks, does as it says, and prints. A look is one request for the proxy and one
for its reactions. Two things protect the clients, whatever happens here:

- each fault has a ttl, which is a few seconds longer than the most that it is to last;
- `_Runner` heals the fault that is on whenever it ends: after a signal, an error, or the last step.

A signal is only noted, since an exception could come between the request for a fault and the note that it is on. The
second signal has its usual effect.
"""

from __future__ import annotations

import math
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import click

from chaosproxy.cli.client import Client
from chaosproxy.cli.exits import VERDICT_FAILED, BadInput, CannotReach
from chaosproxy.cli.live import heal_command, talks_to_server
from chaosproxy.cli.printing import print_json, print_table, print_text
from chaosproxy.cli.types import DURATION
from chaosproxy.errors import listed
from chaosproxy.probe.course import Course, Done, Heal, Put, Stop, Wait
from chaosproxy.probe.plan import TTL_MARGIN_S, Plan, PlanName, plan_of
from chaosproxy.probe.seen import Seen, latest_of, seen_of
from chaosproxy.probe.summary import Findings
from chaosproxy.units import format_duration, seconds_text

__all__ = ["probe"]

Json = dict[str, Any]  # Any: JSON

_NOTHING: Json = {"proxies": {}, "services": {}, "windows": []}
_GONE = ("not-found", "cannot-listen")
"""Codes of errors after which a fault is not on: it was not, or it is healed and the proxy cannot listen again."""
_PAUSE = 4
"""A pause lasts at least this many times as long as the look before: with many events kept, a look is work."""


@click.command()
@click.argument("proxy")
@click.option("--plan", "plan_name", type=click.Choice(["quick", "full"]), default="quick", show_default=True,
              help="full: each fault for its longest time, so that circuit breakers show.")  # fmt: skip
@click.option("--for", "longest_s", type=DURATION, default="30s", show_default=True, metavar="TIME",
              help="The longest time of a fault, which is that of the stall.")  # fmt: skip
@click.option("--yes", is_flag=True, help="Do not ask before it begins.")
@talks_to_server
def probe(proxy: str, plan_name: PlanName, longest_s: float, yes: bool, client: Client, as_json: bool) -> None:
    """Put faults on a proxy in turn, and tell the clients' reactions.

    Each fault lasts only as long as it needs to show something, and the clients recover before the next. Each has a
    ttl, and Ctrl-C heals. The proxy needs traffic meanwhile.
    """
    now: Json = client.get("proxies", proxy).body
    _refuse_unfit(now, client)
    plan = plan_of(plan_name, now["protocol"], longest_s)
    _ask(now, plan, yes)
    runner = _Runner(client, now, plan)
    with _signals() as signals:
        runner.run(signals)
    if runner.error is not None and not runner.course.done:
        raise runner.error
    done, reason = runner.course.done, runner.course.reason or ""
    findings = Findings(proxy, done, runner.seen, now.get("service"), plan_name, reason)
    if as_json:
        print_json(_report(findings, plan, runner))
    else:
        _show(findings)
    if runner.error is not None:
        raise runner.error
    if signals.number is not None:
        sys.exit(128 + signals.number)
    if not findings.has_any:
        sys.exit(VERDICT_FAILED)


def _refuse_unfit(proxy: Json, client: Client) -> None:
    """
    :raises BadInput: other faults would mix with those of the probe, or clients cannot reach the proxy.
    """
    name = proxy["name"]
    if faults := [one["name"] for one in proxy["faults"]]:
        remedy = f"heal it first, with: {heal_command(client, name)}"
        raise BadInput(f"{name} has other faults already: {listed(faults)}; {remedy}", code="conflict")
    if partitions := proxy["partitions"]:
        remedy = "heal it first, with: chaosproxy heal --partition ID"
        raise BadInput(f"{name} is cut by a partition: {listed(partitions)}; {remedy}", code="conflict")
    if not proxy["enabled"]:
        raise BadInput(f"{name} is disabled, so no client can reach it; enable it first", code="conflict")


def _ask(proxy: Json, plan: Plan, yes: bool) -> None:
    """Ask whether to begin.

    :raises BadInput: no terminal is there to ask.
    """
    if yes:
        return
    longest = seconds_text(max(one.most_s for one in plan.steps))
    if not sys.stdin.isatty():
        message = f"a probe breaks the traffic of {proxy['name']} for up to {longest} at a time; begin it with --yes"
        raise BadInput(message, code="missing")
    faults = listed([one.words for one in plan.steps])
    connections = f"{proxy['connections']} connection{'' if proxy['connections'] == 1 else 's'}"
    print_text(f"{proxy['name']} ({proxy['upstream']}, {connections}) gets {faults}:", err=True)
    minutes = f"{math.ceil(plan.most_s / 60)} min"
    click.confirm(f"each at most {longest}, all within {minutes}. Begin?", abort=True, err=True)


class _Signals:
    """The first SIGINT, SIGTERM or SIGHUP."""

    def __init__(self, reader: int) -> None:
        self._reader = reader
        self.number: int | None = None

    def wait(self, seconds: float) -> None:
        """Wait for that time, or until one comes."""
        select.select([self._reader], [], [], seconds)


@contextmanager
def _signals() -> Iterator[_Signals]:
    """Note the first signal; the second has its usual effect.

    The handler writes to a pipe, since a lock might be held by the code that it interrupts.
    """
    reader, writer = os.pipe()
    signals = _Signals(reader)
    usual: dict[int, Any] = {}  # Any: the handlers as `signal` returns them

    def restore() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    def note(number: int, frame: object) -> None:
        signals.number = number
        restore()
        os.write(writer, b".")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        usual[number] = signal.signal(number, note)
    try:
        yield signals
    finally:
        restore()
        os.close(reader)
        os.close(writer)


class _Runner:
    """Looks at the proxy, and does as the course says."""

    def __init__(self, client: Client, proxy: Json, plan: Plan) -> None:
        self._client = client
        self._name = str(proxy["name"])
        self._plan = plan
        self._began = time.monotonic()
        self.course = Course(plan)
        self.seen = Seen(self._began)
        """The last look."""
        self.began: dict[str, str] = {}
        """The date on which each fault was put on."""
        self.error: click.ClickException | None = None
        """Why it ended early, if a request has failed."""
        self._on: str | None = None
        """The fault that is on, or may be."""

    def run(self, signals: _Signals) -> None:
        """Take the course to its end, or until a signal comes or a request fails; then no fault of it is on."""
        self._tell(f"a baseline of {self._name}, without a fault")
        try:
            while self._go_on(signals):
                pass
        except (BadInput, CannotReach) as error:
            self.error = error
            self._end(f"the probe stopped: {error.message.splitlines()[0].rstrip(';')}")
        except KeyboardInterrupt:  # the second signal
            if self._on is not None:
                self._tell(f"{self._on} is not healed yet; its ttl ends it")
            sys.exit(128 + signal.SIGINT)
        except BaseException:
            self._end("the probe failed")
            raise

    def _go_on(self, signals: _Signals) -> bool:
        """Look and act once; return whether the course goes on."""
        began = time.monotonic()
        self.seen = self._look()
        if signals.number is not None:
            self._end("the probe was interrupted")
            return False
        match self.course.next(self.seen):
            case Put() as put:
                self._put(put)
            case Heal(name):
                self._heal(name)
            case Wait(seconds):
                now = time.monotonic()
                signals.wait(max(seconds, min(_PAUSE * (now - began), self.course.left_s(now))))
            case Stop():
                return False
        return True

    def _end(self, reason: str) -> None:
        """Heal the fault that is on, and look for the last time, whatever fails."""
        self.course.end(time.monotonic(), reason)
        if self._on is not None:
            try:
                self._client.post("heal", body={"proxy": self._name, "fault": self._on})
            except click.ClickException as error:
                if getattr(error, "code", "") not in _GONE:
                    self._tell(f"{self._on} could not be healed; its ttl ends it")
            self._on = None
        with suppress(click.ClickException):
            self.seen = self._look()

    def _look(self) -> Seen:
        at = time.monotonic()
        proxy: Json = self._client.get("proxies", self._name).body
        since = format_duration(round(at - self._began + 0.1, 3))
        try:
            told: Json = self._client.get("reactions", query=[("proxy", self._name), ("since", since)]).body
        except BadInput as bad:
            if bad.code != "not-found":
                raise
            told = _NOTHING  # no kept event is about the proxy
        return latest_of(self.seen, seen_of(at, proxy, told, self._plan.steps))

    def _put(self, put: Put) -> None:
        self.began[put.name] = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        settings = " ".join(f"{key}={value}" for key, value in put.settings.items())
        self._tell(f"{put.name} ({put.type} {settings}), at most {seconds_text(put.ttl_s - TTL_MARGIN_S)}")
        body = {"name": put.name, "type": put.type, "ttl": format_duration(round(put.ttl_s, 3)), **put.settings}
        self._on = put.name
        try:
            self._client.post("proxies", self._name, "faults", body=body)
        except BadInput as bad:  # so a fault of that name is not ours
            self._on = None
            self.course.refused(f"the server refused it: {bad.message}")
            self._tell(f"refused: {bad.message}")

    def _heal(self, name: str) -> None:
        done = self.course.done[-1]
        verb = "healed"
        try:
            self._client.post("heal", body={"proxy": self._name, "fault": name})
        except BadInput as bad:
            if bad.code not in _GONE:
                raise
            verb = "it was over:"  # its ttl or another has ended it
            if bad.code == "cannot-listen":
                verb = "healed"
                self.course.end(time.monotonic(), f"the probe stopped: {bad.message}")
        self._on = None
        self._tell(f"{verb} {name} after {seconds_text(done.seconds)}: {done.because}")

    @staticmethod
    def _tell(line: str) -> None:
        print_text(line, err=True)


def _report(findings: Findings, plan: Plan, runner: _Runner) -> Json:
    return {
        "proxy": findings.proxy,
        "plan": plan.name,
        "steps": [
            {
                "fault": {"name": one.step.fault, "type": one.step.type, **one.step.settings},
                "started": runner.began.get(one.step.fault),
                "seconds": round(one.seconds, 3),
                "ended_because": one.because,
            }
            for one in findings.done
        ],
        "found": findings.found(),
        "story": findings.story(),
        "not_learnt": findings.not_learnt(),
    }


def _show(findings: Findings) -> None:
    for line in findings.story():
        print_text(line)
    if not findings.done:
        return
    if missing := findings.not_learnt():
        print_text()
        print_text("not learnt:")
        for line in missing:
            print_text(f"  {line}")
    print_text()
    print_table(("fault", "type", "lasted", "ended because"), map(_row, findings.done), right=("lasted",))


def _row(one: Done) -> tuple[str, ...]:
    return one.step.fault, one.step.type, "-" if one.is_skipped else seconds_text(one.seconds), one.because
