"""Whether a measurement is gone that should be continued: `dvc.lock`, which Git keeps, remembers that it was made.

A measurement carries the error that its looks have spent. Deleting it buys a fresh error budget, so that nobody may do
it unseen: the new measurement says in every report that an earlier one of the same files on this device is not here.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from weighbridge.core.dvc_files import Lock
from weighbridge.core.files import read_yaml
from weighbridge.core.project import DEVICE, LOCK


def missing_measurement(root: Path, recipe: str) -> str | None:
    """A sentence for the report where `dvc.lock` names a measurement of these very files on these devices; or None.

    The artifact is compared by what the stage that made it left in the lock file, the devices by their description.
    Raises `InputError` where the lock file cannot be read.
    """
    path = root / LOCK
    if not path.is_file():
        return None
    lock = Lock.of(read_yaml(path), str(path))
    weighed, artifact = f"weigh@{recipe}", f"artifacts/recipes/{recipe}"
    before, now = lock.md5(weighed, "deps", artifact), lock.md5(f"compress@{recipe}", "outs", artifact)
    device = root / DEVICE
    if before is None or before != now or not device.is_file():
        return None
    if lock.md5(weighed, "deps", DEVICE) != hashlib.md5(device.read_bytes(), usedforsecurity=False).hexdigest():
        return None
    return (
        f"An earlier measurement of these files on this device, which {LOCK} names, is not here: this one started "
        f"afresh, and with it the probability of a wrong verdict. Bring it back by `dvc pull measurements/{recipe}` or "
        f"`dvc checkout measurements/{recipe}` to continue it."
    )
