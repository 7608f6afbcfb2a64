"""Which devices of `params.yaml` can be reached, and what they are: nothing is measured, nothing is left there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from weighbridge.core.documents import DeviceSection, Params
from weighbridge.core.errors import MeasurementError
from weighbridge.core.facts.targets import TARGETS
from weighbridge.core.project import PARAMS
from weighbridge.gate.devices import Place, open_place

Opener = Callable[[str, DeviceSection, Path], Place]


def survey(root: Path, opener: Opener = open_place) -> list[dict[str, Any]]:
    """One row a device, in the order of `params.yaml`; raises `InputError` for a file that is none.

    `reachable`, then either `device` (the document of `measure.device`), `targets` that it has the runtimes for and
    `missing` ones that it is to weigh, or `problem`, the one sentence why it was not reached.
    """
    params = Params.read(root / PARAMS)
    return [_row(name, section, params, root, opener) for name, section in params.devices.items()]


def _row(name: str, section: DeviceSection, params: Params, root: Path, opener: Opener) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "way": _way(section)}
    try:
        with opener(name, section, root) as place:
            device = place.device
    except MeasurementError as error:
        return {**row, "reachable": False, "problem": str(error)}
    # A harness names what it runs as it likes: whether it can run a target shows when it is asked to.
    targets = [target for target, row in TARGETS.items() if row.runtime in device.runtimes]
    asked = {candidate.target for candidate in params.candidates() if candidate.device == name}
    missing = sorted(asked - set(targets)) if section.command is None else []
    return {**row, "reachable": True, "device": device.to_json(), "targets": targets, "missing": missing}


def _way(section: DeviceSection) -> str:
    if section.address is not None:
        return section.address
    return "command" if section.command is not None else "this machine"
