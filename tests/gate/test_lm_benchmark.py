"""What the benchmark of language models plants and counts."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax

from benchmarks import lm
from weighbridge.core.documents import Budget, Verdict
from weighbridge.gate.measure.fingerprint import describe
from weighbridge.gate.weighing import bootstrap

RNG = np.random.default_rng(3)
OURS = RNG.standard_normal((30, 8, 12)).astype(np.float32) * 2
THEIRS = OURS + RNG.standard_normal(OURS.shape).astype(np.float32) * 0.05
LABELS = OURS.argmax(-1)


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "RESAMPLES", 300)


def divergence(theirs: NDArray[Any]) -> Any:
    ours, other = (softmax(logits.astype(float), axis=-1) for logits in (OURS, theirs))
    return (ours * np.log(ours / other)).sum(-1).mean()


def test_what_is_planted_is_a_hundredth_of_a_nat() -> None:
    """Over all documents, by scipy's softmax."""
    assert divergence(lm.planted(OURS, THEIRS, LABELS)) == pytest.approx(divergence(THEIRS) + lm.PLANTED, abs=2e-4)


def test_a_verdict_is_the_judges() -> None:
    """Far beyond the limit it fails, far within it passes, with bounds around the value."""
    answers = lm.drawn(OURS, THEIRS, LABELS, np.arange(30))
    value = divergence(THEIRS)
    found = [
        lm.judged(Budget(metric="lm.kld", max=limit), answers, describe({}), 0) for limit in (value / 3, 3 * value)
    ]
    assert [item.verdict for item in found] == [Verdict.FAIL, Verdict.PASS]
    assert found[0].lower < value < found[1].upper


def test_a_rank_that_is_wrong_once_misses_the_bar() -> None:
    """And a share that is too small misses its own."""
    row = {name: [place, place - 0.1, place + 0.1] for place, name in enumerate(lm.LADDER)}
    shares = {"planted": 0.96, "at the limit": 0.0}
    good = lm.bars([row] * lm.RESAMPLES, shares)
    assert all(item["met"] for item in good.values())
    assert good["ladder"]["bounds_apart"] == lm.RESAMPLES
    swapped = {**row, "int3": row["int4"], "int4": row["int3"]}
    bad = lm.bars([*[row] * (lm.RESAMPLES - 1), swapped], {"planted": 0.94, "at the limit": 0.06})
    assert not any(item["met"] for item in bad.values())
    assert bad["ladder"]["value"] == lm.RESAMPLES - 1
