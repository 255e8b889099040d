"""What a check refuses, as places and codes. The wording of messages is tested in test_messages.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

import pytest
from click.testing import Result

from chaosproxy.errors import BadValue, Code, Problem


def code_of(read: Callable[..., object], *arguments: object) -> Code:
    """Return the code with which `read` refuses these arguments."""
    with pytest.raises(BadValue) as caught:
        read(*arguments)
    return caught.value.code


def places(problems: Iterable[Problem]) -> list[str]:
    """Return `field code` of each problem; the code alone for the whole document."""
    return [f"{one.field} {one.code}".lstrip() for one in problems]


def refused(result: Result) -> list[str]:
    """Return `field code` of each problem of a command that was given `--json`; its own code if it has none."""
    assert (result.exit_code, result.stdout) == (2, "")
    error = json.loads(result.stderr)
    return [f"{one['path']} {one['code']}".lstrip() for one in error["problems"]] or [error["code"]]
