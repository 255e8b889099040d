"""The parts of the image and of docker-compose.yml that can be run without a Docker daemon."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.servers.backends import Web
from tests.servers.chaos import chaosproxy_command, serving
from tests.servers.processes import HOST, find, started, wait_until

ROOT = Path(__file__).parent.parent
COMPOSE = ROOT / "docker-compose.yml"
PROMETHEUS = ROOT / "configs" / "prometheus.yml"
Instruction = tuple[str, str]


def instructions() -> list[Instruction]:
    """The Dockerfile as (instruction, rest), continued lines joined, comments left out."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def last(name: str) -> str:
    return [rest for word, rest in instructions() if word == name][-1]


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return loaded


def test_the_compose_file_fits_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_compose_file_and_the_configuration_it_mounts_speak_of_the_same_names_and_ports() -> None:
    services = compose()["services"]
    config = (ROOT / "configs" / "compose.yaml").read_text()
    published = {port.split(":")[-1] for port in services["chaosproxy"]["ports"]}
    assert set(re.findall(r"listen: 0\.0\.0\.0:\$\{\w+:-(\d+)\}", config)) == published
    upstreams = set(re.findall(r"upstream: \$\{\w+:-([\w-]+):\d+\}", config))
    assert upstreams and upstreams <= set(services)
    scraped = yaml.safe_load(PROMETHEUS.read_text())["scrape_configs"][0]["static_configs"][0]["targets"]
    assert scraped == ["chaosproxy:8474"]


def test_every_file_that_is_mounted_or_copied_is_there() -> None:
    mounted = [volume.split(":")[0] for one in compose()["services"].values() for volume in one.get("volumes", ())]
    copied = [path for word, rest in instructions() if word == "COPY" and "--from" not in rest
              for path in rest.split()[:-1]]  # fmt: skip
    assert mounted and copied
    assert [path for path in (*mounted, *copied) if not (ROOT / path).exists()] == []
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert [path for path in copied if f"!{path}" not in ignored] == []


def test_ports_are_published_on_loopback_only() -> None:
    ports = [port for service in compose()["services"].values() for port in service.get("ports", ())]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)


def test_the_image_runs_as_a_user_that_is_not_root() -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last("USER"))


@pytest.mark.parametrize("instruction", ["ENTRYPOINT", "CMD"])
def test_no_shell_stands_between_docker_and_chaosproxy(instruction: str) -> None:
    words = json.loads(last(instruction))
    assert isinstance(words, list), "exec form: a shell as PID 1 would keep the signals to itself"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build stage, run here: its COPY and RUN steps in a directory. Gives the virtual environment."""
    directory = tmp_path_factory.mktemp("image")
    source, environment = directory / "src", directory / "venv"
    source.mkdir()
    steps = instructions()
    ends = [number for number, (word, _) in enumerate(steps) if word == "FROM"]
    for word, rest in steps[ends[0] : ends[1]]:
        if word == "COPY":
            *paths, target = rest.split()
            for path in paths:
                copy(ROOT / path, source / target / path if target.endswith("/") else source / target)
        if word == "RUN":
            command = rest.replace("/opt/chaosproxy", shlex.quote(str(environment)))
            ran = subprocess.run(command, shell=True, cwd=source, capture_output=True, text=True, timeout=300)
            assert ran.returncode == 0, ran.stderr
    return environment


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


@pytest.mark.slow
@pytest.mark.real_server
def test_what_the_image_installs_serves_what_the_compose_file_mounts(
    image: Path, web_server: Web, tmp_path: Path
) -> None:
    upstream = f"{HOST}:{web_server.port}"
    environment = {
        "PATH": f"{image / 'bin'}:{os.environ['PATH']}",
        "WEB_UPSTREAM": upstream, "REDIS_UPSTREAM": upstream, "WEB_PROXY_PORT": "0", "REDIS_PROXY_PORT": "0",
    }  # fmt: skip
    command = [str(image / "bin" / word) for word in json.loads(last("ENTRYPOINT"))]
    with serving(tmp_path, str(ROOT / "configs" / "compose.yaml"), command=command, environment=environment) as server:
        with urllib.request.urlopen(f"http://{HOST}:{server.port('web')}/small", timeout=60.0) as answer:
            assert answer.read() == b"hello\n"
        check = json.loads(last("HEALTHCHECK").partition(" CMD ")[2])
        words = [word.replace("http://127.0.0.1:8474", server.control) for word in check]
        assert words != check
        assert subprocess.run(words, timeout=60).returncode == 0


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="a PID namespace asks for root on Linux")
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT], ids=lambda sign: sign.name)
def test_as_pid_1_it_ends_on_a_signal(tmp_path: Path, sign: signal.Signals) -> None:
    """The kernel drops signals to PID 1 for which it has no handler, so default actions do not count."""
    command = [find("unshare"), "--pid", "--fork", "--kill-child", *chaosproxy_command()]
    with serving(tmp_path, command=command) as server:
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
        first = int(children.read_text().split()[0])
        status = Path(f"/proc/{first}/status").read_text()
        assert re.search(r"^NSpid:\s+\d+\s+1$", status, re.MULTILINE)
        os.kill(first, sign)
        assert server.process.wait(5.0) == 0


@pytest.mark.slow
@pytest.mark.real_server
def test_prometheus_scrapes_with_the_configuration_of_the_compose_file(web_server: Web, tmp_path: Path) -> None:
    prometheus = find("prometheus")
    with serving(tmp_path) as server:
        port = server.add_proxy("web", web_server.port)
        target = server.control.removeprefix("http://")
        text = PROMETHEUS.read_text()
        assert text.count("chaosproxy:8474") == 1
        (tmp_path / "prometheus.yml").write_text(text.replace("chaosproxy:8474", target))

        def command(listen: int) -> list[str]:
            return [
                prometheus, f"--config.file={tmp_path / 'prometheus.yml'}",
                f"--storage.tsdb.path={tmp_path / f'data{listen}'}", f"--web.listen-address={HOST}:{listen}",
            ]  # fmt: skip

        with started(command, tmp_path, ready=is_ready) as listen, socket.create_connection((HOST, port), 5.0):
            wait_until(lambda: health(listen, target) == "up", 30.0, "Prometheus says that chaosproxy is up")
            query = 'chaosproxy_connections{proxy="web"}'
            wait_until(lambda: value(listen, query) == "1", 30.0, f"{query} is 1")


def is_ready(port: int) -> bool:
    """Prometheus listens before it can answer."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/-/ready", timeout=1.0) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as not_yet:
        not_yet.close()
    except OSError:
        pass
    return False


def ask(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://{HOST}:{port}/api/v1/{path}", timeout=60.0) as answer:
        return json.loads(answer.read())["data"]


def health(port: int, target: str) -> str | None:
    """What Prometheus says of the target; None while it has not looked yet."""
    targets = {one["labels"]["instance"]: one["health"] for one in ask(port, "targets")["activeTargets"]}
    return targets.get(target)


def value(port: int, query: str) -> str | None:
    found = ask(port, "query?" + urllib.parse.urlencode({"query": query}))["result"]
    return found[0]["value"][1] if found else None
