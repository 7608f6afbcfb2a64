"""Who measured, and when: every run that added to a measurement is named in it, so that none passes as another's."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weighbridge.core.documents import Launches, Measurement
from weighbridge.core.documents.measurement import RUN_VARIABLE, UNKNOWN_RUN, recorded_runs
from weighbridge.core.errors import StateError
from weighbridge.core.git import Git


def this_run(root: Path, environment: Mapping[str, str], now: dt.datetime) -> dict[str, str]:
    """A run as measurements record it: its id (`ci gate` gives one), the job of CI or Git's user, and the minute."""
    return {
        "run": environment.get(RUN_VARIABLE) or uuid.uuid4().hex,
        "by": _job(environment) or _user(root) or UNKNOWN_RUN["by"],
        "at": now.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def runs(previous: Measurement | None, now: Mapping[str, str], *, launches: bool) -> list[dict[str, str]]:
    """The runs that a measurement rests on: this one, and those whose launches it continues.

    Sizes and accuracy are measured anew each time. An earlier measurement that names no run counts as an unknown one.
    """
    taken = previous is not None and any(
        isinstance(evidence, Launches) for item in previous.comparisons for evidence in item.metrics.values()
    )
    earlier = (recorded_runs(previous) or [UNKNOWN_RUN]) if launches and taken and previous is not None else []
    return [*(run for run in earlier if run["run"] != now["run"]), dict(now)]


def _job(environment: Mapping[str, str]) -> str:
    if number := environment.get("GITHUB_RUN_ID"):
        return f"{environment.get('GITHUB_REPOSITORY', 'GitHub')} run {number}"
    return f"job {environment['CI_JOB_ID']}" if environment.get("CI_JOB_ID") else ""


def _user(root: Path) -> str:
    try:
        return Git(root).attempt("config", "user.name").stdout.strip()
    except StateError:
        return ""


def details(previous: Measurement | None, now: Mapping[str, str] | None, *, launches: bool) -> dict[str, Any]:
    """What a measurement records of its runs; nothing where nobody asked who it is."""
    return {} if now is None else {"runs": runs(previous, now, launches=launches)}
