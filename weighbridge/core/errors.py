"""One base class for every error that a user can meet, and the exit codes in one place.

An error says what happened, where (file and key) and what to do. The rim of the program
(`weighbridge.cli.main`) prints it as one line and exits with its code; nothing below the rim prints or exits.
"""

from __future__ import annotations

import errno
import os
from enum import IntEnum

CLOSED_PIPE = 141
"""As a shell says of a program that wrote to a pipe that is closed: 1 would be a verdict."""


class ExitCode(IntEnum):
    """What a shell sees. Nothing missing ever ends in `PASS`."""

    PASS = 0
    FAIL = 1
    USAGE = 2  # usage or invalid input
    UNJUDGED = 3  # inconclusive, or could not be measured


class WeighbridgeError(Exception):
    """What happened, where, and what to do about it.

    `where` names a file, a file and a key (`params.yaml: recipes.int8.steps[0].bits`), or an argument.
    """

    exit_code = ExitCode.USAGE

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        self.what = what
        self.where = where
        self.fix = fix
        super().__init__(what)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f" ({self.fix})" if self.fix else ""
        return " ".join(f"{place}{self.what}{advice}".split())


class InputError(WeighbridgeError):
    """A file, key or argument that a person gave is wrong."""


class IntegrityError(WeighbridgeError):
    """Bytes are not what their digest, chain or signature says."""


class InvariantError(WeighbridgeError):
    """A compression step did not do what its recipe says, or the next one undid it."""


class StateError(WeighbridgeError):
    """The repository, registry or remote is not in the state that the command needs."""


class MeasurementError(WeighbridgeError):
    """An artifact could not be measured: it crashed, hung, or gave values that are not numbers."""

    exit_code = ExitCode.UNJUDGED


def full_disk(error: BaseException, *, where: str | None = None) -> StateError | None:
    """What to say where a disk or a quota is used up; None for any other error."""
    if not isinstance(error, OSError) or error.errno not in {errno.ENOSPC, errno.EDQUOT}:
        return None
    what = f"cannot be written: {os.strerror(error.errno)}"
    return StateError(what, where=where or error.filename, fix="free some space, then run it again")
