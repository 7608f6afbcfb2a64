"""What labels that come late are matched with: which version answered a request, and how. It outlives a kill.

Lines of JSON, appended in one write each. Neither inputs nor outputs are stored: an id, a version, classes, slices.
"""

from __future__ import annotations

import errno
import json
import os
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
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
        self.append_bytes(_JSON(line) + b"\n")

    def append_bytes(self, data: bytes) -> None:
        """One line as JSON, its end included; errors as of `append`."""
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


@dataclass(frozen=True, slots=True)
class Entry:
    """How a request was answered. Requests that were answered alike share one."""

    version: str
    predictions: tuple[str, ...]
    slices: tuple[str, ...] = ()
    shadow: tuple[str, tuple[str, ...]] | None = None
    """The canary's version and what it answered to the same request."""
    labels: tuple[str, ...] | None = None
    """The right answers; None until they come."""
    stands_in: bool = False
    """Whether the canary had failed on it: its label is taken, and counts for no version."""

    @property
    def paired(self) -> bool:
        """Whether the canary's answer and the label are known."""
        return self.shadow is not None and self.labels is not None


@lru_cache(maxsize=1024)
def _entry(
    version: str, predictions: tuple[str, ...], slices: tuple[str, ...], instead_of: str | None = None
) -> tuple[Entry, bytes]:
    """The entry that stands for all requests that were answered like this, and the end of their lines."""
    line: dict[str, Any] = {"v": version, "p": predictions}
    line |= {"s": slices} if slices else {}
    line |= {"i": instead_of} if instead_of is not None else {}
    return Entry(version, predictions, slices, stands_in=instead_of is not None), b"," + _JSON(line)[1:] + b"\n"


@lru_cache(maxsize=4096)
def _changed(entry: Entry, shadow: tuple[str, tuple[str, ...]] | None, labels: tuple[str, ...] | None) -> Entry:
    return replace(entry, shadow=shadow, labels=labels)


@dataclass
class Journal:
    """The newest requests by id, and what their labels added up to."""

    path: Path
    keep: int = 50_000
    """Requests that a label can still come for."""
    rotate_bytes: int = 32 * 2**20
    totals: Totals = field(default_factory=Counter)
    """Counts of feedback since the journal began; a restart continues them."""
    _entries: dict[str, Entry] = field(default_factory=dict)
    _order: deque[str] = field(default_factory=deque)
    """Ids, the oldest first; one that was answered again stands here more than once."""
    _again: Counter[str] = field(default_factory=Counter)
    """Of such an id, how many of its places are passed over: all but the last."""

    def __post_init__(self) -> None:
        self._file = Appender(self.path)
        for line in _lines(self._old):
            self._replay(line)
        for number, line in enumerate(_lines(self.path)):
            if number == 0 and "totals" in line:
                self.totals = Counter({tuple(key): count for *key, count in line["totals"]})
            self._replay(line)
        _end_last_line(self.path)

    @property
    def _old(self) -> Path:
        return self.path.with_name(f"{self.path.name}.1")

    def answered(
        self,
        identity: str,
        version: str,
        predictions: Sequence[str],
        slices: Sequence[str],
        instead_of: str | None = None,
    ) -> None:
        """A request was answered, where a canary failed `instead_of` it; the newest of an id counts."""
        entry, end = _entry(version, tuple(predictions), tuple(slices), instead_of)
        self._rotate()
        self._file.append_bytes(b'{"id":%b%b' % (quoted(identity).encode(), end))
        self._enter(identity, entry)

    def shadowed(self, identity: str, version: str, predictions: Sequence[str]) -> None:
        """What the canary said to the same request; its label may have come before."""
        entry = self._entries.get(identity)
        if entry is not None and not entry.paired:
            self._rotate()
            self._file.append({"id": identity, "sv": version, "sp": predictions})
            self._shadow(identity, entry, (version, tuple(predictions)))

    def label(self, identity: str, labels: Sequence[str]) -> Entry:
        """The right answers to a request, one for each example, written down before they count."""
        entry = self._entries.get(identity)
        if entry is None:
            raise UnknownRequestError(f"no request {identity[:80]!r} is known", where="id")
        if entry.labels is not None:
            raise DoubledError(f"request {identity[:80]!r} has its label already", where="id")
        if len(labels) != len(entry.predictions):
            raise InputError(f"expected {len(entry.predictions)} labels, got {len(labels)}", where="label")
        self._rotate()
        self._file.append({"id": identity, "y": labels})
        return self._count(identity, entry, labels)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _enter(self, identity: str, entry: Entry) -> None:
        if identity in self._entries:
            self._again[identity] += 1
        self._entries[identity] = entry
        self._order.append(identity)
        if len(self._order) > 2 * self.keep:
            self._order = deque(reversed(dict.fromkeys(reversed(self._order))))
            self._again.clear()
        while len(self._entries) > self.keep:
            oldest = self._order.popleft()
            if oldest not in self._again:
                del self._entries[oldest]
            elif self._again[oldest] > 1:
                self._again[oldest] -= 1
            else:
                del self._again[oldest]

    def _count(self, identity: str, entry: Entry, labels: Sequence[str]) -> Entry:
        found = self._entries[identity] = _changed(entry, entry.shadow, tuple(labels))
        if entry.stands_in:
            return found
        right = [one == other for one, other in zip(entry.predictions, labels, strict=True)]
        for name in ("", *entry.slices):
            self.totals["labelled", entry.version, name] += len(right)
            self.totals["correct", entry.version, name] += sum(right)
        self._pair(found)
        return found

    def _shadow(self, identity: str, entry: Entry, shadow: tuple[str, tuple[str, ...]]) -> None:
        found = self._entries[identity] = _changed(entry, shadow, entry.labels)
        self._pair(found)

    def _pair(self, entry: Entry) -> None:
        """Count a request of which both answers and the label are known; called when the last of them came."""
        labels, shadow = entry.labels, entry.shadow
        if labels is None or shadow is None or len(shadow[1]) != len(labels):
            return
        version, said = shadow
        pairs = [(a == c, b == c) for a, b, c in zip(entry.predictions, said, labels, strict=True)]
        self.totals["paired", version, ""] += len(pairs)
        self.totals["paired_only_stable", version, ""] += sum(mine and not theirs for mine, theirs in pairs)
        self.totals["paired_only_canary", version, ""] += sum(theirs and not mine for mine, theirs in pairs)

    def _replay(self, line: dict[str, Any]) -> None:
        identity = line.get("id")
        entry = self._entries.get(identity) if isinstance(identity, str) else None
        if isinstance(identity, str) and "v" in line:
            self._enter(identity, _entry(line["v"], tuple(line["p"]), tuple(line.get("s", ())), line.get("i"))[0])
        elif identity is None or entry is None:
            return
        elif "sv" in line and not entry.paired:
            self._shadow(identity, entry, (line["sv"], tuple(line["sp"])))
        elif "y" in line and entry.labels is None:
            self._count(identity, entry, line["y"])

    def _rotate(self) -> None:
        if self._file.size > self.rotate_bytes:
            self._file.close()
            self.path.replace(self._old)
            self._file.append({"totals": [[*key, count] for key, count in self.totals.items()]})


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Whole lines of a journal, one in memory at a time; one that was cut off by a kill is not one."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        for line in file:
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict):
                yield value


def _end_last_line(path: Path) -> None:
    """The next line must not continue one that was cut off."""
    if not path.is_file() or not path.stat().st_size:
        return
    with path.open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
