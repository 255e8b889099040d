"""Preflight: every problem is found before anything changes, and what it makes is used, once."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from chaosproxy.app import running
from chaosproxy.cli import main
from chaosproxy.cli.files import load_file
from chaosproxy.config import dump
from chaosproxy.control.preflight import Prepared, Refusal, preflight
from chaosproxy.declare import Problems
from chaosproxy.errors import CannotListen, InvalidInput, Problem
from chaosproxy.model import Address, Config, ProxySpec
from chaosproxy.model.settings import read_config
from chaosproxy.model.tls import ListenTls, UpstreamTls
from chaosproxy.net.kernel.capabilities import Capabilities, Capability
from chaosproxy.net.tls import endpoint
from chaosproxy.seed import Seed
from tests.control.resolving import free_address
from tests.control.serving import LOOPBACK, serving
from tests.net.building import fault, proxy
from tests.net.harness import Stage, open_descriptors, run
from tests.net.tls_peers import Certs, connect
from tests.refused import places
from tests.supervising import change_proxy

ALL = Capabilities(*(Capability(name, "for tests") for name in ("filters", "pacing", "tcp_info", "tap")))
NO_FILTERS = replace(ALL, filters=Capability("filters", "drops", "no privilege", "grant it"))
NO_PACING = replace(ALL, pacing=Capability("pacing", "paces", "no pacing", "newer Linux"))

LOSS = {"type": "packet_loss", "rate": "1%", "direction": "upstream"}
THIN = {"type": "bandwidth", "rate": "1MB/s"}
SLOW = {"type": "latency", "delay": "1ms"}


def config(
    faults: Mapping[str, object] | None = None,
    partitions: Mapping[str, object] | None = None,
    listen: str = "127.0.0.1:1",
) -> Config:
    """Three nodes in a row; what is given is on the first proxy."""
    first = {"listen": listen, "upstream": "127.0.0.1:9", "from": "a", "to": "b", "faults": faults}
    second = {"listen": "127.0.0.1:2", "upstream": "127.0.0.1:9", "from": "b", "to": "c"}
    problems = Problems()
    found = read_config(
        {"version": 1, "proxies": {"ab": first, "bc": second}, "partitions": partitions}, problems
    )
    problems.raise_if_any()
    assert found is not None
    return found


def apart() -> Config:
    """Two proxies with two nodes each: halves that leave both proxies whole can be drawn."""
    proxies = {
        f"{one}{other}": {"listen": f"127.0.0.1:{port}", "upstream": "127.0.0.1:9", "from": one, "to": other}
        for one, other, port in (("a", "b", 1), ("c", "d", 2))
    }
    problems = Problems()
    found = read_config(
        {"version": 1, "proxies": proxies, "partitions": {"dark": {"topology": "random-halves"}}}, problems
    )
    problems.raise_if_any()
    assert found is not None
    return found


def fields(given: Config, kernel: Capabilities) -> list[str]:
    return [problem.field for problem in problems_of(given, Seed(0), kernel)]


def problems_of(given: Config, seed: Seed, kernel: Capabilities) -> tuple[Problem, ...]:
    found = preflight(given, seed, kernel)
    if isinstance(found, Prepared):
        return ()
    assert found.invalid == ()
    return found.unsupported


@pytest.mark.parametrize(
    ("fault", "lacking_filters", "lacking_pacing"),
    [
        (SLOW, False, False),
        (LOSS, False, False),
        ({**LOSS, "mode": "auto"}, False, False),
        ({**LOSS, "mode": "stream"}, False, False),
        ({**LOSS, "mode": "packet"}, True, False),
        ({**THIN, "mode": "packet"}, False, True),
        ({"type": "partition", "mode": "packet"}, True, False),
    ],
)
def test_a_fault_is_told_where_it_asks_for_packets_that_cannot_be_had(
    fault: object, lacking_filters: bool, lacking_pacing: bool
) -> None:
    given = config({"slow": SLOW, "it": fault})
    where = ["proxies.ab.faults.it.mode"]
    assert fields(given, ALL) == []
    assert fields(given, NO_FILTERS) == (where if lacking_filters else [])
    assert fields(given, NO_PACING) == (where if lacking_pacing else [])


@pytest.mark.parametrize("cut", [{"from": ["a", "c"], "to": "b"}, {"groups": ["a", "b"]}, {"topology": "halves"}])
def test_a_partition_is_told_once_however_many_proxies_it_goes_through(cut: Mapping[str, object]) -> None:
    for mode, found in (("packet", ["partitions.dark.mode"]), ("auto", []), ("stream", [])):
        given = config(partitions={"dark": {**cut, "mode": mode}})
        assert fields(given, NO_FILTERS) == found
        assert fields(given, ALL) == []


def test_a_partition_through_no_proxy_asks_for_nothing() -> None:
    nowhere = {"from": "a", "to": "c", "mode": "packet", "allow_empty": True}
    assert fields(config(partitions={"dark": nowhere}), NO_FILTERS) == []


def test_a_cut_that_is_drawn_through_no_proxy_is_told() -> None:
    found = {tuple(places(problems_of(apart(), Seed(seed), ALL))) for seed in range(20)}
    assert found == {(), ("partitions.dark no-effect",)}, "the seed decides"


def test_a_unix_socket_has_no_packets() -> None:
    partitions = {"first": {"from": "a", "to": "b", "mode": "packet"}, "other": {"from": "b", "to": "c"}}
    given = config({"lossy": {**LOSS, "mode": "packet"}}, partitions, listen="unix:/run/x.sock")
    assert places(problems_of(given, Seed(0), ALL)) == [
        "proxies.ab.faults.lossy.mode unsupported-mode", "partitions.first.mode unsupported-mode",
    ]  # fmt: skip


def test_everything_is_told_with_the_remedy() -> None:
    partitions = {id: {"from": "a", "to": "b", "mode": "packet"} for id in ("one", "two")}
    found = problems_of(config({"lossy": {**LOSS, "mode": "packet"}}, partitions), Seed(0), NO_FILTERS)
    assert places(found) == [
        "proxies.ab.faults.lossy.mode unsupported-mode", "partitions.one.mode unsupported-mode",
        "partitions.two.mode unsupported-mode",
    ]  # fmt: skip
    assert all("no privilege; grant it" in one.message for one in found)


# ── TLS: read once, and what was read is used ─────────────────────────────────────────────


class Made:
    """How many contexts are made from files."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.servers = self.clients = 0
        make_server, make_client = endpoint.server_context, endpoint.client_context

        def server(tls: ListenTls) -> ssl.SSLContext:
            self.servers += 1
            return make_server(tls)

        def client(tls: UpstreamTls, alpn: Iterable[str] = ()) -> ssl.SSLContext:
            self.clients += 1
            return make_client(tls, alpn)

        monkeypatch.setattr(endpoint, "server_context", server)
        monkeypatch.setattr(endpoint, "client_context", client)

    def taken(self) -> tuple[int, int]:
        """Those made since this was last asked."""
        made, self.servers, self.clients = (self.servers, self.clients), 0, 0
        return made


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Certs:
    return Certs(tmp_path_factory.mktemp("certs"))


def both_sides(certs: Certs, **settings: object) -> ProxySpec:
    tls = {"listen_tls": certs.listen(), "upstream_tls": certs.upstream()}
    return proxy("api", upstream="127.0.0.1:9", **{**tls, **settings})


def test_a_start_reads_the_files_once(certs: Certs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(monkeypatch)
    path = tmp_path / "c.yaml"
    given = Config(seed=1, control=LOOPBACK, proxies=(both_sides(certs),))
    path.write_text(dump(given))

    async def scenario() -> None:
        prepared, _ = load_file(path, lambda config: preflight(config, Seed(1), ALL))
        assert made.taken() == (1, 1)
        async with running(prepared, "asyncio") as here:
            assert made.taken() == (0, 0)
            assert here.supervisor.proxy("api").tls is prepared.proxies[0].tls

    asyncio.run(scenario())


def test_a_start_without_a_file_and_a_change_make_each_context_once(
    certs: Certs, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(stage: Stage) -> None:
        made = Made(monkeypatch)
        supervisor = stage.supervisor
        spec = both_sides(certs)
        await supervisor.apply(Config(proxies=(spec,)), "file")
        assert made.taken() == (1, 1)
        await supervisor.apply(Config(proxies=(replace(spec, service="s"),)), "file")
        await change_proxy(supervisor, replace(spec, queue=4096), "rest")
        assert made.taken() == (0, 0), "what TLS asks for is the same"
        moved = both_sides(certs, listen="localhost:0", listen_tls=certs.listen(alpn=["h2"]))
        await change_proxy(supervisor, moved, "rest")
        assert made.taken() == (1, 1)  # one endpoint: its sides are made together
        await supervisor.add_proxy(replace(spec, name="another"), "rest")
        assert made.taken() == (1, 1)

    run("uvloop", scenario)


def test_a_patch_over_rest_makes_each_context_once(certs: Certs, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with serving() as api:
            wish = {"name": "api", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9"}
            await api.ask("POST", "/v1/proxies", {**wish, "listen_tls": certs.listen()})
            made = Made(monkeypatch)
            patch = {"listen": "127.0.0.1:0", "listen_tls": {"alpn": ["h2"]}, "upstream_tls": certs.upstream()}
            assert (await api.ask("PATCH", "/v1/proxies/api", patch)).status == 200
            assert made.taken() == (1, 1)

    asyncio.run(scenario())


def test_files_that_change_between_preflight_and_use_are_not_read_again(tmp_path: Path) -> None:
    async def scenario(stage: Stage) -> None:
        own = Certs(tmp_path)
        spec = proxy("api", upstream="127.0.0.1:9", listen_tls=own.listen())
        context = own.client_context()
        prepared = preflight(Config(proxies=(spec,)), Seed(7), stage.supervisor.kernel)
        assert isinstance(prepared, Prepared)
        for name in ("api.test.pem", "api.test.key"):
            Path(own(name)).write_text("half a file")
        await stage.supervisor.apply(prepared, "file")
        await connect(stage, stage.supervisor.proxy("api"), context)

    run("uvloop", scenario)


@pytest.mark.parametrize("add", [True, False])
def test_a_change_that_is_refused_after_its_tls_was_prepared_leaves_nothing_behind(certs: Certs, add: bool) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.supervisor.add_proxy(both_sides(certs), "rest")
        api = stage.supervisor.proxy("api")
        before, spec, descriptors = api.tls, api.spec, open_descriptors()
        taken = stage.listener().getsockname()[1]
        wrong = {"x": {"type": "tls_handshake", "how": "expired_cert"}}
        wish = both_sides(certs, listen=f"127.0.0.1:{taken}", faults=wrong)
        with pytest.raises(CannotListen):
            if add:
                await stage.supervisor.add_proxy(replace(wish, name="another"), "rest")
            else:
                await change_proxy(stage.supervisor, wish, "rest")
        assert [one.spec for one in stage.supervisor.proxies()] == [spec]
        assert api.tls is before is not None
        assert before.with_handshake("expired_cert") is not before, "it has none yet"
        await connect(stage, api, certs.client_context())
        assert open_descriptors() - descriptors <= 4, "the listener, a client, and what the proxy dials"

    run("uvloop", scenario)


def test_a_handshake_fault_that_comes_while_tls_changes_meets_the_new_tls(certs: Certs) -> None:
    """The change waits for its socket; a fault is placed meanwhile, and its certificate is made from the new files."""

    async def scenario(stage: Stage) -> None:
        supervisor = stage.supervisor
        await supervisor.add_proxy(both_sides(certs), "rest")
        api = supervisor.proxy("api")
        wish = replace(both_sides(certs, listen_tls=certs.listen("localhost")), listen=Address("localhost", 0))
        change = asyncio.ensure_future(change_proxy(supervisor, wish, "rest"))
        await asyncio.sleep(0)  # it looks its address up
        assert not change.done()
        supervisor.put_fault("api", fault("late", type="tls_handshake", how="expired_cert"), "rest")
        await change
        assert [one.name for one in api.spec.faults] == ["late"]
        with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
            await connect(stage, api, certs.client_context(), "localhost")

    run("uvloop", scenario)


def test_every_problem_is_named_by_its_field(certs: Certs) -> None:
    wrong = {"cert": certs("api.test.pem"), "key": certs("other.key")}
    faults = {"lossy": {**LOSS, "mode": "packet"}, "x": {"type": "tls_handshake", "how": "old_version"}}
    specs = (
        proxy("api", upstream="127.0.0.1:9", listen_tls=wrong, upstream_tls={"ca": "/nowhere"}, faults=faults),
        proxy("db", upstream="127.0.0.1:9", faults={"lossy": faults["lossy"]}),
    )
    found = preflight(Config(proxies=specs), Seed(0), NO_FILTERS)
    assert isinstance(found, Refusal)
    assert [one.field for one in found.invalid] == ["proxies.api.listen_tls.key", "proxies.api.upstream_tls.ca"]
    assert [one.field for one in found.unsupported] == ["proxies.api.faults.lossy.mode", "proxies.db.faults.lossy.mode"]


def test_what_is_unsupported_is_answered_with_its_field() -> None:
    async def scenario() -> None:
        async with serving(kernel=NO_FILTERS) as api:
            ends = {"listen": "127.0.0.1:0", "upstream": "127.0.0.1:9"}
            lossy = {"name": "lossy", **LOSS, "mode": "packet"}
            refused = await api.ask("POST", "/v1/proxies", {**ends, "name": "db", "faults": [lossy]})
            assert (refused.status, refused.wrong) == (409, {"faults.lossy.mode": "unsupported-mode"})
            await api.ask("POST", "/v1/proxies", {**ends, "name": "db"})
            refused = await api.ask("POST", "/v1/proxies/db/faults", lossy)
            assert (refused.status, refused.wrong) == (409, {"mode": "unsupported-mode"})
            assert refused.body["code"] == "unsupported-mode"

    asyncio.run(scenario())


def through(**proxies: str) -> Config:
    """A configuration of proxies by name, each as `listen > upstream`."""
    ends = {name: dict(zip(("listen", "upstream"), text.split(" > "), strict=True)) for name, text in proxies.items()}
    problems = Problems()
    found = read_config({"version": 1, "proxies": ends}, problems)
    problems.raise_if_any()
    assert found is not None
    return found


def test_proxies_that_lead_back_are_refused_and_a_chain_is_not() -> None:
    chain = {"front": "127.0.0.1:1 > 127.0.0.1:2", "web": "127.0.0.1:2 > localhost:3"}
    assert isinstance(preflight(through(**chain, api="127.0.0.1:3 > 127.0.0.1:9"), None, ALL), Prepared)
    refused = preflight(through(**chain, api="0.0.0.0:3 > 127.0.0.1:2"), None, ALL)
    assert isinstance(refused, Refusal)
    assert places(refused.invalid) == ["proxies.web.upstream upstream-loop"]


def test_check_shows_a_loop_at_the_upstream_that_makes_it(tmp_path: Path) -> None:
    file = tmp_path / "loop.yaml"
    file.write_text(dump(through(web="127.0.0.1:2 > localhost:3", api="127.0.0.1:3 > 127.0.0.1:2")))
    shown = CliRunner().invoke(main, ["check", str(file)])
    assert shown.exit_code == 2
    assert f"{file}:5:15: proxies.web.upstream: localhost:3 leads back to the proxy itself (web -> api -> web)" in (
        shown.stderr
    )


def test_a_change_that_closes_a_loop_is_refused_and_changes_nothing() -> None:
    async def scenario() -> None:
        async with serving() as api:
            web = await api.supervisor.add_proxy(proxy("web", upstream="127.0.0.1:9"), "rest")
            there = str(web.listening_on[0])
            body = {"name": "api", "listen": "127.0.0.1:0", "upstream": there}
            answer = await api.ask("POST", "/v1/proxies", body)
            assert answer.status == 201, "a chain is legal"
            back = {"upstream": answer.body["listen"]}
            for change in (back, {**back, "enabled": False}):
                refused = await api.ask("PATCH", "/v1/proxies/web", change)
                assert (refused.status, refused.wrong) == (409, {"upstream": "upstream-loop"})
            assert "web -> api -> web" in refused.body["detail"]
            assert (web.spec.upstream, web.spec.enabled) == (Address("127.0.0.1", 9), True)
            third = {"name": "third", "listen": "127.0.0.1:0", "upstream": there}
            assert (await api.ask("POST", "/v1/proxies", third)).status == 201, "two chains may have one end"

    asyncio.run(scenario())


def test_a_port_that_is_drawn_and_closes_a_loop_is_refused() -> None:
    async def scenario(stage: Stage) -> None:
        host, port = free_address()
        await stage.supervisor.add_proxy(proxy("web", upstream=f"{host}:{port}"), "test")
        [there] = stage.supervisor.proxy("web").listening_on
        with pytest.raises(InvalidInput) as refused:
            await stage.supervisor.add_proxy(proxy("api", listen=f"{host}:{port}", upstream=str(there)), "test")
        assert places(refused.value.problems) == ["upstream upstream-loop"]
        with pytest.raises(InvalidInput) as refused:
            wanted = proxy("web", upstream=f"{host}:{port}"), proxy("api", listen=f"{host}:{port}", upstream=str(there))
            await stage.supervisor.apply(Config(proxies=wanted), "test")
        assert places(refused.value.problems) == ["proxies.web.upstream upstream-loop"]
        with socket.socket() as taken:  # no proxy listens there
            taken.bind((host, port))

    run("asyncio", scenario)
