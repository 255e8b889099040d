"""`reactions`: print what clients and servers did about faults, of a running server or of a journal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import click

from chaosproxy.cli.client import Client
from chaosproxy.cli.exits import BadInput, described
from chaosproxy.cli.live import talks_to_server
from chaosproxy.cli.printing import print_json, print_table, print_text
from chaosproxy.errors import InvalidInput
from chaosproxy.units import seconds_text

__all__ = ["reactions"]

Json = dict[str, Any]  # Any: JSON

_EVERY_S = 2.0
"""Seconds between two looks with --watch."""
_NUMBERS = ("answered", "failed", "open", "p50", "p99", "gave up", "time-out", "recovered after")


@click.command()
@click.option("--watch", is_flag=True, help="Print again whenever something has changed, until Ctrl-C.")
@click.option("--since", metavar="TIME", help="Only faults that were on in the last 10s, or since a date (RFC 3339).")
@click.option("--proxy", "proxies", multiple=True, metavar="NAME", help="Only this proxy; may be repeated.")
@click.option("--journal", type=click.Path(path_type=Path), metavar="FILE",
              help="Read a file of `serve --journal`, and ask no server.")  # fmt: skip
@talks_to_server
def reactions(
    watch: bool, since: str | None, proxies: tuple[str, ...], journal: Path | None, client: Client, as_json: bool
) -> None:
    """Tell what clients and servers did about faults.

    Sentences come first, then numbers.
    """
    if journal is not None:
        if watch or since is not None:
            raise BadInput("--watch and --since are for a running server; use --journal without them")
        _show(_of_journal(journal, proxies), as_json)
        return
    query = [*(("proxy", name) for name in proxies), *([("since", since)] if since is not None else [])]
    told: Json | None = None
    try:
        while True:
            before, told = told, client.get("reactions", query=query).body
            if told != before:
                _show(told, as_json)
            if not watch:
                return
            Event().wait(_EVERY_S)
    except KeyboardInterrupt:
        pass  # the usual end of --watch


def _of_journal(path: Path, proxies: tuple[str, ...]) -> Json:
    """Return the reactions in a journal.

    :raises BadInput: it cannot be read, or has no such proxy.
    """
    from chaosproxy.journal.files import read_journal
    from chaosproxy.reaction.facts import facts_of
    from chaosproxy.reaction.reactions import reactions_of
    from chaosproxy.reaction.view import view

    try:
        header, events = read_journal(path)
    except InvalidInput as bad:
        raise BadInput(str(bad), map(described, bad.problems)) from None
    facts = facts_of(events)
    for name in proxies:
        if name not in facts.proxies:
            raise BadInput(f"{path} has no proxy {name}; it has {', '.join(facts.proxies) or 'none'}")
    began = datetime.fromisoformat(header.started)

    def date(moment: float) -> str:
        at = began + timedelta(seconds=moment)
        return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    return view(reactions_of(facts, proxies), date)


def _show(told: Mapping[str, Any], as_json: bool) -> None:  # Any: JSON
    if as_json:
        print_json(told)
        return
    lines = [line for window in told["windows"] for line in window["story"]]
    if left_out := told.get("windows_left_out", 0):
        print_text(f"{left_out} earlier times of faults are left out; the latest {len(told['windows'])} follow")
    for line in lines or ["no fault was on, so no reaction can be told"]:
        print_text(line)
    if told["proxies"]:
        print_text()
        rows = [(name, *_numbers(one)) for name, one in told["proxies"].items()]
        print_table(("proxy", *_NUMBERS), rows, right=_NUMBERS)


def _numbers(one: Json) -> tuple[str, ...]:
    turns, gave_up = one["turns"], one["gave_up"]
    return (
        str(turns["answered"]), str(turns["failed"]), str(turns["open"]), _seconds(turns["felt_s"]["p50"]),
        _seconds(turns["felt_s"]["p99"]), str(gave_up["count"]), _seconds(gave_up["inferred_timeout_s"]),
        _seconds(one["recovered_after_s"]),
    )  # fmt: skip


def _seconds(value: float | None) -> str:
    return "-" if value is None else seconds_text(value)
