"""`events`: print the events of a running server, one per line."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from chaosproxy.cli.client import Client
from chaosproxy.cli.event_source import StdoutWatch, events_of
from chaosproxy.cli.event_text import event_line
from chaosproxy.cli.live import talks_to_server
from chaosproxy.cli.printing import print_json_line, print_text
from chaosproxy.journal.form import KINDS

__all__ = ["events"]

Json = dict[str, Any]  # Any: JSON

UNLOGGED = {kind for kind, of in KINDS.items() if not of.is_logged}
"""Kinds that only count, once per proxy and second. As text they are printed only if --kind names them."""


def complete_kind(_context: click.Context, _param: click.Parameter, typed: str) -> list[str]:
    """Complete a kind of event in a shell."""
    return sorted(kind for kind in KINDS if kind.startswith(typed))


@click.command()
@click.option("--follow/--no-follow", default=True, help="Wait for new events, or end after the kept ones.")
@click.option("--since", metavar="TIME", help="Begin with kept events: of the last 10s, or since a date (RFC 3339).")
@click.option("--proxy", "proxies", multiple=True, metavar="NAME", help="Only events of this proxy; may be repeated.")
@click.option("--kind", "kinds", multiple=True, metavar="KIND", shell_complete=complete_kind,
              help="Only events of this kind, such as fault_added; may be repeated.")  # fmt: skip
@talks_to_server
def events(
    follow: bool, since: str | None, proxies: tuple[str, ...], kinds: tuple[str, ...], client: Client, as_json: bool
) -> None:
    """Print the events of a server as they happen, one per line.

    The server keeps the latest events. --since prints some of them first; --no-follow prints those
    of --since, or all of them, and ends. If the connection is lost, the command connects again and
    goes on after the last event.
    """
    query = [*(("proxy", name) for name in proxies), *(("kind", kind) for kind in kinds)]
    query += [("since", since)] if since is not None else []
    query += [] if follow else [("follow", "false")]
    try:
        for event in events_of(client, query, follow, StdoutWatch(), lambda text: print_text(text, err=True)):
            if as_json:
                print_json_line(event)
            elif event.get("kind") not in UNLOGGED or kinds:
                print_text(event_line(event))
    except KeyboardInterrupt:
        pass  # the usual end
    except BrokenPipeError:
        _discard_stdout()


def _discard_stdout() -> None:
    """Let the flush at the end of the process go nowhere, since the reader of stdout has left."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
