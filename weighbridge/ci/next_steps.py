"""What somebody can do about a verdict that is no pass: a ready waiver, the recipe that passed, the time it needs."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator

from weighbridge.core.documents import BudgetVerdict, GateVerdict, PolicyChange, RecipeVerdict, Verdict
from weighbridge.core.documents.report import ProjectReport, ReportSection
from weighbridge.core.facts.budget_rules import find_rule
from weighbridge.core.facts.metrics import find_metric
from weighbridge.core.files import dump_yaml
from weighbridge.gate.verdict.judge import name_of
from weighbridge.registry.lifecycle.selection import passing

KEY = "next"
_RUNS = dt.timedelta(days=30)
_DIGITS = 4


def with_next_steps(report: ProjectReport, verdict: GateVerdict, today: dt.date) -> ProjectReport:
    """The report with a section on what to do next, after the first; unchanged where everything passed."""
    text = "\n\n".join(_steps(verdict, today))
    if not text:
        return report
    section = ReportSection(key=KEY, title="What to do next", text=f"## What to do next\n\n{text}")
    return report.model_copy(update={"sections": [*report.sections[:1], section, *report.sections[1:]]})


def _steps(verdict: GateVerdict, today: dt.date) -> Iterator[str]:
    failed = list(_failed(verdict))
    if not failed and not any(change.blocks for change in verdict.policy_changes):
        return
    others = [f"`{name}`" for name in passing(verdict)]
    if failed and others:
        yield f"- Take a recipe that passed as it is: {', '.join(others)}."
    for name, _, item in failed:
        if item.verdict is Verdict.INCONCLUSIVE and item.next_look:
            yield (
                f"- `{name}`: {name_of(item)} would be looked at again at {item.next_look} launch pairs, after "
                f"{item.pairs or 0}: give it more time (`weighing: {{time_limit: …}}` in `params.yaml`)."
            )
    stanzas = [budget_waiver(name, recipe, item, today) for name, recipe, item in failed]
    stanzas += [policy_waiver(change, today) for change in verdict.policy_changes if change.blocks]
    for stanza in (stanza for stanza in stanzas if stanza):
        yield f"- Or answer for it: a file in `waivers/`, with your name and reason.\n\n```yaml\n{stanza}```"


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
