"""What a target cannot do is refused before anything runs, and `weighbridge targets` says what it can."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from weighbridge.cli import app
from weighbridge.compress import capabilities
from weighbridge.compress.capabilities import describe, mismatches, require
from weighbridge.compress.export import EXPORTERS, find_target
from weighbridge.compress.recipe.recipe import TECHNIQUES, read_steps
from weighbridge.compress.steps import Step
from weighbridge.core.documents import RecipeSection
from weighbridge.core.errors import InputError
from weighbridge.core.facts.targets import TARGETS


def steps(target: str | list[str], *items: dict[str, dict[str, Any]]) -> list[Step]:
    """Validated steps for one target or several."""
    return read_steps(RecipeSection(target=target, steps=list(items)), "params.yaml: recipes.r")


def test_the_tables_agree() -> None:
    """Targets and capabilities have the same rows, files and techniques that lower."""
    assert list(EXPORTERS) == list(TARGETS)
    for name, row in TARGETS.items():
        assert EXPORTERS[name].name == name
        lowerings = EXPORTERS[name].lowerings
        assert set(row.steps) == set(lowerings or (key for key, technique in TECHNIQUES.items() if technique.lower))


@pytest.mark.parametrize(
    ("target", "item", "reason"),
    [
        ("litert", {"pack": {}}, r"pack has no form in files of the target litert; on those act: quantize"),
        ("executorch", {"share": {"on": "file"}}, r"share has no form in files of the target executorch"),
        ("executorch", {"quantize": {"scheme": "weight-int4"}}, r"has no form of weight-int4; it has: static"),
        ("litert", {"quantize": {"scheme": "static-int8", "format": "qoperator"}}, r"format: qoperator has no meaning"),
        ("litert", {"quantize": {"scheme": "static-int8", "calibration": "entropy"}}, r"calibration: entropy"),
        ("executorch", {"quantize": {"scheme": "static-int8", "keep_sensitive": 1}}, r"it takes: .*keep"),
        (["onnxruntime", "litert"], {"pack": {}}, r"target litert"),
    ],
)  # fmt: skip
def test_what_a_target_has_no_form_of_is_refused(
    target: str | list[str], item: dict[str, dict[str, Any]], reason: str
) -> None:
    """Naming step, target, and what it can do."""
    with pytest.raises(InputError, match=reason) as refused:
        steps(target, item)
    assert "recipes.r.steps[0]" in str(refused.value)


def test_what_a_target_can_do_is_not_refused() -> None:
    """Options at their defaults ask for nothing; module steps are any target's."""
    steps("onnxruntime", {"share": {}}, {"pack": {}})
    steps(
        ["litert", "executorch", "onnxruntime"],
        {"prune": {"sparsity": 0.5}},
        {"share": {"bits": 4}},
        {"quantize": {"scheme": "static-int8", "calibration": "minmax", "keep": ["a"]}},
    )


def without(*names: str) -> Callable[..., Any]:
    """`installed` on a machine that lacks some distributions."""
    real = capabilities.installed
    return lambda name: None if name in names else real(name)


def test_a_target_that_is_not_installed_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, before anything is imported."""
    monkeypatch.setattr(capabilities, "installed", without("litert-torch"))
    with pytest.raises(InputError, match=r"needs litert-torch, which is not installed \(pip install 'weighbridge\[lit"):
        find_target("litert", "params.yaml: recipes.r.target")
    assert find_target("onnxruntime") is EXPORTERS["onnxruntime"]
    with pytest.raises(InputError, match="targets: onnxruntime, litert, executorch"):
        find_target("tensorrt")


def test_versions_that_do_not_go_together_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what the converter itself declares; here with a runtime that is too old."""
    assert [mismatches(name) for name in TARGETS] == [[], [], []]
    real = capabilities.installed
    monkeypatch.setattr(capabilities, "installed", lambda name: "2.0.1" if name == "ai-edge-litert" else real(name))
    with pytest.raises(InputError, match=r"litert-torch [\d.]+ goes with ai-edge-litert .*; 2\.0\.1 is installed"):
        require("litert", "here")


def test_targets_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a table and as JSON; what is missing comes with the command that installs it."""
    rows = json.loads(CliRunner().invoke(app, ["targets", "--json"]).stdout)
    assert [row["target"] for row in rows] == list(TARGETS)
    assert all(row["compress"] and row["weigh"] for row in rows)
    assert rows[2]["quantizes"] == ["static-int8", "qat-int8"]
    monkeypatch.setattr(capabilities, "installed", without("executorch", "ai-edge-litert"))
    by_name = {row["target"]: row for row in describe([])}
    assert not by_name["executorch"]["weigh"]
    assert by_name["litert"]["missing"] == ["ai-edge-litert"]
    shown = CliRunner().invoke(app, ["targets"])
    assert shown.exit_code == 0
    assert "executorch: executorch missing; pip install 'weighbridge[executorch]'" in shown.stdout


def test_asking_imports_no_framework() -> None:
    """`weighbridge targets` answers where nothing is installed; the stages import no other target."""
    script = (
        "import sys\n"
        "from weighbridge.compress.capabilities import describe\n"
        "describe([])\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        "import weighbridge.compress.stages\n"
        "heavy = {'litert_torch', 'ai_edge_litert', 'ai_edge_quantizer', 'executorch', 'torchao', 'jax'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
