"""The worked examples in examples/failover and examples/storm: run as their pages say, they show what the pages show.

Times and counts differ from run to run, so the sentences are compared without their numbers, and the numbers with the
settings and the logs of the programs.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from chaosproxy.cli import main
from tests.servers.chaos import ChaosproxyServer, serving
from tests.servers.processes import HOST, Child, started, wait_until
from tests.servers.replication import primary, standby

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples"
CONFIGS = ROOT / "configs"
NUMBER = re.compile(r"\d[\d.]*( ms\b| s\b|%)?|\b(sure|likely)\b|\ball(?= of its load)")

MAY_BE_SILENT = ("  at most ", "  the load was ")
"""On a busy machine a few attempts may be mixed up, and then neither is claimed."""

pytestmark = [pytest.mark.slow, pytest.mark.real_server]


@contextmanager
def child(directory: Path, *words: str) -> Iterator[Child]:
    """Run an example program until the block ends."""
    made = Child([sys.executable, *words], directory)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait()


def without_numbers(line: str) -> str:
    return NUMBER.sub("#", line.strip())


def shown_story(page: Path, number: int) -> list[str]:
    """The sentences below the prompt `$ chaosproxy reactions` of this number, from 0, in a page."""
    block = page.read_text().split("$ chaosproxy reactions")[number + 1].split("```")[0]
    return [line for line in block.splitlines()[1:] if line.strip() and not line.startswith(("$", "…"))]


def told_story(server: ChaosproxyServer) -> str:
    told = CliRunner().invoke(main, ["reactions", "--url", server.control])
    assert told.exit_code == 0, told.output
    return told.output


def assert_told(sentences: Sequence[str], story: str) -> None:
    told = {without_numbers(line) for line in story.splitlines()}
    assert sentences, "the page shows a story"
    missing = [line for line in sentences if without_numbers(line) not in told and not line.startswith(MAY_BE_SILENT)]
    assert missing == [], f"not told:\n{story}"


def reactions(server: ChaosproxyServer) -> Any:  # Any: JSON
    return server.call("GET", "/v1/reactions")


def test_an_application_that_fails_over(tmp_path: Path) -> None:
    page = EXAMPLES / "failover" / "README.md"
    with primary() as first, standby(first) as second:
        environment = {
            "PRIMARY_PROXY_PORT": "0", "STANDBY_PROXY_PORT": "0",
            "PRIMARY_UPSTREAM": f"{HOST}:{first}", "STANDBY_UPSTREAM": f"{HOST}:{second}",
        }  # fmt: skip
        with serving(tmp_path, str(CONFIGS / "postgres-failover.yaml"), environment=environment) as server:
            ports = [str(server.port(name)) for name in ("db-primary", "db-standby")]
            with child(tmp_path, str(EXAMPLES / "failover" / "app.py"), "120", *ports) as app:
                wait_until(lambda: app.output.count(f"reads from port {ports[0]}") == 8, 30, "they read")
                wait_until(lambda: answered(server, "db-primary") >= 150, 30, "three seconds of reading", every=0.5)
                server.inject("db-primary", "stall-1", type="stall", ttl="12s")
                wait_until(lambda: app.output.count(f"reads from port {ports[1]}") == 8, 30, "they have moved")
                moved = app.output
                wait_until(lambda: bool(windows(server)[0]["ended"]), 60, "the stall is over", every=0.5)
                answers = answered(server, "db-standby")
                wait_until(lambda: answered(server, "db-standby") >= answers + 100, 60, "they go on", every=0.5)
            told, story = reactions(server), told_story(server)
    assert_told(shown_story(page, 0), story)
    timeouts = [one["s"] for one in told["proxies"]["db-primary"]["gave_up"]["timeouts"]]
    assert timeouts == [pytest.approx(1.0, rel=0.05), pytest.approx(2.0, rel=0.05)], story
    [move] = told["services"]["db"]["failovers"]
    assert (move["from"], move["to"], move["failed_back_after_s"]) == ("db-primary", "db-standby", None)
    log = [float(at) for at in re.findall(rf"([\d.]+) s  worker \d: reads from port {ports[1]}", moved)]
    gave_up = [float(at) for at in re.findall(r"([\d.]+) s  worker \d: gave up", moved)]
    assert move["after_s"] - move["detect_s"] == pytest.approx(min(log) - min(gave_up), abs=0.2), f"{story}\n{moved}"


def answered(server: ChaosproxyServer, proxy: str) -> int:
    proxies = reactions(server)["proxies"]
    return int(proxies[proxy]["turns"]["answered"]) if proxy in proxies else 0


def windows(server: ChaosproxyServer) -> Any:  # Any: JSON
    return reactions(server)["windows"]


@pytest.mark.parametrize(("words", "is_storm"), [((), True), (("--back-off",), False)], ids=["at once", "back-off"])
def test_a_retry_storm_that_does_not_end_unless_users_back_off(
    words: tuple[str, ...], is_storm: bool, tmp_path: Path
) -> None:
    page = EXAMPLES / "storm" / "README.md"
    with started(lambda port: [sys.executable, str(EXAMPLES / "storm" / "server.py"), str(port)], tmp_path) as upstream:
        environment = {"API_PROXY_PORT": "0", "API_UPSTREAM": f"{HOST}:{upstream}"}
        with serving(tmp_path, str(CONFIGS / "retry-storm.yaml"), environment=environment) as server:
            program = str(EXAMPLES / "storm" / "clients.py")
            with child(tmp_path, program, *words, "120", str(server.port("api"))) as clients:
                wait_until(lambda: answered(server, "api") >= 100, 30, "five seconds of users", every=0.5)
                server.inject("api", "stall-1", type="stall", ttl="5s")
                wait_until(lambda: aftermath(server) is not None, 90, "35 s have passed since the heal", every=0.5)
                log = clients.output
            story, is_metastable = told_story(server), aftermath(server)
    assert is_metastable is is_storm, f"{story}\n{log}"
    assert_told(shown_story(page, 0 if is_storm else 1), story)


def aftermath(server: ChaosproxyServer) -> bool | None:
    found = windows(server)
    told = found[0]["proxies"]["api"]["aftermath"] if found else None
    return None if told is None else told["metastable"]
