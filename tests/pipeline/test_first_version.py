"""From what a user has to a promoted version: four commands and one edit, whichever of the four ways they come."""

import csv
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.torch import save_file

from tests.pipeline.act_bench import DATA, MODEL, Bench, identify
from tests.pipeline.test_init_road import foreign_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

OWN_PARAMS = "prepare: {share: 0.2}\ntrain: {lr: 0.1, epochs: 2}\nmodel: {hidden: 48}\n"
OWN_STAGES = """\
stages:
  prepare: # ours
    cmd: mkdir -p prepared && cp raw/eval.npz prepared/eval.npz
    deps: [raw/eval.npz]
    params: [prepare]
    outs: [prepared/eval.npz]
  train:
    cmd: mkdir -p models && cp detector.onnx models/net.onnx
    deps: [prepared/eval.npz, detector.onnx]
    params: [train]
    outs: [models/net.onnx]
"""
OWN_CODE = {
    "evaluation.py": "from pathlib import Path\nfrom cutting import cut\nfrom weighbridge.data import read_npz\n"
    "def load():\n    return cut(read_npz(Path('prepared/eval.npz')))\n",
    "cutting.py": "from weighbridge.data import Data\n"
    "def cut(every):\n    return Data(train=every.take(slice(0, 400)), test=every.take(slice(400, None)))\n",
}


class Road(Bench):
    """Counts what the user does after what they had."""

    commands = 0
    edits = 0

    def command(self, *command: str) -> str:
        self.commands += 1
        return self.run(*command)

    def edit_params(self, project: str) -> None:
        """What is noisy is tested elsewhere: the one edit takes latency out of the budgets, and keeps one recipe."""
        self.edits += 1
        path = self.work / project / "params.yaml"
        params = yaml.safe_load(path.read_text())
        params["budgets"] = [item for item in params["budgets"] if not item["metric"].startswith("latency")]
        params["recipes"] = {"fp16": params["recipes"]["fp16"]}
        path.write_text(yaml.safe_dump(params, sort_keys=False))

    def promoted(self, *options: str, project: str = ".", target: Sequence[str] = ()) -> list[Any]:
        """`init`, the edit, `dvc repro`, a commit, `registry promote`."""
        remote = ("--dvc-remote", str(self.home / "remote"))
        self.command("weighbridge", "init", "--name", "net", *options, *remote, "--no-workflows")
        self.edit_params(project)
        ran = re.findall(r"Running stage '(\S+)'", self.command("dvc", "repro", *target))
        self.command("git", "commit", "--quiet", "--all", "--message", "A gate")
        self.command("weighbridge", "registry", "promote", "--select", "smallest", "--no-push")
        assert (self.commands, self.edits) == (4, 1)
        assert "net@v1" in self.run("weighbridge", "registry", "resolve", "net@stable")
        assert self.run("git", "status", "--porcelain") == ""
        return ran


@pytest.fixture
def road(tmp_path: Path) -> Road:
    (tmp_path / "remote").mkdir()
    bench = Road(tmp_path)
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main", bench.work], check=True)
    identify(bench)
    return bench


def test_an_onnx_file_and_an_evaluation_set(road: Road) -> None:
    """No line of code."""
    foreign_model(road.work)
    road.commit("What we have")
    assert "judge" in road.promoted("--onnx", "detector.onnx", "--data", "eval.npz")


def test_a_torch_factory(road: Road) -> None:
    """Trained here."""
    road.write("nets/data.py", DATA)
    road.write("nets/model.py", MODEL)
    road.commit("What we have")
    ran = road.promoted("--model", "nets.model:Net", "--data", "nets.data:load")
    assert {"train", "compress@fp16"} <= set(ran)


def test_a_checkpoint(road: Road) -> None:
    """The weights are the baseline's."""
    road.write("nets/model.py", MODEL)
    random = np.random.default_rng(5)
    weights = {
        name: random.normal(0, 0.2, shape).astype(np.float32)
        for name, shape in {
            "hidden.weight": (256, 32),
            "hidden.bias": (256,),
            "classes.weight": (4, 256),
            "classes.bias": (4,),
        }.items()
    }
    import torch

    save_file({name: torch.from_numpy(array) for name, array in weights.items()}, road.work / "trained.safetensors")
    x = random.normal(0, 1, (1600, 32)).astype(np.float32)
    hidden = np.maximum(x @ weights["hidden.weight"].T + weights["hidden.bias"], 0)
    scores = hidden @ weights["classes.weight"].T + weights["classes.bias"]
    np.savez(road.work / "eval.npz", x=x, labels=scores.argmax(1))
    road.commit("What we have")
    options = ("--model", "nets.model:Net", "--weights", "trained.safetensors", "--data", "eval.npz")
    assert "train" in road.promoted(*options)


def test_a_dvc_repository_with_a_pipeline_of_its_own(road: Road) -> None:
    """Nothing of the user's is renamed or changed; DVC's own tools work on both pipelines."""
    foreign_model(road.work)
    (road.work / "raw").mkdir()
    (road.work / "eval.npz").rename(road.work / "raw/eval.npz")
    for name, text in {"params.yaml": OWN_PARAMS, "dvc.yaml": OWN_STAGES, **OWN_CODE}.items():
        road.write(name, text)
    road.run("dvc", "init", "--quiet")
    road.run("dvc", "add", "--quiet", "raw/eval.npz")
    road.run("dvc", "repro", "--quiet")
    road.commit("What we have")
    project = "compression/net"
    options = ("--onnx", "models/net.onnx", "--data", "evaluation:load", "--data-file", "prepared/eval.npz")
    ran = road.promoted(*options, project=project, target=(f"{project}/dvc.yaml",))
    assert {f"{project}/dvc.yaml:prepare", f"{project}/dvc.yaml:judge"} <= set(ran)
    assert (road.work / "params.yaml").read_text() == OWN_PARAMS
    assert (road.work / "dvc.yaml").read_text() == OWN_STAGES
    assert "gate: pass" in road.run("weighbridge", "gate")
    gate_in_a_clone(road, project)
    try_recipes(road, project)


def gate_in_a_clone(road: Road, project: str) -> None:
    """As CI does: what the user's stages made is pulled, and of both pipelines only the changed recipe is built."""
    road.run("dvc", "push", "--quiet")
    subprocess.run(["git", "clone", "--quiet", "--bare", road.work, road.home / "origin.git"], check=True)
    clone = road.clone("ci")
    clone.branch()
    clone.edit(f"{project}/params.yaml", "scheme: fp16", "scheme: weight-fp16")
    clone.commit("Half weights")
    said = clone.run("weighbridge", "ci", "gate", "--base", "origin/main")
    ran = re.findall(r"Running stage '(\S+)'", said)
    assert [stage for stage in ran if stage not in ("device", "weigh@fp16", "judge")] == ["compress@fp16"]
    assert "net is gated: params.yaml: recipes differs" in said


def try_recipes(road: Road, project: str) -> None:
    """As the guide says: an experiment with another scheme, one from the queue, the table and a plot of both."""
    scheme = f"{project}/params.yaml:recipes.fp16.steps.0.quantize.scheme"
    target = f"{project}/dvc.yaml"
    road.run("dvc", "exp", "run", "--name", "ints", "--set-param", f"{scheme}=static-int8", target)
    road.run("git", "checkout", "--quiet", ".")
    road.run("dvc", "exp", "run", "--queue", "--name", "dynamic", "--set-param", f"{scheme}=dynamic-int8", target)
    road.run("dvc", "exp", "run", "--run-all")
    shown = road.run("dvc", "exp", "show", "--csv")
    rows = list(csv.DictReader(shown.splitlines()))
    verdicts = {row["Experiment"] or row["rev"]: row["verdict"] for row in rows}
    assert set(verdicts) == {"workspace", "main", "ints", "dynamic"}
    assert set(verdicts.values()) <= {"pass", "fail", "inconclusive"}
    assert verdicts["main"] == "pass"
    drawn = road.run("dvc", "plots", "diff", "main", "ints", "--out", "drawn")
    assert "index.html" in drawn
    assert "Size against accuracy" in (road.work / "drawn/index.html").read_text()
