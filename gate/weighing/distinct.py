"""What an evaluation set tells, and what it does not: inputs that repeat, labels of one class, answers that tie.

An interval takes its examples for independent ones. A copy of an example tells nothing new: five examples, each a
hundred times, are five examples (docs/adr/0091-every-input-counts-once.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.ragged import is_ragged
from weighbridge.data import Split
from weighbridge.gate.measure.launches import FEEDS, Setup
from weighbridge.gate.weighing.paired_answers import Answers

Array = NDArray[Any]
FEW_GROUPS = 20
"""Below it a bootstrap over groups is known to be too narrow."""


@dataclass(frozen=True)
class Distinct:
    """The examples of a data set, each input once."""

    first: Array
    """Index of the first example of each input, rising (m,)."""
    group: Array
    """Of each example, which of `first` has its input (n,)."""
    relabelled: int
    """Examples whose label is another than that of the first one of the same input."""

    def __len__(self) -> int:
        return len(self.first)

    def of(self, answers: Answers) -> Answers:
        """The answers to each input once. An input is in a slice where one of its copies is."""
        if len(self.first) == len(self.group):
            return answers
        return replace(
            answers,
            reference=[output[self.first] for output in answers.reference],
            candidate=[output[self.first] for output in answers.candidate],
            labels=answers.labels[self.first],
            inputs={name: array[self.first] for name, array in answers.inputs.items()},
            groups=None if answers.groups is None else answers.groups[self.first],
            slices={name: self._any(mask) for name, mask in answers.slices.items()},
            index=self.first,
        )

    def _any(self, mask: Array) -> Array:
        found = np.zeros(len(self.first), np.bool_)
        found[self.group[mask]] = True
        return found


def distinct(split: Split, *, streams: bool = False) -> Distinct:
    """Group the examples by the bytes of their inputs; in streams none repeats another, as its past is its own."""
    if streams:
        every = np.arange(len(split))
        return Distinct(every, every, 0)
    groups: dict[bytes, int] = {}
    first: list[int] = []
    group = np.zeros(len(split), np.int64)
    for index, key in enumerate(_keys(split)):
        number = groups.setdefault(key, len(groups))
        group[index] = number
        if number == len(first):
            first.append(index)
    chosen = np.asarray(first, np.int64)
    labels = split.labels.reshape(len(split), split.labels[:1].size)
    relabelled = int((labels != labels[chosen][group]).any(axis=1).sum())
    return Distinct(chosen, group, relabelled)


def _keys(split: Split) -> Iterator[bytes]:
    arrays = [
        array if is_ragged(array) else np.ascontiguousarray(array).reshape(len(split), -1)
        for _, array in sorted(split.inputs.items())
    ]
    for index in range(len(split)):
        digest = hashlib.blake2b(digest_size=16)
        for array in arrays:
            if is_ragged(array):
                digest.update(array.shapes[index])
            digest.update(array[index])
        yield digest.digest()


def remarks(found: Distinct, answers: Answers, against: str) -> list[str]:
    """What a reader of the report must know of the examples; `answers` are those to each input once."""
    said = []
    if copies := len(found.group) - len(found):
        kept = f", with the first of its labels ({found.relabelled:,} differ)" if found.relabelled else ""
        said.append(
            f"{copies:,} of the {len(found.group):,} test examples repeat the input of another one; each input counts "
            f"once{kept}, which leaves {len(found):,} examples."
        )
    labels = answers.labels
    if labels.ndim == 1 and labels.dtype.kind in "iubU" and len(labels) and (labels == labels[0]).all():
        only = str(labels[0]) if labels.dtype.kind == "U" else int(labels[0])
        said.append(
            f"The test set has one class: all labels are {only}, and a model that always answers that is "
            "right on each of them."
        )
    if answers.groups is not None:
        count = len(np.unique(answers.groups))
        few = " So few groups say little of others." if count < FEW_GROUPS else ""
        said.append(f"The {len(labels):,} test examples are of {count:,} groups, and intervals draw whole groups.{few}")
    if answers.task is not None and answers.task.kind != "classification":
        return said
    for name, output in zip((against, "candidate"), answers.pair, strict=True):
        if ties := tied(output):
            said.append(
                f"The {name} answers {ties:,} of {len(output):,} test examples by a tie: several classes have the "
                "highest score, and the lowest of them counts as the answer."
            )
    return said


def lengths(split: Split, setup: Setup) -> list[str]:
    """What was timed of examples that differ in length: which lengths, and in which batches."""
    said = []
    for name, shapes in setup.how.get("shapes", {}).items():
        array: Any = split.inputs[name]
        axes = np.flatnonzero((array.shapes != array.shapes[:1]).any(axis=0)) if is_ragged(array) else np.arange(0)
        timed = np.array(shapes)[:, axes]
        spans = [
            f"{low} to {high}"
            for low, high in zip(array.shapes[:, axes].min(0), array.shapes[:, axes].max(0), strict=True)
        ]
        said.append(
            f"Examples of {name!r} differ in length ({' by '.join(spans)}): batches have one length each, without "
            f"padding. Timed are up to {FEEDS} batches, drawn at random, of {len(shapes):,} examples "
            f"(median {' by '.join(f'{middle:g}' for middle in np.median(timed, axis=0))})."
        )
    return said


def tied(output: Array) -> int:
    """How many examples have their highest score more than once; `output` is (n, classes), else there are none."""
    if output.ndim < 2 or output.shape[1] < 2 or output.size != len(output) * output.shape[1]:
        return 0
    flat = output.reshape(len(output), -1)
    return int(((flat == flat.max(axis=1, keepdims=True)).sum(axis=1) > 1).sum())


def merged(notes: Sequence[str], more: Sequence[str]) -> list[str]:
    """Notes without repetition, in order."""
    return list(dict.fromkeys([*notes, *more]))
