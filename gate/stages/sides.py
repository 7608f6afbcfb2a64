"""The two sides that are compared: a project and its repository at a commit, and as they are checked out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from weighbridge.core.facts.governing_files import WORKFLOW_FOLDERS, decides_libraries, may_run_gate, runs_gate
from weighbridge.core.files import read_bytes
from weighbridge.core.git_tree import LINK, Tree


@dataclass(frozen=True)
class CommittedSide:
    """A commit, with the folder that the project has there."""

    tree: Tree
    folder: str
    """Relative to the repository's top; `.` for the top itself."""

    def project(self, name: str) -> str:
        """A path of the project, relative to the repository's top."""
        return (PurePosixPath(self.folder) / name).as_posix()

    def read(self, path: str) -> bytes | None:
        """A file's bytes, by its path from the repository's top; None where there is no regular file."""
        entry = self.tree.entries.get(path)
        return None if entry is None or entry.mode == LINK else self.tree.read(path)

    def names(self, folders: Sequence[str]) -> list[str]:
        """All files below folders, or of the top folder alone (`.`), by their paths from the repository's top."""
        found = {path for folder in folders if folder != "." for path in self.tree.under(folder)}
        return sorted(found | {path for path in self.tree.entries if "." in folders and "/" not in path})


@dataclass(frozen=True)
class WorkingSide:
    """The same for files as they lie on disk; links are not followed."""

    top: Path
    folder: str

    def project(self, name: str) -> str:
        """A path of the project, relative to the repository's top."""
        return (PurePosixPath(self.folder) / name).as_posix()

    def read(self, path: str) -> bytes | None:
        """A file's bytes, by its path from the repository's top; None where there is no regular file."""
        file = self.top / path
        return read_bytes(file) if file.is_file() and not file.is_symlink() else None

    def names(self, folders: Sequence[str]) -> list[str]:
        """All files below folders, or of the top folder alone (`.`), by their paths from the repository's top."""
        found: set[str] = set()
        for folder in dict.fromkeys(folders):
            paths = self.top.glob("*") if folder == "." else (self.top / folder).rglob("*")
            found |= {path.relative_to(self.top).as_posix() for path in paths if path.is_file()}
        return sorted(found)


Side = CommittedSide | WorkingSide


def library_files(side: Side) -> list[str]:
    """Files that decide which libraries run: in the project's folder, at the repository's top, or between them."""
    home = PurePosixPath(side.folder)
    places = dict.fromkeys([".", *(place.as_posix() for place in (home, *home.parents))])
    paths = [path for place in places for path in side.names([place])]
    beside = [path for path in paths if PurePosixPath(path).parent.as_posix() in places]
    return sorted({path for path in beside if decides_libraries(PurePosixPath(path).name)})


def workflows(side: Side) -> list[str]:
    """Files that say what CI runs, where they mention this program; composite actions always count."""
    names = side.names([*WORKFLOW_FOLDERS, "."])
    return sorted(name for name in names if may_run_gate(name) and runs_gate(name, side.read(name)))
