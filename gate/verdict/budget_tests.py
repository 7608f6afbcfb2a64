"""One budget and its evidence as a statistical test that can be answered at any error rate.

A test knows the p-value of "the true value is beyond the limit" (`p_fail`), so that a family of budgets can be
corrected together, and answers with an estimate, bounds and a decision once its share of the family's error is known.
Everything is oriented by the limit: an upper limit (`max`, `max_ratio`, `max_drop`) is broken from above.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from scipy.special import ndtr

from weighbridge.core.documents import Verdict
from weighbridge.core.intervals import clopper_pearson
from weighbridge.gate.statistics.centre import Location
from weighbridge.gate.statistics.looks import FAIL_SHARES, PASS_ALPHA, PASS_SHARES, looks_reached, next_look
from weighbridge.gate.statistics.proportions import (
    Pairs,
    binomial_p_above,
    binomial_p_below,
    ratio_interval,
    ratio_z,
    tango_interval,
    tango_p_above,
    tango_p_below,
)


@dataclass(frozen=True)
class Answer:
    """What the evidence says of one budget, in the unit of its limit."""

    estimate: float
    lower: float
    """Missed from below with at most the test's error rate; minus infinity where nothing bounds it."""
    upper: float
    verdict: Verdict
    pairs: int | None = None
    next_look: int | None = None
    remarks: tuple[str, ...] = ()


class BudgetTest(Protocol):
    """What `judge` asks of every budget that rests on a sample."""

    @property
    def p_fail(self) -> float:
        """p-value of the hypothesis that the true value is within the limit, over all looks and slices."""
        ...

    def answer(self, fail_alpha: float) -> Answer:
        """Decide: FAIL where `p_fail <= fail_alpha`, PASS at one-sided 5 %, else inconclusive."""
        ...


@dataclass(frozen=True)
class Fact:
    """A value without noise, or a count on this very data set: decided by comparing."""

    value: float
    limit: float
    upper_limit: bool

    def answer(self) -> Answer:
        """PASS at the limit itself: nothing is estimated here."""
        within = self.value <= self.limit if self.upper_limit else self.value >= self.limit
        return Answer(self.value, self.value, self.value, Verdict.PASS if within else Verdict.FAIL)


@dataclass(frozen=True)
class LaunchTest:
    """Values per launch pair, looked at group-sequentially; the first look that decides stands.

    `values`, `limit` and `grain` are on the scale of the analysis: natural logarithms where `logarithmic`.
    """

    values: Sequence[float]
    limit: float
    upper_limit: bool
    location: Location
    logarithmic: bool
    grain: float = 0.0
    """What the instrument cannot tell apart: FAIL means beyond the limit by more, and its bound is wider by so much."""

    @property
    def p_fail(self) -> float:
        """The smallest p-value of any look, each divided by the share of the error that its look may spend."""
        looks = looks_reached(len(self.values))
        return min([1.0, *(self._p_beyond(self.values[:look]) / FAIL_SHARES[look] for look in looks)])

    def answer(self, fail_alpha: float) -> Answer:
        """Decide at the first look that can; a measurement that passes and fails at different looks has drifted."""
        reached = looks_reached(len(self.values))
        if not reached:
            return Answer(math.nan, -math.inf, math.inf, Verdict.INCONCLUSIVE, 0, next_look(0))
        failed = self._first(self._p_beyond, fail_alpha, FAIL_SHARES)
        passed = self._first(self._p_within, PASS_ALPHA, PASS_SHARES)
        if failed and passed:
            return self._at(reached[-1], fail_alpha, Verdict.INCONCLUSIVE, _DRIFT.format(passed, failed), more=False)
        if failed or passed:
            verdict = Verdict.FAIL if failed else Verdict.PASS
            return self._at(failed or passed or 0, fail_alpha, verdict, more=False)
        return self._at(reached[-1], fail_alpha, Verdict.INCONCLUSIVE, more=True)

    def _first(self, p_value: _PValue, alpha: float, shares: Mapping[int, float]) -> int | None:
        looks = looks_reached(len(self.values))
        # Divided as `p_fail` is, so that the two agree to the last bit.
        return next((look for look in looks if p_value(self.values[:look]) / shares[look] <= alpha), None)

    def _p_beyond(self, values: Sequence[float]) -> float:
        if self.upper_limit:
            return self.location.p_above(values, self.limit + self.grain)
        return self.location.p_below(values, self.limit - self.grain)

    def _p_within(self, values: Sequence[float]) -> float:
        test = self.location.p_below if self.upper_limit else self.location.p_above
        return test(values, self.limit)

    def _at(self, look: int, fail_alpha: float, verdict: Verdict, *remarks: str, more: bool) -> Answer:
        values = self.values[:look]
        fail_level, pass_level = fail_alpha * FAIL_SHARES[look], PASS_ALPHA * PASS_SHARES[look]
        if self.upper_limit:
            lower = self.location.lower(values, fail_level) - self.grain
            upper = self.location.upper(values, pass_level)
        else:
            lower = self.location.lower(values, pass_level)
            upper = self.location.upper(values, fail_level) + self.grain
        return Answer(
            self._back(self.location.estimate(values)),
            self._back(lower),
            self._back(upper),
            verdict,
            look,
            next_look(len(self.values)) if more else None,
            remarks,
        )

    def _back(self, value: float) -> float:
        if not self.logarithmic:
            return value
        return math.inf if value > 700 else 0.0 if value == -math.inf else math.exp(value)


class _PValue(Protocol):
    def __call__(self, values: Sequence[float]) -> float: ...


_DRIFT = (
    "the first {0} launch pairs say pass and the first {1} say fail: the machine or its load changed while measuring"
)


@dataclass(frozen=True)
class PairedTest:
    """Accuracy on the same examples: the drop, the ratio, or the candidate's own share right.

    `scale` is `drop` (reference minus candidate), `ratio` (candidate / reference), `right` (the candidate's share)
    or `flips` (share right before and wrong now).
    """

    pairs: Pairs
    scale: str
    limit: float
    upper_limit: bool
    family: int = 1
    """How many such tests a single failure is sought in: the number of slices (Bonferroni)."""

    @property
    def p_fail(self) -> float:
        """One look: the examples are all there from the start."""
        return min(1.0, self.family * self._p(above=self.upper_limit))

    def answer(self, fail_alpha: float) -> Answer:
        """Score or exact bounds; strictly beyond or within the limit."""
        lower, upper = self.bounds(fail_alpha)
        verdict = Verdict.INCONCLUSIVE
        if self.p_fail <= fail_alpha:
            verdict = Verdict.FAIL
        elif self._p(above=not self.upper_limit) <= PASS_ALPHA:
            verdict = Verdict.PASS
        return Answer(self.estimate, lower, upper, verdict)

    @property
    def estimate(self) -> float:
        """The value on these examples."""
        if self.scale == "drop":
            return self.pairs.drop
        if self.scale == "ratio":
            reference = self.pairs.reference_right
            return self.pairs.candidate_right / reference if reference else math.nan
        return self._successes / self.pairs.total

    def bounds(self, fail_alpha: float) -> tuple[float, float]:
        """Lower and upper bound at the error rates of FAIL and PASS."""
        fail = fail_alpha / self.family
        low, high = (fail, PASS_ALPHA) if self.upper_limit else (PASS_ALPHA, fail)
        if self.scale == "drop":
            return tango_interval(self.pairs, low, high)
        if self.scale == "ratio":
            return ratio_interval(self.pairs, low, high)
        return clopper_pearson(self._successes, self.pairs.total, low, high)

    @property
    def _successes(self) -> int:
        return self.pairs.only_reference if self.scale == "flips" else self.pairs.candidate_right

    def _p(self, *, above: bool) -> float:
        if self.scale == "drop":
            return (tango_p_above if above else tango_p_below)(self.pairs, self.limit)
        if self.scale == "ratio":
            return _ratio_p(self.pairs, self.limit, above=above)
        return (binomial_p_above if above else binomial_p_below)(self._successes, self.pairs.total, self.limit)


def _ratio_p(pairs: Pairs, limit: float, *, above: bool) -> float:
    if pairs.reference_right == 0:
        return 1.0
    z = ratio_z(pairs, limit)
    return float(ndtr(-z if above else z))
