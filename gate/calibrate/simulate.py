"""Gate runs made of numbers instead of launches: simulated ones, and resampled from recorded launch pairs.

Both ask the judge's own tests (`verdict.budget_tests`, Holm's correction), so that published error rates are
those of the code that decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.documents import Verdict, worst
from weighbridge.gate.statistics.centre import SIGNED_RANK
from weighbridge.gate.statistics.looks import LAUNCH_ALPHA, LOOKS
from weighbridge.gate.statistics.multiplicity import holm
from weighbridge.gate.verdict.budget_tests import LaunchTest

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Floats]
"""Log ratios of so many launch pairs."""


@dataclass(frozen=True)
class SimulatedVerdict:
    """One gate run."""

    verdicts: tuple[Verdict, ...]
    """One per budget."""
    pairs: int
    """Launch pairs at which every budget was decided, or one had failed; the last look where neither came."""

    @property
    def whole(self) -> Verdict:
        """The worst of the budgets."""
        return worst(self.verdicts)


@dataclass(frozen=True)
class Rates:
    """What many gate runs came to."""

    runs: int
    passed: int
    failed: int
    inconclusive: int
    mean_pairs: float
    budgets_passed: float
    """Share of single budgets that passed, over all runs."""

    @classmethod
    def of(cls, simulated: Sequence[SimulatedVerdict]) -> Rates:
        """Count whole verdicts."""
        found = [one.whole for one in simulated]
        return cls(
            len(found),
            found.count(Verdict.PASS),
            found.count(Verdict.FAIL),
            found.count(Verdict.INCONCLUSIVE),
            float(np.mean([one.pairs for one in simulated])),
            float(np.mean([one.verdicts.count(Verdict.PASS) / len(one.verdicts) for one in simulated])),
        )


def run_gate(
    log_ratios: Sequence[Sequence[float]], max_ratios: Sequence[float], grains: Sequence[float] = ()
) -> SimulatedVerdict:
    """One gate run over several timed budgets: look, decide, stop as weighing does.

    `log_ratios[i]` are the launch pairs of budget i, in order, at most the last look's; `max_ratios[i]` is its limit;
    `grains[i]` what its instrument cannot tell apart, as a log ratio (nothing by default).
    """
    limits = [math.log(ratio) for ratio in max_ratios]
    blurs = list(grains) or [0.0] * len(limits)
    taken = min(len(values) for values in log_ratios)
    looks = [look for look in LOOKS if look <= taken]
    verdicts: list[Verdict] = [Verdict.INCONCLUSIVE] * len(limits)
    for look in looks:
        verdicts = _decide([values[:look] for values in log_ratios], limits, blurs)
        if Verdict.FAIL in verdicts or Verdict.INCONCLUSIVE not in verdicts:
            return SimulatedVerdict(tuple(verdicts), look)
    return SimulatedVerdict(tuple(verdicts), looks[-1] if looks else taken)


def _decide(samples: Sequence[Sequence[float]], limits: Sequence[float], grains: Sequence[float]) -> list[Verdict]:
    tests = [
        LaunchTest(list(values), limit, upper_limit=True, location=SIGNED_RANK, logarithmic=True, grain=grain)
        for values, limit, grain in zip(samples, limits, grains, strict=True)
    ]
    shares = holm([test.p_fail for test in tests], LAUNCH_ALPHA)
    return [test.answer(share.alpha).verdict for test, share in zip(tests, shares, strict=True)]


def simulate(
    runs: int,
    draw: Draw,
    max_ratios: Sequence[float],
    generator: np.random.Generator,
    *,
    grains: Sequence[float] = (),
) -> Rates:
    """Many gate runs whose budgets' log ratios are drawn independently; `grains` as in `run_gate`."""
    drawn = ([draw(generator, LOOKS[-1]).tolist() for _ in max_ratios] for _ in range(runs))
    return Rates.of([run_gate(values, max_ratios, grains) for values in drawn])


def heavy_tailed(centre: float, sd: float) -> Draw:
    """Log ratios around `log(centre)` with Student-t tails (3 degrees of freedom), scaled to a standard deviation."""
    scale = sd / math.sqrt(3.0)

    def draw(generator: np.random.Generator, pairs: int) -> Floats:
        return math.log(centre) + scale * generator.standard_t(3, size=pairs)

    return draw


def resample(  # noqa: PLR0913  # the last two have the defaults of a plain record
    recorded: Sequence[Sequence[float]],
    runs: int,
    max_ratios: Sequence[float],
    generator: np.random.Generator,
    *,
    grains: Sequence[float] = (),
    swap: bool = False,
) -> list[SimulatedVerdict]:
    """Gate runs made of recorded launch pairs, drawn without replacement within a run.

    `recorded[i]` holds one metric's log ratios over all recorded launch pairs; a drawn launch contributes its value
    to every metric, so that metrics stay as correlated as they were. With `swap` a coin decides for each drawn launch
    which of its two models is called the candidate: right for a model against itself, whose names mean nothing, and
    it leaves no chance offset of the recording that would be a true effect in the runs drawn from it.
    Raises `ValueError` below one full gate run.
    """
    table = np.asarray(recorded, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] != len(max_ratios):
        raise ValueError("expected one list of log ratios per limit, all of one length")
    if table.shape[1] < LOOKS[-1]:
        raise ValueError(f"{table.shape[1]} recorded launch pairs; a gate run takes up to {LOOKS[-1]}")
    simulated = []
    for _ in range(runs):
        chosen = generator.choice(table.shape[1], size=LOOKS[-1], replace=False)
        signs = generator.choice((-1.0, 1.0), LOOKS[-1]) if swap else np.ones(LOOKS[-1])
        simulated.append(run_gate([(signs * row[chosen]).tolist() for row in table], max_ratios, grains))
    return simulated
