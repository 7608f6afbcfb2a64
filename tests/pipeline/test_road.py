"""The road from params.yaml to the registry, on the real quickstart with real DVC and Git."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.pipeline.conftest import PROJECT
from weighbridge.core.files import sha256_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

RECIPES = sorted(yaml.safe_load((PROJECT / "params.yaml").read_text())["recipes"])


def digests(root: Path) -> dict[str, Any]:
    """Digest of every artifact's file."""
    files = [root / "artifacts/baseline/onnxruntime/model.onnx"]
    files += [root / "artifacts/recipes" / recipe / "onnxruntime/model.onnx" for recipe in RECIPES]
    return {str(path.relative_to(root)): sha256_file(path) for path in files}


def test_the_first_run_builds_weighs_and_judges_every_recipe(quickstart: Any) -> None:
    """Each stage runs once, and the report and the verdict are about every recipe."""
    assert sorted(quickstart.stages) == sorted(
        ["prepare", "train", "baseline@onnxruntime", "device", "judge"]
        + [f"{stage}@{recipe}" for stage in ("compress", "weigh") for recipe in RECIPES]
    )
    verdict = json.loads((quickstart.root / "reports/verdict.json").read_text())
    assert sorted(verdict["recipes"]) == RECIPES
    assert verdict["recipes"]["share-2bit"]["verdict"] == "fail"
    assert verdict["recipes"]["share-2bit"]["advisory"] is True
    report = (quickstart.root / "reports/gate.md").read_text()
    assert all(recipe in report for recipe in RECIPES)


def test_the_exit_code_is_the_verdict(quickstart: Any) -> None:
    """`weighbridge gate` says in its exit code what reports/verdict.json says in words."""
    verdict = json.loads((quickstart.root / "reports/verdict.json").read_text())["verdict"]
    quickstart.run("weighbridge", "gate", expect={"pass": 0, "fail": 1}.get(verdict, 3))


def test_a_second_run_runs_nothing_but_device(quickstart: Any) -> None:
    """A no-op `dvc repro` looks at the world again and does nothing else."""
    assert quickstart.repro() == ["device"]


def test_metrics_and_plots_are_dvcs(quickstart: Any) -> None:
    """DVC's own commands show the project's figures."""
    shown = json.loads(quickstart.run("dvc", "metrics", "show", "--json"))
    flat = json.dumps(shown)
    assert all(recipe in flat for recipe in RECIPES)
    assert "accuracy" in flat
    quickstart.run("dvc", "plots", "show")
    assert (quickstart.root / "dvc_plots/index.html").is_file()


def test_another_clone_makes_the_same_bytes(quickstart: Any) -> None:
    """Every artifact of this run has the digest of the same recipe in the project's own checkout, run on its own."""
    if not (PROJECT / "artifacts/recipes").is_dir():
        copy = subprocess.run(["dvc", "repro"], cwd=PROJECT, check=False, env=quickstart.environment)
        assert copy.returncode == 0
    assert digests(quickstart.root) == digests(PROJECT)


def test_changing_one_recipe_runs_that_recipe_and_what_follows(quickstart: Any) -> None:
    """Bits of one recipe: it is compressed and weighed again, judged again, and nothing else runs."""
    before = digests(quickstart.root)
    quickstart.edit("params.yaml", "share: {bits: 2}", "share: {bits: 3}")
    assert sorted(quickstart.repro()) == ["compress@share-2bit", "device", "judge", "weigh@share-2bit"]
    shown = quickstart.run("dvc", "metrics", "diff")
    assert "share-2bit" in shown
    after = digests(quickstart.root)
    changed = {path for path in after if after[path] != before[path]}
    assert changed == {"artifacts/recipes/share-2bit/onnxruntime/model.onnx"}
    quickstart.edit("params.yaml", "share: {bits: 3}", "share: {bits: 2}")
    assert "train" not in quickstart.repro()
    assert digests(quickstart.root) == before


def test_another_device_weighs_again_and_compresses_nothing(quickstart: Any) -> None:
    """Measurements belong to a device; artifacts do not."""
    before = digests(quickstart.root)
    # From here on this is the device: what follows is judged and promoted on it.
    quickstart.environment["WEIGHBRIDGE_DEVICE_CLASS"] = "another-bench"
    assert sorted(quickstart.repro()) == sorted(["device", "judge", *(f"weigh@{recipe}" for recipe in RECIPES)])
    assert digests(quickstart.root) == before


def test_what_passed_is_promoted_served_rolled_back_and_verified(quickstart: Any) -> None:
    """A version enters the registry, `stable` resolves to it, and the way back is proven."""
    quickstart.commit("Reproduce")
    verdicts = json.loads((quickstart.root / "reports/verdict.json").read_text())["recipes"]
    passed = next(recipe for recipe in RECIPES if verdicts[recipe]["verdict"] == "pass")
    digest = digests(quickstart.root)[f"artifacts/recipes/{passed}/onnxruntime/model.onnx"]
    registry = ("weighbridge", "registry")

    quickstart.run(*registry, "promote", passed, "--no-push")
    resolved = json.loads(quickstart.run(*registry, "resolve", "fashion-cnn@stable", "--json"))
    assert resolved["digest"] == digest
    assert quickstart.run("git", "status", "--porcelain") == ""
    quickstart.run(*registry, "rollback", "fashion-cnn", "--to", "baseline", "--reason", "drill", "--no-push")
    resolved = json.loads(quickstart.run(*registry, "resolve", "fashion-cnn@stable", "--json"))
    assert resolved["digest"] == digests(quickstart.root)["artifacts/baseline/onnxruntime/model.onnx"]
    quickstart.run(*registry, "verify")
    assert "drill" in quickstart.run(*registry, "history", "fashion-cnn")
    failed = quickstart.run(*registry, "promote", "share-2bit", "--no-push", expect=2)
    assert "share-2bit" in failed
    assert "fail" in failed
