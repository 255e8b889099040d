"""The benchmark's own arithmetic, verdicts and document; and its load generator against its own backends."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.checks import Check, number
from bench.load import Load, Sample
from bench.machine import Cores
from bench.peers import Chaosproxy, Haproxy, Nginx, Route, Socat, find
from bench.processes import BenchError
from bench.report import Report, Section, Table, as_document, as_json, as_text
from bench.session import interleave
from bench.stats import Spread, exactly, ratio, spread


def test_a_spread_quotes_the_median_and_the_extremes() -> None:
    assert spread([5.0, 1.0, 2.0]) == Spread(median=2.0, low=1.0, high=5.0)


def test_a_spread_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        spread([])


def test_a_ratio_is_taken_round_by_round_so_that_drift_cancels() -> None:
    # The machine is four times slower in the last round, for both. Medians' ratio: 90 / 100.
    assert ratio([90.0, 160.0, 20.0], [100.0, 200.0, 50.0]) == Spread(median=0.8, low=0.4, high=0.9)


@pytest.mark.parametrize(
    ("of", "to", "problem"), [([1.0], [1.0, 2.0], "same rounds"), ([1.0], [0.0], "to 0")]
)
def test_a_ratio_without_partners_is_refused(of: list[float], to: list[float], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        ratio(of, to)


def test_rounds_are_interleaved() -> None:
    order: list[str] = []

    def run(name: str) -> int:
        order.append(name)
        return len(order)

    results = interleave("t", 2, {"a": lambda: run("a"), "b": lambda: run("b")})
    assert order == ["a", "b", "a", "b"]
    assert results == {"a": [1, 3], "b": [2, 4]}


@pytest.mark.parametrize(
    ("measured", "verdict"), [(0.29, "pass"), (0.3, "pass"), (0.301, "miss"), (None, "not measured")]
)
def test_verdict_of_an_upper_bound(measured: float | None, verdict: str) -> None:
    spread_ = None if measured is None else exactly(measured)
    assert Check(what="late", measured=spread_, unit=" ms", at_most=0.3).verdict == verdict


@pytest.mark.parametrize(("measured", "verdict"), [(0.81, "pass"), (0.8, "pass"), (0.799, "miss")])
def test_verdict_of_a_lower_bound(measured: float, verdict: str) -> None:
    assert Check(what="rate", measured=exactly(measured), at_least=0.8).verdict == verdict


def test_the_median_decides_not_the_extremes() -> None:
    assert Check(what="rate", measured=Spread(0.9, 0.1, 1.0), at_least=0.8).verdict == "pass"


def test_a_check_has_one_bound() -> None:
    with pytest.raises(ValueError, match="either"):
        Check(what="x", measured=None)
    with pytest.raises(ValueError, match="either"):
        Check(what="x", measured=None, at_most=1, at_least=1)


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (0.12345, "0.123"), (12.345, "12.3"), (94321.7, "94,322"), (5.0, "5")]
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


def _sample(others: float) -> Sample:
    return Sample({"rate": 10.0}, (), cpu_s=0.5, window_s=1.0, others=others, load_busy=0.4)


def _report() -> Report:
    section = Section(
        "Round trips",
        Table(("proxy", "rate"), [("chaosproxy", "10"), ("nginx", "12")]),
        [
            Check(what="rate, against nginx", measured=Spread(0.7, 0.6, 0.8), unit=" ×", at_least=0.75),
            Check(what="rate, against haproxy", measured=None, at_least=0.8, note="haproxy is not here"),
        ],
        samples={"chaosproxy": [_sample(0.01), _sample(0.3)]},
        figures={"KiB": [3.5]},
    )
    return Report(
        "2030-01-02", {"CPU": "Z80"}, {"nginx": "1.0"}, [section], ["skipped: haproxy is not installed"]
    )


def test_the_document_holds_facts_tables_and_verdicts() -> None:
    lines = as_document(_report()).splitlines()
    assert "# Performance" in lines
    assert "## Round trips" in lines
    assert "skipped: haproxy is not installed" in lines
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert ["**CPU**", "Z80"] in cells
    assert ["chaosproxy", "10"] in cells
    assert ["rate, against nginx", "≥ 0.75 ×", "0.7 × (0.6 to 0.8)", "miss"] in cells
    assert ["rate, against haproxy", "≥ 0.8", "haproxy is not here", "not measured"] in cells
    assert not [line for line in lines if "$" in line], "a placeholder of the template was left"


def test_the_text_ends_with_the_misses() -> None:
    text = as_text(_report())
    assert text.endswith(
        "Targets: 1 miss, 1 not measured\n  miss: rate, against nginx: 0.7 × (0.6 to 0.8), target ≥ 0.75 ×\n"
    )


def test_a_busy_machine_is_told() -> None:
    assert _report().quiet.startswith("1 of 2 runs shared a core") and "30%" in _report().quiet


def test_json_holds_every_run() -> None:
    found = json.loads(json.dumps(as_json(_report())))["sections"][0]
    assert [run["others"] for run in found["samples"]["chaosproxy"]] == [0.01, 0.3]
    assert found["figures"] == {"KiB": [3.5]}
    assert found["checks"][0]["median"] == 0.7 and found["checks"][1]["median"] is None


def test_the_document_is_written_from_whole_runs_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--write-docs", "--quick"]) == 2
    assert "remove --quick and --only" in capsys.readouterr().err


def test_a_peer_that_is_not_here_is_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    present, absent = find([Haproxy(), Socat()], install=False)
    assert present == []
    assert absent == ["skipped: haproxy is not installed", "skipped: socat is not installed"]


def test_routes_reach_every_proxys_configuration(tmp_path: Path) -> None:
    routes = [Route(21001, 9001), Route(21002, 9002, {"type": "latency", "delay": "20ms"})]
    [serve] = Chaosproxy().commands(tmp_path, routes)
    config = json.loads(Path(serve[2]).read_text())
    assert config["proxies"]["route-21001"] == {"listen": "127.0.0.1:21001", "upstream": "127.0.0.1:9001"}
    assert config["proxies"]["route-21002"]["faults"] == {"fault": {"type": "latency", "delay": "20ms"}}

    Haproxy().commands(tmp_path, routes)
    assert "server backend 127.0.0.1:9002" in (tmp_path / "haproxy.cfg").read_text()
    assert [argv[2] for argv in Socat().commands(tmp_path, routes)] == [
        "TCP:127.0.0.1:9001,nodelay",
        "TCP:127.0.0.1:9002,nodelay",
    ]


@pytest.mark.real_server
def test_nginx_accepts_its_configuration(tmp_path: Path) -> None:
    if missing := Nginx().missing():
        pytest.skip(missing)
    [argv] = Nginx().commands(tmp_path, [Route(21001, 9001)])
    checked = subprocess.run([*argv, "-t"], capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stderr
    assert "proxy_pass 127.0.0.1:9001;" in (tmp_path / "nginx.conf").read_text()


@pytest.fixture
def load(tmp_path: Path) -> Load:
    return Load(tmp_path, Cores.choose())


@pytest.mark.slow
def test_round_trips_against_the_echo_backend(load: Load) -> None:
    backend, port = load.backend("echo")
    with backend:
        run = load.run("pingpong", port, connections=4, size=64, seconds=0.3, warmup=0.05)
    assert run["count"] > 0
    assert run["rate"] == pytest.approx(run["count"] / run["seconds"], rel=0.01)
    assert run["seconds"] >= 0.3
    assert 0 < run["min_us"] <= run["p50_us"] <= run["p99_us"] <= run["max_us"]
    assert run["below"] == 0
    assert not backend.running


@pytest.mark.slow
def test_paced_messages_keep_their_schedule_and_early_ones_are_counted(load: Load) -> None:
    backend, port = load.backend("echo")
    with backend:
        run = load.run(
            "paced", port, connections=10, period_us=50_000, seconds=0.5, warmup=0.05, below_us=10**8
        )
    assert 0 < run["count"] <= 101  # 10 connections, 20 messages a second each: more would not be paced
    assert run["below"] == run["count"], "as it is 0 where nothing counts as early"


@pytest.mark.slow
def test_bulk_adds_up_over_its_streams(load: Load) -> None:
    backend, port = load.backend("source")
    with backend:
        run = load.run("bulk", port, connections=3, seconds=0.2, warmup=0.05)
    assert len(run.streams) == 3 and min(run.streams) > 0
    assert sum(run.streams) == pytest.approx(run["rate"], rel=1e-4)


@pytest.mark.slow
def test_a_load_without_responses_is_an_error_and_not_a_figure(load: Load) -> None:
    backend, port = load.backend("sink")
    with backend, pytest.raises(BenchError, match="no response arrived"):
        load.run("pingpong", port, seconds=0.1, warmup=0.01)
