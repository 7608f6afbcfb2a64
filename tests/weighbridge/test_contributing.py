"""CONTRIBUTING's table of changes leads to files that exist, and its figures are those of the code."""

import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PRODUCT = ("compress", "gate", "registry", "search", "serve", "weighbridge/ci", "weighbridge/cli", "weighbridge/core")
ROW = re.compile(r"^\| ([^|]+) \| `([^`|]+)` \| `([^`|]+)` \| (\d+) \|$", re.MULTILINE)
ROWS = ROW.findall((TOP / "CONTRIBUTING.md").read_text())


def test_ten_changes_are_listed():
    """Those that newcomers ask for."""
    assert len(ROWS) == 10


@pytest.mark.parametrize(("change", "first", "example", "count"), ROWS, ids=[row[0] for row in ROWS])
def test_the_first_file_names_the_example_and_no_more_modules_do(change, first, example, count):
    """A reader who opens that file finds the example, and the number of modules that know it has not grown."""
    word = re.compile(rf"(?<![\w.]){re.escape(example)}(?!\w)")
    assert word.search((TOP / first).read_text()), f"{change}: {first} does not name {example}"
    modules = [path for folder in PRODUCT for path in (TOP / folder).rglob("*.py") if word.search(path.read_text())]
    assert len(modules) == int(count), sorted(str(path.relative_to(TOP)) for path in modules)
