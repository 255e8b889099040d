"""Check addresses against the policy: those that the control API may let chaosproxy listen on or connect to.

Pure: no name is resolved. `chaosproxy.model.hosts` explains the patterns.
"""

from __future__ import annotations

from collections.abc import Iterable

from chaosproxy.errors import Problem
from chaosproxy.model import Address, PolicySpec, ProxySpec
from chaosproxy.model.hosts import parse_pattern

__all__ = ["forbidden", "matches"]


def forbidden(policy: PolicySpec, wanted: ProxySpec, present: ProxySpec | None = None) -> list[Problem]:
    """Return a problem for each address of `wanted` that the policy does not allow.

    Addresses that `present` already has are not checked: a proxy of the configuration file may be
    outside the policy, and its faults can be changed nevertheless.
    """
    found = []
    if (present is None or wanted.upstream != present.upstream) and policy.upstreams is not None:
        if not matches(wanted.upstream, policy.upstreams):
            found.append(_problem("upstream", "upstreams", wanted.upstream, policy.upstreams))
    if (present is None or wanted.listen != present.listen) and not matches(wanted.listen, policy.listen):
        found.append(_problem("listen", "listen", wanted.listen, policy.listen))
    return found


def matches(address: Address, patterns: Iterable[str]) -> bool:
    """Return whether any of the patterns covers the address.

    :raises BadValue: one of the patterns is malformed; those of a PolicySpec never are.
    """
    return any(parse_pattern(pattern).covers(address) for pattern in patterns)


def _problem(field: str, rule: str, address: Address, allowed: Iterable[str]) -> Problem:
    has = ", ".join(allowed) or "nothing"
    message = f"{address} is outside policy.{rule} of the configuration, which allows {has}"
    return Problem((field,), "forbidden-by-policy", message)
