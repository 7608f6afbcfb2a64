"""Putting a version into a folder: whole or not at all, and never over something else."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from weighbridge.core.errors import InputError, IntegrityError, StateError
from weighbridge.registry.publish import pull
from weighbridge.registry.publish.package import Package, choose, plain_name, read_record, unpack

if TYPE_CHECKING:
    from tests.registry.publish.project import Project


@pytest.fixture
def package(project: "Project") -> Iterator[Package]:
    """v1 with its bytes."""
    with pull.packaged(project.root, pull.want(project.root, "fashion-cnn@v1")) as found:
        yield found


def test_a_folder_appears_whole(package: Package, tmp_path: Path) -> None:
    """Model and record, readable for others, and no temporary left."""
    file = unpack(package, tmp_path / "deep/out")
    assert file == tmp_path / "deep/out/model.onnx"
    assert (tmp_path / "deep/out").stat().st_mode & 0o777 == 0o755
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]


def test_the_same_version_again_is_no_error(package: Package, tmp_path: Path) -> None:
    """Pulling twice, as CI does, leaves what is there."""
    unpack(package, tmp_path / "out")
    before = (tmp_path / "out").stat().st_ino
    unpack(package, tmp_path / "out")
    assert (tmp_path / "out").stat().st_ino == before


@pytest.mark.parametrize("damage", ["bytes", "record", "extra", "missing"])
def test_a_folder_with_other_files_is_not_touched(package: Package, tmp_path: Path, damage: str) -> None:
    """Neither overwritten nor believed."""
    out = tmp_path / "out"
    unpack(package, out)
    if damage == "extra":
        (out / "notes.txt").write_text("mine")
    elif damage == "missing":
        (out / "record.yaml").unlink()
    else:
        name = {"bytes": "model.onnx", "record": "record.yaml"}[damage]
        (out / name).write_bytes(b"other")
    with pytest.raises(StateError, match="already exists and has other contents"):
        unpack(package, out)


def test_a_file_in_the_way_is_not_touched(package: Package, tmp_path: Path) -> None:
    """A file of that name is no folder."""
    (tmp_path / "out").write_text("mine")
    with pytest.raises(StateError, match="already exists and has other contents"):
        unpack(package, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_an_empty_folder_is_filled(package: Package, tmp_path: Path) -> None:
    """`mkdir` first is fine."""
    (tmp_path / "out").mkdir()
    assert unpack(package, tmp_path / "out").is_file()


def test_bytes_that_change_under_our_hands_are_noticed(package: Package, tmp_path: Path) -> None:
    """The copy is hashed, not the source."""
    package.file.write_bytes(b"changed after it was located")
    with pytest.raises(IntegrityError, match="does not have the digest"):
        unpack(package, tmp_path / "out")
    assert list(tmp_path.glob("*out*")) == []


def test_a_folder_that_cannot_be_written_is_one_clear_error(package: Package, tmp_path: Path) -> None:
    """A parent that is a file, as a stand-in for a full or read-only disk."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(StateError, match="cannot be written"):
        unpack(package, tmp_path / "file/out")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "/", "a/b", "/a", "../a", "a\\b", "a\0b", "record.yaml", "statement.json"]
)
def test_names_that_leave_the_folder_are_refused(name: str) -> None:
    """Or that would overwrite what confirms the file."""
    with pytest.raises(IntegrityError, match="not a plain file name"):
        plain_name(name, "here")


def test_a_target_that_it_was_not_built_for_is_refused(package: Package) -> None:
    """The error says what there is."""
    assert choose(package.record, "onnxruntime") is package.record.artifacts[0]
    with pytest.raises(InputError, match=r"not built for 'litert'.*built for: onnxruntime"):
        choose(package.record, "litert")


@pytest.mark.parametrize("data", [b"", b"[]", b"model: x", b"\xff", b"a: [", b"a: 1\na: 2\n"])
def test_a_record_that_is_none_is_an_integrity_error(data: bytes) -> None:
    """Whatever came from elsewhere under that name."""
    with pytest.raises(IntegrityError, match="is not a version's record"):
        read_record(data, "there")
