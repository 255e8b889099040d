"""Preflight: find every problem of a change before anything is changed, and prepare the objects that it needs.

    Config, seed, kernel ─▶ preflight ─▶ Prepared   modes, TLS endpoints and cuts, ready to run
                                      └▶ Refusal    every problem, by field

`check`, `serve`, the supervisor and REST all use this module. Its functions are pure, with one
exception: `net.tls.endpoint.ProxyTls` reads the files that a proxy names when it is made. The running
proxy uses the endpoint that was made here, so the files are read once.

The objects that run already are passed as `Present`. They are used again where they fit, and never
changed, so a refused change leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from chaosproxy.errors import ChaosproxyError, InvalidInput, Problem, Unsupported
from chaosproxy.model.address import Address
from chaosproxy.model.fault import FaultSpec
from chaosproxy.model.loops import Ends, loop_problem, loop_through, loops
from chaosproxy.model.partition import PartitionSpec, check_effect, cut_by, faults_of, is_drawn, nodes_of, written
from chaosproxy.model.proxy import ProxySpec
from chaosproxy.model.settings import Config
from chaosproxy.model.tls import check_fault_tls
from chaosproxy.model.topology import Cut, Pair
from chaosproxy.net.kernel.capabilities import Capabilities
from chaosproxy.net.placement.modes import ResolvedMode, resolve_mode
from chaosproxy.net.tls.endpoint import ProxyTls
from chaosproxy.seed import Seed

__all__ = [
    "Prepared", "PreparedCut", "PreparedFault", "PreparedProxy", "Present", "Refusal", "granted", "preflight",
    "preflight_cut", "preflight_fault", "preflight_proxy", "sever_modes",
]  # fmt: skip


Ready = TypeVar("Ready")


@dataclass(frozen=True, slots=True)
class PreparedFault:
    """A fault that can be placed on one proxy."""

    spec: FaultSpec
    resolved: ResolvedMode
    tls: ProxyTls | None
    """The proxy's endpoint, with the context for the fault's handshakes; None if the proxy uses no TLS itself."""


@dataclass(frozen=True, slots=True)
class PreparedProxy:
    """A proxy that can be started, or settings that an existing one can be changed to."""

    spec: ProxySpec
    modes: Mapping[str, ResolvedMode]
    """The mode of each fault, by the fault's name."""
    tls: ProxyTls | None


@dataclass(frozen=True, slots=True)
class PreparedCut:
    """A partition that can begin."""

    spec: PartitionSpec
    cut: Cut
    faults: Mapping[str, FaultSpec]
    """The fault that cuts each proxy, by the proxy's name."""
    modes: Mapping[str, ResolvedMode]
    """The mode of each of these faults, by the proxy's name."""
    pairs: tuple[Pair, ...]
    """The pairs of the cut in order, since sorting thousands takes long."""
    line: str
    """The cut in one line."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A configuration that can be applied."""

    config: Config
    seed: Seed | None
    kernel: Capabilities
    proxies: tuple[PreparedProxy, ...]
    cuts: tuple[PreparedCut, ...]
    _by_name: dict[str, PreparedProxy] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {one.spec.name: one for one in self.proxies})

    def proxy(self, name: str) -> PreparedProxy:
        return self._by_name[name]

    @property
    def tls(self) -> dict[str, ProxyTls]:
        """Return the endpoints, by the proxy's name."""
        return {one.spec.name: one.tls for one in self.proxies if one.tls is not None}


@dataclass(frozen=True, slots=True)
class Refusal:
    """The problems because of which a configuration cannot be applied."""

    invalid: tuple[Problem, ...] = ()
    """Problems of the input itself, such as a file without a certificate."""
    unsupported: tuple[Problem, ...] = ()
    """Valid input that is not supported on this machine, with these privileges or with this seed."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        return (*self.invalid, *self.unsupported)

    def error(self) -> InvalidInput | Unsupported:
        """Return the exception that names every problem."""
        if self.invalid:
            return InvalidInput(self.problems)
        return Unsupported("; ".join(dict.fromkeys(one.message for one in self.unsupported)), self.unsupported)


@dataclass(frozen=True, slots=True)
class Present:
    """The running objects that stay."""

    tls: Mapping[str, ProxyTls] = field(default_factory=dict)
    """The endpoints, by the proxy's name; one is used again if the proxy's settings for it have not changed."""
    cuts: Sequence[tuple[PartitionSpec, Cut]] = ()
    """The partitions that continue: the proxies between their nodes must support the modes they require."""
    listening: Mapping[str, Sequence[Address]] = field(default_factory=dict)
    """The bound addresses of proxies with port 0, by the proxy's name."""


def granted(found: Ready | Refusal) -> Ready:
    """Return `found`, unless it is a Refusal.

    :raises InvalidInput: at least one problem is invalid input.
    :raises Unsupported: all problems are valid input that is not supported.
    """
    if isinstance(found, Refusal):
        raise found.error()
    return found


def preflight(
    config: Config, seed: Seed | None, kernel: Capabilities, present: Present | None = None
) -> Prepared | Refusal:
    """Prepare all of `config`, or return every problem of it. Pure, except that TLS files are read.

    Without a seed, partitions that the seed draws are skipped, since another seed may draw other pairs.
    """
    present = present or Present()
    found = _Findings()
    proxies = []
    for spec in config.proxies:
        prepared = preflight_proxy(spec, kernel, present.tls.get(spec.name), present.cuts)
        if isinstance(prepared, Refusal):
            found.add(prepared, "proxies", spec.name)
        else:
            proxies.append(prepared)
    bound = present.listening
    ends = {one.name: Ends(bound.get(one.name, (one.listen,)), one.upstream, one.ipv6only) for one in config.proxies}
    for loop in loops(ends):
        problem = loop_problem(loop, ends[loop[0]].upstream)
        found.invalid.append(problem.under("proxies", loop[0]))
    cuts = []
    for partition in config.partitions:
        if seed is None and is_drawn(partition):
            continue
        cut = preflight_cut(partition, config.proxies, seed or Seed(0), kernel)
        if isinstance(cut, Refusal) and is_drawn(partition):  # valid input: only the seed makes it fail
            found.add(Refusal(unsupported=cut.problems), "partitions", partition.id)
        elif isinstance(cut, Refusal):
            found.add(cut, "partitions", partition.id)
        else:
            cuts.append(cut)
    return found.refusal() or Prepared(config, seed, kernel, tuple(proxies), tuple(cuts))


def preflight_proxy(
    spec: ProxySpec,
    kernel: Capabilities,
    tls: ProxyTls | None = None,
    cuts: Iterable[tuple[PartitionSpec, Cut]] = (),
    ends: Mapping[str, Ends] | None = None,
) -> PreparedProxy | Refusal:
    """Prepare one proxy and its faults; `tls` is its present endpoint, `cuts` the partitions that continue.

    `ends` are the addresses of all proxies after the change; without them, no loop is looked for.
    """
    found = _Findings()
    if ends is not None and (loop := loop_through(spec.name, ends)):
        found.invalid.append(loop_problem(loop, spec.upstream))
    try:
        tls = ProxyTls.of(spec, tls)
    except InvalidInput as invalid:
        found.invalid += invalid.problems
        tls = None
    modes = {}
    for fault in spec.faults:
        prepared = preflight_fault(fault, spec, kernel, tls)
        if isinstance(prepared, Refusal):
            found.add(prepared, "faults", fault.name)
        else:
            modes[fault.name], tls = prepared.resolved, prepared.tls
    for partition, cut in cuts:
        try:
            sever_modes(partition, cut, [spec], kernel)
        except Unsupported as error:
            found.unsupported.append(Problem((), error.code, f"partition {partition.id}: {error}"))
    return found.refusal() or PreparedProxy(spec, modes, tls)


def preflight_fault(
    fault: FaultSpec, proxy: ProxySpec, kernel: Capabilities, tls: ProxyTls | None
) -> PreparedFault | Refusal:
    """Prepare one fault of a proxy whose endpoint is `tls`."""
    found = _Findings(invalid=list(check_fault_tls(fault, proxy)))
    resolved = None
    try:
        resolved = resolve_mode(fault, proxy, kernel)
    except Unsupported as error:
        found.unsupported.append(Problem(("mode",), error.code, str(error)))
    admission = fault.settings.admission()
    if tls is not None and admission is not None and admission.handshake is not None:
        try:
            tls = tls.with_handshake(admission.handshake)
        except InvalidInput as error:
            found.invalid.append(Problem(("how",), error.problems[0].code, str(error)))
        except ChaosproxyError as error:
            found.unsupported.append(Problem(("how",), error.code, str(error)))
    if (refused := found.refusal()) is not None:
        return refused
    assert resolved is not None
    return PreparedFault(fault, resolved, tls)


def preflight_cut(
    spec: PartitionSpec, proxies: Sequence[ProxySpec], seed: Seed, kernel: Capabilities
) -> PreparedCut | Refusal:
    """Prepare one partition between the nodes of `proxies`. Pure."""
    try:
        cut = cut_by(spec, nodes_of(proxies), seed)
    except InvalidInput as invalid:
        return Refusal(invalid=invalid.problems)
    if problems := check_effect(spec, cut, proxies):
        return Refusal(invalid=tuple(problems))
    try:
        modes = sever_modes(spec, cut, proxies, kernel)
    except Unsupported as error:
        return Refusal(unsupported=(Problem(("mode",), error.code, str(error)),))
    return PreparedCut(spec, cut, faults_of(spec, cut, proxies), modes, tuple(sorted(cut)), written(cut))


def sever_modes(
    spec: PartitionSpec, cut: Cut, proxies: Iterable[ProxySpec], kernel: Capabilities
) -> dict[str, ResolvedMode]:
    """Return the mode in which a partition acts on each proxy that it cuts, by name. Pure.

    :raises Unsupported: it requires mode packet, which one of these proxies does not support.
    """
    by_name = {proxy.name: proxy for proxy in proxies}
    faults = faults_of(spec, cut, by_name.values())
    return {name: resolve_mode(fault, by_name[name], kernel) for name, fault in faults.items()}


@dataclass(slots=True)
class _Findings:
    """The problems found so far."""

    invalid: list[Problem] = field(default_factory=list)
    unsupported: list[Problem] = field(default_factory=list)

    def add(self, refused: Refusal, *path: str) -> None:
        self.invalid += [one.under(*path) for one in refused.invalid]
        self.unsupported += [one.under(*path) for one in refused.unsupported]

    def refusal(self) -> Refusal | None:
        if self.invalid or self.unsupported:
            return Refusal(tuple(self.invalid), tuple(self.unsupported))
        return None
