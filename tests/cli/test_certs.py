"""`certs`: a CA that stays, leaves that are renewed, keys that nobody else can read."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509

from chaosproxy.cli import main
from tests.refused import refused


def certs(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["certs", *map(str, arguments)])


def names_of(path: Path) -> list[str]:
    leaf = x509.load_pem_x509_certificate(path.read_bytes())
    found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in found]


def test_a_ca_and_leaves_are_made_and_keys_are_private(tmp_path: Path) -> None:
    out = tmp_path / "new" / "certs"
    done = certs("--out", out, "api.test", "*.Example.org", "10.0.0.1", "::1", "localhost")
    assert done.exit_code == 0, done.output
    files = {path.name: path for path in out.iterdir()}
    stems = {"ca", "api.test", "_wildcard.example.org", "10.0.0.1", "__1", "localhost"}
    assert set(files) == {f"{stem}.{end}" for stem in stems for end in ("pem", "key")}
    for name, path in files.items():
        assert path.stat().st_mode & 0o777 == (0o600 if name.endswith(".key") else 0o644)
    assert names_of(files["_wildcard.example.org.pem"]) == ["*.example.org"]
    assert names_of(files["10.0.0.1.pem"]) == ["10.0.0.1"]
    assert names_of(files["localhost.pem"]) == ["localhost", "127.0.0.1", "::1"]
    for word in ("curl --cacert", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "update-ca-certificates", "update-ca-trust"):
        assert word in done.output
    assert str(files["ca.pem"]) in done.output


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_modes_do_not_hang_on_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        assert certs("--out", tmp_path, "api.test").exit_code == 0
    finally:
        os.umask(before)
    assert (tmp_path / "ca.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "ca.pem").stat().st_mode & 0o777 == 0o644


def test_openssl_finds_nothing_wrong(tmp_path: Path) -> None:
    assert certs("--out", tmp_path, "api.test").exit_code == 0
    words = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "api.test"]
    checked = subprocess.run(
        [*words, "-CAfile", tmp_path / "ca.pem", tmp_path / "api.test.pem"], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr


def test_a_second_run_keeps_the_ca_and_renews_the_leaves(tmp_path: Path) -> None:
    certs("--out", tmp_path, "api.test")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    done = certs("--out", tmp_path, "api.test", "other.test", "--days", 90)
    assert done.exit_code == 0 and "CA kept" in done.output
    for name in ("ca.pem", "ca.key"):
        assert (tmp_path / name).read_bytes() == before[name]
    assert (tmp_path / "api.test.pem").read_bytes() != before["api.test.pem"]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "api.test.pem", tmp_path / "api.test.key")
    leaf = x509.load_pem_x509_certificate((tmp_path / "api.test.pem").read_bytes())
    assert (leaf.not_valid_after_utc - leaf.not_valid_before_utc).days == 90


def test_as_json_it_says_where_everything_is(tmp_path: Path) -> None:
    told = json.loads(certs("--out", tmp_path, "api.test", "--json").stdout)
    assert told["ca"] == {"cert": str(tmp_path / "ca.pem"), "key": str(tmp_path / "ca.key"), "new": True}
    [one] = told["certificates"]
    assert one == {"name": "api.test", "cert": str(tmp_path / "api.test.pem"), "key": str(tmp_path / "api.test.key")}
    assert told["expires"].endswith("+00:00")


@pytest.mark.parametrize(
    "name", ["a b", "", "-a.test", "a..b", "*", "*.test.*", "a*.test", "../etc", "a/b", "ca", "CA", "ä.test", "x" * 64]
)
def test_a_bad_name_writes_nothing(tmp_path: Path, name: str) -> None:
    done = certs("--out", tmp_path / "out", "good.test", "--", name)
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith("error: ") and "Traceback" not in done.output
    assert refused(certs("--out", tmp_path / "out", "--json", "good.test", "--", name)) == ["invalid-name"]
    assert not (tmp_path / "out").exists()


def test_where_nothing_can_be_written_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = certs("--out", tmp_path / "file", "api.test")
    assert (done.exit_code, done.stderr.split(":")[:2]) == (2, ["error", f" cannot write to {tmp_path / 'file'}"])
    assert refused(certs("--out", tmp_path / "file", "api.test", "--json")) == ["unwritable-file"]


@pytest.mark.parametrize("broken", ["ca.pem", "ca.key"])
def test_a_ca_that_cannot_be_used_is_never_replaced(tmp_path: Path, broken: str) -> None:
    certs("--out", tmp_path, "api.test")
    (tmp_path / broken).write_text("nonsense")
    assert refused(certs("--out", tmp_path, "api.test", "--json")) == ["bad-certificate"]
    assert (tmp_path / broken).read_text() == "nonsense"

    (tmp_path / broken).unlink()
    assert certs("--out", tmp_path, "api.test").exit_code == 2
    assert not (tmp_path / broken).exists()


def test_a_leaf_never_outlives_its_ca(tmp_path: Path) -> None:
    assert certs("--out", tmp_path, "api.test").exit_code == 0
    assert refused(certs("--out", tmp_path, "api.test", "--days", 3650, "--json")) == ["bad-certificate"]
