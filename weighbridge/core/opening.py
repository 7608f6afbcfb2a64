"""Opening files that somebody else put there: regular ones alone.

A named pipe makes its reader wait for ever, a device may give bytes without end or act on being opened.
"""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path

from weighbridge.core.errors import InputError

_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def refuse_link(path: Path) -> None:
    """Raise `InputError` where `path` itself is a symbolic link: what it names can change without it."""
    if path.is_symlink():
        raise InputError("is a symbolic link", where=str(path), fix="replace it by a plain file or folder")


def require_regular(path: Path) -> None:
    """Raise `InputError` where `path`, links followed, is a named pipe, a socket or a device."""
    _refuse(path.stat().st_mode, path)


def open_file(path: Path) -> BufferedReader:
    """Open a regular file for reading, in binary.

    Raises `InputError` for a named pipe, a socket or a device, before it is opened, and `OSError` as `open` does.
    """
    require_regular(path)
    # What was put in its place meanwhile neither blocks nor gets past the second look.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    file = os.fdopen(handle, "rb")
    try:
        _refuse(os.fstat(handle).st_mode, path)
    except BaseException:
        file.close()
        raise
    return file


def _refuse(mode: int, path: Path) -> None:
    for test, kind in _KINDS:
        if test(mode):
            raise InputError(f"is {kind}, not a file", where=str(path))
