"""Whether an artifact comes from what a checkout has: its settings, its code, its model's file, its stage's inputs.

A lock file that was resolved by hand may pair new text with old bytes; a manifest says what its bytes were made by.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weighbridge.core.documents.manifest import Manifest, made_by
from weighbridge.core.documents.measurement import CODE, Measurement
from weighbridge.core.documents.params import Params
from weighbridge.core.dvc_files import Lock, file_md5
from weighbridge.core.errors import InputError
from weighbridge.core.files import read_yaml
from weighbridge.core.project import LOCK, PARAMS
from weighbridge.core.user_code import differing

_MADE = ("artifacts/data", "artifacts/trained")


def another_origin(root: Path, params: Params, manifest: Manifest, what: str) -> list[str]:
    """What an artifact was made by that the checkout has otherwise, each in one sentence; `what` names the artifact."""
    found = []
    if manifest.model != params.model.name:
        found.append(f"the {what} was made for the model {manifest.model!r}")
    if manifest.seed != params.train.seed:
        found.append(f"the {what} was made with the seed {manifest.seed}; {PARAMS} has {params.train.seed}")
    if manifest.settings is not None:
        now = made_by(params, baseline=manifest.recipe_name == "baseline")
        keys = [key for key in _keys(manifest.settings, now) if key != "train.seed"]
        if keys:
            found.append(f"the {what} was made with another {', '.join(keys)} than {PARAMS} has now")
    return found + _other_files(root, manifest.sources or {}, f"the {what} was made by")


def measured_otherwise(root: Path, measurement: Measurement) -> list[str]:
    """Code that took part in measuring (metrics of the user's own) and that the checkout has otherwise."""
    code = measurement.protocol.details.get(CODE, {})
    if not isinstance(code, dict) or not all(isinstance(digest, str) for digest in code.values()):
        return ["the measurement does not say in a readable way which code took part in it"]
    return _other_files(root, code, "the measurement was taken with")


def _other_files(root: Path, recorded: Mapping[str, str], said: str) -> list[str]:
    files = differing(root, recorded)
    more = f" and {len(files) - 3} more" if len(files) > 3 else ""
    return [f"{said} another {', '.join(files[:3])}{more} than this checkout has"] if files else []


def uncompared(manifest: Manifest, what: str) -> str | None:
    """A sentence for the report where a manifest does not say what code made the artifact."""
    if manifest.sources is not None:
        return None
    return f"The manifest of the {what} records no code, as those of older versions: its code could not be compared."


def stale_inputs(root: Path, folders: tuple[str, ...]) -> list[str]:
    """What `dvc.lock` says of the stages that made these folders, and of data and training, that the checkout has
    otherwise, each in one sentence. Files alone: DVC itself compares folders.
    """
    path = root / LOCK
    if not path.is_file():
        return []
    lock = Lock.of(read_yaml(path), str(path))
    made = {out for stage in lock.stages.values() for out in _paths(stage, "outs")}
    found = []
    for name, stage in lock.stages.items():
        if any(_overlap(out, folder) for out in _paths(stage, "outs") for folder in (*_MADE, *folders)):
            for dep, md5 in _paths(stage, "deps").items():
                file = root / dep
                if dep not in made and md5 and file.is_file() and file_md5(file) != md5:
                    found.append(f"{LOCK} has another {dep} for the stage {name} than this checkout")
    return list(dict.fromkeys(found))


def _paths(stage: Mapping[str, Any], kind: str) -> dict[str, str | None]:
    """Path → DVC's digest; None where there is none that can be taken of a file."""
    items = stage.get(kind) or []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise InputError(f"expected a list of files under {kind}", where=LOCK, fix="run `dvc repro`")
    return {
        str(item["path"]): str(item["md5"]) if item.get("hash") == "md5" and "md5" in item else None
        for item in items
        if "path" in item
    }


def _overlap(path: str, other: str) -> bool:
    return path == other or path.startswith(f"{other}/") or other.startswith(f"{path}/")


def _keys(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Keys with other values, as `train.epochs`."""
    found = []
    for key in sorted({*before, *now}):
        one, other = before.get(key), now.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            found += _keys(one, other, f"{prefix}{key}.")
        elif one != other:
            found.append(f"{prefix}{key}")
    return found
