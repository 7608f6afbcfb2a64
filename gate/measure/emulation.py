"""Other processors than this one, as emulators show them: for answers, never for times.

Valgrind translates programs for a processor with AVX2 and without VNNI or AVX-512, and says so to programs that ask;
onnxruntime then takes the kernels of such a processor. qemu-user runs an arm64 Python (`tests/install-arm64`).
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from weighbridge.core.errors import InputError, MeasurementError
from weighbridge.gate.measure.process import ARGUMENTS, Worker

ARM64_VARIABLE = "WEIGHBRIDGE_ARM64_PYTHON"
"""Names the arm64 Python, with the runtimes, that qemu-user runs."""
X86 = ("x86_64", "amd64")


@dataclass(frozen=True)
class Emulator:
    """A processor that can be shown here, or why it cannot."""

    processor: str
    tool: str
    command: tuple[str, ...] = ()
    """What starts a Python on it; empty where the tool is absent."""
    absent: str = ""


class ExpiredError(MeasurementError):
    """An emulated worker was not done in time, which says nothing of the artifact."""


class Emulated(Worker):
    """A worker on an emulated processor."""

    def __init__(self, emulator: Emulator, *, timeout: float) -> None:
        super().__init__(emulator.processor, timeout=timeout, command=(*emulator.command, *ARGUMENTS))

    def hung(self, what: str) -> MeasurementError:
        """Out of time, rather than wrong."""
        return ExpiredError(what, where=self.name)


def emulators(environment: Mapping[str, str] = os.environ, machine: str | None = None) -> list[Emulator]:
    """The lesser and the other processor, with how each is shown on this machine, or why it is not.

    A variable that names a file which does not exist is an `InputError`: it is no wish to go without.
    """
    found = []
    if (machine or platform.machine()).lower() in X86:
        valgrind = shutil.which("valgrind", path=environment.get("PATH"))
        found.append(
            Emulator(
                "x86-64 with AVX2, without VNNI",
                "valgrind",
                (valgrind, "--tool=none", "--quiet", sys.executable) if valgrind else (),
                "" if valgrind else "valgrind is not installed (apt-get install valgrind)",
            )
        )
    python = environment.get(ARM64_VARIABLE)
    if python and not Path(python).is_file():
        raise InputError("file not found", where=f"{ARM64_VARIABLE}={python}", fix="tests/install-arm64 makes one")
    if (machine or platform.machine()).lower() not in ("aarch64", "arm64"):
        found.append(
            Emulator(
                "arm64",
                "qemu-user",
                (python,) if python else (),
                "" if python else f"{ARM64_VARIABLE} names no arm64 Python (tests/install-arm64 makes one)",
            )
        )
    return found
