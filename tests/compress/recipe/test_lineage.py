"""Where an artifact came from: digests that see every change of what a stage depends on, and nothing else."""

import importlib
import sys
from pathlib import Path

import pytest

from weighbridge.compress.recipe import lineage


def factory_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, name: str = "user_model_of_a_test"
) -> str:
    """The code digest with a user's module of this text."""
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    sys.modules.pop(name, None)
    try:
        return lineage.code_digest([f"{name}:Net"])
    finally:
        sys.modules.pop(name, None)


def test_the_digest_sees_the_user_s_code_and_not_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another line is another digest; another folder is not."""
    first = factory_digest(tmp_path / "a", monkeypatch, "width = 1\n")
    assert factory_digest(tmp_path / "b", monkeypatch, "width = 1\n") == first
    assert factory_digest(tmp_path / "c", monkeypatch, "width = 2\n") != first


def test_the_environment_names_versions_and_instruction_sets() -> None:
    """All values are text, and nothing of the machine beyond its instruction sets is told."""
    found = lineage.environment()
    assert set(found) == {"python", "machine", "isa", *lineage.LIBRARIES}
    assert all(isinstance(value, str) for value in found.values())
    assert set(found["isa"].split()) <= lineage.ISA
