from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from weighbridge.core.errors import InputError
from weighbridge.core.ragged import Ragged, buckets, joined, stacked
from weighbridge.data import Split, read_npz, write_npz

LENGTHS = (3, 1, 3, 2, 1)


def lists(width: int = 2) -> list[NDArray[Any]]:
    return [np.arange(length * width, dtype=np.float32).reshape(length, width) + length for length in LENGTHS]


def test_examples_of_different_lengths_behave_like_an_array() -> None:
    """One index, slices, masks and indices give examples as they were given; nothing is filled up."""
    ragged = Ragged.of(lists())
    assert (len(ragged), ragged.ndim, ragged.dtype, len(ragged.flat)) == (5, 3, np.float32, 20)
    for index, example in enumerate(lists()):
        assert np.array_equal(ragged[index], example)
    assert [len(example) for example in ragged[1:4]] == [1, 3, 2]
    assert [len(example) for example in ragged[np.array([4, 0])]] == [1, 3]
    assert [len(example) for example in ragged[np.array(LENGTHS) == 3]] == [3, 3]
    assert ragged.padded(-1).shape == (5, 3, 2)
    assert ragged.inside().sum(axis=1).tolist() == list(LENGTHS)


def test_batches_have_one_shape_and_answers_come_back_in_order() -> None:
    """Examples alike in the shapes of every input form a bucket; answers take their examples' places again."""
    arrays = {"x": Ragged.of(lists()), "y": np.arange(5)}
    found = [(chosen, stacked(arrays, chosen)) for chosen in buckets(arrays)]
    assert [chosen.tolist() for chosen, _ in found] == [[0, 2], [1, 4], [3]]
    assert [part["x"].shape for _, part in found] == [(2, 3, 2), (2, 1, 2), (1, 2, 2)]
    whole = joined([(chosen, part["y"]) for chosen, part in found])
    assert whole.tolist() == [0, 1, 2, 3, 4]
    again = joined([(chosen, part["x"]) for chosen, part in found])
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(again, lists(), strict=True))


def test_a_file_has_values_and_lengths(tmp_path: Path) -> None:
    """What is written is read with the same digest; `NAME.lengths` cuts values along their first axis."""
    split = Split({"x": lists(), "image": [np.zeros((3, width), np.float32) for width in LENGTHS]}, np.arange(5))
    write_npz(tmp_path / "a.npz", split)
    again = read_npz(tmp_path / "a.npz")
    assert again.digest() == split.digest()
    assert again.inputs["image"][0].shape == (3, 3)
    assert split.digest() != Split({"x": lists()[::-1], "image": split.inputs["image"]}, np.arange(5)).digest()
    flat = np.concatenate(lists())
    np.savez(tmp_path / "b.npz", **{"x": flat, "x.lengths": np.array(LENGTHS), "labels": np.arange(5)})
    assert np.array_equal(read_npz(tmp_path / "b.npz").inputs["x"][2], lists()[2])
    np.savez(tmp_path / "b.npz", **{"x": flat, "x.lengths": np.array([9, 9]), "labels": np.arange(2)})
    with pytest.raises(InputError, match=r"'x' does not fit 'x.lengths': the lengths describe 36 values; there are 20"):
        read_npz(tmp_path / "b.npz")


def test_lists_become_arrays_where_they_can() -> None:
    """Alike in shape: one array. Labels of tokens are filled up with what does not count. Mixed types are refused."""
    assert Split({"x": [np.zeros(2), np.ones(2)]}, np.zeros(2, int)).inputs["x"].shape == (2, 2)
    labels = Split({"x": lists()}, [np.ones(length, int) for length in LENGTHS]).labels
    assert (labels == 1).sum(axis=1).tolist() == list(LENGTHS)
    assert set(labels[labels != 1].tolist()) == {-100}
    with pytest.raises(InputError, match="'x': expected arrays of one type and rank"):
        Split({"x": [np.zeros(2), np.zeros((2, 2))]}, np.zeros(2, int))
    with pytest.raises(InputError, match="'x' has 5 examples, the labels 4"):
        Split({"x": lists()}, np.zeros(4, int))
