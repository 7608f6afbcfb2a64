"""The one cutter of reports, on reports that the gate's renderer printed."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gate.report.printed import printed
from weighbridge.core import cutting
from weighbridge.core.cutting import Room, first_lines, fit
from weighbridge.core.documents import Verdict
from weighbridge.core.documents.keyed_report import ProjectReport, ReportSection
from weighbridge.gate.report.content import document
from weighbridge.gate.report.subject import Report
from weighbridge.gate.report.to_markdown import render as render_markdown


def keys(fitted: cutting.Fitted, number: int = 0) -> list[Any]:
    """Of the sections that are shown of one project."""
    return [section.key for section in fitted.projects[number].sections]


def units(text: str) -> int:
    """As GitHub counts: UTF-16 units."""
    return len(text.encode("utf-16-le")) // 2


def test_every_section_that_the_gate_prints_has_a_place_in_the_order() -> None:
    """A new section must be put into the order, or it would be the first to go."""
    # Of other runs: one's own metrics, a change, a language model's texts.
    elsewhere = {"failure", "targets", "portability", "scores", "next", "all", "ready", "texts"}
    assert {section.key for section in printed(4).sections} | elsewhere == set(cutting.CUT_ORDER)


def test_sections_go_one_by_one_samples_first_and_verdicts_last() -> None:
    """The declared order, literally; each is left out only when all before it are not enough."""
    whole = printed(40)
    present = [section.key for section in whole.sections]
    full = fit([whole], Room(10**9)).text(Room(10**9))
    order = []
    for longest in range(len(full), 700, -200):
        room = Room(longest)
        found = fit([whole], room)
        assert len(found.text(room)) <= longest
        gone = [key for key in present if key not in keys(found)]
        assert set(order) <= set(gone)
        order += sorted(set(gone) - set(order), key=cutting.CUT_ORDER.index)
    expected = [
        "flips",
        "slices",
        "launches",
        "legend",
        "notes",
        "tradeoff",
        "targets",
        "portability",
        "device",
        "params",
    ]
    expected += ["reproduce", "reasons", "basis", "waivers", "policy", "budgets", "recipes"]
    assert order == [key for key in expected if key in present]


@pytest.mark.parametrize("over", [1, 100, 300])
def test_no_more_goes_than_must(over: int) -> None:
    """A report that is a little too long loses samples, and not its tables."""
    whole = printed(12)
    longest = len(fit([whole], Room(10**9)).text(Room(10**9))) - over
    found = fit([whole], Room(longest))
    assert [section.key for section in whole.sections if section.key not in keys(found)] in ([], ["flips"])
    assert found.left_out == ("Flipped examples",)
    assert len(found.text(Room(longest))) > longest - 200


def test_headline_and_lead_stay_when_nothing_else_fits() -> None:
    """The verdict in words is never cut, and what was left out is named."""
    whole = printed(300)
    text = fit([whole], Room(1200)).text(Room(1200))
    headline = "latency.p50 1.395×, at most 0.9×, and 299 more; params max was removed without a waiver"
    assert text.splitlines()[0].endswith(headline)
    assert "Left out or shortened here" in text
    assert "The full report is `gate.html`." in text


def test_a_table_of_hundreds_of_rows_is_shortened_not_dropped() -> None:
    """The last section that has to go keeps the rows that fit."""
    text = render_markdown(document(Report(Verdict.FAIL, [], model="net", notes=[f"note {i}" for i in range(9000)])))
    assert 59_000 < len(text) <= 60_000
    assert "note 100\n" in text
    assert "shortened here, because this text would be too long: how to read this, notes." in text


def test_the_verdicts_of_all_projects_come_first_and_are_never_cut() -> None:
    """Two projects, each too long for a comment alone: both headlines stand before the first table."""
    two = [printed(200, project="a", model="first"), printed(200, project="b", model="second", ratio=0.85)]
    for longest in (60_000, 20_000, 3_000):
        text = cutting.render(two, Room(longest))
        assert len(text) <= longest
        fail, passed = text.index("## ❌ Fail: recipe-0000@"), text.index("## ✅ Pass: all 200")
        assert fail < passed
        assert "| recipe | verdict |" not in text[:passed]


def test_sections_of_several_projects_stand_under_their_projects_name() -> None:
    """A reader knows whose table it is; a project without sections needs no title."""
    quiet = ProjectReport(project="c", headline="# c: nothing to weigh")
    text = cutting.render([printed(1, project="a/b"), quiet, printed(1, project="d")], Room(10**9))
    titles = [line for line in text.splitlines() if line.startswith("## Details")]
    assert titles == ["## Details of `a/b`", "## Details of `d`"]
    assert text.index("# c: nothing to weigh") < text.index(titles[0])


def test_more_projects_than_fit_are_counted() -> None:
    """Headlines alone, as many as there is room for."""
    many = [ProjectReport(project=f"p{i}", headline=f"## ❌ Fail: {i}", lead="x" * 50) for i in range(300)]
    text = cutting.render(many, Room(2000))
    assert len(text) <= 2000
    shown_headlines = text.count("## ❌")
    assert 60 < shown_headlines < 300
    assert f"the verdicts on {300 - shown_headlines} more projects, the rest" in text


@given(
    st.lists(
        st.builds(
            ProjectReport,
            headline=st.text(max_size=30),
            lead=st.text(max_size=60),
            sections=st.lists(
                st.builds(
                    ReportSection,
                    key=st.sampled_from([*cutting.CUT_ORDER, "other"]),
                    title=st.text(max_size=90),
                    text=st.text(alphabet="ab`~ \n#😀|", max_size=400),
                ),
                max_size=4,
            ),
        ),
        max_size=4,
    ),
    st.integers(300, 900),
)
def test_cutting_keeps_within_the_room(projects: list[Any], longest: int) -> None:
    """Whatever the report, the result fits, in GitHub's stricter count."""
    room = Room(longest, units)
    assert units(cutting.render(projects, room)) <= longest


@pytest.mark.parametrize(
    ("text", "closed"),
    [
        ("```text\n" + "line\n" * 500 + "```", "line\n```"),
        ("````text\n```\n" + "line\n" * 500 + "````", "line\n````"),
        ("<details><summary>x</summary>\n\n" + "line\n" * 500 + "</details>", "line\n\n</details>"),
        ("<details>\n```sh\n" + "line\n" * 500 + "```\n</details>", "line\n```\n\n</details>"),
    ],
)
def test_a_cut_inside_a_block_closes_it(text: str, closed: str) -> None:
    """What follows a section that was shortened is not swallowed by its code block or its folding."""
    short = first_lines(text, 400)
    assert short.endswith(closed)
    assert 380 < len(short) <= 400
    assert first_lines(text) == text
