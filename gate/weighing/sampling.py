"""The noisy half of a weighing: launch pairs up to the next look, judge, and again while a budget is open."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from weighbridge.core.documents import Budget, BudgetVerdict, RecipeVerdict, Verdict
from weighbridge.core.formatting import duration
from weighbridge.core.progress import Progress, silent
from weighbridge.gate.measure.launches import Launch, Setup, take_launch
from weighbridge.gate.statistics import LOOKS
from weighbridge.gate.verdict.judge import undecided
from weighbridge.gate.weighing.accumulator import Accumulator
from weighbridge.gate.weighing.job import Job

JOURNEY = "latency.end_to_end"


@dataclass(frozen=True)
class Need:
    """A metric that needs launch pairs, and up to how many."""

    metric: str
    against: str
    look: int
    required: bool = True


@dataclass
class Sampling:
    """Takes launches. `judge` gives the verdict on everything measured so far."""

    setup: Setup
    accumulators: Sequence[Accumulator]
    judge: Callable[[], RecipeVerdict]
    seed: int
    most_launches: int
    time_limit: float
    thorough: bool
    plans: bool = False
    """Whether to say, after the first launch, how long a decision takes."""
    plan: str | None = None
    """What was said."""
    progress: Progress = silent
    clock: Callable[[], float] = time.monotonic
    launch: Callable[..., Launch] = take_launch
    taken: Callable[[], None] = lambda: None
    """Called after every launch: what was measured is written down before the next, so that no kill undoes it."""
    spent: list[float] = field(default_factory=list)
    """Seconds of each launch taken."""
    empty_memory: float = 0.0

    def run(self, first: Sequence[Need]) -> bool:
        """Measure until no budget is open; False where the time or the launches ended before that.

        Raises `MeasurementError` for whatever a worker does wrong; the tallies keep what was taken before.
        """
        begin = self.clock()
        needs: list[Need] = [need for need in first if self._count(need) < need.look]
        needs = needs or self._open()
        while needs:
            if not self._time_left(begin) or self._exhausted(needs):
                return False
            self._take(needs)
            if any(self._count(need) >= need.look for need in needs):
                left = [need for need in needs if self._count(need) < need.look and need.look == LOOKS[0]]
                needs = left or self._open()
        if self.spent:
            self.progress("weigh", 1, 1, f"decided after {len(self.spent)} launch pairs")
        return True

    def _open(self) -> list[Need]:
        """What required budgets still need; nothing once one of them has failed for certain."""
        verdict = self.judge()
        if failed_for_certain(verdict) and not self.thorough:
            return []
        return [
            Need(item.metric, item.against or "baseline", item.next_look or 0)
            for item in undecided(verdict)
            if item.required
        ]

    def _time_left(self, begin: float) -> bool:
        return self.clock() - begin + max(self.spent[-3:], default=0.0) <= self.time_limit

    def _exhausted(self, needs: Sequence[Need]) -> bool:
        return min(self._count(need) for need in needs) >= self.most_launches

    def _count(self, need: Need) -> int:
        return max(
            accumulator.count(need.metric) for accumulator in self.accumulators if accumulator.against == need.against
        )

    def _take(self, needs: Sequence[Need]) -> None:
        metrics = {need.metric for need in needs}
        furthest = max(needs, key=lambda need: need.look - self._count(need))
        self.progress("weigh", self._count(furthest), furthest.look, f"launch pairs for {_listed(needs)}")
        for group in (metrics - {JOURNEY}, metrics & {JOURNEY}):
            if group:
                self._launch(frozenset(group))

    def _launch(self, metrics: frozenset[str]) -> None:
        number = 1 + max(accumulator.last_number for accumulator in self.accumulators)
        begin = self.clock()
        rng = np.random.default_rng([self.seed, number])
        launch = self.launch(
            self.setup, metrics, rng, control=any(accumulator.control_due for accumulator in self.accumulators)
        )
        self.spent.append(self.clock() - begin)
        self.empty_memory = launch.empty_memory
        if self.plans and self.plan is None:
            self.plan = planned(self.spent[0], number - 1)
            self.progress("plan", 0, 1, self.plan)
        for accumulator in self.accumulators:
            accumulator.add(launch, number)
        self.taken()


def planned(seconds: float, taken: int = 0) -> str:
    """How long a decision takes where a launch pair takes `seconds` and `taken` were there before.

    Every launch is counted at the price of the first, which has a second baseline beside it: few are dearer.
    """
    ends = [f"{look} launch pairs, {duration(max(0, look - taken) * seconds)}" for look in (LOOKS[0], LOOKS[-1])]
    return f"a launch pair takes {duration(seconds)}: the first decision after {ends[0]}; at most {ends[1]}"


def failed_for_certain(verdict: RecipeVerdict) -> BudgetVerdict | None:
    """The first required budget that failed, if one did."""
    return next((item for item in verdict.budgets if item.required and item.verdict is Verdict.FAIL), None)


def first_needs(budgets: Sequence[Budget], identical: Mapping[str, bool], absent: Mapping[str, str]) -> list[Need]:
    """Every noisy metric up to the first look; none for limits relative to the same bytes."""
    needs = []
    for budget in budgets:
        against = budget.against if budget.relative else "baseline"
        if budget.quantity.kind != "launches" or budget.metric in absent or against not in identical:
            continue
        if budget.relative and identical[against]:
            continue
        needs.append(Need(budget.metric, against, LOOKS[0], budget.required))
    return needs


def needs_of(job: Job, absent: Mapping[str, str]) -> list[Need]:
    """What a job's budgets need before anything was taken; `absent` metrics cannot be measured here."""
    identical = {model.name: model.digest == job.candidate.digest for model in job.references}
    applying = [budget for budget in job.budgets if budget.applies_to(job.device)]
    return first_needs(applying, identical, absent)


@contextmanager
def own_cores() -> Iterator[None]:
    """Give this process its cores back afterwards."""
    before = os.sched_getaffinity(0)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _listed(needs: Sequence[Need]) -> str:
    return ", ".join(dict.fromkeys(need.metric for need in needs))
