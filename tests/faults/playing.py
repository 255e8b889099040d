"""Steps through a stage, and faults on a pipe whose clock the test turns."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterable

from chaosproxy.declare import Problems
from chaosproxy.faults.base import NEVER, Fault, Opening, Send, Stage, Step
from chaosproxy.faults.chain import Chain, Link
from chaosproxy.model.fault import FaultSpec, read_fault
from chaosproxy.seed import Dice, Seed
from chaosproxy.tallies import FaultTally


def dice(seed: int = 0) -> Dice:
    return random.Random(seed)


def opened(fault: Fault, now: float = 0.0, seed: int = 0, common: object = None) -> Stage:
    """A stage of `fault`; its own common state unless one is given."""
    stage = fault.open(Opening(lambda: dice(seed), now, fault.common() if common is None else common))
    assert stage is not None
    return stage


def play(fault: Fault | Stage, *steps: Step) -> list[Step]:
    """What a stage answers to these steps, one after the other."""
    return shown(opened(fault) if isinstance(fault, Fault) else fault, copy.deepcopy(steps))


def shown(stage: Stage, steps: Iterable[Step]) -> list[Step]:
    """What a stage answers to these very steps, each cut as the stage wants it."""
    link = Link("it", stage, FaultTally())
    link.waiting.extend(steps)
    answers: list[Step] = []
    while link.waiting:
        answers.extend(stage.on_step(link.next()[0]))
    return answers


def content(steps: Iterable[Step]) -> bytes:
    """All bytes that the steps carry."""
    return b"".join(step.data for step in steps if isinstance(step, Send))


def wrong(given: dict[str, object]) -> list[tuple[str, str]]:
    """Return (field, code) of each problem of a fault as a user wrote it."""
    problems = Problems()
    read_fault(given, "it", problems, (), "http")
    return [(problem.field, problem.code) for problem in problems]


def read(given: dict[str, object]) -> FaultSpec:
    """A fault as a user writes it, which must be right."""
    problems = Problems()
    spec = read_fault(given, "it", problems, (), "http")
    assert spec is not None, list(problems)
    return spec


class Wire:
    """One pipe with faults, in virtual time; `left` is all that came out and when."""

    def __init__(self, seed: int = 0, **faults: Fault) -> None:
        self.now = 0.0
        self.left: list[tuple[float, Step]] = []
        self.tallies: dict[str, FaultTally] = {}
        self.chain = Chain(lambda step: self.left.append((self.now, step)))
        self._seed = Seed(seed)
        self._faults: dict[str, Fault] = {}
        self._next = NEVER
        self.set(**faults)

    def set(self, **faults: Fault) -> None:
        """Have exactly these faults act from now on, in this order; equal settings stay as they are."""
        present = {link.key: link for link in self.chain.links}
        wanted = [
            present[name] if name in present and self._faults[name] == fault else self._link(name, fault)
            for name, fault in faults.items()
        ]
        self._faults = dict(faults)
        self.chain.arrange(wanted, self.now)
        self._advance()

    def send(self, *steps: Step) -> Wire:
        """Let steps arrive, each at its due time."""
        for step in copy.deepcopy(steps):
            self.wait_until(step.due)
            self.chain.push(step)
            self._advance()
        return self

    def wait_until(self, then: float) -> Wire:
        """Turn the clock on, stopping wherever something is due."""
        while self._next <= then:
            self.now = max(self.now, self._next)
            self._advance()
        self.now = max(self.now, then)
        self._advance()
        return self

    def arrived(self) -> list[tuple[float, bytes | str]]:
        """What came out: the time, and the bytes or the kind of step."""
        return [
            (round(at, 9), step.data if isinstance(step, Send) else type(step).__name__) for at, step in self.left
        ]

    @property
    def bytes(self) -> bytes:
        return content(step for _, step in self.left)

    def _advance(self) -> None:
        self._next = self.chain.advance(self.now)

    def _link(self, name: str, fault: Fault) -> Link:
        stage = fault.open(Opening(lambda: self._seed.at("fault", name), self.now, fault.common()))
        assert stage is not None
        tally = self.tallies.setdefault(name, FaultTally())
        return Link(name, stage, tally)
