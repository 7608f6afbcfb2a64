"""One launch: a fresh process per role, equal warm-up, rounds of interleaved bursts.

The launch, not the inference, is the independent unit: memory layout is drawn anew with each process
(Kalibera and Jones, "Rigorous benchmarking in reasonable time", ISMM 2013).
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gate import pairing
from gate.energy import WINDOW_SECONDS, Counters
from gate.pairing import Round
from gate.process import Artifact, Worker, send_arrays
from weighbridge.errors import MeasurementError

Array = NDArray[Any]

TAILS = {"latency.p50": 0.5, "latency.p95": 0.95, "latency.p99": 0.99}
FEEDS = 32
"""Different inputs that a timing loop goes through."""


@dataclass(frozen=True)
class Protocol:
    """How a launch is taken. The defaults are those of docs/adr/0030-interleaving.md."""

    threads: int = 1
    batch_size: int = 1
    throughput_batch_size: int = 32
    warm_inferences: int = 20
    warm_seconds: float = 0.3
    warm_most_seconds: float = 2.0
    """A model so slow that the inferences above take longer warms up for this long."""
    burst_seconds: float = 1e-3
    rounds: int = 100
    fewest_rounds: int = 15
    launch_seconds: float = 1.0
    """Slow models get fewer rounds (never below `fewest_rounds`), so that a launch takes about this long."""
    timeout: float = 60.0
    """Seconds for one request; a worker that needs longer is killed."""


@dataclass(frozen=True)
class Cores:
    """Where workers are pinned, and where the asking process runs meanwhile."""

    workers: tuple[int, ...]
    harness: tuple[int, ...]

    @classmethod
    def choose(cls, threads: int, busy: Mapping[int, float]) -> Cores:
        """The `threads` least busy of the allowed cores for the workers, the others for this process."""
        allowed = sorted(busy, key=lambda core: (busy[core], -core))
        workers = tuple(sorted(allowed[:threads]))
        return cls(workers, tuple(sorted(allowed[threads:])) or workers)


@dataclass(frozen=True)
class Journey:
    """The user's code around the model, for end-to-end latency."""

    factory: str
    folder: Path
    examples: int = FEEDS


Pair = tuple[str, str]
"""A role and the role that it is compared with."""


@dataclass(frozen=True)
class Setup:
    """What is the same for every launch of one weighing."""

    roles: Mapping[str, Artifact]
    """`baseline`, `candidate`, and `stable` where a budget asks for it."""
    inputs: Mapping[str, Array]
    """Real examples (n, …) by input name."""
    single: tuple[str, ...]
    """Inputs without an axis for examples."""
    protocol: Protocol
    cores: Cores
    journey: Journey | None = None
    energy: Counters | None = None


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
    """Measure all roles once, each in a fresh process; with `control` a second baseline joins them.

    `latency.end_to_end` needs a launch of its own: its bursts run the user's code around each inference. Raises
    `MeasurementError` for whatever a worker does wrong.
    """
    roles = dict(setup.roles)
    if control:
        roles["control"] = roles["baseline"]
    protocol = setup.protocol
    journey = setup.journey if "latency.end_to_end" in metrics else None
    with ExitStack() as stack:
        os.sched_setaffinity(0, setup.cores.harness)
        started = {}
        # In random order too: who starts first finds other caches, and other pages mapped.
        for role in rng.permutation(list(roles)).tolist():
            worker = Worker(roles[role].name, threads=protocol.threads, timeout=protocol.timeout)
            started[role] = stack.enter_context(worker)
        bench = _Bench({role: started[role] for role in roles}, setup, rng)
        bench.load(roles)
        bench.feed(protocol.batch_size, journey)
        # The controls rest on interleaved bursts: whatever is timed at all takes them too.
        timed = bool(metrics - {"memory.peak"})
        bench.warm(protocol.warm_seconds if timed else 0.0, journey=journey is not None)
        taken = _Taken(tuple(roles))
        if journey is not None:
            taken.latencies({"latency.end_to_end": 0.5}, bench.rounds(journey=True))
            return taken.launch(bench.empty_memory())
        taken.startup(bench)
        if timed:
            taken.latencies(TAILS, bench.rounds())
        if setup.energy is not None and "energy" in metrics:
            taken.plain("energy", bench.energy(setup.energy), 1)
        if "throughput" in metrics:
            bench.feed(protocol.throughput_batch_size)
            bench.warm(0.0)
            taken.throughputs(bench.rounds(), protocol.throughput_batch_size)
        return taken.launch(bench.empty_memory())


class _Bench:
    """The workers of one launch and what they have said so far."""

    def __init__(self, workers: Mapping[str, Worker], setup: Setup, rng: np.random.Generator) -> None:
        self.workers = workers
        self.setup = setup
        self.protocol = setup.protocol
        self.rng = rng
        self.loaded: dict[str, dict[str, Any]] = {}
        self.warmed: dict[str, dict[str, Any]] = {}
        self.count = 0

    def load(self, roles: Mapping[str, Artifact]) -> None:
        """Import the runtimes side by side, then load one after the other, in random order, on the measuring core."""
        for role in self._shuffled():
            self.workers[role].send("start", adapter=str(roles[role].adapter))
        started = {role: worker.receive()[0] for role, worker in self.workers.items()}
        for role in self._shuffled():
            answer, _ = self.workers[role].ask(
                "load", files=roles[role].files, threads=self.protocol.threads, cores=list(self.setup.cores.workers)
            )
            self.loaded[role] = {**started[role], **answer}

    def feed(self, batch: int, journey: Journey | None = None) -> None:
        """Give every worker the same real inputs, repeated where there are fewer than one batch."""
        given = self.setup.inputs
        wanted = FEEDS * batch
        repeats = -(-batch // min(len(array) for array in given.values()))
        chosen = {name: np.concatenate([array] * repeats)[:wanted] for name, array in given.items()}
        for role in self._shuffled():
            worker = self.workers[role]
            send_arrays(worker, "inputs", chosen, batch=batch, single=list(self.setup.single))
            if journey is not None:
                worker.ask("code", factory=journey.factory, folder=str(journey.folder), examples=journey.examples)

    def warm(self, seconds: float, *, journey: bool = False) -> None:
        """The same warm-up for all, in random order."""
        for role in self._shuffled():
            answer, _ = self.workers[role].ask(
                "warm",
                inferences=self.protocol.warm_inferences,
                seconds=seconds,
                most_seconds=self.protocol.warm_most_seconds,
                journey=journey,
            )
            self.warmed[role] = {**self.warmed.get(role, answer), "typical_ns": _positive(answer, "typical_ns", role)}

    def cold_seconds(self, role: str) -> float:
        """Seconds from a started runtime to the end of the first inference."""
        first = _positive(self.warmed[role], "first_ns", role)
        return (_positive(self.loaded[role], "load_ns", role) + first) / 1e9

    def memory(self, role: str) -> float:
        """Peak bytes of the fresh process after its warm-up."""
        return _positive(self.warmed[role], "memory", role)

    def energy(self, counters: Counters) -> dict[str, float]:
        """Joules of the package per inference, over one window of each role in random order."""
        found = {}
        for role in self._shuffled():
            count = 1 + int(WINDOW_SECONDS * 1.1e9 / self.warmed[role]["typical_ns"])
            before = counters.read()
            self.workers[role].ask("burst", count=count, offset=0, timeout=self.protocol.timeout + 10 * WINDOW_SECONDS)
            found[role] = counters.joules(before, counters.read()) / count
        return found

    def empty_memory(self) -> float:
        """Peak bytes of the first role's process before it loaded anything."""
        return _positive(next(iter(self.loaded.values())), "memory", "worker")

    def rounds(self, *, journey: bool = False) -> list[Round]:
        """Rounds of bursts; each starts every role at the same input."""
        typical = min(self.warmed[role]["typical_ns"] for role in self.workers) / 1e9
        slowest = max(self.warmed[role]["typical_ns"] for role in self.workers) / 1e9
        self.count = int(np.clip(np.ceil(self.protocol.burst_seconds / typical), 1, 1000)) + 1
        length = len(self.workers) * self.count * slowest
        number = int(np.clip(self.protocol.launch_seconds / length, self.protocol.fewest_rounds, self.protocol.rounds))
        return [self._round(index, journey=journey) for index in range(number)]

    def _round(self, index: int, *, journey: bool) -> Round:
        stolen = steal_ticks(self.setup.cores.workers)
        switches = 0
        seconds = {}
        for role in self._shuffled():
            worker = self.workers[role]
            begin = time.perf_counter_ns()
            answer, payload = worker.ask("burst", count=self.count, offset=index * self.count, journey=journey)
            elapsed = time.perf_counter_ns() - begin
            if len(payload) % 8:
                raise MeasurementError(f"sent garbage: {len(payload)} bytes of durations", where=worker.name)
            times = np.frombuffer(payload, np.int64)
            seconds[role] = pairing.seconds_of(times, self.count, elapsed, worker.name)[1:]
            switches += int(answer.get("switches", 0))
        return Round(seconds, disturbed=switches > 0 or steal_ticks(self.setup.cores.workers) != stolen)

    def _shuffled(self) -> list[str]:
        roles = list(self.workers)
        return [roles[index] for index in self.rng.permutation(len(roles))]


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

    def startup(self, bench: _Bench) -> None:
        """Cold start (load and first inference, seconds) and peak memory (bytes)."""
        self.plain("cold_start", {role: bench.cold_seconds(role) for role in self.roles}, 1)
        self.plain("memory.peak", {role: bench.memory(role) for role in self.roles}, 1)

    def latencies(self, levels: Mapping[str, float], rounds: Sequence[Round]) -> None:
        """Quantiles over a launch's inferences; medians are compared burst by burst."""
        self.dropped = pairing.dropped(rounds)
        calm = pairing.kept(rounds)
        for metric, level in levels.items():
            values = {role: pairing.quantile(calm, role, level) for role in self.roles}
            self.plain(metric, values, pairing.samples(calm, self.roles[0]))
            if level == 0.5:
                self.ratios[metric] = {pair: pairing.log_ratio(calm, *pair) for pair in self.pairs}

    def throughputs(self, rounds: Sequence[Round], batch: int) -> None:
        """A closed loop over fixed work: examples per second of each burst, median over the launch's bursts."""
        calm = pairing.kept(rounds)
        values = {role: float(np.median([batch / np.mean(each.seconds[role]) for each in calm])) for role in self.roles}
        self.plain("throughput", values, len(calm))
        self.ratios["throughput"] = {pair: -pairing.log_ratio(calm, *pair) for pair in self.pairs}

    def launch(self, empty_memory: float) -> Launch:
        """All of it, frozen."""
        return Launch(self.values, self.ratios, self.samples, self.dropped, empty_memory)


def _positive(answer: Mapping[str, Any], key: str, role: str) -> float:
    value = answer.get(key)
    if not isinstance(value, int) or value <= 0:
        raise MeasurementError(f"answered {key} = {value!r}: the clock jumped, or the worker is broken", where=role)
    return float(value)


def steal_ticks(cores: Sequence[int], path: Path = Path("/proc/stat")) -> int:
    """Clock ticks that the hypervisor took from these cores since boot; 0 where the kernel does not say."""
    wanted = {f"cpu{core}" for core in cores}
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    fields = [line.split() for line in lines if line.startswith("cpu")]
    return sum(int(parts[8]) for parts in fields if parts[0] in wanted and len(parts) > 8)
