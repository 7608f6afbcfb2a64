"""Judge: one measurement and the budgets → one verdict. Pure: no clock, no file, no randomness.

Exact metrics are compared; accuracy is judged by paired intervals; what is timed is judged by the signed-rank
interval over launch pairs at group-sequential looks. FAIL is a union over budgets, so each family of required
budgets (timed ones; accuracy ones) errs in at most 1 % of runs by Holm's procedure; PASS is an intersection, so each
budget passes at one-sided 5 %. Whatever is missing, contradictory or no number is an error and never passes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from pydantic import ValidationError

from weighbridge.core.documents import Budget, BudgetVerdict, Device, Measurement, RecipeVerdict, Verdict, worst
from weighbridge.core.documents.verdict import Named
from weighbridge.core.errors import MeasurementError
from weighbridge.gate.statistics.looks import FAMILY_ALPHA, LAUNCH_ALPHA, next_look
from weighbridge.gate.statistics.multiplicity import holm
from weighbridge.gate.verdict.assess import assess
from weighbridge.gate.verdict.assessment import Assessed, Open, Settled
from weighbridge.gate.verdict.budget_tests import Answer
from weighbridge.gate.verdict.reasons import estimated, too_few_pairs, unfit_to_judge
from weighbridge.gate.verdict.validity import measurement_problems

_FAMILIES = {"timed": LAUNCH_ALPHA, "examples": FAMILY_ALPHA}
"""What the required budgets of a family spend together on FAIL."""


def judge(
    measurement: Measurement,
    budgets: Sequence[Budget],
    *,
    advisory: bool = False,
    problems: Sequence[str] = (),
    unanswered: Sequence[Budget] = (),
) -> RecipeVerdict:
    """Judge every budget that applies to the measurement's device, and the whole by the worst required one.

    `advisory` marks a recipe that the verdict over all recipes does not depend on. `problems` are the caller's own
    reasons why the measurement cannot be used (its digests are not those of the artifact); any makes every budget an
    error. `unanswered` are budgets for devices that nothing was weighed on (see `unanswered_by`): errors, as nobody
    else judges them. Raises `MeasurementError` where the measurement is no valid document (NaN where numbers must be).
    """
    _revalidate(measurement)
    device = measurement.device.device_class
    applying = [budget for budget in budgets if budget.applies_to(measurement.device)]
    notes = [
        f"{name_of(budget)} is for devices of class {budget.device!r} and was not judged on {device!r}."
        for budget in budgets
        if budget not in applying and budget not in unanswered
    ]
    problems = [*problems, *measurement_problems(measurement)]
    if problems:
        judged = [_error(budget, f"Not judged: {'; '.join(problems)}.") for budget in applying]
    else:
        assessed = [assess(budget, measurement) for budget in applying]
        judged = _explain_skipped(_decide(applying, assessed), assessed)
        notes += [note for item in assessed for note in item.notes]
    judged += [_error(budget, _nobodys(budget)) for budget in unanswered]
    if not any(item.required for item in judged):
        notes.append("No required budget applies here, and missing evidence never passes.")
    return _verdict(measurement, judged, list(dict.fromkeys(notes)), advisory=advisory)


def _verdict(
    measurement: Measurement, judged: list[BudgetVerdict], notes: list[str], *, advisory: bool
) -> RecipeVerdict:
    return RecipeVerdict(
        verdict=worst([item.verdict for item in judged if item.required]),
        model=measurement.model,
        recipe=measurement.recipe,
        target=measurement.target,
        baseline=Named(digest=measurement.baseline.digest),
        candidate=Named(digest=measurement.candidate.digest),
        device=measurement.device.device_class,
        device_name=measurement.device.name,
        device_fingerprint=measurement.device.fingerprint,
        measurement=measurement.content_digest(),
        budgets=judged,
        advisory=advisory,
        notes=notes,
    )


def unanswered_by(budgets: Sequence[Budget], devices: Sequence[Device]) -> list[Budget]:
    """The required budgets that apply to none of the devices: a misspelt name, or a machine that is missing."""
    return [
        budget for budget in budgets if budget.required and not any(budget.applies_to(device) for device in devices)
    ]


def _nobodys(budget: Budget) -> str:
    return f"Not judged: no model was weighed on a device of the class or name {budget.device!r}; check the spelling."


def undecided(verdict: RecipeVerdict) -> list[BudgetVerdict]:
    """The budgets that more launch pairs could still decide; each says in `next_look` how many it takes."""
    return [item for item in verdict.budgets if item.next_look is not None]


def name_of(budget: Budget | BudgetVerdict) -> str:
    """A budget in words that tell it from others: `latency.p50 max_ratio against baseline`."""
    if isinstance(budget, Budget):
        rule, relative = budget.rule.name, budget.relative
    else:
        rule, relative = budget.rule, budget.against is not None
    return f"{budget.metric} {rule}" + (f" against {budget.against}" if relative else "")


def _revalidate(measurement: Measurement) -> None:
    """A copy made without validation must not bring in what a file could not."""
    try:
        Measurement.model_validate(measurement.model_dump())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MeasurementError(f"the measurement is not valid: {first['msg']}", where=where) from error


def _decide(budgets: Sequence[Budget], assessed: Sequence[Assessed]) -> list[BudgetVerdict]:
    """Correct each family together, then answer each budget at its own share of the error."""
    families: dict[tuple[str, bool], list[int]] = {}
    for index, item in enumerate(assessed):
        if isinstance(item.assessment, Open):
            families.setdefault((item.assessment.family, item.required), []).append(index)
    shares: dict[int, float] = {}
    for (family, _), members in families.items():
        p_values = [_open(assessed[index]).test.p_fail for index in members]
        for index, rejection in zip(members, holm(p_values, _FAMILIES[family]), strict=True):
            shares[index] = rejection.alpha
    return [
        _settle(budget, item) if isinstance(item.assessment, Settled) else _answer(budget, item, shares[index])
        for index, (budget, item) in enumerate(zip(budgets, assessed, strict=True))
    ]


def _open(item: Assessed) -> Open:
    assert isinstance(item.assessment, Open)
    return item.assessment


def _answer(budget: Budget, item: Assessed, fail_alpha: float) -> BudgetVerdict:
    assessment = _open(item)
    answer = assessment.test.answer(fail_alpha)
    if answer.pairs == 0 and assessment.effort is not None:
        return _record(budget, item, answer, too_few_pairs(assessment.pairs, assessment.effort))
    if assessment.unfit is not None:
        look = next_look(assessment.pairs) if assessment.unfit.passing else None
        answer = replace(answer, verdict=Verdict.INCONCLUSIVE, next_look=look, remarks=())
        return _record(budget, item, answer, unfit_to_judge(budget, answer, assessment.unfit.reason))
    if answer.verdict is Verdict.INCONCLUSIVE and assessment.outlook:
        answer = replace(answer, remarks=(*answer.remarks, assessment.outlook))
    return _record(budget, item, answer, estimated(budget, answer, assessment.basis(answer), assessment.effort))


def _record(budget: Budget, item: Assessed, answer: Answer, reason: str) -> BudgetVerdict:
    return BudgetVerdict(
        metric=budget.metric,
        against=budget.against if budget.relative else None,
        rule=budget.rule.name,
        limit=budget.limit,
        unit=budget.rule.unit(budget.quantity.unit),
        estimate=_finite(answer.estimate),
        lower=_finite(answer.lower),
        upper=_finite(answer.upper),
        verdict=answer.verdict,
        reason=" ".join([reason, *item.advice]),
        required=item.required,
        mode=item.mode,
        resolution=budget.resolution if isinstance(item.assessment, Open) else None,
        candidate=_finite(item.candidate),
        reference=_finite(item.reference),
        metric_unit=budget.quantity.unit,
        pairs=answer.pairs,
        next_look=answer.next_look,
    )


def _settle(budget: Budget, item: Assessed) -> BudgetVerdict:
    assert isinstance(item.assessment, Settled)
    return _record(budget, item, item.assessment.answer, item.assessment.reason)


def _error(budget: Budget, reason: str) -> BudgetVerdict:
    return _settle(budget, Assessed(Settled.error(reason), required=budget.required))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _explain_skipped(judged: Sequence[BudgetVerdict], assessed: Sequence[Assessed]) -> list[BudgetVerdict]:
    """What was not measured because a required budget had already failed is no error of its own."""
    failed = next((item for item in judged if item.required and item.verdict is Verdict.FAIL), None)
    if failed is None:
        return list(judged)
    reason = f"Not measured: weighing stopped early, because {name_of(failed)} had already failed."
    return [
        item.model_copy(update={"verdict": Verdict.INCONCLUSIVE, "reason": reason})
        if isinstance(source.assessment, Settled) and source.assessment.skipped
        else item
        for item, source in zip(judged, assessed, strict=True)
    ]
