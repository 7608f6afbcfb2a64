"""At 100 % there is no traffic of stable beside the canary's: it is compared with stable's on all steps before.

What was counted while both served is the recorded reference. It is read from the same source as the canary's counts.
All of it is one sequence, so that its bounds hold whenever the last step began; one step alone ends as soon as it has
enough requests, and those may be too few for the last step to end at all.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from weighbridge.registry.canary.telemetry import Observed, Window
from weighbridge.registry.state.records import Canary
from weighbridge.registry.trust.online_budgets import OnlineBudget

WHOLE = 100.0
"""Per cent: all of the traffic."""
_BEFORE = timedelta(hours=1)
"""Of stable's traffic, where the plan has no step before."""


def needs_stable(budget: OnlineBudget) -> bool:
    """Whether stable must have served, or answered in the shadow, for a budget to be judged."""
    return budget.relative or budget.metric == "disagreement"


def reference_window(canary: Canary, window: Window) -> Window:
    """The steps before the canary's: when both served. An hour before its start, where it began with all traffic."""
    ends = datetime.fromisoformat(canary.step_since)
    begins = datetime.fromisoformat(canary.since) if canary.step > 0 else ends - _BEFORE
    return replace(window, since=begins, until=ends)


def with_reference(observed: Observed, earlier: Observed, window: Window) -> Observed:
    """The canary's counts now beside stable's on the steps before; shadowed requests too, where there are none now."""
    canary = observed.canary
    if canary.compared == 0:
        canary = replace(canary, compared=earlier.canary.compared, different=earlier.canary.different)
    stable = earlier.stable if observed.stable.requests == 0 else observed.stable
    source = f"{observed.source}; stable from {window.since.isoformat()} to {window.until.isoformat()}"
    return Observed(canary, stable, source, (*observed.problems, *earlier.problems))
