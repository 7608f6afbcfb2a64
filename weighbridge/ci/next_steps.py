"""What somebody can do about a verdict that is no pass: a ready waiver, the recipe that passed, the time it needs."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Sequence

from weighbridge.core.documents import BudgetVerdict, GateVerdict, PolicyChange, RecipeVerdict, Verdict
from weighbridge.core.facts.budget_rules import find_rule
from weighbridge.core.facts.metrics import find_metric
from weighbridge.core.files import dump_yaml
from weighbridge.gate.report.blocks import Code, Inline, Span
from weighbridge.gate.report.phrases import joined
from weighbridge.gate.verdict.judge import name_of
from weighbridge.registry.lifecycle.selection import passing

_RUNS = dt.timedelta(days=30)
_DIGITS = 4
_SHOWN = 2


def next_steps(verdict: GateVerdict, today: dt.date) -> tuple[list[Inline], list[str]]:
    """What to do about a verdict that is no pass, as sentences, and ready waivers; neither where nothing is to do."""
    failed = list(_failed(verdict))
    blocking = [change for change in verdict.policy_changes if change.blocks]
    if not failed and not blocking:
        return [], []
    said: list[Inline] = []
    others: list[Span] = [Code(name) for name in _nearest(verdict, failed)]
    if failed and others:
        said.append(["take ", *joined(others[:_SHOWN]), " instead, which passed as it is"])
    said += [_more_time(name, item) for name, _, item in failed if item.verdict is Verdict.INCONCLUSIVE]
    stanzas = [budget_waiver(name, recipe, item, today) for name, recipe, item in failed]
    stanzas += [policy_waiver(change, today) for change in blocking]
    ready = [stanza for stanza in stanzas if stanza]
    if ready:
        said.append(
            ["accept it by the waiver below" if len(ready) == 1 else f"accept it by the {len(ready)} waivers below"]
        )
    if not said:
        said.append(["read why it could not be measured, below"])
    return _sentence(said), ready


def _sentence(said: list[Inline]) -> list[Inline]:
    """Parts of one sentence, joined."""
    return [[*part, "." if place == len(said) - 1 else "; or "] for place, part in enumerate(said)]


def _nearest(verdict: GateVerdict, failed: Sequence[tuple[str, RecipeVerdict, BudgetVerdict]]) -> list[str]:
    """The recipes that passed, those that come closest to the first that failed in what it is about first: its size."""
    names = passing(verdict)
    sizes = {name: _size(verdict, name) for name in names}
    wanted = _size(verdict, failed[0][1].recipe or failed[0][0]) if failed else None
    return sorted(names, key=lambda name: abs(sizes[name] - wanted) if sizes[name] and wanted else math.inf)


def _size(verdict: GateVerdict, recipe: str) -> float:
    """Bytes of a recipe's first artifact, as a budget has them; 0 where none does."""
    for name, found in verdict.recipes.items():
        if (found.recipe or name) == recipe:
            return next(
                (item.candidate for item in found.budgets if item.metric == "size.bytes" and item.candidate), 0.0
            )
    return 0.0


def _more_time(name: str, item: BudgetVerdict) -> Inline:
    """What deciding it would take."""
    if item.next_look is None:
        return [f"{name_of(item)} of ", Code(name), " needs more examples, not more time"]
    return [
        f"{name_of(item)} of ", Code(name),
        f" is looked at again at {item.next_look} launch pairs, after {item.pairs or 0}: give it ",
        Code("weighing: {time_limit: auto}"),
    ]  # fmt: skip


def _failed(verdict: GateVerdict) -> Iterator[tuple[str, RecipeVerdict, BudgetVerdict]]:
    for name, recipe in verdict.recipes.items():
        for item in recipe.budgets:
            if item.required and not recipe.advisory and item.standing is not Verdict.PASS:
                yield name, recipe, item


def budget_waiver(name: str, recipe: RecipeVerdict, item: BudgetVerdict, today: dt.date) -> str:
    """A waiver that accepts one failed budget as it was measured; empty where none can: an error, or no bound."""
    bound = item.upper if find_rule(item.rule).upper else item.lower
    if item.verdict is Verdict.ERROR or item.estimate is None or bound is None or not math.isfinite(bound):
        return ""
    content: dict[str, object] = {
        "budget": name_of(item),
        "recipe": name,
        "digest": recipe.candidate.digest,
        "to": _limit(item, bound),
    }
    if recipe.device_name != "local":
        content["device"] = recipe.device_name
    return dump_yaml({**content, **_signed(today)})


def policy_waiver(change: PolicyChange, today: dt.date) -> str:
    """A waiver that accepts one change of policy."""
    return dump_yaml({"budget": change.budget, "policy": True, "to": change.accepts, **_signed(today)})


def _signed(today: dt.date) -> dict[str, object]:
    return {"who": "Name <name@example.org>", "why": "…", "expires": today + _RUNS}


def _limit(item: BudgetVerdict, bound: float) -> float | str:
    """The bound of the interval, rounded to the side that accepts it, as a person writes the limit."""
    rule = find_rule(item.rule)
    unit = rule.written_unit(find_metric(item.metric).unit)
    if unit == "bytes":
        return f"{math.ceil(bound) if rule.upper else math.floor(bound)}B"
    if unit == "seconds":
        return f"{_rounded(bound * 1e3, up=rule.upper):g}ms"
    return _rounded(bound, up=rule.upper)


def _rounded(value: float, *, up: bool) -> float:
    if value == 0:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(abs(value))) - _DIGITS + 1)
    rounded = (math.ceil if up else math.floor)(value / step) * step
    return float(f"{rounded:.{_DIGITS + 2}g}")
