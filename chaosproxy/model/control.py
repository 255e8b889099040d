"""The settings of the control API: its address, its token and its limits."""

from __future__ import annotations

from dataclasses import dataclass

from chaosproxy.declare import Duration, Struct, Text, Whole, param
from chaosproxy.model.address import Address, ListenAddress

__all__ = ["ControlLimits", "ControlSpec"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlLimits:
    """Limits of the connections to the control API, so that no client can occupy it."""

    connections: int = param(Whole(minimum=1), "most connections to the control API", default=512)
    connections_per_address: int = param(
        Whole(minimum=1), "most connections to the control API from one IP address", default=256
    )
    head_timeout: float = param(
        Duration(above_zero=True), "longest time for the head of a request", default=10.0, example="10s"
    )
    body_timeout: float = param(
        Duration(above_zero=True), "longest time for the body of a request", default=10.0, example="10s"
    )
    send_timeout: float = param(
        Duration(above_zero=True), "longest time in which a client reads less than 16 KiB of a response", default=10.0
    )
    idle_timeout: float = param(
        Duration(above_zero=True), "longest time between two requests of a connection", default=60.0, example="60s"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlSpec:
    """The address of the control API, its token and its limits."""

    listen: Address = param(
        ListenAddress(), "address of the control API", default=Address("127.0.0.1", 8474), example="127.0.0.1:8474"
    )
    token: str | None = param(Text(), "bearer token that the API requires; empty requires none", default=None)
    limits: ControlLimits = param(
        Struct(ControlLimits), "limits of the connections to the control API", default=ControlLimits()
    )
