"""How the package is written: imperative docstrings, plain words, a design in front of long modules."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "chaosproxy"

UNPLAIN = re.compile(
    r"\b(can(not)? be had|of ours|of one's own|anew|(?-i:[Bb]eside)|for good|so many|so long|whoever|whatever it is"
    r"|somebody|nobody|leave (it|them|both) out|is no (?!such)[a-z]+|are no [a-z]+ of)\b",
    re.IGNORECASE,
)
"""Words that a reader has to read twice."""
NOT_IMPERATIVE = re.compile(
    r"(A|An|The|One|What|Who|Whom|Whoever|Whose|Which|Whether|How|Where|When|Why|As|It|In|Its|Every|All|Bytes|Seconds)\b"
)
"""First words of a docstring that is not an instruction."""
LONG = 200
"""Lines from which on a module explains its design."""


def files() -> Iterator[Path]:
    yield from sorted(PACKAGE.rglob("*.py"))


def words(file: Path) -> Iterator[tuple[int, str]]:
    """Yield each text and comment of a module with its line."""
    for token in tokenize.generate_tokens(io.StringIO(file.read_text()).readline):
        if token.type in (tokenize.STRING, tokenize.COMMENT):
            yield token.start[0], token.string


def where(file: Path, line: int) -> str:
    return f"{file.relative_to(PACKAGE.parent)}:{line}"


def test_no_words_that_are_read_twice() -> None:
    found = [
        f"{where(file, line)}: {match[0]}"
        for file in files()
        for line, text in words(file)
        if (match := UNPLAIN.search(text))
    ]
    assert found == []


def test_no_sentence_begins_with_what_or_who() -> None:
    sentence = re.compile(r"(^\W*|[.:;]\s+)(What|Who|Whom|Whose|Whoever|Whatever)\b")
    found = [
        where(file, line) for file in files() for line, text in words(file) if sentence.search(text.strip("\"'#bfr "))
    ]
    assert found == []


def test_docstrings_of_functions_are_imperative() -> None:
    """A property reads as an attribute, so its docstring may be a noun phrase."""
    found = [
        f"{where(file, node.lineno)}: {text.split()[0]}"
        for file in files()
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not any(isinstance(one, ast.Name) and one.id == "property" for one in node.decorator_list)
        and (text := (ast.get_docstring(node) or "").lstrip())
        and NOT_IMPERATIVE.match(text)
    ]
    assert found == []


def test_long_modules_explain_their_design() -> None:
    found = [
        where(file, 1)
        for file in files()
        if len((text := file.read_text()).splitlines()) > LONG
        and len((ast.get_docstring(ast.parse(text)) or "").splitlines()) < 6
    ]
    assert found == []
