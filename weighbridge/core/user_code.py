"""The user's own modules that a stage imported, each by its digest, and whether a checkout still has them so.

What counts is what was imported while the stage ran, and what the sources of those modules name. Packages that are
installed, and this package itself, are none of the user's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, lru_cache
from importlib.util import source_from_cache
from pathlib import Path
from typing import Any

import weighbridge
from weighbridge.core.files import sha256_file
from weighbridge.core.python_imports import imported_names, inert

_CODE = (".py", ".pyc", ".so", ".pyd")
_INSTALLED = ("site-packages", "dist-packages", ".venv", "node_modules", ".tox")
_listeners: list[set[str]] = []
_hooked = False


@contextmanager
def opened_as_code() -> Iterator[set[str]]:
    """The names of all files that are opened as code meanwhile, also what is removed from `sys.modules` again."""
    global _hooked  # noqa: PLW0603  # a hook cannot be removed, so that there is one for all
    if not _hooked:
        sys.addaudithook(_heard)
        _hooked = True
    opened: set[str] = set()
    _listeners.append(opened)
    try:
        yield opened
    finally:
        # By identity: two sets of the same names are equal.
        _listeners[:] = [other for other in _listeners if other is not opened]


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if _listeners and event == "open" and isinstance(arguments[0], str) and arguments[0].endswith(_CODE):
        for opened in _listeners:
            opened.add(arguments[0])


def repository_top(folder: Path) -> Path | None:
    """The folder around `folder` that has a `.git`; None where there is none."""
    return next((place for place in (folder.resolve(), *folder.resolve().parents) if (place / ".git").exists()), None)


def user_file(top: Path, file: str) -> str | None:
    """A file of code as a path below `top`; None for what is installed, for this package, and for what lies outside."""
    path = Path(file)
    if path.suffix == ".pyc" and path.parent.name == "__pycache__":
        path = Path(source_from_cache(file))
    real = path.resolve() if path.is_symlink() else _resolved(path.parent) / path.name
    if not real.is_relative_to(top) or not real.is_file() or any(real.is_relative_to(room) for room in _own_rooms()):
        return None
    prefix = _resolved(Path(sys.prefix))
    installed = any(part in _INSTALLED for part in real.relative_to(top).parts)
    if installed or (prefix.is_relative_to(top) and real.is_relative_to(prefix)):
        return None
    return real.relative_to(top).as_posix()


@lru_cache(maxsize=4096)
def _resolved(folder: Path) -> Path:
    """A folder without links: a process imports a thousand modules from a hundred folders."""
    return folder.resolve()


@cache
def _own_rooms() -> frozenset[Path]:
    """The folders of this package; links into it lead to some of them."""
    package = Path(weighbridge.__file__).parent
    return frozenset({package.resolve(), *(room.resolve() for room in package.iterdir() if room.is_dir())})


def idle(file: Path) -> bool:
    """Whether a file is an `__init__.py` that does nothing."""
    return file.name == "__init__.py" and inert(file.read_text(encoding="utf-8", errors="replace"))


def sources(root: Path, opened: Iterable[str], modules: Iterable[str]) -> dict[str, str]:
    """The user's files that a stage of the project in `root` imported: path from the project's folder → digest.

    `opened` are those that were opened as code meanwhile; `modules` (already imported) and what they import in turn
    count wherever and whenever they were imported.
    """
    top = repository_top(root) or root.resolve()
    files = {path for file in {*opened, *_loaded(modules)} if (path := user_file(top, file)) is not None}
    return {
        Path(os.path.relpath(top / path, root.resolve())).as_posix(): sha256_file(top / path)
        for path in sorted(files)
        if not idle(top / path)
    }


def differing(root: Path, recorded: Mapping[str, str]) -> list[str]:
    """Which of the recorded files the checkout in `root` lacks or has otherwise, sorted."""
    top = repository_top(root) or root.resolve()
    return sorted(path for path, digest in recorded.items() if not _same(top, root / path, digest))


def _same(top: Path, file: Path, digest: str) -> bool:
    real = file.resolve()
    return real.is_relative_to(top) and real.is_file() and sha256_file(real) == digest


def _loaded(modules: Iterable[str]) -> Iterator[str]:
    """Files of modules that are imported, and of those that their sources import in turn."""
    waiting, seen = list(modules), set()
    while waiting:
        name = waiting.pop()
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None)
        if name in seen or name.partition(".")[0] == weighbridge.__name__ or not isinstance(file, str):
            continue
        seen.add(name)
        yield file
        if not _installed(file):
            waiting += _imported_by(name, file)


def _installed(file: str) -> bool:
    path = Path(file)
    return any(part in _INSTALLED for part in path.parts) or path.is_relative_to(Path(os.__file__).parent)


def _imported_by(name: str, file: str) -> Iterator[str]:
    """Names of modules that a module's source imports, and of the packages around each."""
    path = Path(file)
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    text = path.read_text(encoding="utf-8", errors="replace") if path.suffix == ".py" else ""
    found = [name.rpartition(".")[0]]
    for level, other in imported_names(text):
        base = package
        for _ in range(level - 1):
            base = base.rpartition(".")[0]
        found.append(other if level == 0 else f"{base}.{other}".strip("."))
    for whole in found:
        parts = whole.split(".")
        yield from (".".join(parts[: count + 1]) for count in range(len(parts)) if whole)
