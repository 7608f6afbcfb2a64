"""The requests that one version answered, from the log and the journal of labels that `weighbridge serve` writes.

A line of the log is as `registry.canary.telemetry` reads it; further keys: `confidence` (of the prediction, 0 to 1),
`slices` (names), `summary` (input → [mean, standard deviation]) and, where asked for, `inputs`. A line of the journal
is `{"id": …, "y": [label, …]}`.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from weighbridge.core.errors import InputError
from weighbridge.core.files import parse_json
from weighbridge.core.opening import open_file


@dataclass(frozen=True)
class Source:
    """What to read: logs in the order of time, and journals of labels."""

    model: str
    logs: Sequence[Path]
    journals: Sequence[Path] = ()
    only_model: bool = True
    """Whether the registry has this model only: a line that does not name its model is then of this one."""


@dataclass(slots=True)
class Seen:
    """One request."""

    time: datetime
    id: str | None = None
    error: bool | None = None
    latency: float | None = None
    prediction: str | None = None
    label: str | None = None
    confidence: float | None = None
    slices: tuple[str, ...] = ()
    summary: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    inputs: Any = None
    stands_in: bool = False
    """Whether it came because a canary had failed on it: chosen by that, it is no sample of the traffic."""

    @property
    def right(self) -> bool | None:
        """Whether the prediction is the label; None where one of them is not known."""
        return None if self.label is None or self.prediction is None else self.label == self.prediction


def read_requests(source: Source, version: str, until: datetime) -> Iterator[Seen]:
    """The version's requests up to a time, each id once. A line that is no request is an `InputError` that names it."""
    labels = read_labels(source.journals)
    known: set[str] = set()
    for path in source.logs:
        for number, line in _lines(path):
            where = f"{path}:{number}"
            said = parse_json(line, where)
            if not isinstance(said, dict):
                raise InputError("is not a JSON object", where=where)
            if said.get("version") != version or not _of_model(said, source, where):
                continue
            seen = _request(said, where)
            if seen.time > until or (seen.id is not None and seen.id in known):
                continue
            if seen.id is not None:
                known.add(seen.id)
                seen.label = labels.get(seen.id, seen.label)
            yield seen


def read_labels(journals: Sequence[Path]) -> dict[str, str]:
    """Labels by request, of requests of one example; each journal with the file that it was rotated to before it."""
    found: dict[str, str] = {}
    for journal in journals:
        if not journal.is_file():
            raise InputError("file not found", where=str(journal), fix="the journal.jsonl in the server's --cache")
        for path in (journal.with_name(f"{journal.name}.1"), journal):
            for _, line in _lines(path) if path.is_file() else ():
                if '"y"' not in line:
                    continue
                try:
                    said = json.loads(line)
                except ValueError:  # cut off by a kill: the server does not count it either
                    continue
                if isinstance(said, dict) and isinstance(said.get("y"), list) and len(said["y"]) == 1:
                    found.setdefault(str(said["id"]), str(said["y"][0]))
    return found


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with io.TextIOWrapper(open_file(path), encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, line
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InputError(f"cannot be read: {problem}", where=str(path)) from error


def _of_model(said: dict[str, Any], source: Source, where: str) -> bool:
    if said.get("model") is None and not source.only_model:
        raise InputError("does not say its model, and the registry has several", where=where)
    return bool(said.get("model", source.model) == source.model)


def _request(said: dict[str, Any], where: str) -> Seen:
    seen = Seen(_moment(said.get("time"), where))
    seen.id = str(said["id"]) if said.get("id") is not None else None
    seen.error = _typed(said, "error", bool, where)
    seen.latency, seen.confidence = _number(said, "latency", where), _number(said, "confidence", where)
    if seen.confidence is not None and seen.confidence > 1:
        raise InputError("'confidence' is not between 0 and 1", where=where)
    for key in ("prediction", "label"):
        if said.get(key) is not None:
            setattr(seen, key, str(said[key]))
    seen.slices = tuple(map(str, _typed(said, "slices", list, where) or ()))
    summary = _typed(said, "summary", dict, where) or {}
    seen.summary = {str(name): _pair(value, where) for name, value in summary.items()}
    seen.inputs, seen.stands_in = said.get("inputs"), said.get("stands_in_for") is not None
    return seen


def _typed(said: dict[str, Any], key: str, kind: type, where: str) -> Any:
    value = said.get(key)
    if value is not None and not isinstance(value, kind):
        raise InputError(f"{key!r} is not a {kind.__name__}", where=where)
    return value


def _number(said: dict[str, Any], key: str, where: str) -> float | None:
    value = said.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise InputError(f"{key!r} is not a number from 0 on", where=where)
    return float(value)


def _pair(value: Any, where: str) -> tuple[float, float]:
    good = isinstance(value, list) and len(value) == 2
    if not good or not all(type(part) in (int, float) and math.isfinite(part) for part in value):
        raise InputError("'summary' is not [mean, standard deviation] for each input", where=where)
    return float(value[0]), float(value[1])


def _moment(text: Any, where: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise InputError(f"'time': {text!r} is not an ISO 8601 time", where=where) from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
