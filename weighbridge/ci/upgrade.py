"""`weighbridge init --upgrade`: bring what an earlier `init` wrote to the form of today."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from weighbridge.ci.scaffold import REQUIREMENTS
from weighbridge.ci.setup import FileChange
from weighbridge.core.files import atomic_write
from weighbridge.core.git import Git

_FROM_INDEX = re.compile(r"weighbridge(\[[a-z,]+\])?==[0-9][0-9A-Za-z.]*")
_RENAMED = re.compile(r"(weighbridge registry promote\b[^\n]*?) --(smallest|fastest|most-accurate)\b")


def upgraded(text: str, source: str) -> str:
    """A file's text with installs from `source` instead of an index, and options in the spelling of today."""
    text = _FROM_INDEX.sub(lambda match: f"weighbridge{_extras(match[1] or '')} @ {source}", text)
    return _RENAMED.sub(r"\1 --select \2", text)


def changes(folder: Path, source: str) -> list[FileChange]:
    """What would change in a project's requirements, dvc.yaml and workflows; empty where all is of today."""
    found = [(path, path.read_text(encoding="utf-8")) for path in _files(folder) if path.is_file()]
    return [FileChange(path, old, new) for path, old in found if (new := upgraded(old, source)) != old]


def write(found: list[FileChange]) -> None:
    """Write the changes, each file in one step."""
    for change in found:
        atomic_write(change.path, change.new.encode())


def _extras(extras: str) -> str:
    return "[judge,keyless,pipeline]" if extras == "[keyless,pipeline]" else extras


def _files(folder: Path) -> Iterator[Path]:
    yield Git.discover(folder).root / REQUIREMENTS
    if Git.discover(folder).root.resolve() != folder.resolve():
        yield folder / REQUIREMENTS
    yield folder / "dvc.yaml"
    yield from sorted((Git.discover(folder).root / ".github/workflows").glob("*.yml"))
