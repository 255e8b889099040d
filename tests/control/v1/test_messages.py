"""Faults on HTTP messages over REST: placed, shown, changed, and refused where they have no place."""

from __future__ import annotations

import asyncio

import pytest

from tests.control.serving import Api, serving

ABORT = {
    "type": "http_abort", "status": 429, "retry_after": "2s", "body": {"error": "busy"},
    "match": {"method": ["POST"], "path": "/checkout/*", "headers": {"x-tenant": "acme", "x-old": False}},
}  # fmt: skip
HERE = "/v1/proxies/web/faults"


async def add_proxies(api: Api) -> None:
    for name, protocol in (("web", "http"), ("db", "tcp")):
        wish = {"name": name, "protocol": protocol, "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9"}
        assert (await api.ask("POST", "/v1/proxies", wish)).status == 201


def test_a_message_fault_is_added_shown_replaced_and_removed() -> None:
    async def scenario() -> None:
        async with serving() as api:
            await add_proxies(api)
            added = await api.ask("POST", HERE, ABORT)
            assert (added.status, added.headers["Location"]) == (201, f"{HERE}/http_abort-1")
            view = {"name": "http_abort-1", "direction": "upstream", "probability": 1.0, "ttl": None, **ABORT}
            assert added.body == view
            assert (await api.ask("GET", f"{HERE}/http_abort-1")).body == view
            again = await api.ask("PUT", f"{HERE}/http_abort-1", added.body)
            assert (again.status, again.body) == (200, view), "what is answered can be sent back"
            changed = await api.ask("PUT", f"{HERE}/http_abort-1", {"type": "http_abort"})
            assert "match" not in changed.body and changed.body["direction"] == "upstream"
            assert (await api.ask("DELETE", f"{HERE}/http_abort-1")).status == 204

    asyncio.run(scenario())


def test_a_patch_changes_a_match_as_a_whole_and_can_take_it_away() -> None:
    async def scenario() -> None:
        async with serving() as api:
            await add_proxies(api)
            await api.ask("PUT", f"{HERE}/it", ABORT)
            for match in ({"path": "/a"}, {"headers": {"x-b": "1"}, "status": [500]}):
                fault = {"type": "http_abort", "match": match} if "status" not in match else {
                    "type": "http_drop_response", "match": match,
                }
                answer = await api.ask("PATCH", "/v1/proxies/web", {"faults": {"it": fault}})
                assert answer.status == 200, answer
                [shown] = answer.body["faults"]
                assert shown["match"] == match
            cleared = await api.ask("PATCH", "/v1/proxies/web", {"faults": {"it": {"match": None}}})
            assert "match" not in cleared.body["faults"][0]

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", ["http_abort", "http_headers"])
def test_a_message_fault_on_a_tcp_proxy_is_refused_with_what_would_be_right(kind: str) -> None:
    fault = {"type": kind, **({"remove": ["x-a"]} if kind == "http_headers" else {})}
    code = "not-applicable"

    async def scenario() -> None:
        async with serving() as api:
            await add_proxies(api)
            for method, path in (("POST", "/v1/proxies/db/faults"), ("PUT", "/v1/proxies/db/faults/it")):
                answer = await api.ask(method, path, fault)
                assert (answer.status, answer.wrong) == (409, {"type": code})
            patched = await api.ask("PATCH", "/v1/proxies/db", {"faults": {"it": fault}})
            assert (patched.status, patched.wrong) == (409, {"faults.it.type": code})
            wish = {"name": "x", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9", "faults": {"it": fault}}
            assert (await api.ask("POST", "/v1/proxies", wish)).wrong == {"faults.it.type": code}
            assert (await api.ask("GET", "/v1/status")).body["faults"] == 0

    asyncio.run(scenario())


def test_a_proxy_with_message_faults_cannot_become_tcp() -> None:
    async def scenario() -> None:
        async with serving() as api:
            await add_proxies(api)
            await api.ask("PUT", f"{HERE}/it", ABORT)
            refused = await api.ask("PATCH", "/v1/proxies/web", {"protocol": "tcp"})
            assert refused.status == 409
            assert refused.wrong == {"faults.it.type": "not-applicable"}
            assert (await api.ask("GET", "/v1/proxies/web")).body["protocol"] == "http"
            both = await api.ask("PATCH", "/v1/proxies/web", {"protocol": "tcp", "faults": {"it": None}})
            assert (both.status, both.body["protocol"], both.body["faults"]) == (200, "tcp", [])
            back = await api.ask("PATCH", "/v1/proxies/web", {"protocol": "http", "faults": {"it": ABORT}})
            assert (back.status, back.body["faults"][0]["match"]) == (200, ABORT["match"])

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("fault", "path", "code"),
    [
        ({"type": "http_drop_response", "direction": "upstream"}, "direction", "not-applicable"),
        ({"type": "http_delay", "delay": "1s", "on": "response", "direction": "upstream"}, "direction",
         "not-applicable"),
        ({"type": "http_abort", "match": {}}, "match", "no-effect"),
        ({"type": "http_abort", "match": {"status": 500}}, "match.status", "not-applicable"),
        ({"type": "http_abort", "match": {"pth": "/"}}, "match.pth", "unknown-key"),
        ({"type": "http_abort", "match": {"headers": {"a b": "x"}}}, "match.headers.a b", "malformed"),
        ({"type": "latency", "delay": "1s", "match": {"path": "/"}}, "match", "not-applicable"),
        ({"type": "http_truncate"}, "share", "missing"),
    ],
)  # fmt: skip
def test_a_wrong_fault_on_messages_is_refused_with_its_field(fault: dict[str, object], path: str, code: str) -> None:
    async def scenario() -> None:
        async with serving() as api:
            await add_proxies(api)
            for method, where in (("POST", HERE), ("PUT", f"{HERE}/it")):
                answer = await api.ask(method, where, fault)
                assert (answer.status, answer.wrong) == (400, {path: code})
            assert (await api.ask("GET", HERE)).body == {"faults": []}

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("fault", "direction"),
    [
        ({"type": "http_abort"}, "upstream"),
        ({"type": "http_abort", "direction": "downstream"}, "upstream"),
        ({"type": "http_delay", "delay": "1s"}, "upstream"),
        ({"type": "http_delay", "delay": "1s", "on": "response"}, "downstream"),
        ({"type": "http_corrupt", "rate": "1%", "on": "request"}, "upstream"),
        ({"type": "http_truncate", "size": "1B"}, "downstream"),
        ({"type": "http_truncate", "size": "1B", "direction": "upstream"}, "upstream"),
        ({"type": "http_truncate", "size": "1B", "direction": "both"}, "both"),
    ],
)
def test_a_message_fault_knows_its_direction(fault: dict[str, object], direction: str) -> None:
    async def scenario() -> None:
        async with serving() as api:
            await add_proxies(api)
            answer = await api.ask("POST", HERE, fault)
            assert (answer.status, answer.body["direction"]) == (201, direction)

    asyncio.run(scenario())


def test_a_patch_changes_a_part_of_what_callers_may_and_leaves_the_rest() -> None:
    async def scenario() -> None:
        async with serving() as api:
            await add_proxies(api)
            allowed = {"headers": True, "max_delay": "2s", "allow": ["http_delay"]}
            assert (await api.ask("PATCH", "/v1/proxies/web", {"caller_faults": allowed})).status == 200
            changed = await api.ask("PATCH", "/v1/proxies/web", {"caller_faults": {"headers": None}})
            assert changed.body["caller_faults"] == {"max_delay": "2s", "allow": ["http_delay"]}

    asyncio.run(scenario())
