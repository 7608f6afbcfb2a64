"""What labels that come late are matched with: which version answered a request, and how. It outlives a kill.

Lines of JSON, appended in one write each. Neither inputs nor outputs are stored: an id, a version, classes, slices.
"""

from __future__ import annotations

import errno
import json
import os
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weighbridge.core.errors import InputError, StateError
from weighbridge.serve.compact import compact

_JSON = compact()
Totals = Counter[tuple[str, str, str]]
"""(counter, version, slice or nothing) → count."""


@dataclass
class Appender:
    """A file that lines are appended to, whole or not at all."""

    path: Path
    _file: int | None = None
    _size: int = 0

    def append(self, line: dict[str, Any]) -> None:
        """One line. Where the disk is full or the file cannot be written a `StateError`; nothing of it stays then."""
        data = _JSON(line) + b"\n"
        try:
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
                self._size = os.fstat(self._file).st_size
            written = os.write(self._file, data)
            if written != len(data):
                self._undo(self._file, written)
            self._size += written
        except OSError as error:
            raise StateError(f"cannot be written: {error.strerror}", where=str(self.path)) from error

    def _undo(self, file: int, written: int) -> None:
        os.ftruncate(file, os.fstat(file).st_size - written)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._size if self._file is not None else 0

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


class UnknownRequestError(InputError):
    """No request is known by that id: it was never answered here, or too long ago."""


class DoubledError(InputError):
    """A request has its label already."""


@dataclass(slots=True)
class Entry:
    """One answered request."""

    version: str
    predictions: Sequence[str]
    slices: Sequence[str] = ()
    shadow: tuple[str, Sequence[str]] | None = None
    """The canary's version and what it answered to the same request."""
    labelled: bool = False


@dataclass
class Journal:
    """The newest requests by id, and what their labels added up to."""

    path: Path
    keep: int = 50_000
    """Requests that a label can still come for."""
    rotate_bytes: int = 32 * 2**20
    totals: Totals = field(default_factory=Counter)
    """Counts of feedback since the journal began; a restart continues them."""
    _entries: OrderedDict[str, Entry] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self._file = Appender(self.path)
        current = _lines(self.path)
        begins = current[0].get("totals") if current else None
        for line in _lines(self._old):
            self._replay(line)
        if begins is not None:
            self.totals = Counter({tuple(key): count for *key, count in begins})
        for line in current:
            self._replay(line)
        _end_last_line(self.path)

    @property
    def _old(self) -> Path:
        return self.path.with_name(f"{self.path.name}.1")

    def answered(self, identity: str, version: str, predictions: Sequence[str], slices: Sequence[str]) -> None:
        """A request was answered; the newest of an id counts."""
        line: dict[str, Any] = {"id": identity, "v": version, "p": predictions}
        self._write({**line, "s": slices} if slices else line)
        self._enter(identity, Entry(version, tuple(predictions), tuple(slices)))

    def shadowed(self, identity: str, version: str, predictions: Sequence[str]) -> None:
        """What the canary said to the same request."""
        entry = self._entries.get(identity)
        if entry is not None and not entry.labelled:
            self._write({"id": identity, "sv": version, "sp": predictions})
            entry.shadow = (version, tuple(predictions))

    def label(self, identity: str, labels: Sequence[str]) -> Entry:
        """The right answers to a request, one for each example, written down before they count."""
        entry = self._entries.get(identity)
        if entry is None:
            raise UnknownRequestError(f"no request {identity[:80]!r} is known", where="id")
        if entry.labelled:
            raise DoubledError(f"request {identity[:80]!r} has its label already", where="id")
        if len(labels) != len(entry.predictions):
            raise InputError(f"expected {len(entry.predictions)} labels, got {len(labels)}", where="label")
        self._write({"id": identity, "y": labels})
        self._count(entry, labels)
        return entry

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _enter(self, identity: str, entry: Entry) -> None:
        self._entries[identity] = entry
        self._entries.move_to_end(identity)
        while len(self._entries) > self.keep:
            self._entries.popitem(last=False)

    def _count(self, entry: Entry, labels: Sequence[str]) -> None:
        entry.labelled = True
        right = [one == other for one, other in zip(entry.predictions, labels, strict=True)]
        for name in ("", *entry.slices):
            self.totals["labelled", entry.version, name] += len(right)
            self.totals["correct", entry.version, name] += sum(right)
        if entry.shadow is not None and len(entry.shadow[1]) == len(labels):
            version, said = entry.shadow
            theirs = [one == other for one, other in zip(said, labels, strict=True)]
            self.totals["paired", version, ""] += len(labels)
            self.totals["paired_only_stable", version, ""] += sum(
                a and not b for a, b in zip(right, theirs, strict=True)
            )
            self.totals["paired_only_canary", version, ""] += sum(
                b and not a for a, b in zip(right, theirs, strict=True)
            )

    def _replay(self, line: dict[str, Any]) -> None:
        identity = line.get("id")
        entry = self._entries.get(identity) if isinstance(identity, str) else None
        if isinstance(identity, str) and "v" in line:
            self._enter(identity, Entry(line["v"], tuple(line["p"]), tuple(line.get("s", ()))))
        elif entry is not None and "sv" in line:
            entry.shadow = (line["sv"], tuple(line["sp"]))
        elif entry is not None and "y" in line and not entry.labelled:
            self._count(entry, line["y"])

    def _write(self, line: dict[str, Any]) -> None:
        if self._file.size > self.rotate_bytes:
            self._file.close()
            self.path.replace(self._old)
            self._file.append({"totals": [[*key, count] for key, count in self.totals.items()]})
        self._file.append(line)


def _lines(path: Path) -> list[dict[str, Any]]:
    """Whole lines of a journal; one that was cut off by a kill is not one."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    found = []
    for line in data.split(b"\n"):
        try:
            value = json.loads(line) if line else None
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def _end_last_line(path: Path) -> None:
    """The next line must not continue one that was cut off."""
    if path.is_file() and path.stat().st_size and not path.read_bytes().endswith(b"\n"):
        with path.open("ab") as file:
            file.write(b"\n")
