"""Whether a measurement is gone that should be continued: `dvc.lock`, which Git keeps, remembers that it was made.

A measurement carries the error that its looks have spent. Deleting it buys a fresh error budget, so that nobody may do
it unseen: the new measurement says in every report that an earlier one of the same files on this device is not here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weighbridge.core.errors import InputError
from weighbridge.core.files import read_yaml

LOCK = "dvc.lock"
_DEVICE = "artifacts/device.json"


def missing_measurement(root: Path, recipe: str) -> str | None:
    """A sentence for the report where `dvc.lock` names a measurement of these very files on these devices; or None.

    The artifact is compared by what the stage that made it left in the lock file, the devices by their description.
    Raises `InputError` where the lock file cannot be read.
    """
    path = root / LOCK
    if not path.is_file():
        return None
    stages = _mapping(_mapping(read_yaml(path), path).get("stages", {}), path)
    weighed = _mapping(stages.get(f"weigh@{recipe}", {}), path)
    made = _mapping(stages.get(f"compress@{recipe}", {}), path)
    artifact = f"artifacts/recipes/{recipe}"
    before, now = _md5(weighed.get("deps"), artifact, path), _md5(made.get("outs"), artifact, path)
    device = root / _DEVICE
    if before is None or before != now or not device.is_file():
        return None
    if _md5(weighed.get("deps"), _DEVICE, path) != hashlib.md5(device.read_bytes(), usedforsecurity=False).hexdigest():
        return None
    return (
        f"An earlier measurement of these files on this device, which {LOCK} names, is not here: this one started "
        f"afresh, and with it the probability of a wrong verdict. Bring it back by `dvc pull measurements/{recipe}` or "
        f"`dvc checkout measurements/{recipe}` to continue it."
    )


def _md5(entries: Any, name: str, path: Path) -> str | None:
    """The hash that a stage's list of dependencies or outputs gives for a path."""
    if entries is None:
        return None
    if not isinstance(entries, Sequence):
        raise InputError("lists no dependencies where it should", where=str(path), fix="run `dvc repro`")
    found = (_mapping(entry, path) for entry in entries)
    return next((str(entry["md5"]) for entry in found if entry.get("path") == name and "md5" in entry), None)


def _mapping(content: Any, path: Path) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        raise InputError("is not what DVC writes", where=str(path), fix="restore it from Git, or run `dvc repro`")
    return content
