"""The wrapper around git, on real repositories."""

import pytest

from weighbridge.errors import StateError
from weighbridge.git import Git


@pytest.fixture
def repository(tmp_path):
    git = Git(tmp_path)
    git.run("init", "--quiet", "--initial-branch=main")
    git.run("config", "user.name", "test")
    git.run("config", "user.email", "test@example.invalid")
    (tmp_path / "a.txt").write_text("one\n")
    git.run("add", "a.txt")
    git.run("commit", "--quiet", "--message", "first")
    return git


def test_dirty_lists_changed_and_untracked_files(repository):
    """A clean tree has none; an edit and a new file are both seen, and a path narrows the question."""
    assert repository.dirty() == []
    (repository.root / "a.txt").write_text("two\n")
    (repository.root / "b").mkdir()
    (repository.root / "b" / "c.txt").write_text("new\n")
    assert sorted(repository.dirty()) == ["a.txt", "b/c.txt"]
    assert repository.dirty("b") == ["b/c.txt"]


def test_show_reads_a_revision_and_tells_absence(repository):
    """A file as it stood is its text; one that was not there is None."""
    (repository.root / "a.txt").write_text("two\n")
    assert repository.show("HEAD", "a.txt") == "one\n"
    assert repository.show("HEAD", "gone.txt") is None
    assert len(repository.head()) == 40


def test_refusals_are_one_clear_error(tmp_path):
    """No repository, no commit and no folder are each a StateError."""
    with pytest.raises(StateError, match="not a git repository"):
        Git.discover(tmp_path)
    Git(tmp_path).run("init", "--quiet")
    with pytest.raises(StateError, match="rev-parse failed"):
        Git(tmp_path).head()
    with pytest.raises(StateError, match="not there"):
        Git(tmp_path / "gone").run("status")
