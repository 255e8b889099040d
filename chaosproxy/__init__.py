"""A TCP and HTTP proxy that injects faults, to show how clients and servers behave when the network fails."""

__version__ = "0.1.0"
__summary__ = (
    "A TCP and HTTP proxy that injects faults, "
    "to show how clients and servers behave when the network fails"
)
