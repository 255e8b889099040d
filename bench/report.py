"""The results of a benchmark as text, as JSON, and as docs/performance.md."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

from bench.checks import Check
from bench.load import Sample

__all__ = ["Report", "Section", "Table", "as_document", "as_json", "as_text"]

_TEMPLATE = Path(__file__).with_name("performance.template.md")
NOISY = 0.05
"""A run is noisy if other processes use more than this share of a core."""


@dataclass(frozen=True, slots=True)
class Table:
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(slots=True)
class Section:
    """The results of one scenario."""

    title: str
    table: Table
    checks: list[Check]
    notes: list[str] = field(default_factory=list)
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    """The runs of each case, in the order of the rounds."""
    figures: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """The same for figures that are not runs of a client."""


@dataclass(slots=True)
class Report:
    date: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    sections: list[Section]
    absent: list[str]
    """One line for each peer that was skipped."""

    @property
    def checks(self) -> list[Check]:
        return [check for section in self.sections for check in section.checks]

    @property
    def missed(self) -> list[Check]:
        return [check for check in self.checks if check.verdict == "miss"]

    @property
    def quiet(self) -> str:
        """Describe how much CPU other processes used on the benchmark's cores."""
        others = [s.others for section in self.sections for runs in section.samples.values() for s in runs]
        if not others:
            return "not observed"
        noisy = sum(share > NOISY for share in others)
        return (
            f"{noisy} of {len(others)} runs shared a core with other work for more than "
            f"{NOISY:.0%} of their time (at worst {max(others):.0%})"
        )


def as_text(report: Report) -> str:
    """Format for the terminal: the machine, every section, then the missed targets."""
    verdicts = [check.verdict for check in report.checks]
    counts = ", ".join(f"{verdicts.count(v)} {v}" for v in ("pass", "miss", "not measured") if v in verdicts)
    misses = "".join(f"  miss: {c.what}: {c.figure}, target {c.target}\n" for c in report.missed)
    return f"{_facts(report)}\n\n{_sections(report)}\n\nTargets: {counts or 'none'}\n{misses}"


def as_document(report: Report) -> str:
    """Format as docs/performance.md: insert these results into the template."""
    return Template(_TEMPLATE.read_text()).substitute(facts=_facts(report), results=_sections(report))


def as_json(report: Report) -> dict[str, object]:
    """Return everything as plain data, including every run."""
    return {
        "date": report.date,
        "machine": dict(report.machine),
        "versions": dict(report.versions),
        "quiet": report.quiet,
        "absent": report.absent,
        "sections": [
            {
                "title": section.title,
                "notes": section.notes,
                "checks": [_check_json(check) for check in section.checks],
                "figures": {what: list(values) for what, values in section.figures.items()},
                "samples": {what: [s.as_json() for s in runs] for what, runs in section.samples.items()},
            }
            for section in report.sections
        ],
    }


def _check_json(check: Check) -> dict[str, object]:
    measured = check.measured
    return {
        "what": check.what,
        "verdict": check.verdict,
        "target": check.target,
        "median": measured.median if measured else None,
        "low": measured.low if measured else None,
        "high": measured.high if measured else None,
        "unit": check.unit.strip(),
    }


def _facts(report: Report) -> str:
    facts = {"date": report.date, **report.machine, **report.versions, "quiet": report.quiet}
    table = _markdown(Table(("", ""), [(f"**{key}**", value) for key, value in facts.items()]))
    return "\n".join([table, *(f"\n{line}" for line in report.absent)])


def _sections(report: Report) -> str:
    return "\n\n".join(_section(section) for section in report.sections)


def _section(section: Section) -> str:
    verdicts = Table(
        ("target", "", "measured", ""),
        [(check.what, check.target, check.figure, check.verdict) for check in section.checks],
    )
    notes = [textwrap.fill(note, 120, break_long_words=False, break_on_hyphens=False) for note in section.notes]
    parts = [f"## {section.title}", *notes, _markdown(section.table)]
    return "\n\n".join([*parts, _markdown(verdicts)] if section.checks else parts)


def _markdown(table: Table) -> str:
    """Format a Markdown table with aligned columns, so that it is also readable as text."""
    rows = [list(table.columns), *map(list, table.rows)]
    widths = [max(3, *(len(row[i]) for row in rows)) for i in range(len(table.columns))]
    rows.insert(1, ["-" * width for width in widths])
    lines = ("| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows)
    return "\n".join(lines)
