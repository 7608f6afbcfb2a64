"""The data contract: named arrays of one length, finite numbers, never a pickle."""

import numpy as np
import pytest

from weighbridge.core.errors import InputError
from weighbridge.data import Data, Split, import_callable, load_data, read_npz, write_npz

X = np.arange(12, dtype=np.float32).reshape(4, 3)
Y = np.array([0, 1, 0, 1])


def make_data():
    """A factory, for `load_data`."""
    return Data(train=Split({"x": X}, Y), test=Split({"x": X}, Y))


def not_data():
    """A factory that returns the wrong thing."""
    return {"train": X}


def broken():
    """A factory that raises."""
    raise RuntimeError("disk on fire")


def empty_test():
    """A factory without test examples."""
    return Data(train=Split({"x": X}, Y), test=Split({"x": X[:0]}, Y[:0]))


def test_a_split_survives_its_file_and_the_file_is_deterministic(tmp_path):
    """Writing twice gives the same bytes; reading gives the same examples and slices."""
    split = Split({"x": X, "other": Y.astype(np.int32)}, Y, {"odd": Y == 1})
    write_npz(tmp_path / "a.npz", split)
    write_npz(tmp_path / "b.npz", split)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    again = read_npz(tmp_path / "a.npz")
    assert again.digest() == split.digest()
    assert list(again.slices) == ["odd"]


def test_the_digest_sees_one_changed_value():
    """Another label is another data set."""
    other = Y.copy()
    other[0] = 1
    assert Split({"x": X}, Y).digest() != Split({"x": X}, other).digest()


@pytest.mark.parametrize(
    ("inputs", "labels", "slices", "problem"),
    [
        ({}, Y, {}, "holds no input"),
        ({"x": X[:3]}, Y, {}, "'x' has 3 examples, the labels 4"),
        ({"x": np.array(["a"] * 4)}, Y, {}, "'x' is not an array of numbers"),
        ({"x": np.full((4, 1), np.nan)}, Y, {}, "'x' holds NaN"),
        ({"x": X}, np.array(3), {}, "'labels' has no examples"),
        ({"x": X}, Y, {"s": Y}, "slice 's' is not a boolean mask"),
    ],
)
def test_examples_that_do_not_fit_are_refused(inputs, labels, slices, problem):
    """Length, type and values are checked where the examples enter."""
    with pytest.raises(InputError, match=problem):
        Split(inputs, labels, slices)


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_npz_is_one_error(tmp_path, seed):
    """Whatever the damage makes numpy trip over: the archive, the compression, the header of an array."""
    path = tmp_path / "damaged.npz"
    np.savez_compressed(path, x=np.random.default_rng(seed).random((200, 3)), labels=np.zeros(200, np.int64))
    with path.open("r+b") as file:
        file.seek(200)
        file.write(b"x" * 40)
    with pytest.raises(InputError, match=r"is not a readable \.npz file"):
        read_npz(path)


def test_npz_without_labels_pickled_or_broken_is_refused(tmp_path):
    """Each says what is wrong with the file; a pickle is never loaded."""
    np.savez(tmp_path / "nolabels.npz", x=X)
    np.savez(tmp_path / "pickled.npz", x=np.array([{}, {}], dtype=object), labels=Y[:2])
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04rubbish")
    for name, problem in (
        ("nolabels", "has no 'labels' array"),
        ("pickled", "holds pickled objects"),
        ("broken", "is not a readable .npz file"),
        ("gone", "is not there"),
    ):
        with pytest.raises(InputError, match=rf"{name}\.npz: {problem}"):
            read_npz(tmp_path / f"{name}.npz")


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        ("nowhere.at.all:f", "nowhere.at.all does not import"),
        (f"{__name__}:gone", "has no callable 'gone'"),
        (f"{__name__}:X", "has no callable 'X'"),
        ("nocolon", "is not 'package.module:callable'"),
        (f"{__name__}:broken", "disk on fire"),
        (f"{__name__}:not_data", "returned dict"),
        (f"{__name__}:empty_test", "the test split is empty"),
    ],
)
def test_factories_that_do_not_deliver_are_named(reference, problem):
    """Import, call and result are each one clear error at the key that named the factory."""
    with pytest.raises(InputError, match=problem) as caught:
        load_data(reference)
    assert str(caught.value).startswith("params.yaml: data.factory: ")


def test_a_good_factory_is_called():
    """The data comes through, and a callable is found by its reference."""
    assert len(load_data(f"{__name__}:make_data").train) == 4
    assert import_callable("os.path:join", "here")("a", "b") == "a/b"
