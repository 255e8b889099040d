"""`partition`, `crash`, `pause` and `nodes`: what happens between nodes of a running server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click

from chaosproxy.cli.client import Client
from chaosproxy.cli.exits import BadInput
from chaosproxy.cli.live import show_visibility, talks_to_server, url_option
from chaosproxy.cli.printing import print_json
from chaosproxy.declare import Problems, nearest
from chaosproxy.model import read_partition

__all__ = ["crash", "draw_matrix", "nodes", "partition", "pause"]

Json = dict[str, Any]  # Any: JSON

LEGEND = (("⇄", "both ways"), ("→", "only from the row to the column"), ("←", "only the other way"),
          ("✗", "cut"), ("·", "no proxy between them"))  # fmt: skip


@click.command()
@click.argument("from_nodes", metavar="[FROM", required=False)
@click.argument("to_nodes", metavar="TO]", required=False)
@click.option("--one-way", is_flag=True, help="Only what FROM sends to TO is lost.")
@click.option("--group", "groups", multiple=True, metavar="A,B…", help="A group cut off from the other groups.")
@click.option("--topology", metavar="WORD[:NODE]", help="A cut over all nodes, such as halves or isolate:n1.")
@click.option("--nodes", "among", metavar="A,B…", help="The nodes the topology is over; every node without it.")
@click.option("--mode", help="auto, packet or stream.")
@click.option("--acks", help="Mode packet, one way cut: pass or drop bare acknowledgements.")
@click.option("--fail-fast", is_flag=True, help="Reset and refuse instead of silence.")
@click.option("--preset", help="bad-switch or flaky-link.")
@click.option("--down", help="flaky-link: how long it is cut, on average.")
@click.option("--up", help="flaky-link: how long it is whole, on average.")
@click.option("--ttl", help="Heals itself after this long, such as 30s.")
@click.option("--id", "id", help="What it is called; without it the server finds a name.")
@click.option("--allow-empty", is_flag=True, help="No error where no proxy lies between the nodes.")
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
    """Cut the nodes FROM and TO off from each other, or cut by --topology or --group.

    FROM and TO are node names, several separated by commas. Every proxy between them is cut
    at once, open connections and new ones.
    """
    body: Json = {key: value for key, value in options.items() if value}
    lists = {"from": from_nodes, "to": to_nodes, "nodes": among}
    body |= {key: _names(words) for key, words in lists.items() if words}
    if groups:
        body["groups"] = [_names(group) for group in groups]
    problems = Problems()
    read_partition(body, id or "new", problems)  # checked here first: the same declarations are used on both sides
    if len(problems):
        raise BadInput("no partition can be made of this; `chaosproxy partition --help` explains", problems)
    answer: Json = client.post("partitions", body=body | ({"id": id} if id else {})).body
    if as_json:
        print_json(answer)
        return
    click.echo(f"cut {_cut_line(answer['cut'])}, on {_counted(answer['proxies'])}, as {answer['id']}")
    if answer["mode_reason"]:
        click.echo(f"mode {answer['effective_mode']}: {answer['mode_reason']}")
    show_visibility(answer)
    click.echo(f"heal it with: chaosproxy heal --partition {answer['id']}{url_option(client)}")


_as = click.option("--as", "kind", type=click.Choice(["node", "proxy"]), help="What NAME is, where it could be both.")


@click.command()
@click.argument("name")
@click.option("--down", "lasts", metavar="TIME", help="How long until it is back, such as 5s; without it until healed.")
@_as
@talks_to_server
def crash(name: str, lasts: str | None, kind: str | None, client: Client, as_json: bool) -> None:
    """Crash a node or a proxy's server: reset every connection and refuse new ones."""
    _do("crash", name, {"down": lasts} if lasts else {}, kind, client, as_json)


@click.command()
@click.argument("name")
@click.option("--for", "lasts", metavar="TIME", help="How long it is paused, such as 2s; without it until healed.")
@_as
@talks_to_server
def pause(name: str, lasts: str | None, kind: str | None, client: Client, as_json: bool) -> None:
    """Pause a node or a proxy's server: everything is held, then goes on at once."""
    _do("pause", name, {"for": lasts} if lasts else {}, kind, client, as_json)


@click.command()
@talks_to_server
def nodes(client: Client, as_json: bool) -> None:
    """Show who can reach whom now."""
    answer: Json = client.get("nodes").body
    if as_json:
        print_json(answer)
        return
    if not answer["nodes"]:
        click.echo("no proxy names a node; give proxies `from` and `to`")
        return
    for line in draw_matrix(answer["nodes"], answer["reach"]):
        click.echo(line)


def draw_matrix(found: Iterable[Mapping[str, Any]], reach: Mapping[str, Mapping[str, bool | None]]) -> list[str]:
    """The matrix as lines of text, with arrows for what goes one way; below, what the signs used mean. (Any: JSON.)"""
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
    answer: Json = client.post("nodes" if where == "node" else "proxies", name, verb, body=body).body
    if as_json:
        print_json(answer)
        return
    until = f"for {answer['ttl']}" if answer["ttl"] else "until healed"
    click.echo(f"{'crashed' if verb == 'crash' else 'paused'} {where} {name} {until}: {', '.join(answer['proxies'])}")
    show_visibility(answer)


def _kind_of(name: str, client: Client) -> str:
    """Whether the server knows a node or a proxy of that name.

    :raises BadInput: neither, or both.
    """
    known = {
        "node": [node["name"] for node in client.get("nodes").body["nodes"]],
        "proxy": [proxy["name"] for proxy in client.get("proxies").body["proxies"]],
    }
    found = [kind for kind, names in known.items() if name in names]
    if len(found) == 2:
        raise BadInput(f"{name!r} is a node and a proxy; say which, with --as node or --as proxy")
    if not found:
        every = [*known["node"], *known["proxy"]]
        has = f"there are nodes: {', '.join(known['node']) or 'none'}; proxies: {', '.join(known['proxy']) or 'none'}"
        raise BadInput(f"{name!r} is no node and no proxy{nearest(name, every)}; {has}")
    return found[0]


def _names(words: str) -> list[str]:
    return [word.strip() for word in words.split(",") if word.strip()]


def _counted(proxies: list[Json]) -> str:
    return f"{len(proxies)} prox{'y' if len(proxies) == 1 else 'ies'}"


def _cut_line(cut: list[list[str]]) -> str:
    """`app → db, n1 ⇄ n2`: which pairs no longer hear each other."""
    pairs = {(one, other) for one, other in cut}
    words = [f"{one} → {other}" for one, other in sorted(pairs) if (other, one) not in pairs]
    words += [f"{one} ⇄ {other}" for one, other in sorted(pairs) if (other, one) in pairs and one < other]
    return ", ".join(words[:6]) + (f" and {len(words) - 6} more" if len(words) > 6 else "")
