"""HTML as values: text is escaped where it enters."""

import html.parser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.registry.site.markup import Markup, tag, text


class Reader(html.parser.HTMLParser):
    """The elements and text that a browser would see."""

    def __init__(self, source: Markup) -> None:
        super().__init__(convert_charrefs=True)
        self.names, self.attributes, self.shown = [], [], ""
        self.feed(source)
        self.close()

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.names.append(name)
        self.attributes.append(dict(attributes))

    def handle_data(self, data: str) -> None:
        self.shown += data


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40)


@given(TEXT, TEXT)
def test_text_and_values_come_out_as_they_went_in(child: str, value: str) -> None:
    """Neither a child nor an attribute's value can open an element."""
    seen = Reader(tag("p", child, title=value))
    assert seen.names == ["p"]
    assert seen.attributes == [{"title": value}]
    assert seen.shown == child


def test_markup_nests_and_lists_are_joined() -> None:
    """What is markup already is not escaped twice; None is nothing."""
    assert tag("p", tag("b", "<"), None, ["a", ("b", text("&"))]) == "<p><b>&lt;</b>ab&amp;</p>"
    assert isinstance(tag("p"), Markup)


def test_attributes_are_left_out_or_bare() -> None:
    """None and False leave one out, True has no value; names are written with hyphens."""
    assert tag("th", class_="a", data_value=None, hidden=False, defer=True, aria_sort="x") == (
        '<th class="a" defer aria-sort="x"></th>'
    )


def test_void_elements_are_not_closed() -> None:
    """`<meta></meta>` would be an error."""
    assert tag("meta", charset="utf-8") == '<meta charset="utf-8">'


@pytest.mark.parametrize("name", ["p><script", "", "1p", "p q"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    """Names are ours, never somebody's text; a slip is a defect that shows."""
    with pytest.raises(ValueError, match="is not the name of"):
        tag(name)
    with pytest.raises(ValueError, match="is not the name of"):
        tag("p", **{name or " ": "x"})
