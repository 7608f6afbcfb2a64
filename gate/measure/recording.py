"""What one launch's processes said, before anything is computed from it; and its form on a wire.

The machine that takes a launch writes it down; the machine that judges checks every number and computes. What a device
says is not believed: see `from_wire` and `weighbridge.gate.measure.launches.summarise`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.errors import MeasurementError

Array = NDArray[Any]

FACTS = ("load_ns", "first_ns", "memory", "empty")
"""Of each role: loading, the first inference (ns), peak bytes after warm-up and before loading."""
LONGEST = 1 << 20
"""Durations of one burst at most, as of a hostile device."""


@dataclass(frozen=True)
class Burst:
    """The durations of one role's inferences in a row."""

    nanoseconds: NDArray[np.int64]
    elapsed_ns: int
    """What passed between request and answer, by the clock of the process that asked."""


@dataclass(frozen=True)
class Bursts:
    """One burst of each role, in random order."""

    by_role: Mapping[str, Burst]
    disturbed: bool
    """Whether time was stolen or a process lost its core meanwhile."""


@dataclass(frozen=True)
class Phase:
    """Rounds of one kind: `latency`, `throughput`, `journey`, `first_token` or `next_token`."""

    count: int
    """Durations in each burst."""
    rounds: tuple[Bursts, ...]


@dataclass(frozen=True)
class Recording:
    """One launch of all roles."""

    facts: Mapping[str, Mapping[str, Any]]
    """role → what `FACTS` names."""
    phases: Mapping[str, Phase] = field(default_factory=dict)
    joules: Mapping[str, float] = field(default_factory=dict)
    """role → energy per inference."""


def to_wire(recording: Recording) -> tuple[dict[str, Any], bytes]:
    """JSON values and a payload of int64 nanoseconds: phases in order, each (rounds, roles, count)."""
    roles = list(recording.facts)
    phases, parts = [], []
    for name, phase in recording.phases.items():
        bursts = [[item.by_role[role] for role in roles] for item in phase.rounds]
        phases.append({
            "name": name,
            "count": phase.count,
            "elapsed_ns": [[burst.elapsed_ns for burst in row] for row in bursts],
            "disturbed": [item.disturbed for item in phase.rounds],
        })  # fmt: skip
        parts += [burst.nanoseconds.astype("<i8").tobytes() for row in bursts for burst in row]
    facts = {role: {key: recording.facts[role].get(key) for key in FACTS} for role in roles}
    return {"roles": roles, "facts": facts, "phases": phases, "joules": dict(recording.joules)}, b"".join(parts)


def from_wire(answer: Mapping[str, Any], payload: bytes, roles: Sequence[str], where: str) -> Recording:
    """The recording that an answer holds; anything that is none is a `MeasurementError` that names `where`."""
    try:
        return _recording(answer, payload, roles)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise MeasurementError(
            f"the answer is not a launch: {type(error).__name__}: {error}"[:400], where=where
        ) from error


def _recording(answer: Mapping[str, Any], payload: bytes, roles: Sequence[str]) -> Recording:
    if answer["roles"] != list(roles):
        raise ValueError(f"roles {answer['roles']!r:.80} instead of {list(roles)}")
    phases, offset = {}, 0
    for item in answer["phases"]:
        phases[str(item["name"])], offset = _phase(item, payload, offset, roles)
    if offset != len(payload):
        raise ValueError(f"{len(payload)} bytes of durations, {offset} described")
    facts = {role: {key: answer["facts"][role][key] for key in FACTS} for role in roles}
    joules = {role: _number(value) for role, value in answer["joules"].items()}
    if joules and joules.keys() != set(roles):
        raise ValueError("energy of other roles than were asked for")
    return Recording(facts, phases, joules)


def _phase(item: Mapping[str, Any], payload: bytes, offset: int, roles: Sequence[str]) -> tuple[Phase, int]:
    count, elapsed, disturbed = item["count"], item["elapsed_ns"], item["disturbed"]
    if type(count) is not int or not 0 < count <= LONGEST:
        raise ValueError(f"bursts of {count!r} durations")
    if not elapsed or len(elapsed) != len(disturbed) or any(len(row) != len(roles) for row in elapsed):
        raise ValueError("rounds, roles and bursts do not agree")
    if any(type(value) is not int for row in elapsed for value in row):
        raise ValueError("times that are not whole nanoseconds")
    total = len(elapsed) * len(roles) * count
    # A copy: payloads are read-only views, and this outlives them.
    times = np.frombuffer(payload, "<i8", total, offset).astype(np.int64).reshape(len(elapsed), len(roles), count)
    rounds = tuple(
        Bursts(
            {role: Burst(times[index, place], row[place]) for place, role in enumerate(roles)}, bool(disturbed[index])
        )
        for index, row in enumerate(elapsed)
    )
    return Phase(count, rounds), offset + 8 * total


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    return float(value)
