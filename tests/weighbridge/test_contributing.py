"""CONTRIBUTING's table of changes leads to files that exist, and its figures are those of the code."""

import ast
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from weighbridge.core.facts.targets import TARGETS

TOP = Path(__file__).parents[2]
PRODUCT = ("compress", "gate", "registry", "search", "serve", "weighbridge/ci", "weighbridge/cli", "weighbridge/core")
ROW = re.compile(r"^\| ([^|]+) \| `([^`|]+)` \| `([^`|]+)` \| (\d+) \|$", re.MULTILINE)
ROWS = ROW.findall((TOP / "CONTRIBUTING.md").read_text())


def test_ten_changes_are_listed() -> None:
    """Those that newcomers ask for."""
    assert len(ROWS) == 10


@pytest.mark.parametrize(("change", "first", "example", "count"), ROWS, ids=[row[0] for row in ROWS])
def test_the_first_file_names_the_example_and_no_more_modules_do(
    change: Any, first: Any, example: Any, count: Any
) -> None:
    """A reader who opens that file finds the example, and the number of modules that know it has not grown."""
    word = re.compile(rf"(?<![\w.]){re.escape(example)}(?!\w)")
    assert word.search((TOP / first).read_text()), f"{change}: {first} does not name {example}"
    modules = [path for folder in PRODUCT for path in (TOP / folder).rglob("*.py") if word.search(path.read_text())]
    assert len(modules) == int(count), sorted(str(path.relative_to(TOP)) for path in modules)


def _unknown(package: Path) -> set[Any]:
    """Names at the head of the list in a package's docstring for which there is no module, folder or definition."""
    tree = ast.parse((package / "__init__.py").read_text())
    heads = [line.partition(":")[0] for line in (ast.get_docstring(tree) or "").splitlines() if line.startswith("- `")]
    named = {name for head in heads for name in re.findall(r"`(\w+)`", head)}
    defined = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    return named - {path.stem for path in package.iterdir()} - defined


def test_the_map_of_a_package_names_modules_that_exist(tmp_path: Path) -> None:
    """The docstring of each `__init__` is where a newcomer looks first; one that names a module that left is caught."""
    packages = {path.parent for folder in PRODUCT for path in (TOP / folder).rglob("__init__.py")}
    assert {str(package.relative_to(TOP)): names for package in packages if (names := _unknown(package))} == {}
    (tmp_path / "__init__.py").write_text('"""A room.\n\n- `gone`, `here`: two modules\n"""\n')
    (tmp_path / "here.py").write_text("")
    assert _unknown(tmp_path) == {"gone"}


def test_a_file_name_occurs_once() -> None:
    """Grep and an editor's search lead to one file; only configs of techniques and adapters of targets share theirs."""
    shared = {"__init__", "config", *TARGETS}
    found = Counter(path.stem for folder in (*PRODUCT[:5], "weighbridge") for path in _modules(TOP / folder))
    assert {name: count for name, count in found.items() if count > 1 and name not in shared} == {}


def _modules(folder: Path) -> list[Any]:
    linked = folder.name == "weighbridge"
    return [path for path in folder.rglob("*.py") if not (linked and path.relative_to(folder).parts[0] in PRODUCT)]
