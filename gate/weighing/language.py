"""Metrics of language models: how well tokens are predicted, and how far a candidate's predictions moved.

A model gives logits (n, tokens, vocabulary) at each position for the token after it; labels (n, tokens) are those
tokens, -100 where none counts. An example is a document, or a piece of one: examples are what intervals draw, tokens
within one are not independent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.answers import decisions
from weighbridge.core.answers.decisions import UnfitError
from weighbridge.gate.weighing.bootstrap import Prepared
from weighbridge.gate.weighing.paired_answers import Answers

Array = NDArray[Any]
TAIL = 0.99
"""The share of tokens whose divergence `lm.kld.p99` bounds."""
ROWS = 4096
"""Tokens whose probabilities are in memory at once, in float64."""


@dataclass(frozen=True)
class _Tokens:
    """What is known of each token that counts, in order (k,)."""

    document: Array
    """Its example."""
    count: int
    """Examples."""

    def per_document(self, values: Array) -> Array:
        """Sums of values (k,) over the tokens of each example (n,)."""
        return np.bincount(self.document, values, self.count)

    def mean(self, values: Array) -> Prepared:
        """The mean over tokens, as a function of how often each example was drawn."""
        parts, wholes = self.per_document(values), self.per_document(np.ones(len(values)))

        def score(weights: Array) -> float:
            whole = float(weights @ wholes)
            return float(weights @ parts) / whole if whole else 0.0

        return score

    def tail(self, values: Array, share: float) -> Prepared:
        """The smallest value with at least `share` of the drawn tokens at or below it."""
        order = np.argsort(values, kind="stable")
        ordered, owner = values[order], self.document[order]

        def score(weights: Array) -> float:
            drawn = np.cumsum(weights[owner])
            if not drawn[-1]:
                return 0.0
            return float(ordered[np.searchsorted(drawn, share * drawn[-1], side="left")])

        return score


def _pair(answers: Answers) -> tuple[Array, Array]:
    """Logits of reference and candidate, each (n, tokens, vocabulary)."""
    for output in answers.pair:
        if output.dtype.kind != "f" or output.ndim != 3 or output.shape[2] < 2:
            raise UnfitError(f"an output of shape {output.shape} gives no logits: expected (n, tokens, vocabulary)")
    return answers.pair


def _tokens(answers: Answers, shape: tuple[int, ...]) -> tuple[_Tokens, Array]:
    """The tokens that count and where they are (n, tokens)."""
    assert answers.task is not None
    counted = decisions.counting(answers.task, shape, answers.inputs, answers.labels)
    if not counted.any():
        raise UnfitError("no token counts: all are padding")
    return _Tokens(np.nonzero(counted)[0], len(counted)), counted


def _log_probabilities(logits: Array) -> Array:
    """Natural logarithms of the softmax over the last axis, in float64."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    return np.asarray(wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True)))


def _surprise(logits: Array, labels: Array, counted: Array) -> Array:
    """Bits of each token that counts (k,): minus the base-2 logarithm of what the model gave it."""
    if labels.shape != counted.shape or labels.dtype.kind not in "iu":
        raise UnfitError(
            f"the labels are {labels.dtype} of shape {labels.shape}; the next tokens {counted.shape} are expected"
        )
    chosen, rows = labels[counted], logits[counted]
    if chosen.min() < 0 or chosen.max() >= logits.shape[2]:
        raise UnfitError(f"labels go from {chosen.min()} to {chosen.max()}; the vocabulary has {logits.shape[2]}")
    found = np.zeros(len(chosen))
    for start in range(0, len(chosen), ROWS):
        part = slice(start, start + ROWS)
        logs = _log_probabilities(rows[part])
        found[part] = -logs[np.arange(len(logs)), chosen[part]] / np.log(2)
    return found


def _divergence(reference: Array, candidate: Array, counted: Array) -> Array:
    """Kullback-Leibler divergence of each token that counts (k,), in nats: of the candidate from the reference."""
    if reference.shape != candidate.shape:
        raise UnfitError(f"the candidate's logits have shape {candidate.shape}, the reference's {reference.shape}")
    ours, theirs = reference[counted], candidate[counted]
    found = np.zeros(len(ours))
    for start in range(0, len(ours), ROWS):
        part = slice(start, start + ROWS)
        first, second = _log_probabilities(ours[part]), _log_probabilities(theirs[part])
        found[part] = np.maximum((np.exp(first) * (first - second)).sum(axis=-1), 0.0)
    return found


def _nll(answers: Answers) -> tuple[Prepared, Prepared]:
    pair = _pair(answers)
    tokens, counted = _tokens(answers, pair[0].shape[:2])
    ours, theirs = (tokens.mean(_surprise(logits, answers.labels, counted)) for logits in pair)
    return ours, theirs


def _perplexity(answers: Answers) -> tuple[Prepared, Prepared]:
    ours, theirs = _nll(answers)
    return lambda weights: 2.0 ** ours(weights), lambda weights: 2.0 ** theirs(weights)


def _kld(shape: Callable[[_Tokens, Array], Prepared]) -> Callable[[Answers], tuple[Prepared, Prepared]]:
    def prepared(answers: Answers) -> tuple[Prepared, Prepared]:
        ours, theirs = _pair(answers)
        tokens, counted = _tokens(answers, ours.shape[:2])
        return lambda _: 0.0, shape(tokens, _divergence(ours, theirs, counted))

    return prepared


def _same_top(answers: Answers) -> tuple[Prepared, Prepared]:
    ours, theirs = _pair(answers)
    tokens, counted = _tokens(answers, ours.shape[:2])
    same = (ours.argmax(-1) == theirs.argmax(-1))[counted]
    return lambda _: 1.0, tokens.mean(same.astype(np.float64))


LANGUAGE: Mapping[str, Callable[[Answers], tuple[Prepared, Prepared]]] = {
    "lm.nll": _nll,
    "lm.perplexity": _perplexity,
    "lm.kld": _kld(lambda tokens, values: tokens.mean(values)),
    "lm.kld.p99": _kld(lambda tokens, values: tokens.tail(values, TAIL)),
    "lm.kld.max": _kld(lambda tokens, values: tokens.tail(values, 1.0)),
    "lm.same_top": _same_top,
}
"""By metric: functions of how often each example was drawn, of reference and candidate."""
