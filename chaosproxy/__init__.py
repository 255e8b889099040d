"""A fault-injecting TCP and HTTP proxy that shows how clients and servers react when the network fails."""

__version__ = "0.1.0"
