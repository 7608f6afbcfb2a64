"""The wrapper around git, on real repositories."""

import subprocess
import sys
from hashlib import sha1
from pathlib import Path

import pytest

from weighbridge.core.errors import StateError
from weighbridge.core.git import Git


@pytest.fixture
def repository(tmp_path: Path) -> Git:
    git = Git(tmp_path)
    git.run("init", "--quiet", "--initial-branch=main")
    git.run("config", "user.name", "test")
    git.run("config", "user.email", "test@example.invalid")
    (tmp_path / "a.txt").write_text("one\n")
    git.run("add", "a.txt")
    git.run("commit", "--quiet", "--message", "first")
    return git


def test_dirty_lists_changed_and_untracked_files(repository: Git) -> None:
    """A clean tree has none; an edit and a new file are both seen, and a path narrows the question."""
    assert repository.dirty() == []
    (repository.root / "a.txt").write_text("two\n")
    (repository.root / "b").mkdir()
    (repository.root / "b" / "c.txt").write_text("new\n")
    assert sorted(repository.dirty()) == ["a.txt", "b/c.txt"]
    assert repository.dirty("b") == ["b/c.txt"]


def test_what_dvc_writes_where_it_is_asked_is_no_change(repository: Git) -> None:
    """Asked for its remote, DVC writes a file of ignored paths where there was none; whatever else is new counts."""
    root = repository.root
    (root / ".dvc").mkdir()
    (root / ".dvc/config").write_text("[core]\n    remote = far\n['remote \"far\"']\n    url = ssh://host.invalid/x\n")
    repository.run("add", ".dvc")
    repository.run("commit", "--quiet", "--message", "dvc")
    script = "from dvc.repo import Repo; Repo('.').cloud"
    subprocess.run([sys.executable, "-c", script], cwd=root, check=True)
    assert "?? .dvc/.gitignore" in repository.run("status", "--porcelain")
    assert repository.dirty() == []
    (root / ".dvc/own").write_text("x")
    assert repository.dirty() == [".dvc/own"]


def test_show_reads_a_revision_and_tells_absence(repository: Git) -> None:
    """A file as it stood is its text; one that was not there is None."""
    (repository.root / "a.txt").write_text("two\n")
    assert repository.show("HEAD", "a.txt") == "one\n"
    assert repository.show("HEAD", "gone.txt") is None
    assert len(repository.head()) == 40


def test_refusals_are_one_clear_error(tmp_path: Path) -> None:
    """No repository, no commit and no folder are each a StateError."""
    with pytest.raises(StateError, match="not a git repository"):
        Git.discover(tmp_path)
    Git(tmp_path).run("init", "--quiet")
    with pytest.raises(StateError, match="rev-parse failed"):
        Git(tmp_path).head()
    with pytest.raises(StateError, match="not found"):
        Git(tmp_path / "gone").run("status")


def test_many_objects_cost_one_process(repository: Git, tmp_path: Path) -> None:
    """Files become objects and objects bytes, whatever they hold; what is no file there is an error."""
    contents = [b"", b"one\n", b"no end", b"\0\n\r\n" * 100]
    files = [tmp_path / f"file {number}" for number in range(len(contents))]
    for file, data in zip(files, contents, strict=True):
        file.write_bytes(data)
    blobs = repository.write_blobs(files)
    assert blobs == [sha1(b"blob %d\0" % len(data) + data).hexdigest() for data in contents]
    assert repository.objects([*blobs, blobs[0]]) == [*contents, contents[0]]
    assert repository.objects([]) == []
    for name in ("0" * 40, repository.head()):
        with pytest.raises(StateError, match="git has no file"):
            repository.objects([blobs[0], name])


def test_present_names_exact_paths_only(repository: Git) -> None:
    """A pattern, a folder's prefix and what is only in the working tree are missing."""
    (repository.root / "b").write_text("x")
    assert repository.present("HEAD", ["a.txt", "a*", "a", "b"]) == {"a.txt"}
