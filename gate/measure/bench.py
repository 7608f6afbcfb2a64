"""One launch, taken: a fresh process per role, equal warm-up, rounds of interleaved bursts.

The launch, not the inference, is the independent unit: memory layout is drawn anew with each process
(Kalibera and Jones, "Rigorous benchmarking in reasonable time", ISMM 2013). This module runs on the machine that is
measured, here or behind SSH: it imports numpy and the standard library alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from weighbridge.core.errors import MeasurementError
from weighbridge.gate.measure.energy import WINDOW_SECONDS, Counters
from weighbridge.gate.measure.launch_setup import FEEDS, Journey, Setup
from weighbridge.gate.measure.process import Worker, send_arrays
from weighbridge.gate.measure.recording import Burst, Bursts, Phase, Recording
from weighbridge.gate.measure.staged_artifact import StagedArtifact

MOST_IN_A_BURST = 1000
TOKENS = {"first": {"latency.first_token"}, "next": {"latency.next_token", "tokens_per_second"}}
"""Of a language model: which token is timed, and for which metrics. A prompt is one example."""
TAILS = {"latency.p95", "latency.p99"}
NOTICED = 0.005
"""Share of a long burst that may be lost without being noticed: a tenth of the excess that budgets resolve."""
LONG_BURST_NS = 20_000_000
TICK_SECONDS = 0.01
"""Of `/proc/stat` (USER_HZ is 100 on every architecture that Linux runs on with a stable ABI)."""


def record(setup: Setup, metrics: frozenset[str], rng: np.random.Generator, *, control: bool = False) -> Recording:
    """Take one launch of all roles, each in a fresh process; with `control` a second baseline joins them.

    `latency.end_to_end` needs a launch of its own: its bursts run the user's code around each inference. Raises
    `MeasurementError` for whatever a worker does wrong.
    """
    roles = dict(setup.roles)
    if control:
        roles["control"] = roles["baseline"]
    protocol = setup.protocol
    journey = setup.journey if "latency.end_to_end" in metrics else None
    with ExitStack() as stack:
        # Runtimes are imported on all cores; the workers go to theirs as they load.
        os.sched_setaffinity(0, {*setup.cores.workers, *setup.cores.harness})
        started = {}
        # In random order too: who starts first finds other caches, and other pages mapped.
        for role in rng.permutation(list(roles)).tolist():
            worker = Worker(roles[role].name, threads=protocol.threads, timeout=protocol.timeout)
            started[role] = stack.enter_context(worker)
        bench = Bench({role: started[role] for role in roles}, setup, rng)
        bench.tails = bool(metrics & TAILS)
        bench.load(roles)
        bench.feed(protocol.batch_size, journey)
        # The controls rest on interleaved bursts: whatever is timed at all takes them too.
        timed = bool(metrics - {"memory.peak"})
        bench.warm(protocol.warm_seconds if timed else 0.0, journey=journey is not None)
        phases: dict[str, Phase] = {}
        joules: dict[str, float] = {}
        facts = bench.facts()
        if journey is not None:
            return Recording(facts, {"journey": bench.rounds(journey=True)})
        if timed:
            phases["latency"] = bench.rounds()
        if setup.energy is not None and "energy" in metrics:
            joules = bench.energy(setup.energy)
        if "throughput" in metrics:
            bench.feed(protocol.throughput_batch_size)
            bench.warm(0.0)
            phases["throughput"] = bench.rounds()
        for token in (token for token, wanted in TOKENS.items() if metrics & wanted):
            bench.feed(1)
            bench.warm(0.0, token=token)
            phases[f"{token}_token"] = bench.rounds(token=token)
        return Recording(facts, phases, joules)


class Bench:
    """The workers of one launch and what they have said so far. Raises `MeasurementError` for what they do wrong."""

    def __init__(self, workers: Mapping[str, Worker], setup: Setup, rng: np.random.Generator) -> None:
        self.workers = workers
        self.setup = setup
        self.protocol = setup.protocol
        self.rng = rng
        self.loaded: dict[str, dict[str, Any]] = {}
        self.warmed: dict[str, dict[str, Any]] = {}
        self.count = 0
        self.tails = False
        """Whether percentiles are asked for."""
        self.stolen = 0
        """Ticks that were stolen from the workers' cores up to the last round."""

    def load(self, roles: Mapping[str, StagedArtifact]) -> None:
        """Import the runtimes side by side, then load one after the other, in random order, on the measuring core."""
        for role in self._shuffled():
            self.workers[role].send("start", adapter=str(roles[role].adapter))
        started = {role: worker.receive()[0] for role, worker in self.workers.items()}
        os.sched_setaffinity(0, self.setup.cores.harness)
        for role in self._shuffled():
            answer, _ = self.workers[role].ask(
                "load", threads=self.protocol.threads, cores=list(self.setup.cores.workers), **roles[role].loaded
            )
            self.loaded[role] = {**answer, "empty": started[role].get("memory")}

    def feed(self, batch: int, journey: Journey | None = None) -> None:
        """Give every worker the same real inputs, repeated where there are fewer than one batch."""
        given = self.setup.inputs
        wanted = FEEDS * batch
        said: dict[str, Any] = {"how": dict(self.setup.how)} if self.setup.how else {}
        if self.setup.how.get("shapes"):
            chosen, said["most"] = dict(given), FEEDS
        else:
            repeats = -(-batch // min(len(array) for array in given.values()))
            chosen = {name: np.concatenate([array] * repeats)[:wanted] for name, array in given.items()}
        for role in self._shuffled():
            worker = self.workers[role]
            send_arrays(worker, "inputs", chosen, batch=batch, single=list(self.setup.single), **said)
            if journey is not None:
                journey.load_into(worker)

    def warm(self, seconds: float, *, journey: bool = False, token: str | None = None) -> None:
        """The same warm-up for all, in random order."""
        for role in self._shuffled():
            answer, _ = self.workers[role].ask(
                "warm",
                inferences=self.protocol.warm_inferences,
                seconds=seconds,
                settling_seconds=max(seconds, self.protocol.settling_seconds if seconds else 0.0),
                most_seconds=self.protocol.warm_most_seconds,
                **_acting(token, journey=journey),
            )
            self.warmed[role] = {**self.warmed.get(role, answer), "typical_ns": positive(answer, "typical_ns", role)}

    def facts(self) -> dict[str, dict[str, Any]]:
        """What each role's process has said up to here; see `weighbridge.gate.measure.recording.FACTS`."""
        return {
            role: {
                "load_ns": self.loaded[role].get("load_ns"),
                "first_ns": self.warmed[role].get("first_ns"),
                "memory": self.warmed[role].get("memory"),
                "empty": self.loaded[role].get("empty"),
            }
            for role in self.workers
        }

    def energy(self, counters: Counters) -> dict[str, float]:
        """Joules of the package per inference, over one window of each role in random order."""
        found = {}
        for role in self._shuffled():
            count = 1 + int(WINDOW_SECONDS * 1.1e9 / self.warmed[role]["typical_ns"])
            before = counters.read()
            self.workers[role].ask("burst", count=count, offset=0, timeout=self.protocol.timeout + 10 * WINDOW_SECONDS)
            found[role] = counters.joules(before, counters.read()) / count
        return found

    def rounds(self, *, journey: bool = False, token: str | None = None) -> Phase:
        """Rounds of bursts; each starts every role at the same input."""
        typical = min(self.warmed[role]["typical_ns"] for role in self.workers) / 1e9
        slowest = max(self.warmed[role]["typical_ns"] for role in self.workers) / 1e9
        self.count = int(np.clip(np.ceil(self.protocol.burst_seconds / typical), 1, MOST_IN_A_BURST)) + 1
        length = len(self.workers) * self.count * slowest
        number = self.protocol.rounds_of(length, tails=self.tails)
        taken: list[Bursts] = []
        self.stolen = steal_ticks(self.setup.cores.workers)
        while len(taken) < number and not self.protocol.enough(taken):
            taken.append(self._round(len(taken), _acting(token, journey=journey)))
        return Phase(self.count, tuple(taken))

    def _round(self, index: int, acting: Mapping[str, Any]) -> Bursts:
        disturbed = False
        started = time.perf_counter_ns()
        bursts = {}
        for role in self._shuffled():
            worker = self.workers[role]
            begin = time.perf_counter_ns()
            answer, payload = worker.ask("burst", count=self.count, offset=index * self.count, **acting)
            elapsed = time.perf_counter_ns() - begin
            if len(payload) != 8 * self.count:
                raise MeasurementError(
                    f"sent an invalid message: {len(payload)} bytes instead of {self.count} durations",
                    where=worker.name,
                )
            bursts[role] = Burst(np.frombuffer(payload, np.int64), elapsed)
            disturbed |= descheduled(answer, elapsed)
        before, self.stolen = self.stolen, steal_ticks(self.setup.cores.workers)
        stolen = self.stolen - before
        seconds = (time.perf_counter_ns() - started) / 1e9
        return Bursts(bursts, disturbed=disturbed or stolen * TICK_SECONDS > NOTICED * seconds)

    def _shuffled(self) -> list[str]:
        roles = list(self.workers)
        return [roles[index] for index in self.rng.permutation(len(roles))]


def _acting(token: str | None, *, journey: bool) -> dict[str, Any]:
    """How a request says what is timed; see `worker.Operations.acting`."""
    return {"journey": journey} if token is None else {"journey": journey, "token": token}


def descheduled(answer: Mapping[str, Any], elapsed_ns: int) -> bool:
    """Whether other work disturbed a burst: it lost its core, and waited for it for more than can be ignored.

    A burst of a second loses its core to the kernel now and then for microseconds, which no median of seconds shows;
    one of a millisecond is disturbed by any switch. Where the kernel does not say how long, every switch counts.
    """
    if not int(answer.get("switches", 0)):
        return False
    waited = answer.get("waited_ns")
    if elapsed_ns < LONG_BURST_NS or not isinstance(waited, int) or isinstance(waited, bool) or waited < 0:
        return True
    return waited > NOTICED * elapsed_ns


def positive(answer: Mapping[str, Any], key: str, role: str) -> float:
    """A whole number above zero that a worker answered; anything else is a `MeasurementError`."""
    value = answer.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**63:
        raise MeasurementError(f"answered {key} = {value!r:.80}: the clock jumped, or the worker is broken", where=role)
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
