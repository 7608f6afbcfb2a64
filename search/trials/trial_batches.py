"""Trials in batches, until time, number or space is used up."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from optuna.trial import Trial, TrialState

from weighbridge.core.errors import MeasurementError, StateError, WeighbridgeError
from weighbridge.core.progress import Progress
from weighbridge.search.estimate.sensitivity import Effect, effects
from weighbridge.search.estimate.starts import starting_points
from weighbridge.search.problem.search_request import SearchRequest
from weighbridge.search.problem.space import Value
from weighbridge.search.trials import confirm
from weighbridge.search.trials.confirm import contenders
from weighbridge.search.trials.journal_trials import facts_of, finished
from weighbridge.search.trials.objectives import OBJECTIVES, values
from weighbridge.search.trials.study import Journal
from weighbridge.search.trials.trial import LAUNCHES, Outcome, Workshop

BATCH = 4
"""Trials that are timed in one job."""
IDLE = 40
"""Proposals in a row that are known already, after which the space counts as searched."""
RESERVE = 0.1
"""Share of the time that is kept for confirming, at least."""


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

    def run(self) -> None:
        """Ask, make, time, train, tell."""
        self._starts()
        self.workshop.earlier = [outcome for _, outcome in finished(self.journal, self.workshop.space)]
        left = list(self.journal.unfinished())
        idle = 0
        while not self._done():
            size = BATCH if self.request.trials is None else min(BATCH, self.request.trials - self._count())
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
        ahead = self.trial_seconds + self._confirming()
        return bool(self.workshop.earlier) and self.elapsed() + ahead > self.request.seconds

    def _confirming(self) -> float:
        """Seconds that confirming will take, as far as the last batch tells."""
        front = contenders(list(enumerate(self.workshop.earlier)), self.workshop, self.request.goal)
        launching = self.launch_seconds * confirm.LAUNCHES * (1 + min(len(front) + 1, confirm.MOST))
        return max(RESERVE * self.request.seconds, launching)

    def _starts(self) -> None:
        """Queue the starting points, once; what single choices do is kept in the journal."""
        if not self.request.guided or self.request.random:
            return
        known = self.journal.noted("effects")
        if known is None:
            workshop = self.workshop
            known = [asdict(item) for item in effects(workshop.searched.source, workshop.space, self.progress)]
            self.journal.note("effects", [item for item in known if math.isfinite(item["damage"])])
        names = OBJECTIVES[self.request.goal]
        found = [Effect(**item) for item in known if math.isfinite(item["damage"])]
        points = starting_points(found, size="time" not in names or len(names) > 1, time="time" in names)
        teacher = "teacher" in self.workshop.space.knobs
        rest: dict[str, Value] = {"rate": 1.0} if "rate" in self.workshop.space.knobs else {}
        self.journal.start_with([{**point, **rest, **({"teacher": True} if teacher else {})} for point in points])

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
        begun: list[tuple[Trial, Outcome]] = []
        for trial in trials:
            point = self.workshop.space.point(trial.params)
            outcome = self._guarded(trial, partial(self.workshop.start, point))
            if outcome is not None:
                begun.append((trial, outcome))
        for trial, outcome in self._timed(begun):
            if self._late():
                return  # what is begun stays so in the journal, and a search that is resumed goes on with it
            begin = self.elapsed()
            if self._guarded(trial, partial(self.workshop.grow, outcome)) is not None:
                self._tell(trial, outcome)
                self.workshop.earlier.append(outcome)
            self.trial_seconds = max(self.trial_seconds, self.elapsed() - begin)

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

    def _guarded(self, trial: Trial, work: Callable[[], Outcome]) -> Outcome | None:
        """What the work gives; a recipe that the model refuses, or that gives NaN, ends this trial alone."""
        try:
            return work()
        except StateError:
            raise
        except WeighbridgeError as error:
            self.journal.fail(trial, str(error))
            return None

    def _tell(self, trial: Trial, outcome: Outcome, *, again: bool = False) -> None:
        workshop = self.workshop
        place = values(outcome, self.request.goal, workshop.base_sizes.bytes)
        told = {**facts_of(outcome, workshop.space), "again": again, "elapsed": round(self.elapsed(), 1)}
        self.journal.tell(trial, place, workshop.constraint(outcome), told)
