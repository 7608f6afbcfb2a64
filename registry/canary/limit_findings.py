"""What was seen of one budget: its confidence sequence against its limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from weighbridge.registry.canary import alike, sequential
from weighbridge.registry.canary.sequential import Interval
from weighbridge.registry.canary.telemetry import Observed
from weighbridge.registry.trust.online_budgets import OnlineBudget

ADVANCE_ALPHA = 0.05
"""Chance of ever calling one budget kept that is not, on one step."""


@dataclass(frozen=True)
class Finding:
    """One online budget, judged."""

    metric: str
    rule: str
    limit: float
    state: str
    """`within`, `beyond`, `open` or `missing`."""
    estimate: float | None
    lower: float | None
    upper: float | None
    """Bounds at the level of the question that was answered: of `beyond`, or else of `within`."""
    samples: int
    stable_samples: int
    part: str | None = None
    """The slice that decides; None for what is about all requests."""

    @property
    def name(self) -> str:
        """For people."""
        return self.metric if self.part is None else f"{self.metric} ({self.part})"


def finding_of(budget: OnlineBudget, observed: Observed, abort_alpha: float) -> Finding:
    """One budget judged: beyond its limit at `abort_alpha`, or kept at `ADVANCE_ALPHA`, or neither yet."""
    if budget.metric == "slice_accuracy":
        return _worst_slice(budget, observed, abort_alpha)
    counts = _counts(budget, observed)
    samples, stable_samples = counts["samples"], counts["stable_samples"]
    if samples == 0 or (budget.relative and stable_samples == 0):
        return Finding(budget.metric, budget.rule, budget.limit, "missing", None, None, None, samples, stable_samples)
    strict, usual = _interval(budget, observed, abort_alpha), _interval(budget, observed, ADVANCE_ALPHA, alike)
    return _judged(budget, strict, usual, (samples, stable_samples))


def _judged(
    budget: OnlineBudget, strict: Interval, usual: Interval, counts: tuple[int, int], part: str | None = None
) -> Finding:
    higher_is_worse = budget.rule != "min"
    beyond = strict.lower > budget.limit if higher_is_worse else strict.upper < budget.limit
    within = usual.upper <= budget.limit if higher_is_worse else usual.lower >= budget.limit
    state = "beyond" if beyond else "within" if within else "open"
    shown = strict if beyond else usual
    return Finding(
        budget.metric,
        budget.rule,
        budget.limit,
        state,
        shown.estimate,
        shown.lower,
        shown.upper,
        *counts,
        part,
    )


def _worst_slice(budget: OnlineBudget, observed: Observed, abort_alpha: float) -> Finding:
    """The slice that is furthest beyond the limit, or furthest from being shown to keep it. All slices share alpha."""
    canary, stable = observed.canary.slices, observed.stable.slices
    found = []
    for name in sorted(name for name, (n, _) in stable.items() if n):
        (n1, right1), (n2, right2) = canary.get(name, (0, 0)), stable[name]
        sides, parts = ((right2, n2), (right1, n1)), len(stable)
        strict = sequential.difference(*sides, abort_alpha / parts)
        usual = alike.difference(*sides, ADVANCE_ALPHA / parts)
        found.append(_judged(budget, strict, usual, (n1, n2), name))
    if not any(finding.samples for finding in found):
        return Finding(budget.metric, budget.rule, budget.limit, "missing", None, None, None, 0, 0)
    rank = ("within", "open", "beyond")
    return max(found, key=lambda finding: (rank.index(finding.state), finding.upper))


def _shares(budget: OnlineBudget, observed: Observed) -> tuple[tuple[int, int], tuple[int, int]]:
    """(hits, n) of canary and stable for a budget about a share."""
    pairs = []
    for arm in (observed.canary, observed.stable):
        table: Mapping[str, tuple[int, int]] = {
            "error_rate": (arm.errors, arm.judged),
            "accuracy": (arm.right, arm.labelled),
            "disagreement": (arm.different, arm.compared),
            "latency": (arm.slow.get(budget.threshold or 0, 0), arm.timed.get(budget.threshold or 0, 0)),
        }
        pairs.append(table[budget.metric])
    return pairs[0], pairs[1]


def _counts(budget: OnlineBudget, observed: Observed) -> dict[str, int]:
    if budget.metric == "drift":
        of = [sum(arm.predictions.values()) for arm in (observed.canary, observed.stable)]
    elif budget.metric == "paired_accuracy":
        of = [observed.canary.paired] * 2
    else:
        of = [n for _, n in _shares(budget, observed)]
    return {"samples": of[0], "stable_samples": of[1]}


class _Bounds(Protocol):
    """How two groups are compared: `sequential`, narrower where they differ much, or `alike`, where they do not."""

    def difference(self, first: tuple[float, int], second: tuple[float, int], alpha: float) -> Interval:
        """Of two probabilities."""

    def total_variation(self, first: Sequence[int], second: Sequence[int], alpha: float) -> Interval:
        """Of two distributions."""


def _interval(budget: OnlineBudget, observed: Observed, alpha: float, bounds: _Bounds = sequential) -> Interval:
    """The confidence sequence of what the budget limits."""
    if budget.metric == "drift":
        return _drift(budget, observed, alpha, bounds)
    if budget.metric == "paired_accuracy":
        arm = observed.canary
        return sequential.paired(arm.only_stable, arm.only_canary, arm.paired, alpha)
    canary, stable = _shares(budget, observed)
    if budget.rule == "max_increase":
        return bounds.difference(canary, stable, alpha)
    if budget.rule == "max_drop":
        return bounds.difference(stable, canary, alpha)
    return sequential.proportion(*canary, alpha)


def _drift(budget: OnlineBudget, observed: Observed, alpha: float, bounds: _Bounds) -> Interval:
    canary, stable = observed.canary.predictions, observed.stable.predictions
    names = sorted({*canary, *stable})
    unseen = [0] * max(0, (budget.classes or 0) - len(names))
    rows = [[counts[name] for name in names] + unseen for counts in (canary, stable)]
    return bounds.total_variation(rows[0], rows[1], alpha)
