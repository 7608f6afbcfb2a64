"""Bodies of the DVC stages `device` and `weigh`; `gate.summary` has `judge`."""

from __future__ import annotations

import os
from pathlib import Path

from gate import device as device_room
from gate.job import Source, check_stable, read_job, user_metrics
from gate.launches import Journey
from gate.noisy import Progress, silent
from gate.weigh import weigh_in_turn
from weighbridge.data import load_data, read_npz
from weighbridge.documents import Device, Manifest, Measurement, Params
from weighbridge.errors import InputError, IntegrityError
from weighbridge.files import read_json, sha256_file

NO_JOURNEY = "the data factory gives no preprocess and raw examples"


def device(root: Path) -> Device:
    """Write `artifacts/device.json`; the same machine gives the same bytes."""
    found = device_room.describe(os.environ)
    found.write(root / "artifacts" / "device.json")
    return found


def weigh(root: Path, recipe: str, progress: Progress = silent) -> Measurement:
    """Weigh one recipe's artifact and write `measurements/<recipe>.json`, continuing what stands there."""
    params = Params.read(root / "params.yaml")
    if recipe not in params.recipes:
        raise InputError(f"there is no recipe {recipe!r}", where=f"{root / 'params.yaml'}: recipes")
    target = root / "measurements" / f"{recipe}.json"
    runtime = params.recipes[recipe].target
    data = root / "artifacts" / "data" / "test.npz"
    stable, reason = _stable(root / "artifacts" / "stable")
    job = read_job(
        Source(
            _verified(root / "artifacts" / "baseline" / runtime),
            _verified(root / "artifacts" / "recipes" / recipe),
            read_npz(data),
            str(data),
            stable=stable if check_stable(params.budgets, None, reason) else None,
        ),
        params.budgets,
        device_room.describe(os.environ),
        params.weighing,
        runtime=runtime,
        missing=check_stable(params.budgets, stable, reason),
        users=user_metrics(params.budgets, ()),
        journey=_journey(params, root),
        model=params.model.name,
        recipe=recipe,
    )
    return weigh_in_turn(job, target, progress)


def _verified(folder: Path) -> Path:
    """An artifact's file, if its bytes are those of its manifest."""
    manifest = Manifest.read(folder / "manifest.json")
    path = folder / manifest.artifact.path
    found = sha256_file(path)
    if found != manifest.artifact.digest:
        raise IntegrityError(f"has {found}; its manifest says {manifest.artifact.digest}", where=str(path))
    return path


def _stable(folder: Path) -> tuple[Path | None, str]:
    """What the registry serves now, verified, or why there is nothing."""
    record = folder / "stable.json"
    if not record.exists():
        return None, "nobody asked the registry what it serves (artifacts/stable/stable.json is not there)"
    content = read_json(record)
    digest = content.get("digest") if isinstance(content, dict) else None
    if digest is None:
        reason = content.get("reason") if isinstance(content, dict) else None
        return None, str(reason or "the registry serves no version as stable")
    path = folder / "model.onnx"
    found = sha256_file(path)
    if found != digest:
        raise IntegrityError(f"has {found}; stable.json says {digest}", where=str(path))
    return path, ""


def _journey(params: Params, root: Path) -> Journey | str:
    """The user's code around the model; loaded only where a budget asks for it."""
    if not any(budget.metric == "latency.end_to_end" for budget in params.budgets):
        return NO_JOURNEY
    data = load_data(params.data.factory)
    if data.preprocess is None or data.raw is None:
        return NO_JOURNEY
    return Journey(params.data.factory, root.resolve())
