"""Faults: one file per type, and the table of all.

    base    Step, Stage, Door, Fault: what a fault type is
    chain   the stages of one pipe, in order, and all they hold

Adding a fault type is one file, one line in the table below, and its tests.
"""

from chaosproxy.faults.base import Fault
from chaosproxy.faults.latency import Latency

__all__ = ["FAULT_TYPES"]

FAULT_TYPES: dict[str, type[Fault]] = {
    fault.type: fault
    for fault in (
        Latency,
    )
}
"""Every fault type by its name, in the order the documentation lists them."""
