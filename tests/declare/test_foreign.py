"""Words of other tools in errors: each names a type or key of ours, at its place, in YAML, REST and the CLI alike."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from chaosproxy.cli import main
from chaosproxy.config import ConfigError, load
from chaosproxy.declare import params_of
from chaosproxy.declare.foreign import KEYS, TYPES, UNITS, key_hint, type_hint
from chaosproxy.declare.params import Param
from chaosproxy.model.fault import placing
from chaosproxy.model.proxy import ProxySpec
from chaosproxy.model.types import FAULT_TYPES

FILE = """\
version: 1
proxies:
  db:
    listen: 127.0.0.1:15432
    upstream: 127.0.0.1:5432
    protocol: http
    faults:
      it: {{{}}}
"""


def told(fault: str) -> list[tuple[int, str, str, str]]:
    """The line, field, code and message of each problem of a fault in a file."""
    with pytest.raises(ConfigError) as caught:
        load(FILE.format(fault).encode(), "c.yaml", {})
    return [
        (one.line, one.field.removeprefix("proxies.db.faults.it."), one.code, one.message)
        for one in caught.value.located
    ]


TYPE_ROWS = [
    ("timeout", "for Toxiproxy's timeout, use `blackhole`, with `limit_time` to end the connection"),
    ("reset_peer", "for Toxiproxy's reset_peer, use `reset`"),
    ("loss", "for netem's loss, use `packet_loss`"),
    ("abort", "for Envoy's abort, use `http_abort`"),
    ("delay", "for Envoy's delay, use `http_delay` for messages, or `latency` for every connection"),
    ("ABORT", "for Envoy's abort, use `http_abort`"),
    ("latecy", "did you mean 'latency'?"),
]

KEY_ROWS = [
    ("type: latency, delay: 1s, toxicity: 0.5", "toxicity", "Toxiproxy's toxicity is `probability` here"),
    ("type: latency, delay: 1s, stream: upstream", "stream", "Toxiproxy's stream is `direction` here"),
    ("type: latency, delay: 1s, attributes: {latency: 5}", "attributes",
     "Toxiproxy's attributes stand next to `type` here"),
    ("type: latency, latency: 1000", "latency", "Toxiproxy's latency is `delay` here"),
    ("type: limit_time, timeout: 5", "timeout", "Toxiproxy's timeout is `time` here"),
    ("type: reset, timeout: 5", "timeout", "Toxiproxy's timeout is `delay` here"),
    ("type: limit_data, bytes: 5", "bytes", "Toxiproxy's bytes is `size` here"),
    ("type: slicer, average_size: 5", "average_size", "Toxiproxy's average_size is `size` here"),
    ("type: slicer, size: 5B, size_variation: 5", "size_variation", "Toxiproxy's size_variation is `variation` here"),
    ("type: slicer, size: 5B, delay: 5", "delay", "Toxiproxy's delay is `gap` here"),
    ("type: packet_loss, loss_rate: 5%", "loss_rate", "Toxiproxy's loss_rate is `rate` here"),
    ("type: packet_loss, percent: 5", "percent", "Pumba's percent is `rate` here"),
    ("type: http_abort, status: 503, percentage: 5", "percentage", "Envoy's percentage is `probability` here"),
    ("type: http_delay, fixed_delay: 5s", "fixed_delay", "Envoy's fixed_delay is `delay` here"),
    ("type: latency, delay: 1s, duration: 5s", "duration", "Chaos Mesh's duration is `ttl` here"),
    ("type: latency, delay: 1s, jiter: 5s", "jiter", "did you mean 'jitter'?"),
]  # fmt: skip

BARE_ROWS = [
    ("type: latency, delay: 1000", "delay", "1000ms"),
    ("type: latency, delay: '1000'", "delay", "1000ms"),
    ("type: bandwidth, rate: 1000", "rate", "1000KB/s"),
    ("type: limit_data, size: 1000", "size", "1000B"),
    ("type: slow_close, delay: 1000", "delay", "1000ms"),
    ("type: slicer, size: 64B, gap: 10", "gap", "10us"),
]


@pytest.mark.parametrize(("word", "hint"), TYPE_ROWS)
def test_types(word: str, hint: str) -> None:
    [(line, field, code, message)] = told(f"type: {word}")
    assert (line, field, code) == (8, "type", "unknown-fault-type")
    assert f"({hint})" in message
    done = CliRunner().invoke(main, ["faults", word])
    assert done.exit_code == 2 and f"({hint})" in _line(done.output)


@pytest.mark.parametrize(("fault", "key", "hint"), KEY_ROWS)
def test_keys(fault: str, key: str, hint: str) -> None:
    problems = [one for one in told(fault) if one[1] == key]
    [(line, _, code, message)] = problems
    assert (line, code) == (8, "unknown-key")
    assert f"({hint})" in message


@pytest.mark.parametrize(("fault", "key", "ours"), BARE_ROWS)
def test_numbers_without_a_unit(fault: str, key: str, ours: str) -> None:
    [(line, field, code, message)] = told(fault)
    assert (line, field, code) == (8, key, "unit-missing")
    number = re.match(r"\d+", ours)
    assert number is not None and message.endswith(f"(Toxiproxy's {number[0]} is {ours} here)")


def test_the_command_line_says_the_same() -> None:
    words = ["inject", "db", "latency", "delay=1000", "toxicity=0.5", "attributes=none", "--url", "http://127.0.0.1:1"]
    output = _line(CliRunner().invoke(main, words).output)
    assert "(Toxiproxy's 1000 is 1000ms here)" in output
    assert "(Toxiproxy's toxicity is `probability` here)" in output
    assert "(Toxiproxy's attributes stand next to `type` here)" in output


def test_the_faults_of_a_proxy_are_toxics_elsewhere() -> None:
    text = FILE.format("type: stall").replace("    faults:", "    toxics:")
    with pytest.raises(ConfigError, match=r"proxies\.db\.toxics: unknown key \(Toxiproxy's toxics is `faults` here\)"):
        load(text.encode(), "c.yaml", {})


def test_a_setting_that_no_toxic_has_gets_no_hint() -> None:
    text = FILE.format("type: stall").replace("protocol: http", "connect_timeout: 10")
    with pytest.raises(ConfigError) as caught:
        load(text.encode(), "c.yaml", {})
    assert "Toxiproxy" not in str(caught.value)


def _params() -> dict[str, list[Param]]:
    return {name: [*params_of(fault), *placing(fault)] for name, fault in FAULT_TYPES.items()}


def test_the_tables_name_only_what_exists() -> None:
    ours = {param.name for params in _params().values() for param in params} | {"faults"}
    assert {one for _, names in KEYS.values() for one in names} <= ours
    named = {word for _, text in TYPES.values() for word in re.findall(r"`(\w+)`", text)}
    assert named - {"jitter"} <= set(FAULT_TYPES)
    assert not TYPES.keys() & FAULT_TYPES.keys()
    assert {param.kind.__class__ for params in _params().values() for param in params} >= set(UNITS)


def test_no_key_of_ours_is_foreign_where_it_is_known() -> None:
    for params in [*_params().values(), params_of(ProxySpec)]:
        names = [param.name for param in params]
        for key in names:
            assert KEYS.get(key, ("", ()))[1] == () or key in names
        assert all(key_hint(key, names) == "" for key in ("no such key at all", 5, None))


def test_a_word_that_is_no_text_has_no_hint() -> None:
    assert type_hint(["timeout"], FAULT_TYPES) == ""


def _line(output: str) -> str:
    return " ".join(output.split())
