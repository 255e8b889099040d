"""Bad files: each mistake is named at its line and column, with what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaosproxy.config import ConfigError, load, read
from chaosproxy.errors import InvalidInput, Problem
from chaosproxy.model import Address, Config, FaultSpec

ENVIRONMENT = {"TOKEN": "s3cret", "DIGITS": "007", "SHARE": "0.25", "EMPTY": "", "PORT": "5432", "ON": "true"}

PROXY = "version: 1\nproxies:\n  db:\n    listen: 127.0.0.1:15432\n    upstream: 127.0.0.1:5432\n"
FAULT = PROXY + "    faults:\n      slow: "
NODES = PROXY + "    from: app\n    to: db-primary\npartitions:\n  dark: "

WHOLE_EXAMPLE = """\
version: 1
seed: 42                         # same seed, same decisions
control:
  listen: 127.0.0.1:8474
  token: ${CHAOSPROXY_TOKEN:-}   # environment references, only in values
policy:                          # what the control API may do
  upstreams: ["127.0.0.0/8", "*.staging.internal"]
  listen: ["127.0.0.1"]
proxies:
  db-primary:
    listen: 127.0.0.1:15432
    upstream: 127.0.0.1:5432
    from: app
    to: db-primary
    service: db
    faults:
      slow-answers: {type: latency, direction: downstream, delay: 100ms, jitter: 20ms, distribution: normal}
  api:
    protocol: http
    listen: 127.0.0.1:18080
    upstream: 127.0.0.1:8080
    faults:
      flaky-checkout:
        type: reset
        size: 4KiB
        probability: 0.2
"""


def loaded(text: str | bytes) -> Config:
    return load(text if isinstance(text, bytes) else text.encode(), "f.yaml", ENVIRONMENT)


def errors(text: str | bytes) -> list[str]:
    """Every error, without the file's name."""
    with pytest.raises(ConfigError) as caught:
        loaded(text)
    lines = str(caught.value).split("\n")
    assert all(line.startswith("f.yaml:") for line in lines)
    return [line.removeprefix("f.yaml:") for line in lines]


# (what it is about, the text, how the one error begins)
ONE_MISTAKE = [
    # the text itself
    ("empty", "", "1:1: the file is empty; give at least version: 1"),
    ("comments alone", "# nothing\n\n", "1:1: the file is empty; give"),
    ("not UTF-8", b"version: 1\nseed: \xff\n", "2:7: byte 0xff is not UTF-8; save the file as UTF-8"),
    ("UTF-16", "version: 1".encode("utf-16"), "1:1: byte 0xff is not UTF-8"),
    ("control character", "version: 1\nseed: \x07", "2:7: the character U+0007 may not stand in YAML; write it as"),
    ("too large", b" " * (2**20 + 1), "1:1: the file has 1048577 bytes; give one of at most 1048576 (1 MiB)"),
    ("no mapping", "just words", "1:1: 'just words' is not a mapping; give at least version: 1 and proxies"),
    ("a list", "[1]", "1:1: a list is not a mapping; give"),
    ("open bracket", "version: 1\npolicy: [1\n", "3:1: this is not YAML: "),
    ("open quote", 'version: 1\nseed: "42', "2:10: this is not YAML: found unexpected end of stream"),
    ("a tab", "version: 1\ncontrol:\n\tlisten: x", "3:1: this is not YAML: found character "),
    ("two colons", "version: 1\nseed: a: b", "2:8: this is not YAML: mapping values are not allowed"),
    ("second document", "version: 1\n---\nversion: 1\n", "2:1: a second document begins here; give one document"),
    ("python tag", "version: 1\nseed: !!python/object:os.system 1", "2:7: seed: the tag '!!python/object:os.system' i"),
    ("own tag", "version: 1\ncontrol: !mine {}", "2:10: control: the tag '!mine' is not allowed; leave it out"),
    ("tag of a key", "version: 1\n!x seed: 1", "2:1: the tag '!x' is not allowed"),
    ("tag that does not fit", "version: 1\nseed: !!int x", "2:7: seed: 'x' is no int as its tag says; leave the tag"),
    ("merge key", "version: 1\ncontrol:\n  <<: {listen: a}", "3:3: control: merge keys are not supported; repeat"),
    ("key that is a list", "version: 1\n? [a]\n: 1", "2:3: a key must be text; write `key: value`"),
    ("unknown alias", "version: 1\nseed: *s", "2:7: seed: the alias *s has no anchor before it; give &s first"),
    ("recursive alias", "version: 1\nproxies: &p {a: *p}", "2:17: proxies.a: the alias *p stands inside what it"),
    ("nesting", "version: 1\nseed: " + "[" * 40 + "]" * 40, "2:38: nested more than 32 levels deep; give something"),
    ("endless number", "version: 1\nseed: " + "1" * 5000, "2:7: seed: a number of 5000 characters; give one that is"),
    # the top level
    ("no version", "seed: 1", "1:1: version is missing; give version: 1"),
    ("wrong version", "version: 2", "1:10: version: 2 is no version this program reads; give 1"),
    ("version as text", 'version: "1"', "1:10: version: '1' is no version this program reads; give 1"),
    ("version as float", "version: 1.0", "1:10: version: 1.0 is no version this program reads; give 1"),
    ("version as flag", "version: true", "1:10: version: true is no version this program reads; give 1"),
    ("unknown key", "version: 1\nproxis: {}", "2:1: proxis: unknown key (did you mean 'proxies'?); known keys: seed,"),
    ("a later version's key", "version: 1\nscenarios: {}", "2:1: scenarios: unknown key; known keys: seed, control"),
    ("duplicate key", "version: 1\nseed: 1\nseed: 2", "3:1: seed: the key 'seed' is given twice, first in line 2;"),
    ("seed as text", "version: 1\nseed: abc", "2:7: seed: 'abc' is not a whole number; give one of at least 0"),
    ("negative seed", "version: 1\nseed: -1", "2:7: seed: -1 is out of range; give a whole number of at least 0"),
    ("huge seed", "version: 1\nseed: " + "9" * 50, "2:7: seed: 9999"),
    ("bad control", "version: 1\ncontrol: 8474", "2:10: control: 8474 is not a mapping; give one"),
    ("bad control address", "version: 1\ncontrol: {listen: 8474}", "2:19: control.listen: 8474 is not an address; giv"),
    ("bad list", "version: 1\npolicy: {listen: a}", "2:18: policy.listen: 'a' is not a list; give one in brackets"),
    ("bad CIDR", 'version: 1\npolicy:\n  upstreams: ["10.0.0.0/99"]', "3:15: policy.upstreams.0: '10.0.0.0/99' names"),
    ("bad item", "version: 1\npolicy:\n  upstreams:\n    - a\n    - 5", "5:7: policy.upstreams.1: 5 names no hosts; g"),
    ("port in listen policy", 'version: 1\npolicy: {listen: ["a:1"]}', "2:19: policy.listen.0: 'a:1' names no hosts;"),
    # proxies
    ("proxies as list", "version: 1\nproxies:\n  - a", "2:1: proxies: a list is not a mapping; give proxies by name"),
    ("empty proxy", "version: 1\nproxies:\n  db:", "3:6: proxies.db: null is not a mapping; give at least {listen:"),
    ("no listen", "version: 1\nproxies:\n  db: {upstream: a:1}", "3:7: proxies.db: listen is missing; give e.g. liste"),
    ("empty name", 'version: 1\nproxies:\n  "": {listen: a:1, upstream: a:1}', "3:3: proxies.: the name '' is empty;"),
    ("name with a line", 'version: 1\nproxies:\n  "a\\nb": {listen: a:1, upstream: a:1}', "3:3: proxies.'a\\nb': the"),
    ("port too large", PROXY.replace(":5432", ":65536"), "5:15: proxies.db.upstream: '127.0.0.1:65536' has the port"),
    ("port 0 upstream", PROXY.replace(":5432", ":0"), "5:15: proxies.db.upstream: '127.0.0.1:0' has the port '0'; giv"),
    ("Arabic port", PROXY.replace(":5432", ":١٢٣"), "5:15: proxies.db.upstream: '127.0.0.1:١٢٣' has the port"),
    ("bare port", PROXY.replace("127.0.0.1:5432", ":5432"), "5:15: proxies.db.upstream: ':5432' has no host; give one"),
    ("bare IPv6", PROXY.replace("127.0.0.1:5432", "::1:5432"), "5:15: proxies.db.upstream: '::1:5432' is ambiguous; w"),
    ("unit missing", PROXY + "    connect_timeout: 10\n", "6:22: proxies.db.connect_timeout: 10 has no unit; give a d"),
    ("size unit missing", PROXY + "    queue: 16000\n", "6:12: proxies.db.queue: 16000 has no unit; give a size with"),
    ("yes is text", PROXY + "    enabled: yes\n", "6:14: proxies.db.enabled: 'yes' is not a yes or no; give true or f"),
    ("number as node", PROXY + "    from: 5\n", "6:11: proxies.db.from: 5 is not text; put it in quotes if it is mean"),
    ("protocol", PROXY + "    protocol: htp\n", "6:15: proxies.db.protocol: 'htp' is not known (did you mean 'http'?)"),
    ("same name", PROXY + "  db: {}\n", "6:3: proxies.db: the key 'db' is given twice, first in line 3; leave one out"),
    # faults
    ("faults as list", PROXY + "    faults: [a]\n", "6:13: proxies.db.faults: a list is not a mapping; give faults by"),
    ("fault as text", FAULT + "latency", "7:13: proxies.db.faults.slow: 'latency' is not a mapping; give a fault such"),
    ("no type", FAULT + "{delay: 1s}", "7:13: proxies.db.faults.slow: type is missing; give one of: latency, "),
    ("unknown type", FAULT + "{type: latencyy}", "7:20: proxies.db.faults.slow.type: 'latencyy' is no fault type (did"),
    ("http on tcp", FAULT + "{type: http_abort}", "7:20: proxies.db.faults.slow.type: 'http_abort' acts on HTTP messa"),
    ("bare delay", FAULT + "{type: latency, delay: 100}", "7:36: proxies.db.faults.slow.delay: 100 has no unit; give"),
    ("unknown unit", FAULT + "{type: latency, delay: 1 day}", "7:36: proxies.db.faults.slow.delay: '1 day' has the un"),
    ("delay missing", FAULT + "\n        type: latency", "7:7: proxies.db.faults.slow: delay is missing; give e.g. de"),
    ("parameter", FAULT + "{type: latency, dely: 1s, delay: 1s}", "7:29: proxies.db.faults.slow.dely: unknown key (di"),
    ("another's parameter", FAULT + "{type: stall, rate: 1MB/s}", "7:27: proxies.db.faults.slow.rate: unknown key"),
    ("match", FAULT + "{type: stall, match: {}}", "7:27: proxies.db.faults.slow.match: selects HTTP messages, and sta"),
    ("probability", FAULT + "{type: stall, probability: 1.5}", "7:40: proxies.db.faults.slow.probability: 1.5 is out"),
    ("percent", FAULT + "{type: stall, probability: 101%}", "7:40: proxies.db.faults.slow.probability: '101%' is out"),
    ("not a number", FAULT + "{type: stall, probability: .nan}", "7:40: proxies.db.faults.slow.probability: nan is ou"),
    ("direction", FAULT + "{type: stall, direction: up}", "7:38: proxies.db.faults.slow.direction: 'up' is not known;"),
    ("ttl", FAULT + "{type: stall, ttl: 0s}", "7:32: proxies.db.faults.slow.ttl: '0s' is too short; give a duration"),
    ("nested", FAULT + "{type: latency, delay: 1s, wave: {amplitude: 1}}", "7:46: proxies.db.faults.slow.wave: period"),
    ("across parameters", FAULT + "{type: stall, every: 5s}", "7:34: proxies.db.faults.slow.every: says how often"),
    ("date", FAULT + "{type: latency, delay: 2024-01-01}", "7:36: proxies.db.faults.slow.delay: '2024-01-01' is not a"),
    # partitions; line 9 is `  dark: …`
    ("partitions as list", PROXY + "partitions: [a]", "6:13: partitions: a list is not a mapping; give partitions by"),
    ("empty partition", NODES, "9:8: partitions.dark: null is not a mapping; give one"),
    ("cuts nothing", NODES + "{ttl: 1s}", "9:9: partitions.dark: cuts nothing; give from and to, such as from: app"),
    ("one side", NODES + "{from: app}", "9:9: partitions.dark.to: is missing beside from; give the nodes on the other"),
    ("two kinds", NODES + "{from: app, to: db-primary, topology: halves}", "9:47: partitions.dark.topology: cannot st"),
    ("unknown node", NODES + "{from: ap, to: db-primary}", "9:16: partitions.dark.from: no proxy names the node 'ap"),
    ("unknown node in a list", NODES + "{from: app, to: [app, db]}", "9:31: partitions.dark.to.1: no proxy names th"),
    ("unknown node in groups", NODES + "\n    groups:\n      - [app]\n      - [db-primary, x]", "12:22: partitions.da"),
    ("unknown node in a topology", NODES + "{topology: {isolate: x}}", "9:20: partitions.dark.topology: no proxy name"),
    ("too few nodes", NODES + "{topology: bridge}", "9:20: partitions.dark.topology: bridge takes at least 3 nodes, a"),
    ("topology", NODES + "{topology: halfs}", "9:20: partitions.dark.topology: 'halfs' is not known (did you mean 'h"),
    ("no proxy between", NODES + "{from: app, to: app}", "9:9: partitions.dark: goes through no proxy: none stands b"),
    ("preset's time", NODES + "{from: app, to: db-primary, up: 5s}", "9:41: partitions.dark.up: goes with preset: fla"),
    ("partition's mode", NODES + "{from: app, to: db-primary, mode: packt}", "9:43: partitions.dark.mode: 'packt' is "),
    ("partition's ttl", NODES + "{from: app, to: db-primary, ttl: 5}", "9:42: partitions.dark.ttl: 5 has no unit; giv"),
    ("partition's key", NODES + "{from: app, to: db-primary, oneway: true}", "9:37: partitions.dark.oneway: unknown k"),
    ("reserved id", NODES + "{from: app, to: db-primary}\n  'partition:x': {from: app, to: db-primary}", "10:3: parti"),
    # the environment
    ("unset", "version: 1\nseed: ${NO}", "2:7: seed: the environment variable NO is not set; set it, or write ${NO:-d"),
    ("unset in quotes", 'version: 1\nseed: "${NO}"', "2:7: seed: the environment variable NO is not set"),
    ("needed", "version: 1\nseed: ${EMPTY:?say which}", "2:7: seed: the environment variable EMPTY is not set: say wh"),
    ("malformed", "version: 1\nseed: ${1}", "2:7: seed: malformed environment reference; write ${NAME}, ${NAME:-defau"),
    ("not closed", 'version: 1\nseed: "${A"', "2:7: seed: malformed environment reference; write"),
    ("one in another", "version: 1\nseed: ${NO:-${PORT}}", "2:7: seed: malformed environment reference; write"),
    ("not a number", "version: 1\nseed: ${TOKEN}", "2:7: seed: 's3cret' is not a whole number"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "begins"), [row[1:] for row in ONE_MISTAKE], ids=[row[0] for row in ONE_MISTAKE])
def test_a_mistake_is_located(text: str | bytes, begins: str) -> None:
    found = errors(text)
    assert found[0].startswith(begins)
    assert len(found) == 1 or "wave" in begins, found


def test_all_mistakes_are_shown_in_the_order_of_lines() -> None:
    text = (
        "version: 3\n"
        "seed: x\n"
        "proxies:\n"
        "  a: {listen: nonsense, upstream: b:1, color: red}\n"
        "  b:\n"
        "    listen: 127.0.0.1:70000\n"
        "    listen: 127.0.0.1:7000\n"
        "    upstream: ${NO}\n"
        "    faults:\n"
        "      one: {type: latency, delay: 5, jitter: -1ms}\n"
        "      two: {type: nothing}\n"
        "control: !!x {}\n"
    )
    places = [line.split(": ")[0] for line in errors(text)]
    assert places == ["1:10", "2:7", "4:15", "4:40", "6:13", "7:5", "8:15", "10:35", "10:46", "11:19", "12:10"]


def test_mistakes_before_the_place_where_yaml_ends_are_shown_too() -> None:
    assert [line.split(": ")[0] for line in errors("seed: ${NO}\nseed: 1\nx: [")] == ["1:7", "2:1", "3:5"]


def test_what_was_refused_already_is_not_blamed_again() -> None:
    assert len(errors(PROXY.replace("127.0.0.1:5432", "${NO}"))) == 1
    assert len(errors(FAULT + "{type: !x latency}")) == 1


HTTP = """\
version: 1
proxies:
  db: {listen: "127.0.0.1:1", upstream: "127.0.0.1:9", faults: {a: {type: http_abort}}}
  api:
    {protocol: http, listen: "127.0.0.1:2", upstream: "127.0.0.1:9", faults: {
      a: {type: http_delay, delay: 1s, direction: upstream, on: response},
      b: {type: latency, delay: 1s, match: {path: /x}},
      c: {type: http_headers, on: request, set: {Host: y}, match: {headers: {x-a: acme}, method: POST}}}}
"""


def test_a_fault_on_messages_in_the_wrong_place_is_located() -> None:
    assert errors(HTTP) == [
        "3:75: proxies.db.faults.a.type: 'http_abort' acts on HTTP messages, and this proxy is tcp; "
        "give the proxy `protocol: http`",
        "6:51: proxies.api.faults.a.direction: http_delay treats responses here, which flow downstream; leave it out",
        "7:37: proxies.api.faults.b.match: selects HTTP messages, and latency acts on connections; leave it out",
    ]


def test_mistakes_in_a_match_are_told_beside_those_in_what_the_fault_does() -> None:
    found = errors(
        'version: 1\nproxies: {web: {protocol: http, listen: "127.0.0.1:1", upstream: "127.0.0.1:2", faults: {\n'
        "  a: {type: http_abort, status: 99, match: {path: '~(', methd: GET}},\n"
        "  b: {type: http_abort, nth: 0, match: {methd: GET}},\n"
        "  c: {type: http_abort, status: 99, match: {status: 404}}}}}\n"
    )
    assert [one.split(": ")[1].removeprefix("proxies.web.faults.") for one in found] == [
        "a.status", "a.match.path", "a.match.methd", "b.nth", "b.match.methd", "c.status",
    ]  # fmt: skip


def two_proxies(first: str, second: str) -> str:
    return f"""\
version: 1
proxies:
  a: {{listen: '{first}', upstream: 'x:1'}}
  b: {{upstream: 'x:1', listen: '{second}'}}
"""


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("127.0.0.1:80", "localhost:80"),
        ("localhost:80", "[::1]:80"),
        ("LOCALHOST:80", "127.0.0.1:80"),
        ("0.0.0.0:80", "10.0.0.1:80"),
        ("10.0.0.1:80", "[::]:80"),
        ("[::1]:80", "[0:0::1]:80"),
        ("[::ffff:10.0.0.1]:80", "10.0.0.1:80"),
        ("Db.internal:80", "db.internal.:80"),
        ("unix:/run/a.sock", "unix:/run/./a.sock"),
    ],
)
def test_two_proxies_on_one_address_are_an_error_at_the_second(first: str, second: str) -> None:
    text = two_proxies(first, second)
    (error,) = errors(text)
    assert error.startswith("4:32: proxies.b.listen: ")
    assert "is already taken by the proxy 'a'; give each proxy its own" in error


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("127.0.0.1:80", "127.0.0.1:81"),
        ("127.0.0.1:80", "127.0.0.2:80"),
        ("127.0.0.1:80", "[::1]:80"),
        ("0.0.0.0:80", "unix:/run/a.sock"),
        ("unix:/run/a.sock", "unix:/run/b.sock"),
    ],
)
def test_two_proxies_on_two_addresses_are_fine(first: str, second: str) -> None:
    text = two_proxies(first, second)
    assert len(loaded(text).proxies) == 2


def test_the_example_of_the_documentation_loads() -> None:
    config = loaded(WHOLE_EXAMPLE)
    assert config.seed == 42
    assert config.control.token is None
    assert config.policy.upstreams == ("127.0.0.0/8", "*.staging.internal")
    primary, api = config.proxies
    assert (primary.name, primary.service) == ("db-primary", "db")
    assert (primary.from_node, primary.to_node) == ("app", "db-primary")
    assert primary.listen == Address("127.0.0.1", 15432)
    assert [(fault.name, fault.type) for fault in primary.faults] == [("slow-answers", "latency")]
    assert api.protocol == "http"
    assert api.faults[0].placement.probability == 0.2


def fault_of(text: str) -> FaultSpec:
    return loaded(FAULT + text).proxies[0].faults[0]


def test_a_plain_value_is_typed_after_expansion_and_a_quoted_one_is_text() -> None:
    assert loaded("version: 1\nseed: ${PORT}").seed == 5432
    assert errors('version: 1\nseed: "${PORT}"')[0].startswith("2:7: seed: '5432' is not a whole number")
    assert loaded(PROXY.replace(":5432", ":${PORT}")).proxies[0].upstream == Address("127.0.0.1", 5432)
    assert fault_of('{type: stall, probability: "${SHARE}"}').placement.probability == 0.25
    assert loaded(PROXY + "    enabled: ${ON}").proxies[0].enabled is True


@pytest.mark.parametrize(
    ("written", "token"),
    [
        ("${TOKEN}", "s3cret"),
        ("'${TOKEN}'", "s3cret"),
        ("${DIGITS}", "007"),
        ("${NO:-}", None),
        ("'${NO:-}'", ""),
        ("${EMPTY:-a b}", "a b"),
        ("a$${TOKEN}b", "a${TOKEN}b"),
        ("a$b$", "a$b$"),
        ("x-${TOKEN}-${PORT}", "x-s3cret-5432"),
    ],
)
def test_a_token_from_the_environment(written: str, token: str | None) -> None:
    assert loaded(f"version: 1\ncontrol:\n  token: {written}").control.token == token


def test_keys_are_not_expanded_and_name_what_they_look_like() -> None:
    text = "version: 1\nproxies:\n  ${TOKEN}: {listen: a:0, upstream: a:1}\n  on: {listen: a:0, upstream: a:1}\n"
    assert [proxy.name for proxy in loaded(text + "  8080: {listen: a:0, upstream: a:1}").proxies] == [
        "${TOKEN}", "on", "8080",
    ]  # fmt: skip


SECOND_WITH_ALIAS = "  b: {listen: a:0, upstream: a:1, faults: *bad}\n"


def test_anchors_and_aliases_stand_for_whole_values() -> None:
    text = PROXY + "    faults: &bad {slow: {type: latency, delay: 1s}}\n" + SECOND_WITH_ALIAS
    first, second = loaded(text).proxies
    assert first.faults == second.faults != ()


def test_an_error_inside_an_alias_is_shown_where_it_is_written() -> None:
    text = PROXY + "    faults: &bad {slow: {type: latency, delay: 1}}\n" + SECOND_WITH_ALIAS
    assert [line.split(" ")[0] for line in errors(text)] == ["6:48:", "6:48:"]


def test_a_byte_order_mark_is_no_error() -> None:
    assert loaded(b"\xef\xbb\xbfversion: 1") == Config()


def test_the_error_carries_its_parts() -> None:
    with pytest.raises(InvalidInput) as caught:
        loaded("version: 1\nseed: x\n")
    (problem,) = caught.value.problems
    assert problem.path == ("seed",)
    assert str(problem) == "f.yaml:2:7: seed: 'x' is not a whole number; give one of at least 0"


def test_partitions_are_read_in_every_form() -> None:
    text = NODES + "{from: app, to: [db-primary], ttl: 30s}\n  split: {groups: [app, [db-primary]]}\n"
    text += "  alone: {topology: {isolate: app}}\n  ${TOKEN}: {topology: 'isolate:db-primary', mode: packet}\n"
    found = {one.id: one for one in loaded(text).partitions}
    assert list(found) == ["dark", "split", "alone", "${TOKEN}"]
    assert (found["dark"].from_nodes, found["dark"].to_nodes, found["dark"].ttl) == (("app",), ("db-primary",), 30.0)
    assert found["split"].groups == (("app",), ("db-primary",))
    assert [str(found[id].topology) for id in ("alone", "${TOKEN}")] == ["isolate:app", "isolate:db-primary"]


def test_where_a_proxy_is_wrong_its_partitions_are_not_blamed() -> None:
    """The nodes are not known then; what is wrong with a partition alone is told all the same."""
    wrong = NODES.replace("127.0.0.1:5432", "nonsense") + "{from: nobody, to: db-primary, mode: x}"
    assert [line.split(" ")[1] for line in errors(wrong)] == ["proxies.db.upstream:", "partitions.dark.mode:"]


def test_problems_found_later_are_located_in_the_order_of_lines() -> None:
    text = FAULT + "{type: packet_loss, rate: 1%, mode: packet}\n      plain: {type: stall}\n"
    text += "    from: app\n    to: db\npartitions:\n  dark: {from: app, to: db, mode: packet}\n"
    file = read(text.encode(), "f.yaml", ENVIRONMENT)
    found = [
        Problem(("partitions", "dark", "mode"), "cannot be had; stream can"),
        Problem(("proxies", "db", "faults", "slow", "mode"), "cannot be had either"),
        Problem(("proxies", "db", "faults", "plain", "mode"), "is not written in the file"),
    ]
    assert [str(one) for one in file.locate(found)] == [
        "f.yaml:7:49: proxies.db.faults.slow.mode: cannot be had either",
        "f.yaml:8:14: proxies.db.faults.plain.mode: is not written in the file",
        "f.yaml:12:35: partitions.dark.mode: cannot be had; stream can",
    ]
    assert file.config == load(text.encode(), "f.yaml", ENVIRONMENT)


def documented(language: str) -> str:
    """The first block of a language in the documentation."""
    text = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    return text.split(f"```{language}\n")[1].split("```")[0]


def test_the_file_in_the_documentation_loads() -> None:
    assert [proxy.name for proxy in loaded(documented("yaml")).proxies] == ["db-primary", "cache"]


def test_the_errors_in_the_documentation_are_real() -> None:
    text = (
        PROXY.replace("127.0.0.1:15432", "127.0.0.1:99999") + "    faults:\n      slow: {type: latency, delay: 100}\n"
    )
    shown = documented("console").splitlines()[1:]
    assert shown == [f"config.yaml:{line}" for line in errors(text)]
