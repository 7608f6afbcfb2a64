"""Measurements made of numbers, for tests of judging and reporting: no model, no clock."""

import numpy as np

from tests.documents import device, digest
from weighbridge.core.documents import (
    Budget,
    Comparison,
    Controls,
    Device,
    Exact,
    Flip,
    Launches,
    Measurement,
    Proportions,
    Protocol,
    Weighed,
)
from weighbridge.gate.statistics.looks import controls_due

SLICES = ("ankle-boot", "bag", "coat", "shirt")


DEVICE = device(device_class="ci-2core", cpu="Some CPU", runtimes={"onnxruntime": "1.32.0", "python": "3.11.7"})


def launches(
    ratio: float | None = 0.85,
    *,
    sd: float = 0.02,
    pairs: int = 54,
    seed: int = 0,
    base: float = 150e-6,
    samples: int = 500,
) -> Launches:
    """Launch pairs around a true ratio, normal on the log scale."""
    generator = np.random.default_rng(seed)
    log_ratio = np.log(ratio) + sd * generator.normal(size=pairs)
    reference = base * np.exp(0.01 * generator.normal(size=pairs))
    return Launches(
        candidate=list(reference * np.exp(log_ratio)),
        reference=list(reference),
        log_ratio=list(log_ratio),
        samples=samples,
        numbers=list(range(1, pairs + 1)),
    )


def controls(
    pairs: int = 54, *, bias: float = 0.0, sd: float = 0.004, dropped: float = 0.01, seed: int = 1
) -> Controls:
    """Baseline against itself, as often as launches do it."""
    values = bias + sd * np.random.default_rng(seed).normal(size=controls_due(pairs))
    return Controls(null_log_ratio=list(values), dropped=dropped)


def proportions(both: int = 900, only_reference: int = 12, only_candidate: int = 8, neither: int = 80) -> Proportions:
    """Paired counts over 1,000 examples."""
    return Proportions(both=both, only_reference=only_reference, only_candidate=only_candidate, neither=neither)


def comparison(
    against: str = "baseline", *, pairs: int = 54, candidate_bytes: int = 400, **metrics: object
) -> Comparison:
    """Evidence on size, latency, memory and accuracy, each replaced by the keyword of its name with `_` for `.`."""
    found = {
        "size.bytes": Exact(candidate=candidate_bytes, reference=1000),
        "latency.p50": launches(pairs=pairs),
        "memory.peak": launches(0.9, sd=0.002, pairs=pairs, base=13.6e6, seed=5),
        "accuracy.top1": proportions(),
    }
    shares = metrics.pop("controls", controls(pairs))
    slices = metrics.pop("slices", {name: proportions(225, 3, 2, 20) for name in SLICES})
    found.update({name.replace("_", ".", 1): value for name, value in metrics.items()})
    return Comparison(
        against=against,
        reference=Weighed(name=against, digest=digest(against), bytes=1000),
        metrics={name: value for name, value in found.items() if value is not None},
        slices=slices,
        flips=[Flip(index=7, label=6, candidate=0, slices=["shirt"])],
        controls=shares,
    )


def measurement(
    *comparisons: Comparison,
    candidate: str = "candidate",
    candidate_bytes: int = 400,
    recipe: str | None = None,
    device: Device = DEVICE,
    **fields: object,
) -> Measurement:
    """A complete measurement of the comparisons, or of the default one."""
    found = list(comparisons) or [comparison(candidate_bytes=candidate_bytes)]
    content = {
        "recipe": recipe,
        "baseline": Weighed(name="baseline", digest=digest("baseline"), bytes=1000),
        "candidate": Weighed(name=candidate, digest=digest(candidate), bytes=candidate_bytes),
        "device": device,
        "data": digest("data"),
        "examples": 1000,
        "protocol": Protocol(
            seed=11, threads=1, batch_size=1, looks=[10, 16, 24, 36, 54], elapsed_seconds=54.0,
            time_limit_seconds=60.0, complete=True,
        ),
        "comparisons": found,
    }  # fmt: skip
    return Measurement(**{**content, **fields})


def budget(metric: str, **limits: float | str) -> Budget:
    """One budget."""
    return Budget(metric=metric, **limits)


BUDGETS = [
    budget("size.bytes", max="500B"),
    budget("latency.p50", max_ratio=0.9),
    budget("accuracy.top1", max_drop=0.02),
    budget("accuracy.worst_slice", max_drop=0.1),
    budget("accuracy.flips", max=0.05),
    budget("memory.peak", max="200MB", required=False),
]
