"""What of the front holds on examples that the search did not see, with the number of looks corrected for.

The parts that stopped trials also chose them: the best of many is partly luck. Each recipe of the front is answered
once more on the part that confirms, and counts only where the whole family of them passes Holm's procedure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from weighbridge.core.errors import MeasurementError
from weighbridge.gate.statistics.multiplicity import holm
from weighbridge.search.estimate.scores import Array
from weighbridge.search.problem.limits import gaps
from weighbridge.search.trials.trial import ALPHA, Outcome, Workshop

LAUNCHES = 9
"""Of each confirmed file: enough for exact bounds of a family of a dozen."""


@dataclass(frozen=True)
class Confirmed:
    """One recipe of the front on the part that confirms."""

    number: int
    digest: str
    drop: float
    lower: float
    upper: float
    ratio: float | None
    """Latency beside the baseline's; None where it was not timed."""
    ratio_lower: float | None
    ratio_upper: float | None
    holds: bool
    reason: str
    """Why it does not hold; empty where it does."""
    expected: float | None = None
    """The drop that was expected before; None where a journal of an earlier version does not say."""

    def to_json(self) -> dict[str, Any]:
        """As the journal keeps it."""
        return asdict(self)


def confirm(
    chosen: Sequence[tuple[int, Outcome]], workshop: Workshop, before: Array, *, timed: bool = True
) -> list[Confirmed]:
    """Answer and time every contender once more; `before` are the baseline's scores on the part that confirms."""
    if not chosen:
        return []
    split = workshop.searched.confirm
    files = {f"trial-{number}": workshop.file(outcome.last.digest) for number, outcome in chosen}
    share = ALPHA / len(chosen)
    losses = [workshop.loss_of(path.read_bytes(), split, before, share) for path in files.values()]
    kept = holm([item.p_drop for item in losses], ALPHA)
    timings: dict[str, Any] = {}
    late = ""
    if workshop.bench is not None and timed:
        try:
            timings = workshop.bench.time(files, LAUNCHES)
        except MeasurementError as error:
            late = f"could not be timed: {error}"
    found = []
    for (number, outcome), loss, rejection in zip(chosen, losses, kept, strict=True):
        timing = timings.get(f"trial-{number}")
        reasons = [late] if late else []
        if not rejection.rejected:
            reasons.append(f"the drop may reach {100 * loss.upper:.1f} points, at most {100 * workshop.limit:.1f}")
        if timing is not None:
            known = {"latency.p50": timing.upper(share)}
            relative = [budget for budget in workshop.budgets if budget.rule.name == "max_ratio"]
            slow = [gap for gap in gaps(relative, known, {"latency.p50": 1.0}) if not gap.kept]
            reasons += [f"it may have {gap.sentence}" for gap in slow]
        found.append(
            Confirmed(
                number,
                outcome.last.digest,
                loss.drop,
                loss.lower,
                loss.upper,
                timing.ratio if timing else None,
                timing.lower(share) if timing else None,
                timing.upper(share) if timing else None,
                not reasons,
                "; ".join(reasons),
                workshop.expected(outcome).drop,
            )
        )
    return found


__all__ = ["Confirmed", "confirm"]
