"""Protocols with several ports: FTP in passive mode, a Redis Cluster, and a mesh in which everybody talks to everybody.

Each test runs a file of configs/ that docs/several-ports.md explains. FTP and Redis announce their addresses, which
are therefore fixed: these tests run in a network namespace.
"""

from __future__ import annotations

import contextlib
import ftplib
import importlib.util
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import redis
from redis.cluster import RedisCluster

from tests.servers.backends import directory_of
from tests.servers.chaos import ChaosproxyServer, serving
from tests.servers.processes import HOST, Child, do_without, find, wait_until

pytestmark = pytest.mark.real_server

CONFIGS = Path(__file__).parent.parent.parent / "configs"
START_SECONDS = 60.0

# ── FTP ───────────────────────────────────────────────────────────────────────────────────

FTP_HOST, FTP_PORT = "127.0.0.2", 2121
PASSIVE_PORTS = range(30000, 30004)
DATA_PROXIES = [f"ftp-data-{number}" for number in range(len(PASSIVE_PORTS))]
CONTENT = b"a file\n" * 1000


@contextmanager
def ftp_server(directory: Path) -> Iterator[None]:
    """The FTP server of configs/ftp.yaml, with one file."""
    if importlib.util.find_spec("pyftpdlib") is None:
        do_without("pyftpdlib is not installed; `make .venv/.ready-dev` installs it")
    (directory / "file").write_bytes(CONTENT)
    passive = ["--range", f"{PASSIVE_PORTS[0]}-{PASSIVE_PORTS[-1]}", "--nat-address", FTP_HOST]
    command = [sys.executable, "-m", "pyftpdlib", "-i", HOST, "-p", str(FTP_PORT), "-d", str(directory), *passive]
    child = Child(command, directory, {**os.environ, "PYTHONWARNINGS": "ignore"})
    try:
        wait_until(lambda: child.ended or "starting FTP server" in child.output, START_SECONDS, "the FTP server runs")
        assert not child.ended, child.output
        yield
    finally:
        child.stop(signal.SIGKILL)


@contextmanager
def ftp_client(seconds: float) -> Iterator[ftplib.FTP]:
    """A client that connects to the address that the server announces, and gives up after `seconds`."""
    client = ftplib.FTP(timeout=seconds)
    client.trust_server_pasv_ipv4_address = True
    client.connect(FTP_HOST, FTP_PORT)
    client.login()
    try:
        yield client
    finally:
        client.close()


def download(client: ftplib.FTP) -> bytes:
    got = io.BytesIO()
    client.retrbinary("RETR file", got.write)
    return got.getvalue()


@pytest.mark.slow
@pytest.mark.namespace
def test_ftp_passive_mode_goes_through_one_proxy_per_port(tmp_path: Path) -> None:
    with directory_of() as directory, ftp_server(directory), serving(tmp_path, str(CONFIGS / "ftp.yaml")) as server:
        with ExitStack() as stack:
            clients = [stack.enter_context(ftp_client(10.0)) for _ in PASSIVE_PORTS]
            announced = [client.makepasv() for client in clients]
            assert sorted(announced) == [(FTP_HOST, port) for port in PASSIVE_PORTS], "every port is in use at once"
            assert [download_from(place, client) for place, client in zip(announced, clients, strict=True)] == [
                CONTENT for _ in PASSIVE_PORTS
            ]
            carried = downstream_bytes(server)
            assert [carried[name] for name in DATA_PROXIES] == [len(CONTENT) for _ in PASSIVE_PORTS]

        with ftp_client(10.0) as client:
            server.call("POST", "/v1/faults", {"proxies": ["ftp-data-*"], "type": "stall"})
            with ftp_client(10.0) as hanging:
                hanging.timeout = 0.5  # of the data connection: a client's own limit, hence real time
                with pytest.raises(TimeoutError):
                    download(hanging)
                assert client.pwd() == "/", "the control connection works"
            server.heal()

            cut = server.call("POST", "/v1/partitions", {"from": "client", "to": "ftp"})
            assert [part["proxy"] for part in cut["proxies"]] == ["ftp-control", *DATA_PROXIES]
            assert client.sock is not None
            client.putcmd("PWD")
            wait_until(lambda: server.withheld("ftp-control", "upstream") > 0, 30.0, "the partition stops the command")
            client.sock.setblocking(False)
            with pytest.raises(BlockingIOError):
                client.sock.recv(1)
            server.heal()
        with ftp_client(10.0) as client:
            assert download(client) == CONTENT


def download_from(place: tuple[str, int], client: ftplib.FTP) -> bytes:
    """The file, over a data connection to the address that PASV has announced."""
    with socket.create_connection(place, 10.0) as data, data.makefile("rb") as stream:
        client.voidcmd("TYPE I")
        client.sendcmd("RETR file")
        got = stream.read()
    client.voidresp()
    return got


def downstream_bytes(server: ChaosproxyServer) -> dict[str, int]:
    """The bytes that each proxy has received from its server."""
    start, end = 'chaosproxy_bytes_total{direction="downstream",proxy="', '"} '
    lines = [line.removeprefix(start) for line in server.metrics().splitlines() if line.startswith(start)]
    return {name: int(float(value)) for name, _, value in (line.partition(end) for line in lines)}


# ── Redis Cluster ─────────────────────────────────────────────────────────────────────────

NUMBERS = (1, 2, 3)
NODE_TIMEOUT_MS = 1500


@contextmanager
def redis_cluster() -> Iterator[None]:
    """The cluster of configs/redis-cluster.yaml; the proxies must be there."""
    program = find("redis-server")
    with directory_of() as directory, ExitStack() as stack:
        for number in NUMBERS:
            home = directory / f"n{number}"
            home.mkdir()
            options = {
                "dir": home, "bind": real(number), "port": 6379, "save": "", "cluster-enabled": "yes",
                "cluster-node-timeout": NODE_TIMEOUT_MS, "cluster-announce-ip": announced(number),
            }  # fmt: skip
            words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
            child = Child([program, *words], home)
            stack.callback(child.stop, signal.SIGKILL)
            wait_until(lambda number=number: answers(number), START_SECONDS, f"n{number} answers")  # type: ignore[misc]
        through = [f"{announced(number)}:6379" for number in NUMBERS]
        made = subprocess.run(
            [find("redis-cli"), "--cluster", "create", *through, "--cluster-yes"],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert made.returncode == 0, made.stdout + made.stderr
        yield


def real(number: int) -> str:
    return f"127.0.0.1{number}"


def announced(number: int) -> str:
    return f"127.0.0.2{number}"


@contextmanager
def node(number: int) -> Iterator[redis.Redis]:
    """A client of one node that goes past the proxies."""
    with contextlib.closing(redis.Redis(real(number), 6379, socket_timeout=30.0, decode_responses=True)) as client:
        yield client


def answers(number: int) -> bool:
    try:
        with node(number) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def states() -> set[str]:
    """The state of the cluster in the eyes of its nodes: ok or fail."""
    found = set()
    for number in NUMBERS:
        with node(number) as client:
            found.add(str(client.execute_command("CLUSTER INFO")["cluster_state"]))
    return found


def waits_for(waiting: int, other: int) -> float:
    """Seconds for which a ping of one node to another has had no reply; 0 where none is under way."""
    with node(waiting) as client:
        known = client.execute_command("CLUSTER NODES")
        sent = int(known[f"{announced(other)}:6379"]["last_ping_sent"])
    return time.time() - sent / 1000 if sent else 0.0


@pytest.mark.slow
@pytest.mark.namespace
def test_a_redis_cluster_lives_while_one_bus_proxy_stalls_and_fails_when_all_do(tmp_path: Path) -> None:
    with serving(tmp_path, str(CONFIGS / "redis-cluster.yaml")) as server, redis_cluster():
        wait_until(lambda: states() == {"ok"}, START_SECONDS, "all nodes are content")
        with contextlib.closing(RedisCluster(host=announced(1), port=6379, socket_timeout=30.0)) as client:
            for number in range(30):
                assert client.set(f"key-{number}", number)
        assert all(value > 0 for value in downstream_bytes(server).values()), "every proxy is in use"

        server.inject("n1-bus", type="stall", direction="both")
        wait_until(lambda: waits_for(2, 1) > 2 * NODE_TIMEOUT_MS / 1000, START_SECONDS, "n2 gets no reply from n1")
        assert states() == {"ok"}, "n1 still reaches the others through their proxies, and they count that"

        server.call("POST", "/v1/faults", {"service": "bus", "type": "stall", "direction": "both", "name": "silence"})
        wait_until(lambda: states() == {"fail"}, START_SECONDS, "every node misses the others")
        server.heal()
        wait_until(lambda: states() == {"ok"}, START_SECONDS, "the cluster is healthy again")


# ── a mesh ────────────────────────────────────────────────────────────────────────────────

MEMBERS = ("a", "b", "c")


class Member:
    """A member of a mesh: it listens, and sends its name to the peers in its own list."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.heard: set[str] = set()
        self._listener = socket.create_server((HOST, 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._listen, name=f"member {name}")
        self._thread.start()

    def _listen(self) -> None:
        while True:
            peer, _ = self._listener.accept()
            with peer:
                name = peer.recv(100).decode()
                if not name:
                    return
                self.heard.add(name)
                peer.sendall(b"heard")

    def greet(self, port: int) -> bool:
        """Send this member's name to a peer; True once the peer has confirmed it."""
        with contextlib.suppress(ConnectionError), socket.create_connection((HOST, port), 10.0) as peer:
            peer.sendall(self.name.encode())
            return peer.recv(100) == b"heard"
        return False

    def close(self) -> None:
        with socket.create_connection((HOST, self.port), 10.0):
            pass  # a peer without a name ends the thread
        self._thread.join(10.0)
        self._listener.close()


@contextmanager
def mesh() -> Iterator[dict[str, Member]]:
    with ExitStack() as stack:
        members = {}
        for name in MEMBERS:
            members[name] = Member(name)
            stack.callback(members[name].close)
        yield members


def pairs_that_work(server: ChaosproxyServer, members: dict[str, Member]) -> Sequence[str]:
    """The pairs of members of which the first reaches the second through their proxy, as `a-b`."""
    pairs = [f"{one}-{other}" for one in MEMBERS for other in MEMBERS if one != other]
    return [pair for pair in pairs if members[pair[0]].greet(server.port(pair))]


def test_a_mesh_with_a_proxy_per_pair_is_cut_between_any_two_members(tmp_path: Path) -> None:
    with mesh() as members:
        upstreams = {f"{name.upper()}_UPSTREAM": f"{HOST}:{one.port}" for name, one in members.items()}
        environment = os.environ | upstreams
        environment |= {f"{one}_{other}_PORT": "0" for one in "ABC" for other in "ABC" if one != other}
        with serving(tmp_path, str(CONFIGS / "gossip-mesh.yaml"), environment=environment) as server:
            assert pairs_that_work(server, members) == ["a-b", "a-c", "b-a", "b-c", "c-a", "c-b"]
            assert all(one.heard == {*MEMBERS} - {name} for name, one in members.items())

            server.call("POST", "/v1/partitions", {"topology": {"isolate": "a"}, "fail_fast": True})
            assert pairs_that_work(server, members) == ["b-c", "c-b"]
            server.heal()

            server.call("POST", "/v1/partitions", {"from": "a", "to": "b", "fail_fast": True})
            assert pairs_that_work(server, members) == ["a-c", "b-c", "c-a", "c-b"]
