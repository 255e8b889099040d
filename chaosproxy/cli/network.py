"""`partition`, `crash`, `pause` and `nodes`: cut, stop and show the nodes of a running server."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

import click

from chaosproxy.cli.client import Client
from chaosproxy.cli.exits import BadInput, described
from chaosproxy.cli.live import cut_line, heal_command, show_visibility, talks_to_server, url_option
from chaosproxy.cli.printing import print_json, print_text
from chaosproxy.declare import Problems, nearest
from chaosproxy.errors import listed
from chaosproxy.model import read_partition

__all__ = ["crash", "draw_matrix", "nodes", "partition", "pause"]

Json = dict[str, Any]  # Any: JSON

LEGEND = (("⇄", "both ways"), ("→", "only from the row to the column"), ("←", "only the other way"),
          ("✗", "cut"), ("·", "no proxy between them"))  # fmt: skip


@click.command()
@click.argument("from_nodes", metavar="[FROM", required=False)
@click.argument("to_nodes", metavar="TO]", required=False)
@click.option("--one-way", is_flag=True, help="Drop only data from FROM to TO.")
@click.option("--group", "groups", multiple=True, metavar="A,B…", help="Cut this group off from the other groups.")
@click.option("--topology", metavar="WORD[:NODE]", help="Cut all nodes by a pattern, such as halves or isolate:n1.")
@click.option("--nodes", "among", metavar="A,B…", help="Apply the topology to these nodes. Default: all nodes.")
@click.option("--mode", help="auto, packet or stream.")
@click.option("--acks", help="In mode packet, cut one way: pass or drop bare acknowledgements.")
@click.option("--fail-fast", is_flag=True, help="Reset and refuse connections instead of silence.")
@click.option("--preset", help="bad-switch or flaky-link.")
@click.option("--down", help="flaky-link: mean time of a cut.")
@click.option("--up", help="flaky-link: mean time between cuts.")
@click.option("--ttl", help="Heal after this time, such as 30s.")
@click.option("--id", "id", help="Name of the partition. Default: a free name.")
@click.option("--allow-empty", is_flag=True, help="No error if no proxy lies between the nodes.")
@talks_to_server
def partition(
    from_nodes: str | None,
    to_nodes: str | None,
    groups: tuple[str, ...],
    among: str | None,
    id: str | None,
    client: Client,
    as_json: bool,
    **options: str | bool | None,
) -> None:
    """Cut nodes off from each other.

    Cut the nodes FROM off from the nodes TO, or cut by --topology or --group. FROM and TO are
    names of nodes, separated by commas. Every proxy between them is cut at once, for open
    connections and new ones.
    """
    body: Json = {key: value for key, value in options.items() if value}
    lists = {"from": from_nodes, "to": to_nodes, "nodes": among}
    body |= {key: _names(words) for key, words in lists.items() if words}
    if groups:
        body["groups"] = [_names(group) for group in groups]
    problems = Problems()
    read_partition(body, "new" if id is None else id, problems)  # with the declarations of the server
    if len(problems):
        message = "the partition is not valid; `chaosproxy partition --help` explains its options"
        raise BadInput(message, map(described, problems))
    made: Json = client.post("partitions", body=body | ({"id": id} if id else {})).body
    if as_json:
        print_json(made)
        return
    print_text(f"cut {cut_line(made['cut'])}, on {_counted(made['proxies'])}, as {made['id']}")
    if made["mode_reason"]:
        print_text(f"mode {made['effective_mode']}: {made['mode_reason']}")
    show_visibility(made)
    print_text(f"heal it with: chaosproxy heal --partition {shlex.quote(made['id'])}{url_option(client)}")


_as = click.option("--as", "kind", type=click.Choice(["node", "proxy"]), help="Whether NAME is a node or a proxy.")


@click.command()
@click.argument("name")
@click.option("--down", "lasts", metavar="TIME", help="Come back after this time, such as 5s. Default: when healed.")
@_as
@talks_to_server
def crash(name: str, lasts: str | None, kind: str | None, client: Client, as_json: bool) -> None:
    """Crash a node, or the server of one proxy.

    It resets every connection and refuses new ones.
    """
    _do("crash", name, {"down": lasts} if lasts else {}, kind, client, as_json)


@click.command()
@click.argument("name")
@click.option("--for", "lasts", metavar="TIME", help="Go on after this time, such as 2s. Default: when healed.")
@_as
@talks_to_server
def pause(name: str, lasts: str | None, kind: str | None, client: Client, as_json: bool) -> None:
    """Pause a node, or the server of one proxy.

    It holds everything, and releases it at once when the pause ends.
    """
    _do("pause", name, {"for": lasts} if lasts else {}, kind, client, as_json)


@click.command()
@talks_to_server
def nodes(client: Client, as_json: bool) -> None:
    """Show which node can reach which."""
    found: Json = client.get("nodes").body
    if as_json:
        print_json(found)
        return
    if not found["nodes"]:
        print_text("no proxy names a node; add `from` and `to` to proxies")
        return
    for line in draw_matrix(found["nodes"], found["reach"]):
        print_text(line)


def draw_matrix(found: Iterable[Mapping[str, Any]], reach: Mapping[str, Mapping[str, bool | None]]) -> list[str]:
    """Return the matrix as lines of text, and below it the meaning of the signs in it. (Any: JSON.)"""
    names = list(reach)
    width = max(map(len, names))
    rows = {row: [_sign(row, column, reach) for column in names] for row in names}
    head = " " * width + "".join(f"  {name}" for name in names)
    lines = [head]
    for row, signs in rows.items():
        cells = "".join(f"  {sign:<{len(name)}}" for sign, name in zip(signs, names, strict=True))
        lines.append(f"{row:<{width}}{cells}".rstrip())
    used = {sign for signs in rows.values() for sign in signs}
    lines += ["", "  ".join(f"{sign} {meaning}" for sign, meaning in LEGEND if sign in used)]
    lines += [f"{node['name']} is {node['state']}" for node in found if node["state"] != "up"]
    return lines


def _sign(row: str, column: str, reach: Mapping[str, Mapping[str, bool | None]]) -> str:
    if row == column:
        return "-"
    there, back = reach[row][column], reach[column][row]
    if there is None or back is None:
        return "·"
    return {(True, True): "⇄", (True, False): "→", (False, True): "←", (False, False): "✗"}[there, back]


def _do(verb: str, name: str, body: Json, kind: str | None, client: Client, as_json: bool) -> None:
    where = kind or _kind_of(name, client)
    done: Json = client.post("nodes" if where == "node" else "proxies", name, verb, body=body).body
    if as_json:
        print_json(done)
        return
    until = f"for {done['ttl']}" if done["ttl"] else "until healed"
    print_text(f"{'crashed' if verb == 'crash' else 'paused'} {where} {name} {until}: {', '.join(done['proxies'])}")
    show_visibility(done)
    target = f"node:{name}" if where == "node" else name
    print_text(f"heal it with: {heal_command(client, target, done['fault'])}")


def _kind_of(name: str, client: Client) -> str:
    """Return `node` or `proxy`, whichever the server has under that name.

    :raises BadInput: it has neither, or both.
    """
    known = {
        "node": [node["name"] for node in client.get("nodes").body["nodes"]],
        "proxy": [proxy["name"] for proxy in client.get("proxies").body["proxies"]],
    }
    found = [kind for kind, names in known.items() if name in names]
    if len(found) == 2:
        message = f"{name!r} is a node and a proxy; choose with --as node or --as proxy"
        raise BadInput(message, code="ambiguous-name")
    if not found:
        every = [*known["node"], *known["proxy"]]
        has = f"nodes: {listed(known['node']) or 'none'}; proxies: {listed(known['proxy']) or 'none'}"
        raise BadInput(f"{name!r} is neither a node nor a proxy{nearest(name, every)}; {has}", code="not-found")
    return found[0]


def _names(words: str) -> list[str]:
    return [word.strip() for word in words.split(",") if word.strip()]


def _counted(proxies: list[Json]) -> str:
    return f"{len(proxies)} prox{'y' if len(proxies) == 1 else 'ies'}"
