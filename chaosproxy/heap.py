"""Say that a computation holds very many objects for a while, so that no full garbage collection looks at them.

A full collection stops every thread for up to 1 µs per object, also if only one of them has made the objects. The
reactions of 100 000 events are 200 000 objects, in a thread: a collection in that time stopped the loop for 30 ms, and
on a busy machine for up to 0.3 s. The objects have no cycles, so nothing is lost if the collection comes later.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["holding_many", "is_light"]

_lock = threading.Lock()
_holding = 0
"""Computations that hold very many objects now, in all threads."""


@contextmanager
def holding_many() -> Iterator[None]:
    """Note that the block holds very many objects."""
    global _holding
    with _lock:
        _holding += 1
    try:
        yield
    finally:
        with _lock:
            _holding -= 1


def is_light() -> bool:
    """Return whether no computation holds very many objects now."""
    return not _holding
