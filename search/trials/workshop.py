"""What trials work with, set up from the project: the space, the baseline's file and scores, the bench."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from weighbridge.compress.recipe.maker import Maker
from weighbridge.core.documents import DeviceSection, Params
from weighbridge.core.documents.devices import LOCAL
from weighbridge.core.errors import InputError
from weighbridge.core.files import atomic_write
from weighbridge.core.progress import Progress
from weighbridge.search.estimate.expected_drop import calibrated_cross_entropy
from weighbridge.search.estimate.scores import scores
from weighbridge.search.estimate.timing import Bench
from weighbridge.search.problem.asked_budgets import budgets_for
from weighbridge.search.problem.search_request import SearchRequest
from weighbridge.search.problem.searched_model import space_of
from weighbridge.search.problem.space import Space
from weighbridge.search.problem.three_splits import Searched
from weighbridge.search.trials.objectives import largest_drop
from weighbridge.search.trials.other_devices import budgets_on, opening
from weighbridge.search.trials.trial import Workshop

FOLDER = Path(".weighbridge") / "search"


def space_for(source: Searched, *, training: bool) -> Space:
    """The space that params leave; without training no step of it has epochs."""
    space = space_of(source.source)
    return space if training else replace(space, section=space.section.model_copy(update={"epochs": 0}))


def workshop_for(
    request: SearchRequest, source: Searched, space: Space, folder: Path, progress: Progress
) -> tuple[Workshop, Any]:
    """What trials share, and the baseline's scores on the part that confirms."""
    made = source.source
    maker = Maker(made.context, made.target, made.start, train=request.training)
    base = maker.make([])
    answers, later = (made.target.run(base.data, split.inputs) for split in (source.stop, source.confirm))
    stop, after = scores(answers, source.stop), scores(later, source.confirm)
    params = made.project.params
    section = _section(params, request.device, made.target.name)
    reach = opening(request.device, section, request.root)
    with reach() as place:
        budgets = budgets_on(budgets_for(params, request.recipe), request.device, section, place.device.device_class)
    top1 = float(stop.mean())
    bench = None
    if request.timed:
        store = request.root / FOLDER / "timings"
        path = folder / "files" / f"baseline{Path(made.target.file).suffix}"
        bench = Bench(
            path,
            source.stop,
            params.weighing,
            store,
            progress,
            reach,
            inputs=params.inputs,
            libraries=made.project.libraries(),
        )
    workshop = Workshop(
        searched=source,
        space=space,
        budgets=budgets,
        limit=largest_drop(budgets, top1),
        maker=maker,
        bench=bench,
        folder=folder,
        base_sizes=base.sizes,
        base_scores=stop,
        base_top1=top1,
        base_cross_entropy=calibrated_cross_entropy(answers, source.stop),
    )
    atomic_write(workshop.baseline, base.data)
    return workshop, after


def _section(params: Params, name: str, target: str) -> DeviceSection:
    """The device that a search times on; an `InputError` for one that is not named, or does not take the target."""
    if name == LOCAL and LOCAL not in params.devices:
        return DeviceSection()
    fitting = [key for key, item in params.devices.items() if item.targets is None or target in item.targets]
    if name not in fitting:
        raise InputError(
            f"no device {name!r} takes {target} files", where="--device", fix=f"one of {', '.join([LOCAL, *fitting])}"
        )
    return params.devices[name]


__all__ = ["FOLDER", "space_for", "workshop_for"]
