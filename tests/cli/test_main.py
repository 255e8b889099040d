"""The command itself: version, quick help, completion."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from chaosproxy import __version__
from chaosproxy.cli import main

HEAVY = ("aiohttp", "uvloop", "rich", "yaml", "prometheus_client", "cryptography")


def test_version() -> None:
    assert CliRunner().invoke(main, ["--version"]).stdout == f"chaosproxy, version {__version__}\n"


def test_every_promised_command_is_there() -> None:
    promised = {
        "serve", "check", "doctor", "faults", "schema", "status", "inject", "partition", "crash", "pause", "nodes",
        "heal", "demo", "certs", "connections", "kill", "events", "reactions", "probe",
    }  # fmt: skip
    assert set(main.commands) == promised


@pytest.mark.parametrize("words", [["--help"], ["inject", "--help"], ["faults", "--json"]])
def test_what_needs_nothing_heavy_loads_nothing_heavy(words: list[str]) -> None:
    """Completion runs the command at each press of the tab key."""
    program = (
        "import sys\nfrom chaosproxy.cli import main\n"
        f"main({words!r}, standalone_mode=False)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60.0, check=True)
    assert ended.stderr == "[]\n"


def test_python_m_is_the_command() -> None:
    command = [sys.executable, "-m", "chaosproxy", "--version"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60.0, check=True)
    assert ended.stdout == f"chaosproxy, version {__version__}\n"


def test_the_shell_is_offered_fault_types() -> None:
    environment = {**os.environ, "_CHAOSPROXY_COMPLETE": "bash_complete", "COMP_CWORD": "2"}
    command = [sys.executable, "-m", "chaosproxy"]
    ended = subprocess.run(command, env={**environment, "COMP_WORDS": "chaosproxy faults s"},
                           capture_output=True, text=True, timeout=60.0, check=False)  # fmt: skip
    assert ended.stdout.splitlines() == ["plain,stall", "plain,slicer", "plain,slow_close", "plain,slow_accept"]


def test_the_list_of_commands_shows_each_summary_whole() -> None:
    listed = CliRunner().invoke(main, ["--help"]).stdout.partition("Commands:")[2]
    assert all(name in listed for name in main.commands)
    assert "..." not in listed
