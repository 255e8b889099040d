"""What of a configuration cannot be done on this machine, or with this seed, and where it is asked for. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from chaosproxy.errors import Problem, Unsupported
from chaosproxy.model.partition import check_effect, cut_by, faults_of, nodes_of
from chaosproxy.model.settings import Config
from chaosproxy.net.kernel.capabilities import Capabilities
from chaosproxy.net.placement.modes import resolve_mode
from chaosproxy.seed import Seed

__all__ = ["infeasible"]


def infeasible(config: Config, seed: Seed, kernel: Capabilities) -> Iterator[Problem]:
    """Every fault and partition that asks for a mode which cannot be had here, or is drawn through no proxy."""
    for proxy in config.proxies:
        for fault in proxy.faults:
            try:
                resolve_mode(fault, proxy, kernel)
            except Unsupported as error:
                yield Problem(("proxies", proxy.name, "faults", fault.name, "mode"), str(error))
    known = nodes_of(config.proxies)
    for partition in config.partitions:
        cut = cut_by(partition, known, seed)
        for problem in check_effect(partition, cut, config.proxies):
            yield Problem(("partitions", partition.id), problem.message)
        faults = faults_of(partition, cut, config.proxies)
        for proxy in config.proxies:
            try:
                if proxy.name in faults:
                    resolve_mode(faults[proxy.name], proxy, kernel)
            except Unsupported as error:
                yield Problem(("partitions", partition.id, "mode"), str(error))
                break
