"""Trials in batches, until time, number or space is used up."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from optuna.trial import Trial, TrialState

from weighbridge.core.errors import MeasurementError, StateError, WeighbridgeError
from weighbridge.core.progress import Progress
from weighbridge.search.estimate.choice_times import timer_of
from weighbridge.search.estimate.sensitivity import Effect, effects
from weighbridge.search.estimate.starts import starting_points
from weighbridge.search.problem.search_request import SearchRequest
from weighbridge.search.problem.space import Value
from weighbridge.search.trials import choosing, confirm
from weighbridge.search.trials.choosing import contenders
from weighbridge.search.trials.journal_trials import facts_of, finished
from weighbridge.search.trials.objectives import OBJECTIVES, values
from weighbridge.search.trials.side_by_side import Each, in_turn, side_by_side
from weighbridge.search.trials.study import Journal
from weighbridge.search.trials.trial import LAUNCHES, Outcome, TimeUpError, Workshop

BATCH = 4
"""Trials that are timed in one job."""
IDLE = 40
"""Proposals in a row that are known already, after which the space counts as searched."""
RESERVE = 0.1
"""Share of the time that is kept for confirming, at least."""
LOOKING = 0.25
"""Share of the time that making the files of single choices takes at most."""
CAUTION = 0.25
"""Of the way from a drop to its upper bound: the sampler is told that what keeps the limit by luck does not."""


@dataclass
class TrialLoop:
    """Trials in batches, until time, number or space is used up."""

    request: SearchRequest
    workshop: Workshop
    journal: Journal
    progress: Progress
    elapsed: Callable[[], float]
    trial_seconds: float = 0.0
    """What the longest trial took to train."""
    launch_seconds: float = 0.0
    """What it took to launch one file once."""
    each: Each = in_turn
    """Does pieces of work, one after the other or side by side."""

    def run(self) -> None:
        """Ask, make, time, train, tell."""
        self._starts()
        self.workshop.left = self._left
        with side_by_side(self.workshop, self.request.workers) as self.each:
            self._batches()

    def _batches(self) -> None:
        self.workshop.earlier = [outcome for _, outcome in finished(self.journal, self.workshop.space)]
        left = list(self.journal.unfinished())
        idle = 0
        while not self._done():
            size = max(BATCH, self.request.workers)
            size = size if self.request.trials is None else min(size, self.request.trials - self._count())
            batch, left = (left[:size], left[size:]) if left else ([self.journal.ask() for _ in range(size)], [])
            fresh = [trial for trial in batch if not self._repeated(trial)]
            idle = 0 if fresh else idle + len(batch)
            self._batch(fresh)
            if idle >= IDLE:
                return

    def _count(self) -> int:
        return len(self.journal.trials(TrialState.COMPLETE, TrialState.FAIL))

    def _done(self) -> bool:
        used = self.elapsed()
        done, total = self._count(), self.request.trials
        best = min((outcome.last.bytes for outcome in self.workshop.earlier if outcome.ended == "whole"), default=None)
        self.progress("search", int(used), int(self.request.seconds), f"{done} trials, smallest {best} B")
        if self.workshop.stopping():
            raise KeyboardInterrupt
        return self._late() or (total is not None and done >= total)

    def _late(self) -> bool:
        """Whether one more trial and confirming would take longer than there is time.

        One trial runs in any case: else a busy machine could spend all its time on getting ready, again and again.
        """
        return self._left() < self.trial_seconds

    def _left(self) -> float:
        """Seconds until confirming must begin; no end to them where nothing ran yet."""
        any_ran = bool(self.workshop.earlier) or self.trial_seconds > 0
        return self.request.seconds - self._confirming() - self.elapsed() if any_ran else math.inf

    def _confirming(self) -> float:
        """Seconds that confirming will take, as far as the last batch tells."""
        kept = sum(self.workshop.constraint(outcome) <= 0 for outcome in self.workshop.earlier)
        launching = self.launch_seconds * confirm.LAUNCHES * (1 + min(kept + 1, choosing.MOST))
        return max(RESERVE * self.request.seconds, launching)

    def _starts(self) -> None:
        """Queue the starting points, once; what single choices do is kept in the journal."""
        if not self.request.guided or self.request.random:
            return
        known = self.journal.noted("effects")
        if known is None:
            workshop, bench = self.workshop, self.workshop.bench
            time = None if bench is None else timer_of(bench, workshop.folder / "choices")
            until = self.elapsed() + LOOKING * self.request.seconds
            source = workshop.searched.source
            alone = effects(source, workshop.space, self.progress, time, late=lambda: self.elapsed() > until)
            known = [asdict(item) for item in alone]
            self.journal.note("effects", [item for item in known if math.isfinite(item["damage"])])
        names = OBJECTIVES[self.request.goal]
        found = [Effect(**item) for item in known if math.isfinite(item["damage"])]
        points = starting_points(found, size="time" not in names or len(names) > 1, time="time" in names)
        knobs = self.workshop.space.knobs
        taught: dict[str, Value] = {"teacher": True} if "teacher" in knobs else {}
        # What loses most before training needs the most of it; which rate is right differs: both are tried.
        rates: list[dict[str, Value]] = [{"rate": 2.0}, {"rate": 1.0}] if "rate" in knobs else [{}]
        points = [{**point, **taught, **rates[index % len(rates)]} for index, point in enumerate(points)]
        self.journal.start_with(points)

    def _repeated(self, trial: Trial) -> bool:
        """Whether the point is known: then the trial takes its result, and nothing is made twice."""
        point = self.workshop.space.point(trial.params)
        if self.workshop.space.empty(point):
            self.journal.fail(trial, "asks for nothing")
            return True
        known = next((outcome for outcome in self.workshop.earlier if outcome.point == point), None)
        if known is not None:
            self._tell(trial, known, again=True)
        return known is not None

    def _batch(self, trials: Sequence[Trial]) -> None:
        """Make the files of all, time them together, then train: what is late stays open in the journal, and a search
        that is resumed goes on with it.
        """
        points = [self.workshop.space.point(trial.params) for trial in trials]
        started = self._ended(trials, [partial(self.workshop.start, point) for point in points])
        begun = self._timed([(trials[index], outcome) for index, outcome in sorted(started)])
        open_trials = [trial for trial, _ in begun]
        grown = []
        for index, outcome in self._ended(open_trials, [partial(self._grown, outcome) for _, outcome in begun]):
            self._tell(open_trials[index], outcome)
            grown.append((index, outcome))
        # Only now: what ends first must not decide over what else is under way.
        self.workshop.earlier += [outcome for _, outcome in sorted(grown, key=lambda item: item[0])]

    def _ended(
        self, trials: Sequence[Trial], pieces: Sequence[Callable[[], Outcome | None]]
    ) -> Iterator[tuple[int, Outcome]]:
        """Each piece of work of these trials as it ends: which, and its outcome. A recipe that the model refuses, or
        that gives NaN, ends its own trial alone.
        """
        for index, result in self.each(pieces):
            try:
                outcome = result()
            except StateError:
                raise
            except WeighbridgeError as error:
                self.journal.fail(trials[index], str(error))
                continue
            if outcome is not None:
                yield index, outcome

    def _grown(self, outcome: Outcome) -> Outcome | None:
        """The outcome after its training; None where there is no time for it."""
        if self._late():
            return None
        begin = self.elapsed()
        try:
            self.workshop.grow(outcome)
        except TimeUpError:
            return None
        self.trial_seconds = max(self.trial_seconds, self.elapsed() - begin)
        return outcome

    def _timed(self, begun: list[tuple[Trial, Outcome]]) -> list[tuple[Trial, Outcome]]:
        """Time all together; where a file breaks its worker, each by itself, so that one trial alone ends."""
        incumbents, begin = self._incumbents(), self.elapsed()
        try:
            self.workshop.time([outcome for _, outcome in begun], incumbents)
        except MeasurementError as error:
            return self._one_by_one(begun, error)
        if begun:
            files = len(begun) + len(incumbents) + 1
            self.launch_seconds = (self.elapsed() - begin) / (files * LAUNCHES)
        return begun

    def _one_by_one(self, begun: list[tuple[Trial, Outcome]], error: MeasurementError) -> list[tuple[Trial, Outcome]]:
        kept, broken = [], []
        for trial, outcome in begun:
            try:
                self.workshop.time([outcome], {})
                kept.append((trial, outcome))
            except MeasurementError as own:
                broken.append((trial, str(own)))
        if not kept and not self.workshop.device_answers():
            fix = "nothing is lost: `weighbridge search resume` goes on once the device answers"
            raise StateError(f"no file can be timed any more: {error}", where="search", fix=fix) from error
        for trial, reason in broken:
            self.journal.fail(trial, reason)
        return kept

    def _incumbents(self) -> dict[str, Path]:
        pairs = list(enumerate(self.workshop.earlier))
        best = contenders(pairs, self.workshop, self.request.goal)[:2]
        return {f"incumbent-{index}": self.workshop.file(outcome.rungs[0].digest) for index, outcome in best}

    def _tell(self, trial: Trial, outcome: Outcome, *, again: bool = False) -> None:
        workshop = self.workshop
        place = values(outcome, self.request.goal, workshop.base_sizes.bytes, workshop.expected(outcome).drop)
        told = {**facts_of(outcome, workshop.space), "again": again, "elapsed": round(self.elapsed(), 1)}
        self.journal.tell(trial, place, workshop.constraint(outcome, CAUTION), told)
