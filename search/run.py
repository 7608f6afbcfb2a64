"""A whole search: open the journal, find where to start, run trials in batches, confirm the front."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from weighbridge.compress.recipe.project_folder import Project
from weighbridge.core.documents import Sizes
from weighbridge.core.documents.devices import LOCAL
from weighbridge.core.errors import full_disk
from weighbridge.core.files import canonical_json, sha256_bytes
from weighbridge.core.progress import Progress, silent
from weighbridge.search import advise
from weighbridge.search.estimate.prediction import Prediction, Until, predict_all
from weighbridge.search.problem.asked_budgets import budgets_for, own_budgets, remark
from weighbridge.search.problem.coarse import coarse
from weighbridge.search.problem.limits import excess, facts, gaps
from weighbridge.search.problem.search_request import SearchRequest
from weighbridge.search.problem.space import Space
from weighbridge.search.problem.three_splits import searched
from weighbridge.search.trials.choosing import contenders
from weighbridge.search.trials.confirm import Confirmed, confirm
from weighbridge.search.trials.journal_trials import finished
from weighbridge.search.trials.objectives import OBJECTIVES
from weighbridge.search.trials.other_devices import DeviceThere, on_other_devices
from weighbridge.search.trials.study import opened
from weighbridge.search.trials.trial import Outcome, Workshop
from weighbridge.search.trials.trial_batches import TrialLoop
from weighbridge.search.trials.workshop import FOLDER, space_for, workshop_for


@dataclass
class Found:
    """What a search has come to."""

    folder: Path
    goal: str | None
    space: Space
    baseline: Sizes
    limit: float
    tried: list[tuple[int, Outcome]] = field(default_factory=list)
    confirmed: list[Confirmed] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    remarks: tuple[str, ...] = ()
    own_budgets: list[dict[str, Any]] = field(default_factory=list)
    """Of the recipe whose budgets were asked; recipes that are found state them too."""
    obstacle: str | None = None
    """Why no recipe of the space can meet the budgets."""
    interrupted: bool = False
    elsewhere: list[DeviceThere] = field(default_factory=list)
    """The confirmed recipes on the other devices that params name."""
    importance: dict[str, float] = field(default_factory=dict)
    """Knob → its share in what decides a trial's first objective."""


def folder_of(request: SearchRequest, target: str) -> Path:
    """Where a search keeps its journal and files."""
    where = "" if request.device == LOCAL else f"@{request.device}"
    meant = "" if request.recipe is None else f"-for-{request.recipe}"
    own = f"{target}-{request.goal or 'front'}{meant}{'' if request.training else '-untrained'}{where}"
    name = request.name or own
    return request.root / FOLDER / name


def search(request: SearchRequest, progress: Progress = silent, clock: Callable[[], float] = time.monotonic) -> Found:
    """Run or continue a search, for its time or its number of trials; Ctrl-C ends it early and keeps everything."""
    with Project(request.root).as_declared():
        return _search(request, progress, clock)


def _search(request: SearchRequest, progress: Progress, clock: Callable[[], float]) -> Found:
    """The same within the declared feeding."""
    begin = clock()
    target = request.target or advise.chosen(request.root, request.recipe)
    folder = folder_of(request, target)
    source = searched(request.root, target, request.root / FOLDER / "shared", progress, training=request.training)
    space = space_for(source, training=request.training)
    workshop, before = workshop_for(request, source, space, folder, progress)
    found = Found(folder, request.goal, space, workshop.base_sizes, workshop.limit, remarks=source.remarks)
    found.own_budgets = own_budgets(source.source.project.params, request.recipe)
    told = remark(source.source.project.params, request.recipe)
    found.remarks += (told,) if told else ()
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
            TrialLoop(request, workshop, journal, progress, lambda: clock() - begin).run()
        except KeyboardInterrupt:
            found.interrupted = True
        except OSError as error:
            known = full_disk(error, where=str(folder / "journal.log"))
            if known is None:
                raise
            raise known from error
        found.tried = finished(journal, space)
        found.failed = [str(item.user_attrs.get("reason")) for item in journal.trials(TrialState.FAIL)]
        found.importance = journal.importance()
        chosen = contenders(found.tried, workshop, request.goal)
        found.confirmed = confirm(chosen, workshop, before, timed=not found.interrupted)
        journal.note("confirmed", [item.to_json() for item in found.confirmed])
    if request.timed and not found.interrupted:
        _weigh_elsewhere(found, workshop, request)
    return found


def _weigh_elsewhere(found: Found, workshop: Workshop, request: SearchRequest) -> None:
    """Add what the confirmed recipes are worth on other devices; Ctrl-C leaves out what is not weighed yet."""
    by_number, params = dict(found.tried), workshop.searched.source.project.params
    params = params.model_copy(update={"budgets": budgets_for(params, request.recipe)})
    held = [(item, by_number[item.number]) for item in found.confirmed if item.holds]
    try:
        for there in on_other_devices(held, workshop, params, request.device):
            found.elsewhere.append(there)
    except KeyboardInterrupt:
        found.interrupted = True


def _obstacle(workshop: Workshop, progress: Progress) -> str | None:
    """Why no recipe can meet the budgets; None where one does, often the first, which is the least of everything. Where
    there was no time to look at all that stand for the space, one that meets them may be among the others.
    """
    source, space = workshop.searched.source, workshop.space
    reference = facts(workshop.base_sizes)

    def meets(item: Prediction) -> bool:
        return excess(gaps(workshop.budgets, facts(item.sizes), reference)) <= 1

    found = predict_all(source, space, coarse(space), progress, Until(advise.SECONDS, enough=meets))
    if found.left or any(map(meets, found.found)):
        return None
    return advise.obstacle(found, workshop.budgets, space)


def _identity(request: SearchRequest, workshop: Workshop) -> dict[str, Any]:
    """What trials depend on: a journal of anything else is refused."""
    source = workshop.searched.source
    knobs = {name: list(values) for name, values in workshop.space.knobs.items()}
    asked = [budget.model_dump(mode="json") for budget in workshop.budgets]
    place = {} if request.device == LOCAL else {"device": request.device}
    return {
        **place,
        "model": f"{source.project.params.model.name} {sha256_bytes(workshop.baseline.read_bytes())}",
        "data": source.context.data.test.digest(),
        "target": source.target.name,
        "goal": request.goal,
        "seed": request.seed,
        "space": sha256_bytes(canonical_json([knobs, workshop.space.section.epochs])),
        "budgets": sha256_bytes(canonical_json(asked)),
    }
