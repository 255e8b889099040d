"""What of a configuration a machine cannot do, told before anything is bound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from chaosproxy.control.feasible import infeasible
from chaosproxy.declare import Problems
from chaosproxy.model import Config
from chaosproxy.model.settings import read_config
from chaosproxy.net.kernel.capabilities import Capabilities, Capability
from chaosproxy.seed import Seed

ALL = Capabilities(Capability("filters", "drops"), Capability("pacing", "paces"), Capability("tcp_info", "tells"))
NO_FILTERS = replace(ALL, filters=Capability("filters", "drops", "no privilege", "grant it"))
NO_PACING = replace(ALL, pacing=Capability("pacing", "paces", "no pacing", "newer Linux"))

LOSS = {"type": "packet_loss", "rate": "1%", "direction": "upstream"}
THIN = {"type": "bandwidth", "rate": "1MB/s"}
SLOW = {"type": "latency", "delay": "1ms"}


def config(
    faults: Mapping[str, object] | None = None,
    partitions: Mapping[str, object] | None = None,
    listen: str = "127.0.0.1:1",
) -> Config:
    """Three nodes in a row; what is given is on the first proxy."""
    first = {"listen": listen, "upstream": "127.0.0.1:9", "from": "a", "to": "b", "faults": faults}
    second = {"listen": "127.0.0.1:2", "upstream": "127.0.0.1:9", "from": "b", "to": "c"}
    problems = Problems()
    found = read_config(
        {"version": 1, "proxies": {"ab": first, "bc": second}, "partitions": partitions}, problems
    )
    problems.raise_if_any()
    assert found is not None
    return found


def apart() -> Config:
    """Two proxies with two nodes each: halves that leave both proxies whole can be drawn."""
    proxies = {
        f"{one}{other}": {"listen": f"127.0.0.1:{port}", "upstream": "127.0.0.1:9", "from": one, "to": other}
        for one, other, port in (("a", "b", 1), ("c", "d", 2))
    }
    problems = Problems()
    found = read_config(
        {"version": 1, "proxies": proxies, "partitions": {"dark": {"topology": "random-halves"}}}, problems
    )
    problems.raise_if_any()
    assert found is not None
    return found


def fields(given: Config, kernel: Capabilities) -> list[str]:
    return [problem.field for problem in infeasible(given, Seed(0), kernel)]


@pytest.mark.parametrize(
    ("fault", "lacking_filters", "lacking_pacing"),
    [
        (SLOW, False, False),
        (LOSS, False, False),
        ({**LOSS, "mode": "auto"}, False, False),
        ({**LOSS, "mode": "stream"}, False, False),
        ({**LOSS, "mode": "packet"}, True, False),
        ({**THIN, "mode": "packet"}, False, True),
        ({"type": "partition", "mode": "packet"}, True, False),
    ],
)
def test_a_fault_is_told_where_it_asks_for_packets_that_cannot_be_had(
    fault: object, lacking_filters: bool, lacking_pacing: bool
) -> None:
    given = config({"slow": SLOW, "it": fault})
    where = ["proxies.ab.faults.it.mode"]
    assert fields(given, ALL) == []
    assert fields(given, NO_FILTERS) == (where if lacking_filters else [])
    assert fields(given, NO_PACING) == (where if lacking_pacing else [])


@pytest.mark.parametrize("cut", [{"from": ["a", "c"], "to": "b"}, {"groups": ["a", "b"]}, {"topology": "halves"}])
def test_a_partition_is_told_once_however_many_proxies_it_goes_through(cut: Mapping[str, object]) -> None:
    for mode, found in (("packet", ["partitions.dark.mode"]), ("auto", []), ("stream", [])):
        given = config(partitions={"dark": {**cut, "mode": mode}})
        assert fields(given, NO_FILTERS) == found
        assert fields(given, ALL) == []


def test_a_partition_through_no_proxy_asks_for_nothing() -> None:
    nowhere = {"from": "a", "to": "c", "mode": "packet", "allow_empty": True}
    assert fields(config(partitions={"dark": nowhere}), NO_FILTERS) == []


def test_a_cut_that_is_drawn_through_no_proxy_is_told() -> None:
    answers = [[str(problem) for problem in infeasible(apart(), Seed(seed), ALL)] for seed in range(20)]
    told = "partitions.dark: goes through no proxy: none stands between a<>c a<>d b<>c b<>d; "
    for answer in answers:
        assert all(problem.startswith(told) for problem in answer)
    assert {len(answer) for answer in answers} == {0, 1}, "the seed decides"


def test_a_unix_socket_has_no_packets() -> None:
    partitions = {"first": {"from": "a", "to": "b", "mode": "packet"}, "other": {"from": "b", "to": "c"}}
    given = config({"lossy": {**LOSS, "mode": "packet"}}, partitions, listen="unix:/run/x.sock")
    found = list(infeasible(given, Seed(0), ALL))
    assert [one.field for one in found] == ["proxies.ab.faults.lossy.mode", "partitions.first.mode"]
    for one in found:
        assert one.message.endswith(
            " not supported on proxy 'ab': its listen address is a unix socket, which has no packets; give mode: stream"
        )


def test_everything_is_told_with_the_remedy() -> None:
    partitions = {id: {"from": "a", "to": "b", "mode": "packet"} for id in ("one", "two")}
    found = list(infeasible(config({"lossy": {**LOSS, "mode": "packet"}}, partitions), Seed(0), NO_FILTERS))
    assert [one.field for one in found] == [
        "proxies.ab.faults.lossy.mode", "partitions.one.mode", "partitions.two.mode",
    ]  # fmt: skip
    because = "no privilege; grant it, or give mode: stream (`chaosproxy doctor` explains)"
    assert [one.message for one in found] == [
        f"mode packet of {type} is not supported on proxy 'ab': {because}"
        for type in ("packet_loss", "partition", "partition")
    ]
