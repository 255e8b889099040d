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

from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from chaosproxy.declare import Duration, Problems, Struct, nearest, params_of
from chaosproxy.errors import BadValue, Conflict, InvalidInput, Path, Problem, shown
from chaosproxy.model import (
    Address,
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
from chaosproxy.model.fault import check_protocol
from chaosproxy.model.partition import unknown_nodes
from chaosproxy.model.proxy import MOST_FAULTS
from chaosproxy.model.types import FAULT_TYPES

__all__ = [
    "against_state", "duration_from", "fault_from", "merged_proxy", "new_fault", "new_proxy", "partition_from",
]  # fmt: skip

Json = dict[str, object]
ORIGIN = ("by", "since", "age_s")
READ_ONLY = (
    "connections", "bytes_upstream", "bytes_downstream", "turns", "listening", "listening_reason", "partitions", *ORIGIN
)  # fmt: skip
READ_ONLY_OF_FAULT = ("effective_mode", "mode_reason", "attempts_visible", "attempts_reason", *ORIGIN)
READ_ONLY_OF_PARTITION = (
    *READ_ONLY_OF_FAULT, "cut", "cut_more", "proxies", "proxies_more", "is_cut", "heals_after_s",
)  # fmt: skip


def new_proxy(body: Json) -> ProxySpec:
    """Return the proxy that the body of a POST describes.

    :raises InvalidInput: with every invalid field.
    """
    problems = Problems()
    if "name" not in body:
        problems.add(("name",), "missing", "is missing; add it, such as name: db-primary")
    return _read(body, _checked_name(body.get("name", _STAND_IN), problems), problems)


def merged_proxy(spec: ProxySpec, listen: Address, patch: Json) -> ProxySpec:
    """Return the proxy after a PATCH: `patch` merged into its present settings `spec` (RFC 7396).

    `listen` is its listen address with its real port.

    A mapping of faults is merged by name: null removes a fault, and a fault whose type changes keeps no
    settings. A list of faults replaces all of them. A listen address equal to the bound one changes
    nothing, even if the settings have port 0.

    :raises InvalidInput: with every invalid field.
    """
    present = write_proxy(spec)
    wanted = {key: value for key, value in {**present, **patch}.items() if key not in READ_ONLY}
    if wanted.get("listen") == str(listen):
        wanted["listen"] = str(spec.listen)
    for key in [param.name for param in params_of(ProxySpec) if isinstance(param.kind, Struct)]:
        if isinstance(before := present.get(key), dict) and isinstance(change := patch.get(key), dict):
            wanted[key] = {name: value for name, value in {**before, **change}.items() if value is not None}
    if "faults" in patch:
        wanted["faults"] = _merged_faults({fault.name: write_fault(fault) for fault in spec.faults}, patch["faults"])
    problems = Problems()
    _check_same_name(wanted, spec.name, problems)
    if isinstance(faults := patch.get("faults"), dict):
        for name in [name for name, change in faults.items() if change is None]:
            names.read_name(name, problems, ("faults", name))
    try:
        return _read(wanted, spec.name, problems)
    except InvalidInput as error:
        if _is_valid_alone(spec, patch):
            raise Conflict(str(error), None, error.problems) from None
        raise


def _is_valid_alone(spec: ProxySpec, patch: Json) -> bool:
    """Return whether a patch fits a proxy without other settings, so that only the present ones contradict it."""
    others: Json = {"listen": "[::1]:0", "upstream": "127.0.0.1:1", "listen_tls": {"cert": "cert", "key": "key"}}
    given = {key: value for key, value in patch.items() if value is not None or key not in ("protocol", "listen_tls")}
    if isinstance(faults := patch.get("faults"), dict):
        del given["faults"]
        protocol = patch.get("protocol")
        if len(faults) > 2 * MOST_FAULTS or not all(_fits_in_part(*one, protocol) for one in faults.items()):
            return False
    return any(_is_valid(spec.name, {**others, "protocol": one, **given}) for one in ("http", "tcp"))


def _fits_in_part(name: str, change: object, protocol: object) -> bool:
    """Return whether a change of a fault, or its removal, fits some fault without more than missing settings."""
    problems = Problems()
    names.read_name(name, problems, ())
    if change is None or not isinstance(change, dict) or len(problems):
        return change is None and not len(problems)
    _check_same_name(change, name, problems)
    if "type" in change:
        at = "tcp" if protocol == "tcp" else "http"
        read_fault(_settable(change), name, problems, (), at, by_rules=False)
        return all(problem.code == "missing" for problem in problems)
    return not len(problems) and any(_fits_in_part(name, {**change, "type": kind}, None) for kind in FAULT_TYPES)


def _is_valid(name: str, body: Json) -> bool:
    problems = Problems()
    _check_same_name(body, name, problems)
    try:
        problems.raise_if_any()
        _read(body, name, problems)
    except InvalidInput:
        return False
    except Conflict:
        pass
    return True


def new_fault(body: Json, taken: Container[str], protocol: str) -> FaultSpec:
    """Return the fault that the body of a POST describes; without a name it gets one that is not in `taken`.

    :raises InvalidInput: with every invalid field.
    """
    problems = Problems()
    given = body["name"] if "name" in body else _free_name(body.get("type"), taken)
    return _fault(body, _checked_name(given, problems), protocol, problems)


def fault_from(body: Json, name: str, protocol: str) -> FaultSpec:
    """Return the fault `name` that the body of a PUT describes.

    :raises InvalidInput: with every invalid field.
    """
    problems = Problems()
    _check_same_name(body, name, problems)
    return _fault(body, _checked_name(name, problems), protocol, problems)


def _fault(body: Json, name: str, protocol: str, problems: Problems) -> FaultSpec:
    fault = read_fault(_settable(body), name, problems, (), "http")
    problems.raise_if_any()
    assert fault is not None
    with against_state():
        problems.extend(check_protocol(fault, protocol))
        problems.raise_if_any()
    return fault


@contextmanager
def against_state() -> Iterator[None]:
    """Raise a Conflict for an InvalidInput: the body is valid, but not with the proxies and files that there are.

    The body of a request is then wrong (400) exactly if it does not fit its schema.
    """
    try:
        yield
    except InvalidInput as error:
        raise Conflict(str(error), None, error.problems) from None


def partition_from(body: Json, free_id: str, nodes: Sequence[str]) -> PartitionSpec:
    """Return the partition that a body describes; `nodes` are all known ones. Without an id it gets `free_id`.

    The supervisor checks later whether it cuts a proxy.

    :raises InvalidInput: with every invalid field.
    """
    problems = Problems()
    given = free_id if body.get("id") is None else body["id"]
    id = _checked_name(given, problems, ("id",))
    wanted = {key: value for key, value in body.items() if key not in ("id", *READ_ONLY_OF_PARTITION)}
    spec = read_partition(wanted, id, problems)
    if len(problems):
        problems.extend(unknown_nodes(wanted, nodes))
    problems.raise_if_any()
    assert spec is not None
    return spec


def _checked_name(value: object, problems: Problems, path: Path = ("name",)) -> str:
    """Return the name of a proxy, a fault or a partition; note the problem of an invalid one, and return another.

    The rest of the body can then be read under the other name.
    """
    before = len(problems)
    names.read_name(value, problems, path)
    return value if isinstance(value, str) and len(problems) == before else _STAND_IN


_STAND_IN = "unnamed"


def duration_from(body: Json, field: str) -> float | None:
    """Return the duration under the only key that a body may have, in seconds; None if it is not given.

    :raises InvalidInput: it is not a duration, or the body has another key.
    """
    problems = Problems()
    for key in body:
        if key != field:
            hint = "" if problems.full else nearest(key, (field,))
            problems.add((key,), "unknown-key", f"unknown key{hint}; known keys: {field}")
    seconds = None
    if body.get(field) is not None:
        try:
            seconds = Duration(above_zero=True).read(body[field])
        except BadValue as bad:
            problems.add((field,), bad.code, str(bad))
    problems.raise_if_any()
    return seconds


def _settable(fault: Json) -> Json:
    """Return the settings of a fault without its name and without keys that cannot be set."""
    return {key: value for key, value in fault.items() if key not in ("name", *READ_ONLY_OF_FAULT)}


def _check_same_name(body: Json, name: str, problems: Problems, path: Path = ()) -> None:
    """Note a problem if the body has another name than the path of the URL, or the key in the mapping of faults."""
    if body.get("name", name) != name:
        given, where = shown(body["name"]), "of the fault" if path else "in the path"
        message = f"{given} differs from the name {shown(name)} {where}; remove it, since names cannot change"
        problems.add((*path, "name"), "immutable", message)


def _free_name(kind: object, taken: Container[str], after: dict[str, int] | None = None) -> str:
    """Return `latency-1`, or the first name of this form that is free.

    `after` has the last number of each form that was returned, so that many names are found in one pass.
    """
    stem = kind[:80] if isinstance(kind, str) and kind and kind.isprintable() else "fault"
    number = 1 if after is None else after.get(stem, 0) + 1
    while f"{stem}-{number}" in taken:
        number += 1
    if after is not None:
        after[stem] = number
    return f"{stem}-{number}"


def _read(body: Json, name: str, problems: Problems) -> ProxySpec:
    """Return the proxy that a body describes, under a name that was checked.

    :raises InvalidInput: with every invalid field, and those that `problems` has already.
    """
    data = {key: value for key, value in body.items() if key not in ("name", *READ_ONLY)}
    places: dict[str, int] = {}
    if isinstance(data.get("faults"), list):
        data["faults"], places = _by_name(data["faults"], problems)
    elif isinstance(faults := data.get("faults"), dict):
        for key, one in faults.items():
            if isinstance(one, dict):
                _check_same_name(one, key, problems, ("faults", key))
        data["faults"] = {key: _settable(one) if isinstance(one, dict) else one for key, one in faults.items()}
    spec = read_proxy(data, name, problems)
    if len(problems):
        sent = [replace(problem, path=_as_sent(problem.path, places)) for problem in problems]
        error = InvalidInput(sorted(sent, key=_index_of_fault))
        if all(problem.code in ("upstream-loop", "duplicate") and problem.path[0] != "routes" for problem in sent):
            raise Conflict(str(error), None, error.problems)  # parts that are valid contradict each other
        raise error
    assert spec is not None
    return spec


def _by_name(faults: object, problems: Problems) -> tuple[dict[str, object], dict[str, int]]:
    """Return a list of faults as a mapping by name, and the index of each in the list."""
    assert isinstance(faults, list)
    named: dict[str, object] = {}
    places: dict[str, int] = {}
    if len(faults) > MOST_FAULTS:
        problems.add(("faults",), "too-large", f"has {len(faults)} faults; use at most {MOST_FAULTS}")
        return named, places
    taken = {fault["name"] for fault in faults if isinstance(fault, dict) and isinstance(fault.get("name"), str)}
    numbers: dict[str, int] = {}
    for index, fault in enumerate(faults):
        where: Path = ("faults", index)
        if not isinstance(fault, dict):
            message = "is not an object; use a fault such as {name: slow, type: latency, delay: 100ms}"
            problems.add(where, "wrong-type", message)
            continue
        before = len(problems)
        given = fault["name"] if "name" in fault else _free_name(fault.get("type"), taken, numbers)
        name = _checked_name(given, problems, (*where, "name"))
        if name in named and len(problems) == before:
            message = f"{name!r} is already the name of the fault at index {places[name]}; use another name"
            problems.add((*where, "name"), "duplicate", message)
        if len(problems) > before:
            name = _free_name(fault.get("type"), taken, numbers)  # so that the rest of the fault is read too
        named[name] = _settable(fault)
        places[name] = index
    return named, places


def _index_of_fault(problem: Problem) -> int:
    """Return the index of the fault in a list of faults that a problem is about; -1 for all other problems."""
    match problem.path:
        case ("faults", int(index), *_):
            return index
        case _:
            return -1


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
            merged[name] = _merged(before, change)
    return merged


def _merged(present: Json, patch: Json) -> Json:
    """Return the settings of a fault with those of `patch` merged in (RFC 7396); a `match` is replaced as a whole."""
    merged = dict(present)
    for key, change in patch.items():
        before = present.get(key)
        if isinstance(change, dict) and isinstance(before, dict) and key != "match":
            merged[key] = {name: value for name, value in _merged(before, change).items() if value is not None}
        else:
            merged[key] = change
    return merged
