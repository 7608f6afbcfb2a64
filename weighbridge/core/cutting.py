"""The one cutter of reports: verdicts of all projects first, then sections as long as there is room.

Sections are left out whole, by their keys, in `CUT_ORDER`; the last one that has to go is shortened to its first lines
where that helps. The time taken is linear in the size of the report.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from weighbridge.core.documents.keyed_report import ProjectReport, ReportSection

CUT_ORDER = (
    "texts",
    "flips",
    "scores",
    "slices",
    "launches",
    "legend",
    "notes",
    "tradeoff",
    "targets",
    "portability",
    "device",
    "params",
    "reproduce",
    "reasons",
    "basis",
    "waivers",
    "policy",
    "budgets",
    "all",
    "ready",
    "next",
    "recipes",
    "failure",
)
"""What goes first when a report is too long: samples first. A section with another key goes before all of them."""

_RANK = {key: rank for rank, key in enumerate(CUT_ORDER)}
_FEWEST_LINES = 8
"""A section is shortened only if more lines than these remain: heading, table header and some rows."""
_MOST_TITLES = len(CUT_ORDER)
_LONGEST_TITLE = 80
_CLOSE = "\n\n</details>"


@dataclass(frozen=True)
class Room:
    """How long a text may be, and what it says where something was left out."""

    longest: int
    measure: Callable[[str], int] = len
    full: str = "The full report is `gate.html`."


@dataclass(frozen=True)
class Fitted:
    """What is left of a report."""

    projects: tuple[ProjectReport, ...]
    left_out: tuple[str, ...] = ()
    """Titles of the sections that are not shown, or not to their end."""

    def text(self, room: Room) -> str:
        """The report as Markdown: all verdicts, then the sections of each project, then what was left out."""
        blocks = [block for project in self.projects for block in (project.headline, project.lead)]
        for project in self.projects:
            if project.sections and len(self.projects) > 1:
                blocks.append(_details(project))
            blocks += [section.text for section in project.sections]
        return "\n\n".join(block for block in [*blocks, _notice(self.left_out, room)] if block) + "\n"


def render(projects: Sequence[ProjectReport], room: Room) -> str:
    """The report as Markdown of at most `room.longest`."""
    return fit(projects, room).text(room)


def fit(projects: Sequence[ProjectReport], room: Room, left_out: Iterable[str] = ()) -> Fitted:
    """What of a report fits. `left_out` are titles of sections that are missing already."""
    whole = Fitted(tuple(projects), tuple(left_out))
    if room.measure(whole.text(room)) <= room.longest:
        return whole
    return _without_sections(whole, room) or _headlines(whole, room)


def _without_sections(whole: Fitted, room: Room) -> Fitted | None:
    """All verdicts and what fits of the sections; None where the verdicts alone are too long."""
    order = sorted(
        (_RANK.get(section.key, -1), -number, place)
        for number, project in enumerate(whole.projects)
        for place, section in enumerate(project.sections)
    )
    length = room.measure(Fitted(whole.projects).text(room))
    remaining = [len(project.sections) for project in whole.projects]
    titles = dict.fromkeys(whole.left_out)
    gone: list[tuple[int, int]] = []
    for _, minus, place in order:
        project, section = whole.projects[-minus], whole.projects[-minus].sections[place]
        gone.append((-minus, place))
        remaining[-minus] -= 1
        length -= room.measure(section.text) + 2
        if remaining[-minus] == 0 and len(whole.projects) > 1:
            length -= room.measure(_details(project)) + 2
        titles[section.title] = None
        slack = room.longest - length - room.measure(_notice(titles, room)) - 2
        if slack >= 0:
            return Fitted(_without(whole.projects, gone, slack, room), tuple(titles))
    return None


def _headlines(whole: Fitted, room: Room) -> Fitted:
    """The headlines alone, as many as fit."""
    headlines = [project.model_copy(update={"lead": "", "sections": []}) for project in whole.projects]
    length, kept = room.measure(Fitted((), _rest(len(headlines))).text(room)), 0
    for project in headlines:
        length += room.measure(project.headline) + 2
        if length > room.longest:
            break
        kept += 1
    return Fitted(tuple(headlines[:kept]), _rest(len(headlines) - kept))


def _rest(missing: int) -> tuple[str, ...]:
    more = f"the verdicts on {missing} more project{'s' if missing > 1 else ''}"
    return (more, "the rest") if missing else ("the rest",)


def _without(
    projects: Sequence[ProjectReport], gone: Sequence[tuple[int, int]], slack: int, room: Room
) -> tuple[ProjectReport, ...]:
    """The projects without sections; of the last that went, the first lines where `slack` has room for them."""
    last, places = gone[-1], frozenset(gone)
    if len(projects) > 1:
        slack -= room.measure(_details(projects[last[0]])) + 2
    part = _shorter(projects[last[0]].sections[last[1]], slack - 2, room)
    found = []
    for number, project in enumerate(projects):
        kept: list[ReportSection] = []
        for place, section in enumerate(project.sections):
            if (number, place) == last and part is not None:
                kept.append(part)
            elif (number, place) not in places:
                kept.append(section)
        found.append(project.model_copy(update={"sections": kept}))
    return tuple(found)


def _shorter(section: ReportSection, longest: int, room: Room) -> ReportSection | None:
    """A section's first lines; None where too few fit."""
    text = first_lines(section.text, longest, room.measure)
    return section.model_copy(update={"text": text}) if text.count("\n") >= _FEWEST_LINES else None


def first_lines(text: str, longest: int = sys.maxsize, measure: Callable[[str], int] = len) -> str:
    """As many whole lines as fit; a code block and foldings that the cut leaves open are closed."""
    kept: list[str] = []
    fence, folded, length = "", 0, 0
    for line in text.split("\n"):
        after, depth = _open_after(line, fence, folded)
        length += measure(line) + 1
        if length - 1 + (len(after) + 1 if after else 0) + depth * len(_CLOSE) > longest:
            break
        kept.append(line)
        fence, folded = after, depth
    return "\n".join([*kept, fence] if fence else kept) + _CLOSE * folded


def _open_after(line: str, fence: str, folded: int) -> tuple[str, int]:
    """The code block that is open after a line (empty: none), and how many foldings are."""
    opened = re.match(r"`{3,}", line)
    if fence:
        return ("" if opened and line.rstrip() == fence else fence), folded
    if opened:
        return opened[0], folded
    return "", max(0, folded + line.startswith("<details>") - line.startswith("</details>"))


def _details(project: ProjectReport) -> str:
    return f"## Details of `{project.project}`"


def _notice(titles: Collection[str], room: Room) -> str:
    if not titles:
        return ""
    more = [f"{len(titles) - _MOST_TITLES} more"] if len(titles) > _MOST_TITLES else []
    named = ", ".join([*(title[:_LONGEST_TITLE].lower() for title in islice(titles, _MOST_TITLES)), *more])
    return f"*Left out or shortened here, because this text would be too long: {named}. {room.full}*"
