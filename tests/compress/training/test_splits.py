"""Parts of a split: balanced, disjoint, repeatable; a calibration set of one class or none is refused."""

import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from weighbridge.compress.training.splits import StoredSplit, balanced, calibration, forget, holdout
from weighbridge.core.errors import InputError
from weighbridge.data import Data, Split, write_npz


def split(labels: NDArray[Any] | list[int]) -> Split:
    """A split whose input is the example's own number."""
    labels = np.asarray(labels)
    return Split({"x": np.arange(len(labels), dtype=np.float32)}, labels, {"even": np.arange(len(labels)) % 2 == 0})


@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.integers(1, 60), st.integers(0, 9))
def test_classes_are_dealt_out_evenly(labels: list[int] | NDArray[Any], count: int, seed: int) -> None:
    """No class has two more than another unless that other one is used up."""
    labels = np.array(labels)
    chosen = balanced(labels, count, seed)
    assert len(chosen) == len(set(chosen)) == min(count, len(labels))
    taken = {label: int((labels[chosen] == label).sum()) for label in set(labels)}
    for label, number in taken.items():
        for other, few in taken.items():
            assert number <= few + 1 or few == int((labels == other).sum()), (label, other)


def test_the_choice_is_repeatable_and_depends_on_the_seed() -> None:
    """The same seed draws the same examples."""
    labels = np.arange(100) % 10
    assert np.array_equal(balanced(labels, 30, 1), balanced(labels, 30, 1))
    assert not np.array_equal(balanced(labels, 30, 1), balanced(labels, 30, 2))


def test_float_labels_are_drawn_without_regard_to_their_values() -> None:
    """Regression has no classes to balance."""
    assert len(balanced(np.linspace(0, 1, 50), 20, 0)) == 20


def test_holdout_parts_are_disjoint_and_whole() -> None:
    """Every example is in exactly one part, with its slices."""
    whole = split(np.arange(50) % 5)
    rest, held = holdout(whole, 0.2, 3)
    assert (len(rest), len(held)) == (40, 10)
    assert sorted([*rest.inputs["x"], *held.inputs["x"]]) == list(range(50))
    assert np.bincount(held.labels).tolist() == [2, 2, 2, 2, 2]
    assert np.array_equal(held.slices["even"], held.inputs["x"] % 2 == 0)


def test_batches_of_a_part_come_from_the_whole_split_without_a_copy_of_the_part() -> None:
    """A training on nine tenths of a mapped data set holds a batch of it."""
    rest, _ = holdout(split(np.arange(50) % 5), 0.2, 3)
    inputs, labels = rest.rows(slice(3, 5))
    assert "whole" not in vars(rest)
    assert np.array_equal(inputs["x"], rest.inputs["x"][3:5])
    assert np.array_equal(labels, rest.labels[3:5])
    assert np.array_equal(rest.take(np.array([0, 9])).labels, rest.labels[[0, 9]])


def test_a_holdout_that_empties_a_part_is_refused() -> None:
    """Two examples have no tenth."""
    with pytest.raises(InputError, match="leaves a part empty"):
        holdout(split([0, 1]), 0.1, 3)


def test_calibration_is_drawn_from_train_where_none_is_given() -> None:
    """512 examples at most, every class in its share."""
    chosen = calibration(split(np.arange(1000) % 4), None, 0, "data")
    assert np.bincount(chosen.labels).tolist() == [128] * 4


def test_calibration_of_no_example_or_one_class_is_refused() -> None:
    """Ranges taken on it would be wrong; one line says so and what to do."""
    train = split(np.arange(20) % 2)
    with pytest.raises(InputError, match="data: the calibration split is empty"):
        calibration(train, train.take(slice(0, 0)), 0, "data")
    with pytest.raises(InputError, match="holds one class alone \\(1\\)"):
        calibration(train, train.take(train.labels == 1), 0, "data")
    assert len(calibration(train, train, 0, "data")) == 20


def test_a_stored_split_is_the_split_that_was_written(tmp_path: Path) -> None:
    """Values, slices and digest come back, inputs in the order asked for."""
    path = tmp_path / "some.npz"
    there = Split(
        {"b": np.ones((3, 2)), "a": np.zeros(3)}, np.array([0, 1, 2]), {"even": np.array([True, False, True])}
    )
    write_npz(path, there)
    stored = StoredSplit(path, ["a", "b"])
    assert list(stored.inputs) == ["a", "b"]
    assert len(stored) == 3
    assert stored.digest() == there.digest()
    assert stored.take(slice(1, 2)).labels.tolist() == [1]


def test_a_stored_split_is_read_when_it_is_used_and_then_once(tmp_path: Path) -> None:
    """Before the first use the file may even be missing; after it, it is not read again."""
    path = tmp_path / "some.npz"
    stored = StoredSplit(path, ["x"])
    with pytest.raises(InputError, match="file not found"):
        len(stored)
    write_npz(path, split([0, 1]))
    assert len(stored) == 2
    path.unlink()  # as replacing it does: what is mapped stays
    path.write_bytes(b"broken")
    assert stored.inputs["x"].tolist() == [0, 1]
    with pytest.raises(InputError, match=r"some\.npz"):
        len(StoredSplit(path, ["x"]))


def test_a_stored_split_that_was_dropped_is_read_again(tmp_path: Path) -> None:
    """Its arrays go out of memory; whoever asks next gets those of the file. Calibration stays, and plain splits do."""
    path = tmp_path / "some.npz"
    write_npz(path, split([0, 1]))
    stored, calibrating = StoredSplit(path, ["x"]), StoredSplit(path, ["x"])
    plain = split([3])
    held = [weakref.ref(part.inputs["x"]) for part in (stored, calibrating, plain)]
    forget(Data(train=stored, test=plain, calibration=calibrating))
    assert [reference() is not None for reference in held] == [False, True, True]
    assert stored.labels.tolist() == [0, 1]
