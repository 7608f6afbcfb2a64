"""The report that a run uploaded: read, made harmless and cut, on reports that the gate's renderer printed."""

import json
from pathlib import Path

import pytest

from tests.gate.report.printed import printed
from weighbridge.ci import uploaded_report as uploaded
from weighbridge.ci.comment import LARGEST, render
from weighbridge.ci.event import FinishedRun
from weighbridge.ci.uploaded_report import LARGEST_UPLOAD, read_report, shown
from weighbridge.core.cutting import Room, fit
from weighbridge.core.documents.keyed_report import ChangeReport, ProjectReport, ReportSection

RUN = FinishedRun("a" * 40, "octocat", "feature", "failure", "https://github.com/o/r/actions/runs/7", 7, 1, True)


def units(text: str) -> int:
    """As GitHub counts: UTF-16 units."""
    return len(text.encode("utf-16-le")) // 2


def test_a_comment_shows_the_second_projects_failure() -> None:
    """A report of two projects that is too long for a comment keeps both verdicts and the tables of limits."""
    two = [printed(120, ratio=0.85, project="a"), printed(120, project="b")]
    body = render(RUN, two)
    assert units(body) <= LARGEST
    assert "## ✅ Pass: all 120" in body
    assert "## ❌ Fail: recipe-0000@" in body
    assert "The whole report is in the run's uploads." in body


def test_a_report_that_just_does_not_fit_stays_nearly_whole() -> None:
    """59,800 characters: beside the comment's own words a few lines go, and no more."""
    notes = tuple(f"Note {index}: " + "x" * 30 for index in range(300))
    whole = printed(12, notes=notes)
    size = len(fit([whole], Room(10**9)).text(Room(10**9)))
    notes = (*notes, *("y" * 80 for _ in range((59_800 - size) // 83)))
    whole = printed(12, notes=notes)
    assert 59_600 < len(fit([whole], Room(10**9)).text(Room(10**9))) <= 59_800
    body = render(RUN, [whole])
    assert 54_000 < units(body) <= LARGEST
    assert "| recipe | verdict |" in body
    assert "<summary>Limits</summary>" in body
    assert "<summary>Notes</summary>" in body


def write(folder: Path, *projects: ProjectReport) -> list[ProjectReport] | None:
    ChangeReport(projects=list(projects)).write(folder / "report.json")
    return read_report(folder)


def test_what_the_gate_wrote_is_read_back(tmp_path: Path) -> None:
    """Section by section."""
    whole = printed(3)
    assert write(tmp_path, whole) == [whole]


def test_an_older_gates_markdown_is_shown_as_one_text(tmp_path: Path) -> None:
    """A run of an older release uploads no sections; its text is shown, and cut by lines."""
    (tmp_path / "gate.md").write_text("# net: fail\n\n" + "a line\n" * 20_000)
    body = render(RUN, read_report(tmp_path))
    assert 59_000 < units(body) <= LARGEST
    assert "# net: fail\n\na line\n" in body


def test_only_a_regular_file_is_read(tmp_path: Path) -> None:
    """A symbolic link that an upload smuggled in is not followed; bytes that are not text are shown as such."""
    assert read_report(tmp_path) is None
    for name in ("report.json", "gate.md"):
        (tmp_path / name).symlink_to("/etc/hostname")
    assert read_report(tmp_path) is None
    (tmp_path / "gate.md").unlink()
    (tmp_path / "gate.md").write_bytes(b"\xff\xfe\x00garbage")
    assert "garbage" in read_report(tmp_path)[0].sections[0].text


@pytest.mark.parametrize(
    "content",
    ["[" * 100_000, '{"projects": 3}', '{"projects": [{"headline": 1}]}', "", "\x00{}"],
)
def test_sections_of_another_form_fall_back_to_the_text(tmp_path: Path, content: str) -> None:
    """Nothing that a run uploads ends in a traceback, and nothing is lost that can be shown."""
    (tmp_path / "report.json").write_text(content)
    (tmp_path / "gate.md").write_text("# net: fail\n")
    assert read_report(tmp_path)[0].sections[0].text == "# net: fail\n"
    (tmp_path / "gate.md").unlink()
    found = read_report(tmp_path)
    assert (found is None) == (content == "")


def test_a_report_over_the_limit_is_not_read_as_sections(tmp_path: Path) -> None:
    """Only its first bytes are shown, as text."""
    (tmp_path / "report.json").write_text(json.dumps({"projects": [{"headline": "x" * LARGEST_UPLOAD}]}))
    found = read_report(tmp_path)
    assert found[0].headline == ""
    assert len(found[0].sections[0].text) == LARGEST_UPLOAD


def section(text: str, key: str = "recipes") -> ReportSection:
    return ReportSection(key=key, title="t", text=text)


def test_no_more_is_neutralised_than_can_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report of megabytes costs what is shown of it, not what was uploaded."""
    seen = []
    monkeypatch.setattr(uploaded, "neutralise", lambda text: seen.append(len(text)) or text)
    huge = ProjectReport(headline="h" * 10**6, lead="l", sections=[section("row\n" * 10**6), section("x" * 10**6)])
    text = shown([huge] * 3, Room(50_000))
    assert len(text) <= 50_000
    assert sum(seen) <= 2 * 50_000


def test_a_hostile_report_is_harmless_section_by_section() -> None:
    """A folding or a code block that one part leaves open does not hide the next project's verdict."""
    first = ProjectReport(
        project="`</details>\n# x",
        headline="## ok\n<!-- @octocat -->",
        lead="<details><summary>all fine</summary>",
        sections=[section("```text\nnever closed"), section("<script>")],
    )
    text = shown([first, ProjectReport(project="b", headline="## ❌ Fail", sections=[section("s")])], Room(5000))
    assert text.index("</details>") < text.index("## ❌ Fail")
    assert "octocat" not in text
    assert "## Details of `'</details> # x`" in text
    assert "never closed\n```\n" in text
    assert "<script>" not in text


@pytest.mark.parametrize("headline", ["```", "~~~ x", "<details>", "[a](b)", "a\n\n# b", "    code @octocat"])
def test_a_hostile_headline_stays_one_line(headline: str) -> None:
    """Nothing that a run uploads opens a block above the next verdict."""
    text = shown([ProjectReport(headline=headline), ProjectReport(headline="## ❌ Fail")], Room(5000))
    assert text.count("\n\n") == 1
    assert text.endswith("\n\n## ❌ Fail\n")
    assert "@octocat" not in text


def test_titles_of_what_was_left_out_are_words_only() -> None:
    """The notice stands in our own words; a title cannot speak through it."""
    parts = [ReportSection(key="x", title="@octocat <b> www.evil.example [a](b)", text="y" * 3000)]
    text = shown([ProjectReport(headline="h", sections=parts)], Room(500))
    assert "octocat" in text
    for active in ("@", "<b>", "www.", "]("):
        assert active not in text
