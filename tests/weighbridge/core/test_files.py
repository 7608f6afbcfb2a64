"""Files: strict in, canonical out, atomic, digests."""

import contextlib
import errno
import hashlib
import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.core import files, opening
from weighbridge.core.errors import InputError, StateError
from weighbridge.core.strict_yaml import parse_yaml

if TYPE_CHECKING:
    from typing_extensions import Buffer

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def test_digest_of_a_file_is_sha256_of_its_bytes(tmp_path: Path) -> None:
    """The digest is the standard one, with its algorithm named."""
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert files.sha256_file(path) == "sha256:" + hashlib.sha256(b"abc").hexdigest()


def test_digest_of_a_missing_file_names_it(tmp_path: Path) -> None:
    """A file that is missing is one clear error, not a digest."""
    with pytest.raises(InputError, match=r"gone.*cannot be read"):
        files.sha256_file(tmp_path / "gone")


def test_tree_digest_sees_bytes_and_names_but_not_order(tmp_path: Path) -> None:
    """Moving one byte or renaming a file changes the digest of a tree; listing it in another order does not."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("1")
    two.write_text("2")
    digest = files.sha256_tree([one, two], tmp_path)
    assert files.sha256_tree([two, one], tmp_path) == digest
    two.write_text("3")
    assert files.sha256_tree([one, two], tmp_path) != digest


@given(JSON)
def test_canonical_json_reads_back_and_has_one_form(value: object) -> None:
    """What is digested reads back equal, and has the same bytes whatever the order of keys."""
    data = files.canonical_json(value)
    assert files.parse_json(data.decode(), "test") == value
    if isinstance(value, dict):
        assert files.canonical_json(dict(reversed(list(value.items())))) == data


@pytest.mark.parametrize(
    "text", ["NaN", '{"a": Infinity}', "[1,", '{"a": 1, "a": 2}', "[" * 100_000, "[1e999]", '["\\ud800"]']
)
def test_json_that_could_mean_two_things_is_refused(text: str) -> None:
    """NaN, infinity, a key written twice, truncation, absurd nesting and half a character are errors, not values."""
    with pytest.raises(InputError, match=r"m\.json: is not valid JSON"):
        files.parse_json(text, "m.json")


def test_yaml_reads_back_what_was_dumped() -> None:
    """Order and Unicode survive."""
    value = {"z": "größer", "a": [1, 2.5, None]}
    text = files.dump_yaml(value)
    assert parse_yaml(text, "p") == value
    assert text.index("z:") < text.index("a:")


def test_binary_rubbish_is_not_text(tmp_path: Path) -> None:
    """A file that is not UTF-8 is named, not decoded with question marks."""
    path = tmp_path / "params.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is not UTF-8"):
        files.read_yaml(path)


def test_a_write_that_fails_leaves_the_old_bytes_and_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills while writing keeps the old file whole, and the error names the file."""
    path = tmp_path / "verdict.json"
    files.atomic_write(path, b"old")

    def full(self: Path, data: "Buffer") -> NoReturn:
        with self.open("wb") as file:
            file.write(data[:1])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StateError, match=r"verdict\.json: cannot be written: No space left"):
        files.atomic_write(path, b"new bytes")
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["verdict.json"]


def test_an_error_inside_an_atomic_block_passes_through_and_leaves_nothing(tmp_path: Path) -> None:
    """The caller's own error is not disguised, and no file appears."""

    def half() -> None:
        with files.atomic_path(tmp_path / "x") as temporary:
            temporary.write_bytes(b"half")
            raise InputError("mine")

    with pytest.raises(InputError, match="mine"):
        half()
    assert not list(tmp_path.iterdir())


def test_written_files_obey_the_umask(tmp_path: Path) -> None:
    """Temporary files are private; the result is as readable as any other file."""
    old = os.umask(0o022)
    try:
        files.atomic_write(tmp_path / "a", b"")
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_threads_that_write_at_once_leave_the_umask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can only be read by setting it: two threads between each other would leave the process with none."""
    real, old = os.umask, os.umask(0o022)

    def slow(mask: int) -> int:
        found = real(mask)
        time.sleep(0.002)
        return found

    monkeypatch.setattr(os, "umask", slow)
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda number: files.atomic_write(tmp_path / f"{number}", b""), range(12)))
        assert real(0o022) == 0o022
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o644}
    finally:
        real(old)


def special(folder: Path, kind: str) -> Path:
    """A file that is none: a named pipe, a socket or a device."""
    path = folder / kind
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with contextlib.chdir(folder), socket.socket(socket.AF_UNIX) as server:  # a socket's path is short
            server.bind(kind)
    else:
        path.symlink_to("/dev/zero")
    return path


@pytest.mark.parametrize(
    ("kind", "problem"), [("pipe", "a named pipe"), ("socket", "a socket"), ("device", "a device")]
)
@pytest.mark.parametrize("read", [files.read_bytes, files.sha256_file, files.read_yaml, files.read_json])
def test_what_is_no_regular_file_is_refused_before_it_is_opened(
    tmp_path: Path,
    kind: str,
    problem: str,
    read: Callable[[Path], bytes] | Callable[[Path], str] | Callable[[Path], Any],
) -> None:
    """A named pipe would wait for a writer for ever, a device give bytes without end."""
    path = special(tmp_path, kind)
    with pytest.raises(InputError, match=rf"{kind}: is {problem}, not a file"):
        read(path)


def test_a_pipe_put_there_after_the_first_look_is_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that was opened is looked at, not the name alone."""
    path = special(tmp_path, "pipe")
    monkeypatch.setattr(opening, "require_regular", lambda path: None)
    with pytest.raises(InputError, match="is a named pipe"):
        files.read_bytes(path)
