"""`check`: validate configuration files."""

from __future__ import annotations

from pathlib import Path

import click

from chaosproxy.cli.exits import BAD_INPUT, BadInput, described
from chaosproxy.cli.files import InvalidFile, load_file, prepare_anywhere
from chaosproxy.cli.printing import print_json, print_text

__all__ = ["check"]


@click.command()
@click.argument("configs", metavar="CONFIG...", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def check(context: click.Context, configs: tuple[Path, ...], as_json: bool) -> None:
    """Validate configuration files and show every error in them."""
    results = [_result(path, quiet=as_json) for path in configs]
    if as_json:
        print_json(results)
    if not all(result["ok"] for result in results):
        context.exit(BAD_INPUT)


def _result(path: Path, quiet: bool) -> dict[str, object]:
    """Validate one file; print the result at once, unless `quiet`."""
    try:
        prepared, _ = load_file(path, prepare_anywhere)
        config = prepared.config
    except BadInput as bad:
        if not quiet:
            bad.show()
        return {"file": str(path), "ok": False, "problems": _problems(bad)}
    if not quiet:
        faults = sum(len(proxy.faults) for proxy in config.proxies)
        print_text(f"{path}: OK, {_counted(len(config.proxies), 'prox', 'y', 'ies')}, {_counted(faults, 'fault')}")
    return {"file": str(path), "ok": True, "problems": []}


def _problems(bad: BadInput) -> list[dict[str, object]]:
    if not isinstance(bad, InvalidFile):
        return [{"line": None, "column": None, "path": "", "code": bad.code, "message": bad.message}]
    return [{"line": one.line, "column": one.column, **described(one)} for one in bad.problems]


def _counted(count: int, stem: str, one: str = "", many: str = "s") -> str:
    return f"{count} {stem}{one if count == 1 else many}"
