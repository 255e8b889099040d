"""Accept clients cheaply."""

from __future__ import annotations

import socket

__all__ = ["accept"]


class _Client(socket.socket):
    """An accepted socket with plain attributes in place of two properties.

    Those of `socket.socket` search an enum at each access. `socket.socket.accept` and the loop read both several times,
    which takes 3 % of all the time that a connection takes.
    """

    __slots__ = ("family",)
    type = socket.SOCK_STREAM

    def __init__(self, family: socket.AddressFamily, descriptor: int) -> None:
        super().__init__(family, socket.SOCK_STREAM, 0, descriptor)
        self.family = family  # type: ignore[misc]  # the class above has a property of this name


def accept(listening: socket.socket, family: socket.AddressFamily) -> tuple[socket.socket, object]:
    """Do as `listening.accept()` does, for a stream socket of that family.

    :raises OSError: as `accept` does.
    """
    descriptor, address = listening._accept()  # type: ignore[attr-defined]  # typeshed leaves it out
    return _Client(family, descriptor), address
