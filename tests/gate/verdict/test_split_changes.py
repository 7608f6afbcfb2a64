"""The test set: what was lost, gained, relabelled or sliced otherwise, in numbers."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from weighbridge.data import Split
from weighbridge.gate.verdict.split_changes import examples_digest, labels_digest, split_changes

N = 2000
INPUTS = np.arange(2 * N, dtype=np.float32).reshape(N, 2)
LABELS = np.arange(N) % 10
SLICES = {"low": np.arange(N) < 40, "high": np.arange(N) >= 40}


def split(
    inputs: NDArray[np.float32] = INPUTS,
    labels: NDArray[Any] = LABELS,
    slices: dict[str, NDArray[np.bool]] = SLICES,
) -> Split:
    return Split({"x": inputs}, labels, slices)


BASE = split()


def told(head: Split, base: Split = BASE) -> dict[str, Any]:
    """Kinds and effects of what differs."""
    return {change.kind: change.effect for change in split_changes(base, head)}


def relabelled(count: int) -> Split:
    labels = LABELS.copy()
    labels[:count] = (labels[:count] + 1) % 10
    return split(labels=labels)


def test_lost_examples_are_counted() -> None:
    """312 of 2,000 are gone; a waiver names the digest of what is left."""
    (change,) = split_changes(BASE, BASE.take(slice(312, None)))
    assert (change.kind, change.effect) == ("test examples removed", "the test set lost 312 of 2,000 examples")
    assert (change.base, change.head) == ("2,000 examples", "1,688 examples")
    assert change.accepts == examples_digest(BASE.take(slice(312, None)))
    assert change.blocks


def test_replaced_examples_are_lost_and_gained() -> None:
    """As many as before, and still others: an easier test set."""
    inputs = INPUTS.copy()
    inputs[:5] = -1
    found = told(split(inputs))
    assert found["test examples removed"] == "the test set lost 5 of 2,000 examples and gained 5 examples"


def test_examples_that_were_only_added_are_told() -> None:
    """The old ones are all there; also where one was only repeated."""
    assert told(BASE, BASE.take(slice(100, None))) == {"test examples added": "the test set gained 100 examples"}
    twice = BASE.take(np.r_[np.arange(N), 7])
    assert told(twice) == {"test examples added": "the test set gained 1 example"}


def test_relabelled_examples_are_counted() -> None:
    """Also where the set lost others at once; a wider integer is the same label, one-hot labels are others."""
    assert told(relabelled(12)) == {"labels": "12 of 2,000 examples of the test set have other labels"}
    both = told(relabelled(12).take(slice(0, 1990)))
    assert set(both) == {"test examples removed", "labels"}
    assert both["labels"].startswith("12 of")
    assert told(split(labels=LABELS.astype(np.int32))) == {}
    assert told(split(labels=np.eye(10, dtype=np.float32)[LABELS]))["labels"].startswith("2,000 of")
    assert labels_digest(relabelled(1)) != labels_digest(BASE)


@pytest.mark.parametrize(
    ("slices", "effect"),
    [
        ({"low": SLICES["low"]}, "the slice high is gone"),
        ({**SLICES, "low": np.arange(N) < 35}, "the slice low lost 5 and gained 0 of its examples"),
        ({}, "the slice low is gone; the slice high is gone"),
    ],
)
def test_slices_that_are_gone_or_hold_others_are_named(slices: dict[str, NDArray[np.bool]], effect: str) -> None:
    """What the worst slice is the worst of."""
    assert told(split(slices=slices)) == {"slices": effect}


def test_slices_that_stand_in_for_classes_are_a_change() -> None:
    """Without slices each class is one; a slice over everything would hide the worst class."""
    assert set(told(split(slices={"all": np.ones(N, bool)}), split(slices={}))) == {"slices"}
    assert told(split(slices={**SLICES, "more": SLICES["low"]})) == {}


def test_another_order_is_no_change() -> None:
    """The same examples with their labels and slices, shuffled."""
    assert told(BASE.take(np.random.default_rng(0).permutation(N))) == {}
