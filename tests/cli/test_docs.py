"""docs/cli.md names every command and every public option."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from chaosproxy.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()


@pytest.mark.parametrize("name", main.commands)
def test_a_command_and_its_options_are_documented(name: str) -> None:
    options = [
        option.opts[0]
        for option in main.commands[name].params
        if isinstance(option, click.Option) and not option.hidden
    ]
    assert f"`{name}" in PAGE
    assert [option for option in options if option not in PAGE] == []
