"""The findings of a probe: in sentences, as JSON, and the questions that stay open, each with its reason.

`Findings` is built from the steps that are over and from the last look. It claims nothing itself: each finding is one
of `reaction`, with its confidence and the fault under which it showed. A question stays open if no fault answered it,
and the reason names the fault that could have: too short, skipped, or without any client that showed something.

The findings of several faults are merged: time-outs that are equal are told once, with the most give-ups; of the
rhythms of retries the best one counts, and the others are told if they differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chaosproxy.backoff_text import backoff_text
from chaosproxy.probe.course import Done
from chaosproxy.probe.plan import PlanName, Step
from chaosproxy.probe.seen import Json, Seen
from chaosproxy.units import seconds_text

__all__ = ["Findings"]

_KINDS = {
    "connect": "a connect time-out",
    "read": "a read time-out, which does not fire while bytes trickle",
    "total": "a deadline for the whole answer, which fires while bytes trickle, too",
    "unknown": "a time-out of silence, or a deadline for the whole answer",
}
_SAME = 0.05
"""Time-outs nearer than this, relative to the longer one, are one; and at least `_SAME_S`."""
_SAME_S = 0.02
_SAME_RHYTHM = 0.1
"""The same for the gaps and the factor of rhythms."""


@dataclass(frozen=True, slots=True)
class Findings:
    """The findings of one probe."""

    proxy: str
    done: Sequence[Done]
    seen: Seen
    """The last look."""
    service: str | None
    """The service of the proxy; None if it has none."""
    plan: PlanName
    reason: str
    """The reason for which the course ended early; empty if it did not."""

    @property
    def has_any(self) -> bool:
        """Whether anything was found."""
        return any(value not in (None, {}, []) for value in self.found().values())

    def found(self) -> dict[str, object]:
        """Return the findings as JSON. Times are in seconds; null or empty where nothing was found."""
        by_kind: dict[str, list[Json]] = {}
        for one in self._timeouts():
            by_kind.setdefault(one["kind"], []).append({key: one[key] for key in one if key != "kind"})
        within = self._none_within()
        best = self._best_rhythm()
        attempts = self._attempts()
        breaker = self._breaker()
        failover = next(iter(self.seen.failovers), None)
        return {
            "timeouts": by_kind,
            "none_within_s": within,
            "backoff": None if best is None else _backoff(*best),
            "attempts_max": None if attempts is None else attempts[1],
            "double_effects": self._double_effects() or None,
            "breaker": None if breaker is None else {**breaker[1], "under": breaker[0].name},
            "failover": failover,
            "recovery": self._recovery(),
        }

    def story(self) -> list[str]:
        """Return the findings in sentences."""
        lines = [*self._tell_timeouts(), *self._tell_retries(), *self._tell_others(), *self._tell_recovery()]
        return [*lines, *([f"{self.reason}"] if self.reason else [])]

    def not_learnt(self) -> list[str]:
        """Return the questions that stay open, each with its reason."""
        return [*self._open_timeouts(), *self._open_retries(), *self._open_others()]

    # The reactions, by step.

    def _told(self) -> Iterator[tuple[Step, Json]]:
        for one in self.done:
            told = self.seen.reactions.get(one.step.fault)
            if told is not None and not one.is_skipped:
                yield one.step, told

    def _of(self, name: str) -> Json | None:
        return next((told for step, told in self._told() if step.name == name), None)

    def _done(self, name: str) -> Done | None:
        return next((one for one in self.done if one.step.name == name), None)

    # Time-outs.

    def _timeouts(self) -> list[Json]:
        """Return the time-outs of all faults, each once, the shortest first."""
        trickle = self._done("trickle")
        has_trickled = trickle is not None and not trickle.is_skipped
        all_of_them: list[Json] = []
        for step, told in self._told():
            for one in told["gave_up"]["timeouts"]:
                # Of a trickle that was on before the probe, these clients may know nothing.
                kind = one["kind"] if has_trickled or one["kind"] == "connect" else "unknown"
                all_of_them.append({**one, "kind": kind, "under": step.name})
        found: list[Json] = []
        for one in sorted(all_of_them, key=_best_first):
            if not any(_is_same(one, other) for other in found):
                found.append(one)
        return sorted(found, key=lambda one: float(one["s"]))

    def _none_within(self) -> float | None:
        """Return the longest wait of a client that did not give up under the stall; None if one did, or none waited."""
        stall = self._of("stall")
        if stall is None or self._timeouts() or stall["gave_up"]["count"]:
            return None
        within = stall["gave_up"]["none_within_s"]
        return None if within is None else float(within)

    def _tell_timeouts(self) -> Iterator[str]:
        words = {step.name: step.words for step, _ in self._told()}
        for one in self._timeouts():
            how = f"{one['confidence']}, {one['count']} times under {words[one['under']]}"
            yield f"clients gave up after {seconds_text(one['s'])} ({how}): {_KINDS[one['kind']]}"
        if (within := self._none_within()) is not None:
            yield f"no client gave up within {seconds_text(within)} of silence"

    def _open_timeouts(self) -> Iterator[str]:
        done, stall, timeouts = self._done("stall"), self._of("stall"), self._timeouts()
        if done is None:
            yield "time-outs: the stall was not tried"
        elif not timeouts and stall is not None and (count := stall["gave_up"]["count"]):
            waited = stall["gave_up"]["waited_s"]
            between = f"between {seconds_text(waited['min'])} and {seconds_text(waited['max'])}"
            once = f"1 client gave up after {seconds_text(waited['max'])}"
            when = once if count == 1 else f"{count} gave up {between}"
            yield f"time-outs: {when}, too few or too different to say why"
        elif not timeouts and self._none_within() is None:
            yield "time-outs: no client was seen to wait or to give up under the stall"
        elif not timeouts:
            longer = f"; a longer one needs --for, such as --for {2 * done.step.most_s:g}s" if done.is_whole else ""
            yield f"time-outs: none within the stall of {seconds_text(done.seconds)}{longer}"
        elif any(one["kind"] == "unknown" for one in timeouts):
            yield f"kind of the time-out: {self._why_no_kind()}"

    def _why_no_kind(self) -> str:
        done = self._done("trickle")
        if done is None:
            return "the trickle was not tried"
        if done.is_skipped:
            return done.because.removeprefix("skipped: ")
        if not done.is_whole:
            return f"the trickle ended after {seconds_text(done.seconds)}: {done.because}"
        return f"the trickle of {seconds_text(done.seconds)} did not tell: too few answers lasted longer, or were cut"

    # Retries.

    def _best_rhythm(self) -> tuple[Step, Json] | None:
        rhythms = [(step, told["retries"]) for step, told in self._told() if told["retries"]["backoff"] is not None]
        return min(
            rhythms,
            key=lambda one: (one[1]["backoff_of"] != "retries", one[1]["confidence"] != "sure"),
            default=None,
        )

    def _attempts(self) -> tuple[Step, int] | None:
        found = [
            (step, int(most)) for step, told in self._told() if (most := told["retries"]["attempts_max"]) is not None
        ]
        return max(found, key=lambda one: one[1], default=None)

    def _double_effects(self) -> int:
        return sum(told["retries"]["double_effects"] for _, told in self._told())

    def _tell_retries(self) -> Iterator[str]:
        said: list[list[tuple[Step, Json]]] = []
        for step, told in self._told():
            if (retries := told["retries"])["backoff"] is not None:
                alike = next((one for one in said if _is_same_rhythm(one[0][1], retries)), None)
                if alike is None:
                    said.append([(step, retries)])
                else:
                    alike.append((step, retries))
        for same in said:
            retries = min((one for _, one in same), key=lambda one: one["confidence"] != "sure")
            verb = "tried again" if retries["backoff_of"] == "retries" else "connected again"
            under = " and ".join(step.words for step, _ in same)
            yield f"clients {verb} {_rhythm(retries)} ({retries['confidence']}, under {under})"
        if (attempts := self._attempts()) is not None:
            yield f"a client made at most {attempts[1]} attempts, under {attempts[0].words}"
        if double := self._double_effects():
            requests = "1 request was" if double == 1 else f"{double} requests were"
            yield f"{requests} sent again although the server had answered: their effects may be double"

    def _open_retries(self) -> Iterator[str]:
        if self._best_rhythm() is None:
            again = sum(told["retries"]["count"] + told["retries"]["reconnects"] for _, told in self._told())
            if all(one.is_skipped for one in self.done):
                yield "retries: no fault was on"
            elif not any(True for _ in self._told()):
                yield "retries: the server has no events of the faults any more"
            elif again:
                attempts = "1 attempt was" if again == 1 else f"{again} attempts were"
                yield f"rhythm of retries: {attempts} repeated, too few or too different to say"
            else:
                yield "retries: no client was seen to send the same bytes again after a failure"
        if self._attempts() is None:
            yield "most attempts: no two pieces of work were seen to end after the same number of attempts"

    # Circuit breaker, failover, recovery.

    def _breaker(self) -> tuple[Step, Json] | None:
        found = [(step, told["circuit_breaker"]) for step, told in self._told() if told["circuit_breaker"] is not None]
        return min(found, key=lambda one: one[1]["confidence"] != "sure", default=None)

    def _recovery(self) -> dict[str, float]:
        """Return the seconds until the load was as before, by fault.

        After one from which it did not recover, later faults are compared with a load that is not the usual.
        """
        found: dict[str, float] = {}
        for step, told in self._told():
            if told["recovered_after_s"] is None:
                break
            found[step.name] = told["recovered_after_s"]
        return found

    def _tell_others(self) -> Iterator[str]:
        if (found := self._breaker()) is not None:
            step, breaker = found
            after = "" if breaker["opened_after"] is None else f" after {breaker['opened_after']} failures in a row"
            pause = seconds_text(breaker["open_s"])
            yield f"a circuit breaker opened{after}, for {pause} ({breaker['confidence']}, under {step.words})"
        for move in self.seen.failovers[:1]:
            back = move["failed_back_after_s"]
            returned = "" if back is None else f", and came back {seconds_text(back)} after the heal"
            after = f"{seconds_text(move['after_s'])} after the fault" if move["after_s"] is not None else ""
            yield f"{move['share']:.0%} of the load moved to {move['to']} {after}{returned}"

    def _tell_recovery(self) -> Iterator[str]:
        words = {step.name: step.words for step, _ in self._told()}
        times = [f"{seconds_text(seconds)} after {words[name]}" for name, seconds in self._recovery().items()]
        if times:
            yield f"back to normal: {', '.join(times)}"

    def _open_others(self) -> Iterator[str]:
        if self._breaker() is None:
            longest = max((one.seconds for one in self.done), default=0.0)
            remedy = "--plan full" if self.plan == "quick" else "a longer --for"
            yield (
                f"circuit breaker: none showed in {seconds_text(longest)}; one that pauses for more than half of"
                f" that would not, try {remedy}" if longest else "circuit breaker: no fault was on"
            )  # fmt: skip
        if not self.seen.failovers:
            yield (
                "failover: the proxy has no `service`, so its alternatives are not known" if self.service is None
                else f"failover: no load of service {self.service} was seen to move"
            )  # fmt: skip
        back = self._recovery()
        if missing := [step.words for step, _ in self._told() if step.name not in back]:
            yield f"recovery: not seen after {', '.join(missing)}"
        for one in self.done:
            if one.is_skipped and one.step.name != "trickle":
                yield f"{one.step.words}: {one.because}"


def _is_same(one: Json, other: Json) -> bool:
    seconds = float(one["s"]), float(other["s"])
    is_near = max(seconds) - min(seconds) <= max(_SAME_S, _SAME * max(seconds))
    return is_near and (one["kind"] == "connect") is (other["kind"] == "connect")


def _backoff(step: Step, retries: Json) -> Json:
    keys = ("factor", "first_gap_s", "step_s", "cap_s", "jittered", "confidence")
    return {
        "law": retries["backoff"], "of": retries["backoff_of"], **{key: retries[key] for key in keys},
        "under": step.name,
    }  # fmt: skip


def _best_first(one: Json) -> tuple[object, ...]:
    return one["confidence"] != "sure", one["kind"] == "unknown", -one["count"]


def _is_same_rhythm(one: Json, other: Json) -> bool:
    """Return whether two rhythms differ by noise alone."""
    if any(one[key] != other[key] for key in ("backoff", "backoff_of", "jittered")):
        return False
    pairs = [(one[key], other[key]) for key in ("first_gap_s", "factor", "step_s", "cap_s")]
    return all(
        a is b if a is None or b is None else abs(a - b) <= max(_SAME_S, _SAME_RHYTHM * max(a, b)) for a, b in pairs
    )


def _rhythm(retries: Json) -> str:
    values = (retries[key] for key in ("first_gap_s", "step_s", "factor", "cap_s", "jittered"))
    return backoff_text(retries["backoff"], *values)
