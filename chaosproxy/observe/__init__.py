"""Observation: metrics read from plain integers, events written to the log, pauses measured.

    collector   Prometheus metrics, in a registry of their own
    exchanges   the metrics of HTTP mode
    gc          pauses of the loop by garbage collection
    log         events and messages on stderr, one line each
"""

from chaosproxy.observe.collector import Collector, make_registry
from chaosproxy.observe.gc import GcPauses
from chaosproxy.observe.log import EventLog, start_logging

__all__ = ["Collector", "EventLog", "GcPauses", "make_registry", "start_logging"]
