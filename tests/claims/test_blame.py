"""Injected ends are never blamed on a peer, nor ends of a peer on a fault: each type of fault, on real sockets.

All plays of a loop run together, once; each test looks at one of them. docs/reactions.md has the table.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaosproxy.model.types import FAULT_TYPES
from tests.claims.blame import KERNEL, TABLE, WAITED_S, Acts, Played, Row, Settings, play
from tests.net.harness import LOOPS
from tests.net.tls_peers import Certs

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "reactions.md"
AT_ONCE = 24
"""Plays that run at a time, so that a busy machine does not stretch their times."""
PEERS = ("client closes", "client resets", "server closes", "server resets")
MAY_FOLLOW = {"client": {"server_ended"}, "server": {"client_ended"}}
"""The other side ends too, once it has seen the end."""
KERNEL_S = 60.0

Case = tuple[str, int, str]
"""The type, the number of the settings in its row, and `nobody` or the side that ends and how."""
Results = dict[Case, Played | Exception]


def acts_of(name: str, row: Row) -> list[Case]:
    return [(name, number, "nobody") for number in range(len(row.acts))]


def reverse_of(name: str, row: Row) -> list[Case]:
    return [(name, number, who) for number in range(len(row.harmless)) for who in PEERS]


ACTS = [case for name, row in TABLE.items() for case in acts_of(name, row)]
REVERSE = [case for name, row in TABLE.items() for case in reverse_of(name, row)]


def settings_of(case: Case, table: dict[str, Row] = TABLE) -> Settings:
    name, number, who = case
    row = table[name]
    return {"type": name, **(row.acts[number].settings if who == "nobody" else row.harmless[number])}


def shown(case: Case) -> str:
    more = " ".join(f"{key}={value}" for key, value in settings_of(case).items() if key != "type")
    return f"{case[0]}({more}) {case[2]}"


async def play_all(cases: list[Case], certs: Certs | None, table: dict[str, Row] = TABLE) -> Results:
    room = asyncio.Semaphore(AT_ONCE)

    async def one(case: Case) -> Played | Exception:
        async with room:
            try:
                async with asyncio.timeout(30):
                    return await play(settings_of(case, table), table[case[0]], case[2], certs)
            except Exception as error:  # the test of this play fails with it, and no other
                return error

    return dict(zip(cases, await asyncio.gather(*map(one, cases)), strict=True))


@pytest.fixture(scope="module", params=list(LOOPS))
def played(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Results]:
    certs = Certs(tmp_path_factory.mktemp("certs"))
    with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
        results = runner.run(play_all([*ACTS, *REVERSE], certs))
    yield results


def of(played: Results, case: Case) -> Played:
    found = played[case]
    if isinstance(found, Exception):
        raise found
    return found


def test_every_type_of_fault_has_a_row() -> None:
    assert list(TABLE) == list(FAULT_TYPES)


IN_WORDS = {
    "the turn fails": "turn_failed: injected", "the connection is closed": "closed: injected",
    "TLS fails": "tls_failed: injected", "the client ends": "client_ended",
}  # fmt: skip


def test_the_page_has_this_table() -> None:
    told: dict[frozenset[str], set[str]] = {}
    for name, row in TABLE.items():
        for acts in row.acts:
            told.setdefault(acts.told, set()).add(name)
    rows = re.findall(r"^\| ([^|]*) \| ((?:`[a-z_]+` ?)+)\|$", PAGE.read_text(), re.MULTILINE)
    on_page = {
        frozenset(told for words, told in IN_WORDS.items() if words in text): set(re.findall(r"[a-z_]+", names))
        for text, names in rows
    }
    assert on_page == told


def check_acts(one: Played, acts: Acts) -> None:
    assert one.told == acts.told
    assert one.wrong_faults == []
    assert (one.client_timeouts, one.server_timeouts, one.others) == ([], [], [])
    assert one.ended_patiently <= acts.told | {"closed: client", "client_ended", "server_ended"}, "after the heal"


def check_reverse(one: Played, who: str) -> None:
    side, how = who.split()
    if side == "client":
        ended = {"client_gave_up", "client_ended", "closed: client"}
    else:
        ended = {f"turn_failed: server_{'closed' if how == 'closes' else 'reset'}", "server_ended", "closed: server"}
    assert ended <= one.told <= ended | MAY_FOLLOW[side]
    assert all(WAITED_S / 2 < waited < WAITED_S + 2.0 for waited in one.waits), "a busy loop reads late"
    theirs, others = one.client_timeouts, one.server_timeouts
    if side == "server":
        theirs, others = others, theirs
    assert others == [] and one.others == []
    assert len(theirs) <= 1 and all(abs(claimed - WAITED_S) <= 0.1 for claimed in theirs)
    assert one.are_touched or theirs == []


@pytest.mark.parametrize("case", ACTS, ids=shown)
def test_a_fault_that_acts_is_blamed_on_no_peer(played: Results, case: Case) -> None:
    check_acts(of(played, case), TABLE[case[0]].acts[case[1]])


@pytest.mark.parametrize("case", REVERSE, ids=shown)
def test_a_peer_that_ends_is_told_although_a_fault_is_on(played: Results, case: Case) -> None:
    check_reverse(of(played, case), case[2])


def test_most_ends_are_claimed_as_a_time_out(played: Results) -> None:
    """Fewer may be on a busy machine, which spreads the waits. Without any, no claim would show nothing."""
    told = [of(played, case) for case in REVERSE]
    touched = [one for one in told if one.are_touched]
    claimed = [one for one in touched if one.client_timeouts or one.server_timeouts]
    assert 2 * len(claimed) >= len(touched) > len(told) / 3


@pytest.mark.namespace
@pytest.mark.parametrize("name", KERNEL)
def test_a_fault_in_the_kernel_is_blamed_on_no_peer(name: str) -> None:
    row = KERNEL[name]
    cases = [*acts_of(name, row), *reverse_of(name, row)]
    with asyncio.Runner(loop_factory=LOOPS["uvloop"]) as runner:
        results = runner.run(play_all(cases, None, KERNEL))
    for case in cases:
        if case[2] == "nobody":
            check_acts(of(results, case), row.acts[case[1]])
        else:
            check_reverse(of(results, case), case[2])


def test_every_type_that_acts_in_the_kernel_has_a_row() -> None:
    assert set(KERNEL) == {name for name, one in FAULT_TYPES.items() if one.in_kernel == "filters"}
