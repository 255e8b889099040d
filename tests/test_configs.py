"""Every file in configs/ is checked, and really served in front of a real server."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Collection
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.servers.backends import Web
from tests.servers.chaos import chaosproxy_command, serving
from tests.servers.processes import HOST

CONFIGS = Path(__file__).parent.parent / "configs"
EXAMPLES = sorted(path for path in CONFIGS.glob("*.yaml"))
REFERENCE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


SERVED_ELSEWHERE = {"ftp", "redis-cluster", "redis-sentinel"}
"""On fixed addresses that only Linux has: tests in tests/e2e serve these files, in a network namespace."""


def examples(without: Collection[str] = ()) -> list[object]:
    return [pytest.param(path, id=path.stem) for path in EXAMPLES if path.stem not in without]


def test_the_uses_that_are_promised_are_there() -> None:
    names = {path.stem for path in EXAMPLES}
    assert names >= {
        "web-service", "database-with-replica", "redis", "flaky-network", "compose", "redis-sentinel", "http-service",
        "lost-response", "tls", "ftp", "redis-cluster", "kafka", "gossip-mesh",
    }  # fmt: skip


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the examples with TLS say to make first."""
    directory = tmp_path_factory.mktemp("certs")
    words = ["certs", "--out", str(directory), "localhost", "client.test"]
    subprocess.run([*chaosproxy_command(), *words], check=True, capture_output=True, timeout=60)
    return directory


def test_every_example_passes_check(certificates: Path) -> None:
    words = [*chaosproxy_command(), "check", *map(str, EXAMPLES)]
    environment = {**os.environ, "CERTS": str(certificates)}
    checked = subprocess.run(words, capture_output=True, text=True, timeout=60, env=environment)
    assert checked.returncode == 0, checked.stderr
    assert [line.partition(": OK, ")[0] for line in checked.stdout.splitlines()] == [*map(str, EXAMPLES)]


def test_every_example_fits_the_schema_for_editors() -> None:
    printed = subprocess.run([*chaosproxy_command(), "schema"], capture_output=True, text=True, timeout=60, check=True)
    validator = jsonschema.Draft202012Validator(json.loads(printed.stdout))
    for example in EXAMPLES:
        text = REFERENCE.sub(lambda found: found[2] or '""', example.read_text())
        wrong = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(yaml.safe_load(text))]
        assert wrong == [], example.name


def test_every_example_explains_itself() -> None:
    for example in EXAMPLES:
        lines = example.read_text().splitlines()
        assert lines[0].startswith("# "), example.name
        assert sum("#" in line for line in lines) >= 5, example.name


@pytest.mark.slow
@pytest.mark.real_server
@pytest.mark.parametrize("example", examples(without=SERVED_ELSEWHERE))
def test_an_example_serves_a_real_upstream(
    example: Path, web_server: Web, certificates: Path, tmp_path: Path
) -> None:
    """Whatever the protocol is meant to be: nginx answers through every proxy of the file."""
    wanted: dict[str, Any] = yaml.safe_load(example.read_text())["proxies"]
    environment = environment_for(example, web_server.port) | {"CERTS": str(certificates)}
    context = ssl.create_default_context(cafile=certificates / "ca.pem")
    with serving(tmp_path, str(example), environment=environment) as server:
        assert server.ready_proxies == len(wanted)
        for name in wanted:
            scheme = "https" if "listen_tls" in wanted[name] or name == "pass-through" else "http"
            url = f"{scheme}://{HOST}:{server.port(name)}/small"
            with urllib.request.urlopen(url, timeout=60.0, context=context) as answer:
                assert answer.read() == b"hello\n"
            faults = server.call("GET", f"/v1/proxies/{name}")["faults"]
            assert len(faults) == len(wanted[name].get("faults", {}))


def environment_for(example: Path, upstream_port: int) -> dict[str, str]:
    """Every reference that names a port or an upstream, set so that files can be served side by side."""
    values = {}
    with socket.create_server((HOST, 0)) as probe:
        https_port = probe.getsockname()[1]  # free in a moment; one proxy is the server of others
    for name, default in REFERENCE.findall(example.read_text()):
        assert default or name == "CHAOSPROXY_TOKEN", f"{name} has no default"
        if name in ("HTTPS_PORT", "TLS_UPSTREAM"):
            values[name] = str(https_port) if name == "HTTPS_PORT" else f"{HOST}:{https_port}"
        elif "UPSTREAM" in name:
            values[name] = f"{HOST}:{upstream_port}"
        elif name.endswith("_PORT"):
            values[name] = "0"
    return values
