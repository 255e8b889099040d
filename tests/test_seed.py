"""Dice depend on the seed and their address, on nothing else."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from chaosproxy.seed import Seed

ADDRESSES = st.lists(st.text(max_size=4) | st.integers(), max_size=4).map(tuple)


def test_the_same_address_has_the_same_dice_at_every_call() -> None:
    seed = Seed(42)
    first = [seed.at("fault", "db", "slow", 1).random() for _ in range(2)]
    assert first[0] == first[1] == Seed(42).at("fault", "db", "slow", 1).random()


def test_what_a_seed_gives_never_changes() -> None:
    """A seed written in a file or a report repeats its run in every later version."""
    dice = Seed(42).at("fault", "db", "slow", 1)
    assert [dice.randrange(1000) for _ in range(5)] == [943, 115, 504, 354, 883]
    assert Seed(42).share_at("fault", "db", "slow", 1) == 0.2630823118395639


def test_another_seed_has_other_dice() -> None:
    assert Seed(1).at("x").random() != Seed(2).at("x").random()


@settings(deadline=None)
@given(ADDRESSES, ADDRESSES)
def test_two_addresses_have_dice_of_their_own(one: tuple[str | int, ...], other: tuple[str | int, ...]) -> None:
    seed = Seed(7)
    assert (seed.share_at(*one) == seed.share_at(*other)) == (one == other)
    assert (seed.at(*one).random() == seed.at(*other).random()) == (one == other)


def test_where_one_word_ends_matters_and_so_does_its_type() -> None:
    seed = Seed(7)
    assert (
        len({seed.share_at("ab", "c"), seed.share_at("a", "bc"), seed.share_at("abc"), seed.share_at("ab", "c", "")})
        == 4
    )
    assert seed.share_at(1) != seed.share_at("1")


def test_drawing_at_one_address_shifts_no_other() -> None:
    seed = Seed(7)
    before = seed.at("b").random()
    seed.at("a").random()
    assert seed.at("b").random() == before


def test_shares_are_spread_evenly() -> None:
    shares = [Seed(3).share_at("connection", ordinal) for ordinal in range(20_000)]
    assert all(0 <= share < 1 for share in shares)
    tenths = [sum(tenth <= share * 10 < tenth + 1 for share in shares) for tenth in range(10)]
    assert all(abs(count - 2000) < 5 * (20_000 * 0.1 * 0.9) ** 0.5 for count in tenths)  # five deviations


def test_a_drawn_seed_is_fresh_and_can_be_written_down() -> None:
    one, other = Seed.drawn(), Seed.drawn()
    assert one != other
    assert 0 <= one.value < 2**48
