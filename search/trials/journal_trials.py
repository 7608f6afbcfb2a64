"""Trials as the journal keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from weighbridge.core.documents import Sizes
from weighbridge.search.estimate.timing import Timing
from weighbridge.search.problem.space import Point, Space
from weighbridge.search.trials.study import Journal
from weighbridge.search.trials.trial import Outcome, Rung


def facts_of(outcome: Outcome, space: Space) -> dict[str, Any]:
    """What the journal keeps of a trial, as JSON."""
    assert outcome.sizes is not None  # set by the first rung
    return {
        "values": space.values(outcome.point),
        "rungs": [asdict(rung) for rung in outcome.rungs],
        "sizes": outcome.sizes.model_dump(),
        "timing": asdict(outcome.timing) if outcome.timing else None,
        "ended": outcome.ended,
    }


def finished(journal: Journal, space: Space) -> list[tuple[int, Outcome]]:
    """Finished trials, by number, without those that only repeat another."""
    return [(item["number"], outcome_of(item, space)) for item in journal.facts() if not item["again"]]


def outcome_of(item: Mapping[str, Any], space: Space) -> Outcome:
    """An outcome as the journal keeps it."""
    point: Point = space.point(item["values"])
    timing = item["timing"]
    return Outcome(
        point,
        [Rung(**rung) for rung in item["rungs"]],
        Sizes(**item["sizes"]),
        Timing(**{key: tuple(value) for key, value in timing.items()}) if timing else None,
        item["ended"],
    )
