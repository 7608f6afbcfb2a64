"""Whether a measurement that lies at hand was written by this tool in this workspace, or was brought into it.

A measurement that is continued decides with what it says was measured before. One that a pull request brings along
could say anything, so that only what Git does not track and no `.dvc` pointer names is continued.
"""

from __future__ import annotations

from pathlib import Path

from weighbridge.core.errors import StateError
from weighbridge.core.git import Git

_AFRESH = "so that it was not continued: this measurement started afresh."


def brought(target: Path) -> str | None:
    """A sentence for the report where the measurement in `target` was not written here; None where it was."""
    if not target.exists():
        return None
    if pointer := _pointer(target.absolute()) or _pointer(target.resolve()):
        return f"The measurement {target} comes from the DVC pointer {pointer.name}, {_AFRESH}"
    tracked = _tracked(target.resolve())
    if tracked is None:
        return f"Git cannot tell whether it tracks the measurement {target}, {_AFRESH}"
    return f"The measurement {target} is tracked by Git and may come with the change, {_AFRESH}" if tracked else None


def _pointer(path: Path) -> Path | None:
    """The `.dvc` file that names a path or a folder around it."""
    pointers = (place.with_name(f"{place.name}.dvc") for place in (path, *path.parents) if place.name)
    return next((pointer for pointer in pointers if pointer.is_file()), None)


def _tracked(path: Path) -> bool | None:
    """Whether Git tracks a file, in the repository or submodule around it; None where Git cannot tell."""
    if not any((above / ".git").exists() for above in path.parents):
        return False
    try:
        done = Git(path.parent).attempt("ls-files", "--error-unmatch", "--", path.name)
    except StateError:
        return None
    return {0: True, 1: False}.get(done.returncode)
