"""Sentences that tell a reviewer why a budget got its verdict. They assume no knowledge of the tool."""

from __future__ import annotations

import math
from dataclasses import dataclass

from weighbridge.core.documents import Budget, Verdict
from weighbridge.core.formatting import contrast, duration, percent, quantity, span
from weighbridge.gate.statistics.looks import LOOKS
from weighbridge.gate.statistics.planning import pairs_needed
from weighbridge.gate.verdict.budget_tests import Answer


@dataclass(frozen=True)
class Effort:
    """What measuring has cost so far."""

    seconds_per_pair: float
    complete: bool
    """False where a time limit ended it."""


def shown_unit(budget: Budget) -> str:
    """The unit of a budget's limit, estimate and bounds as people read it."""
    return budget.rule.shown_unit(budget.rule.unit(budget.quantity.unit))


_SUBJECTS = {
    "latency.p50": "median latency",
    "latency.p95": "95th percentile of latency",
    "latency.p99": "99th percentile of latency",
    "latency.end_to_end": "median latency with pre- and postprocess",
    "size.gzip": "size after gzip",
    "size.zstd": "size after zstd",
    "params": "number of parameters",
    "macs": "number of multiply-accumulates per example",
    "cold_start": "time to load and answer for the first time",
    "throughput": "throughput",
    "memory.peak": "peak memory",
    "accuracy.worst_slice": "top-1 accuracy in its worst slice",
}
"""Metrics whose title does not read well within a sentence."""


def state(budget: Budget, value: float) -> str:
    """What was found, as a clause: `the candidate's file size is 133.2 kB`."""
    title = _SUBJECTS.get(budget.metric, budget.quantity.title)
    if budget.metric == "accuracy.flips":
        return f"{quantity(value, 'fraction')} of the examples were right before and are wrong now"
    unit = shown_unit(budget)
    if budget.rule.scale == "drop":
        side = "below" if value >= 0 else "above"
        return f"the candidate's {title} is {quantity(abs(value), unit)} {side} that of {_reference(budget)}"
    if budget.relative:
        return f"the candidate's {title} is {quantity(value, unit)} that of {_reference(budget)}"
    return f"the candidate's {title} is {quantity(value, unit)}"


def fact(budget: Budget, answer: Answer, *, on: str) -> str:
    """The reason for a verdict without noise; `on` says what it is a fact of."""
    unit = shown_unit(budget)
    value, limit = contrast(answer.estimate, budget.limit, unit)
    side = "within" if answer.verdict is Verdict.PASS else "beyond"
    clause = state(budget, answer.estimate)
    clause = clause.replace(quantity(abs(answer.estimate), unit), value.removeprefix("−"), 1)
    return f"{_upper(clause)}, {side} the limit of {limit} ({on})."


def estimated(budget: Budget, answer: Answer, basis: str, effort: Effort | None) -> str:
    """The reason for a verdict that rests on a sample of launches or examples."""
    unit = shown_unit(budget)
    from_above = budget.rule.upper
    limit = quantity(budget.limit, unit)
    near, far = (answer.upper, answer.lower) if from_above else (answer.lower, answer.upper)
    least, most = ("at least", "at most") if from_above else ("at most", "at least")
    clause = _upper(state(budget, answer.estimate))
    if answer.verdict is Verdict.PASS:
        text = f"{clause}, {most} {quantity(near, unit)} with 95% confidence: within the limit of {limit}"
    elif answer.verdict is Verdict.FAIL:
        text = f"{clause}, {least} {quantity(far, unit)} with 99% confidence: beyond the limit of {limit}"
    else:
        text = (
            f"{clause}, but the true value may lie anywhere from {_bounds(answer, unit)}, "
            f"on both sides of the limit of {limit}: neither pass nor fail is shown"
        )
    parts = [f"{text} ({basis})", *answer.remarks]
    if answer.verdict is Verdict.INCONCLUSIVE and effort is not None and answer.pairs:
        parts += _outlook(budget, answer, effort)
    return ". ".join(_upper(part) for part in parts) + "."


def too_few_pairs(pairs: int, effort: Effort) -> str:
    """Before the first look."""
    missing = LOOKS[0] - pairs
    cost = f", about {duration(missing * effort.seconds_per_pair)}" if pairs else ""
    return (
        f"Only {pairs} launch pairs were measured and the first decision needs {LOOKS[0]}: "
        f"{missing} more are needed{cost}."
    )


def unfit_to_judge(budget: Budget, answer: Answer, reason: str) -> str:
    """Evidence was taken, but the controls say that it cannot be trusted."""
    return f"{_upper(state(budget, answer.estimate))} by the numbers taken, but {reason}."


def _outlook(budget: Budget, answer: Answer, effort: Effort) -> list[str]:
    """What these launches could resolve, and what it would take to decide."""
    pairs = answer.pairs or 0
    reach, distance = _reach_and_distance(budget, answer)
    parts = []
    if math.isfinite(reach):
        parts.append(
            f"with {pairs} launch pairs an excess of {percent(math.expm1(reach))} beyond the limit can be shown "
            f"(promised: {percent(budget.resolution)})"
        )
    if answer.next_look is None:
        return [*parts, "more launches will not be taken: use a quieter machine, or change the limit or the model"]
    if not effort.complete:
        parts.append("the time limit ended the measuring")
    needed = pairs_needed(pairs, reach, distance)
    cost = _cost(answer.next_look - pairs, effort)
    if needed is None or needed > LOOKS[-1]:
        parts.append(
            f"the true value may lie at the limit: even {LOOKS[-1]} launch pairs may not decide; "
            f"the next look is at {answer.next_look} ({cost})"
        )
    else:
        look = next(number for number in LOOKS if number >= max(needed, answer.next_look))
        parts.append(f"a decision is likely at {look} launch pairs ({_cost(look - pairs, effort)})")
    return parts


def _cost(pairs: int, effort: Effort) -> str:
    return f"{pairs} more, about {duration(pairs * effort.seconds_per_pair)}"


def _reach_and_distance(budget: Budget, answer: Answer) -> tuple[float, float]:
    """On the log scale where values are positive: from the estimate to the bound that decides, and to the limit.

    The bound is that of PASS where the estimate lies within the limit, that of FAIL where it lies beyond.
    """
    values = (answer.estimate, answer.lower, answer.upper, budget.limit)
    if budget.rule.scale == "drop" or any(value <= 0 for value in values) or math.isinf(answer.upper):
        if budget.rule.scale != "drop" and answer.estimate > 0 and budget.limit > 0:
            return math.inf, abs(math.log(answer.estimate / budget.limit))
        base = max(abs(answer.estimate), abs(budget.limit)) or 1.0
        reach = max(answer.upper - answer.estimate, answer.estimate - answer.lower) / base
        return reach, abs(answer.estimate - budget.limit) / base
    estimate, lower, upper, limit = (math.log(value) for value in values)
    reach = upper - estimate if estimate < limit else estimate - lower
    return reach, abs(estimate - limit)


def _bounds(answer: Answer, unit: str) -> str:
    low, high = (value if math.isfinite(value) else None for value in (answer.lower, answer.upper))
    return span(low, high, unit)


def _reference(budget: Budget) -> str:
    return "the baseline" if budget.against == "baseline" else "the model that is stable now"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
