"""The pages say what the program does."""

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PROJECT = Path(__file__).parents[2]
PAGES = sorted(
    path for path in [PROJECT / "README.md", *(PROJECT / "docs").rglob("*.md")] if "adr" not in path.parts
)  # fmt: skip

CALLERS = [*PAGES, PROJECT / "docs/examples/gitlab-ci.yml", PROJECT / "action.yml"]
CALLERS += sorted((PROJECT / ".github/workflows").glob("*.yml"))


def script(name: str) -> ModuleType:
    """A script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, PROJECT / f"docs/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_decisions_are_listed_once_in_order_by_their_own_titles() -> None:
    """Two hands that add a page each leave two rows, or a title of yesterday."""
    folder = PROJECT / "docs/adr"
    titles = [(path, path.read_text().splitlines()[0].removeprefix("# ")) for path in sorted(folder.glob("0*.md"))]
    rows = [line for line in (folder / "README.md").read_text().splitlines() if "](0" in line]
    assert rows == [
        f"| {title.partition('. ')[0]} | [{title.partition('. ')[2]}]({path.name}) |" for path, title in titles
    ]
    assert [int(path.name[:4]) for path, _ in titles] == [int(title.partition(". ")[0]) for _, title in titles]


def test_the_reference_is_what_the_program_says() -> None:
    """A key, technique, metric or option that changed is in the reference, or this names the page."""
    for name, text in script("make_reference").pages().items():
        assert (PROJECT / "docs/reference" / name).read_text() == text, f"{name}: run docs/make_reference.py"


def known_commands() -> dict[str, Any]:
    """From each command's words to its options."""
    import typer

    from weighbridge.cli import app

    found = {}
    for path, command in script("make_reference").commands("weighbridge", typer.main.get_command(app)):
        found[path] = {name for item in command.params for name in [*item.opts, *item.secondary_opts]} | {"--help"}
    return found


def written_commands(path: Path) -> Iterator[tuple[list[Any], list[Any]]]:
    """Every command of ours in a page's code, with its options."""
    for line in re.findall(r"weighbridge [a-z][^\n`|#]*", path.read_text()):
        words = line.split()
        yield (
            [word for word in words if re.fullmatch(r"[a-z][a-z-]*", word)],
            re.findall(r"(?<=\s)--[a-z][a-z-]*", line),
        )


@pytest.mark.parametrize("path", CALLERS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_every_command_in_a_page_exists_with_its_options(path: Path) -> None:
    """Nobody types from a page what the program does not know."""
    known = known_commands()
    groups = {" ".join(name.split()[:2]) for name in known}
    for words, options in written_commands(path):
        candidates = [" ".join(words[:count]) for count in range(len(words), 1, -1)]
        name = next((item for item in candidates if item in known), None)
        if name is None:
            assert " ".join(words[:2]) in groups, f"{path.name}: {' '.join(words)}"
            continue
        for option in options:
            assert option in known[name], f"{path.name}: {name} has no {option}"


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """Every page is reached, every link and anchor leads somewhere."""
    done = subprocess.run(
        [Path(sys.executable).parent / "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"],
        cwd=PROJECT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site/tutorial.html").is_file()
    pages = "".join(path.read_text() for path in (tmp_path / "site").rglob("*.html"))
    fetched = re.findall(
        r'(?:src|href)="(?:https?:)?//(?!github\.com|docs\.gitlab\.com|squidfunk)[^"]+\.(?:js|css|woff2?)"', pages
    )
    assert fetched == []


def test_a_stranger_sees_pictures_and_no_long_table() -> None:
    """The README's pictures are there and small, its links lead somewhere, and no table is longer than a screen."""
    text = (PROJECT / "README.md").read_text()
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert len(pictures) == 2
    for name in pictures:
        data = (PROJECT / name).read_bytes()
        assert data.startswith(b"\x89PNG")
        assert len(data) < 200_000, name
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (PROJECT / target).exists(), target
    rows = [len(table.splitlines()) for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)]
    assert max(rows) <= 12
    assert text.index("weighbridge init") < text.index("\n## What it does")
