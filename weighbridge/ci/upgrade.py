"""`weighbridge init --upgrade`: bring what an earlier `init` wrote to the form of today."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from weighbridge.ci.init_files import old_text
from weighbridge.ci.locking import LOCKED, PROMOTE_LOCKED, constraints, promote_constraints
from weighbridge.ci.scaffold import REQUIREMENTS
from weighbridge.ci.setup import FileChange
from weighbridge.core.files import atomic_write
from weighbridge.core.git import Git

_FROM_INDEX = re.compile(r"weighbridge(\[[a-z,]+\])?==[0-9][0-9A-Za-z.]*")
_RENAMED = re.compile(r"(weighbridge registry promote\b[^\n]*?) --(smallest|fastest|most-accurate)\b")

_LOCKS = {LOCKED: constraints, PROMOTE_LOCKED: promote_constraints}
_UNLOCKED = re.compile(r'python -m pip install ("weighbridge(?:\[judge,keyless,pipeline\])? @)')


def upgraded(text: str, source: str) -> str:
    """A file's text with installs from `source` and by exact versions, and options in the spelling of today."""
    text = _FROM_INDEX.sub(lambda match: f"weighbridge{_extras(match[1] or '')} @ {source}", text)
    text = _UNLOCKED.sub(rf"python -m pip install --constraint {PROMOTE_LOCKED} \1", text)
    return _RENAMED.sub(r"\1 --select \2", text)


def changes(folder: Path, source: str) -> list[FileChange]:
    """What would change in a project's requirements, dvc.yaml and workflows, and the locks of libraries that they name
    and that do not exist; empty where all is of today.
    """
    found = [(path, path.read_text(encoding="utf-8")) for path in _files(folder) if path.is_file()]
    new = {path: upgraded(old, source) for path, old in found}
    top = Git.discover(folder).root
    said = "\n".join(new.values())
    made = [
        FileChange(path, None, text())
        for name, text in _LOCKS.items()
        if f"--constraint {name}" in said and old_text(path := top / name) is None
    ]
    return [FileChange(path, old, new[path]) for path, old in found if new[path] != old] + made


def write(found: list[FileChange]) -> None:
    """Write the changes, each file in one step; new files are staged, so that `git commit -a` takes them."""
    for change in found:
        atomic_write(change.path, change.new.encode())
        if change.old is None:
            Git.discover(change.path.parent).run("add", "--", str(change.path))


def _extras(extras: str) -> str:
    return "[judge,keyless,pipeline]" if extras == "[keyless,pipeline]" else extras


def _files(folder: Path) -> Iterator[Path]:
    yield Git.discover(folder).root / REQUIREMENTS
    if Git.discover(folder).root.resolve() != folder.resolve():
        yield folder / REQUIREMENTS
    yield folder / "dvc.yaml"
    yield from sorted((Git.discover(folder).root / ".github/workflows").glob("*.yml"))
