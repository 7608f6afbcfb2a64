"""The data contract: named arrays of one length, finite numbers, never a pickle."""

import io
import os
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from weighbridge.core.callables import call_factory, import_callable
from weighbridge.core.errors import InputError
from weighbridge.core.formats import npz_file
from weighbridge.data import Data, Split, load_data, read_npz, write_npz

X = np.arange(12, dtype=np.float32).reshape(4, 3)
Y = np.array([0, 1, 0, 1])


def make_data() -> Data:
    """A factory, for `load_data`."""
    return Data(train=Split({"x": X}, Y), test=Split({"x": X}, Y))


def not_data() -> dict[str, NDArray[np.float32]]:
    """A factory that returns the wrong thing."""
    return {"train": X}


def broken() -> NoReturn:
    """A factory that raises."""
    raise RuntimeError("disk on fire")


def empty_test() -> Data:
    """A factory without test examples."""
    return Data(train=Split({"x": X}, Y), test=Split({"x": X[:0]}, Y[:0]))


def test_a_split_survives_its_file_and_the_file_is_deterministic(tmp_path: Path) -> None:
    """Writing twice gives the same bytes; reading gives the same examples and slices."""
    split = Split({"x": X, "other": Y.astype(np.int32)}, Y, {"odd": Y == 1})
    write_npz(tmp_path / "a.npz", split)
    write_npz(tmp_path / "b.npz", split)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    again = read_npz(tmp_path / "a.npz")
    assert again.digest() == split.digest()
    assert list(again.slices) == ["odd"]


def test_the_digest_sees_one_changed_value() -> None:
    """Another label is another data set."""
    other = Y.copy()
    other[0] = 1
    assert Split({"x": X}, Y).digest() != Split({"x": X}, other).digest()


@pytest.mark.parametrize(
    ("inputs", "labels", "slices", "problem"),
    [
        ({}, Y, {}, "holds no input"),
        ({"x": X[:3]}, Y, {}, "'x' has 3 examples, the labels 4"),
        ({"x": np.array(["a"] * 4, object)}, Y, {}, "'x' is an array of Python objects"),
        ({"x": np.array([b"a"] * 4)}, Y, {}, "'x' is an array of bytes"),
        ({"x": np.array([1j] * 4)}, Y, {}, "'x' is not an array of numbers or text"),
        ({"x": np.full((4, 1), np.inf)}, Y, {}, "'x' contains infinite values"),
        ({"x": X}, np.full(4, np.nan), {}, "'labels' contains NaN"),
        ({"x": X}, np.array(3), {}, "'labels' has no examples"),
        ({"x": X}, Y, {"s": Y}, "slice 's' is not a boolean mask"),
    ],
)
def test_examples_that_do_not_fit_are_refused(
    inputs: dict[str, NDArray[Any]], labels: NDArray[Any], slices: dict[str, NDArray[Any]], problem: str
) -> None:
    """Length, type and values are checked where the examples enter."""
    with pytest.raises(InputError, match=problem):
        Split(inputs, labels, slices)


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_npz_is_one_error(tmp_path: Path, seed: int) -> None:
    """Whatever the damage makes numpy trip over: the archive, the compression, the header of an array."""
    path = tmp_path / "damaged.npz"
    np.savez_compressed(path, x=np.random.default_rng(seed).random((200, 3)), labels=np.zeros(200, np.int64))
    with path.open("r+b") as file:
        file.seek(200)
        file.write(b"x" * 40)
    with pytest.raises(InputError, match=r"is not a readable \.npz file"):
        read_npz(path)


def test_npz_pickled_or_broken_is_refused(tmp_path: Path) -> None:
    """Each says what is wrong with the file; a pickle is never loaded."""
    np.savez(tmp_path / "pickled.npz", x=np.array([{}, {}], dtype=object), labels=Y[:2])
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04rubbish")
    for name, problem in (
        ("pickled", "x: contains pickled objects"),
        ("broken", "is not a readable .npz file"),
        ("gone", "file not found"),
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
def test_factories_that_do_not_deliver_are_named(reference: str, problem: str) -> None:
    """Import, call and result are each one clear error at the key that named the factory."""
    with pytest.raises(InputError, match=problem) as caught:
        load_data(reference)
    assert str(caught.value).startswith("params.yaml: data.factory: ")


def test_a_good_factory_is_called() -> None:
    """The data comes through, and a callable is found by its reference."""
    assert len(load_data(f"{__name__}:make_data").train) == 4
    assert import_callable("os.path:join", "here")("a", "b") == "a/b"


def packed(
    path: Path,
    header: dict[str, str | tuple[int]] | None = None,
    body: bytes = b"",
    *,
    names: Sequence[str] = ("x", "labels"),
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    """An archive whose arrays all have this header and body."""
    head = io.BytesIO()
    described = {"descr": "<f4", "fortran_order": False, "shape": (4,), **(header or {})}
    np.lib.format.write_array_header_1_0(head, described)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name in names:
            archive.writestr(f"{name}.npy", head.getvalue() + body)
    return path


@pytest.mark.parametrize(
    ("header", "body", "said"),
    [
        ({"shape": (10**13,)}, b"", "x: its header describes 40,000,000,000,000 bytes, the archive has 0"),
        ({"shape": (2,)}, b"0" * 16, "x: its header describes 8 bytes, the archive has 16"),
        ({"shape": (-4,)}, b"0" * 16, "x: has a negative length"),
        ({"descr": "|O"}, b"0" * 32, "x: contains pickled objects"),
        ({"descr": "nonsense"}, b"", "is not a readable"),
    ],
)
def test_a_header_is_not_believed(tmp_path: Path, header: dict[str, str | tuple[int]], body: bytes, said: str) -> None:
    """Memory is taken for bytes that are there, never for those that a header claims."""
    with pytest.raises(InputError, match=said):
        read_npz(packed(tmp_path / "a.npz", header, body))


def test_an_archive_that_unpacks_to_more_than_the_machine_has_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what it says of itself, before anything is unpacked."""
    path = packed(tmp_path / "bomb.npz", {"shape": (10**7,)}, b"0" * 4 * 10**7, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10**6
    monkeypatch.setattr(npz_file, "_memory", lambda: 10**7)
    monkeypatch.setattr(npz_file, "_array", lambda *_: pytest.fail("unpacked"))
    with pytest.raises(InputError, match="unpacks to 80,000,256 bytes; at most 10,000,000 are read"):
        read_npz(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([f"x{index}" for index in range(1001)], "contains 1,001 arrays"),
        (["x", "labels", "x"], "two arrays of one name"),
    ],
)
def test_archives_with_odd_members_are_refused(tmp_path: Path, names: list[str], said: str) -> None:
    """A thousand arrays are enough, and the second of one name would win in silence."""
    with pytest.raises(InputError, match=said):
        read_npz(packed(tmp_path / "a.npz", body=b"0" * 16, names=names))


def test_a_header_that_is_long_or_deep_is_refused(tmp_path: Path) -> None:
    """Numpy parses it as Python."""
    for text in (
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (4,)" + b" " * 20_000 + b"}",
        b"(" * 5_000,
        b"-" * 5_000,
    ):
        data = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr("labels.npy", data)
        with pytest.raises(InputError, match="is not a readable"):
            read_npz(tmp_path / "a.npz")


def test_a_pipe_is_no_archive(tmp_path: Path) -> None:
    """Opening it would wait for a writer."""
    os.mkfifo(tmp_path / "a.npz")
    with pytest.raises(InputError, match="is a named pipe"):
        read_npz(tmp_path / "a.npz")


NUMBERS = st.one_of(arrays.integer_dtypes(), arrays.floating_dtypes(sizes=(16, 32, 64)), arrays.boolean_dtypes())
FRESH = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


@FRESH
@given(
    arrays.arrays(NUMBERS, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0)),
    st.booleans(),
    st.booleans(),
)
def test_honest_arrays_come_back(tmp_path: Path, array: NDArray[Any], column_major: bool, compressed: bool) -> None:
    """Of every type, byte order, shape (empty ones too) and layout, as numpy itself reads them."""
    path = tmp_path / "a.npz"
    save = np.savez_compressed if compressed else np.savez
    save(path, a=np.asfortranarray(array) if column_major else array)
    found = npz_file.read_arrays(path)["a"]
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


@FRESH
@given(st.lists(st.tuples(st.integers(0, 600), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4))
def test_damage_is_one_error_or_honest_arrays(tmp_path: Path, edits: list[tuple[int, bytes]]) -> None:
    """Whatever bytes are changed, nothing but an `InputError` comes of it, or arrays."""
    path = tmp_path / "a.npz"
    write_npz(path, Split({"x": X}, Y))
    data = bytearray(path.read_bytes())
    for place, change in edits:
        data[place : place + len(change)] = change
    path.write_bytes(bytes(data))
    try:
        read_npz(path)
    except InputError as error:
        assert str(error.where).startswith(str(path))  # noqa: PT017  # both outcomes are right


def test_examples_need_no_labels_and_may_belong_to_groups(tmp_path: Path) -> None:
    """Both survive the file; the digest knows groups, and is as it was where there are none."""
    plain, grouped = Split({"x": X}), Split({"x": X}, Y, groups=np.array([f"patient {i // 2}" for i in range(len(X))]))
    assert (plain.labelled, grouped.labelled, len(plain)) == (False, True, len(X))
    assert grouped.digest() != Split({"x": X}, Y).digest()
    for split in (plain, grouped):
        write_npz(tmp_path / "split.npz", split)
        again = read_npz(tmp_path / "split.npz")
        assert again.digest() == split.digest()
        assert again.labelled == split.labelled
        assert len(again.take(slice(2))) == 2
    assert list(grouped.take(slice(2)).groups) == ["patient 0"] * 2
    with pytest.raises(InputError, match=r"'groups' is float64 of shape .*; expected an integer or a text"):
        Split({"x": X}, Y, groups=np.zeros(len(X)))
    with pytest.raises(InputError, match="an input is called 'groups'"):
        write_npz(tmp_path / "split.npz", Split({"groups": X}, Y, groups=np.arange(len(X))))


def test_a_factory_at_the_top_of_the_repository_runs_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found from a project's folder below, and its relative paths mean what they mean in the user's own scripts."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "numbers.txt").write_text("7")
    (tmp_path / "top_code.py").write_text(
        "from pathlib import Path\nread = Path('numbers.txt').read_text()\n"
        "def make():\n    return read + Path('numbers.txt').read_text()\n"
    )
    project = tmp_path / "compression/net"
    project.mkdir(parents=True)
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert call_factory("top_code:make", "here") == "77"
    assert Path.cwd() == project
    monkeypatch.delitem(sys.modules, "top_code")
    (project / "top_code.py").write_text("def make():\n    return 'own'\n")
    assert call_factory("top_code:make", "here") == "own"
    monkeypatch.delitem(sys.modules, "top_code")
