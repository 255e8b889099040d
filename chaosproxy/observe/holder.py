"""Name the holder of the loop, from the Python frames of its thread.

    frames of the thread ─▶ describe ─▶ Frame, Frame, … ─▶ holder_of ─▶ "proxy db, fault slow"

`holder_of` is pure. `describe` looks at the arguments of each function, and nothing else: a variable may
still have its value from before, but an argument is part of the work that goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import PurePath
from types import FrameType

from aiohttp import web

from chaosproxy.faults.chain import Link
from chaosproxy.net.front import Front
from chaosproxy.net.placement.active_fault import ActiveFault
from chaosproxy.net.proxy import Proxy
from chaosproxy.net.stream.connection import Connection
from chaosproxy.net.stream.pipe import Pipe

__all__ = ["Frame", "Holder", "describe", "holder_of"]

_LONGEST_PATH = 100
"""Characters of a request's path."""

_LOOP_ITSELF = ("asyncio/runners.py", "asyncio/base_events.py", "asyncio/events.py", "/selectors.py")
"""Ends of the paths of files whose functions run the loop; their callers do not hold it."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One call of a function, and the objects that it works on, as far as they have a name."""

    function: str
    file: str
    """The end of the path: package or directory, and file."""
    line: int
    request: str = ""
    """Method and path of an HTTP request to the control server."""
    proxy: str = ""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Holder:
    """The holder of the loop at one moment."""

    name: str | None
    """`request METHOD PATH`, `proxy NAME` or `proxy NAME, fault NAME`, else a function; None if no callback runs."""
    where: str
    """The innermost function, with file and line."""


def holder_of(frames: Sequence[Frame]) -> Holder:
    """Return the holder of the loop, from the frames of its thread, the innermost first.

    A request is named before the proxy that it changes.
    """
    if not frames:
        return Holder(None, "")
    innermost = frames[0]
    where = f"{innermost.function} in {innermost.file}:{innermost.line}"
    callback = list(takewhile(lambda one: not one.file.endswith(_LOOP_ITSELF), frames))
    if not callback:
        return Holder(None, where)
    if request := _first(one.request for one in callback):
        return Holder(f"request {request}", where)
    if proxy := _first(one.proxy for one in callback):
        fault = _first(one.fault for one in callback)
        return Holder(f"proxy {proxy}, fault {fault}" if fault else f"proxy {proxy}", where)
    own = next((one for one in callback if one.file.startswith("chaosproxy/")), callback[-1])
    return Holder(f"function {own.function} in {own.file}", where)


def _first(names: Iterable[str]) -> str:
    return next((name for name in names if name), "")


def describe(frame: FrameType | None) -> list[Frame]:
    """Describe a frame and its callers, the innermost first."""
    found = []
    while frame is not None:
        found.append(_described(frame))
        frame = frame.f_back
    return found


def _described(frame: FrameType) -> Frame:
    code = frame.f_code
    request = proxy = fault = ""
    values = frame.f_locals
    for name in code.co_varnames[: code.co_argcount]:
        value = values.get(name)
        if isinstance(value, web.BaseRequest):
            request = f"{value.method} {value.path[:_LONGEST_PATH]}"
        elif isinstance(value, Link) and isinstance(value.key, str):
            fault = value.key
        elif isinstance(value, ActiveFault):
            fault = value.name
        elif not proxy:
            proxy = _proxy_of(value)
            fault = fault or _only_fault(value)
    return Frame(code.co_qualname, _short(code.co_filename), frame.f_lineno, request, proxy, fault)


def _proxy_of(value: object) -> str:
    """Return the name of the proxy that an object belongs to; empty if it belongs to none."""
    if isinstance(value, Proxy):
        return value.name
    if isinstance(value, Front):
        return value.spec.name
    pipe = getattr(value, "out", value)  # a reader has the pipe that it feeds
    connection = pipe.ends if isinstance(pipe, Pipe) else pipe
    return connection.owner.name if isinstance(connection, Connection) else ""


def _only_fault(value: object) -> str:
    """Return the name of the fault that acts on a pipe, if there is one alone."""
    chain = value.chain if isinstance(value, Pipe) else None
    names = [] if chain is None else [link.key for link in chain.links if isinstance(link.key, str)]
    return names[0] if len(names) == 1 else ""


def _short(file: str) -> str:
    """Return the path from the package on, for a file of chaosproxy, else the last two parts."""
    parts = PurePath(file).parts
    if "chaosproxy" in parts[:-1]:
        first = len(parts) - 1 - parts[::-1].index("chaosproxy", 1)
        return "/".join(parts[first:])
    return "/".join(parts[-2:])
