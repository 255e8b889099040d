"""`status`, `inject` and `heal`: show and change the faults of a running server.

Each command sends one or two requests of the REST API through `Client`. `inject` first reads
the fault here, with the declarations that the server uses: so a mistake is shown without a
server, and with the words as they were typed. `talks_to_server` adds the options that these
commands share with those in `network`. A fault is printed in the notation that `inject`
accepts, so that a line can be copied into a command.
"""

from __future__ import annotations

import functools
import json
import shlex
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import click

from chaosproxy.cli.assignments import read_assignments
from chaosproxy.cli.client import DEFAULT_URL, Client
from chaosproxy.cli.describe import complete_type, known_type
from chaosproxy.cli.exits import BadInput, described
from chaosproxy.cli.printing import print_json, print_table, print_text
from chaosproxy.declare import Param, Problems, TextOrJson, nearest, params_of
from chaosproxy.http.stage import MessageFault
from chaosproxy.model import read_fault
from chaosproxy.model.fault import placing
from chaosproxy.model.types import FAULT_TYPES
from chaosproxy.units import format_duration

__all__ = ["cut_line", "heal", "heal_command", "inject", "show_visibility", "status", "talks_to_server", "url_option"]

Json = dict[str, Any]  # Any: JSON


def talks_to_server(command: Callable[..., None]) -> Callable[..., None]:
    """Add --url, --token and --json to a command; pass it `client` and `as_json`."""

    @click.option("--url", envvar="CHAOSPROXY_URL", default=DEFAULT_URL, show_default=True, show_envvar=True,
                  help="URL of the running server's control API.")  # fmt: skip
    @click.option("--token", envvar="CHAOSPROXY_TOKEN", show_envvar=True, help="Token that the server requires.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @functools.wraps(command)
    def with_client(*args: object, url: str, token: str | None, **kwargs: object) -> None:
        command(*args, client=Client(url, token), **kwargs)

    return with_client


@click.command()
@talks_to_server
def status(client: Client, as_json: bool) -> None:
    """Show proxies, connections and faults of a server."""
    now: Json = client.get("status").body
    if as_json:
        print_json(now)
        return
    proxies: list[Json] = now["proxies"]
    print_text(f"chaosproxy {now['version']} on {now['loop']}, seed {now['seed']}, up {now['uptime_s']:.0f} s")
    lacking = [one["name"] for one in now["capabilities"] if not one["available"]]
    if lacking:
        print_text(f"not available on this machine: {', '.join(lacking)} (`chaosproxy doctor` explains)")
    show_visibility(next(_invisible(now), {}))
    if now["partitions"]:
        _show_partitions(client.get("partitions").body["partitions"])
    if not proxies:
        print_text("no proxies")
        return
    print_table(
        ("proxy", "listen", "upstream", "made by", "connections", "bytes up", "bytes down", "faults"),
        (
            (
                proxy["name"],
                _listen(proxy),
                proxy["upstream"],
                _origin(proxy),
                str(proxy["connections"]),
                str(proxy["bytes_upstream"]),
                str(proxy["bytes_downstream"]),
                "\n".join(_acting_lines(proxy)) or "-",
            )
            for proxy in proxies
        ),
        right=("connections", "bytes up", "bytes down"),
    )


def _listen(proxy: Json) -> str:
    """Return the address of a proxy, or the reason why it does not listen."""
    if not proxy["enabled"]:
        return f"{proxy['listen']} (disabled)"
    return str(proxy["listen"] if proxy["listening"] else proxy["listening_reason"])


def _show_partitions(partitions: Iterable[Json]) -> None:
    rows = []
    for one in partitions:
        cuts = cut_line(one["cut"]) or "nothing"
        if not one["is_cut"]:
            cuts += " (up now)"
        ends = one["heals_after_s"]
        heals = "when healed" if ends is None else f"in {format_duration(_coarse(ends))}"
        on = ", ".join(part["proxy"] for part in one["proxies"]) or "no proxy"
        rows.append((one["id"], cuts, one["effective_mode"] or "-", on, _origin(one), heals))
    print_table(("partition", "cuts", "mode", "on", "made by", "ends"), rows)
    print_text()


def cut_line(cut: Iterable[list[str]]) -> str:
    """Return the pairs that are cut: `app → db, n1 ⇄ n2`."""
    pairs = {(one, other) for one, other in cut}
    words = [f"{one} → {other}" for one, other in sorted(pairs) if (other, one) not in pairs]
    words += [f"{one} ⇄ {other}" for one, other in sorted(pairs) if (other, one) in pairs and one < other]
    return ", ".join(words[:6]) + (f" and {len(words) - 6} more" if len(words) > 6 else "")


@click.command()
@click.argument("target", metavar="PROXY")
@click.argument("fault_type", metavar="TYPE", shell_complete=complete_type)
@click.argument("parameters", metavar="[KEY=VALUE]...", nargs=-1)
@click.option("--name", help="Name of the fault; an existing fault of that name is changed. Default: a free name.")
@click.option("--direction", help="upstream, downstream or both.")
@click.option("--probability", help="Share of the connections, or messages, to act on: 0.2 or 20%.")
@click.option("--ttl", help="Heal after this time, such as 30s.")
@click.option("--skip", help="Skip the first N connections or messages.")
@click.option("--count", help="Act on at most N connections or messages.")
@click.option("--nth", help="Act on every Nth connection or message.")
@talks_to_server
def inject(
    target: str,
    fault_type: str,
    parameters: tuple[str, ...],
    name: str | None,
    client: Client,
    as_json: bool,
    **placement: str | None,
) -> None:
    """Add a fault of TYPE to one or more running proxies.

    PROXY is a name; or a glob such as 'ftp-*', service:NAME or node:NAME, which select several proxies. The
    fault is then added to all of them or to none, under a name that none of them has.

    Parameters are as in YAML: delay=100ms, wave.shape=sine. `chaosproxy faults TYPE` lists them.
    """
    options = [f"{key}={value}" for key, value in placement.items() if value is not None]
    body = fault_body(fault_type, [*parameters, *options], "new" if name is None else name)
    selector = selector_of(target, client)
    if selector is not None:
        response = client.post("faults", body={**selector, **body, **({} if name is None else {"name": name})})
    elif name is None:
        response = client.post("proxies", target, "faults", body=body)
    else:
        response = client.put("proxies", target, "faults", name, body=body)
    if as_json:
        print_json(response.body)
        return
    placed = [{"proxy": target, "fault": response.body}] if selector is None else response.body["faults"]
    verb = "changed" if response.status == 200 else "injected"
    print_text(f"{verb} {_fault_line(placed[0]['fault'])} on {', '.join(one['proxy'] for one in placed)}")
    for line in _mode_lines(placed):
        print_text(line)
    show_visibility(next((one["fault"] for one in placed if one["fault"].get("attempts_reason")), {}))
    print_text(f"heal it with: {heal_command(client, target, response.body['name'])}")


def selector_of(target: str, client: Client) -> Json | None:
    """Return the selector that a word of the command line stands for; None if it is the name of one proxy.

    :raises BadInput: the word before the colon is a misspelt selector.
    """
    kind, colon, name = target.partition(":")
    if not colon and "*" not in target:
        return None
    if target in (proxy["name"] for proxy in client.get("proxies").body["proxies"]):
        return None
    if colon and kind in ("service", "node"):
        return {kind: name}
    if colon and (suggestion := nearest(kind, ("service", "node"))):
        message = f"{kind!r} is not a selector{suggestion}; use service:NAME, node:NAME or a glob such as 'db-*'"
        raise BadInput(message, code="unknown-value")
    return {"proxies": [target]} if "*" in target else None


def _mode_lines(placed: Iterable[Json]) -> list[str]:
    """Return a line for each reason why mode auto became stream, with the proxies if there are several reasons."""
    found: dict[tuple[str, str], list[str]] = {}
    for one in placed:
        mode = one["fault"].get("effective_mode"), one["fault"].get("mode_reason") or ""
        found.setdefault(mode, []).append(one["proxy"])
    several = len(found) > 1
    return [
        f"mode {mode}{' on ' + ', '.join(proxies) if several else ''}: {reason}"
        for (mode, reason), proxies in found.items()
        if reason
    ]


def show_visibility(response: Json) -> None:
    """Print the reason if connection attempts that a fault hides are not visible."""
    if response.get("attempts_reason"):
        print_text(f"connection attempts are not visible: {response['attempts_reason']}")


def _invisible(status: Json) -> Iterator[Json]:
    """Yield the faults and partitions whose connection attempts are not visible."""
    for proxy in status["proxies"]:
        yield from (fault for fault in proxy["faults"] if fault.get("attempts_reason"))
        for one in status["capabilities"]:
            if one["name"] == "tap" and not one["available"] and proxy["partitions"]:
                yield {"attempts_reason": f"{one['lacking']}; {one['remedy']}"}


def url_option(client: Client) -> str:
    """Return the option that names this server in a command; empty for the default one."""
    return "" if client.url == DEFAULT_URL else f" --url {client.url}"


def heal_command(client: Client, *words: str) -> str:
    """Return the command that heals, as a shell reads it."""
    if any(word.startswith("-") for word in words):
        return f"chaosproxy heal{url_option(client)} -- {shlex.join(words)}"
    return f"chaosproxy heal {shlex.join(words)}{url_option(client)}"


def fault_body(fault_type: str, words: Iterable[str], name: str = "new") -> Json:
    """Return the body for the server, validated with the declarations that the server uses too.

    :raises BadInput: with every word that is wrong, and the words that exist.
    """
    fault = known_type(fault_type)
    params: list[Param] = [*params_of(fault), *placing(fault)]
    problems = Problems()
    words = [*words]
    if not issubclass(fault, MessageFault) and (wrong := [word for word in words if _selects_messages(word)]):
        message = f"selects HTTP messages, but {fault_type} acts on connections; remove it"
        problems.add(("match",), "not-applicable", message)
        words = [word for word in words if word not in wrong]
    body = {"type": fault_type, **read_assignments(words, params, problems)}
    _check_fault(problems, body, name)
    if len(problems):
        see = f"`chaosproxy faults {fault_type}` explains them"
        raise BadInput(f"the parameters of {fault_type} are wrong; {see}", map(described, problems))
    return body


def _check_fault(problems: Problems, body: Json, name: str) -> None:
    """Note the problems of the fault that the words spell, except in fields whose words have problems already."""
    noted = {problem.path for problem in problems}
    misspelt = any(problem.code == "unknown-key" for problem in problems)
    found = Problems()
    read_fault(body, name, found, protocol="http")  # only the server knows the proxy's protocol
    for problem in found:
        if problem.path not in noted and not (misspelt and problem.code == "missing"):
            problems.add(problem.path, problem.code, problem.message)


def _selects_messages(word: str) -> bool:
    return word.startswith("match.") and not word.startswith("match.sni=")


@click.command()
@click.argument("target", metavar="[PROXY]", required=False)
@click.argument("fault", required=False)
@click.option("--partition", metavar="ID", help="Heal this partition and nothing else.")
@talks_to_server
def heal(target: str | None, fault: str | None, partition: str | None, client: Client, as_json: bool) -> None:
    """Remove faults and partitions.

    Without arguments it removes all faults and partitions; with PROXY the faults of that proxy;
    with PROXY and FAULT only that fault. PROXY is a name; or a glob such as 'ftp-*', service:NAME
    or node:NAME, which select several proxies.
    """
    selector = None if target is None else selector_of(target, client)
    asked = {"fault": fault, "partition": partition, **(selector or {"proxy": target})}
    healed: Json = client.post("heal", body={key: name for key, name in asked.items() if name is not None}).body
    if as_json:
        print_json(healed)
        return
    for id in healed["partitions"]:
        print_text(f"healed partition {id}")
    for one in healed["removed"]:
        print_text(f"healed {one['fault']} ({one['type']}) on {one['proxy']}")
    if not healed["removed"] and not healed["partitions"]:
        print_text("there was nothing to heal")
    if target is not None and selector is None:
        for id in client.get("proxies", target).body["partitions"]:
            remedy = f"chaosproxy heal --partition {shlex.quote(id)}{url_option(client)}"
            print_text(f"partition {id} still cuts {target}; heal it with: {remedy}")


def _acting_lines(proxy: Json) -> list[str]:
    """Return one line for each partition and fault that acts on a proxy."""
    cuts = [f"partition {id}" for id in proxy["partitions"]]
    return cuts + [f"{_fault_line(fault)} ({_origin(fault)})" for fault in proxy["faults"]]


def _origin(made: Json) -> str:
    """`rest, 5m ago`: who made a proxy or a fault, and when."""
    return f"{made['by']}, {format_duration(_coarse(made['age_s']))} ago"


def _coarse(seconds: float) -> float:
    """Return an age in whole units of the largest that fits: the age of an hour needs no seconds."""
    unit = next((unit for unit in (3600, 60) if seconds >= unit), 1)
    return float(int(seconds) // unit * unit)


def _fault_line(fault: Json) -> str:
    """Return `slow: latency delay=100ms downstream`, without default values."""
    plain = {
        "name", "type", "direction", "effective_mode", "mode_reason", "attempts_visible", "attempts_reason",
        "by", "since", "age_s",
    }  # fmt: skip
    shown = {key: value for key, value in fault.items() if key not in plain and value is not None}
    if shown.get("probability") in (1, 1.0):
        del shown["probability"]
    on_pipes = fault["type"] not in FAULT_TYPES or FAULT_TYPES[fault["type"]].on_pipes
    return " ".join([f"{fault['name']}:", fault["type"], *_words(shown), *([fault["direction"]] if on_pipes else [])])


_JSON = {param.name for fault in FAULT_TYPES.values() for param in params_of(fault) if param.kind == TextOrJson()}
"""Parameters whose value may be a mapping; such a mapping is one value and has no parts."""


def _words(settings: Json, prefix: str = "") -> Iterator[str]:
    """Yield the settings in the notation of `inject`."""
    for key, value in settings.items():
        if not prefix and key in _JSON:
            yield shlex.quote(f"{key}={value if isinstance(value, str) else json.dumps(value)}")
        elif isinstance(value, dict):
            yield from _words(value, f"{prefix}{key}.")
        else:
            yield shlex.quote(f"{prefix}{key}={_word(value)}")


def _word(value: object) -> str:
    if isinstance(value, list):
        return ",".join(_word(one) for one in value)
    return json.dumps(value) if isinstance(value, bool) else str(value)
