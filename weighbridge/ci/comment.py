"""The one sticky comment of a pull request.

What is trusted (the commit, the run, its conclusion: all from GitHub's own event) stands first. What the run
uploaded follows, neutralised. The comment is found again by a hidden marker *and* its author, so that nobody else's
text can pose as it; the marker carries the run, so that an older run never overwrites a newer one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from weighbridge.ci.edited_gate import edited_gate
from weighbridge.ci.event import FinishedRun
from weighbridge.ci.github import Comment, GitHub
from weighbridge.ci.uploaded_report import shown
from weighbridge.core.cutting import Room
from weighbridge.core.documents.keyed_report import ProjectReport
from weighbridge.core.errors import InputError

LARGEST = 60_000
"""Characters (UTF-16 units, the stricter count) of a whole comment; GitHub refuses more than 65,536."""
_FULL = "The whole report is in the run's uploads."
AUTHOR = "github-actions[bot]"

_MARKER = re.compile(r"<!-- weighbridge-gate run=(\d{1,18}) attempt=(\d{1,9}) commit=([0-9a-f]{40,64}) -->")
_CONCLUSIONS = {
    "success": "✅ **The gate passed.**",
    "failure": "❌ **The gate did not pass.**",
    "cancelled": "⚪ **The gate was cancelled.** Nothing was judged.",
    "timed_out": "❌ **The gate ran out of time.** Nothing was judged.",
}

_EDITED = (
    "⚠️ **This change edits the gate itself** ({}). The run ended without a failure, which an edited gate can say of "
    "anything: review these files first."
)
_SHOWN = 5


class PostStatus(StrEnum):
    """What became of a report."""

    CREATED = "created"
    UPDATED = "updated"
    SUPERSEDED = "superseded: a newer run has reported already"
    MOVED_ON = "not posted: no open pull request has this commit as its head any more"
    OTHER_BASE = "not posted: the pull request goes into another branch than the run compared with"
    SEVERAL = "not posted: several open pull requests have this commit as their head, and the run names none"
    NOT_A_PULL_REQUEST = "not posted: the run was not for a pull request"


@dataclass(frozen=True)
class Posted:
    """Where a report went."""

    status: PostStatus
    pull_request: int | None = None


def post(github: GitHub, run: FinishedRun, report: Sequence[ProjectReport] | None, author: str = AUTHOR) -> Posted:
    """Create or update the comment of the pull request whose base and head the run was for.

    `report` is of unknown origin, None where the run uploaded none. Raises `StateError` if GitHub refuses.
    """
    if not run.is_pull_request:
        return Posted(PostStatus.NOT_A_PULL_REQUEST)
    pull_request = _addressed(run, github.open_pull_requests(run.owner, run.branch, run.commit))
    if isinstance(pull_request, PostStatus):
        return Posted(pull_request)
    body = render(run, report, edited_gate(github.files(pull_request)))
    own = [comment for comment in github.comments(pull_request) if comment.author == author and _place(comment)]
    if any(_place(comment) > (run.number, run.attempt) for comment in own):
        return Posted(PostStatus.SUPERSEDED, pull_request)
    if own:
        github.update_comment(own[0].number, body)
        return Posted(PostStatus.UPDATED, pull_request)
    github.create_comment(pull_request, body)
    return Posted(PostStatus.CREATED, pull_request)


def _addressed(run: FinishedRun, found: Mapping[int, str]) -> int | PostStatus:
    """The pull request that a run was for, among those with its head: one commit may be offered to several branches,
    whose limits differ.
    """
    if not found or (run.pull_request is not None and run.pull_request not in found):
        return PostStatus.MOVED_ON
    if run.pull_request is None:
        return next(iter(found)) if len(found) == 1 else PostStatus.SEVERAL
    return run.pull_request if found[run.pull_request] == run.base else PostStatus.OTHER_BASE


def render(run: FinishedRun, report: Sequence[ProjectReport] | None, edited: Sequence[str] = ()) -> str:
    """The comment's text: marker, what GitHub knows, then the neutralised report cut to what is left of `LARGEST`.

    `edited` are the files of the gate itself that the pull request changes: a gate that was edited proves nothing.
    """
    concluded = _CONCLUSIONS.get(run.conclusion, "❌ **The gate did not finish.** Nothing was judged.")
    if edited and run.conclusion == "success":
        concluded = _EDITED.format(_names(edited))
    head = (
        f"<!-- weighbridge-gate run={run.number} attempt={run.attempt} commit={run.commit} -->\n"
        f"{concluded} "
        f"Commit {run.commit[:12]}, [run {run.number}]({_run_address(run.url)}).\n\n"
    )
    if not report:
        return head + "The run uploaded no report: its log says why.\n"
    said = "The report below was made by the pull request's own run; the plots are in the run's uploads.\n\n---\n\n"
    return head + said + shown(report, Room(LARGEST - _length(head + said), _length, _FULL))


def _names(edited: Sequence[str]) -> str:
    """Names of files as code, where they are plain; anything else in a name could be Markdown."""
    shown = [f"`{name}`" if re.fullmatch(r"[\w./ ,-]+", name, re.ASCII) else "a file" for name in edited[:_SHOWN]]
    return ", ".join(shown) + (f" and {len(edited) - _SHOWN} more" if len(edited) > _SHOWN else "")


def _place(comment: Comment) -> tuple[int, int]:
    """Run number and attempt in a comment's marker; empty (which is false) for a comment without one at its start."""
    match = _MARKER.match(comment.body)
    return (int(match[1]), int(match[2])) if match else ()  # type: ignore[return-value]


def _run_address(url: str) -> str:
    """The run's address, if it can stand in a Markdown link."""
    if not re.fullmatch(r"https?://[A-Za-z0-9.:-]+/[A-Za-z0-9._/-]+", url):
        raise InputError("workflow_run.html_url is not an address", where="GITHUB_EVENT_PATH")
    return url


def _length(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2
