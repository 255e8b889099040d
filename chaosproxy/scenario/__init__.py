"""Scenarios: timed lists of faults, as pure values.

actions    the things that a step does, read from plain data
steps      a step: its times, its name and its action
spec       a whole scenario
timeline   scenario and seed ─▶ the moments at which something is done
"""

from chaosproxy.scenario.spec import Scenario, read_scenario
from chaosproxy.scenario.timeline import Moment, Timeline, timeline_of

__all__ = ["Moment", "Scenario", "Timeline", "read_scenario", "timeline_of"]
