"""The table of targets: what compress, gate, registry and documents find by a row."""

import importlib
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from pydantic import TypeAdapter, ValidationError

from weighbridge.compress.export import EXPORTERS
from weighbridge.core.facts.targets import DEFAULT_TARGET, TARGETS, TargetName, target_of_suffix
from weighbridge.gate.measure.runtimes import ADAPTERS

PROJECT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", TARGETS)
def test_a_row_is_built_run_and_read_by_files_found_by_its_name(name: str) -> None:
    """An exporter and an adapter of the target's name, and the reader that the row names."""
    row = TARGETS[name]
    assert EXPORTERS[name].name == name
    assert EXPORTERS[name].file == row.file
    assert ADAPTERS[name].is_file()
    if row.reader is not None:
        assert callable(importlib.import_module(f"weighbridge.core.formats.{row.reader}").signature)


def distributions(extras: Any, name: str) -> Iterator[str]:
    """What an extra installs, the extras in it included."""
    for line in extras[name]:
        wanted = Requirement(line)
        if wanted.name == "weighbridge":
            for extra in wanted.extras:
                yield from distributions(extras, extra)
        yield wanted.name


@pytest.mark.parametrize("name", TARGETS)
def test_the_extra_of_a_row_installs_its_runtime_and_converters(name: str) -> None:
    """What `pip install 'weighbridge[extra]'` is promised to bring; training needs may be in another extra."""
    extras = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    row = TARGETS[name]
    assert {row.runtime, *row.converters} - set(row.training) <= set(distributions(extras, row.extra))


def test_documents_take_the_names_of_rows_only() -> None:
    """The names that `params.yaml` accepts are the table's."""
    names = TypeAdapter(TargetName)
    assert [names.validate_python(name) for name in TARGETS] == list(TARGETS)
    with pytest.raises(ValidationError, match="'onnxruntime', 'litert' or 'executorch'"):
        names.validate_python("tensorrt")


def test_a_suffix_names_its_target() -> None:
    """An unknown suffix is read as the default target's."""
    assert [target_of_suffix(row.suffix) for row in TARGETS.values()] == list(TARGETS)
    assert target_of_suffix(".bin") == DEFAULT_TARGET
