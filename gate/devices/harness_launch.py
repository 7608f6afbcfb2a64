"""From a harness's launch to a recording as the gate takes its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from weighbridge.core.documents.harness import HarnessBurst, HarnessPhase, Launched
from weighbridge.core.errors import MeasurementError
from weighbridge.gate.measure.recording import Burst, Bursts, Phase, Recording


def recording_of(said: Launched, roles: Sequence[str], where: str) -> Recording:
    """A harness's launch as the gate's own; bursts of other roles or of unequal length are a `MeasurementError`."""
    facts = {role: said.roles[role].model_dump(exclude={"digest"}) for role in roles}
    return Recording(facts, {phase.name: _phase(phase, roles, where) for phase in said.phases})


def _phase(said: HarnessPhase, roles: Sequence[str], where: str) -> Phase:
    counts = {len(burst.ns) for item in said.rounds for burst in item.bursts.values()}
    if any(item.bursts.keys() != set(roles) for item in said.rounds):
        raise MeasurementError(f"a round of {said.name} has other roles than {', '.join(roles)}", where=where)
    if len(counts) != 1:
        raise MeasurementError(
            f"bursts of {said.name} have {sorted(counts)[:5]} durations, not all as many", where=where
        )
    rounds = tuple(Bursts(_bursts(item.bursts, roles), item.disturbed) for item in said.rounds)
    return Phase(counts.pop(), rounds)


def _bursts(said: Mapping[str, HarnessBurst], roles: Sequence[str]) -> dict[str, Burst]:
    return {role: Burst(np.array(said[role].ns, np.int64), said[role].elapsed_ns) for role in roles}
