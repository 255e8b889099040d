"""Observation: metrics read from plain integers, events written to the log, pauses measured.

    collector   Prometheus metrics, in a registry of their own
    control     the metrics of the control port
    exchanges   the metrics of HTTP mode
    gc          pauses of the loop by garbage collection, and the time of full ones
    holder      name the holder of the loop, from the frames of its thread
    journal     every event in a file, one JSON line each
    log         events and messages on stderr, one line each
    services    reactions to faults, as events and metrics
    watchdog    the lag of the loop, and an event when something holds it
    writer      a thread that writes lines, so that logging never blocks
"""

from chaosproxy.observe.collector import Collector, Registry, make_registry
from chaosproxy.observe.control import ControlCollector
from chaosproxy.observe.gc import FullCollections, GcPauses
from chaosproxy.observe.journal import Journal, JournalCollector, JournalFile
from chaosproxy.observe.log import EventLog, LogHandler, start_logging
from chaosproxy.observe.services import Services, ServicesCollector
from chaosproxy.observe.watchdog import Watchdog
from chaosproxy.observe.writer import LineStream, LineWriter

__all__ = [
    "Collector", "ControlCollector", "EventLog", "FullCollections", "GcPauses", "Journal", "JournalCollector",
    "JournalFile", "LineStream", "LineWriter", "LogHandler", "Registry", "Services", "ServicesCollector", "Watchdog",
    "make_registry", "start_logging",
]  # fmt: skip
