"""Pages keep their word: every command in them is run, every link leads somewhere, the table is complete."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

import chaosproxy
from chaosproxy import __summary__
from chaosproxy.cli import main
from chaosproxy.model.types import FAULT_TYPES
from tests.servers.processes import find

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PERFORMED = [ROOT / "README.md", ROOT / "docs" / "http.md", ROOT / "examples" / "shop" / "README.md"]
"""Pages whose commands are all run, one after the other."""
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://)([^)#]+)")


def blocks(language: str, page: str = README) -> list[str]:
    return [text for found, text in BLOCK.findall(page) if found == language]


@dataclass(frozen=True)
class Command:
    """A line after `$ `, and the lines of output that the page shows below it."""

    line: str
    shown: tuple[str, ...]


def commands(page: str = README) -> list[Command]:
    found: list[Command] = []
    for line in "".join(blocks("console", page)).splitlines():
        if line.startswith("$ "):
            found.append(Command(line.removeprefix("$ "), ()))
        else:
            found[-1] = Command(found[-1].line, (*found[-1].shown, line))
    return found


def fault_table() -> str:
    rows = [f"| `{name}` | {fault.summary} | `{fault.example}` |" for name, fault in FAULT_TYPES.items()]
    return "\n".join(["| fault | what it does | for example |", "|---|---|---|", *rows])


def test_one_sentence_says_everywhere_what_chaosproxy_is() -> None:
    sentence = f"chaosproxy is {__summary__[0].lower()}{__summary__[1:]}."
    assert README.splitlines()[2].startswith(sentence)
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["description"] == __summary__
    assert f"{__summary__}." == chaosproxy.__doc__ == main.help
    assert f'image.description="{__summary__}"' in (ROOT / "Dockerfile").read_text()


def test_the_table_lists_every_fault_type_with_its_own_words() -> None:
    found = re.search(r"<!-- faults -->\n(.*?)\n?<!-- /faults -->", README, re.DOTALL)
    assert found and found[1] == fault_table(), f"the table must be:\n{fault_table()}"


@pytest.mark.parametrize("page", [*PERFORMED, *sorted((ROOT / "docs").glob("*.md"))], ids=lambda p: p.name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    links = LINK.findall(page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("command", [line.split("#")[0].split() for line in blocks("sh")[0].splitlines()], ids=" ".join)
def test_make_has_the_two_commands(command: list[str]) -> None:
    """Not performed here, where one would run this very test again; but make knows what to do, and what is right."""
    # Without what a make that runs this test was given: its options are not those of the page.
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "PYTEST_ARGS")}
    planned = subprocess.run(
        [*command, "--dry-run"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    expected = {"demo": "chaosproxy demo", "test": "-m pytest -n "}
    assert expected[command[1]] in planned.stdout


def test_the_readme_has_commands_to_run() -> None:
    assert len(commands()) >= 15
    assert len(blocks("sh")) == 1, "one block of make commands; what is to be run in full is ```console"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a network namespace of its own is Linux's")
@pytest.mark.parametrize("file", PERFORMED, ids=lambda file: file.relative_to(ROOT).with_suffix("").as_posix())
def test_every_command_does_what_the_page_shows(file: Path, tmp_path: Path) -> None:
    """All in one shell, one after the other, in a network of its own, where the ports of the page are free."""
    page = file.read_text()
    for text in blocks("yaml", page):
        first = text.partition("\n")[0]
        if first.startswith("# ") and first.endswith(".yaml"):
            (tmp_path / first.removeprefix("# ")).write_text(text)
    find("curl")
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parent.parent)
    for name in ("examples", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    answers = run_all(commands(page), tmp_path)
    assert len(answers) == len(commands(page))
    for command, answer in zip(commands(page), answers, strict=True):
        for line in command.shown:
            assert line == "…" or line in answer.splitlines(), f"$ {command.line}\n{answer}"
        failing = any("rror" in line for line in command.shown)
        assert failing or "exit code 0" in answer, f"$ {command.line}\n{answer}"


def run_all(wanted: list[Command], directory: Path) -> list[str]:
    """What each command printed, with its exit code in the last line."""
    script = ["set +e"]
    for number, command in enumerate(wanted):
        output = directory / f"{number}.out"
        if command.line.endswith("&"):
            script += [f"{command.line[:-1]} >>{output} 2>&1 &", "children+=($!)"]
            script += [f"await {output} '{line}'" for line in command.shown]
            script += ["listening 8000"] if "http.server" in command.line else []
            script += ["listening 8080"] if "server.py" in command.line else []
            script += [f"echo 'exit code 0' >>{output}"]
        else:
            script += [f"{{ {command.line}\n}} >{output} 2>&1", f"printf '\\nexit code %s\\n' $? >>{output}"]
    (directory / "script").write_text("\n".join([PRELUDE, *script, "kill ${children[@]}", "wait"]))
    shell = subprocess.run(
        [*own_network(), "bash", "script"], cwd=directory, capture_output=True, text=True, timeout=120,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    outputs = sorted(directory.glob("*.out"), key=lambda path: int(path.stem))
    assert len(outputs) == len(wanted), shell.stderr
    return [path.read_text() for path in outputs]


# In a new network namespace the loopback interface is down: SIOCSIFFLAGS (0x8914) with IFF_UP brings it up.
PRELUDE = f"""\
children=()
export PATH="$PWD/.venv/bin:$PATH"
trap 'kill ${{children[@]}} 2>/dev/null' EXIT
{sys.executable} -c '
import fcntl, socket, struct
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh", b"lo", 1))
'
await() {{ for ((i = 0; i < 300; i++)); do grep -qxF "$2" "$1" && return; sleep 0.1; done; }}
listening() {{ for ((i = 0; i < 300; i++)); do (: </dev/tcp/127.0.0.1/$1) 2>/dev/null && return; sleep 0.1; done; }}
"""


def own_network() -> list[str]:
    """The words that run a command in a network namespace; as an ordinary user within a user namespace too."""
    unshare = find("unshare")
    for flags in (["--net"], ["--map-root-user", "--net"]):
        if subprocess.run([unshare, *flags, "true"], capture_output=True).returncode == 0:
            return [unshare, *flags, "--"]
    pytest.skip("neither root nor user namespaces: the README's ports may be taken here")
