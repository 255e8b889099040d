"""`by`, `since` and `age_s`: who made a proxy, a fault or a partition, and when."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

from chaosproxy.model import Config
from tests.control.serving import serving
from tests.net.building import proxy
from tests.net.clockwork import Clockwork

Json = dict[str, Any]


def origin(view: Json) -> tuple[str, float]:
    moment = datetime.fromisoformat(view["since"])
    assert view["since"].endswith("Z") and moment.tzinfo is not None
    return view["by"], view["age_s"]


def test_everything_says_who_made_it_and_when() -> None:
    async def scenario() -> None:
        time = Clockwork()
        async with serving(time=time) as api:
            faults = {"old": {"type": "latency", "delay": "1ms"}}
            db = proxy("db", upstream="127.0.0.1:9", faults=faults, **{"from": "a", "to": "b"})
            await api.supervisor.apply(Config(proxies=(db,)), "file")
            time.run_to(100.0)
            new = await api.ask("POST", "/v1/proxies/db/faults", {"name": "new", "type": "stall"})
            cut = await api.ask("POST", "/v1/partitions", {"id": "cut", "from": "a", "to": "b"})
            assert (origin(new.whole), origin(cut.whole)) == (("rest", 0.0), ("rest", 0.0))
            time.run_to(130.0)

            shown = (await api.ask("GET", "/v1/proxies/db")).whole
            listed = (await api.ask("GET", "/v1/proxies")).whole["proxies"][0]
            status = (await api.ask("GET", "/v1/status")).whole["proxies"][0]
            for one in (shown, listed, status):
                assert origin(one) == ("file", 130.0)
                assert [origin(fault) for fault in one["faults"]] == [("file", 130.0), ("rest", 30.0)]
            since = [datetime.fromisoformat(one["since"]) for one in (shown, *shown["faults"])]
            assert [(one - since[0]).total_seconds() for one in since] == [0.0, 0.0, 100.0]
            assert origin((await api.ask("GET", "/v1/partitions/cut")).whole) == ("rest", 30.0)
            assert origin((await api.ask("GET", "/v1/proxies/db/faults/new")).whole) == ("rest", 30.0)
            [several] = (await api.ask("POST", "/v1/faults", {"proxies": ["d*"], "type": "stall"})).whole["faults"]
            assert origin(several["fault"]) == ("rest", 0.0)

    asyncio.run(scenario())


def test_a_change_alters_neither_maker_nor_time() -> None:
    async def scenario() -> None:
        time = Clockwork()
        async with serving(time=time) as api:
            db = proxy("db", upstream="127.0.0.1:9", faults={"old": {"type": "stall"}})
            await api.supervisor.apply(Config(proxies=(db,)), "file")
            time.run_to(60.0)
            fault = await api.ask("PUT", "/v1/proxies/db/faults/old", {"type": "stall", "probability": 0.5})
            changed = await api.ask("PATCH", "/v1/proxies/db", {"service": "s"})
            assert (origin(fault.whole), origin(changed.whole)) == (("file", 60.0), ("file", 60.0))

    asyncio.run(scenario())


def test_it_is_read_only_and_can_be_sent_back() -> None:
    async def scenario() -> None:
        async with serving() as api:
            wish = {"name": "db", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9", "from": "a", "to": "b"}
            made = await api.ask("POST", "/v1/proxies", {**wish, "faults": [{"name": "f", "type": "stall"}]})
            forged = {**made.whole, "by": "nobody", "since": "2000-01-01T00:00:00Z", "age_s": 1e9}
            back = await api.ask("PATCH", "/v1/proxies/db", forged)
            assert (back.status, back.body, back.whole["by"]) == (200, made.body, "rest")
            fault = {**made.whole["faults"][0], "by": "nobody"}
            put = await api.ask("PUT", "/v1/proxies/db/faults/f", fault)
            assert (put.status, put.whole["by"]) == (200, "rest")
            cut = await api.ask("POST", "/v1/partitions", {"from": "a", "to": "b"})
            again = await api.ask("POST", "/v1/partitions", {**cut.whole, "id": "again", "by": "nobody"})
            assert (again.status, again.whole["by"]) == (201, "rest")

    asyncio.run(scenario())
