"""POST /v1/faults and /v1/heal with a selector: one change on several proxies, all or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from chaosproxy.certs import make_certs
from chaosproxy.events import Event, FaultAdded, FaultRemoved
from tests.control.serving import Api, serving

STALL = {"type": "stall"}
PROXIES: tuple[dict[str, object], ...] = (
    {"name": "ftp-control", "from": "client", "to": "ftp"},
    {"name": "ftp-data-1", "from": "client", "to": "ftp"},
    {"name": "db-primary", "from": "app", "to": "db1", "service": "db"},
    {"name": "db-replica", "from": "app", "to": "db2", "service": "db"},
    {"name": "db1-db2", "from": "db1", "to": "db2"},
    {"name": "api", "protocol": "http", "from": "client", "to": "app"},
)


def run(scenario: Callable[[Api], Awaitable[None]]) -> None:
    """Run the scenario on a control API with PROXIES."""

    async def main() -> None:
        async with serving() as api:
            for proxy in PROXIES:
                await add_proxy(api, **proxy)
            await scenario(api)

    asyncio.run(main())


async def add_proxy(api: Api, **proxy: object) -> None:
    answer = await api.ask("POST", "/v1/proxies", {"listen": "127.0.0.1:0", "upstream": "127.0.0.1:9", **proxy})
    assert answer.status == 201, answer


def placed(api: Api) -> list[str]:
    """Every fault, as `proxy/fault`."""
    return [f"{proxy.spec.name}/{fault.name}" for proxy in api.supervisor.proxies() for fault in proxy.spec.faults]


SELECTED = [
    ({"proxies": ["ftp-*"]}, ["ftp-control", "ftp-data-1"]),
    ({"proxies": "*"}, [str(proxy["name"]) for proxy in PROXIES]),
    ({"proxies": ["db-replica", "*-primary", "db-*"]}, ["db-primary", "db-replica"]),
    ({"proxies": ["api"], "service": None}, ["api"]),
    ({"service": "db"}, ["db-primary", "db-replica"]),
    ({"node": "db1"}, ["db-primary", "db1-db2"]),
]


@pytest.mark.parametrize(("selector", "names"), SELECTED)
def test_one_fault_is_added_to_every_selected_proxy(selector: dict[str, object], names: list[str]) -> None:
    async def scenario(api: Api) -> None:
        answer = await api.ask("POST", "/v1/faults", {**selector, "type": "latency", "delay": "1s", "name": "far"})
        view = {
            "name": "far", "type": "latency", "direction": "downstream", "probability": 1.0, "ttl": None, "delay": "1s",
        }  # fmt: skip
        assert (answer.status, answer.body) == (
            201,
            {"name": "far", "faults": [{"proxy": name, "fault": view} for name in names]},
        )
        assert placed(api) == [f"{name}/far" for name in names]

    run(scenario)


def test_without_a_name_the_fault_gets_one_that_is_free_on_all() -> None:
    async def scenario(api: Api) -> None:
        await api.ask("PUT", "/v1/proxies/db-replica/faults/stall-1", STALL)
        assert (await api.ask("POST", "/v1/faults", {"service": "db", **STALL})).body["name"] == "stall-2"
        assert placed(api) == ["db-primary/stall-2", "db-replica/stall-1", "db-replica/stall-2"]

    run(scenario)


def test_a_name_that_one_proxy_has_already_changes_nothing() -> None:
    async def scenario(api: Api) -> None:
        await api.ask("PUT", "/v1/proxies/db-replica/faults/slow", STALL)
        answer = await api.ask("POST", "/v1/faults", {"service": "db", **STALL, "name": "slow"})
        assert (answer.status, answer.wrong) == (409, {"name": "name-taken"})
        assert "'db-replica'" in answer.body["detail"]
        assert placed(api) == ["db-replica/slow"]

    run(scenario)


def test_a_fault_that_does_not_fit_some_protocols_names_their_proxies_and_changes_nothing() -> None:
    async def scenario(api: Api) -> None:
        answer = await api.ask("POST", "/v1/faults", {"node": "client", "type": "http_abort"})
        assert answer.status == 409
        errors = answer.body["errors"]
        assert [(error["path"], error["code"]) for error in errors] == [("type", "not-applicable")] * 2
        assert ["'ftp-control'" in errors[0]["message"], "'ftp-data-1'" in errors[1]["message"]] == [True, True]
        assert placed(api) == []
        assert (await api.ask("POST", "/v1/faults", {"proxies": ["a*"], "type": "http_abort"})).status == 201

    run(scenario)


def test_a_mode_that_one_proxy_does_not_support_names_it_and_changes_nothing(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        await add_proxy(api, name="web", service="x")
        await add_proxy(api, name="disk", upstream=f"unix:{tmp_path}/disk.sock", service="x")
        fault = {"type": "bandwidth", "rate": "1MB/s", "mode": "packet", "direction": "upstream"}
        answer = await api.ask("POST", "/v1/faults", {"service": "x", **fault})
        assert (answer.status, answer.wrong) == (409, {"mode": "unsupported-mode"})
        assert "'disk'" in answer.body["detail"], answer
        assert placed(api) == []

    run(scenario)


def test_a_certificate_that_cannot_be_made_for_one_proxy_names_it_and_changes_nothing(tmp_path: Path) -> None:
    make_certs(tmp_path / "good", ["localhost"], 30)
    make_certs(tmp_path / "bad", ["localhost"], 30)
    (tmp_path / "bad" / "ca.key").unlink()

    async def scenario(api: Api) -> None:
        for name in ("good", "bad"):
            files = {"cert": f"{tmp_path}/{name}/localhost.pem", "key": f"{tmp_path}/{name}/localhost.key"}
            await add_proxy(api, name=name, listen_tls=files, service="tls")
        fault = {"type": "tls_handshake", "how": "expired_cert"}
        answer = await api.ask("POST", "/v1/faults", {"service": "tls", **fault})
        assert (answer.status, answer.wrong) == (409, {"how": "unsupported"})
        assert "'bad'" in answer.body["detail"], answer
        assert placed(api) == []

    run(scenario)


@pytest.mark.parametrize(
    ("selector", "path", "code"),
    [
        ({}, "", "missing"),
        ({"service": "db", "node": "db1"}, "node", "invalid-together"),
        ({"proxies": []}, "proxies", "empty"),
        ({"proxies": ["db-*", 7]}, "proxies", "wrong-type"),
        ({"service": ["db"]}, "service", "wrong-type"),
        ({"service": "db", "delai": "1s"}, "delai", "unknown-key"),
    ],
)
def test_a_selector_that_is_wrong_is_refused(selector: dict[str, object], path: str, code: str) -> None:
    async def scenario(api: Api) -> None:
        answer = await api.ask("POST", "/v1/faults", {**selector, "type": "latency", "delay": "1s"})
        assert (answer.status, answer.wrong) == (400, {path: code})
        assert placed(api) == []

    run(scenario)


@pytest.mark.parametrize(
    ("selector", "says"),
    [
        ({"proxies": ["ftp-controll"]}, "'ftp-controll' (did you mean 'ftp-control'?)"),
        ({"proxies": ["db-*", "fpt-*"]}, "'fpt-*' (did you mean 'ftp-*'?)"),
        ({"service": "dbs"}, "'dbs' (did you mean 'db'?)"),
        ({"service": ""}, "''"),
        ({"node": "db3"}, "'db3' (did you mean 'db"),
    ],
)
def test_a_selector_without_a_proxy_is_an_error_with_the_nearest(selector: dict[str, object], says: str) -> None:
    async def scenario(api: Api) -> None:
        await api.ask("PUT", "/v1/proxies/db-primary/faults/slow", STALL)
        for path, body in (("/v1/faults", {**selector, **STALL}), ("/v1/heal", selector)):
            answer = await api.ask("POST", path, body)
            assert (answer.status, answer.body["code"]) == (404, "not-found"), answer
            assert says in answer.body["detail"]
        assert placed(api) == ["db-primary/slow"]

    run(scenario)


def test_a_name_with_a_star_selects_the_proxy_of_exactly_that_name() -> None:
    async def scenario(api: Api) -> None:
        await add_proxy(api, name="ftp-*")
        await api.ask("POST", "/v1/faults", {"proxies": ["ftp-*"], **STALL})
        assert placed(api) == ["ftp-*/stall-1"]

    run(scenario)


@pytest.mark.parametrize(
    ("query", "body", "left"),
    [
        ("", {"proxies": ["ftp-*"]}, ["db-primary/a", "db-primary/b", "db1-db2/a"]),
        ("?proxies=ftp-*", None, ["db-primary/a", "db-primary/b", "db1-db2/a"]),
        ("?service=db", None, ["ftp-control/a", "db1-db2/a"]),
        ("", {"node": "db1"}, ["ftp-control/a"]),
        ("", {"node": "db1", "fault": "a"}, ["ftp-control/a", "db-primary/b"]),
        ("", {"proxies": "*", "fault": "b"}, ["ftp-control/a", "db-primary/a", "db1-db2/a"]),
        ("", {"proxies": ["api"]}, ["ftp-control/a", "db-primary/a", "db-primary/b", "db1-db2/a"]),
    ],
)
def test_heal_takes_the_same_selectors(query: str, body: object, left: list[str]) -> None:
    async def scenario(api: Api) -> None:
        every = ["ftp-control/a", "db-primary/a", "db-primary/b", "db1-db2/a"]
        for proxy, _, fault in (one.partition("/") for one in every):
            await api.ask("PUT", f"/v1/proxies/{proxy}/faults/{fault}", STALL)
        await api.ask("POST", "/v1/partitions", {"from": "client", "to": "ftp"})
        answer = await api.ask("POST", f"/v1/heal{query}", body)
        assert answer.status == 200
        assert [f"{one['proxy']}/{one['fault']}" for one in answer.body["removed"]] == [
            one for one in every if one not in left
        ]
        assert placed(api) == left
        assert answer.body["partitions"] == []
        assert len(api.supervisor.partitions.all()) == 1, "a partition is not a fault of a proxy"

    run(scenario)


def test_heal_refuses_a_selector_beside_another_name() -> None:
    async def scenario(api: Api) -> None:
        await api.ask("PUT", "/v1/proxies/db-primary/faults/a", STALL)
        assert (await api.ask("POST", "/v1/heal", {"proxy": "db-primary", "service": "db"})).wrong.keys() == {"proxy"}
        assert (await api.ask("POST", "/v1/heal", {"partition": "x", "service": "db"})).wrong.keys() == {"partition"}
        absent = await api.ask("POST", "/v1/heal", {"service": "db", "fault": "b"})
        assert (absent.status, "did you mean" in absent.body["detail"]) == (404, False)
        assert placed(api) == ["db-primary/a"]

    run(scenario)


def test_each_proxy_gets_its_own_event() -> None:
    async def scenario(api: Api) -> None:
        told: list[Event] = []
        api.supervisor.bus.subscribe(told.append)
        await api.ask("POST", "/v1/faults", {"service": "db", **STALL})
        await api.ask("POST", "/v1/heal", {"service": "db"})
        added = [(one.proxy, one.fault, one.by) for one in told if isinstance(one, FaultAdded)]
        removed = [(one.proxy, one.fault, one.by) for one in told if isinstance(one, FaultRemoved)]
        both = [("db-primary", "stall-1", "rest"), ("db-replica", "stall-1", "rest")]
        assert (sorted(added), sorted(removed)) == (both, both)

    run(scenario)
