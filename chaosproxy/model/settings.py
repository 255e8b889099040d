"""A whole configuration as desired."""

from __future__ import annotations

from dataclasses import dataclass

from chaosproxy.declare import ListOf, Text, param
from chaosproxy.model.address import Address, ListenAddress
from chaosproxy.model.proxy import ProxySpec

__all__ = ["Config", "ControlSpec", "PolicySpec"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlSpec:
    """Where the control API listens, and who may use it."""

    listen: Address = param(
        ListenAddress(), "address of the control API", default=Address("127.0.0.1", 8474), example="127.0.0.1:8474"
    )
    token: str | None = param(Text(), "bearer token the API asks for; empty asks for none", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySpec:
    """What the control API may do."""

    upstreams: tuple[str, ...] | None = param(
        ListOf(Text()), "hosts, CIDRs, globs or host:port that may be an upstream", default=None, example="[127.0.0.0/8]"
    )
    listen: tuple[str, ...] = param(
        ListOf(Text()), "hosts that may be listened on", default=("127.0.0.1", "::1", "localhost"), example="[127.0.0.1]"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything a configuration file says."""

    seed: int | None = None
    control: ControlSpec = ControlSpec()
    policy: PolicySpec = PolicySpec()
    proxies: tuple[ProxySpec, ...] = ()
