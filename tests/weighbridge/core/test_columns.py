"""Tables of text: whatever the cells, no line is wider than it may be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.core.columns import columns

ROWS: list[dict[str, str | None]] = [
    {"recipe": "pruned-int8-with-a-long-name", "verdict": "fail", "budget": "accuracy.worst_slice against stable",
     "measured": "12.5 points", "limit": "10 points"},
    {"recipe": "fp16", "verdict": "pass (advisory)", "budget": "size.bytes", "measured": "1.2 MB", "limit": None},
]  # fmt: skip


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200, None])
def test_a_table_fits_and_has_every_word(width: int | None) -> None:
    """Narrow ones wrap, very narrow ones stack; nothing is cut off."""
    text = columns(ROWS, width)
    assert width is None or max(map(len, text.splitlines())) <= width
    letters = "".join(text.split()).replace("-", "")
    for row in ROWS:
        for name, cell in row.items():
            assert name in text
            assert cell is None or all(word.replace("-", "")[:6] in letters for word in cell.split())


def test_a_table_that_fits_is_left_alone() -> None:
    """One line a row, the verdict in the second column."""
    lines = columns(ROWS, 200).splitlines()
    assert len(lines) == 4
    assert lines[2].split()[:2] == ["pruned-int8-with-a-long-name", "fail"]
    assert columns([], 60) == ""


@given(st.lists(st.text("ab .-", max_size=40), min_size=3, max_size=3), st.integers(12, 90))
def test_no_line_is_wider_than_it_may_be(cells: list[str], width: int) -> None:
    """For any text."""
    text = columns([dict(zip("xyz", cells, strict=True))], width)
    assert max(map(len, text.splitlines() or [""])) <= width
