"""Which of the user's files a stage imported, and whether a checkout still has them so."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from weighbridge.core.files import sha256_bytes
from weighbridge.core.user_code import differing, opened_as_code, sources


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project within a repository, its folder on the search path; what it imports is forgotten afterwards."""
    (tmp_path / ".git").mkdir()
    project = tmp_path / "models"
    project.mkdir()
    monkeypatch.syspath_prepend(str(project))
    monkeypatch.syspath_prepend(str(tmp_path))
    known = set(sys.modules)
    yield project
    for name in set(sys.modules) - known:
        del sys.modules[name]


def write(root: Path, **texts: str) -> None:
    """Python files by their module's name."""
    for name, text in texts.items():
        (root / f"{name}.py").write_text(text)
    importlib.invalidate_caches()


def test_imported_files_are_named_from_the_project_wherever_they_lie(root: Path) -> None:
    """Those beside the project too; the library that a file imports is left out."""
    write(root, uc_model="import uc_shared, json, numpy\n")
    write(root.parent, uc_shared="X = 1\n")
    with opened_as_code() as opened:
        importlib.import_module("uc_model")
        found = sources(root, opened, ["uc_model"])
    assert set(found) == {"uc_model.py", "../uc_shared.py"}
    assert found["../uc_shared.py"] == sha256_bytes(b"X = 1\n")


def test_modules_that_were_imported_before_count(root: Path) -> None:
    """A process that runs two stages imports a module once; by its source it belongs to both."""
    write(root, uc_model="from uc_layers import X\n", uc_layers="X = 1\n", uc_other="")
    importlib.import_module("uc_model")
    importlib.import_module("uc_other")
    with opened_as_code() as opened:
        found = sources(root, opened, ["uc_model"])
    assert set(found) == {"uc_model.py", "uc_layers.py"}


def test_a_module_that_is_removed_again_counts(root: Path) -> None:
    """It ran, whatever `sys.modules` says later."""
    write(root, uc_model="import sys, uc_layers; del sys.modules['uc_layers']\n", uc_layers="X = 1\n")
    with opened_as_code() as opened:
        importlib.import_module("uc_model")
    assert set(sources(root, opened, [])) == {"uc_model.py", "uc_layers.py"}
    write(root, uc_later="")
    importlib.import_module("uc_later")
    assert not any("uc_later" in name for name in opened)


def test_what_differs_is_named(root: Path) -> None:
    """Edited, gone, or outside of the repository, where no checkout has it."""
    write(root, same="1\n", edited="1\n")
    write(root.parent.parent, uc_outside="1\n")
    recorded = dict.fromkeys(["same.py", "edited.py", "gone.py", "../../uc_outside.py"], sha256_bytes(b"1\n"))
    write(root, edited="2\n")
    assert differing(root, recorded) == ["../../uc_outside.py", "edited.py", "gone.py"]
