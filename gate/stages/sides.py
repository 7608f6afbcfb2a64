"""The two sides that are compared: a project and its repository at a commit, and as they are checked out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from weighbridge.core.files import read_bytes
from weighbridge.core.git_tree import LINK, Tree

WORKFLOW_FOLDERS = (".github/workflows", ".github/actions")
WORKFLOW_FILES = (".gitlab-ci.yml", "Jenkinsfile", "action.yml", "action.yaml")


@dataclass(frozen=True)
class Committed:
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
class Checkout:
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


Side = Committed | Checkout


def matching(side: Side, patterns: Sequence[str]) -> list[str]:
    """Files in the project's folder or at the repository's top whose names fit."""
    homes = dict.fromkeys((".", side.folder))
    paths = [path for home in homes for path in side.names([home])]
    at_home = [path for path in paths if PurePosixPath(path).parent.as_posix() in homes]
    return sorted({path for path in at_home if any(fnmatch(PurePosixPath(path).name, item) for item in patterns)})


def workflows(side: Side) -> list[str]:
    """Files that say what CI runs, where they mention this program; composite actions always count."""
    names = [*side.names(WORKFLOW_FOLDERS), *(name for name in side.names(["."]) if name in WORKFLOW_FILES)]
    return sorted(
        name
        for name in names
        if name.startswith(".github/actions/") or b"weighbridge" in (side.read(name) or b"").lower()
    )
