"""PostgreSQL's streaming replication through the proxy, while the network carries one direction only.

The standby's walreceiver is the proxy's client: what the primary sends flows downstream, what the standby confirms
flows upstream. A cut is over before anything on either side times out: the same connection goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.servers import replication
from tests.servers.chaos import ChaosproxyServer
from tests.servers.processes import wait_until
from tests.servers.replication import STANDBY, Connection, connect

pytestmark = [pytest.mark.real_server, pytest.mark.slow]

modes = pytest.mark.parametrize(
    ("loop_name", "mode"),
    [pytest.param("uvloop", "packet", marks=pytest.mark.namespace), ("uvloop", "stream"), ("asyncio", "stream")],
    scope="module",
)
"""In mode packet no loop sees what is cut."""

PROXY, PRIMARY = "replication", "primary"
ROWS = 1000
"""In each batch that is written."""
LINE = 128
"""Characters in each row."""
SOON_SECONDS = 30.0
RECOVERY_SECONDS = 60.0
"""More than TCP's back-off after a cut of 3 s: it sends again after 0.2, 0.6, 1.4, 3 and 6.2 s."""


@modes
def test_what_the_primary_sends_in_vain_is_on_the_standby_after_healing_to_the_last_row(
    chaosproxy_server: ChaosproxyServer, mode: str
) -> None:
    with replicating(chaosproxy_server) as (primary, standby):
        write(primary, batch=0)
        wait_until(lambda: lag(primary) == 0, SOON_SECONDS, "the standby has replayed all")
        connection = walsender(primary)
        with cut(chaosproxy_server, PRIMARY, STANDBY, mode):
            for batch in (1, 2, 3):
                write(primary, batch)
                wait_until(lambda: unsent(primary) == 0, SOON_SECONDS, "the primary has sent what it wrote")
                assert lag(primary) >= batch * ROWS * LINE
            # The other way is open: the standby is heard, and has nothing new to say.
            wait_until(heard_again(primary), SOON_SECONDS, "the primary has heard from its standby")
            assert lag(primary) >= 3 * ROWS * LINE
            assert rows(standby) == lines(0)
        wait_until(lambda: lag(primary) == 0, RECOVERY_SECONDS, "the standby has caught up")
        assert rows(standby) == rows(primary) == lines(0, 1, 2, 3)
        assert walsender(primary) == connection


@modes
def test_a_synchronous_commit_waits_while_its_standby_hears_nothing(
    chaosproxy_server: ChaosproxyServer, mode: str
) -> None:
    with replicating(chaosproxy_server, synchronous=True) as (primary, standby), writer(primary) as begin:
        connection = walsender(primary)
        with cut(chaosproxy_server, PRIMARY, STANDBY, mode):
            commit = begin(0)
            wait_until(lambda: commits_that_wait(primary) == 1, SOON_SECONDS, "the commit waits for the standby")
            for _ in range(2):
                again = heard_again(primary)
                wait_until(again, SOON_SECONDS, "the primary has heard from its standby, but not what it waits for")
            assert not commit.done()
            assert rows(standby) == rows(primary) == []
        commit.result(RECOVERY_SECONDS)
        assert rows(primary) == lines(0)
        wait_until(lambda: rows(standby) == lines(0), SOON_SECONDS, "the standby has replayed what it confirmed")
        assert walsender(primary) == connection


@modes
def test_a_synchronous_commit_waits_while_its_standby_is_not_heard_though_the_rows_are_there(
    chaosproxy_server: ChaosproxyServer, mode: str
) -> None:
    with replicating(chaosproxy_server, synchronous=True) as (primary, standby), writer(primary) as begin:
        connection = walsender(primary)
        with cut(chaosproxy_server, STANDBY, PRIMARY, mode):
            commit = begin(0)
            wait_until(lambda: rows(standby) == lines(0), SOON_SECONDS, "the standby has the rows")
            before = chaosproxy_server.withheld(PROXY, "upstream")
            wait_until(
                lambda: chaosproxy_server.withheld(PROXY, "upstream") > before, SOON_SECONDS,
                "the standby has reported once more, in vain",
            )  # fmt: skip
            assert not commit.done()
            # A reader of the standby sees rows that no reader of the primary sees yet.
            assert commits_that_wait(primary) == 1
            assert rows(primary) == []
            assert lag(primary) >= ROWS * LINE
        commit.result(RECOVERY_SECONDS)
        assert rows(primary) == rows(standby) == lines(0)
        assert walsender(primary) == connection


@contextmanager
def replicating(server: ChaosproxyServer, synchronous: bool = False) -> Iterator[tuple[Connection, Connection]]:
    """A primary and a standby that reaches it through a proxy, with an empty table; a connection to each."""
    with replication.primary(STANDBY if synchronous else "") as primary_port:
        through = server.add_proxy(PROXY, primary_port, **{"from": STANDBY, "to": PRIMARY})
        with (
            replication.standby(through) as standby_port,
            connect(primary_port) as primary,
            connect(standby_port) as standby,
        ):
            primary.execute("CREATE TABLE ledger (number serial PRIMARY KEY, line text NOT NULL)")
            wait_until(lambda: lag(primary) == 0, SOON_SECONDS, "the standby has the table")
            yield primary, standby


@contextmanager
def cut(server: ChaosproxyServer, source: str, target: str, mode: str) -> Iterator[None]:
    """Until the block ends, nothing that `source` sends arrives at `target`; the other way is open."""
    wanted = {"from": [source], "to": [target], "one_way": True, "mode": mode}
    partition = server.call("POST", "/v1/partitions", wanted)["id"]
    try:
        yield
    finally:
        server.call("DELETE", f"/v1/partitions/{partition}")


@contextmanager
def writer(primary: Connection) -> Iterator[Callable[[int], Future[None]]]:
    """What begins to write a batch in a thread; a commit that still waits at the end waits no longer."""
    with connect(primary.info.port) as connection, ThreadPoolExecutor(1) as pool:
        try:
            yield lambda batch: pool.submit(write, connection, batch)
        finally:
            connection.cancel_safe(timeout=SOON_SECONDS)


def lines(*batches: int) -> list[str]:
    return [hashlib.sha512(b"%d" % number).hexdigest() for batch in batches for number in numbers(batch)]


def numbers(batch: int) -> range:
    return range(batch * ROWS, (batch + 1) * ROWS)


def write(primary: Connection, batch: int) -> None:
    primary.execute("INSERT INTO ledger (line) SELECT unnest(%s::text[])", [lines(batch)])


def rows(connection: Connection) -> list[object]:
    return [line for (line,) in connection.execute("SELECT line FROM ledger ORDER BY number")]


def lag(primary: Connection) -> int:
    """Bytes of log that the primary has written and has not been told to be replayed on its standby."""
    return number_of(primary, "pg_wal_lsn_diff(pg_current_wal_lsn(), coalesce(replay_lsn, '0/0'))")


def unsent(primary: Connection) -> int:
    """Bytes of log that the primary has not given to its TCP yet."""
    return number_of(primary, "pg_wal_lsn_diff(pg_current_wal_lsn(), sent_lsn)")


def walsender(primary: Connection) -> int:
    """Which process sends to the standby: one for each connection."""
    return number_of(primary, "pid")


def number_of(primary: Connection, expression: str) -> int:
    query = f"SELECT ({expression})::bigint FROM pg_stat_replication WHERE application_name = %s"
    (row,) = primary.execute(query, [STANDBY]).fetchall()
    assert isinstance(row[0], int)
    return row[0]


def heard_again(primary: Connection) -> Callable[[], bool]:
    """Whether something has arrived at the primary that the standby sent after this call."""
    began = primary.execute("SELECT clock_timestamp()").fetchone()
    query = "SELECT reply_time > %s FROM pg_stat_replication"
    return lambda: primary.execute(query, began).fetchone() == (True,)


def commits_that_wait(primary: Connection) -> int:
    """Commits on the primary that wait for a standby's word."""
    query = "SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    return primary.execute(query).rowcount
