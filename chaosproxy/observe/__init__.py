"""Observation: metrics read from plain integers, events written to the log, pauses measured.

    collector   Prometheus metrics, in a registry of their own
    exchanges   the metrics of HTTP mode
    gc          pauses of the loop by garbage collection
    log         events and messages on stderr, one line each
    writer      a thread that writes lines, so that logging never blocks
"""

from chaosproxy.observe.collector import Collector, make_registry
from chaosproxy.observe.gc import GcPauses
from chaosproxy.observe.log import EventLog, LogHandler, start_logging
from chaosproxy.observe.writer import LineStream, LineWriter

__all__ = [
    "Collector", "EventLog", "GcPauses", "LineStream", "LineWriter", "LogHandler", "make_registry", "start_logging",
]  # fmt: skip
