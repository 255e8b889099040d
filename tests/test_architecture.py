"""The rules of docs/architecture.md, read from the source: who imports whom, how long, what is public."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "chaosproxy"
LONGEST = 400

RANKS = {
    "chaosproxy.errors": 0, "chaosproxy.events": 0, "chaosproxy.seed": 0,
    "chaosproxy.tallies": 0, "chaosproxy.units": 0, "chaosproxy.tasks": 0,
    "chaosproxy.certs": 0,
    "chaosproxy.declare": 1,
    "chaosproxy.faults": 2,
    "chaosproxy.http": 3,
    "chaosproxy.model": 4,
    "chaosproxy.config": 5, "chaosproxy.net": 5, "chaosproxy.control.web": 5,
    "chaosproxy.control.plan": 6, "chaosproxy.control.supervisor": 6, "chaosproxy.control.policy": 6,
    "chaosproxy.control.partitions": 6, "chaosproxy.control.nodes": 6, "chaosproxy.control.preflight": 6,
    "chaosproxy.observe": 6,
    "chaosproxy.control.v1": 7, "chaosproxy.demo": 7,
    "chaosproxy.app": 8,
    "chaosproxy.cli": 9,
    "chaosproxy.__main__": 10,
}  # fmt: skip
"""The longest name that a module's name begins with gives its rank."""

STRANGERS = {
    ("chaosproxy.config", "chaosproxy.net"),
    ("chaosproxy.config", "chaosproxy.control.web"),
    ("chaosproxy.net", "chaosproxy.control.web"),
}
"""Of one rank, and yet neither may import the other."""

NOT_FOR = {
    "chaosproxy.faults": {"asyncio", "socket", "time", "random", "aiohttp", "yaml"},
    "chaosproxy.http": {"asyncio", "socket", "time", "random", "aiohttp", "yaml"},
    "chaosproxy.model": {"asyncio", "socket", "time", "random", "aiohttp", "yaml"},
    "chaosproxy.config": {"asyncio", "socket", "aiohttp"},
    "chaosproxy.net": {"aiohttp", "yaml", "prometheus_client", "click", "rich"},
    "chaosproxy.control.plan": {"asyncio", "socket", "aiohttp", "yaml"},
    "chaosproxy.control.nodes": {"asyncio", "socket", "aiohttp", "yaml"},
    "chaosproxy.control.preflight": {"asyncio", "socket", "aiohttp", "yaml"},
    "chaosproxy.net.kernel.bpf": {"asyncio", "socket", "time", "aiohttp", "yaml"},
    "chaosproxy.net.placement.modes": {"asyncio", "socket", "time", "aiohttp", "yaml"},
    "chaosproxy.control.supervisor": {"aiohttp", "yaml"},
}
"""What a package must not know, because it is pure or because it is another's work."""


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def rank_of(module: str) -> int | None:
    """The rank of a module; None for the package itself, which only names the public API and the version."""
    owner = owner_of(module, RANKS)
    return None if owner is None else RANKS[owner]


def owner_of(module: str, names: Iterable[str]) -> str | None:
    owners = [name for name in names if module == name or module.startswith(name + ".")]
    return max(owners, key=len, default=None)


def imports_of(tree: ast.AST, only_at_run_time: bool = False) -> Iterator[str]:
    """Every module that the source imports, wherever in it; with its names where they may be modules."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=0) if module:
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.ImportFrom():
                raise AssertionError(f"line {node.lineno}: relative imports hide who imports whom")
            case ast.If(test=ast.Name(id="TYPE_CHECKING")) if only_at_run_time:
                continue
            case _:
                yield from imports_of(node, only_at_run_time)


def graph(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """For each module the modules of `sources` that it imports when it runs."""
    edges = {}
    for module, text in sources.items():
        names = imports_of(ast.parse(text), only_at_run_time=True)
        edges[module] = {found for name in names if (found := known(name, sources))}
    return edges


def known(name: str, modules: Mapping[str, str]) -> str | None:
    """`package.module.thing` is an import of package.module."""
    if name in modules:
        return name
    parent = name.rpartition(".")[0]
    return parent if parent in modules else None


def circle(edges: Mapping[str, set[str]]) -> list[str] | None:
    """Modules that import each other in a circle; None where there are none."""
    done: set[str] = set()

    def walk(module: str, path: list[str]) -> list[str] | None:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return None
        found = next((c for other in sorted(edges[module]) if (c := walk(other, [*path, module]))), None)
        done.add(module)
        return found

    return next((c for module in sorted(edges) if (c := walk(module, []))), None)


def breaches(module: str, text: str) -> list[str]:
    """The imports of a module that its rank does not allow, in words."""
    own, found = rank_of(module), []
    for name in imports_of(ast.parse(text)):
        other = rank_of(name)
        if own is not None and other is not None and other > own:
            found.append(f"{module} (rank {own}) imports {name} (rank {other})")
        if any({owner_of(module, pair), owner_of(name, pair)} == set(pair) for pair in STRANGERS):
            found.append(f"{module} imports {name}: neither of the two knows the other")
        if name.partition(".")[0] in NOT_FOR.get(owner_of(module, NOT_FOR) or "", ()):
            found.append(f"{module} imports {name}, which is not its business")
    return found


@pytest.mark.parametrize("module", SOURCES)
def test_a_module_imports_only_from_its_own_rank_or_below(module: str) -> None:
    assert breaches(module, SOURCES[module].read_text()) == []


@pytest.mark.parametrize("module", SOURCES)
def test_every_module_has_a_rank(module: str) -> None:
    assert rank_of(module) is not None or module in ("chaosproxy", "chaosproxy.control")


def test_the_ranks_are_those_of_the_documentation() -> None:
    table = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| (\d+) \| ([^|]*) \|", table, re.MULTILINE)
    documented = {f"chaosproxy.{name}": int(rank) for rank, names in rows for name in re.findall(r"`([\w.]+)`", names)}
    assert documented
    assert {name: RANKS.get(name) for name in documented if name not in ("chaosproxy.app", "chaosproxy.cli")} == {
        name: rank for name, rank in documented.items() if name not in ("chaosproxy.app", "chaosproxy.cli")
    }
    assert RANKS["chaosproxy.app"] < RANKS["chaosproxy.cli"], "app is put together first, then parsed and called"


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle(graph({module: path.read_text() for module, path in SOURCES.items()})) is None


@pytest.mark.parametrize("module", SOURCES)
def test_no_module_is_too_long(module: str) -> None:
    assert len(SOURCES[module].read_text().splitlines()) <= LONGEST


@pytest.mark.parametrize("module", [module for module in SOURCES if not module.endswith("__main__")])
def test_what_is_public_is_there_and_said_once(module: str) -> None:
    """All but `__main__`, which runs the command when it is imported."""
    loaded = importlib.import_module(module)
    public: list[str] = getattr(loaded, "__all__", [])
    assert [name for name in public if not hasattr(loaded, name)] == []
    assert len(public) == len(set(public))
    if "__all__" not in vars(loaded):
        tree = ast.parse(SOURCES[module].read_text())
        assert defined_by(tree) == [], "a module with public names lists them in __all__"


def defined_by(tree: ast.Module) -> list[str]:
    """The public classes and functions that a module defines."""
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [node.name for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]


def test_a_breach_would_be_seen() -> None:
    assert breaches("chaosproxy.faults.x", "from chaosproxy.model import Address")
    assert breaches("chaosproxy.config.x", "from chaosproxy.net.sockets.dial import dial")
    assert breaches("chaosproxy.control.web.x", "from chaosproxy.control.v1 import v1_routes")
    assert breaches("chaosproxy.control.web.x", "from chaosproxy.net.proxy import Proxy")
    assert breaches("chaosproxy.net.x", "def f():\n    import yaml")
    assert breaches("chaosproxy.net.x", "from chaosproxy.model import Address") == []


def test_a_circle_would_be_seen() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) is None
