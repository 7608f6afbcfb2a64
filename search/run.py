"""A whole search: open the journal, find where to start, run trials in batches, confirm the front."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from optuna.trial import Trial, TrialState

from weighbridge.compress.recipe.maker import Maker
from weighbridge.core.documents import Sizes
from weighbridge.core.errors import MeasurementError, StateError, WeighbridgeError
from weighbridge.core.files import atomic_write, canonical_json, sha256_bytes
from weighbridge.core.progress import Progress, silent
from weighbridge.search import advise
from weighbridge.search.confirm import Confirmed, confirm, contenders
from weighbridge.search.limits import excess, facts, gaps
from weighbridge.search.objectives import OBJECTIVES, largest_drop, values
from weighbridge.search.prediction import predict_all
from weighbridge.search.scores import scores
from weighbridge.search.sensitivity import Effect, effects
from weighbridge.search.space import Point, Space, Value, coarse, space_of
from weighbridge.search.splits import Searched, searched
from weighbridge.search.starts import starting_points
from weighbridge.search.study import Journal, opened
from weighbridge.search.timing import Bench, Timing
from weighbridge.search.trial import Outcome, Rung, Workshop

FOLDER = Path(".weighbridge") / "search"
BATCH = 4
"""Trials that are timed in one job."""
IDLE = 40
"""Proposals in a row that are known already, after which the space counts as searched."""
RESERVE = 0.1
"""Share of the time that is kept for confirming."""


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line."""

    root: Path = Path()
    goal: str | None = None
    target: str | None = None
    seconds: float = 1800.0
    trials: int | None = None
    training: bool = True
    seed: int = 7
    name: str | None = None
    timed: bool = True
    random: bool = False
    """Propose at random, as a search to compare with."""
    guided: bool = True
    """Start from the integer programme's points."""


@dataclass
class Found:
    """What a search has come to."""

    folder: Path
    goal: str | None
    space: Space
    baseline: Sizes
    limit: float
    outcomes: list[tuple[int, Outcome]] = field(default_factory=list)
    confirmed: list[Confirmed] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    remarks: tuple[str, ...] = ()
    obstacle: str | None = None
    """Why no recipe of the space can meet the budgets."""
    interrupted: bool = False
    importance: dict[str, float] = field(default_factory=dict)
    """Knob → its share in what decides a trial's first objective."""


def folder_of(request: Request, target: str) -> Path:
    """Where a search keeps its journal and files."""
    name = request.name or f"{target}-{request.goal or 'front'}{'' if request.training else '-untrained'}"
    return request.root / FOLDER / name


def search(request: Request, progress: Progress = silent, clock: Callable[[], float] = time.monotonic) -> Found:
    """Run or continue a search, for its time or its number of trials; Ctrl-C ends it early and keeps everything."""
    begin = clock()
    target = request.target or advise.chosen(request.root)
    folder = folder_of(request, target)
    source = searched(request.root, target, request.root / FOLDER / "shared", progress, training=request.training)
    space = _space(source, request)
    workshop, before = _workshop(request, source, space, folder, progress)
    found = Found(folder, request.goal, space, workshop.base_sizes, workshop.limit, remarks=source.remarks)
    found.obstacle = _obstacle(workshop, progress)
    if found.obstacle is not None:
        return found
    stop = folder / "stop"
    stop.unlink(missing_ok=True)
    workshop.stopping = stop.exists
    with opened(
        folder / "journal.log",
        space,
        len(OBJECTIVES[request.goal]),
        _identity(request, workshop),
        seed=request.seed,
        random=request.random,
    ) as journal:
        try:
            _Loop(request, workshop, journal, progress, lambda: clock() - begin).run()
        except KeyboardInterrupt:
            found.interrupted = True
        found.outcomes = _outcomes(journal, space)
        found.failed = [str(item.user_attrs.get("reason")) for item in journal.trials(TrialState.FAIL)]
        found.importance = journal.importance()
        chosen = contenders(found.outcomes, workshop, request.goal)
        found.confirmed = confirm(chosen, workshop, before, timed=not found.interrupted)
        journal.note("confirmed", [item.to_json() for item in found.confirmed])
    return found


def _space(source: Searched, request: Request) -> Space:
    params = source.source.project.params
    space = space_of(params, source.source.target.name, source.source.layers, str(source.source.project.params_file))
    if request.training:
        return space
    return replace(space, section=space.section.model_copy(update={"epochs": 0}))


def _workshop(
    request: Request, source: Searched, space: Space, folder: Path, progress: Progress
) -> tuple[Workshop, Any]:
    """What trials share, and the baseline's scores on the part that confirms."""
    made = source.source
    maker = Maker(made.context, made.target, made.start, train=request.training)
    base = maker.make([])
    stop, after = (scores(made.target.run(base.data, split.inputs), split) for split in (source.stop, source.confirm))
    params = made.project.params
    top1 = float(stop.mean())
    bench = None
    if request.timed:
        store = request.root / FOLDER / "timings"
        path = folder / "files" / f"baseline{Path(made.target.file).suffix}"
        bench = Bench(path, source.stop, params.weighing, store, progress)
    workshop = Workshop(
        searched=source,
        space=space,
        budgets=params.budgets,
        limit=largest_drop(params.budgets, top1),
        maker=maker,
        bench=bench,
        folder=folder,
        base_sizes=base.sizes,
        base_scores=stop,
        base_top1=top1,
    )
    atomic_write(workshop.baseline, base.data)
    return workshop, after


def _obstacle(workshop: Workshop, progress: Progress) -> str | None:
    """Why no recipe can meet the budgets: asked only where the least of everything does not."""
    source, space = workshop.searched.source, workshop.space
    reference = facts(workshop.base_sizes)
    points = coarse(space)
    few = predict_all(source, space, points[:1], silent)
    if any(excess(gaps(workshop.budgets, facts(item.sizes), reference)) <= 1 for item in few.found):
        return None
    found = predict_all(source, space, points, progress, advise.SECONDS)
    if any(excess(gaps(workshop.budgets, facts(item.sizes), reference)) <= 1 for item in found.found):
        return None
    return advise.obstacle(found, workshop.budgets, space)


def _identity(request: Request, workshop: Workshop) -> dict[str, Any]:
    """What trials depend on: a journal of anything else is refused."""
    source = workshop.searched.source
    knobs = {name: list(values) for name, values in workshop.space.knobs.items()}
    asked = [budget.model_dump(mode="json") for budget in workshop.budgets]
    return {
        "model": f"{source.project.params.model.name} {sha256_bytes(workshop.baseline.read_bytes())}",
        "data": source.context.data.test.digest(),
        "target": source.target.name,
        "goal": request.goal,
        "seed": request.seed,
        "space": sha256_bytes(canonical_json([knobs, workshop.space.section.epochs])),
        "budgets": sha256_bytes(canonical_json(asked)),
    }


@dataclass
class _Loop:
    """Trials in batches, until time, number or space is used up."""

    request: Request
    workshop: Workshop
    journal: Journal
    progress: Progress
    elapsed: Callable[[], float]

    def run(self) -> None:
        """Ask, make, time, train, tell."""
        self._starts()
        self.workshop.earlier = [outcome for _, outcome in _outcomes(self.journal, self.workshop.space)]
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
        # One batch runs in any case: else a busy machine could spend all its time on getting ready, again and again.
        late = done > 0 and used > self.request.seconds * (1 - RESERVE)
        return late or (total is not None and done >= total)

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
            if self._guarded(trial, partial(self.workshop.grow, outcome)) is not None:
                self._tell(trial, outcome)
                self.workshop.earlier.append(outcome)

    def _timed(self, begun: list[tuple[Trial, Outcome]]) -> list[tuple[Trial, Outcome]]:
        """Time all together; where a file breaks its worker, each by itself, so that one trial alone ends."""
        try:
            self.workshop.time([outcome for _, outcome in begun], self._incumbents())
        except MeasurementError as error:
            return self._one_by_one(begun, error)
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
        told = {**_facts(outcome, workshop.space), "again": again, "elapsed": round(self.elapsed(), 1)}
        self.journal.tell(trial, place, workshop.constraint(outcome), told)


def _facts(outcome: Outcome, space: Space) -> dict[str, Any]:
    assert outcome.sizes is not None  # set by the first rung
    return {
        "values": space.values(outcome.point),
        "rungs": [asdict(rung) for rung in outcome.rungs],
        "sizes": outcome.sizes.model_dump(),
        "timing": asdict(outcome.timing) if outcome.timing else None,
        "ended": outcome.ended,
    }


def _outcomes(journal: Journal, space: Space) -> list[tuple[int, Outcome]]:
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


__all__ = ["FOLDER", "Found", "Request", "folder_of", "outcome_of", "search"]
