"""What is seen: metrics pulled from plain integers, events written to the log, pauses measured.

    collector   Prometheus metrics on a registry of our own
    gc          how long garbage collection stopped the loop
    log         events and messages on stderr, one line each
"""

from chaosproxy.observe.collector import Collector, make_registry
from chaosproxy.observe.gc import GcPauses
from chaosproxy.observe.log import EventLog, start_logging

__all__ = ["Collector", "EventLog", "GcPauses", "make_registry", "start_logging"]
