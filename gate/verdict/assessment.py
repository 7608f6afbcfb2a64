"""What assessing one budget comes to: a settled answer, or an open test for the statistics."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from weighbridge.core.documents import Verdict
from weighbridge.gate.verdict.budget_tests import Answer, BudgetTest
from weighbridge.gate.verdict.reasons import Effort
from weighbridge.gate.verdict.validity import Unfit


@dataclass(frozen=True)
class Settled:
    """An answer that needs no statistics, or an error."""

    answer: Answer
    reason: str
    skipped: bool = False
    """Nothing was measured, as after a failure that was certain."""

    @classmethod
    def error(cls, reason: str) -> Settled:
        """Could not be measured or computed."""
        return cls(Answer(math.nan, -math.inf, math.inf, Verdict.ERROR), reason)

    @classmethod
    def not_measured(cls, metric: str) -> Settled:
        """The measurement has neither values for a metric nor a reason why there are none: an error by itself."""
        error = cls.error(f"Not measured: the measurement has no values for {metric}.")
        return replace(error, skipped=True)

    @classmethod
    def unresolved(cls, reason: str, next_look: int | None = None) -> Settled:
        """Measured, but too little of it to ask."""
        return cls(Answer(math.nan, -math.inf, math.inf, Verdict.INCONCLUSIVE, next_look=next_look), reason)


@dataclass(frozen=True)
class Open:
    """A statistical test, and what its reason will say."""

    test: BudgetTest
    family: Literal["timed", "examples"]
    """Budgets of one family share its error rate."""
    basis: Callable[[Answer], str]
    effort: Effort | None = None
    unfit: Unfit | None = None
    pairs: int = 0
    """Launch pairs taken."""
    outlook: str = ""
    """What a decision would take, for evidence that is not measured in launches."""


@dataclass(frozen=True)
class Assessed:
    """One budget, ready to be decided."""

    assessment: Settled | Open
    required: bool
    candidate: float | None = None
    """The metric's own value, in its base unit."""
    reference: float | None = None
    mode: str = "population"
    advice: tuple[str, ...] = ()
    """Sentences that follow the reason."""
    notes: tuple[str, ...] = field(default=())
    """Remarks on the evidence, whatever the verdict."""
