"""The document of a device, with the fingerprint over what decides how fast an artifact runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from weighbridge.core.documents import Device
from weighbridge.core.documents.device import FACTS, fingerprint
from weighbridge.core.documents.devices import LOCAL
from weighbridge.core.errors import MeasurementError
from weighbridge.gate.measure.machine import busy_seconds, facts

__all__ = ["CLASS_VARIABLE", "busy_seconds", "describe", "document"]

CLASS_VARIABLE = "WEIGHBRIDGE_DEVICE_CLASS"


def describe(environment: Mapping[str, str], proc: Path = Path("/proc")) -> Device:
    """Describe this machine. The same machine gives the same document, whatever else it is doing."""
    return document(facts(environment.get(CLASS_VARIABLE, "").strip() or None, proc))


def document(said: Mapping[str, Any], name: str = LOCAL) -> Device:
    """The document of what a machine said of itself. What is none is a `MeasurementError` that names the device."""
    found = {key: said.get(key) for key in FACTS}
    try:
        return Device.model_validate({**found, "fingerprint": fingerprint(found), "name": name})
    except (ValidationError, ValueError, TypeError) as error:
        problem = error.errors()[0] if isinstance(error, ValidationError) else {"msg": str(error), "loc": ()}
        key = ".".join(str(part) for part in problem["loc"])
        raise MeasurementError(
            f"sent an invalid description of itself: {key}: {problem['msg']}"[:300], where=name
        ) from error
