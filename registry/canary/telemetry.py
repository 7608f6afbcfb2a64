"""What was seen online: counts by version since a canary's step began, from a log of JSON lines.

One line is one request: `{"time": "2026-11-23T20:00:01Z", "model": "my-net", "version": "v8", "error": false,
"latency": 0.012, "prediction": "7", "label": "7", "stable_prediction": "1"}`. `time` and `version` are required, and
`model` where the registry has several. `label` comes from
feedback, `stable_prediction` from shadow traffic (what stable answered to the same request); `slices` is a list of
names. `id`, where given, makes
a line that was shipped twice count once. A line with `stands_in_for` is of a request that the version named there had
failed on before: it counts for no version.
"""

from __future__ import annotations

import io
import math
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from weighbridge.core.errors import InputError
from weighbridge.core.files import parse_json, sha256_file
from weighbridge.core.opening import open_file


@dataclass
class Arm:
    """Counts of one version."""

    requests: int = 0
    judged: int = 0
    """Requests that say whether they failed."""
    errors: int = 0
    timed: dict[float, int] = field(default_factory=dict)
    """By threshold: requests with a latency."""
    slow: dict[float, int] = field(default_factory=dict)
    """By threshold: requests slower than it."""
    labelled: int = 0
    right: int = 0
    predictions: Counter[str] = field(default_factory=Counter)
    compared: int = 0
    different: int = 0
    paired: int = 0
    """Shadowed requests with a label."""
    only_stable: int = 0
    """Of these, where only stable was right."""
    only_canary: int = 0
    slices: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By slice: requests with a label, and those that were right."""


@dataclass(frozen=True)
class Observed:
    """What was seen of canary and stable on one step."""

    canary: Arm
    stable: Arm
    source: str
    """Where it was read, with a digest where it is a file."""
    problems: tuple[str, ...] = ()
    """What is wrong with the data; any holds the canary."""


@dataclass(frozen=True)
class Window:
    """What to read: two versions, from when to when, and the latency thresholds of the budgets."""

    model: str
    canary: str
    stable: str
    since: datetime
    until: datetime
    thresholds: tuple[float, ...] = ()
    metrics: frozenset[str] | None = None
    """What the budgets are about; None: everything."""
    only_model: bool = True
    """Whether the registry has this model only: a line that does not name its model is then of this one."""

    def needs(self, metric: str) -> bool:
        """Whether a budget is about a metric."""
        return self.metrics is None or metric in self.metrics


def read_log(path: Path, window: Window) -> Observed:
    """Count the lines of the window. A line that is no request is an `InputError` that names it."""
    arms = {window.canary: Arm(), window.stable: Arm()}
    seen: set[str] = set()
    nameless: list[str] = []
    try:
        with io.TextIOWrapper(open_file(path), encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    request, where = parse_json(line, f"{path}:{number}"), f"{path}:{number}"
                    if _of_model(request, where, window, nameless):
                        _count(request, where, window, arms, seen)
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InputError(f"cannot be read: {problem}", where=str(path)) from error
    problems = (f"{nameless[0]} does not say its model, and the registry has several",) if nameless else ()
    return Observed(arms[window.canary], arms[window.stable], f"{path.name} {sha256_file(path)}", problems)


def _of_model(request: Any, where: str, window: Window, nameless: list[str]) -> bool:
    """Whether a line is about the window's model; one that does not say so is noted where there are several."""
    if not isinstance(request, dict):
        raise InputError("is not a JSON object", where=where)
    if request.get("model") is not None:
        return _text(request, "model", where) == window.model
    if not window.only_model:
        nameless.append(where)
    return True


def _count(request: dict[str, Any], where: str, window: Window, arms: dict[str, Arm], seen: set[str]) -> None:
    arm = arms.get(_text(request, "version", where))
    moment = _moment(_text(request, "time", where), where)
    if arm is None or not window.since <= moment <= window.until or request.get("stands_in_for") is not None:
        return
    if "id" in request:
        key = f"{request['version']} {request['id']}"
        if key in seen:
            return
        seen.add(key)
    arm.requests += 1
    _count_error(request, where, arm)
    _count_latency(request, where, arm, window.thresholds)
    _count_answers(request, arm)
    _count_slices(request, where, arm)


def _count_error(request: dict[str, Any], where: str, arm: Arm) -> None:
    if request.get("error") is None:
        return
    if not isinstance(request["error"], bool):
        raise InputError("'error' is not true or false", where=where)
    arm.judged += 1
    arm.errors += request["error"]


def _count_latency(request: dict[str, Any], where: str, arm: Arm, thresholds: tuple[float, ...]) -> None:
    latency = request.get("latency")
    if latency is None:
        return
    if isinstance(latency, bool) or not isinstance(latency, int | float) or not 0 <= latency < math.inf:
        raise InputError("'latency' is not a number of seconds", where=where)
    for threshold in thresholds:
        arm.timed[threshold] = arm.timed.get(threshold, 0) + 1
        arm.slow[threshold] = arm.slow.get(threshold, 0) + (latency > threshold)


def _count_answers(request: dict[str, Any], arm: Arm) -> None:
    prediction = request.get("prediction")
    if prediction is None:
        return
    arm.predictions[str(prediction)] += 1
    if request.get("label") is not None:
        arm.labelled += 1
        arm.right += str(prediction) == str(request["label"])
    if request.get("stable_prediction") is not None:
        arm.compared += 1
        arm.different += str(prediction) != str(request["stable_prediction"])
        if request.get("label") is not None:
            right, stable = (str(request["label"]) == str(request[key]) for key in ("prediction", "stable_prediction"))
            arm.paired += 1
            arm.only_stable += stable and not right
            arm.only_canary += right and not stable


def _count_slices(request: dict[str, Any], where: str, arm: Arm) -> None:
    names = request.get("slices") or []
    if not isinstance(names, list):
        raise InputError("'slices' is not a list of names", where=where)
    if request.get("prediction") is not None and request.get("label") is not None:
        for name in {str(name) for name in names}:
            n, right = arm.slices.get(name, (0, 0))
            arm.slices[name] = (n + 1, right + (str(request["prediction"]) == str(request["label"])))


def _text(request: dict[str, Any], key: str, where: str) -> str:
    value = request.get(key)
    if not isinstance(value, str):
        raise InputError(f"{key!r} is missing or not text", where=where)
    return value


def _moment(text: str, where: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{text!r} is not an ISO 8601 time", where=where) from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
