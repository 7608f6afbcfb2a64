"""Files as they are where init writes."""

from __future__ import annotations

from pathlib import Path

from weighbridge.core.errors import InputError
from weighbridge.core.git import Git
from weighbridge.core.opening import open_file


def top_of(folder: Path) -> Path:
    """The top of the repository that a folder, which may not exist yet, is to lie in."""
    return Git.discover(existing_folder(folder)).root.resolve()


def existing_folder(folder: Path) -> Path:
    """The folder, or the closest one above it that exists."""
    return next(path for path in (folder.resolve(), *folder.resolve().parents) if path.is_dir())


def old_text(path: Path) -> str | None:
    """A file's text; None where there is none, `InputError` where it is no text."""
    try:
        with open_file(path) as file:
            return file.read().decode("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read as text: {error}", where=str(path)) from error


def text_or_empty(path: Path) -> str:
    """A file's text, or nothing where there is none."""
    return old_text(path) or ""
