"""Parse request bodies to desired state, with the readers that also parse the configuration file.

The handlers call one function per kind of body. Each returns a spec, or raises InvalidInput with a
problem for every invalid field. Three things differ from the file:

- A proxy's `faults` may be a mapping by name, as in the file, or a list of objects with `name`, as in
  responses. Problems have the path as it was sent.
- Keys of responses that cannot be set, such as `connections`, are ignored, so that a response can be
  sent back.
- A fault without a name gets a free one.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import replace

from chaosproxy.control.status import bound_address
from chaosproxy.declare import Duration, Problems, Struct, nearest, params_of
from chaosproxy.errors import BadValue, InvalidInput, Path, Problem
from chaosproxy.model import (
    FaultSpec,
    PartitionSpec,
    ProxySpec,
    names,
    read_fault,
    read_partition,
    read_proxy,
    write_fault,
    write_proxy,
)
from chaosproxy.net.proxy import Proxy

__all__ = [
    "duration_from", "fault_from", "free_name", "merged_proxy", "new_proxy", "partition_from", "read_name",
    "same_name",
]  # fmt: skip

Json = dict[str, object]
ORIGIN = ("by", "since", "age_s")
READ_ONLY = ("connections", "partitions", *ORIGIN)
READ_ONLY_OF_FAULT = ("effective_mode", "mode_reason", "attempts_visible", "attempts_reason", *ORIGIN)
READ_ONLY_OF_PARTITION = (*READ_ONLY_OF_FAULT, "cut", "proxies", "is_cut", "heals_after_s")


def new_proxy(body: Json) -> ProxySpec:
    """Return the proxy that the body of a POST describes.

    :raises InvalidInput: with every invalid field.
    """
    if "name" not in body:
        message = "is missing; add it, such as name: db-primary"
        raise InvalidInput([Problem(("name",), "missing", message)])
    return _read(body, read_name(body["name"]))


def merged_proxy(proxy: Proxy, patch: Json) -> ProxySpec:
    """Return the proxy after a PATCH: `patch` merged into its present settings (RFC 7396).

    A mapping of faults is merged by name: null removes a fault, and a fault whose type changes keeps no
    settings. A list of faults replaces all of them. A listen address equal to the bound one changes
    nothing, even if the settings have port 0.

    :raises InvalidInput: with every invalid field.
    """
    spec = proxy.spec
    present = write_proxy(spec)
    wanted = {key: value for key, value in {**present, **patch}.items() if key not in READ_ONLY}
    if wanted.get("listen") == str(bound_address(spec, proxy.listening_on)):
        wanted["listen"] = str(spec.listen)
    for key in [param.name for param in params_of(ProxySpec) if isinstance(param.kind, Struct)]:
        if isinstance(before := present.get(key), dict) and isinstance(change := patch.get(key), dict):
            wanted[key] = {name: value for name, value in {**before, **change}.items() if value is not None}
    if "faults" in patch:
        wanted["faults"] = _merged_faults({fault.name: write_fault(fault) for fault in spec.faults}, patch["faults"])
    return _read(wanted, same_name(wanted, spec.name))


def fault_from(body: Json, name: str, protocol: str) -> FaultSpec:
    """Return the fault that a body describes, with the name `name`.

    :raises InvalidInput: with every invalid field.
    """
    problems = Problems()
    fault = read_fault(_settable(body), name, problems, (), protocol)
    problems.raise_if_any()
    assert fault is not None
    return fault


def partition_from(body: Json, id: str) -> PartitionSpec:
    """Return the partition that a body describes, with the id `id`. The supervisor checks later that its nodes exist.

    :raises InvalidInput: with every invalid field.
    """
    problems = Problems()
    wanted = {key: value for key, value in body.items() if key not in ("id", *READ_ONLY_OF_PARTITION)}
    spec = read_partition(wanted, id, problems)
    problems.raise_if_any()
    assert spec is not None
    return spec


def read_name(value: object, path: Path = ("name",)) -> str:
    """Return the name of a proxy, a fault or a partition.

    :raises InvalidInput: it cannot be used in the path of a URL, a log line and a metric's label.
    """
    problems = Problems()
    names.read_name(value, problems, path)
    problems.raise_if_any()
    assert isinstance(value, str)
    return value


def duration_from(body: Json, field: str) -> float | None:
    """Return the duration under the only key that a body may have, in seconds; None if it is not given.

    :raises InvalidInput: it is not a duration, or the body has another key.
    """
    problems = [
        Problem((key,), "unknown-key", f"unknown key{nearest(key, (field,))}; known keys: {field}")
        for key in body
        if key != field
    ]
    if problems:
        raise InvalidInput(problems)
    if body.get(field) is None:
        return None
    try:
        return Duration(above_zero=True).read(body[field])
    except BadValue as bad:
        raise InvalidInput([Problem((field,), bad.code, str(bad))]) from None


def _settable(fault: Json) -> Json:
    """Return the settings of a fault without its name and without keys that cannot be set."""
    return {key: value for key, value in fault.items() if key not in ("name", *READ_ONLY_OF_FAULT)}


def same_name(body: Json, name: str) -> str:
    """Return `name`, after checking that a name in the body is the same.

    :raises InvalidInput: they differ.
    """
    if body.get("name", name) != name:
        message = f"{body['name']!r} differs from the name {name!r} in the path; remove it, since names cannot change"
        raise InvalidInput([Problem(("name",), "immutable", message)])
    return name


def free_name(kind: object, taken: Container[str]) -> str:
    """Return `latency-1`, or the first name of this form that is free."""
    stem = kind if isinstance(kind, str) and kind and kind.isprintable() else "fault"
    number = 1
    while f"{stem[:80]}-{number}" in taken:
        number += 1
    return f"{stem[:80]}-{number}"


def _read(body: Json, name: str) -> ProxySpec:
    data = {key: value for key, value in body.items() if key not in ("name", *READ_ONLY)}
    problems = Problems()
    places: dict[str, int] = {}
    if isinstance(data.get("faults"), list):
        data["faults"], places = _by_name(data["faults"], problems)
    elif isinstance(faults := data.get("faults"), dict):
        _check_names(faults, problems)
        data["faults"] = {key: _settable(one) if isinstance(one, dict) else one for key, one in faults.items()}
    spec = read_proxy(data, name, problems)
    if len(problems):
        raise InvalidInput([replace(problem, path=_as_sent(problem.path, places)) for problem in problems])
    assert spec is not None
    return spec


def _by_name(faults: object, problems: Problems) -> tuple[dict[str, object], dict[str, int]]:
    """Return a list of faults as a mapping by name, and the index of each in the list."""
    assert isinstance(faults, list)
    named: dict[str, object] = {}
    places: dict[str, int] = {}
    taken = {fault["name"] for fault in faults if isinstance(fault, dict) and isinstance(fault.get("name"), str)}
    for index, fault in enumerate(faults):
        where: Path = ("faults", index)
        if not isinstance(fault, dict):
            message = "is not an object; use a fault such as {name: slow, type: latency, delay: 100ms}"
            problems.add(where, "wrong-type", message)
            continue
        name = fault["name"] if "name" in fault else free_name(fault.get("type"), taken | named.keys())
        try:
            read_name(name, (*where, "name"))
        except InvalidInput as invalid:
            _add_all(problems, invalid.problems)
            continue
        if name in named:
            message = f"{name!r} is already the name of the fault at index {places[name]}; use another name"
            problems.add((*where, "name"), "duplicate", message)
            continue
        named[name] = _settable(fault)
        places[name] = index
    return named, places


def _check_names(faults: Iterable[str], problems: Problems) -> None:
    for name in faults:
        try:
            read_name(name, ("faults", name))
        except InvalidInput as invalid:
            _add_all(problems, invalid.problems)


def _add_all(problems: Problems, found: Iterable[Problem]) -> None:
    for problem in found:
        problems.add(problem.path, problem.code, problem.message)


def _as_sent(path: Path, places: dict[str, int]) -> Path:
    """Return `faults.0.delay` for `faults.slow.delay` if the faults were sent as a list."""
    if len(path) > 1 and path[0] == "faults" and isinstance(path[1], str) and path[1] in places:
        return ("faults", places[path[1]], *path[2:])
    return path


def _merged_faults(present: dict[str, Json], patch: object) -> object:
    if patch is None:
        return {}
    if not isinstance(patch, dict):
        return patch
    merged: dict[str, object] = dict(present)
    for name, change in patch.items():
        before = present.get(name)
        if change is None:
            merged.pop(name, None)
        elif before is None or not isinstance(change, dict) or change.get("type", before["type"]) != before["type"]:
            merged[name] = change
        else:
            merged[name] = {**before, **change}
    return merged
