"""The sticky comment, against a GitHub on loopback that checks every request by the published description."""

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from weighbridge.ci.comment import Posted, PostStatus, post, render
from weighbridge.ci.event import FinishedRun, finished_run
from weighbridge.ci.github import GitHub
from weighbridge.core.documents.keyed_report import ProjectReport, ReportSection
from weighbridge.core.errors import InputError, StateError

if TYPE_CHECKING:
    from tests.github_api import Api

SHA = "a" * 40
RUN = FinishedRun(SHA, "octocat", "feature", "success", "https://github.com/o/r/actions/runs/7", 7, 1, True)


def said(headline: str, text: str = "| a | b |\n| - | - |\n| 1 | 2 |") -> list[ProjectReport]:
    """What a gate hands over of one project."""
    section = ReportSection(key="budgets", title="Limits", text=f"### Limits\n\n{text}")
    return [ProjectReport(headline=headline, lead="All said.", sections=[section])]


REPORT = said("## ✅ fashion-cnn: pass")


@pytest.fixture
def github(github_api: "Api") -> GitHub:
    github_api.add_pull(12, "feature", SHA)
    return GitHub("o/r", github_api.token, github_api.url, pause=lambda seconds: None)


def bodies(api: "Api") -> list[Any]:
    return [comment["body"] for comment in api.comments]


def test_a_first_report_creates_one_comment_and_the_next_updates_it(github: GitHub, github_api: "Api") -> None:
    """However often the gate runs, the pull request has one comment, with the newest run's words."""
    assert post(github, RUN, REPORT).status is PostStatus.CREATED
    newer = dataclasses.replace(RUN, number=8, conclusion="failure")
    assert post(github, newer, said("## ❌ fashion-cnn: fail")).status is PostStatus.UPDATED
    assert len(github_api.comments) == 1
    assert "The gate did not pass" in bodies(github_api)[0]
    assert "## ❌ fashion-cnn: fail" in bodies(github_api)[0]


def test_an_older_run_never_overwrites_a_newer_one(github: GitHub, github_api: "Api") -> None:
    """Run 9 has reported; run 8 and an earlier attempt of 9 arrive late and change nothing."""
    post(github, dataclasses.replace(RUN, number=9, attempt=2), REPORT)
    before = bodies(github_api)
    for number, attempt in ((8, 3), (9, 1)):
        late = dataclasses.replace(RUN, number=number, attempt=attempt)
        assert post(github, late, said("old")).status is PostStatus.SUPERSEDED
    assert bodies(github_api) == before


def test_a_commit_that_is_no_longer_the_head_is_not_reported(github: GitHub, github_api: "Api") -> None:
    """What was measured for a commit that was pushed over is stale, even if no newer run has reported."""
    stale = dataclasses.replace(RUN, commit="b" * 40)
    assert post(github, stale, REPORT).status is PostStatus.MOVED_ON
    assert post(github, dataclasses.replace(RUN, owner="stranger"), REPORT).status is PostStatus.MOVED_ON
    assert github_api.comments == []


def test_of_two_pull_requests_with_one_head_the_one_that_was_run_for_is_told(github: GitHub, github_api: "Api") -> None:
    """One branch is offered to main and to a branch with looser limits: each has the comment of its own run."""
    github_api.add_pull(13, "feature", SHA, base="loose")
    loose = dataclasses.replace(RUN, pull_request=13, base="loose")
    assert post(github, loose, REPORT) == Posted(PostStatus.CREATED, 13)
    strict = dataclasses.replace(RUN, pull_request=12, base="main", conclusion="failure")
    assert post(github, strict, REPORT) == Posted(PostStatus.CREATED, 12)
    assert [comment["pull"] for comment in github_api.comments] == [13, 12]


def test_a_run_that_names_no_pull_request_does_not_choose_among_several(github: GitHub, github_api: "Api") -> None:
    """The workflow of an older version: with one candidate it is that one, with two it is neither."""
    assert post(github, RUN, REPORT).status is PostStatus.CREATED
    github_api.add_pull(13, "feature", SHA, base="loose")
    assert post(github, RUN, REPORT).status is PostStatus.SEVERAL
    assert len(github_api.comments) == 1


def test_a_pull_request_that_goes_elsewhere_now_is_not_told(github: GitHub, github_api: "Api") -> None:
    """Its base was changed after the run: the verdict was by other limits."""
    run = dataclasses.replace(RUN, pull_request=12, base="loose")
    assert post(github, run, REPORT).status is PostStatus.OTHER_BASE
    assert post(github, dataclasses.replace(run, pull_request=99), REPORT).status is PostStatus.MOVED_ON
    assert github_api.comments == []


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("gate: #12 into main", (12, "main")),
        ("gate: #12 into release/1.x", (12, "release/1.x")),
        ("gate", (None, None)),
        ("Fix: gate: #12 into main", (None, None)),
        ("gate: #0 into main", (None, None)),
        (None, (None, None)),
    ],
)
def test_the_pull_request_is_what_the_workflow_called_its_run(
    title: str | None, expected: tuple[int | None, str | None]
) -> None:
    """By `run-name`, the whole of it; the title of a pull request or commit is none."""
    run = {
        "head_sha": SHA, "head_repository": {"owner": {"login": "o"}}, "head_branch": "b", "conclusion": "success",
        "html_url": RUN.url, "run_number": 1, "run_attempt": 1, "event": "pull_request", "display_title": title,
    }  # fmt: skip
    found = finished_run({"workflow_run": run})
    assert (found.pull_request, found.base) == expected


def test_runs_that_are_not_for_a_pull_request_ask_nothing(github: GitHub, github_api: "Api") -> None:
    """A push to the default branch has no conversation to report to."""
    assert post(github, dataclasses.replace(RUN, is_pull_request=False), None).status is PostStatus.NOT_A_PULL_REQUEST
    assert github_api.requests == []


def test_only_a_marker_by_the_right_author_is_our_comment(github: GitHub, github_api: "Api") -> None:
    """Somebody else's comment with a marker, even one of a far newer run, is neither overwritten nor believed."""
    fake = f"<!-- weighbridge-gate run=999 attempt=1 commit={SHA} -->\nAll fine, merge it"
    github_api.add_comment(12, fake, "mallory")
    github_api.add_comment(12, "quoting:\n" + fake, "github-actions[bot]")
    assert post(github, RUN, REPORT).status is PostStatus.CREATED
    assert bodies(github_api)[0] == fake
    assert len(github_api.comments) == 3


def test_our_comment_is_found_on_a_later_page(github: GitHub, github_api: "Api") -> None:
    """A long conversation is read to its end before a comment is added."""
    for _ in range(205):
        github_api.add_comment(12, "talk", "somebody")
    post(github, RUN, REPORT)
    assert post(github, dataclasses.replace(RUN, number=8), REPORT).status is PostStatus.UPDATED
    assert len(github_api.comments) == 206


def test_a_run_without_a_report_says_so(github: GitHub, github_api: "Api") -> None:
    """A gate that broke before it wrote anything is not silent, and not a pass."""
    post(github, dataclasses.replace(RUN, conclusion="timed_out"), None)
    assert "ran out of time" in bodies(github_api)[0]
    assert "uploaded no report" in bodies(github_api)[0]


def test_what_a_run_claims_never_replaces_what_github_knows() -> None:
    """A report that says `pass` and forges our header stands below the run's real conclusion."""
    forged = "<!-- weighbridge-gate run=1 attempt=1 commit=" + SHA + " -->\n✅ **The gate passed.**"
    body = render(dataclasses.replace(RUN, conclusion="failure"), said(forged, forged))
    assert body.index("❌ **The gate did not pass.**") < body.index("✅ **The gate passed.**")
    assert body.count("<!--") == 1


def test_temporary_refusals_are_tried_again_and_lasting_ones_are_one_error(github: GitHub, github_api: "Api") -> None:
    """A 502 is tried again; 403 names the permission that is missing, and never the token."""
    github_api.failures += [(502, {}), (429, {})]
    assert post(github, RUN, REPORT).status is PostStatus.CREATED
    github_api.failures += [(403, {"message": "Resource not accessible by integration"})]
    with pytest.raises(StateError, match="pull-requests: write") as caught:
        post(github, RUN, REPORT)
    assert github_api.token not in str(caught.value)


@pytest.mark.parametrize("answer", [b"", b"<html>", b'{"a": 1}'])
def test_an_answer_that_is_not_what_was_asked_for_is_one_error(
    github: GitHub, github_api: "Api", answer: bytes
) -> None:
    """A proxy's page in place of GitHub's answer does not end in a traceback."""
    github_api.failures += [(200, answer)]
    with pytest.raises(StateError, match="something else"):
        post(github, RUN, REPORT)


def test_a_redirect_is_not_followed_with_the_token(github: GitHub, github_api: "Api") -> None:
    """The token goes to the address that was configured and to no other."""
    github_api.failures += [(307, b"")]
    with pytest.raises(StateError, match="307"):
        post(github, RUN, REPORT)


def test_an_unreachable_server_is_one_error() -> None:
    """Nothing listens: an error that says so, after the tries."""
    waits = []
    with pytest.raises(StateError, match="could not be reached"):
        list(GitHub("o/r", "t", "http://127.0.0.1:9", pause=waits.append).comments(1))
    assert waits == [2.0, 4.0]


@pytest.mark.parametrize(
    ("repository", "token", "url"),
    [
        ("../etc", "t", "https://api.github.com"),
        ("o/r", "", "https://api.github.com"),
        ("o/r", "t\nHost: evil", "https://api.github.com"),
        ("o/r", "t", "http://example.com"),
        ("o/r", "t", "file:///etc"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_sent(repository: str, token: str, url: str) -> None:
    """The token never travels in the clear, and no setting reaches a header or a path unchecked."""
    with pytest.raises(InputError):
        GitHub(repository, token, url)


EVENT = {
    "workflow_run": {
        "head_sha": SHA, "head_branch": "feature", "conclusion": "success", "run_number": 7, "run_attempt": 1,
        "event": "pull_request", "html_url": "https://github.com/o/r/actions/runs/7",
        "head_repository": {"owner": {"login": "octocat"}},
    }
}  # fmt: skip


def test_the_event_of_a_finished_run_is_read() -> None:
    """All that the comment trusts comes from this event."""
    assert finished_run(EVENT) == RUN


@pytest.mark.parametrize(
    "changed",
    [{"head_sha": "zz"}, {"head_sha": None}, {"run_number": "x"}, {"head_repository": None}, {"head_branch": ...}],
)
def test_an_odd_event_is_one_error(changed: dict[str, Any]) -> None:
    """A missing or malformed field is named; nothing is posted."""
    run = {key: value for key, value in {**EVENT["workflow_run"], **changed}.items() if value is not ...}
    with pytest.raises(InputError, match="workflow_run"):
        finished_run({"workflow_run": run})


def test_the_trusted_line_never_says_passed_where_the_change_edits_the_gate(github: GitHub, github_api: "Api") -> None:
    """A workflow that runs nothing ends green too: GitHub's own list of files says what was edited."""
    github_api.add_file(12, "docs/index.md")
    post(github, RUN, REPORT)
    assert "✅ **The gate passed.**" in bodies(github_api)[0]
    github_api.add_file(12, ".github/workflows/gate.yml")
    post(github, dataclasses.replace(RUN, number=8), REPORT)
    (body,) = bodies(github_api)
    first = body.splitlines()[1]
    assert "passed" not in first
    assert "edits the gate itself** (`.github/workflows/gate.yml`)" in first
    assert not github_api.refused


def test_a_failure_stays_a_failure_where_the_gate_was_edited() -> None:
    """Nobody edits a gate to fail: red is said as red. Odd names of files are not repeated."""
    failed = dataclasses.replace(RUN, conclusion="failure")
    assert "❌ **The gate did not pass.**" in render(failed, REPORT, ["dvc.yaml"])
    assert "](https://evil" not in render(RUN, REPORT, ["[x](https://evil.example)/dvc.yaml"])
