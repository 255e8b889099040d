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
ON_EVERY = "version: 1\nproxies:\n  a: {listen: \"[::]:80\", upstream: a:1}\n"
DB, SLOW, DARK = "proxies.db", "proxies.db.faults.slow", "partitions.dark"
NODES = PROXY + "    from: app\n    to: db-primary\npartitions:\n  dark: "
RESERVED_ID = NODES.replace("dark", "partition:x") + "{from: app, to: db-primary}"

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
    """Return `LINE:COLUMN path code` of every error, in their order."""
    with pytest.raises(ConfigError) as caught:
        loaded(text)
    assert all(str(one).startswith(f"f.yaml:{one.line}:{one.column}: ") for one in caught.value.located)
    return [
        " ".join((f"{one.line}:{one.column}", *([one.field] if one.path else []), one.code))
        for one in caught.value.located
    ]


# (subject, text of the file, place and code of its one error)
ONE_MISTAKE = [
    # the text itself
    ("empty", "", "1:1 empty"),
    ("comments alone", "# nothing\n\n", "1:1 empty"),
    ("not UTF-8", b"version: 1\nseed: \xff\n", "2:7 not-utf-8"),
    ("UTF-16", "version: 1".encode("utf-16"), "1:1 not-utf-8"),
    ("control character", "version: 1\nseed: \x07", "2:7 not-yaml"),
    ("too large", b" " * (2**20 + 1), "1:1 too-large"),
    ("no mapping", "just words", "1:1 wrong-type"),
    ("a list", "[1]", "1:1 wrong-type"),
    ("open bracket", "version: 1\npolicy: [1\n", "3:1 not-yaml"),
    ("open quote", 'version: 1\nseed: "42', "2:10 not-yaml"),
    ("a tab", "version: 1\ncontrol:\n\tlisten: x", "3:1 not-yaml"),
    ("two colons", "version: 1\nseed: a: b", "2:8 not-yaml"),
    ("second document", "version: 1\n---\nversion: 1\n", "2:1 unsupported-yaml"),
    ("python tag", "version: 1\nseed: !!python/object:os.system 1", "2:7 seed unsupported-yaml"),
    ("own tag", "version: 1\ncontrol: !mine {}", "2:10 control unsupported-yaml"),
    ("tag of a key", "version: 1\n!x seed: 1", "2:1 unsupported-yaml"),
    ("tag that does not fit", "version: 1\nseed: !!int x", "2:7 seed wrong-type"),
    ("merge key", "version: 1\ncontrol:\n  <<: {listen: a}", "3:3 control unsupported-yaml"),
    ("key that is a list", "version: 1\n? [a]\n: 1", "2:3 wrong-type"),
    ("unknown alias", "version: 1\nseed: *s", "2:7 seed not-yaml"),
    ("recursive alias", "version: 1\nproxies: &p {a: *p}", "2:17 proxies.a unsupported-yaml"),
    ("nesting", "version: 1\nseed: " + "[" * 40 + "]" * 40, "2:38 too-large"),
    ("endless number", "version: 1\nseed: " + "1" * 5000, "2:7 seed too-large"),
    # the top level
    ("no version", "seed: 1", "1:1 version missing"),
    ("wrong version", "version: 2", "1:10 version unsupported-version"),
    ("version as text", 'version: "1"', "1:10 version unsupported-version"),
    ("version as float", "version: 1.0", "1:10 version unsupported-version"),
    ("version as flag", "version: true", "1:10 version unsupported-version"),
    ("unknown key", "version: 1\nproxis: {}", "2:1 proxis unknown-key"),
    ("a later version's key", "version: 1\nscenarios: {}", "2:1 scenarios unknown-key"),
    ("duplicate key", "version: 1\nseed: 1\nseed: 2", "3:1 seed duplicate"),
    ("seed as text", "version: 1\nseed: abc", "2:7 seed wrong-type"),
    ("negative seed", "version: 1\nseed: -1", "2:7 seed out-of-range"),
    ("huge seed", "version: 1\nseed: " + "9" * 50, "2:7 seed out-of-range"),
    ("bad control", "version: 1\ncontrol: 8474", "2:10 control wrong-type"),
    ("bad control address", "version: 1\ncontrol: {listen: 8474}", "2:19 control.listen not-an-address"),
    ("bad list", "version: 1\npolicy: {listen: a}", "2:18 policy.listen wrong-type"),
    ("bad CIDR", 'version: 1\npolicy:\n  upstreams: ["10.0.0.0/99"]', "3:15 policy.upstreams.0 malformed"),
    ("bad item", "version: 1\npolicy:\n  upstreams:\n    - a\n    - 5", "5:7 policy.upstreams.1 malformed"),
    ("port in listen policy", 'version: 1\npolicy: {listen: ["a:1"]}', "2:19 policy.listen.0 malformed"),
    # proxies
    ("proxies as list", "version: 1\nproxies:\n  - a", "2:1 proxies wrong-type"),
    ("empty proxy", "version: 1\nproxies:\n  db:", f"3:6 {DB} wrong-type"),
    ("no listen", "version: 1\nproxies:\n  db: {upstream: a:1}", f"3:7 {DB}.listen missing"),
    ("itself upstream", PROXY.replace(":5432", ":15432"), f"5:15 {DB}.upstream upstream-loop"),
    ("empty node", PROXY + '    from: ""', f"6:11 {DB}.from empty"),
    ("control's port", PROXY + "control: {listen: localhost:15432}\n", f"4:13 {DB}.listen address-in-use"),
    ("control on every address", PROXY + 'control: {listen: "[::]:15432"}\n', f"4:13 {DB}.listen address-in-use"),
    ("overlap", ON_EVERY + "  b: {listen: 0.0.0.0:80, upstream: a:1}\n", "4:15 proxies.b.listen address-in-use"),
    ("specific", ON_EVERY + "  b: {listen: 127.0.0.1:80, upstream: a:1}\n", "4:15 proxies.b.listen address-in-use"),
    ("IPv4 alone", PROXY + "    ipv6only: true\n", f"6:5 {DB}.ipv6only not-applicable"),
    ("path alone", PROXY.replace("127.0.0.1:15432", "unix:/a") + "    ipv6only: true\n",
     f"6:5 {DB}.ipv6only not-applicable"),
    ("ipv6only as text", PROXY + "    ipv6only: no\n", f"6:15 {DB}.ipv6only wrong-type"),
    ("empty name", 'version: 1\nproxies:\n  "": {listen: a:1, upstream: a:2}', "3:3 proxies. empty"),
    ("line in a name", PROXY.replace("db:", '"a\\nb":'), "3:3 proxies.'a\\nb' invalid-name"),
    ("port too large", PROXY.replace(":5432", ":65536"), f"5:15 {DB}.upstream out-of-range"),
    ("port 0 upstream", PROXY.replace(":5432", ":0"), f"5:15 {DB}.upstream out-of-range"),
    ("Arabic port", PROXY.replace(":5432", ":١٢٣"), f"5:15 {DB}.upstream not-an-address"),
    ("bare port", PROXY.replace("127.0.0.1:5432", ":5432"), f"5:15 {DB}.upstream not-an-address"),
    ("bare IPv6", PROXY.replace("127.0.0.1:5432", "::1:5432"), f"5:15 {DB}.upstream not-an-address"),
    ("unit missing", PROXY + "    connect_timeout: 10\n", f"6:22 {DB}.connect_timeout unit-missing"),
    ("size unit missing", PROXY + "    queue: 16000\n", f"6:12 {DB}.queue unit-missing"),
    ("yes is text", PROXY + "    enabled: yes\n", f"6:14 {DB}.enabled wrong-type"),
    ("number as node", PROXY + "    from: 5\n", f"6:11 {DB}.from wrong-type"),
    ("protocol", PROXY + "    protocol: htp\n", f"6:15 {DB}.protocol unknown-value"),
    ("same name", PROXY + "  db: {}\n", f"6:3 {DB} duplicate"),
    # faults
    ("faults as list", PROXY + "    faults: [a]\n", f"6:13 {DB}.faults wrong-type"),
    ("fault as text", FAULT + "latency", f"7:13 {SLOW} wrong-type"),
    ("no type", FAULT + "{delay: 1s}", f"7:13 {SLOW}.type missing"),
    ("unknown type", FAULT + "{type: latencyy}", f"7:20 {SLOW}.type unknown-fault-type"),
    ("http on tcp", FAULT + "{type: http_abort}", f"7:20 {SLOW}.type not-applicable"),
    ("bare delay", FAULT + "{type: latency, delay: 100}", f"7:36 {SLOW}.delay unit-missing"),
    ("unknown unit", FAULT + "{type: latency, delay: 1 day}", f"7:36 {SLOW}.delay unknown-unit"),
    ("delay missing", FAULT + "\n        type: latency", f"7:7 {SLOW}.delay missing"),
    ("parameter", FAULT + "{type: latency, dely: 1s, delay: 1s}", f"7:29 {SLOW}.dely unknown-key"),
    ("another's parameter", FAULT + "{type: stall, rate: 1MB/s}", f"7:27 {SLOW}.rate unknown-key"),
    ("match", FAULT + "{type: stall, match: {}}", f"7:27 {SLOW}.match not-applicable"),
    ("probability", FAULT + "{type: stall, probability: 1.5}", f"7:40 {SLOW}.probability out-of-range"),
    ("percent", FAULT + "{type: stall, probability: 101%}", f"7:40 {SLOW}.probability out-of-range"),
    ("not a number", FAULT + "{type: stall, probability: .nan}", f"7:40 {SLOW}.probability out-of-range"),
    ("direction", FAULT + "{type: stall, direction: up}", f"7:38 {SLOW}.direction unknown-value"),
    ("ttl", FAULT + "{type: stall, ttl: 0s}", f"7:32 {SLOW}.ttl out-of-range"),
    ("nested", FAULT + "{type: latency, delay: 1s, wave: {amplitude: 1ms}}", f"7:46 {SLOW}.wave.period missing"),
    ("across parameters", FAULT + "{type: stall, every: 5s}", f"7:34 {SLOW}.every invalid-together"),
    ("date", FAULT + "{type: latency, delay: 2024-01-01}", f"7:36 {SLOW}.delay not-a-duration"),
    # partitions; line 9 is `  dark: …`
    ("partitions as list", PROXY + "partitions: [a]", "6:13 partitions wrong-type"),
    ("empty partition", NODES, f"9:8 {DARK} wrong-type"),
    ("cuts nothing", NODES + "{ttl: 1s}", f"9:9 {DARK} missing"),
    ("one side", NODES + "{from: app}", f"9:9 {DARK}.to missing"),
    ("two kinds", NODES + "{from: app, to: db-primary, topology: halves}", f"9:47 {DARK}.topology invalid-together"),
    ("unknown node", NODES + "{from: ap, to: db-primary}", f"9:16 {DARK}.from unknown-node"),
    ("unknown node in a list", NODES + "{from: app, to: [app, db]}", f"9:31 {DARK}.to.1 unknown-node"),
    ("unknown node in groups", NODES + "{groups: [[app], [db-primary, x]]}", f"9:39 {DARK}.groups.1.1 unknown-node"),
    ("unknown node in a topology", NODES + "{topology: {isolate: x}}", f"9:20 {DARK}.topology unknown-node"),
    ("too few nodes", NODES + "{topology: bridge}", f"9:20 {DARK}.topology no-effect"),
    ("topology", NODES + "{topology: halfs}", f"9:20 {DARK}.topology unknown-value"),
    ("no proxy between", NODES + "{from: app, to: app}", f"9:9 {DARK} no-effect"),
    ("preset's time", NODES + "{from: app, to: db-primary, up: 5s}", f"9:41 {DARK}.up not-applicable"),
    ("partition's mode", NODES + "{from: app, to: db-primary, mode: packt}", f"9:43 {DARK}.mode unknown-value"),
    ("partition's ttl", NODES + "{from: app, to: db-primary, ttl: 5}", f"9:42 {DARK}.ttl unit-missing"),
    ("partition's key", NODES + "{from: app, to: db-primary, oneway: true}", f"9:37 {DARK}.oneway unknown-key"),
    ("reserved id", RESERVED_ID, "9:3 partitions.partition:x invalid-name"),
    # the environment
    ("unset", "version: 1\nseed: ${NO}", "2:7 seed variable-not-set"),
    ("unset in quotes", 'version: 1\nseed: "${NO}"', "2:7 seed variable-not-set"),
    ("needed", "version: 1\nseed: ${EMPTY:?say which}", "2:7 seed variable-not-set"),
    ("malformed", "version: 1\nseed: ${1}", "2:7 seed malformed"),
    ("not closed", 'version: 1\nseed: "${A"', "2:7 seed malformed"),
    ("one in another", "version: 1\nseed: ${NO:-${PORT}}", "2:7 seed malformed"),
    ("not a number", "version: 1\nseed: ${TOKEN}", "2:7 seed wrong-type"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "where"), [row[1:] for row in ONE_MISTAKE], ids=[row[0] for row in ONE_MISTAKE])
def test_a_mistake_is_located(text: str | bytes, where: str) -> None:
    assert errors(text) == [where]


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
    places = [line.split(" ")[0] for line in errors(text)]
    assert places == ["1:10", "2:7", "4:15", "4:40", "6:13", "7:5", "8:15", "10:35", "10:46", "11:19", "12:10"]


def test_mistakes_before_the_place_where_yaml_ends_are_shown_too() -> None:
    assert [line.split(" ")[0] for line in errors("seed: ${NO}\nseed: 1\nx: [")] == ["1:7", "2:1", "3:5"]


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
        "3:75 proxies.db.faults.a.type not-applicable",
        "6:51 proxies.api.faults.a.direction not-applicable",
        "7:37 proxies.api.faults.b.match not-applicable",
    ]


def test_mistakes_in_a_match_are_told_beside_those_in_what_the_fault_does() -> None:
    found = errors(
        'version: 1\nproxies: {web: {protocol: http, listen: "127.0.0.1:1", upstream: "127.0.0.1:2", faults: {\n'
        "  a: {type: http_abort, status: 99, match: {path: '~(', methd: GET}},\n"
        "  b: {type: http_abort, nth: 0, match: {methd: GET}},\n"
        "  c: {type: http_abort, status: 99, match: {status: 404}}}}}\n"
    )
    assert [one.split(" ")[1].removeprefix("proxies.web.faults.") for one in found] == [
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
    assert errors(text) == ["4:32 proxies.b.listen address-in-use"]


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
    assert errors('version: 1\nseed: "${PORT}"') == ["2:7 seed wrong-type"]
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
    assert [line.split(" ")[0] for line in errors(text)] == ["6:48", "6:48"]


def test_a_byte_order_mark_is_no_error() -> None:
    assert loaded(b"\xef\xbb\xbfversion: 1") == Config()


def test_the_error_carries_its_parts() -> None:
    with pytest.raises(InvalidInput) as caught:
        loaded("version: 1\nseed: x\n")
    (problem,) = caught.value.problems
    assert problem.path == ("seed",)
    assert (problem.code, str(problem)) == ("wrong-type", f"f.yaml:2:7: seed: {problem.message}")


def test_partitions_are_read_in_every_form() -> None:
    text = NODES + "{from: app, to: [db-primary], ttl: 30s}\n  split: {groups: [app, [db-primary]]}\n"
    text += "  alone: {topology: {isolate: app}}\n  ${TOKEN}: {topology: 'isolate:db-primary', mode: packet}\n"
    found = {one.id: one for one in loaded(text).partitions}
    assert list(found) == ["dark", "split", "alone", "${TOKEN}"]
    assert (found["dark"].from_nodes, found["dark"].to_nodes, found["dark"].ttl) == (("app",), ("db-primary",), 30.0)
    assert found["split"].groups == (("app",), ("db-primary",))
    assert [str(found[id].topology) for id in ("alone", "${TOKEN}")] == ["isolate:app", "isolate:db-primary"]


@pytest.mark.parametrize(
    ("right", "wrong", "field", "blamed"),
    [
        ("upstream: 127.0.0.1:5432", "upstream: nonsense", "upstream", ["from", "mode"]),
        ("from: app", "from: [app]", "from", ["mode"]),  # its node cannot be read, and may be any
        ("from: app", "from: nobody", None, ["mode"]),
    ],
)
def test_unknown_nodes_are_named_beside_other_problems(
    right: str, wrong: str, field: str | None, blamed: list[str]
) -> None:
    text = NODES.replace(right, wrong) + "{from: nobody, to: db-primary, mode: x}"
    expected = [*([] if field is None else [f"proxies.db.{field}"]), *(f"partitions.dark.{one}" for one in blamed)]
    assert [line.split(" ")[1].rstrip(":") for line in errors(text)] == expected


def test_a_wrong_version_hides_no_problem_of_a_partition() -> None:
    text = NODES.replace("version: 1", "version: 2") + "{from: app, to: nobody}"
    assert [line.split(" ")[1].rstrip(":") for line in errors(text)] == ["version", "partitions.dark.to"]


def test_a_partition_may_cut_a_proxy_that_is_wrong() -> None:
    text = NODES.replace("upstream: 127.0.0.1:5432", "upstream: nonsense") + "{from: app, to: db-primary}"
    assert [line.split(" ")[1].rstrip(":") for line in errors(text)] == ["proxies.db.upstream"]


def test_problems_found_later_are_located_in_the_order_of_lines() -> None:
    text = FAULT + "{type: packet_loss, rate: 1%, mode: packet}\n      plain: {type: stall}\n"
    text += "    from: app\n    to: db\npartitions:\n  dark: {from: app, to: db, mode: packet}\n"
    file = read(text.encode(), "f.yaml", ENVIRONMENT)
    found = [
        Problem(("partitions", "dark", "mode"), "unsupported-mode", "cannot be had; stream can"),
        Problem(("proxies", "db", "faults", "slow", "mode"), "unsupported-mode", "cannot be had either"),
        Problem(("proxies", "db", "faults", "plain", "mode"), "unsupported-mode", "is not written in the file"),
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
    with pytest.raises(ConfigError) as caught:
        load(text.encode(), "config.yaml", ENVIRONMENT)
    assert documented("console").splitlines()[2:] == str(caught.value).splitlines()
