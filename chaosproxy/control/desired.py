"""The desired state of everything that runs, as `control.plan` takes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from chaosproxy.control.faults import Faults
from chaosproxy.control.origin import Origin
from chaosproxy.control.partitions import Partitions
from chaosproxy.control.plan import Desired, Owned
from chaosproxy.model.fault import FaultSpec
from chaosproxy.net.proxy import Proxy

__all__ = ["desired", "owned_faults"]


def desired(
    proxies: Iterable[Proxy], origins: Mapping[str, Origin], faults: Faults, partitions: Partitions
) -> Desired:
    """Return the proxies, faults and partitions that run, each with its maker; `origins` are those of the proxies."""
    running = list(proxies)
    return Desired(
        {one.spec.name: Owned(replace(one.spec, faults=()), origins[one.spec.name].by) for one in running},
        {one.spec.name: owned_faults(one, faults) for one in running},
        {one.spec.id: Owned(one.spec, one.by) for one in partitions.all()},
    )


def owned_faults(proxy: Proxy, faults: Faults) -> dict[str, Owned[FaultSpec]]:
    """Return the faults of a proxy with their makers, by name."""
    return {one.name: Owned(one, faults.origin(proxy, one.name).by) for one in proxy.spec.faults}
