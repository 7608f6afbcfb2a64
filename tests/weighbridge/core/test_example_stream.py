"""Data sets that stream: one example in memory at a time, all in order on disk, one line for what is wrong."""

import re
import tracemalloc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from weighbridge.core.errors import InputError
from weighbridge.core.formats.example_stream import spooled
from weighbridge.core.formats.npz_file import read_arrays
from weighbridge.data import Data, Split, StreamedSplit, read_npz, write_npz


class Counted(Dataset):
    """Map-style; counts how many of its examples are alive."""

    def __init__(self, count: int, size: int = 8) -> None:
        self.count, self.size, self.alive, self.most = count, size, 0, 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: Any) -> tuple[NDArray[Any], Any]:
        image = np.full(self.size, index, np.float32)
        self.alive += 1
        self.most = max(self.most, self.alive)
        weakref.finalize(image, self.gone)
        return image, index % 3

    def gone(self) -> None:
        self.alive -= 1


class Endless(IterableDataset):
    """A stream of unknown length."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        index = 0
        while True:
            yield {"x": torch.full((4,), float(index)), "label": index % 2}
            index += 1


class Rows(list):
    """Like a Hugging Face data set: rows as dictionaries of Python values, iterable, with a length."""


def test_a_map_style_data_set_is_read_one_example_at_a_time() -> None:
    """In order, labels beside it, and never more than two examples alive."""
    source = Counted(500)
    split = Data(train=source, test=source, names=("x",)).train
    assert np.array_equal(split.inputs["x"][:, 0], np.arange(500))
    assert np.array_equal(split.labels, np.arange(500) % 3)
    assert source.most <= 2


def test_nothing_of_the_size_of_the_data_set_is_in_memory(tmp_path: Path) -> None:
    """64 MB of examples pass through reading, writing, checking and batches with 4 MB of arrays."""
    source = Counted(256, size=1 << 16)
    tracemalloc.start()
    split = Data(train=source, test=source, names=("x",)).train
    write_npz(tmp_path / "a.npz", split)
    stored = read_npz(tmp_path / "a.npz", mapped=True)
    assert stored.digest() == split.digest()
    assert stored.rows(np.array([7, 3]))[0]["x"][:, 0].tolist() == [7, 3]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert stored.inputs["x"].nbytes == 1 << 26
    assert peak < 20e6


@pytest.mark.parametrize(
    ("source", "names"),
    [
        (TensorDataset(torch.arange(12.0).reshape(4, 3), torch.arange(4)), ("x",)),
        (Rows({"x": [3.0 * i, 3.0 * i + 1, 3.0 * i + 2], "label": i} for i in range(4)), ("input",)),
        ([({"x": np.arange(3, dtype=np.float32) + 3 * i}, i) for i in range(4)], ("input",)),
    ],
)
def test_every_form_of_example_gives_the_same_arrays(
    source: TensorDataset | Rows | list[tuple[dict[str, NDArray[np.float32]], int]], names: tuple[str]
) -> None:
    """Tuples of tensors, rows of Python values, and pairs of named inputs and a label."""
    split = Data(train=source, test=source, names=names).train
    assert split.inputs["x"].dtype == np.float32
    assert np.array_equal(split.inputs["x"], np.arange(12, dtype=np.float32).reshape(4, 3))
    assert np.array_equal(split.labels, np.arange(4))


def test_a_memory_map_needs_no_labels_and_groups_and_slices_come_along(tmp_path: Path) -> None:
    """An array of examples is a data set too; a row may say its group and slices."""
    np.save(tmp_path / "x.npy", np.arange(6.0).reshape(3, 2))
    plain = Data(train=np.load(tmp_path / "x.npy", mmap_mode="r"), test=[], names=("x",)).train
    assert (len(plain), plain.labelled, plain.inputs["x"].dtype) == (3, False, np.float64)
    row = {"x": np.float32(1), "labels": 0, "groups": "patient 1", "slice:rare": True}
    rich = Data(train=[row, row], test=[]).train
    assert (list(rich.groups), rich.slices["rare"].tolist()) == (["patient 1"] * 2, [True, True])


def test_examples_that_differ_in_length_are_kept_as_they_are(tmp_path: Path) -> None:
    """Not padded: the same examples come back, from the file too. Labels are filled up."""
    rows = [{"x": np.arange(n, dtype=np.float32), "words": "a" * n, "label": [7] * n} for n in (3, 1, 2)]
    split = Data(train=rows, test=rows).train
    write_npz(tmp_path / "a.npz", split)
    for found in (split, read_npz(tmp_path / "a.npz", mapped=True)):
        assert [example.tolist() for example in found.inputs["x"]] == [[0, 1, 2], [0], [0, 1]]
        assert found.inputs["words"].tolist() == ["aaa", "a", "aa"]
        assert found.labels.tolist() == [[7, 7, 7], [7, -100, -100], [7, 7, -100]]


def test_missing_values_are_refused_when_a_data_set_is_read() -> None:
    """As in arrays: an input must be declared to lack values."""
    split = Data(train=[{"x": np.array([1.0, np.nan])}], test=[]).train
    split.require_known((), "params.yaml")
    with pytest.raises(InputError, match="contains NaN"):
        len(split)


def test_a_stream_of_unknown_length_needs_to_be_told_how_much() -> None:
    """To train on it without `steps` would never end."""
    split = Data(train=Endless(), test=[{"x": 1}]).train
    with pytest.raises(InputError, match="unknown length") as caught:
        len(split)
    assert "train.steps" in caught.value.fix
    assert isinstance(split, StreamedSplit)
    split.bound(10)
    assert split.inputs["x"][:, 0].tolist() == list(range(10))


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ([], "gave 0 examples"),
        ([{"x": np.zeros(3)}, {"x": np.zeros((3, 1))}], r"example 1: x: is float64 \(3, 1\); the first example has"),
        ([{"x": np.zeros(3)}, {"x": np.zeros(3, np.float32)}], "is float32"),
        ([{"x": 1}, {"y": 1}], "example 1: has y; the first example has x"),
        ([{"x": object()}], "is object, not numbers or text"),
        ([(1, 2, 3)], "has 3 parts; expected the inputs input"),
        (DataLoader(TensorDataset(torch.zeros(4, 2))), "is a DataLoader"),
        (7, "is a int, which can neither be iterated"),
    ],
)
def test_what_does_not_fit_is_one_line_that_names_the_example(
    source: int | list[Any] | DataLoader[tuple[torch.Tensor, ...]], problem: str
) -> None:
    """Never a padded, dropped or converted example."""
    with pytest.raises(InputError) as caught:
        spooled(source, ("input",), "data.factory: train")
    assert re.search(problem, str(caught.value))


def test_a_data_set_that_ends_early_or_fails_is_refused() -> None:
    """A length is a promise; what reading raises names the example."""

    class Short(Rows):
        def __iter__(self) -> Iterator[Any]:
            yield from list.__iter__(self)
            raise OSError("disk gone")

    class Fewer(Rows):
        def __len__(self) -> int:
            return 5

    with pytest.raises(InputError, match=r"example 2.*disk gone"):
        spooled(Short([1, 2]), ("x",), "data")
    with pytest.raises(InputError, match="gave 2 examples; the data set says 5"):
        spooled(Fewer([1, 2]), ("x",), "data")


def test_a_mapped_archive_is_compared_with_its_checksum(tmp_path: Path) -> None:
    """A changed byte is found when the file is opened; compressed arrays are read as before."""
    split = Split({"x": np.arange(1000, dtype=np.float32), "none": np.zeros((1000, 0), np.float32)}, np.arange(1000))
    write_npz(tmp_path / "a.npz", split)
    found = read_arrays(tmp_path / "a.npz", mapped=True)
    assert all(np.array_equal(found[name], array) for name, array in split.inputs.items())
    assert isinstance(found["x"].base, np.memmap)
    np.savez_compressed(tmp_path / "b.npz", x=split.inputs["x"])
    assert not isinstance(read_arrays(tmp_path / "b.npz", mapped=True)["x"].base, np.memmap)
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[data.index(np.float32(700).tobytes())] ^= 1
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(InputError, match=r"not a readable \.npz"):
        read_npz(tmp_path / "a.npz", mapped=True)
