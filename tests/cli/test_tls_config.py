"""TLS in a configuration file: each field that is wrong is named with its line, by `check` and by `serve`."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509

from chaosproxy.certs import Authority, make_certs
from chaosproxy.cli import main
from tests.servers.chaos import chaosproxy_command


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("certs")
    make_certs(directory, ["api.test", "other.test"], 30)
    now = datetime.now(UTC)
    authority = Authority.new("another", now)
    for name, begins, ends in (("expired", -9, -1), ("early", 1, 9)):
        leaf = authority.issue([x509.DNSName("x.test")], now + timedelta(days=begins), now + timedelta(days=ends))
        (directory / f"{name}.pem").write_bytes(leaf.cert)
        (directory / f"{name}.key").write_bytes(leaf.key)
    words = ["openssl", "pkey", "-in", directory / "api.test.key", "-aes256", "-passout", "pass:x"]
    subprocess.run([*words, "-out", directory / "secret.key"], check=True, capture_output=True)
    (directory / "nonsense").write_text("nonsense")
    return directory


LISTEN = "listen_tls: {cert: C/api.test.pem, key: C/api.test.key"


@pytest.mark.parametrize(
    ("tls", "field", "code"),
    [
        ("listen_tls: {cert: C/api.test.pem}", "proxies.api.listen_tls.key", "missing"),
        (f"{LISTEN}, keys: x}}", "proxies.api.listen_tls.keys", "unknown-key"),
        ("listen_tls: {cert: C/none.pem, key: C/api.test.key}", "proxies.api.listen_tls.cert", "unreadable-file"),
        ("listen_tls: {cert: C, key: C/api.test.key}", "proxies.api.listen_tls.cert", "unreadable-file"),
        ("listen_tls: {cert: /dev/zero, key: C/api.test.key}", "proxies.api.listen_tls.cert", "unreadable-file"),
        ("listen_tls: {cert: '', key: C/api.test.key}", "proxies.api.listen_tls.cert", "empty"),
        ('listen_tls: {cert: "a\\0", key: C/api.test.key}', "proxies.api.listen_tls.cert", "unreadable-file"),
        ("listen_tls: {cert: C/nonsense, key: C/api.test.key}", "proxies.api.listen_tls.cert", "bad-certificate"),
        ("listen_tls: {cert: C/api.test.pem, key: C/nonsense}", "proxies.api.listen_tls.key", "bad-key"),
        ("listen_tls: {cert: C/api.test.pem, key: C/api.test.pem}", "proxies.api.listen_tls.key", "bad-key"),
        ("listen_tls: {cert: C/api.test.pem, key: C/other.test.key}", "proxies.api.listen_tls.key", "bad-key"),
        ("listen_tls: {cert: C/api.test.pem, key: C/secret.key}", "proxies.api.listen_tls.key", "bad-key"),
        ("listen_tls: {cert: C/expired.pem, key: C/expired.key}", "proxies.api.listen_tls.cert", "expired-certificate"),
        ("listen_tls: {cert: C/early.pem, key: C/early.key}", "proxies.api.listen_tls.cert", "expired-certificate"),
        (f"{LISTEN}, require_client_cert: true}}", "proxies.api.listen_tls.client_ca", "missing"),
        (f"{LISTEN}, client_ca: C/nonsense}}", "proxies.api.listen_tls.client_ca", "bad-certificate"),
        (f"{LISTEN}, alpn: ['']}}", "proxies.api.listen_tls.alpn.0", "malformed"),
        (f"{LISTEN}, alpn: [h2]}}, protocol: http", "proxies.api.listen_tls.alpn.0", "invalid-together"),
        ("upstream_tls: {cert: C/api.test.pem}", "proxies.api.upstream_tls.key", "missing"),
        ("upstream_tls: {key: C/api.test.pem}", "proxies.api.upstream_tls.cert", "missing"),
        ("upstream_tls: {ca: C/none.pem}", "proxies.api.upstream_tls.ca", "unreadable-file"),
        ("upstream_tls: {server_name: 'a b'}", "proxies.api.upstream_tls.server_name", "malformed"),
        ("upstream_tls: {}, upstream: 'unix:/x'", "proxies.api.upstream_tls.server_name", "missing"),
        ("upstream_tls: {verify: maybe}", "proxies.api.upstream_tls.verify", "wrong-type"),
        ("faults: {x: {type: tls_handshake, how: stall}}", "proxies.api.faults.x.type", "not-applicable"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, certs: Path, tls: str, field: str, code: str) -> None:
    config = tmp_path / "c.yaml"
    upstream = "" if "upstream: " in tls else "upstream: 127.0.0.1:1, "
    settings = tls.replace("C/", f"{certs}/").replace("cert: C,", f"cert: {certs},")
    head = f"version: 1\nproxies:\n  api: {{\n    listen: 127.0.0.1:0, {upstream}\n    "
    config.write_text(f"{head}{settings} }}\n")
    done = CliRunner().invoke(main, ["check", "--json", str(config)])
    assert done.exit_code == 2, done.output
    [found] = json.loads(done.stdout)
    assert [(one["line"], one["path"], one["code"]) for one in found["problems"]] == [(5, field, code)]


def test_serve_says_the_same_and_binds_nothing(tmp_path: Path, certs: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(
        "version: 1\ncontrol: {listen: 127.0.0.1:0}\nproxies:\n  api:\n    listen: 127.0.0.1:0\n"
        f"    upstream: 127.0.0.1:1\n    listen_tls: {{cert: {certs}/api.test.pem, key: {certs}/other.test.key}}\n"
    )
    done = subprocess.run([*chaosproxy_command(), "serve", config], capture_output=True, text=True, timeout=60.0)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{config}:7:" in done.stderr and "proxies.api.listen_tls.key: " in done.stderr


def test_a_handshake_fault_that_cannot_be_had_is_found_by_check(tmp_path: Path) -> None:
    make_certs(tmp_path, ["api.test"], 30)
    (tmp_path / "ca.key").unlink()
    config = tmp_path / "c.yaml"
    config.write_text(
        f"version: 1\nproxies:\n  api:\n    listen: 127.0.0.1:0\n    upstream: 127.0.0.1:1\n"
        f"    listen_tls: {{cert: {tmp_path}/api.test.pem, key: {tmp_path}/api.test.key}}\n"
        "    faults:\n      x: {type: tls_handshake, how: wrong_host}\n"
    )
    done = CliRunner().invoke(main, ["check", str(config)])
    assert done.exit_code == 2
    assert f"{config}:8:37: proxies.api.faults.x.how: " in done.stderr and "ca.key" in done.stderr
