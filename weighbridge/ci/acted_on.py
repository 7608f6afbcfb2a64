"""The report as a reviewer acts on it: beside the verdict what it is compared with, what to do next, and how to get it
again.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from weighbridge.ci.compared import reference_points
from weighbridge.ci.next_steps import next_steps
from weighbridge.gate.stages.summary import Base, CheckedGate


def acted_on(checked: CheckedGate, root: Path, base: Base | None, command: str, today: dt.date) -> CheckedGate:
    """The same verdict with a report that says so; `command` gives it again."""
    points = reference_points(root, base.tree if base is not None and base.text is not None else None)
    steps, stanzas = next_steps(checked.verdict, today)
    return checked.told(points=points, next_steps=steps, stanzas=stanzas, command=command, reproduce=())
