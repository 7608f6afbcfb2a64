"""Two gates on one machine would measure each other: the second waits for the lock, and says so."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from weighbridge.core.errors import StateError
from weighbridge.core.file_lock import lock_taken
from weighbridge.core.files import sha256_bytes
from weighbridge.gate.measure.machine import lock_path

__all__ = ["lock_of", "lock_of_device", "lock_path", "machine_lock"]

WAIT_SECONDS = 900.0
POLL_SECONDS = 0.25


def lock_of(target: Path, environment: Mapping[str, str]) -> Path:
    """One file per document that gates write, beside that of the machine: nothing is left beside the document."""
    name = sha256_bytes(str(target.resolve()).encode()).removeprefix("sha256:")[:16]
    return lock_path(environment).with_name(f"weighbridge-{name}.lock")


def lock_of_device(command: Sequence[str], environment: Mapping[str, str]) -> Path:
    """One file for what a command reaches, whichever project or clone of it names the command."""
    name = sha256_bytes("\0".join(command).encode()).removeprefix("sha256:")[:16]
    return lock_path(environment).with_name(f"weighbridge-device-{name}.lock")


@contextmanager
def machine_lock(
    path: Path,
    waiting: Callable[[float], None],
    *,
    limit: float = WAIT_SECONDS,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Hold the machine. `waiting` is told how long the wait has lasted; beyond `limit` seconds it is a `StateError`.

    The lock belongs to the open file: a gate that dies gives it back.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateError(f"cannot be opened: {error.strerror}", where=str(path), fix="set XDG_RUNTIME_DIR") from error
    try:
        begin = clock()
        while not lock_taken(handle):
            waited = clock() - begin
            if waited > limit:
                raise StateError(
                    f"timed out after {limit:.0f} s waiting for another weighbridge process on this machine",
                    where=str(path),
                    fix="wait for it, or stop it",
                )
            waiting(waited)
            sleep(POLL_SECONDS)
        yield
    finally:
        os.close(handle)
