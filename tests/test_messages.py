"""The wording of errors: input, and the full message. All other tests assert the place and the code.

The table below is read by people, too: each message says what is wrong; what would be right.
docs/errors.md shows one message of this file for each code.
"""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from click.testing import CliRunner

from chaosproxy.certs import make_certs
from chaosproxy.cli import main
from chaosproxy.config import ConfigError, load
from chaosproxy.config.load import LocatedProblem
from chaosproxy.declare import Number, Problems, TextOrJson, Whole
from chaosproxy.errors import BadValue, CannotListen, Code
from tests.control.serving import Api, serving

PAGE = (Path(__file__).parents[1] / "docs" / "errors.md").read_text()

PROXY = "version: 1\nproxies:\n  db: {{listen: 127.0.0.1:15432, upstream: 127.0.0.1:5432{}}}\n"
TLS = "listen_tls: {{cert: a.pem, key: a.key{}}}"
NODES = PROXY.format(", from: app, to: db-primary")


def proxy(more: str) -> str:
    return PROXY.format(f", {more}")


def fault(settings: str) -> str:
    return proxy(f"faults: {{slow: {{{settings}}}}}")


def partition(settings: str) -> str:
    return f"{NODES}partitions: {{dark: {{{settings}}}}}\n"


FILES: list[tuple[Code, str, str]] = [
    # the text of the file
    ("empty", "", "the file is empty; add at least version: 1 and proxies"),
    ("not-yaml", "seed: a: b", "the text is not YAML: mapping values are not allowed in this context; "
     "put a value that holds `: ` in quotes, or check the indentation"),
    ("unsupported-yaml", "version: 1\nseed: !x 1", "seed: the tag '!x' is not allowed; remove it"),
    ("duplicate", "version: 1\nseed: 1\nseed: 2", "seed: the key 'seed' is given twice, first in line 2; remove one"),
    ("too-large", "version: 1\nseed: " + "[" * 40 + "]" * 40,
     "the file is nested more than 32 levels deep; use fewer levels"),
    ("variable-not-set", "version: 1\nseed: ${SEED}",
     "seed: the environment variable SEED is not set; set it, or use ${SEED:-default}"),
    ("malformed", "version: 1\nseed: ${1}", "seed: malformed environment reference; use ${NAME}, ${NAME:-default} or "
     "${NAME:?message}, or $${ for a literal ${; references cannot be nested"),
    ("wrong-type", "just words", "'just words' is not a mapping; use at least version: 1 and proxies"),
    ("missing", "seed: 1", "version: is missing; add version: 1"),
    ("unsupported-version", "version: 2", "version: 2 is not a version that this program reads; use 1"),
    # values
    ("wrong-type", "version: 1\nseed: abc", "seed: 'abc' is not a whole number; use 0 or more"),
    ("out-of-range", "version: 1\nseed: -1", "seed: -1 is below 0; use 0 or more"),
    ("wrong-type", proxy("enabled: yes"), "proxies.db.enabled: 'yes' is neither true nor false; use true or false"),
    ("wrong-type", proxy("from: 5"), "proxies.db.from: 5 is not text; put it in quotes to make it text"),
    ("unknown-value", proxy("protocol: htp"),
     "proxies.db.protocol: 'htp' is not known (did you mean 'http'?); use one of: tcp, http"),
    ("unit-missing", fault("type: latency, delay: 100"),
     "proxies.db.faults.slow.delay: 100 has no unit; use a duration with a unit, such as 20ms "
     "(Toxiproxy's 100 is 100ms here)"),
    ("unknown-unit", fault("type: latency, delay: 1 day"),
     "proxies.db.faults.slow.delay: '1 day' has the unknown unit 'day'; use one of: h, m, s, ms, us, ns"),
    ("not-a-duration", fault("type: latency, delay: soon"),
     "proxies.db.faults.slow.delay: 'soon' is not a duration; use a number with a unit, such as 20ms"),
    ("not-a-rate", fault("type: bandwidth, rate: fast"),
     "proxies.db.faults.slow.rate: 'fast' is not a rate; use a number with a unit, such as 10MB/s"),
    ("out-of-range", fault("type: bandwidth, rate: 0B/s"), "proxies.db.faults.slow.rate: '0B/s' would stop all data; "
     "use a rate above 0, such as 10MB/s, or the fault `stall`"),
    ("not-a-size", fault("type: slicer, size: big"),
     "proxies.db.faults.slow.size: 'big' is not a size; use a number with a unit, such as 64KiB"),
    ("not-a-share", fault("type: stall, probability: often"), "proxies.db.faults.slow.probability: 'often' is not a "
     "share; use a number from 0 to 1, such as 0.05, or a percentage, such as 5%"),
    ("out-of-range", fault("type: stall, probability: 120%"),
     "proxies.db.faults.slow.probability: '120%' is above 100%; use 0 to 1, or 0% to 100%"),
    ("not-an-address", PROXY.format("").replace("127.0.0.1:5432", "localhost"), "proxies.db.upstream: 'localhost' is "
     "not an address; use host:port, such as 127.0.0.1:5432, [::1]:5432 or unix:/run/app.sock"),
    ("out-of-range", PROXY.format("").replace(":5432", ":99999"),
     "proxies.db.upstream: '127.0.0.1:99999' has the invalid port 99999; use 1 to 65535"),
    ("malformed", "version: 1\npolicy: {listen: [10.0.0.0/99]}", "policy.listen.0: '10.0.0.0/99' is not a pattern of "
     "hosts; use one such as db.internal, 10.0.0.0/8, *.staging.internal"),
    # keys
    ("missing", "version: 1\nproxies: {db: {listen: 127.0.0.1:15432}}",
     "proxies.db.upstream: is missing; add it, such as upstream: 127.0.0.1:5432"),
    ("unknown-key", "version: 1\nproxis: {}",
     "proxis: unknown key (did you mean 'proxies'?); known keys: seed, control, policy, max_held, max_connections, "
     "version, proxies, partitions"),
    ("not-applicable", proxy("strict: true"),
     "proxies.db.strict: needs HTTP, but this proxy is tcp; remove it, or add `protocol: http` to the proxy"),
    ("not-applicable", fault("type: unreachable, probability: 20%"),
     "proxies.db.faults.slow.probability: not supported: unreachable applies to the whole port; remove it"),
    ("not-applicable", fault("type: stall, match: {method: GET}"),
     "proxies.db.faults.slow.match: selects HTTP messages, but stall acts on connections; remove it"),
    ("invalid-together", fault("type: stall, every: 5s"),
     "proxies.db.faults.slow.every: needs for, the time that each stall lasts; add it, such as for: 2s"),
    ("invalid-together", proxy(f"protocol: http, {TLS.format(', alpn: [h2]')}"), "proxies.db.listen_tls.alpn.0: 'h2' "
     "is not supported with protocol: http; use http/1.1, or protocol: tcp"),
    ("missing", proxy(TLS.format(", require_client_cert: true")), "proxies.db.listen_tls.client_ca: is missing; add "
     "the CAs that sign client certificates, or remove require_client_cert"),
    # names and nodes
    ("invalid-name", "version: 1\nproxies: {partition:x: {listen: a:1, upstream: a:2}}", "proxies.partition:x: the "
     "name 'partition:x' begins with 'partition:', which is reserved for the faults of partitions; use another name"),
    ("upstream-loop", PROXY.format("").replace("127.0.0.1:5432", "localhost:15432"),
     "proxies.db.upstream: localhost:15432 leads back to the proxy itself (db -> db); use the address of the server "
     "behind it"),
    ("address-in-use", NODES + "  b: {listen: localhost:15432, upstream: a:1}\n",
     "proxies.b.listen: localhost:15432 is already used by the proxy 'db'; use another port"),
    ("unknown-node", partition("from: ap, to: db-primary"),
     "partitions.dark.from: no proxy names the node 'ap' (did you mean 'app'?); known nodes: app, db-primary"),
    ("no-effect", partition("from: app, to: app"), "partitions.dark: cuts no proxy: there is none between any two of "
     "these nodes; add one, or allow it with allow_empty: true (--allow-empty)"),
    ("no-effect", partition("topology: bridge"), "partitions.dark.topology: bridge needs at least 3 nodes, but there "
     "are 2; add `from` and `to` to more proxies"),
    ("invalid-together", partition("from: app, to: db-primary, topology: halves"),
     "partitions.dark.topology: cannot be combined with from; use one of the two"),
    ("missing", partition("from: app"),
     "partitions.dark.to: is missing, but from is given; add the nodes on the other side"),
]  # fmt: skip

VALUES: list[tuple[Code, Callable[[object], object], object, str]] = [
    ("out-of-range", Whole(maximum=100).read, 101, "101 is above 100; use 0 to 100"),
    ("wrong-type", Number().read, "x", "'x' is not a number; use a number such as 0.5"),
    ("wrong-type", TextOrJson().read, 5, "5 is neither text nor JSON; use text in quotes, a mapping or a list"),
]

COMMANDS: list[tuple[Code, str, str]] = [
    ("unreadable-file", "check none.yaml", "cannot read none.yaml: No such file or directory"),
    ("unwritable-file", "certs --out /dev/null x.test", "cannot write to /dev/null: File exists"),
    ("malformed", "status --url ftp://x",
     "--url 'ftp://x' is not the URL of a server; use a URL such as http://127.0.0.1:8474"),
    ("no-server", "status --url http://127.0.0.1:1", "no chaosproxy responds at http://127.0.0.1:1 (Connection "
     "refused);\n  start one with `chaosproxy serve CONFIG`, or choose another with --url or CHAOSPROXY_URL"),
    ("unknown-key", "inject db latency dely=1s", "the parameters of latency are wrong; "
     "`chaosproxy faults latency` explains them\n  dely: unknown parameter (did you mean 'delay'?); "
     "known: delay, jitter, distribution, correlation, wave, direction, probability, ttl, skip, count, nth, match"),
]  # fmt: skip


def located(text: str) -> LocatedProblem:
    """Return the only problem of a file."""
    with pytest.raises(ConfigError) as caught:
        load(text.encode(), "f.yaml", {})
    [problem] = caught.value.located
    return problem


@pytest.mark.parametrize(("code", "text", "message"), FILES, ids=[f"{code}-{n}" for n, (code, *_) in enumerate(FILES)])
def test_a_file(code: Code, text: str, message: str) -> None:
    problem = located(text)
    assert (problem.code, str(problem).split(": ", 1)[1] if problem.path else problem.message) == (code, message)


@pytest.mark.parametrize(("code", "read", "value", "message"), VALUES, ids=[row[-1] for row in VALUES])
def test_a_value(code: Code, read: Callable[[object], object], value: object, message: str) -> None:
    with pytest.raises(BadValue) as caught:
        read(value)
    assert (caught.value.code, str(caught.value)) == (code, message)


@pytest.mark.parametrize(("code", "words", "message"), COMMANDS, ids=[row[1] for row in COMMANDS])
def test_a_command(code: Code, words: str, message: str) -> None:
    assert CliRunner().invoke(main, words.split()).stderr == f"error: {message}\n"


@pytest.mark.parametrize(("words", "message"), [
    ("serve --seed x", "'--seed': 'x' is not a whole number; use 0 or more"),
    ("serve --seed 1.5", "'--seed': '1.5' is not a whole number; use 0 or more"),
    ("serve --seed -1", "'--seed': -1 is below 0; use 0 or more"),
    ("serve --seed 9223372036854775808", "'--seed': 9223372036854775808 is above 9223372036854775807; "
     "use 0 to 9223372036854775807"),
    ("certs --out x --days 0 api.test", "'--days': 0 is below 1; use 1 to 3650"),
])  # fmt: skip
def test_an_option(words: str, message: str) -> None:
    done = CliRunner().invoke(main, words.split())
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.endswith(f"Error: Invalid value for {message}\n")


def test_problems_beyond_the_limit() -> None:
    problems = Problems()
    for number in range(Problems.LIMIT + 5):
        problems.add((number,), "missing", "is missing; add it")
    last = list(problems)[-1]
    assert (last.code, last.message) == ("more-problems", "5 more problems are not shown; correct these first")


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EADDRINUSE, "Address already in use; choose another port, or stop the program that uses it"),
        (errno.EADDRNOTAVAIL, "Cannot assign requested address; choose an address of this machine"),
        (errno.EACCES, "Permission denied; choose a port from 1024 on, or run with the privileges to bind it"),
    ],
)
def test_an_address_that_cannot_be_bound(number: int, message: str) -> None:
    assert str(CannotListen.because("10.0.0.1:80", OSError(number, "x"))) == f"cannot listen on 10.0.0.1:80: {message}"


def test_a_path_that_is_taken() -> None:
    error = CannotListen.because("unix:/run/app.sock", OSError(errno.EADDRINUSE, "x"))
    advice = "choose another path, stop the program that uses it, or delete the file if none does"
    assert str(error) == f"cannot listen on unix:/run/app.sock: Address already in use; {advice}"


def test_a_name_for_a_certificate(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="^'a b' cannot be in a certificate; use a host name, "):
        make_certs(tmp_path, ["a b"], 30)


def examples() -> dict[str, str]:
    """Return the example of each code that docs/errors.md shows."""
    return dict(re.findall(r"^\| `([a-z0-9-]+)` \| [^|]+ \| (?:`+ ?)?([^|]*?)(?: ?`+)? \|$", PAGE, re.MULTILINE))


def messages() -> dict[str, set[str]]:
    """Return the messages of the tables above, by code."""
    found: dict[str, set[str]] = {}
    for code, *_, message in [*FILES, *VALUES, *COMMANDS]:
        found.setdefault(code, set()).add(" ".join(message.split()))
    return found


def test_the_page_shows_messages_that_exist() -> None:
    shown, real = examples(), messages()
    assert list(shown) == list(get_args(Code))
    assert {code: shown[code] for code in real if shown[code] not in real[code]} == {}


def test_the_page_shows_answers_of_the_api_that_exist() -> None:
    async def scenario(api: Api) -> None:
        shown = examples()
        ends = {"listen": "127.0.0.1:0", "upstream": "127.0.0.1:9"}
        await api.ask("POST", "/v1/proxies", {"name": "db", **ends})
        for answer in (
            await api.ask("POST", "/v1/proxies", raw=b'{"a": NaN}'),
            await api.ask("POST", "/v1/proxies", raw=b"{}", headers={"Content-Type": "text/plain"}),
            await api.ask("GET", "/v1/proxies/bd"),
            await api.ask("POST", "/v1/proxies", {"name": "db", **ends}),
            await api.ask("PUT", "/v1/proxies"),
            await api.ask("GET", "/v1/status", headers={"Host": "evil.example"}),
            await api.ask("GET", "/v1/status", headers={"Sec-Fetch-Site": "cross-site"}),
        ):
            assert answer.body["detail"] == shown[answer.body["code"]]
        renamed = await api.ask("PATCH", "/v1/proxies/db", {"name": "x"})
        assert renamed.body["errors"][0]["message"] == shown["immutable"]

    async def run() -> None:
        async with serving() as api:
            await scenario(api)

    asyncio.run(run())
