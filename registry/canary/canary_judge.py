"""Judge a canary: advance, hold or abort, from what was seen online since its step began.

It looks often, so every interval is a confidence sequence (`registry.canary.sequential`): looking every minute does not
raise the chance of a wrong abort. Missing or too little data holds; it never advances.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from weighbridge.core.documents.base import parse
from weighbridge.core.errors import ExitCode, InputError, StateError
from weighbridge.registry.canary.limit_findings import ADVANCE_ALPHA, Finding, finding_of
from weighbridge.registry.canary.prometheus import read_prometheus
from weighbridge.registry.canary.recorded_reference import WHOLE, needs_stable, reference_window, with_reference
from weighbridge.registry.canary.telemetry import Observed, Window, read_log
from weighbridge.registry.lifecycle.operate import Expected, Operator, SameHoldError
from weighbridge.registry.state.layout import WorkTree, channels_path, model_names, require_channels
from weighbridge.registry.state.records import Canary, Channels
from weighbridge.registry.state.tip import Committed, Settings
from weighbridge.registry.trust.online_budgets import OnlineBudget

ABORT_ALPHA = 0.01
"""Chance of ever aborting a canary that keeps all its budgets, over all budgets, steps and looks."""
_NUMBER = re.compile(r"\d+(\.\d+)?")


class Action(StrEnum):
    """What to do with the canary."""

    ADVANCE = "advance"
    HOLD = "hold"
    ABORT = "abort"

    @property
    def exit_code(self) -> ExitCode:
        """0 advance, 1 abort, 3 hold."""
        return {Action.ADVANCE: ExitCode.PASS, Action.ABORT: ExitCode.FAIL}.get(self, ExitCode.UNJUDGED)


@dataclass(frozen=True)
class Decision:
    """What was decided, and on what it rests."""

    action: Action
    reason: str
    version: str
    weight: float
    findings: tuple[Finding, ...]
    samples: int
    seconds: float
    source: str
    cause: str = ""
    """The reason without its numbers: a hold is an event only where this has changed."""
    committed: Committed | None = None
    """The event that carries the decision; None in a dry run, and for a hold whose cause stands already."""

    @property
    def exit_code(self) -> ExitCode:
        """0 advance, 1 abort, 3 hold."""
        return self.action.exit_code

    def evidence(self) -> dict[str, Any]:
        """What an event keeps of the decision."""
        return {
            "cause": self.cause,
            "source": self.source,
            "samples": self.samples,
            "seconds": self.seconds,
            "abort_alpha": ABORT_ALPHA,
            "advance_alpha": ADVANCE_ALPHA,
            "budgets": [{key: value for key, value in vars(f).items() if value is not None} for f in self.findings],
        }

    def to_json(self) -> dict[str, Any]:
        """The decision as JSON values."""
        return {
            "action": self.action.value,
            "reason": self.reason,
            "version": self.version,
            "weight": self.weight,
            "evidence": self.evidence(),
            "event": self.committed.event.number if self.committed else None,
            "commit": self.committed.commit if self.committed else None,
        }

    def text(self) -> str:
        """The decision for people."""
        lines = [f"{self.action.value}: {self.version} at {self.weight:g}%: {self.reason}"]
        for finding in self.findings:
            bounds = (
                ""
                if finding.estimate is None
                else f" {finding.estimate:.4g} [{finding.lower:.4g}, {finding.upper:.4g}]"
            )
            limit = f"{finding.name} {finding.rule} {finding.limit:g}"
            lines.append(f"  {limit}: {finding.state}{bounds} ({finding.samples} samples)")
        return "\n".join(lines) + "\n"


def judge(root: Path, model: str, metrics: str, *, settings: Settings | None = None, dry_run: bool = False) -> Decision:
    """Read what was seen, decide, and write the decision as an event (unless `dry_run`).

    `metrics` is `FILE.jsonl` or `prometheus=URL`. The event is refused if the canary has moved meanwhile.
    """
    chosen = settings or Settings()
    channels = parse(Channels, require_channels(WorkTree(root), model), channels_path(model))
    canary = channels.canary
    if canary is None or channels.stable is None:
        raise StateError(f"no version of {model} is on canary")
    budgets = [parse(OnlineBudget, budget, f"{channels_path(model)}: canary") for budget in canary.plan.budgets]
    now = chosen.clock()
    window = _window(model, canary, channels.stable.version, now, budgets)
    window = replace(window, only_model=model_names(root) == [model])
    observed = _read(metrics.replace("{model}", model), window)
    if canary.weight >= WHOLE and any(needs_stable(budget) for budget in budgets):
        earlier = reference_window(canary, window)
        observed = with_reference(observed, _read(metrics.replace("{model}", model), earlier), earlier)
    held = f"stable is held by its watch: {channels.held.reason}" if channels.held else None
    decision = decide(canary, budgets, observed, now, held)
    if dry_run:
        return decision
    return _record(Operator(root, model, chosen), decision, Expected(canary.version, canary.step))


def decide(
    canary: Canary, budgets: list[OnlineBudget], observed: Observed, now: datetime, held: str | None = None
) -> Decision:
    """The decision, as a pure function of the canary's plan and what was seen.

    While `held` (an alarm of what is stable stands) nothing advances: that the canary is no worse says little then.
    """
    looks = len(budgets) * len(canary.plan.steps)
    findings = tuple(finding_of(budget, observed, ABORT_ALPHA / max(looks, 1)) for budget in budgets)
    seconds = (now - datetime.fromisoformat(canary.step_since)).total_seconds()
    problems = (*observed.problems, *_too_many_classes(budgets, observed))
    action, reason, cause = _action(canary, findings, problems, observed.canary.requests, seconds)
    if held is not None and action is Action.ADVANCE:
        action, reason, cause = Action.HOLD, held, "an alarm of stable"
    return Decision(
        action=action,
        reason=reason,
        version=canary.version,
        weight=canary.weight,
        findings=findings,
        samples=observed.canary.requests,
        seconds=seconds,
        source=observed.source,
        cause=cause,
    )


def _too_many_classes(budgets: list[OnlineBudget], observed: Observed) -> list[str]:
    """The number of classes was fixed before any data; data that does not fit cannot be judged by it."""
    seen = len({*observed.canary.predictions, *observed.stable.predictions})
    return [
        f"{seen} different predictions, the drift budget says {budget.classes} classes"
        for budget in budgets
        if budget.classes is not None and seen > budget.classes
    ]


def _action(
    canary: Canary, findings: tuple[Finding, ...], problems: tuple[str, ...], requests: int, seconds: float
) -> tuple[Action, str, str]:
    """What to do, why, and why without the numbers."""
    by_state = {state: [f.name for f in findings if f.state == state] for state in ("beyond", "missing", "open")}
    if by_state["beyond"] and not problems:
        reason = f"beyond the limit: {', '.join(by_state['beyond'])}"
        return Action.ABORT, reason, reason
    unusable = f"the data cannot be used: {'; '.join(problems)}"
    missing, still_open = f"no data: {', '.join(by_state['missing'])}", f"not shown yet: {', '.join(by_state['open'])}"
    by_hand = "the canary has no online budgets: advance it by hand"
    holds = (
        (problems, unusable, _NUMBER.sub("N", unusable)),
        (not findings, by_hand, by_hand),
        (by_state["missing"], missing, missing),
        (requests < canary.plan.min_samples, f"{requests} of {canary.plan.min_samples} requests seen", "requests"),
        (seconds < canary.plan.min_seconds, f"{seconds:.0f} of {canary.plan.min_seconds:.0f} s on this step", "time"),
        (by_state["open"], still_open, still_open),
    )
    kept = "every budget is kept"
    return next(((Action.HOLD, why, cause) for applies, why, cause in holds if applies), (Action.ADVANCE, kept, kept))


def _window(model: str, canary: Canary, stable: str, now: datetime, budgets: list[OnlineBudget]) -> Window:
    thresholds = tuple(sorted({budget.threshold for budget in budgets if budget.threshold is not None}))
    since = datetime.fromisoformat(canary.step_since)
    metrics = frozenset(budget.metric for budget in budgets)
    return Window(model, canary.version, stable, since, now, thresholds, metrics)


def _read(metrics: str, window: Window) -> Observed:
    kind, equals, address = metrics.partition("=")
    if equals and kind == "prometheus":
        return read_prometheus(address, window)
    if metrics.endswith(".jsonl"):
        return read_log(Path(metrics), window)
    raise InputError(f"{metrics!r} is neither FILE.jsonl nor prometheus=URL", where="--metrics")


def _record(operator: Operator, decision: Decision, expect: Expected) -> Decision:
    steps = {
        Action.ADVANCE: operator.advance_canary,
        Action.HOLD: operator.hold_canary,
        Action.ABORT: operator.abort_canary,
    }
    try:
        committed = steps[decision.action](reason=decision.reason, evidence=decision.evidence(), expect=expect)
    except SameHoldError:
        return decision
    return Decision(**{**vars(decision), "committed": committed})
