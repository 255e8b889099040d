"""The rules of docs/architecture.md, read from the source: who imports whom, how long, what is public."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "chaosproxy"
LONGEST = 400

RANKS: dict[str, float] = {
    "chaosproxy.errors": 0, "chaosproxy.events": 0, "chaosproxy.seed": 0,
    "chaosproxy.tallies": 0, "chaosproxy.text": 0, "chaosproxy.units": 0, "chaosproxy.tasks": 0,
    "chaosproxy.certs": 0, "chaosproxy.endings": 0, "chaosproxy.quantiles": 0, "chaosproxy.heap": 0,
    "chaosproxy.backoff_text": 1,
    "chaosproxy.journal": 1, "chaosproxy.probe": 1, "chaosproxy.reaction": 2,
    "chaosproxy.declare": 1,
    "chaosproxy.faults": 2,
    "chaosproxy.http": 3,
    "chaosproxy.model": 4,
    "chaosproxy.config": 5, "chaosproxy.net": 5, "chaosproxy.scenario": 5,
    "chaosproxy.net.timer": 5.1, "chaosproxy.net.kernel": 5.2, "chaosproxy.net.sockets": 5.3,
    "chaosproxy.net.stream": 5.4, "chaosproxy.net.placement": 5.5, "chaosproxy.net.http": 5.6,
    "chaosproxy.net.tls": 5.6, "chaosproxy.net.attempts": 5.6, "chaosproxy.net.intake": 5.6,
    "chaosproxy.net.front": 5.7, "chaosproxy.net.registry": 5.7, "chaosproxy.net.turn_report": 5.7,
    "chaosproxy.net.proxy": 5.8,
    "chaosproxy.control.web": 5,
    "chaosproxy.control.plan": 6, "chaosproxy.control.supervisor": 6, "chaosproxy.control.policy": 6,
    "chaosproxy.control.partitions": 6, "chaosproxy.control.nodes": 6, "chaosproxy.control.selection": 6,
    "chaosproxy.control.preflight": 6, "chaosproxy.control.faults": 6,
    "chaosproxy.control.close": 6, "chaosproxy.control.desired": 6,
    "chaosproxy.control.status": 6, "chaosproxy.control.counts": 6, "chaosproxy.control.origin": 6,
    "chaosproxy.control.wall": 6, "chaosproxy.control.lease": 6,
    "chaosproxy.control.leases": 6.5, "chaosproxy.control.listeners": 6,
    "chaosproxy.control.turn_counter": 6,
    "chaosproxy.control.file_reads": 6, "chaosproxy.control.ends": 6, "chaosproxy.control.limits": 6,
    "chaosproxy.observe": 6,
    "chaosproxy.control.v1": 7, "chaosproxy.demo": 7,
    "chaosproxy.app": 8,
    "chaosproxy.cli": 9,
    "chaosproxy.__main__": 10,
}  # fmt: skip
"""The longest name that a module's name begins with gives its rank."""

STRANGERS = {
    ("chaosproxy.probe", "chaosproxy.journal"),
    ("chaosproxy.config", "chaosproxy.net"),
    ("chaosproxy.net.http", "chaosproxy.net.tls"),
    ("chaosproxy.net.stream", "chaosproxy.http"),
    ("chaosproxy.config", "chaosproxy.control.web"),
    ("chaosproxy.net", "chaosproxy.control.web"),
}
"""Of one rank, and yet neither may import the other."""

NOT_FOR = {
    "chaosproxy.faults": {"asyncio", "socket", "time", "random", "aiohttp", "yaml"},
    "chaosproxy.http": {"asyncio", "socket", "time", "random", "aiohttp", "yaml"},
    "chaosproxy.model": {"asyncio", "socket", "time", "random", "aiohttp", "yaml"},
    "chaosproxy.config": {"asyncio", "socket", "aiohttp"},
    "chaosproxy.reaction": {"asyncio", "socket", "time", "random", "aiohttp", "yaml"},
    "chaosproxy.probe": {"asyncio", "socket", "time", "random", "aiohttp", "yaml", "click"},
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


def rank_of(module: str) -> float | None:
    """The rank of a module; None for the package itself, which only names the public API and the version."""
    owner = owner_of(module, RANKS)
    return None if owner is None else RANKS[owner]


def owner_of(module: str, names: Iterable[str]) -> str | None:
    owners = [name for name in names if module == name or module.startswith(name + ".")]
    return max(owners, key=len, default=None)


def imports_of(tree: ast.AST) -> Iterator[str]:
    """Every module that the source imports, wherever in it, for types alone too; with names that may be modules."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=0) if module:
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.ImportFrom():
                raise AssertionError(f"line {node.lineno}: relative imports hide who imports whom")
            case _:
                yield from imports_of(node)


def graph(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """For each module the modules of `sources` that it imports, for types alone too."""
    edges = {}
    for module, text in sources.items():
        names = imports_of(ast.parse(text))
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


def package_graph(package: str) -> dict[str, list[str]]:
    """For each part of a package the other parts of it that it imports."""
    found: dict[str, set[str]] = {}
    for module, others in graph({module: path.read_text() for module, path in SOURCES.items()}).items():
        for other in others:
            ends = [name.removeprefix(package + ".").split(".")[0] for name in (module, other)]
            if module.startswith(package + ".") and other.startswith(package + ".") and ends[0] != ends[1]:
                found.setdefault(ends[0], set()).add(ends[1])
    return {name: sorted(found[name]) for name in sorted(found)}


def test_imports_run_downwards() -> None:
    assert [one for module, path in SOURCES.items() for one in breaches(module, path.read_text())] == []
    unranked = [module for module in SOURCES if rank_of(module) is None]
    assert unranked == ["chaosproxy", "chaosproxy.control"]


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle(graph({module: path.read_text() for module, path in SOURCES.items()})) is None


def test_the_documentation_shows_the_ranks_and_the_imports_of_net() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| (\d+(?:\.\d)?) \| ([^|]*) \|", text, re.MULTILINE)
    named = [(rank, re.findall(r"`([\w.]+)`", names)) for rank, names in rows]
    documented = {f"chaosproxy.{name}": float(rank) for rank, names in named for name in names}
    ordered = ("chaosproxy.app", "chaosproxy.cli")
    assert documented
    assert {name: RANKS.get(name) for name in documented if name not in ordered} == {
        name: rank for name, rank in documented.items() if name not in ordered
    }
    assert RANKS["chaosproxy.app"] < RANKS["chaosproxy.cli"], "app is put together first, then parsed and called"
    imports = package_graph("chaosproxy.net").items()
    drawn = "\n".join(f"    {name:<10} -> {', '.join(others)}" for name, others in imports)
    assert drawn in text, f"docs/architecture.md draws another picture of net/; it should hold:\n{drawn}"


def test_modules_are_short_and_say_once_what_is_public() -> None:
    """All but `__main__` are imported; that one runs the command."""
    assert [module for module, path in SOURCES.items() if len(path.read_text().splitlines()) > LONGEST] == []
    offenders = []
    for module in SOURCES:
        if module.endswith("__main__"):
            continue
        loaded = importlib.import_module(module)
        public: list[str] = getattr(loaded, "__all__", [])
        offenders += [f"{module}.{name} is not there" for name in public if not hasattr(loaded, name)]
        offenders += [f"{module} lists a name twice"] * (len(public) != len(set(public)))
        if "__all__" not in vars(loaded) and defined_by(ast.parse(SOURCES[module].read_text())):
            offenders.append(f"{module} has public names and no __all__")
    assert offenders == []


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
    type_only = {"a": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import b", "b": "import a"}
    assert circle(graph(type_only)) == ["a", "b", "a"]
