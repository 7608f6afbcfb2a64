"""What a front that was found for one device is worth on the others that `devices:` names, and what is lost there.

A search times on one device, and the best recipe differs by processor: 8-bit integers that halve the latency with VNNI
may gain nothing without. So each confirmed file is timed and answered on every other device, beside the baseline there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from weighbridge.core.documents import Budget, DeviceSection, Params
from weighbridge.core.errors import WeighbridgeError
from weighbridge.core.pareto import hypervolume
from weighbridge.gate.devices import Place, open_place
from weighbridge.search.estimate.scores import loss, scores
from weighbridge.search.estimate.timing import Timing
from weighbridge.search.problem.limits import gaps
from weighbridge.search.trials.confirm import LAUNCHES, Confirmed
from weighbridge.search.trials.trial import ALPHA, Outcome, Workshop

Found = Sequence[tuple[Confirmed, Outcome]]


@dataclass(frozen=True)
class RecipeThere:
    """One confirmed recipe on another device, beside the baseline there."""

    number: int
    ratio: float
    """Of the latencies there."""
    ratio_lower: float
    ratio_upper: float
    ratio_here: float
    """Where it was searched."""
    drop: float
    upper: float
    """Bound of the drop there; corrected for the number of recipes, as are those of the ratio."""
    broken: tuple[str, ...]
    """Budgets that it may not keep there, in sentences."""


@dataclass(frozen=True)
class DeviceThere:
    """The front on one other device."""

    device: str
    recipes: tuple[RecipeThere, ...] = ()
    kept: float | None = None
    """Gain there as a share of the gain here: hypervolume of log bytes and log latency above the baseline."""
    reason: str = ""
    """Why nothing was weighed there; empty where it was."""

    def to_json(self) -> dict[str, Any]:
        """As `results.json` keeps it."""
        return asdict(self)


def on_other_devices(found: Found, workshop: Workshop, params: Params, searched_on: str) -> Iterator[DeviceThere]:
    """The confirmed recipes on each device of `params`, but the one that was searched on, that takes their target.

    One that cannot be reached, or refuses, is told with its reason, and ends nothing.
    """
    for name, section in params.devices.items() if found else ():
        if name == searched_on or (section.targets is not None and workshop.space.target not in section.targets):
            continue
        try:
            yield _there(found, workshop, params, name)
        except WeighbridgeError as error:
            yield DeviceThere(name, reason=str(error))


def opening(name: str, section: DeviceSection, root: Path) -> partial[Place]:
    """What reaches a device."""
    return partial(open_place, name, section, root)


def budgets_on(budgets: Sequence[Budget], name: str, section: DeviceSection, device_class: str) -> list[Budget]:
    """Budgets that are judged on a device, which they name by its name or its class, or not at all."""
    return [budget for budget in budgets if budget.device in {None, name, section.device_class, device_class}]


def _there(found: Found, workshop: Workshop, params: Params, name: str) -> DeviceThere:
    assert workshop.bench is not None  # the caller looks
    section, root = params.devices[name], workshop.searched.source.project.root
    reach = opening(name, section, root)
    files = {f"trial-{item.number}": workshop.file(outcome.last.digest) for item, outcome in found}
    bench = replace(workshop.bench, opened=reach)
    with reach() as place:
        asked = budgets_on(params.budgets, name, section, place.device.device_class)
    split, share = workshop.searched.confirm, ALPHA / len(found)
    answers = bench.answers(files, split)
    before = scores(answers.pop("baseline"), split)
    timings = bench.time(files, LAUNCHES)
    rows = []
    for item, _ in found:
        label = f"trial-{item.number}"
        cost, timing = loss(before, scores(answers[label], split), workshop.limit, share), timings[label]
        known = {"latency.p50": timing.upper(share)}
        slow = gaps([budget for budget in asked if budget.rule.name == "max_ratio"], known, {"latency.p50": 1.0})
        broken = [gap.sentence for gap in slow if not gap.kept]
        if cost.upper > workshop.limit:
            broken.append(f"a drop of up to {100 * cost.upper:.1f} points, at most {100 * workshop.limit:.1f}")
        assert item.ratio is not None  # timed: else nobody asks for other devices
        low, high = timing.lower(share), timing.upper(share)
        rows.append(RecipeThere(item.number, timing.ratio, low, high, item.ratio, cost.drop, cost.upper, tuple(broken)))
    return DeviceThere(name, tuple(rows), _kept(found, workshop, timings))


def _kept(found: Found, workshop: Workshop, timings: Mapping[str, Timing]) -> float | None:
    base = workshop.base_sizes.bytes

    def gain(ratios: Sequence[float]) -> float:
        sizes = [math.log(base / outcome.last.bytes) for _, outcome in found]
        return hypervolume([(size, -math.log(ratio)) for size, ratio in zip(sizes, ratios, strict=True)])

    here = gain([item.ratio for item, _ in found if item.ratio is not None])
    return gain([timings[f"trial-{item.number}"].ratio for item, _ in found]) / here if here else None


__all__ = ["DeviceThere", "RecipeThere", "budgets_on", "on_other_devices", "opening"]
