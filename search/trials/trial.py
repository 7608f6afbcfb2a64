"""One trial: a recipe made at growing cost, until its interval is dominated or its training is whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special

from weighbridge.compress.recipe.maker import Maker
from weighbridge.core.documents import Budget, Sizes
from weighbridge.core.errors import MeasurementError, WeighbridgeError
from weighbridge.core.files import atomic_write, sha256_bytes
from weighbridge.search.estimate.expected_drop import (
    Expected,
    Line,
    calibrated_cross_entropy,
    fitted_line,
    largest_fitted,
)
from weighbridge.search.estimate.scores import Array, loss, scores
from weighbridge.search.estimate.timing import Bench, Timing
from weighbridge.search.problem.limits import excess, facts, gaps
from weighbridge.search.problem.space import Point, Space
from weighbridge.search.problem.three_splits import Searched

RUNGS = (0, 3)
"""Epochs of fine-tuning before the last rung. One epoch trains only the last of a recipe's steps, and tells nothing."""
LEFT = 0.3
"""Share of what is expected to be lost at the first rung that trains which is lost at the end, at least. Of 18 recipes
of which four points or more were expected to be lost there, and that were trained on, 0.32 to 0.67; of one 0.19.
"""
LAUNCHES = 3
"""Of each file in a rung."""
FAR = 1000.0
"""Times a budget beyond which all is the same."""
DEFAULT_LIMIT = 0.01
"""What drops are measured by where none is allowed."""
ALPHA = 0.05
REACH = -float(special.ndtri(ALPHA))
"""Standard deviations from what is expected to its upper bound."""


class TimeUpError(WeighbridgeError):
    """Training was broken off: the search's time is up, and its trial stays open."""


@dataclass(frozen=True)
class Rung:
    """What a recipe came to after some epochs."""

    epochs: int
    digest: str
    bytes: int
    drop: float
    lower: float
    upper: float
    flips: float
    extra_cross_entropy: float | None = None
    """Of its calibrated answers over the baseline's, in nats; None where answers are no classes."""


@dataclass
class Outcome:
    """One trial as it grows."""

    point: Point
    rungs: list[Rung] = field(default_factory=list)
    sizes: Sizes | None = None
    timing: Timing | None = None
    ended: str = "whole"
    """`whole`; `dominated`; `hopeless` where it lost too much after some training; `budget` where prediction alone
    rules it out.
    """

    @property
    def last(self) -> Rung:
        """The rung that it reached."""
        return self.rungs[-1]

    @property
    def bytes_at_most(self) -> int:
        """An estimate, in bytes, of what the recipe comes to when trained anew on more examples.

        Training moves zeros, and a place of another layer costs more or fewer bits: the most of any rung, and as much
        again as rungs differ.
        """
        sizes = [rung.bytes for rung in self.rungs]
        return 2 * max(sizes) - min(sizes)


@dataclass
class Workshop:
    """Everything that trials share."""

    searched: Searched
    space: Space
    budgets: Sequence[Budget]
    limit: float
    """Largest drop that a recipe may have."""
    maker: Maker
    bench: Bench | None
    folder: Path
    base_sizes: Sizes
    base_scores: Array
    base_top1: float
    base_cross_entropy: float | None = None
    """Of the baseline on the part that stops trials, in nats; None where answers are no classes."""
    stopping: Callable[[], bool] = lambda: False
    left: Callable[[], float] = lambda: math.inf
    """Seconds in which training must have ended."""
    earlier: list[Outcome] = field(default_factory=list)
    """Trials that ended in earlier batches, for dominance."""
    make: Callable[[Point, int], tuple[Rung, Sizes]] = field(init=False)
    """What makes a rung: this process, or one beside it."""

    def __post_init__(self) -> None:
        self.make = self.made

    @property
    def trains(self) -> bool:
        """Whether trials train at all."""
        return self.maker.train and self.space.trains

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs of each rung."""
        most = self.space.section.epochs if self.maker.train else 0
        return (*(epochs for epochs in RUNGS if epochs < most), most)

    def start(self, point: Point) -> Outcome:
        """The first rung: the file without training, whose bytes are the prediction; budgets on it end a trial here."""
        outcome = Outcome(point)
        self._rung(outcome, 0)
        assert outcome.sizes is not None  # set by the rung
        if excess(gaps(self.budgets, facts(outcome.sizes), facts(self.base_sizes))) > 1:
            outcome.ended = "budget"
        return outcome

    def grow(self, outcome: Outcome) -> Outcome:
        """Further rungs, while nothing at the same rung is surely better in everything, and training can still help.

        A recipe that surely keeps the limit is whole at once: training makes nothing smaller or faster.
        """
        if outcome.ended != "whole" or not self.space.trainable(outcome.point):
            return outcome
        for epochs in self.rungs[1:]:
            expected = self.expected(outcome)
            if expected.drop + REACH * expected.spread <= self.limit:
                return outcome
            if outcome.last.epochs and LEFT * (expected.drop - REACH * expected.spread) > self.limit:
                outcome.ended = "hopeless"
                return outcome
            if self.dominated(outcome):
                outcome.ended = "dominated"
                return outcome
            if self.stopping():
                raise KeyboardInterrupt
            self._rung(outcome, epochs)
        return outcome

    def dominated(self, outcome: Outcome) -> bool:
        """Whether a trial at the same rung is no larger and no slower, and its interval lies wholly below."""
        mine = outcome.last
        for other in self.earlier:
            theirs = next((rung for rung in other.rungs if rung.epochs == mine.epochs), None)
            if theirs is None or other.point == outcome.point or theirs.bytes > mine.bytes:
                continue
            if theirs.upper < mine.lower and _no_slower(other.timing, outcome.timing):
                return True
        return False

    def time(self, tried: Sequence[Outcome], incumbents: Mapping[str, Path]) -> None:
        """Time the outcomes' first files in one interleaved job with the baseline and the incumbents."""
        if self.bench is None or not tried:
            return
        files = {f"trial-{index}": self.file(outcome.last.digest) for index, outcome in enumerate(tried)}
        known = self.bench.time({**files, **incumbents}, LAUNCHES)
        for index, outcome in enumerate(tried):
            outcome.timing = known[f"trial-{index}"]

    def device_answers(self) -> bool:
        """Whether the baseline itself can still be timed."""
        assert self.bench is not None  # something was timed before
        try:
            self.bench.time({"control": self.baseline}, 1)
        except MeasurementError:
            return False
        return True

    def file(self, digest: str) -> Path:
        """Where a file of that digest lies."""
        suffix = Path(self.searched.source.target.file).suffix
        return self.folder / "files" / f"{digest.removeprefix('sha256:')[:24]}{suffix}"

    @property
    def baseline(self) -> Path:
        """The uncompressed file."""
        return self.folder / "files" / f"baseline{Path(self.searched.source.target.file).suffix}"

    def _rung(self, outcome: Outcome, epochs: int) -> None:
        rung, outcome.sizes = self.make(outcome.point, epochs)
        outcome.rungs.append(rung)

    def made(self, point: Point, epochs: int) -> tuple[Rung, Sizes]:
        """Make and answer a point's file after so many epochs; the file is kept. Follows from these two alone."""
        made = self.maker.make(self.space.read(point, epochs))
        digest = sha256_bytes(made.data)
        atomic_write(self.file(digest), made.data)
        stop, baseline = self.searched.stop, self.base_cross_entropy
        answers = self.searched.source.target.run(made.data, stop.inputs)
        now, compressed = scores(answers, stop), calibrated_cross_entropy(answers, stop)
        found = loss(self.base_scores[: len(now)], now, self.limit, ALPHA)
        extra = None if compressed is None or baseline is None else compressed - baseline
        lost = (found.drop, found.lower, found.upper, found.flips, extra)
        return Rung(epochs, digest, made.sizes.bytes, *lost), made.sizes

    def expected(self, outcome: Outcome) -> Expected:
        """What an outcome is expected to lose on other examples: by its cross-entropy where that tells, as files of
        earlier batches show, else as it lost on the part that stops trials.
        """
        last, extra = outcome.last, outcome.last.extra_cross_entropy
        near = abs(last.drop) <= largest_fitted(self.limit)
        if near and extra is not None and (fitted := self.line()) is not None:
            return fitted.at(extra)
        return Expected(last.drop, (last.upper - last.drop) / REACH)

    def line(self) -> Line | None:
        """What a nat of extra cross-entropy costs, by the files of earlier batches."""
        rungs = [rung for outcome in self.earlier for rung in outcome.rungs]
        return fitted_line(
            ((rung.extra_cross_entropy, rung.drop) for rung in rungs if rung.extra_cross_entropy is not None),
            self.limit,
        )

    def loss_of(self, data: bytes, split: Any, before: Array, alpha: float = ALPHA) -> Any:
        """What a file loses beside the baseline on a split."""
        now = scores(self.searched.source.target.run(data, split.inputs), split)
        return loss(before[: len(now)], now, self.limit, alpha)

    def known(self, outcome: Outcome) -> dict[str, float]:
        """Metric → value of an outcome, as budgets ask."""
        assert outcome.sizes is not None  # set by the first rung
        found = facts(outcome.sizes)
        drop = self.expected(outcome).drop
        found |= {"accuracy.top1": self.base_top1 - drop, "accuracy.flips": outcome.last.flips}
        if outcome.timing is not None:
            base = float(np.median(outcome.timing.baseline_seconds))
            found["latency.p50"] = base * outcome.timing.ratio
            found["memory.peak"] = float(np.median(outcome.timing.memory))
        return found

    def reference(self, outcome: Outcome) -> dict[str, float]:
        """The baseline's values of the same metrics."""
        found = {**facts(self.base_sizes), "accuracy.top1": self.base_top1}
        if outcome.timing is not None:
            found["latency.p50"] = float(np.median(outcome.timing.baseline_seconds))
            found["memory.peak"] = float(np.median(outcome.timing.baseline_memory))
        return found

    def constraint(self, outcome: Outcome, caution: float = 0.0) -> float:
        """How far an outcome is from the budgets, within -1 and 1: at most 0 where it keeps all that are known, and the
        less the more surely; the expected drop taken so far on the way to its upper bound.

        Near the limit it is fine, and far from it coarse: a sampler's model of it is scaled by the worst that it has
        seen, and beside 70 points that an untrained file lost, three points and none would be the same.
        """
        worst = excess(gaps(self.budgets, self.known(outcome), self.reference(outcome)))
        over = math.log(min(worst, FAR)) if worst > 0 else -math.inf
        expected = self.expected(outcome)
        drop = expected.drop + caution * REACH * expected.spread
        far = max((drop - self.limit) / (3 * max(self.limit, DEFAULT_LIMIT)), over)
        return far / (1 + abs(far))


def _no_slower(other: Timing | None, mine: Timing | None) -> bool:
    """Whether another's time is surely no more; where nothing was timed, bytes and answers decide."""
    if other is None or mine is None:
        return other is None and mine is None
    return max(other.log_ratios) <= min(mine.log_ratios)


__all__ = ["LAUNCHES", "Outcome", "Rung", "TimeUpError", "Workshop"]
