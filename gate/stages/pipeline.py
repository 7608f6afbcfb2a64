"""Bodies of the DVC stages `device` and `weigh`; `weighbridge.gate.stages.summary` has `judge`."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from weighbridge.core.callables import code_folder
from weighbridge.core.documents import (
    REFUSAL,
    STABLE,
    Budget,
    Candidate,
    Device,
    Manifest,
    Measurement,
    Params,
    Refusal,
    Stable,
    Weighing,
    baseline_folder,
    built_folder,
    find_refusal,
    load,
)
from weighbridge.core.errors import InputError, IntegrityError, MeasurementError
from weighbridge.core.files import atomic_write, sha256_file
from weighbridge.core.operator_libraries import named_libraries
from weighbridge.core.progress import Progress, silent
from weighbridge.core.project import PARAMS
from weighbridge.core.user_code import sources
from weighbridge.data import load_data, read_npz
from weighbridge.gate.devices import Place, open_place
from weighbridge.gate.devices.unreached import Unreached
from weighbridge.gate.measure import fingerprint as device_room
from weighbridge.gate.measure.launches import Journey
from weighbridge.gate.stages.missing import missing_measurement
from weighbridge.gate.weighing.by_content import ByContent, Fetch, no_remote
from weighbridge.gate.weighing.job import JobOptions, Source, check_stable, read_job, task_metrics, user_metrics
from weighbridge.gate.weighing.locked import weigh_locked
from weighbridge.gate.weighing.runs import this_run

NO_JOURNEY = "the data factory has no preprocess and raw examples"


def device(root: Path) -> Device:
    """Write `artifacts/device.json`; the same machines give the same bytes.

    It holds this machine and, under `others`, what each further device of `params.yaml` says of itself, or that it
    could not be reached: what was measured on one that changed is not taken for what it is now. Beside it, in
    `targets`, the targets of each recipe: DVC can follow no parameter that a recipe leaves to its default.
    """
    found = device_room.describe(os.environ)
    params = root / PARAMS
    read = Params.read(params) if params.exists() else None
    others = _others(read, root) if read is not None else {}
    for name, section in read.recipes.items() if read is not None else ():
        atomic_write(root / "artifacts" / "targets" / name, "".join(f"{item}\n" for item in section.targets).encode())
    if others:
        found = found.model_copy(update={"others": others})
    found.write(root / "artifacts" / "device.json")
    return found


def _others(params: Params, root: Path) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for name, section in params.devices.items():
        if section.here:
            continue
        try:
            with open_place(name, section, root) as place:
                said[name] = place.device.to_json()
        except MeasurementError:
            said[name] = "not reached"  # why is no property of the device: it would change from run to run
    return said


def weigh(  # noqa: PLR0913  # keywords, each with a default
    root: Path,
    recipe: str,
    progress: Progress = silent,
    *,
    device: str | None = None,
    keep_going: bool = False,
    fetch: Fetch = no_remote,
) -> list[Measurement | Refusal]:
    """Weigh a recipe's artifacts, on each device or on one, into `measurements/<recipe>/`, continuing what stands there
    or in the store of measurements by content, which `fetch` reads a remote of.

    With `keep_going`, a recipe that was not built, and an artifact that cannot be weighed against the baseline, leave
    a refusal beside the measurements (an earlier measurement stays: it is continued once there is an artifact again).
    """
    params = Params.read(root / PARAMS)
    if recipe not in params.recipes:
        raise InputError(f"unknown recipe {recipe!r}", where=f"{root / 'params.yaml'}: recipes")
    candidates = [item for item in params.candidates(recipe) if device in {None, item.device}]
    if not candidates:
        known = ", ".join(dict.fromkeys(item.device for item in params.candidates(recipe)))
        raise InputError(f"no device {device!r} weighs recipe {recipe!r}", where=str(root / PARAMS), fix=known)
    found: list[Measurement | Refusal] = []
    for candidate in candidates:
        try:
            _require_built(root, candidate)
            with _place(root, params, candidate) as place:
                found.append(_weigh(root, params, candidate, place, progress, ByContent.around(root, fetch)))
        except InputError as error:
            if not keep_going or not (error.where or "").startswith(_places(root, candidate)):
                raise
            found.append(Refusal.of(error, recipe, "weigh"))
            found[-1].write(root / candidate.refusal)
        else:
            (root / candidate.refusal).unlink(missing_ok=True)
    candidates = params.candidates(recipe)
    wanted = {candidate.measurement for candidate in candidates} | {candidate.refusal for candidate in candidates}
    _forget(root / "measurements" / recipe, {Path(name).name for name in wanted})
    return found


def _require_built(root: Path, candidate: Candidate) -> None:
    """Raise what `compress` refused, where it left a refusal in the artifact's place."""
    path = root / built_folder(candidate.recipe) / REFUSAL
    refusal = find_refusal(path)
    if refusal is not None:
        raise InputError(f"the recipe was not built: {refusal.reason}", where=str(path))


def _places(root: Path, candidate: Candidate) -> tuple[str, ...]:
    """How errors name what is the candidate's own: its files, and the refusal in their place."""
    return str(root / candidate.folder), str(root / built_folder(candidate.recipe) / REFUSAL)


def _place(root: Path, params: Params, candidate: Candidate) -> Place:
    """Where a candidate is weighed. A device that cannot be reached ends in a fault, and does not stop the others."""
    section = params.devices[candidate.device]
    try:
        return open_place(candidate.device, section, root)
    except MeasurementError as error:
        earlier = root / candidate.measurement
        known = Measurement.read(earlier).device if earlier.exists() else None
        return Unreached(candidate.device, error, section.device_class, known)


def _forget(folder: Path, wanted: set[str]) -> None:
    """Measurements of targets and devices that params no longer name must not linger beside those they do."""
    for path in folder.glob("*.json"):
        if path.name not in wanted:
            path.unlink()


def _weigh(  # noqa: PLR0913, PLR0917  # what a candidate is, and where it is weighed and kept
    root: Path, params: Params, candidate: Candidate, place: Place, progress: Progress, store: ByContent | None
) -> Measurement:
    data = root / "artifacts" / "data" / "test.npz"
    stable, reason = _stable(root / "artifacts" / "stable", candidate.target)
    budgets = params.budgets_of(candidate.recipe)
    libraries = named_libraries(params.custom_ops, root, f"{root / PARAMS}: custom_ops")
    metrics, journey = user_metrics(budgets, task_metrics(params.task)), _journey(params, budgets, root)
    job = read_job(
        Source(
            _verified(root / baseline_folder(candidate.target)),
            _verified(root / candidate.folder),
            read_npz(data, mapped=True),
            str(data),
            stable=stable if check_stable(budgets, None, reason) else None,
            inputs=params.inputs,
        ),
        budgets,
        place.device,
        _weighing(params, candidate),
        JobOptions(
            runtime=candidate.target,
            missing=check_stable(budgets, stable, reason),
            users=metrics,
            journey=journey,
            model=params.model.name,
            recipe=candidate.recipe,
            remarks=_remarks(root, candidate),
            run=this_run(root, os.environ, dt.datetime.now(tz=dt.UTC)),
            code=_code(root, params, metrics, journey)
            | {Path(item.path).as_posix(): f"sha256:{item.sha256}" for item in params.custom_ops},
            libraries=libraries,
            task=params.task,
        ),
    )
    return weigh_locked(job, root / candidate.measurement, progress, place, store)


def _code(root: Path, params: Params, metrics: Iterable[str], journey: Journey | str) -> dict[str, str]:
    """The user's files that take part in measuring."""
    own = [params.task.agreement] if params.task is not None and params.task.agreement else []
    named = [*metrics, *own, *([params.data.factory] if isinstance(journey, Journey) else [])]
    return sources(root, (), [name.partition(":")[0] for name in named])


def _remarks(root: Path, candidate: Candidate) -> tuple[str, ...]:
    """What the report must say where there is no measurement to continue, and should be one."""
    gone = None if (root / candidate.measurement).exists() else missing_measurement(root, candidate.recipe)
    return (gone,) if gone else ()


def _weighing(params: Params, candidate: Candidate) -> Weighing:
    """How it is measured: a device's own number of threads comes first."""
    threads = params.devices[candidate.device].threads
    return params.weighing if threads is None else params.weighing.model_copy(update={"threads": threads})


def _verified(folder: Path) -> Path:
    """An artifact's file, if its bytes are those of its manifest."""
    manifest = Manifest.read(folder / "manifest.json")
    path = folder / manifest.artifact.path
    differing = manifest.artifact.differing(folder)
    if differing is not None:
        found = sha256_file(folder / differing)
        raise IntegrityError(f"has {found}, which is not what its manifest says", where=str(folder / differing))
    return path


def _stable(folder: Path, target: str) -> tuple[Path | None, str]:
    """What the registry serves now for a target, verified, or why there is nothing."""
    record = folder / STABLE
    if not record.exists():
        return None, "the stage that asks the registry has not run (artifacts/stable/stable.json not found)"
    stable = load(Stable, record)
    if not stable.artifacts:
        return None, stable.reason or "the registry serves no version as stable"
    if target not in stable.artifacts:
        return None, f"{stable.version}, which is stable, was not built for {target}"
    served = stable.artifacts[target]
    path = folder / served.path
    found = sha256_file(path)
    if found != served.digest:
        raise IntegrityError(f"has {found}; stable.json says {served.digest}", where=str(path))
    return path, ""


def _journey(params: Params, budgets: Iterable[Budget], root: Path) -> Journey | str:
    """The user's code around the model; loaded only where a budget asks for it."""
    if not any(budget.metric == "latency.end_to_end" for budget in budgets):
        return NO_JOURNEY
    data = load_data(params.data.factory, missing=None)
    if data.preprocess is None or data.raw is None:
        return NO_JOURNEY
    return Journey(params.data.factory, code_folder(root.resolve(), params.data.factory.partition(":")[0]))
