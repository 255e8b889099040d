"""The limits of this process, as plain values: those of its configuration, and those that the system sets."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from chaosproxy.declare import params_of
from chaosproxy.model.control import ControlLimits
from chaosproxy.model.settings import Config
from chaosproxy.net.kernel.descriptors import Descriptors
from chaosproxy.net.sockets.binding import BACKLOG
from chaosproxy.units import format_duration, format_size

__all__ = ["Limit", "Source", "Unit", "limits_of"]

Source: TypeAlias = Literal["default", "configuration", "system"]
Unit: TypeAlias = Literal["descriptors", "connections", "bytes", "seconds"]

_ENDLESS = sys.maxsize // 4
"""The least number that stands for no limit."""
_FOR_ANOTHER = "the connection that has been idle longest is closed for the new one; if none is idle, that is refused"
_CLOSED = "the connection is closed"
_CONTROL: Mapping[str, tuple[Unit, str]] = {
    "connections": ("connections", _FOR_ANOTHER),
    "connections_per_address": ("connections", _FOR_ANOTHER),
    "head_timeout": ("seconds", _CLOSED),
    "body_timeout": ("seconds", _CLOSED),
    "send_timeout": ("seconds", _CLOSED),
    "idle_timeout": ("seconds", _CLOSED),
}
"""The unit of each key of `control.limits`, and what happens at the limit."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit."""

    name: str
    """The path of its key in the configuration, if it has one."""
    value: float | None
    """The value in force; None for no limit."""
    unit: Unit
    source: Source
    """`default` if the configuration has the default value; `system` if the configuration does not set the value."""
    meaning: str
    at_limit: str
    """The effect of reaching the limit."""

    @property
    def text(self) -> str:
        """The value, as it is written in the configuration."""
        if self.value is None:
            return "none"
        if self.unit == "bytes":
            return format_size(int(self.value))
        return format_duration(self.value) if self.unit == "seconds" else str(self.value)

    def view(self) -> dict[str, object]:
        """Return it as a value for JSON."""
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "source": self.source,
            "meaning": self.meaning,
            "at_limit": self.at_limit,
        }


def limits_of(config: Config, control_room: int, descriptors: Descriptors) -> tuple[Limit, ...]:
    """Return the limits of a process that has this configuration and these descriptors.

    `control_room` is the number of connections to the control API for which the reserve has room.
    """
    return (*_of_descriptors(descriptors), *_of_connections(config, descriptors), *_of_control(config, control_room))


def _of_descriptors(descriptors: Descriptors) -> tuple[Limit, ...]:
    files = descriptors.limit
    soft, hard = (None if one >= _ENDLESS else one for one in (files.soft, files.hard))
    return (
        Limit("open_files", soft, "descriptors", "system",
              "descriptors that the process may use (RLIMIT_NOFILE, soft)",
              "new connections are reset before it is reached"),
        Limit("open_files_hard", hard, "descriptors", "system",
              "the most that `serve` can raise open_files to (RLIMIT_NOFILE, hard)",
              "open_files is not raised further"),
        Limit("reserve", files.reserve, "descriptors", "system",
              "descriptors kept for the control API, accepting, name look-ups and files",
              "new connections are reset before it is used"),
    )  # fmt: skip


def _of_connections(config: Config, descriptors: Descriptors) -> tuple[Limit, ...]:
    most, configured = descriptors.most_connections, config.max_connections
    is_configured = configured is not None and configured <= most
    reset = "further clients are reset at once, and counted in chaosproxy_too_many_connections_total"
    return (
        _setting(config, "max_connections", "connections", reset),
        Limit("connections", None if most >= _ENDLESS else most, "connections",
              "configuration" if is_configured else "system",
              "connections on all proxies together: max_connections, or fewer if the descriptors outside the reserve, "
              "two for each, do not suffice", reset),
        Limit("backlog", _backlog(), "connections", "system",
              "clients per listener that wait to be accepted (net.core.somaxconn bounds it)",
              "the kernel does not connect further clients until some are accepted"),
        _setting(config, "max_held", "bytes",
                 "connections that would hold more are not read until 1/16 of it is free"),
    )  # fmt: skip


def _of_control(config: Config, room: int) -> tuple[Limit, ...]:
    limits = config.control.limits
    found = [
        _setting(limits, one.name, *_CONTROL[one.name], prefix="control.limits.") for one in params_of(ControlLimits)
    ]
    if room < limits.connections:
        found[0] = replace(found[0], value=room, source="system")
    return tuple(found)


def _setting(struct: Config | ControlLimits, key: str, unit: Unit, at_limit: str, prefix: str = "") -> Limit:
    """Return the limit that a key of the configuration sets."""
    param = next(one for one in params_of(type(struct)) if one.name == key)
    value = getattr(struct, param.attribute)
    return Limit(
        prefix + key, value, unit, "default" if value == param.default else "configuration", param.meaning, at_limit
    )


@functools.cache
def _backlog() -> int:
    try:
        return min(BACKLOG, int(Path("/proc/sys/net/core/somaxconn").read_text()))
    except (OSError, ValueError):
        return BACKLOG
