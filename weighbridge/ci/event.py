"""What the CI system says of this run. Read once at the rim and passed in: nothing below reads the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weighbridge.core.errors import InputError
from weighbridge.core.files import read_json


@dataclass(frozen=True)
class GateRun:
    """Where this run of the gate stands: which base it is compared with, and where its words go."""

    base: str | None
    """Revision that a change is compared with: a branch of `origin`, or a commit; None for what was merged."""
    annotate: bool
    """Whether the log understands GitHub's workflow commands."""
    summary: Path | None
    """The job summary to append to."""
    outputs: Path | None
    """The step's outputs to append to."""


def this_run(environment: Mapping[str, str]) -> GateRun:
    """Read GitHub's or GitLab's variables; elsewhere (a person's terminal, Jenkins) nothing is assumed."""
    if environment.get("GITHUB_ACTIONS") == "true":
        return GateRun(
            _github_base(environment),
            annotate=True,
            summary=_path(environment.get("GITHUB_STEP_SUMMARY")),
            outputs=_path(environment.get("GITHUB_OUTPUT")),
        )
    gitlab = _commit(environment.get("CI_MERGE_REQUEST_DIFF_BASE_SHA"))
    jenkins = environment.get("CHANGE_TARGET")
    return GateRun(gitlab or (f"origin/{jenkins}" if jenkins else None), annotate=False, summary=None, outputs=None)


def _github_base(environment: Mapping[str, str]) -> str | None:
    if environment.get("GITHUB_EVENT_NAME") == "merge_group":
        base = _commit(_at(read_event(environment), "merge_group", "base_sha"))
        if base is None:
            raise InputError("has no merge_group.base_sha", where="GITHUB_EVENT_PATH")
        return base
    branch = environment.get("GITHUB_BASE_REF")
    return f"origin/{branch}" if branch else None


def read_event(environment: Mapping[str, str]) -> dict[str, Any]:
    """The event that started a GitHub run; empty where there is none."""
    path = environment.get("GITHUB_EVENT_PATH")
    if not path:
        return {}
    event = read_json(Path(path))
    if not isinstance(event, dict):
        raise InputError("is not a JSON object", where=path)
    return event


_RUN_NAME = re.compile(r"gate: #(?P<number>[1-9]\d{0,9}) into (?P<base>\S+)")
"""`run-name` in gate.yml: the event of a finished run names its commit, and no pull request for certain."""


@dataclass(frozen=True)
class FinishedRun:
    """The finished gate that a report is about. Every field comes from GitHub, none from the pull request."""

    commit: str
    owner: str
    branch: str
    conclusion: str
    url: str
    number: int
    """The workflow's run number: grows with every run."""
    attempt: int
    is_pull_request: bool
    pull_request: int | None = None
    """The number that the workflow gave its run; None for a workflow that names none."""
    base: str | None = None
    """The branch that the run compared with, likewise."""


def finished_run(event: Mapping[str, Any]) -> FinishedRun:
    """Read a `workflow_run` event; a missing or odd field is an `InputError`."""
    run = event.get("workflow_run")
    if not isinstance(run, dict):
        raise InputError("is not a workflow_run event", where="GITHUB_EVENT_PATH")
    named = _RUN_NAME.fullmatch(str(run.get("display_title")))
    try:
        return FinishedRun(
            commit=_required_commit(run["head_sha"]),
            owner=str(run["head_repository"]["owner"]["login"]),
            branch=str(run["head_branch"]),
            conclusion=str(run["conclusion"]),
            url=str(run["html_url"]),
            number=int(run["run_number"]),
            attempt=int(run["run_attempt"]),
            is_pull_request=run["event"] == "pull_request",
            pull_request=int(named["number"]) if named else None,
            base=named["base"] if named else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"has no usable workflow_run field: {error}", where="GITHUB_EVENT_PATH") from error


def _required_commit(value: Any) -> str:
    commit = _commit(value)
    if commit is None:
        raise ValueError("head_sha is not a commit")
    return commit


def _commit(value: Any) -> str | None:
    """A commit, or None for anything else, such as the 40 zeros that stand for a branch that did not exist."""
    if not isinstance(value, str) or len(value) not in (40, 64) or not value.strip("0"):
        return None
    return value if all(character in "0123456789abcdef" for character in value) else None


def _at(event: Mapping[str, Any], *keys: str) -> Any:
    value: Any = event
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _path(value: str | None) -> Path | None:
    return Path(value) if value else None
