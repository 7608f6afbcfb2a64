"""What a device claims of its launches, held against what can be: none of this trusts the device's own clock.

A device that lies consistently cannot be found out from afar. What can be is refused here: more time spent than passed
on this machine's clock, durations below the step of the clock that took them, the same duration every time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from weighbridge.core.errors import MeasurementError
from weighbridge.gate.measure.bench import positive
from weighbridge.gate.measure.launch_setup import Setup
from weighbridge.gate.measure.launches import Launch, summarise
from weighbridge.gate.measure.recording import Recording

ENOUGH_TO_DIFFER = 50
"""So many durations are never all equal on a clock fine enough to compare models with."""


@dataclass(frozen=True)
class Witness:
    """What is known of a device beside its durations."""

    name: str
    clock_ns: int
    """Step of its clock."""
    passed_seconds: float
    """What this machine saw pass while it measured."""


def believed(recording: Recording, setup: Setup, metrics: frozenset[str], witness: Witness) -> Launch:
    """The launch of a recording, if its durations can be; else a `MeasurementError` that names the device."""
    where, clock_ns = witness.name, witness.clock_ns
    launch = summarise(recording, setup, metrics)  # checks each duration, and each burst against its own round
    _check_total(recording, witness.passed_seconds, where)
    for name, phase in recording.phases.items():
        for role in recording.facts:
            times = np.concatenate([item.by_role[role].nanoseconds for item in phase.rounds])
            if (fastest := int(times.min())) < clock_ns:
                raise MeasurementError(
                    f"claims that the {role} took {fastest} ns ({name}); its clock moves in steps of {clock_ns} ns",
                    where=where,
                )
            if len(times) >= ENOUGH_TO_DIFFER and fastest == int(times.max()):
                raise MeasurementError(
                    f"claims that each of {len(times)} inferences of the {role} took exactly {fastest} ns: its clock "
                    "is too coarse, or the times are made up",
                    where=where,
                )
    return launch


def check_clock(said: object, where: str) -> int:
    """The step of a device's clock in nanoseconds, if it is one; else a `MeasurementError`."""
    if not isinstance(said, int) or isinstance(said, bool) or not 0 < said < 10**9:
        raise MeasurementError(f"says that its clock moves in steps of {said!r} ns", where=where)
    return said


def _check_total(recording: Recording, passed_seconds: float, where: str) -> None:
    claimed = sum(
        float(burst.nanoseconds.sum(dtype=np.float64))
        for phase in recording.phases.values()
        for bursts in phase.rounds
        for burst in bursts.by_role.values()
    )
    claimed += sum(
        positive(facts, "load_ns", role) + positive(facts, "first_ns", role) for role, facts in recording.facts.items()
    )
    if claimed / 1e9 > passed_seconds:
        raise MeasurementError(f"claims {claimed / 1e9:.6g} s of inferences within {passed_seconds:.6g} s", where=where)
