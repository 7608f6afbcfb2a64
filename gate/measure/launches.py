"""From what one launch's processes said to its values: pure, and checked number by number.

`weighbridge.gate.measure.bench` takes a launch; here nothing runs but `take_launch`, which does both for this machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from weighbridge.core.errors import MeasurementError
from weighbridge.gate.measure import pairing
from weighbridge.gate.measure.bench import TOKENS, positive, record, steal_ticks
from weighbridge.gate.measure.launch_setup import FEEDS, Cores, Journey, LaunchProtocol, Setup
from weighbridge.gate.measure.pairing import Round
from weighbridge.gate.measure.recording import Phase, Recording

__all__ = [
    "FEEDS",
    "TOKENS",
    "Cores",
    "Journey",
    "Launch",
    "LaunchProtocol",
    "Setup",
    "steal_ticks",
    "summarise",
    "take_launch",
]

TAILS = {"latency.p50": 0.5, "latency.p95": 0.95, "latency.p99": 0.99}

Pair = tuple[str, str]
"""A role and the role that it is compared with."""


@dataclass(frozen=True)
class Launch:
    """What one launch gave: values by metric and role, and what they rest on."""

    values: Mapping[str, Mapping[str, float]]
    """metric → role → value in the metric's base unit."""
    log_ratios: Mapping[str, Mapping[Pair, float]]
    """metric → (role, reference) → log(role / reference), paired within the launch."""
    samples: Mapping[str, int]
    """metric → single observations behind each value."""
    dropped: float = 0.0
    """Share of disturbed rounds."""
    empty_memory: float = 0.0
    """Peak bytes of a process with the runtime and no model."""


def take_launch(setup: Setup, metrics: frozenset[str], rng: np.random.Generator, *, control: bool = False) -> Launch:
    """Measure all roles once on this machine; see `weighbridge.gate.measure.bench.record`."""
    return summarise(record(setup, metrics, rng, control=control), setup, metrics)


def summarise(recording: Recording, setup: Setup, metrics: frozenset[str]) -> Launch:
    """The values of a recording, for the metrics asked. Raises `MeasurementError` for numbers that cannot be."""
    taken = _Taken(tuple(recording.facts))
    journey = "latency.end_to_end" in metrics and setup.journey is not None
    if journey:
        taken.latencies({"latency.end_to_end": 0.5}, _rounds(recording, "journey", setup))
        return taken.launch(_empty(recording))
    taken.startup(recording)
    if metrics - {"memory.peak"}:
        taken.latencies(TAILS, _rounds(recording, "latency", setup))
    if recording.joules:
        taken.plain("energy", {role: _joules(recording, role) for role in taken.roles}, 1)
    if "throughput" in metrics:
        batch = setup.protocol.throughput_batch_size
        taken.throughputs("throughput", _rounds(recording, "throughput", setup), batch)
    if metrics & TOKENS["first"]:
        taken.latencies({"latency.first_token": 0.5}, _rounds(recording, "first_token", setup))
    if metrics & TOKENS["next"]:
        steps = _rounds(recording, "next_token", setup)
        taken.latencies({"latency.next_token": 0.5}, steps)
        taken.throughputs("tokens_per_second", steps, 1)
    return taken.launch(_empty(recording))


def _rounds(recording: Recording, name: str, setup: Setup) -> list[Round]:
    """The rounds of a phase in seconds, the first inference of each burst dropped."""
    phase = recording.phases.get(name) or Phase(0, ())
    fewest = setup.protocol.fewest_rounds
    few = len(phase.rounds) < fewest and not setup.protocol.enough(phase.rounds)
    if few or phase.count < 2:
        raise MeasurementError(
            f"gave {len(phase.rounds)} rounds of {phase.count} inferences for {name}; {fewest} of 2 are needed",
            where="launch",
        )
    return [
        Round(
            {
                role: pairing.seconds_of(burst.nanoseconds, phase.count, burst.elapsed_ns, _name(role, setup))[1:]
                for role, burst in bursts.by_role.items()
            },
            disturbed=bursts.disturbed,
        )
        for bursts in phase.rounds
    ]


def _name(role: str, setup: Setup) -> str:
    return setup.roles[role].name if role in setup.roles else role


def _joules(recording: Recording, role: str) -> float:
    value = recording.joules[role]
    if not (np.isfinite(value) and value > 0):
        raise MeasurementError(f"took {value!r} J per inference: the counters are broken", where=role)
    return value


def _empty(recording: Recording) -> float:
    """Peak bytes of the first role's process before it loaded anything."""
    return positive(next(iter(recording.facts.values())), "empty", "worker")


class _Taken:
    """The values of one launch as they come in."""

    def __init__(self, roles: tuple[str, ...]) -> None:
        self.roles = roles
        references = [role for role in roles if role in ("baseline", "stable")]
        self.pairs: list[Pair] = [(role, other) for role in roles for other in references if role != other]
        self.values: dict[str, dict[str, float]] = {}
        self.ratios: dict[str, dict[Pair, float]] = {}
        self.samples: dict[str, int] = {}
        self.dropped = 0.0

    def plain(self, metric: str, values: Mapping[str, float], samples: int) -> None:
        """One value per role, compared as they are."""
        self.values[metric] = dict(values)
        self.ratios[metric] = {(role, other): float(np.log(values[role] / values[other])) for role, other in self.pairs}
        self.samples[metric] = samples

    def startup(self, recording: Recording) -> None:
        """Cold start (load and first inference, seconds) and peak memory (bytes)."""
        facts = recording.facts
        cold = {
            role: (positive(facts[role], "load_ns", role) + positive(facts[role], "first_ns", role)) / 1e9
            for role in self.roles
        }
        self.plain("cold_start", cold, 1)
        self.plain("memory.peak", {role: positive(facts[role], "memory", role) for role in self.roles}, 1)

    def latencies(self, levels: Mapping[str, float], rounds: Sequence[Round]) -> None:
        """Quantiles over a launch's inferences; medians are compared burst by burst."""
        self.dropped = max(self.dropped, pairing.dropped(rounds))
        calm = pairing.kept(rounds)
        for metric, level in levels.items():
            values = {role: pairing.quantile(calm, role, level) for role in self.roles}
            self.plain(metric, values, pairing.samples(calm, self.roles[0]))
            if level == 0.5:
                self.ratios[metric] = {pair: pairing.log_ratio(calm, *pair) for pair in self.pairs}

    def throughputs(self, metric: str, rounds: Sequence[Round], batch: int) -> None:
        """A closed loop over fixed work: examples per second of each burst, median over the launch's bursts."""
        calm = pairing.kept(rounds)
        values = {role: float(np.median([batch / np.mean(each.seconds[role]) for each in calm])) for role in self.roles}
        self.plain(metric, values, len(calm))
        self.ratios[metric] = {pair: -pairing.log_ratio(calm, *pair) for pair in self.pairs}

    def launch(self, empty_memory: float) -> Launch:
        """All of it, frozen."""
        return Launch(self.values, self.ratios, self.samples, self.dropped, empty_memory)
