"""The table of all fault types, at every depth."""

from __future__ import annotations

from chaosproxy.faults import LINK_FAULT_TYPES
from chaosproxy.faults.base import Fault
from chaosproxy.http.faults import MESSAGE_FAULT_TYPES

__all__ = ["FAULT_TYPES"]

FAULT_TYPES: dict[str, type[Fault]] = {**LINK_FAULT_TYPES, **MESSAGE_FAULT_TYPES}
"""Every fault type by its name, in the order the documentation lists them."""
