"""What one job hands to the next is checked as if a stranger had sent it."""

import json
from pathlib import Path
from typing import Any

import pytest

from weighbridge.ci.evidence_bundle import FILES, NOTE, EvidenceBundle, inside, pack, unpack
from weighbridge.core.errors import InputError, IntegrityError

LOCKED = """\
schema: '2.0'
stages:
  prepare: {cmd: x, outs: [{path: artifacts/data, md5: a.dir}, {path: ../elsewhere, md5: b}, {path: pulled, md5: c}]}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    for name in FILES:
        path = root / name / "file.json" if "." not in name else root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (root / "dvc.lock").write_text(LOCKED)
    (root / "artifacts/data").mkdir()
    (root / "artifacts/data/file.json").write_text("artifacts/data")
    return root


def test_what_is_packed_is_unpacked(project: Path, tmp_path: Path) -> None:
    """Every file arrives, every output that the lock names among them, over what a checkout has there."""
    pack(project, tmp_path / "evidence")
    (tmp_path / "clone").mkdir()
    (tmp_path / "clone/dvc.lock").write_text("old")
    unpack(tmp_path / "evidence", tmp_path / "clone")
    assert (tmp_path / "clone/dvc.lock").read_text() == LOCKED
    for name in (*FILES[1:], "artifacts/data"):
        path = tmp_path / "clone" / name
        assert (path / "file.json" if path.is_dir() else path).read_text() == name


@pytest.mark.parametrize("name", FILES)
def test_a_gap_is_refused_before_anything_is_written(project: Path, tmp_path: Path, name: str) -> None:
    """Evidence without its measurements is no evidence."""
    pack(project, tmp_path / "evidence")
    (tmp_path / "evidence" / name).rename(tmp_path / "gone")
    (tmp_path / "clone").mkdir()
    with pytest.raises(InputError, match="file not found"):
        unpack(tmp_path / "evidence", tmp_path / "clone")
    assert list((tmp_path / "clone").iterdir()) == []


def test_links_are_refused(project: Path, tmp_path: Path) -> None:
    """A link could put a file of the runner into the registry, or write outside of the checkout."""
    pack(project, tmp_path / "evidence")
    (tmp_path / "evidence/reports/link").symlink_to("/etc/passwd")
    (tmp_path / "clone").mkdir()
    with pytest.raises(IntegrityError, match="plain file"):
        unpack(tmp_path / "evidence", tmp_path / "clone")
    assert list((tmp_path / "clone").iterdir()) == []


@pytest.mark.parametrize("name", ["..", "a/../../b", "/etc"])
def test_a_project_outside_the_repository_is_refused(tmp_path: Path, name: str) -> None:
    """The note is data: no name in it leads out."""
    with pytest.raises(IntegrityError, match="outside"):
        inside(tmp_path, name)


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        {"schema_version": 2},
        {"schema_version": 1, "commit": "c"},
        {"schema_version": 1, "commit": "c", "weighed": [1]},
    ],
)
def test_a_note_that_is_none_is_one_error(tmp_path: Path, content: dict[str, Any]) -> None:
    """Whatever is missing or of another kind."""
    (tmp_path / NOTE).write_text(json.dumps(content))
    with pytest.raises(InputError):
        EvidenceBundle.read(tmp_path)


def test_the_note_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Commit and projects."""
    note = EvidenceBundle("c" * 40, (".", "models/a"))
    note.write(tmp_path)
    assert EvidenceBundle.read(tmp_path) == note
