"""Text from elsewhere is shown on one line, without what a terminal obeys or hides."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from chaosproxy.cli import main
from chaosproxy.cli.client import _refusal
from chaosproxy.cli.printing import print_json, print_table, print_text
from chaosproxy.declare import Problems
from chaosproxy.errors import Problem, shown
from chaosproxy.model import read_proxy
from chaosproxy.observe.log import JsonFormatter, TextFormatter
from chaosproxy.text import escaped
from tests.control.serving import serving

BAD = "a\x1b[31m\x9b2J\u202eb\u200bc\u3164d\r\ne\x7f"
"""A color, a cleared screen, a direction, characters without a width, and a new line."""
SEEN = "a\\x1b[31m\\x9b2J\\u202eb\\u200bc\\u3164d\\r\\ne\\x7f"
OBEYED = set("\x1b\x9b\u202e\u200b\u3164\r\x7f")


def test_what_is_not_shown_is_escaped() -> None:
    assert escaped(BAD) == SEEN
    assert escaped("a\nb\r", keep="\n") == "a\nb\\r"
    assert escaped("\U000e0001\udcff\ufe00") == "\\U000e0001\\udcff\\ufe00"
    for same in ("", "über 100 € ⚠️", "a\\b", "日本 한글"):
        assert escaped(same) == same


@given(st.text())
def test_an_escaped_text_stays_as_it_is(text: str) -> None:
    assert escaped(text).isprintable()
    assert escaped(escaped(text)) == escaped(text)


def test_messages_repeat_values_escaped() -> None:
    for text in (shown(BAD), Problem((BAD,), "empty", "").field):
        assert not OBEYED & set(text) and "\n" not in text
        assert "a\\x1b[31m" in text


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_the_log_escapes_messages_fields_and_tracebacks(formatter: logging.Formatter) -> None:
    try:
        raise ValueError(BAD)
    except ValueError as error:
        exc_info = (ValueError, error, error.__traceback__)
    record = logging.LogRecord("chaosproxy", logging.ERROR, __file__, 1, "%s", (BAD,), exc_info)
    record.fields = {"path": BAD, "sni": "x\u202e"}
    line = formatter.format(record)
    assert not OBEYED & set(line)
    assert "a\\x1b[31m" in line or "a\\u001b[31m" in line


@pytest.mark.parametrize("path", ["/none/%1b%5b31m%e2%80%ae%0d%0a", "/v1/proxies/%1b%e2%80%ae", "/v1/status?%1b=1"])
def test_problems_are_escaped_once_they_are_read(path: str) -> None:
    async def scenario() -> None:
        async with serving() as api:
            answer = await api.ask("GET", path)
            assert answer.status in (400, 404)
            assert not any(set(text) & (OBEYED | {"\n"}) for text in texts_in(answer.body)), answer.body

    asyncio.run(scenario())


def texts_in(value: object) -> list[str]:
    match value:
        case str():
            return [value]
        case dict():
            return [text for one in value.values() for text in texts_in(one)]
        case list():
            return [text for one in value for text in texts_in(one)]
        case _:
            return []


def test_commands_print_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    print_text(f"proxy {BAD}")
    print_table(("proxy",), [(BAD,)])
    problem = {"detail": BAD, "code": "name-taken", "errors": [{"path": BAD, "code": "empty", "message": BAD}]}
    for status in (400, 409):
        _refusal("GET", "/", status, problem, False).show()
    printed = capsys.readouterr()
    assert not OBEYED & set(printed.out + printed.err)
    assert printed.err.count(SEEN) == 3, "each on its line"
    print_json({"name": BAD, "other": "über 😀"})
    out = capsys.readouterr().out
    assert not OBEYED & set(out)
    assert json.loads(out) == {"name": BAD, "other": "über 😀"}
    assert "über 😀" in out


@pytest.mark.parametrize("key", ["from", "to", "service", "routes", "listen", "name", "x\u202e\n"])
@pytest.mark.parametrize("text", ["a\x1b[31m", "a\u202eb", "a\u3164b"])
def test_names_that_metrics_and_logs_show_are_printable(key: str, text: str) -> None:
    data: dict[str, object] = {"listen": "127.0.0.1:0", "upstream": "db:1", "protocol": "http"}
    if key != "name":
        data[key] = [f"/{text}"] if key == "routes" else text
    problems = Problems()
    assert read_proxy(data, text if key == "name" else "db", problems) is None
    assert len(problems) == 1
    assert not any((OBEYED | {"\n"}) & set(str(problem)) for problem in problems)


def test_check_escapes_the_name_of_the_file_and_what_is_in_it(tmp_path: Path) -> None:
    file = tmp_path / "a\u202eb\x1b.yaml"
    file.write_text('version: 1\nproxies: {"x\\e[31m": 1, "y\\u202e": {listen: "\\e"}}\n')
    result = CliRunner().invoke(main, ["check", str(file)])
    assert result.exit_code == 2
    assert not OBEYED & set(result.output)
    assert "a\\u202eb\\x1b.yaml:2:" in result.output
