"""Loops of proxies, found from their addresses alone."""

from __future__ import annotations

import pytest

from chaosproxy.model.address import Address, parse_address
from chaosproxy.model.loops import Ends, loop_problem, loop_through, loops
from tests.cpu import cpu_time


def ends(**proxies: str) -> dict[str, Ends]:
    """Proxies by name, each as `listen > upstream`."""
    parts = {name: [parse_address(one, 0) for one in text.split(" > ")] for name, text in proxies.items()}
    return {name: Ends((listen,), upstream) for name, (listen, upstream) in parts.items()}


@pytest.mark.parametrize(
    ("listen", "upstream"),
    [
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("127.0.0.1:80", "localhost:80"),
        ("127.0.0.1:80", "LOCALHOST.:80"),
        ("localhost:80", "[::1]:80"),
        ("127.0.0.1:80", "0.0.0.0:80"),
        ("[::1]:80", "[::]:80"),
        ("0.0.0.0:80", "127.0.0.2:80"),
        ("[::]:80", "[::1]:80"),
        ("[::]:80", "127.0.0.1:80"),
        ("[::]:80", "0.0.0.0:80"),
        ("localhost:80", "0.0.0.0:80"),
        ("127.0.0.1:80", "[::ffff:127.0.0.1]:80"),
        ("db:80", "DB.:80"),
        ("unix:/run/a.sock", "unix:/run/../run/a.sock"),
    ],
)
def test_one_address_in_two_spellings_is_a_loop(listen: str, upstream: str) -> None:
    assert list(loops(ends(web=f"{listen} > {upstream}"))) == [("web",)]
    there_and_back = ends(web=f"127.0.0.1:1 > {upstream}", api=f"{listen} > 127.0.0.1:1")
    assert list(loops(there_and_back)) == [("web", "api")]


@pytest.mark.parametrize(
    ("listen", "upstream"),
    [
        ("127.0.0.1:80", "127.0.0.1:81"),
        ("127.0.0.1:80", "127.0.0.2:80"),
        ("127.0.0.1:80", "[::1]:80"),
        ("0.0.0.0:80", "10.0.0.1:80"),
        ("0.0.0.0:80", "[::1]:80"),
        ("0.0.0.0:80", "[::]:80"),
        ("127.0.0.1:80", "[::]:80"),
        ("127.0.0.1:80", "db:80"),
        ("127.0.0.1:0", "127.0.0.1:80"),
        ("10.0.0.1:80", "0.0.0.0:80"),
        ("unix:/run/a.sock", "unix:/run/b.sock"),
    ],
)
def test_another_address_is_none_or_not_known_to_be_one(listen: str, upstream: str) -> None:
    assert list(loops(ends(web=f"{listen} > {upstream}"))) == []


def test_a_listener_without_ipv4_is_not_reached_over_it() -> None:
    address = Address("::", 80)
    for host, found in (("127.0.0.1", []), ("0.0.0.0", []), ("::1", [("web",)]), ("localhost", [("web",)])):
        assert list(loops({"web": Ends((address,), Address(host, 80), ipv6only=True)})) == found


def test_a_chain_is_legal_and_a_loop_at_its_end_is_found_once() -> None:
    chain = ends(a="h:1 > h:2", b="h:2 > h:3", c="h:3 > h:4", other="h:9 > h:2")
    assert list(loops(chain)) == []
    looped = {**chain, **ends(d="h:4 > h:3")}
    assert list(loops(looped)) == [("c", "d")]
    assert loop_through("a", looped) is None, "the change of a proxy before the loop does not make it"
    assert loop_through("d", looped) == ("d", "c")


def test_two_ways_of_one_name_are_both_followed() -> None:
    both = ends(web="h:1 > localhost:2", four="127.0.0.1:2 > h:9", six="[::1]:2 > h:1")
    assert list(loops(both)) == [("web", "six")]
    assert loop_through("four", both) is None


def test_a_message_names_the_way_as_long_as_it_is_short() -> None:
    upstream = Address("h", 1)
    short = loop_problem(("web", "api"), upstream)
    assert (short.path, short.code) == (("upstream",), "upstream-loop")
    assert "(web -> api -> web)" in short.message
    assert "(round 2000 proxies)" in loop_problem(["x"] * 2000, upstream).message


def test_many_proxies_are_checked_in_linear_time() -> None:
    def row(count: int, end: str) -> dict[str, Ends]:
        hosts = [f"127.{n >> 16}.{n >> 8 & 255}.{n & 255}:80" for n in range(1, count + 1)]
        names = [f"p{n}" for n in range(count)]
        return ends(**{name: f"{a} > {b}" for name, a, b in zip(names, hosts, [*hosts[1:], end], strict=True)})

    few, many = row(400, "h:1"), row(4_000, "h:1")
    with cpu_time() as small:
        assert list(loops(few)) == []
    with cpu_time() as large:
        assert list(loops(many)) == []
    assert large.seconds < 40 * small.seconds, "ten times the proxies may take about ten times as long"
    [loop] = loops(row(4_000, "127.0.0.1:80"))
    assert len(loop) == 4_000
