"""Devices: the places where artifacts are weighed.

- `place`: the interface
- `local`: this machine
- `ssh`, `session`, `connection`: a machine behind OpenSSH; `first_message` and `agent` are what runs there
- `travelling`: the user's code around the model, made ready for the way there
- `command`, `harness_launch`: a user's own harness
- `claims`: what a device says, held against what can be
- `survey`, `unreached`: which devices are reached, and what stands for one that is not
"""

from __future__ import annotations

from pathlib import Path

from weighbridge.core.documents import DeviceSection
from weighbridge.gate.devices.place import Place

__all__ = ["Place", "open_place"]


def open_place(name: str, section: DeviceSection, root: Path) -> Place:
    """The place that a section of `devices:` names, reached and described; leave its context to leave it.

    One that cannot be reached is a `MeasurementError` that names it. A harness runs in `root`, the project's folder.
    """
    if section.address is not None:
        from weighbridge.gate.devices.ssh import Ssh  # noqa: PLC0415  # only where a section asks for it

        return Ssh(name, section)
    if section.command is not None:
        from weighbridge.gate.devices.command import Harness  # noqa: PLC0415

        return Harness(name, section, root)
    from weighbridge.gate.devices.local import Local  # noqa: PLC0415

    return Local(section, name)
