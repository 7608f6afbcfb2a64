"""Tests of budgets on slices, and of those that resampling bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from weighbridge.core.documents import Verdict
from weighbridge.gate.statistics.looks import PASS_ALPHA
from weighbridge.gate.statistics.planning import examples_needed
from weighbridge.gate.statistics.resampled import Resamples
from weighbridge.gate.verdict.budget_tests import Answer, PairedTest


@dataclass(frozen=True)
class SliceTest:
    """The worst of several slices: FAIL where any slice fails (Bonferroni), PASS where every slice passes.

    PASS needs no correction: the budget is broken if any slice is beyond it, and each was tested at 5 %
    (intersection-union test; Berger, Technometrics 24, 1982).
    """

    slices: Mapping[str, PairedTest]

    @property
    def p_fail(self) -> float:
        """The smallest p-value of any slice, each already multiplied by the number of slices."""
        return min(test.p_fail for test in self.slices.values())

    @property
    def worst(self) -> str:
        """The slice with the worst value on these examples."""
        pick = max if self._upper_limit else min
        return pick(self.slices, key=lambda name: self.slices[name].estimate)

    @property
    def estimate(self) -> float:
        """The worst slice's value on these examples."""
        return self.slices[self.worst].estimate

    def answer(self, fail_alpha: float) -> Answer:
        """Estimate and bounds of the worst slice, with the names that decided."""
        answers = {name: test.answer(fail_alpha) for name, test in self.slices.items()}
        pick = max if self._upper_limit else min
        failed = [name for name, answer in answers.items() if answer.verdict is Verdict.FAIL]
        open_ones = [name for name, answer in answers.items() if answer.verdict is Verdict.INCONCLUSIVE]
        return Answer(
            self.estimate,
            pick(answer.lower for answer in answers.values()),
            pick(answer.upper for answer in answers.values()),
            Verdict.FAIL if failed else Verdict.INCONCLUSIVE if open_ones else Verdict.PASS,
            remarks=self._remarks(self.worst, failed, open_ones),
        )

    @property
    def _upper_limit(self) -> bool:
        return next(iter(self.slices.values())).upper_limit

    def _remarks(self, worst: str, failed: list[str], open_ones: list[str]) -> tuple[str, ...]:
        remarks = [f"the worst of {len(self.slices)} slices is {worst!r} ({self.slices[worst].pairs.total} examples)"]
        if failed:
            remarks.append(f"beyond the limit: {_names(failed)}")
        elif open_ones:
            remarks.append(f"not shown to be within the limit: {_names(open_ones)}")
        small = [name for name in open_ones if self.slices[name].pairs.total < self._least(name)]
        if small:
            need = max(self._least(name) for name in small)
            remarks.append(
                f"too small to pass even without a single difference: {_names(small)}, of {need:,} examples needed"
            )
        return tuple(remarks)

    def _least(self, name: str) -> int:
        """Examples below which a slice cannot pass whatever its answers are."""
        test = self.slices[name]
        if test.scale != "drop" or not 0 < test.limit < 1:
            return 0
        return examples_needed(0.0, test.limit, alpha=PASS_ALPHA) or 0


def _names(names: list[str], most: int = 5) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


@dataclass(frozen=True)
class ResampledTest:
    """Any metric over a data set, judged by BCa bounds of its paired bootstrap, on the scale of the limit."""

    resamples: Resamples
    limit: float
    upper_limit: bool

    @property
    def p_fail(self) -> float:
        """One look: the examples are all there from the start."""
        return self._p(above=self.upper_limit)

    def answer(self, fail_alpha: float) -> Answer:
        """BCa bounds; too few resamples for an error rate leave that bound infinite."""
        low, high = (fail_alpha, PASS_ALPHA) if self.upper_limit else (PASS_ALPHA, fail_alpha)
        verdict = Verdict.INCONCLUSIVE
        if self.p_fail <= fail_alpha:
            verdict = Verdict.FAIL
        elif self._p(above=not self.upper_limit) <= PASS_ALPHA:
            verdict = Verdict.PASS
        return Answer(self.resamples.point, self.resamples.lower(low), self.resamples.upper(high), verdict)

    def _p(self, *, above: bool) -> float:
        return self.resamples.p_above(self.limit) if above else self.resamples.p_below(self.limit)
