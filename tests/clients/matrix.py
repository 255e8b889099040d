"""Each known HTTP client under each fault: python -m tests.clients.matrix [CLIENT ...]; `make clients`.

It prints, for the table of docs/reactions.md, which claims were right, wrong and missing, and exits with 1 if one was
wrong. A pair of a client and a fault has a proxy of its own, and some pairs run at the same time. After its stall a
client meets a trickle too, by which kinds of time-outs are told apart. All pairs take ten minutes.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.clients.policies import FAULTS, POLICIES, Json, Verdict, judge
from tests.clients.running import http_program, running
from tests.servers.backends import web
from tests.servers.chaos import ChaosproxyServer, serving
from tests.servers.processes import HOST, wait_until

Pair = tuple[str, str]
"""A client and a fault."""

AT_ONCE = 15
"""Pairs of a client and a fault that run at the same time; a client on a busy machine has no rhythm."""
WEIGHTS = {"curl_total": 3, "curl_retry": 3}
"""Pairs as which one of a client counts that starts a process per call."""
BASELINE_TURNS = 60
FAULT_S, REST_S, TRICKLE_S = 16.0, 7.0, 7.0
TRICKLE = {"type": "slicer", "size": "20B", "gap": "150ms"}


def main() -> int:
    found: dict[str, dict[str, list[Verdict]]] = {}
    with web() as server:
        for some in batches(sys.argv[1:] or list(POLICIES)):
            for (client, fault), verdicts in played(some, server.port):
                found.setdefault(client, {})[fault] = verdicts
                print_wrong(client, fault, verdicts)
    print_table(found)
    return int(any(one.is_right is False for faults in found.values() for some in faults.values() for one in some))


def batches(clients: Sequence[str]) -> Iterator[list[Pair]]:
    """Yield the pairs of clients and faults that fit their protocol, as many as run at the same time."""
    batch: list[Pair] = []
    weight = 0
    for client in clients:
        for fault, one in FAULTS.items():
            if POLICIES[client].protocol == "http" or not one.needs_http:
                if weight + WEIGHTS.get(client, 1) > AT_ONCE:
                    yield batch
                    batch, weight = [], 0
                batch.append((client, fault))
                weight += WEIGHTS.get(client, 1)
    yield batch


def played(pairs: Sequence[Pair], port: int) -> Iterator[tuple[Pair, list[Verdict]]]:
    """Run the pairs at the same time; yield each with what became of the claims about it."""
    names = {f"{client}-{fault}": (client, fault) for client, fault in pairs}
    proxies = {
        name: {"protocol": POLICIES[client].protocol, "listen": f"{HOST}:0", "upstream": f"{HOST}:{port}"}
        for name, (client, _) in names.items()
    }
    with tempfile.TemporaryDirectory() as place, asked(Path(place), names, proxies) as server:
        for name, (_, fault) in names.items():
            server.inject(name, ttl=f"{FAULT_S}s", **FAULTS[fault].settings)
        wait_until_healed(server, list(names), FAULT_S)
        time.sleep(REST_S)  # the time in which clients come back, which is measured
        stalled = [name for name, (_, fault) in names.items() if fault == "stall"]
        for name in stalled:
            server.inject(name, ttl=f"{TRICKLE_S}s", **TRICKLE)
        wait_until_healed(server, stalled, TRICKLE_S)
        windows = server.call("GET", "/v1/reactions")["windows"]
    told: dict[str, Json] = {}
    for window in windows:
        if len(window["faults"]) == 1 and window["types"] != ["slicer"]:
            told.update(window["proxies"])
    for name, pair in names.items():
        yield pair, judge(POLICIES[pair[0]], FAULTS[pair[1]], told[name])


@contextmanager
def asked(directory: Path, names: Mapping[str, Pair], proxies: Json) -> Iterator[ChaosproxyServer]:
    """Run a server and clients until the block ends; gives the server once all clients have had many answers."""
    (directory / "chaos.yaml").write_text(json.dumps({"version": 1, "proxies": proxies}))
    with ExitStack() as stack:
        server = stack.enter_context(serving(directory, "chaos.yaml", "--journal", "run.jsonl"))
        for client in dict.fromkeys(client for client, _ in names.values()):
            ports = [server.port(name) for name, pair in names.items() if pair[0] == client]
            each = [[port] for port in ports] if client.startswith(("node", "curl")) else [ports]
            for some in each:
                words = http_program(client, some, POLICIES[client].workers)
                stack.enter_context(running(words, directory / f"{client}-{some[0]}.jsonl-log"))

        def least_answered() -> int:
            answer = server.call("GET", "/v1/reactions")["proxies"]
            return min((answer[name]["turns"]["answered"] if name in answer else 0) for name in proxies)

        wait_until(lambda: least_answered() >= BASELINE_TURNS, 90, "all clients are answered", every=0.5)
        yield server


def wait_until_healed(server: ChaosproxyServer, names: Sequence[str], seconds: float) -> None:
    def is_healed() -> bool:
        return not any(server.call("GET", f"/v1/proxies/{name}")["faults"] for name in names)

    wait_until(is_healed, seconds + 30, "all faults have ended", every=0.2)


def print_wrong(client: str, fault: str, verdicts: Sequence[Verdict]) -> None:
    for one in verdicts:
        if one.is_right is not True:
            print(f"{'WRONG' if one.is_right is False else 'missing'}: {client} under {fault}: {one.claim}: {one.told}")
    sys.stdout.flush()


def print_table(found: dict[str, dict[str, list[Verdict]]]) -> None:
    """Print the right claims per client and fault, with those that are missing in brackets, and the totals."""
    print("\n| client | " + " | ".join(FAULTS) + " |\n" + "|---" * (len(FAULTS) + 1) + "|")
    total: Counter[tuple[str, str]] = Counter()
    for client, faults in found.items():
        cells = []
        for fault in FAULTS:
            verdicts = faults.get(fault)
            cells.append("·" if verdicts is None else cell(verdicts))
            total.update((one.claim, str(one.is_right)) for one in verdicts or ())
        print(f"| {client} | " + " | ".join(cells) + " |")
    print("\n| claim | right | wrong | missing |\n|---|---|---|---|")
    for claim in dict.fromkeys(claim for claim, _ in total):
        print(f"| {claim} | {total[claim, 'True']} | {total[claim, 'False']} | {total[claim, 'None']} |")


def cell(verdicts: Sequence[Verdict]) -> str:
    words = [one.claim if one.is_right else f"**{one.claim}**" for one in verdicts if one.is_right is not None]
    words += [f"({one.claim})" for one in verdicts if one.is_right is None]
    return ", ".join(words) or "–"


if __name__ == "__main__":
    sys.exit(main())
