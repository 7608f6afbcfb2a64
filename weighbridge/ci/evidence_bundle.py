"""What the gate's job hands to the job that promotes: files in a folder, and a note of the commit they are about."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from weighbridge.core.dvc_files import Lock
from weighbridge.core.errors import InputError, IntegrityError
from weighbridge.core.files import read_json, read_yaml, write_json
from weighbridge.core.project import LOCK
from weighbridge.registry.state.layout import safe_relative

FOLDER = Path(".weighbridge") / "ci"
"""Below the repository's top: `report/` is uploaded for people, `evidence/` for promotion."""
NOTE = "handover.json"
FILES = (LOCK, "reports", "measurements", "artifacts/recipes", "artifacts/baseline")
"""Of each project, relative to its folder; beside them, every output that its lock file names."""


@dataclass(frozen=True)
class EvidenceBundle:
    """What the gate weighed and passed."""

    commit: str
    weighed: tuple[str, ...]
    """Folders of the projects, relative to the repository's top."""

    def write(self, folder: Path) -> None:
        """Write the note into the evidence's folder."""
        content = {"schema_version": 1, "commit": self.commit, "weighed": list(self.weighed)}
        write_json(folder / NOTE, content)

    @classmethod
    def read(cls, folder: Path) -> EvidenceBundle:
        """Read the note; what is none is an `InputError`."""
        where = str(folder / NOTE)
        content = read_json(folder / NOTE)
        if not isinstance(content, dict) or content.get("schema_version") != 1:
            raise InputError("is not the gate's note", where=where)
        commit, weighed = content.get("commit"), content.get("weighed")
        if not isinstance(commit, str) or not isinstance(weighed, list):
            raise InputError("has no commit or no list of projects", where=where)
        if not all(isinstance(item, str) for item in weighed):
            raise InputError("lists projects that are not folders", where=where)
        return cls(commit, tuple(weighed))


def outputs(folder: Path) -> tuple[str, ...]:
    """What a project's lock file says that its pipeline made, relative to its folder. An output outside of it (another
    project's, or one by an absolute path) is not carried.
    """
    path = folder / LOCK
    made = Lock.of(read_yaml(path), str(path)).outs() if path.exists() else {}
    return tuple(name for name in made if safe_relative(name))


def _names(folder: Path) -> tuple[str, ...]:
    more = (name for name in outputs(folder) if not any(name == one or name.startswith(f"{one}/") for one in FILES))
    return (*FILES, *more)


def pack(root: Path, folder: Path) -> None:
    """Copy a project's evidence into its place in the bundle."""
    for name in _names(root):
        source = root / name
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns(".gitignore", "*.tmp"))
        elif source.exists():
            shutil.copyfile(source, folder / name)


def require_whole(folder: Path) -> None:
    """An `InputError` for a project's evidence that lacks a part."""
    gap = next((name for name in FILES if not (folder / name).exists()), None)
    if gap is not None:
        raise InputError("file not found", where=str(folder / gap))


def unpack(folder: Path, root: Path) -> None:
    """Put a project's evidence where its pipeline would have made it; links and gaps are refused first."""
    require_whole(folder)
    names = [name for name in _names(folder) if (folder / name).exists()]
    for name in names:
        source = folder / name
        for path in (source, *(source.rglob("*") if source.is_dir() else ())):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise IntegrityError("is not a plain file", where=str(path))
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if (folder / name).is_dir():
            shutil.copytree(folder / name, root / name, dirs_exist_ok=True)
        else:
            shutil.copyfile(folder / name, root / name)


def inside(folder: Path, name: str) -> Path:
    """A project's folder below another; one that leads out of it is an `IntegrityError`."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise IntegrityError(f"names a project outside the repository: {name!r}", where=NOTE)
    return path
