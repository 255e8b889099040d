"""Codes of errors: a closed set, documented, and one for each error that is raised."""

from __future__ import annotations

import ast
import errno
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from chaosproxy.errors import (
    CannotListen,
    ChaosproxyError,
    Code,
    Conflict,
    InvalidInput,
    NotFound,
    Problem,
    Unsupported,
)

ROOT = Path(__file__).parent.parent
CODES: tuple[str, ...] = get_args(Code)


def documented() -> list[str]:
    return re.findall(r"^\| `([a-z0-9-]+)` \|", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE)


def used() -> Iterator[str]:
    """Every text in the package that is a code, but where the codes are declared."""
    for file in (ROOT / "chaosproxy").rglob("*.py"):
        tree = ast.parse(file.read_text())
        declared = {
            id(one)
            for statement in ast.walk(tree)
            if isinstance(statement, ast.AnnAssign) and ast.unparse(statement.target) == "Code"
            for one in ast.walk(statement)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and node.value in CODES and id(node) not in declared:
                yield str(node.value)


def test_the_page_lists_exactly_the_codes_in_their_order() -> None:
    assert documented() == list(CODES)


def test_no_code_is_declared_twice_or_unused() -> None:
    assert len(set(CODES)) == len(CODES)
    assert set(CODES) - set(used()) == set()


def test_a_code_is_lower_case_words() -> None:
    assert [code for code in CODES if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", code)] == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound("x"), "not-found"),
        (Conflict("x"), "conflict"),
        (Conflict("x", "name-taken"), "name-taken"),
        (Unsupported("x"), "unsupported"),
        (Unsupported("x", code="unsupported-mode"), "unsupported-mode"),
        (CannotListen("x"), "cannot-listen"),
        (InvalidInput([Problem(("a",), "missing", "x")]), "invalid-input"),
    ],
)
def test_an_error_has_the_code_of_its_class_or_a_closer_one(error: ChaosproxyError, code: str) -> None:
    assert error.code == code


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.EADDRINUSE, "address-in-use"),
        (errno.EADDRNOTAVAIL, "address-not-available"),
        (errno.EACCES, "permission-denied"),
        (errno.ENOBUFS, "cannot-listen"),
    ],
)
def test_a_refused_bind_has_the_code_of_its_reason(number: int, code: str) -> None:
    error = CannotListen.because("127.0.0.1:80", OSError(number, "no"))
    assert error.code == code
    assert str(error).startswith("cannot listen on 127.0.0.1:80: ")


def test_a_problem_moves_under_another_path_with_all_its_parts() -> None:
    problem = Problem(("delay",), "unit-missing", "no unit", at_key=True)
    assert problem.under("faults", 0) == Problem(("faults", 0, "delay"), "unit-missing", "no unit", at_key=True)
