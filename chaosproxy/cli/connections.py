"""`connections` and `kill`: show the open connections of a running server, and end them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from threading import Event
from typing import Any

import click

from chaosproxy.cli.client import Client
from chaosproxy.cli.exits import BadInput
from chaosproxy.cli.live import talks_to_server
from chaosproxy.cli.printing import print_json, print_table, print_text
from chaosproxy.declare import nearest

__all__ = ["connections", "kill"]

Json = dict[str, Any]  # Any: JSON

_EVERY_S = 1.0
"""Seconds between two looks with --watch."""
_NUMBERS = ("open for", "turns", "turn open", "bytes up", "bytes down", "held", "last byte", "rtt", "resent")


@click.command()
@click.argument("proxy", required=False)
@click.option("--watch", is_flag=True, help="Print again every second, until Ctrl-C.")
@talks_to_server
def connections(proxy: str | None, watch: bool, client: Client, as_json: bool) -> None:
    """Show the open connections of all proxies, or of one.

    The longest open turns come first: they are those that wait.
    """
    try:
        while True:
            found = _connections(client, proxy)
            if as_json:
                print_json({"connections": found})
            else:
                if watch and sys.stdout.isatty():
                    click.clear()
                _show(found)
            if not watch:
                return
            Event().wait(_EVERY_S)
    except KeyboardInterrupt:
        pass  # the usual end of --watch


def _connections(client: Client, proxy: str | None) -> list[Json]:
    query = [] if proxy is None else [("proxy", proxy)]
    found: list[Json] = client.get("connections", query=query).body["connections"]
    return sorted(found, key=lambda one: -(one["turn_open_for_s"] or 0.0))


def _show(found: Sequence[Json]) -> None:
    print_text(f"{len(found)} open connection{'' if len(found) == 1 else 's'}")
    if found:
        rows = [(one["id"], one["client"], *_numbers(one), one["shape"], ", ".join(one["faults"])) for one in found]
        print_table(("id", "client", *_NUMBERS, "shape", "faults"), rows, right=_NUMBERS)


def _numbers(one: Json) -> tuple[str, ...]:
    tcp = [one[side] for side in ("tcp_client", "tcp_server") if one[side] is not None]
    return (
        _seconds(one["open_for_s"]), str(one["turns"]), _seconds(one["turn_open_for_s"]),
        str(one["bytes_upstream"]), str(one["bytes_downstream"]),
        str(one["held_upstream"] + one["held_downstream"]), _seconds(one["last_activity_s"]),
        _seconds(max((side["rtt_s"] for side in tcp), default=None)),
        str(sum(side["retransmits"] for side in tcp)) if tcp else "-",
    )  # fmt: skip


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f} s" if value >= 1 else f"{value * 1000:.3g} ms"


@click.command()
@click.argument("target", metavar="PROXY|ID")
@click.option("--how", type=click.Choice(["close", "reset"]), default="close", show_default=True,
              help="End them in order, or with a reset.")  # fmt: skip
@talks_to_server
def kill(target: str, how: str, client: Client, as_json: bool) -> None:
    """End a connection, or all of a proxy.

    ID is that of `chaosproxy connections`, such as db:7. The proxy goes on, and clients can connect again;
    `chaosproxy crash PROXY` also refuses them.
    """
    names = [proxy["name"] for proxy in client.get("proxies").body["proxies"]]
    owner, _, number = target.rpartition(":")
    if target in names:
        ids = [one["id"] for one in client.get("connections", query=[("proxy", target)]).body["connections"]]
    elif owner in names and number.isascii() and number.isdigit():
        ids = [target]
    else:
        name = owner if number.isascii() and number.isdigit() and owner else target
        raise BadInput(
            f"{name!r} is not the name of a proxy{nearest(name, names)}; give a name of `chaosproxy status`,"
            " or an id of `chaosproxy connections`", code="unknown-value",
        )  # fmt: skip
    killed = [one for one in ids if _end(client, one, how, is_alone=target not in names)]
    if as_json:
        print_json({"killed": killed})
        return
    words = "reset" if how == "reset" else "closed"
    print_text(f"{words} {len(killed)} connection{'' if len(killed) == 1 else 's'}: {target}")


def _end(client: Client, connection: str, how: str, is_alone: bool) -> bool:
    """End a connection; return False for one of several that has just ended by itself.

    :raises BadInput: a single one is not open.
    """
    try:
        client.delete("connections", connection, query=[("how", how)])
    except BadInput as bad:
        if is_alone or bad.code != "not-found":
            raise
        return False
    return True
