"""What CI systems say of a run."""

import json
from pathlib import Path

import pytest

from weighbridge.ci.event import this_run
from weighbridge.core.errors import InputError

SHA = "c" * 40


def event(tmp_path: Path, content: dict[str, str | dict[str, str]]) -> dict[str, str]:
    path = tmp_path / "event.json"
    path.write_text(json.dumps(content))
    return {"GITHUB_ACTIONS": "true", "GITHUB_EVENT_PATH": str(path)}


def test_a_pull_request_is_compared_with_its_target_branch(tmp_path: Path) -> None:
    """And its words go to the summary and the step's outputs."""
    environment = event(tmp_path, {}) | {
        "GITHUB_EVENT_NAME": "pull_request", "GITHUB_BASE_REF": "main",
        "GITHUB_STEP_SUMMARY": "/s", "GITHUB_OUTPUT": "/o",
    }  # fmt: skip
    run = this_run(environment)
    assert run.base == "origin/main"
    assert run.annotate
    assert (str(run.summary), str(run.outputs)) == ("/s", "/o")


def test_a_merge_group_is_compared_with_the_queues_base(tmp_path: Path) -> None:
    """A group without one is an error: it would be compared with nothing."""
    environment = event(tmp_path, {"merge_group": {"base_sha": SHA}}) | {"GITHUB_EVENT_NAME": "merge_group"}
    assert this_run(environment).base == SHA
    environment = event(tmp_path, {}) | {"GITHUB_EVENT_NAME": "merge_group"}
    with pytest.raises(InputError, match="base_sha"):
        this_run(environment)


def test_a_push_has_no_base_of_its_own(tmp_path: Path) -> None:
    """What was merged is compared with what the registry serves, not with the push before it."""
    environment = event(tmp_path, {"before": SHA}) | {"GITHUB_EVENT_NAME": "push"}
    assert this_run(environment).base is None


@pytest.mark.parametrize(
    ("environment", "base"),
    [
        ({"CI_MERGE_REQUEST_DIFF_BASE_SHA": SHA}, SHA),
        ({"CI_MERGE_REQUEST_DIFF_BASE_SHA": "--output=x"}, None),
        ({"CHANGE_TARGET": "main"}, "origin/main"),
        ({}, None),
    ],
)
def test_other_systems(environment: dict[str, str], base: str | None) -> None:
    """GitLab and Jenkins name the base in their own variables; nobody's log is written to in GitHub's words."""
    run = this_run(environment)
    assert run.base == base
    assert not run.annotate
    assert run.summary is None


def test_an_event_that_is_no_object_is_one_error(tmp_path: Path) -> None:
    """A list, or no JSON at all."""
    with pytest.raises(InputError, match="not a JSON object"):
        this_run(event(tmp_path, []) | {"GITHUB_EVENT_NAME": "merge_group"})
