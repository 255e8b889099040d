"""The least that has to be done, and what becomes of things that others made; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from chaosproxy.control.plan import Changes, Desired, Owned, changes_of, plan
from chaosproxy.model import Config
from tests.net.building import fault, partition, proxy

FAULTS = {name: [fault(name, type="latency", delay=delay) for delay in ("1s", "2s")] for name in ("f", "g", "h")}
PROXIES = {name: [proxy(name, upstream=f"127.0.0.1:{port}") for port in (1, 2)] for name in "abc"}
PARTITIONS = {
    name: [partition(name, **{"from": "x", "to": to}) for to in ("y", "z")] for name in ("p", "q", "r")
}  # fmt: skip
MAKERS = st.sampled_from(("file", "rest", "scenario"))


def some(of: Mapping[str, list[object]]) -> st.SearchStrategy[dict[str, object]]:
    """Some of these things, each in one of its shapes."""
    return st.lists(st.sampled_from(sorted(of)), unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: st.sampled_from(of[name]) for name in names})
    )


def owned(of: Mapping[str, list[object]]) -> st.SearchStrategy[dict[str, Owned[object]]]:
    def made_by_somebody(found: dict[str, object]) -> st.SearchStrategy[dict[str, Owned[object]]]:
        return st.fixed_dictionaries({name: st.builds(Owned, st.just(one), MAKERS) for name, one in found.items()})

    return some(of).flatmap(made_by_somebody)


@st.composite
def desired(draw: st.DrawFn) -> Desired:
    proxies = draw(owned(PROXIES))  # type: ignore[arg-type]
    faults = {name: draw(owned(FAULTS)) for name in proxies}  # type: ignore[arg-type]
    return Desired(proxies, faults, draw(owned(PARTITIONS)))  # type: ignore[arg-type]


@st.composite
def configs(draw: st.DrawFn) -> Config:
    proxies = [
        replace(spec, faults=tuple(draw(some(FAULTS)).values()))  # type: ignore[arg-type, type-var]
        for spec in draw(some(PROXIES)).values()  # type: ignore[arg-type]
    ]
    return Config(proxies=tuple(proxies), partitions=tuple(draw(some(PARTITIONS)).values()))  # type: ignore[arg-type]


def things(of: Desired) -> dict[tuple[str, ...], Owned[object]]:
    """Everything that is desired, by kind and name; a fault's name has its proxy's before it."""
    found: dict[tuple[str, ...], Owned[object]] = {}
    found |= {("proxy", name): one for name, one in of.proxies.items()}  # type: ignore[dict-item, misc]
    found |= {("fault", name, one): it for name, faults in of.faults.items() for one, it in faults.items()}  # type: ignore[misc]
    found |= {("partition", name): one for name, one in of.partitions.items()}  # type: ignore[dict-item, misc]
    return found


def named(config: Config) -> dict[tuple[str, ...], object]:
    found: dict[tuple[str, ...], object] = {("proxy", one.name): replace(one, faults=()) for one in config.proxies}
    found |= {("fault", one.name, it.name): it for one in config.proxies for it in one.faults}
    return found | {("partition", one.id): one for one in config.partitions}


@given(desired(), configs(), MAKERS)
def test_what_is_named_is_as_wanted_and_belongs_to_who_named_it(now: Desired, wanted: Config, by: str) -> None:
    after = things(plan(now, wanted, by).outcome(now))
    for key, spec in named(wanted).items():
        assert after[key] == Owned(spec, by)


@given(desired(), configs(), MAKERS)
def test_what_is_not_named_stays_as_it_is_if_another_made_it_and_goes_otherwise(
    now: Desired, wanted: Config, by: str
) -> None:
    before, after, names = things(now), things(plan(now, wanted, by).outcome(now)), named(wanted)
    for key, one in before.items():
        if key in names:
            continue
        its_proxy = before.get(("proxy", key[1]))
        its_proxy_goes = key[0] == "fault" and ("proxy", key[1]) not in after
        assert (key in after) == (one.by != by and not its_proxy_goes), key
        assert after.get(key, one) == one, "nothing else is done to it"
        if its_proxy_goes:
            assert its_proxy is not None and its_proxy.by == by and ("proxy", key[1]) not in names
    assert after.keys() <= before.keys() | names.keys()


@given(desired(), configs(), MAKERS)
def test_nothing_is_done_a_second_time(now: Desired, wanted: Config, by: str) -> None:
    after = plan(now, wanted, by).outcome(now)
    again = plan(after, wanted, by)
    assert things(again.outcome(after)) == things(after)
    assert (again.start, again.change, again.proxies.remove, again.proxies.put) == ((), (), (), {})
    assert (again.partitions.remove, again.partitions.put) == ((), {})
    assert all((one.remove, one.put) == ((), {}) for one in again.faults.values())


@given(desired(), configs(), MAKERS)
def test_only_what_differs_is_touched(now: Desired, wanted: Config, by: str) -> None:
    steps, before, names = plan(now, wanted, by), things(now), named(wanted)
    put = {("proxy", name): one for name, one in steps.proxies.put.items()}
    put |= {("fault", name, one): it for name, faults in steps.faults.items() for one, it in faults.put.items()}  # type: ignore[misc]
    put |= {("partition", name): one for name, one in steps.partitions.put.items()}  # type: ignore[misc]
    assert put == {key: one for key, one in names.items() if key not in before or before[key].spec != one}
    assert set(steps.start) == {one.name for one in wanted.proxies} - now.proxies.keys()
    assert set(steps.change) <= now.proxies.keys() - set(steps.proxies.remove)
    for name in now.proxies.keys() - set(steps.proxies.remove) - set(steps.change):
        assert ("proxy", name) not in put
        assert (steps.faults[name].remove, steps.faults[name].put) == ((), {})


@given(desired(), configs(), MAKERS)
def test_proxies_come_out_whole(now: Desired, wanted: Config, by: str) -> None:
    outcome = plan(now, wanted, by).outcome(now)
    specs = {one.name: one for one in outcome.specs()}
    assert list(specs) == list(outcome.proxies)
    for name, one in specs.items():
        assert replace(one, faults=()) == outcome.proxies[name].spec
        assert [it.name for it in one.faults] == list(outcome.faults.get(name, {}))


def test_faults_that_stay_the_same_are_left_alone_and_in_their_place() -> None:
    now = {name: Owned(one, "file") for name, (one, _) in FAULTS.items()}
    slower = FAULTS["g"][1]
    found = changes_of(now, {"g": slower, "f": FAULTS["f"][0]}, "file")
    assert found == Changes(remove=("h",), put={"g": slower}, keep=("f",))
    assert list(found.carried_out(now, "file")) == ["f", "g"]


def test_without_a_maker_everything_that_is_not_wanted_goes() -> None:
    now = {"f": Owned(FAULTS["f"][0], "file"), "g": Owned(FAULTS["g"][0], "rest")}
    assert changes_of(now, {}, None).remove == ("f", "g")
    assert changes_of(now, {}, "rest").remove == ("g",)
