"""Metrics of language models, held to their definitions token by token."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import log_softmax
from scipy.stats import entropy

from weighbridge.core.documents import Absent, TaskSection
from weighbridge.gate.weighing import accuracy, bootstrap
from weighbridge.gate.weighing.paired_answers import Answers

RNG = np.random.default_rng(4)
DOCUMENTS, TOKENS, WORDS = 30, 7, 11
LOGITS = RNG.standard_normal((DOCUMENTS, TOKENS, WORDS)).astype(np.float32) * 3
MOVED = LOGITS + RNG.standard_normal(LOGITS.shape).astype(np.float32) * 0.3
NEXT = RNG.integers(0, WORDS, (DOCUMENTS, TOKENS))
NEXT[:, 5:] = -100
NEXT[3] = -100
COUNTED = NEXT != -100


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resamples, and tokens at once so few that there are several parts."""
    monkeypatch.setattr(bootstrap, "RESAMPLES", 200)
    monkeypatch.setattr("weighbridge.gate.weighing.language.ROWS", 32)


def measured(
    name: str,
    ours: NDArray[np.float32] = LOGITS,
    theirs: NDArray[Any] = MOVED,
    labels: NDArray[np.float32 | np.int64] = NEXT,
    **task: Any,
) -> Any:
    """The evidence of one metric; `ours` is the baseline's output."""
    section = TaskSection(kind="language-model", **task)
    return accuracy.measure(name, Answers([ours], [theirs], labels, task=section), seed=1)


def test_surprise_is_the_mean_over_tokens_in_bits() -> None:
    """Padding left out, and perplexity two to its power; both models on the same resamples."""
    logs = [log_softmax(logits.astype(float), axis=-1)[COUNTED] for logits in (LOGITS, MOVED)]
    bits = [-log[np.arange(len(log)), NEXT[COUNTED]].mean() / np.log(2) for log in logs]
    found = measured("lm.nll")
    assert (found.reference, found.candidate) == (pytest.approx(bits[0]), pytest.approx(bits[1]))
    perplexity = measured("lm.perplexity")
    assert perplexity.candidate == pytest.approx(2 ** bits[1])
    same = measured("lm.nll", theirs=LOGITS)
    assert same.candidate_resamples == same.reference_resamples


def test_divergence_is_scipys_of_the_baseline_from_the_candidate() -> None:
    """Mean, 99th percentile and largest over the tokens that count; 0 for the baseline itself."""
    ours, theirs = (np.exp(log_softmax(logits.astype(float), axis=-1))[COUNTED] for logits in (LOGITS, MOVED))
    each = entropy(ours, theirs, axis=-1)
    for name, value in (
        ("lm.kld", each.mean()),
        ("lm.kld.p99", np.quantile(each, 0.99, method="inverted_cdf")),
        ("lm.kld.max", each.max()),
    ):
        found = measured(name)
        assert (found.reference, found.candidate) == (0, pytest.approx(value)), name
        assert measured(name, theirs=LOGITS).candidate == 0
    assert max(measured("lm.kld.max").candidate_resamples) <= float(f"{each.max():.7g}")


def test_the_same_likeliest_token_is_a_share_of_tokens() -> None:
    """Which the task takes for agreement as well."""
    same = (LOGITS.argmax(-1) == MOVED.argmax(-1))[COUNTED].mean()
    assert measured("lm.same_top").candidate == pytest.approx(same)
    assert measured("agreement").candidate == pytest.approx(same)


def test_documents_are_drawn_and_not_tokens() -> None:
    """Where all tokens of a document go the same way, bounds are as wide as documents scatter, not as tokens do."""
    flat = np.zeros_like(LOGITS)
    moved = flat.copy()
    moved[::2, :, 0] = 4.0
    labels = np.zeros((DOCUMENTS, TOKENS), np.int64)
    by_document = np.std(measured("lm.kld", flat, moved, labels).candidate_resamples)
    scattered = np.random.default_rng(6).permutation(moved.reshape(-1, WORDS)).reshape(moved.shape)
    by_token = np.std(measured("lm.kld", flat, scattered, labels).candidate_resamples)
    assert by_document > 1.8 * by_token


def test_probabilities_so_sharp_that_they_overflow_stay_numbers() -> None:
    """Logits of a thousand: a log of zero would be infinite."""
    sharp = LOGITS * 1000
    assert np.isfinite(measured("lm.kld", sharp, -sharp).candidate)
    assert np.isfinite(measured("lm.nll", sharp, sharp).candidate)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("lm.nll", {"labels": np.zeros((DOCUMENTS, 0), np.float32)}, "the next tokens"),
        ("lm.nll", {"labels": NEXT + 1000 * COUNTED}, "the vocabulary has 11"),
        ("lm.kld", {"labels": np.full_like(NEXT, -100)}, "all are padding"),
        ("lm.kld", {"theirs": MOVED[:, :, :10]}, "the reference's"),
        ("lm.kld", {"ours": LOGITS[:, 0]}, "gives no logits"),
    ],
)
def test_what_does_not_fit_has_a_reason(name: str, changes: dict[str, Any], said: str) -> None:
    """And is no evidence."""
    found = measured(name, **changes)
    assert isinstance(found, Absent)
    assert said in found.reason


def test_divergence_needs_no_labels() -> None:
    """A file that nobody has text for is held to the baseline all the same."""
    nothing = np.zeros((DOCUMENTS, 0), np.float32)
    assert measured("lm.kld", labels=nothing).candidate > 0
    assert isinstance(measured("lm.nll", labels=nothing), Absent)


def test_rounding_to_fewer_bits_is_ranked_in_every_resample() -> None:
    """A ladder of noise: half, eight, four and three bits, by their mean divergence."""
    ladder = [measured("lm.kld", theirs=LOGITS + scale * (MOVED - LOGITS)) for scale in (0.002, 0.05, 0.5, 1.0)]
    resamples = np.array([step.candidate_resamples for step in ladder])
    assert (np.diff(resamples, axis=0) > 0).all()
