"""What `weighbridge calibrate` found out about this device, for reports."""

from __future__ import annotations

from pathlib import Path

from weighbridge.core.errors import InputError
from weighbridge.core.files import read_json

FOLDER = Path(".weighbridge") / "calibration"


def sentences(root: Path, fingerprint: str) -> list[str]:
    """Sentences on the device's noise floor and what it can resolve; none where it was never calibrated.

    The file is `.weighbridge/calibration/<64 hex digits of the fingerprint>.json` with a list under `sentences`.
    A file of another form is an `InputError`.
    """
    path = root / FOLDER / f"{fingerprint.removeprefix('sha256:')}.json"
    if not path.is_file():
        return []
    content = read_json(path)
    found = content.get("sentences") if isinstance(content, dict) else None
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise InputError("is not a list of sentences", where=str(path), fix="run `weighbridge calibrate` again")
    return found
