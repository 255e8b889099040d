"""The events of a journal by proxy and kind."""

from __future__ import annotations

from chaosproxy.events import ClientEnded, ClientGaveUp, HalfClosed, ProxyAdded, ProxyChanged, TurnFailed, TurnsCounted
from chaosproxy.reaction.facts import facts_of, host_of


def test_events_are_sorted_by_proxy_kind_and_time() -> None:
    added = ProxyAdded(at=1.0, proxy="a", listen="l", upstream="u", by="file", service="db", from_node="app")
    late, early = TurnsCounted(at=5.0, proxy="a", seconds=1.0), TurnsCounted(at=4.0, proxy="a", seconds=1.0)
    failed = TurnFailed(at=3.0, proxy="b", connection=1, turn=1, client="h:1", digest="", reason="network", waited_s=1)
    ended = ClientEnded(
        at=2.0, proxy="b", connection=1, how="fin", after_s=1.0, held_by=None, error="", bytes_upstream=0,
        bytes_downstream=0,
    )  # fmt: skip
    facts = facts_of([late, added, failed, early, ended])
    assert [event.at for event in facts.events] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert facts.proxies["a"].counted == [early, late]
    assert (facts.proxies["a"].service, facts.proxies["a"].from_node) == ("db", "app")
    assert (facts.proxies["b"].failed, facts.proxies["b"].ended) == ([failed], [ended])
    assert (facts.begin, facts.end, facts_of([failed], end=9.0).end) == (1.0, 5.0, 9.0)


def test_a_service_needs_alternatives() -> None:
    def added(name: str) -> ProxyAdded:
        return ProxyAdded(proxy=name, listen="l", upstream="u", by="file", service="db")

    alone = ProxyChanged(proxy="b", listen="l", upstream="u", enabled=True, by="rest")
    assert [one.name for one in facts_of([added("a"), added("b")]).services()["db"]] == ["a", "b"]
    assert facts_of([added("a"), added("b"), alone]).services() == {}


def test_the_host_of_a_client() -> None:
    assert [host_of(one) for one in ("10.0.0.7:99", "[::1]:99", "unix")] == ["10.0.0.7", "[::1]", "unix"]


def test_a_client_in_doubt_gave_up_once_or_not_at_all() -> None:
    def gave_up(turn: int, at: float, is_pending: bool) -> ClientGaveUp:
        return ClientGaveUp(
            at=at, proxy="a", connection=1, turn=turn, client="h:1", digest="", waiting_for="answer", waited_s=1.0,
            quiet_s=1.0, how="fin", is_pending=is_pending,
        )  # fmt: skip

    half_closed = HalfClosed(at=9.0, proxy="a", connection=1, turn=2, client="h:1", digest="")
    known, open_still = gave_up(1, 1.0, False), gave_up(3, 3.0, True)
    facts = facts_of([gave_up(1, 1.0, True), known, gave_up(2, 2.0, True), open_still, half_closed])
    assert facts.proxies["a"].gave_up == [known, open_still]
