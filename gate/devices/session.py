"""A connection to a device over SSH that is opened again when it drops, and what the device holds by then."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from numpy.typing import NDArray

from weighbridge.core.documents import DeviceSection
from weighbridge.core.errors import MeasurementError
from weighbridge.core.files import sha256_bytes
from weighbridge.gate.devices.claims import check_clock
from weighbridge.gate.devices.connection import STARTER, Connection, DroppedError
from weighbridge.gate.devices.place import Waiting
from weighbridge.gate.measure.fingerprint import document
from weighbridge.gate.measure.machine_lock import POLL_SECONDS, WAIT_SECONDS
from weighbridge.gate.measure.process import send_arrays

Array = NDArray[Any]
Result = TypeVar("Result")

COMMAND_VARIABLE = "WEIGHBRIDGE_SSH_COMMAND"
"""The `ssh` to use with its first options, as `GIT_SSH_COMMAND` is for git."""
OPTIONS = (
    "-T", "-a", "-x",  # no terminal, no agent and no screen of ours for the device
    "-o", "BatchMode=yes",
    "-o", "StrictHostKeyChecking=yes",
    "-o", "ConnectTimeout=15",
    "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=4",
    "-o", "ClearAllForwardings=yes",
    "-o", "PermitLocalCommand=no",
    "-o", "EscapeChar=none",
    "-o", "LogLevel=ERROR",
)  # fmt: skip
TIMEOUT = 60.0
"""Seconds without progress after which a connection counts as dropped."""
RETRIES = 3
"""Times that a question is asked again over a new connection."""
PAUSES = (0.5, 2.0, 5.0)
"""Seconds before each."""
SPARE_BYTES = 16 << 20
"""Room that is left on the device beyond the files."""


def command(section: DeviceSection, environment: Mapping[str, str]) -> list[str]:
    """The argument list that connects; the device's shell sees one line of words that need no quoting but quotes."""
    assert section.address is not None
    user, _, place = section.address.removeprefix("ssh://").rpartition("@")
    host, _, port = place.partition(":")
    start = shlex.split(environment.get(COMMAND_VARIABLE, "ssh"))
    words = [*start, *OPTIONS, *(["-l", user] if user else []), *(["-p", port] if port else [])]
    return [*words, "--", host, f"exec {shlex.join([section.python, '-I', '-u', '-c', STARTER])}"]


class Session:
    """One device behind `ssh`: connecting describes it; files and arrays that it holds are sent again where needed."""

    def __init__(
        self,
        name: str,
        section: DeviceSection,
        environment: Mapping[str, str] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name, self.section = name, section
        self.environment = os.environ if environment is None else environment
        self.sleep = sleep
        self.files: dict[str, bytes] = {}
        self.sent: dict[str, str] = {}
        self.locked = False
        self.connection = self._connect()
        self.device = document(self._facts(), name)

    def _connect(self) -> Connection:
        environment = dict(self.environment)
        try:
            return Connection(
                self.name,
                command(self.section, environment),
                environment,
                folder=self.section.folder,
                timeout=TIMEOUT,
            )
        except DroppedError as error:
            raise DroppedError(
                f"cannot be reached at {self.section.address}: {error.what}",
                where=self.name,
                fix="does `ssh -o BatchMode=yes` reach it, and does its shell print nothing?",
            ) from error

    def _facts(self) -> dict[str, Any]:
        said = self.connection.said.get("facts")
        if not isinstance(said, dict):
            raise MeasurementError(f"did not describe itself: {said!r:.80}", where=self.name)
        return {**said, "device_class": self.section.device_class or self.name}

    def _clock(self) -> int:
        return check_clock(self.connection.said.get("clock_ns"), self.name)

    def _persistently(self, act: Callable[[], Result]) -> Result:
        """Do it, over a new connection where the old one drops; after the last retry the drop is the answer."""
        for pause in (*PAUSES[:RETRIES], None):
            try:
                if self.connection.errors.closed or self.connection.process.poll() is not None:
                    self._reconnect()
                return act()
            except DroppedError as error:
                self.connection.kill()
                if pause is None:
                    raise MeasurementError(
                        f"the connection dropped {RETRIES + 1} times; last error: {error.what}", where=self.name
                    ) from error
                self.sleep(pause)
        raise AssertionError("the last round returns or raises")

    def _reconnect(self) -> None:
        self.connection = self._connect()
        self.sent = {}
        found = document(self._facts(), self.name)
        if found.fingerprint != self.device.fingerprint:
            raise MeasurementError("is a different machine since the connection dropped", where=self.name)
        if self.files:
            self._send_files()
        if self.locked:
            self._lock(lambda _: None)

    def _send_files(self) -> None:
        for name, content in self.files.items():
            digest = sha256_bytes(content)
            if self.sent.get(name) == digest:
                continue
            said, _ = self.connection.ask("put", content, path=name, timeout=TIMEOUT)
            if said.get("digest") != digest:
                raise MeasurementError(
                    f"has {said.get('digest')!r:.80} for {name} instead of {digest}: the file did not arrive whole",
                    where=self.name,
                )
            self.sent[name] = digest

    def _send_arrays(self, operation: str, arrays: Mapping[str, Array]) -> None:
        digest = sha256_bytes(b"".join(array.tobytes() for array in arrays.values()))
        if arrays and self.sent.get(operation) != digest:
            send_arrays(self.connection, operation, arrays)
            self.sent[operation] = digest

    def _lock(self, waiting: Waiting) -> None:
        begin = time.monotonic()
        while not self.connection.ask("lock")[0].get("taken"):
            waited = time.monotonic() - begin
            if waited > WAIT_SECONDS:
                raise MeasurementError(
                    f"timed out after {waited:.0f} s waiting for another weighbridge process on that device",
                    where=self.name,
                )
            waiting(waited)
            self.sleep(POLL_SECONDS)

    def _path(self, name: str) -> str:
        return f"{self.connection.said.get('folder')}/{name}"
