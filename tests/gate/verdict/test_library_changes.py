"""Locked libraries: upgrades are told, everything else needs a waiver, and formatting is nothing."""

import pytest

from weighbridge.gate.verdict.library_changes import library_change

UV = """
[[package]]
name = "numpy"
version = "%s"
source = {registry = "%s"}
sdist = {url = "https://example.org", hash = "sha256:%s"}
"""
PYPI = "https://pypi.org/simple"


@pytest.mark.parametrize(
    ("path", "base", "head", "kind", "effect"),
    [
        ("requirements.txt", "a==1.2\n", "a==1.10\n", "library upgraded", "a ==1.2 → ==1.10"),
        ("requirements.txt", "a==1.2\n", "a==1.2\nb\n", "library upgraded", "b any added"),
        ("constraints.txt", "a>=1.2\n", "a>=2\n", "library upgraded", "a >=1.2 → >=2"),
        ("requirements.txt", "a==1.10\n", "a==1.2\n", "library", "a ==1.10 → ==1.2"),
        ("requirements.txt", "a==1.2\n", "a\n", "library", "a ==1.2 → any"),
        ("requirements.txt", "a==1.2\n", "a>=1.3\n", "library", "a ==1.2 → >=1.3"),
        ("requirements.txt", "a==1.2\nb==1\n", "a==1.2\n", "library", "b ==1 removed"),
        ("requirements.txt", "a==1.2\n", "a @ git+https://example.org/a\n", "library", "a ==1.2 → @git+https"),
        ("requirements.txt", "a==1.2 --hash=sha256:1\n", "a==1.2 --hash=sha256:2\n", "library", "has other files"),
        ("requirements.txt", "a==1 --hash=sha256:1\n", "a==2 \\\n  --hash=sha256:2\n", "library upgraded", "→ ==2"),
        ("requirements.txt", "a==1\n", "--index-url https://example.org\na==1\n", "library", "--index-url"),
        ("requirements.txt", "a==1\n", "a==1\nb @ https://example.org/b\n", "library", "b @https://"),
        ("requirements.txt", "weighbridge==1\n", "weighbridge==2\n", "gate code", "weighbridge ==1 → ==2"),
        ("requirements.txt", "weighbridge==2\n", "weighbridge==1\n", "library", "weighbridge ==2 → ==1"),
        ("requirements.txt", "a==1\n", "a==2rc1\n", "library", "2rc1"),
        ("requirements.txt", "a==1\n", None, "library", "a ==1 removed"),
        ("uv.lock", UV % ("1.2", PYPI, "1"), UV % ("1.3", PYPI, "2"), "library upgraded", "numpy ==1.2 → ==1.3"),
        ("uv.lock", UV % ("1.2", PYPI, "1"), UV % ("1.2", PYPI, "2"), "library", "has other files"),
        ("uv.lock", UV % ("1.2", PYPI, "1"), UV % ("1.3", "https://x.org", "2"), "library", "x.org"),
        (
            "pyproject.toml", "[project]\ndependencies = ['a>=1']", "[project]\ndependencies = ['a>=2']",
            "library upgraded", "a >=1 → >=2",
        ),
        ("Pipfile.lock", "{}", "{ }", "library", "Pipfile.lock differs"),
    ],
)  # fmt: skip
def test_each_change_of_a_library_has_a_kind_and_words(
    path: str, base: str, head: str | None, kind: str, effect: str
) -> None:
    """Newer under the same demand, or added: told. Older, unpinned, from elsewhere, other files, removed: a waiver."""
    change = library_change(path, base.encode(), head.encode() if head is not None else None)
    assert (change.kind, change.budget) == (kind, path)
    assert effect in change.effect


@pytest.mark.parametrize(
    ("path", "base", "head"),
    [
        ("requirements.txt", "a==1\nb==2\n", "# words\nB == 2  # why\n\na==1\n"),
        ("pyproject.toml", "[project]\ndependencies = ['a>=1']\n", "[project]\ndependencies=['a >= 1']\n[tool.ruff]\n"),
        ("uv.lock", UV % ("1.2", PYPI, "1"), "# again" + UV % ("1.2", PYPI, "1")),
    ],
)
def test_what_asks_for_the_same_is_none(path: str, base: str, head: str) -> None:
    """Comments, order, spelling of names, and settings of other tools."""
    assert library_change(path, base.encode(), head.encode()) is None
