import subprocess
from pathlib import Path

import pytest

from weighbridge.gate.weighing.continuing import brought


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty repository as the current folder."""
    root = tmp_path / "repository"
    subprocess.run(["git", "init", "-q", root], check=True)
    monkeypatch.chdir(root)
    return root


def track(root: Path, *paths: str | Path) -> None:
    subprocess.run(["git", "add", "-f", "--", *paths], cwd=root, check=True)


def written(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    return path


def test_what_was_written_here_is_continued(repository: Path, tmp_path: Path) -> None:
    """Untracked, ignored or outside every repository."""
    assert brought(repository / "out/measurement.json") is None
    assert brought(written(repository / "out/measurement.json")) is None
    (repository / ".gitignore").write_text("out\n")
    track(repository, ".gitignore")
    assert brought(repository / "out/measurement.json") is None
    assert brought(written(tmp_path / "elsewhere/measurement.json")) is None


def test_what_git_tracks_is_not_continued(repository: Path) -> None:
    """A pull request can bring it, ignored or not."""
    target = written(repository / "out/measurement.json")
    track(repository, "out/measurement.json")
    assert "tracked by Git" in brought(target)


def test_a_link_to_a_tracked_file_is_not_continued(repository: Path, tmp_path: Path) -> None:
    """What counts is the file that is read."""
    track(repository, written(repository / "kept/measurement.json"))
    (tmp_path / "way").symlink_to(repository / "kept")
    assert "tracked by Git" in brought(tmp_path / "way/measurement.json")


@pytest.mark.parametrize("pointer", ["out.dvc", "out/measurement.json.dvc"])
def test_what_a_pointer_of_dvc_brings_is_not_continued(repository: Path, pointer: str) -> None:
    """`dvc pull` brings what a pull request named."""
    target = written(repository / "out/measurement.json")
    written(repository / pointer)
    assert "DVC pointer" in brought(target)


def test_what_git_cannot_tell_is_not_continued(repository: Path) -> None:
    """A repository that Git does not read."""
    target = written(repository / "out/measurement.json")
    (repository / ".git/HEAD").unlink()
    assert "cannot tell" in brought(target)
