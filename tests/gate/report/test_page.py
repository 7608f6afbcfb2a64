"""The page: the same content as the markdown, self-contained, and safe to open."""

import html.parser
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gate.report.test_to_markdown import UNTRUSTED, entries, report
from weighbridge.core.documents import Verdict
from weighbridge.gate.report.blocks import Code, Document, Mark, Paragraph, Picture, Section, Table
from weighbridge.gate.report.content import document
from weighbridge.gate.report.page import render
from weighbridge.gate.report.plots import COLOURS, PLOTS, png, svg
from weighbridge.gate.report.style import CSS
from weighbridge.gate.report.subject import PICTURES

VOID = {"meta", "br", "hr", "img", "link", "path", "use"}


class Outline(html.parser.HTMLParser):
    """Tags in order, text, and whether every tag is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open, self.tags, self.text = [], [], []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def page() -> str:
    """The page of a passing pipeline, plots and all."""
    laid_out = document(report(pictures=True, reproduce=["make repro"]))
    drawings = {PICTURES[name]: svg(plot, entries(), name) for name, plot in PLOTS.items()}
    return render(laid_out, drawings, "a title")


def test_the_page_is_well_formed_and_asks_for_nothing(page: str) -> None:
    """Every tag is closed; no script, no address but fragments; a policy that forbids loading anything."""
    outline = Outline(page)
    assert outline.open == []
    assert not [tag for tag, _ in outline.tags if tag in ("script", "link", "iframe", "img", "object")]
    for _, attributes in outline.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("href", "xlink:href", "src"):
                assert value.startswith("#")
    assert "default-src 'none'" in page
    assert "@import" not in page
    assert re.search(r"url\((?!#)", page) is None


def test_the_page_says_what_the_markdown_says(page: str) -> None:
    """Every section's title, every recipe and every reason."""
    laid_out = document(report(pictures=True))
    text = "".join(Outline(page).text)
    for section in laid_out.sections:
        assert not section.headed or section.title in text
    for entry in entries():
        assert entry.name in text
        for item in entry.verdict.budgets:
            if item.verdict is not Verdict.PASS:
                assert item.reason in text


def test_the_plots_are_inside_and_follow_the_theme(page: str) -> None:
    """Three drawings, coloured by the page's variables; their ids do not clash."""
    assert page.count("<svg") == 3
    drawn = page[page.index("<main>") :]
    for name in ("ink", "grid", "pass", "fail"):
        assert f"var(--{name})" in drawn
        assert COLOURS[name] not in drawn
        assert CSS.count(f"--{name}:") >= 2
    ids = re.findall(r'\bid="([^"]+)"', drawn)
    clips = [identifier for identifier in ids if identifier.startswith("p") and len(identifier) > 8]
    assert len(clips) == len(set(clips))


@pytest.mark.parametrize("text", UNTRUSTED)
def test_untrusted_text_stays_text(text: str) -> None:
    """Names and messages never become tags or attributes."""
    section = Section("notes", text, [Paragraph([text, Code(text), Mark(Verdict.FAIL, text)]), Picture("x.png", text)])
    outline = Outline(render(Document(Verdict.FAIL, text, [], [section]), {"x.png": "<svg></svg>"}, text))
    assert outline.open == []
    assert not [tag for tag, _ in outline.tags if tag in ("script", "b", "img", "a")]


@given(st.text(max_size=40))
def test_any_text_makes_a_well_formed_page(text: str) -> None:
    """Headline, cells and captions may hold anything."""
    table = Table((text,), [([text],)])
    outline = Outline(render(Document(Verdict.PASS, text, [], [Section("recipes", text, [table])]), {}, text))
    assert outline.open == []


@pytest.mark.parametrize("name", PLOTS)
def test_plots_are_deterministic(name: str) -> None:
    """The same entries give the same bytes, as PNG and as SVG."""
    found = entries()
    assert png(PLOTS[name], found) == png(PLOTS[name], found)
    assert svg(PLOTS[name], found, name) == svg(PLOTS[name], found, name)


@pytest.mark.parametrize("name", PLOTS)
def test_plots_of_nothing_say_so(name: str) -> None:
    """Without evidence there is a picture that says that there is none."""
    assert "was measured" in svg(PLOTS[name], [], name) or "was estimated" in svg(PLOTS[name], [], name)
