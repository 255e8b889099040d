"""Faults on connections, packets and streams of bytes: one file per type, and the table of them.

    base        Step, Stage, Admission, Fault: the contract of a fault type
    chain       the stages of one pipe, in order, and the steps that they hold
    correlated  random numbers that are correlated with the one before
    origin      a point in time that all stages of one fault share
    hold        a stage that holds everything until the fault ends
    limits      the steps after a limit has been reached
    spread      distributions of delays about their mean
    noise       random changes of bytes

A new fault type is one file, one line in the table below, and its tests.
"""

from chaosproxy.faults.bandwidth import Bandwidth
from chaosproxy.faults.base import Fault
from chaosproxy.faults.blackhole import Blackhole
from chaosproxy.faults.corrupt import Corrupt
from chaosproxy.faults.latency import Latency
from chaosproxy.faults.limit_data import LimitData
from chaosproxy.faults.limit_time import LimitTime
from chaosproxy.faults.packet_loss import PacketLoss
from chaosproxy.faults.partition import Partition
from chaosproxy.faults.pause import Pause
from chaosproxy.faults.refuse import Refuse
from chaosproxy.faults.reset import Reset
from chaosproxy.faults.slicer import Slicer
from chaosproxy.faults.slow_accept import SlowAccept
from chaosproxy.faults.slow_close import SlowClose
from chaosproxy.faults.stall import Stall
from chaosproxy.faults.tls_handshake import TlsHandshake
from chaosproxy.faults.unreachable import Unreachable

__all__ = ["LINK_FAULT_TYPES"]

LINK_FAULT_TYPES: dict[str, type[Fault]] = {
    fault.type: fault
    for fault in (
        Latency,
        Bandwidth,
        Stall,
        Blackhole,
        PacketLoss,
        Slicer,
        LimitData,
        LimitTime,
        SlowClose,
        SlowAccept,
        TlsHandshake,
        Refuse,
        Unreachable,
        Partition,
        Pause,
        Reset,
        Corrupt,
    )
}
"""Every fault type that acts below HTTP, by its name, in the order of the documentation."""
