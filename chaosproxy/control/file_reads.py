"""Read the files of a change in a thread, since a file system may not respond.

A change without TLS files is prepared at once, in the same turn of the loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from chaosproxy.control.preflight import (
    Prepared,
    PreparedProxy,
    Present,
    Refusal,
    preflight,
    preflight_proxy,
)
from chaosproxy.model.fault import FaultSpec
from chaosproxy.model.loops import Ends
from chaosproxy.model.partition import PartitionSpec
from chaosproxy.model.proxy import ProxySpec
from chaosproxy.model.settings import Config
from chaosproxy.model.topology import Cut
from chaosproxy.net.kernel.capabilities import Capabilities
from chaosproxy.net.proxy import Proxy
from chaosproxy.net.tls.endpoint import ProxyTls
from chaosproxy.seed import Seed
from chaosproxy.tasks import in_thread

__all__ = ["preflight_reading_files", "preflight_proxy_reading_files", "read_files_for"]


async def preflight_reading_files(
    config: Config, seed: Seed | None, kernel: Capabilities, present: Present
) -> Prepared | Refusal:
    """Prepare all of `config`, as `preflight` does."""
    run = partial(preflight, config, seed, kernel, present)
    return await in_thread(run) if any(map(_has_files, config.proxies)) else run()


async def preflight_proxy_reading_files(
    spec: ProxySpec,
    kernel: Capabilities,
    tls: ProxyTls | None,
    cuts: Iterable[tuple[PartitionSpec, Cut]],
    ends: Mapping[str, Ends],
) -> PreparedProxy | Refusal:
    """Prepare one proxy and its faults, as `preflight_proxy` does."""
    run = partial(preflight_proxy, spec, kernel, tls, cuts, ends)
    return await in_thread(run) if _has_files(spec) else run()


async def read_files_for(fault: FaultSpec, proxies: Iterable[Proxy]) -> None:
    """Read the files that a fault needs on these proxies; placing it then reads none."""
    admission = fault.settings.admission()
    if admission is None or admission.handshake is None:
        return
    for tls in [one.tls for one in proxies]:
        if tls is not None:
            await in_thread(partial(tls.read_for, admission.handshake))


def _has_files(spec: ProxySpec) -> bool:
    return spec.listen_tls is not None or spec.upstream_tls is not None
