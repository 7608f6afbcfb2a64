"""Which of the judged candidates a promotion takes."""

from __future__ import annotations

from pathlib import Path

from weighbridge.core.documents import GateVerdict, Measurement, Params, RecipeVerdict, Verdict, parse, worst
from weighbridge.core.documents.base import load
from weighbridge.core.errors import InputError, StateError
from weighbridge.core.files import parse_json, read_bytes, sha256_bytes
from weighbridge.core.project import PARAMS
from weighbridge.registry.lifecycle.estimates import estimates

VERDICT = "reports/verdict.json"
RERUN = "run `dvc repro` and commit what it changed"


def read_verdict(root: Path) -> tuple[GateVerdict, str]:
    """The gate's verdict over all recipes, and the digest of its file."""
    data = read_bytes(root / VERDICT)
    content = parse_json(data.decode("utf-8", errors="replace"), VERDICT)
    return parse(GateVerdict, content, VERDICT), sha256_bytes(data)


def passing(gate: GateVerdict) -> list[str]:
    """Names of the recipes that passed, on every target and device that they were judged on."""
    verdicts: dict[str, list[Verdict]] = {}
    for name, verdict in gate.recipes.items():
        verdicts.setdefault(verdict.recipe or name, []).append(_judged(verdict))
    return [recipe for recipe, found in verdicts.items() if worst(found) is Verdict.PASS]


def first_verdict(gate: GateVerdict, recipe: str) -> RecipeVerdict:
    """The verdict on the artifact that a recipe's version would lead with."""
    return next(verdict for name, verdict in gate.recipes.items() if recipe == (verdict.recipe or name))


def select(root: Path, by: str) -> str:
    """The best recipe that passed; see `ranked`."""
    return ranked(root, by)[0]


def ranked(root: Path, by: str) -> list[str]:
    """The recipes that passed, by `smallest`, `fastest` or `most-accurate`, best first; ties go to the smaller file.

    Fastest and most accurate are by the measured estimates of latency.p50 and accuracy.top1, each of the artifact for
    the recipe's first target on the first device. A `StateError` where nothing passed, and an `InputError` where a
    passing recipe lacks that estimate.
    """
    gate, _ = read_verdict(root)
    params = Params.read(root / PARAMS)
    names = passing(gate)
    if not names:
        raise StateError("no recipe passed", where=VERDICT)
    metric = {"smallest": "size.bytes", "fastest": "latency.p50", "most-accurate": "accuracy.top1"}.get(by)
    if metric is None:
        raise InputError(f"cannot select by {by!r}", fix="smallest, fastest or most-accurate")
    found: list[tuple[float, int, str]] = []
    for name in names:
        if not (candidates := params.candidates(name)):
            raise StateError(f"has a verdict on {name}, which is not in params.yaml", where=VERDICT, fix=RERUN)
        where = candidates[0].measurement
        measurement = load(Measurement, root / where)
        estimate = estimates(measurement).get(metric)
        if estimate is None and metric != "size.bytes":
            raise InputError(f"{metric} of {name} was not measured", where=where)
        value = float(measurement.candidate.bytes) if estimate is None else estimate.value
        found.append((-value if by == "most-accurate" else value, measurement.candidate.bytes, name))
    return [name for *_, name in sorted(found)]


def _judged(verdict: RecipeVerdict) -> Verdict:
    """The verdict as written, or as its budgets say, whichever is worse."""
    return worst([verdict.verdict, worst(budget.standing for budget in verdict.budgets if budget.required)])


def require_pass(gate: GateVerdict, recipe: str, params: Params) -> None:
    """Refuse a recipe that did not pass on every target and device, or a policy change that no waiver accepts."""
    for change in gate.policy_changes:
        if change.blocks:
            raise NotPassedError(
                f"{change.budget} was {change.kind} and no waiver accepts it ({change.base} → {change.head})",
                where=VERDICT,
            )
    for candidate in params.candidates(recipe):
        _passed_candidate(gate, candidate.name)


def _passed_candidate(gate: GateVerdict, name: str) -> None:
    verdict = gate.recipes.get(name)
    if verdict is None:
        raise StateError(f"has no verdict on {name!r}", where=VERDICT, fix=RERUN)
    found = _judged(verdict)
    if found is not Verdict.PASS:
        reasons = [
            f"{budget.metric} {budget.verdict}: {budget.reason}"
            for budget in verdict.budgets
            if budget.required and budget.standing is not Verdict.PASS
        ]
        raise NotPassedError(
            f"the verdict on {name!r} is {found}, not pass" + (f" ({'; '.join(reasons[:3])})" if reasons else ""),
            where=VERDICT,
        )


class NotPassedError(StateError):
    """The gate did not let this artifact through."""
