"""The one sticky comment of a pull request.

What is trusted (the commit, the run, its conclusion: all from GitHub's own event) stands first. What the run
uploaded follows, neutralised. The comment is found again by a hidden marker *and* its author, so that nobody else's
text can pose as it; the marker carries the run, so that an older run never overwrites a newer one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from weighbridge.ci.event import FinishedRun
from weighbridge.ci.github import Comment, GitHub
from weighbridge.ci.sanitize import neutralise
from weighbridge.core.errors import InputError

LARGEST = 60_000
"""Characters (UTF-16 units, the stricter count) of a whole comment; GitHub refuses more than 65,536."""
LARGEST_UPLOAD = 4 * 2**20
"""Bytes of a report that are read at all."""
AUTHOR = "github-actions[bot]"
REPORT = "gate.md"

_MARKER = re.compile(r"<!-- weighbridge-gate run=(\d{1,18}) attempt=(\d{1,9}) commit=([0-9a-f]{40,64}) -->")
_CONCLUSIONS = {
    "success": "✅ **The gate passed.**",
    "failure": "❌ **The gate did not pass.**",
    "cancelled": "⚪ **The gate was cancelled.** Nothing was judged.",
    "timed_out": "❌ **The gate ran out of time.** Nothing was judged.",
}
# Cut first to last until the rest fits; what is not named here, the verdict among it, is cut last.
_CUT_FIRST = ("flip", "example", "slice", "machine", "reproduce", "pareto", "size against", "note", "changed")


class PostStatus(StrEnum):
    """What became of a report."""

    CREATED = "created"
    UPDATED = "updated"
    SUPERSEDED = "superseded: a newer run has reported already"
    MOVED_ON = "not posted: no open pull request has this commit as its head any more"
    NOT_A_PULL_REQUEST = "not posted: the run was not for a pull request"


@dataclass(frozen=True)
class Posted:
    """Where a report went."""

    status: PostStatus
    pull_request: int | None = None


def post(github: GitHub, run: FinishedRun, report: str | None, author: str = AUTHOR) -> Posted:
    """Create or update the comment of the pull request whose head is the run's commit.

    `report` is text of unknown origin, None where the run uploaded none. Raises `StateError` if GitHub refuses.
    """
    if not run.is_pull_request:
        return Posted(PostStatus.NOT_A_PULL_REQUEST)
    pull_request = github.open_pull_request(run.owner, run.branch, run.commit)
    if pull_request is None:
        return Posted(PostStatus.MOVED_ON)
    body = render(run, report)
    own = [comment for comment in github.comments(pull_request) if comment.author == author and _place(comment)]
    if any(_place(comment) > (run.number, run.attempt) for comment in own):
        return Posted(PostStatus.SUPERSEDED, pull_request)
    if own:
        github.update_comment(own[0].number, body)
        return Posted(PostStatus.UPDATED, pull_request)
    github.create_comment(pull_request, body)
    return Posted(PostStatus.CREATED, pull_request)


def render(run: FinishedRun, report: str | None) -> str:
    """The comment's text: marker, what GitHub knows, then the neutralised report cut to what is left of `LARGEST`."""
    head = (
        f"<!-- weighbridge-gate run={run.number} attempt={run.attempt} commit={run.commit} -->\n"
        f"{_CONCLUSIONS.get(run.conclusion, '❌ **The gate did not finish.** Nothing was judged.')} "
        f"Commit {run.commit[:12]}, [run {run.number}]({_run_address(run.url)}).\n\n"
    )
    if report is None or not report.strip():
        return head + "The run uploaded no report: its log says why.\n"
    said = "The report below was made by the pull request's own run; the plots are in the run's uploads.\n\n---\n\n"
    return head + said + cut(neutralise(report), LARGEST - _length(head + said))


def cut(text: str, room: int) -> str:
    """Shorten Markdown to `room` characters by whole sections in the declared order, then by whole lines.

    The first section (the verdict) is never left out; what was left out is said at the end.
    """
    if _length(text) <= room:
        return text
    sections = [part for part in re.split(r"(?m)^(?=#{2,3} )", text) if part]
    left_out: list[str] = []
    for word in _CUT_FIRST:
        for section in [item for item in sections[1:] if word in item.partition("\n")[0].lower()]:
            sections.remove(section)
            left_out.append(section.partition("\n")[0].lstrip("# "))
            shorter = _with_notice(sections, left_out)
            if _length(shorter) <= room:
                return shorter
    notice = _notice([*left_out, "the rest"])
    return _whole_lines("".join(sections), room - _length(notice)) + notice


def read_report(folder: Path) -> str | None:
    """The report among what a run uploaded; None where there is none. Bytes that are no UTF-8 are replaced.

    Only a regular file directly in the folder is read, never through a symbolic link.
    """
    path = folder / REPORT
    if path.is_symlink() or not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            return file.read(LARGEST_UPLOAD).decode("utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from error


def _place(comment: Comment) -> tuple[int, int]:
    """Run number and attempt in a comment's marker; empty (which is false) for a comment without one at its start."""
    match = _MARKER.match(comment.body)
    return (int(match[1]), int(match[2])) if match else ()  # type: ignore[return-value]


def _run_address(url: str) -> str:
    """The run's address, if it can stand in a Markdown link."""
    if not re.fullmatch(r"https?://[A-Za-z0-9.:-]+/[A-Za-z0-9._/-]+", url):
        raise InputError("workflow_run.html_url is not an address", where="GITHUB_EVENT_PATH")
    return url


def _with_notice(sections: list[str], left_out: list[str]) -> str:
    return "".join(sections).rstrip("\n") + _notice(left_out)


def _notice(left_out: list[str]) -> str:
    return f"\n\n*Left out for length: {'; '.join(left_out)}. The whole report is in the run's uploads.*\n"


def _whole_lines(text: str, room: int) -> str:
    kept: list[str] = []
    fence = ""
    for line in text.split("\n"):
        opened = re.match(r"`{3,}", line)
        after = "" if opened and fence and line.startswith(fence) else opened[0] if opened and not fence else fence
        if _length("\n".join([*kept, line])) + (len(after) + 1 if after else 0) > room:
            break
        kept.append(line)
        fence = after
    return "\n".join([*kept, fence] if fence else kept)


def _length(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2
