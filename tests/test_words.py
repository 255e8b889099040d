"""How the project is written: plain words on every page; imperative docstrings and a design in long modules."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "chaosproxy"

UNPLAIN = re.compile(
    r"\b(can(not)? be had|of ours|of one's own|anew|(?-i:[Bb]eside)|(?-i:no HTTP)|for good|so many|so long|whoever"
    r"|whatever it is|somebody|nobody|leave (it|them|both) out|is no (?!such)[a-z]+|are no [a-z]+ of)\b",
    re.IGNORECASE,
)
"""Words that a reader has to read twice."""
NOT_IMPERATIVE = re.compile(
    r"(A|An|The|One|What|Who|Whom|Whoever|Whose|Which|Whether|How|Where|When|Why|As|It|In|Its|Every|All|Bytes|Seconds)\b"
)
"""First words of a docstring that is not an instruction."""
NOT_BEGUN_WITH = re.compile(r"(^[\W_]*|[.:;]\s+)(What|Who|Whom|Whose|Whoever|Whatever)\b")
"""A sentence that begins with one of these words names no noun."""
LONG = 200
"""Lines from which on a module explains its design."""
WIDEST = 125
"""Characters of a line on a page, without tables and blocks of code."""


def files() -> Iterator[Path]:
    yield from sorted(PACKAGE.rglob("*.py"))


def words(file: Path) -> Iterator[tuple[int, str]]:
    """Yield each text and comment of a module with its line."""
    for token in tokenize.generate_tokens(io.StringIO(file.read_text()).readline):
        if token.type in (tokenize.STRING, tokenize.COMMENT):
            yield token.start[0], token.string


def pages() -> Iterator[Path]:
    """Yield the files with text for users and developers, apart from the modules of the package."""
    for pattern in ("*.md", "docs/*.md", "configs/*.y*ml", "examples/**/*.md", "Makefile", ".ci/run", "bench/load.c"):
        found = sorted(ROOT.glob(pattern))
        assert found, pattern
        yield from found


def texts() -> Iterator[tuple[Path, int, str]]:
    """Yield every line of a page, and every text and comment of a module, with its place."""
    for file in (*files(), *sorted(ROOT.glob("examples/**/*.py"))):
        for line, text in words(file):
            yield file, line, text.strip("\"'#bfr ")
    for file in pages():
        for line, text in enumerate(file.read_text().splitlines(), 1):
            yield file, line, text


def where(file: Path, line: int) -> str:
    return f"{file.relative_to(ROOT)}:{line}"


def test_no_words_that_are_read_twice() -> None:
    found = [f"{where(file, line)}: {match[0]}" for file, line, text in texts() if (match := UNPLAIN.search(text))]
    assert found == []


def test_no_sentence_begins_with_what_or_who() -> None:
    found = [where(file, line) for file, line, text in texts() if NOT_BEGUN_WITH.search(text)]
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


def test_lines_of_pages_are_short() -> None:
    """A changed word then shows as one changed line, and a page reads well in a terminal."""
    found = []
    for page in (ROOT / "README.md", ROOT / "bench" / "performance.template.md", *sorted(ROOT.glob("docs/*.md"))):
        in_code = False
        for number, line in enumerate(page.read_text().splitlines(), 1):
            in_code ^= line.lstrip().startswith("```")
            if len(line) > WIDEST and not in_code and not line.lstrip().startswith("|"):
                found.append(f"{page.name}:{number}")
    assert found == []
