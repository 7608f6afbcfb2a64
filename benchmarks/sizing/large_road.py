"""The whole road of a model beyond 2 GiB: from an ONNX file with its weights beside it to a version in another clone.

By the commands that a user types, each a process of its own: `init`, the stages of the pipeline by `dvc repro`, `gate`,
`dvc push`, `registry promote`, and `registry pull` and `verify` in a clone that has nothing but git and a DVC remote.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

from benchmarks.sizing.stage_process import Spent, run

WIDTH, CLASSES = 4096, 10
RECIPES = {"fp16": "fp16", "int8": "weight-int8", "int4": "weight-int4"}
SHARES = {"fp16": 0.51, "int8": 0.27, "int4": 0.16}
"""Of the baseline's bytes, at most: what the format itself comes to."""
BARS = {"weighing / runtime": 1.3, "lowering / file": 2.5}
PROMOTED = "int8"

RUN = """
import json, resource, sys
import numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options)
session.run(None, {"x": numpy.load(sys.argv[2])["x"][:1]})
"""


def network(path: Path, megabytes: int) -> int:
    """A residual perceptron whose weights lie in a file beside it; returns the bytes of both.

    Each layer adds a little to what it gets, as in networks that train: rounding errors stay as small as they are.
    """
    rng = np.random.default_rng(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    nodes, tensors, name = [], [], "x"
    scale = np.float32(0.5 / np.sqrt(WIDTH))
    beside = path.with_name(f"{path.name}.data")
    with beside.open("wb") as file:
        for index in range(max(1, megabytes * 2**20 // (4 * WIDTH * WIDTH))):
            values = rng.standard_normal((WIDTH, WIDTH), dtype=np.float32) * scale
            tensor = TensorProto(name=f"w{index}", data_type=TensorProto.FLOAT, dims=values.shape)
            entries = {"location": beside.name, "offset": str(file.tell()), "length": str(values.nbytes)}
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.extend(onnx.StringStringEntryProto(key=k, value=v) for k, v in entries.items())
            file.write(values.data)
            tensors.append(tensor)
            nodes += [
                helper.make_node("MatMul", [name, f"w{index}"], [f"m{index}"], name=f"layer{index}"),
                helper.make_node("Relu", [f"m{index}"], [f"r{index}"], name=f"relu{index}"),
                helper.make_node("Add", [name, f"r{index}"], [f"s{index}"], name=f"sum{index}"),
            ]
            name = f"s{index}"
    tensors.append(numpy_helper.from_array(rng.standard_normal((WIDTH, CLASSES), dtype=np.float32), "head"))
    nodes.append(helper.make_node("MatMul", [name, "head"], ["y"], name="head"))
    ports = [helper.make_tensor_value_info(*port) for port in (("x", 1, ["n", WIDTH]), ("y", 1, ["n", CLASSES]))]
    graph = helper.make_graph(nodes, "mlp", ports[:1], ports[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path.stat().st_size + beside.stat().st_size


def travelled(work: Path, megabytes: int, quietly: Sequence[str] = ()) -> dict[str, Any]:
    """Stages with their seconds and memory, bytes of the artifacts, and whether the pulled ones are those promoted.

    `quietly` is a command behind which weighing runs: its seconds count how long that made it wait.
    """
    road = _Road(work, {})
    size = road.begin(megabytes)
    sys.stdout.write(f"model of {size / 1e6:,.0f} MB in two files\n")
    for stage in ("device", "prepare", "baseline@onnxruntime", *(f"compress@{name}" for name in RECIPES)):
        road.stage(stage, "dvc", "repro", "--single-item", stage)
    for stage in (f"weigh@{name}" for name in RECIPES):
        road.stage(stage, *quietly, "dvc", "repro", "--single-item", stage)
    road.stage("judge", "dvc", "repro", "--single-item", "judge")
    # A recipe that is refused does not keep another one from being promoted; the verdict is held to its bar below.
    road.stage("gate", "weighbridge", "gate", expected=range(4))
    road.commit("Reproduce")
    road.stage("push", "dvc", "push", "--quiet")
    road.stage("promote", "weighbridge", "registry", "promote", PROMOTED)
    road.elsewhere()
    models = {"baseline": road.artifact("baseline"), **{name: road.artifact(f"recipes/{name}") for name in RECIPES}}
    runtime = {name: _alone(path, work / "mlp/eval.npz", work) for name, path in models.items()}
    verdict = json.loads((road.home / "reports/verdict.json").read_text())
    return {
        "bytes": {name: _bytes(path) for name, path in models.items()},
        "file": size,
        "stages": {name: spent.to_json() for name, spent in road.spent.items()},
        "runtime": {name: spent.to_json() for name, spent in runtime.items()},
        "libraries": _libraries(work),
        "verdict": verdict["verdict"],
        "pulled": _digest(road.pulled / "model.onnx") == _digest(models[PROMOTED]),
    }


def rows(found: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Name, value and bar (at most) of everything that is held to one."""
    size = found["file"]
    held = [
        ("road: verdict is pass (0: yes)", float(found["verdict"] != "pass"), 0.0),
        ("road: other bytes pulled than promoted", float(not found["pulled"]), 0.0),
    ]
    for name in RECIPES:
        held.append(
            (f"road: {name}: bytes / baseline", found["bytes"][name] / found["bytes"]["baseline"], SHARES[name])
        )
        taken = found["stages"][f"compress@{name}"]["peak"] - found["libraries"]
        held.append((f"road: {name}: lowering / file", taken / size, BARS["lowering / file"]))
        alone = max(found["runtime"][one]["peak"] for one in ("baseline", name))
        weighed = found["stages"][f"weigh@{name}"]["peak"]
        held.append((f"road: {name}: weighing / runtime", weighed / alone, BARS["weighing / runtime"]))
    return held


class _Road:
    """The folders of one road, and what its stages took."""

    def __init__(self, work: Path, spent: dict[str, Spent]) -> None:
        self.work, self.spent = work, spent
        self.home, self.clone = work / "mlp", work / "clone"
        self.pulled = self.clone / "pulled"
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        names = {key: value for role in ("AUTHOR", "COMMITTER") for key, value in _identity(role).items()}
        self.environment = {**os.environ, **names, "PATH": path, "OMP_NUM_THREADS": "1"}

    def begin(self, megabytes: int) -> int:
        """A repository with a bare remote, the model and its data; returns the model's bytes."""
        self.git(self.work, "init", "--quiet", "--bare", "--initial-branch=main", "server.git")
        self.git(self.work, "init", "--quiet", "--initial-branch=main", "mlp")
        self.git(self.home, "remote", "add", "origin", "../server.git")
        size = network(self.home / "mlp.onnx", megabytes)
        rng = np.random.default_rng(7)
        np.savez(self.home / "eval.npz", x=rng.standard_normal((64, WIDTH), dtype=np.float32))
        self.stage(
            "init", "weighbridge", "init", "--name", "mlp", "--onnx", "mlp.onnx", "--data", "eval.npz",
            "--dvc-remote", str(self.work / "storage"), "--task", "classification",
            "--no-workflows", "--no-try", "--yes",
        )  # fmt: skip
        content = yaml.safe_load((self.home / "params.yaml").read_text())
        content["recipes"] = {
            name: {"target": "onnxruntime", "steps": [{"quantize": {"scheme": scheme, "agreement": 0.8}}]}
            for name, scheme in RECIPES.items()
        }
        content["budgets"] = [{"metric": "size.bytes", "max_ratio": 0.6}, {"metric": "agreement", "min": 0.6}]
        (self.home / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        self.stage("add", "dvc", "add", "--quiet", "mlp.onnx", "mlp.onnx.data")
        self.commit("A model and its gate")
        return size

    def elsewhere(self) -> None:
        """Another clone, which takes the version out of the remote and verifies what it has."""
        self.git(self.work, "clone", "--quiet", "server.git", "clone")
        self.stage("pull", "weighbridge", "registry", "pull", "mlp@stable", "--out", "pulled", folder=self.clone)
        self.stage("verify", "weighbridge", "registry", "verify", "--deep", folder=self.clone)

    def stage(self, name: str, *command: str, folder: Path | None = None, expected: Container[int] = (0,)) -> None:
        """Run one command and say what it took."""
        spent = run(command, folder or self.home, self.environment, expected=expected)
        self.spent[name] = spent
        memory = f"{spent.peak / 1e6:8,.0f} MB {spent.together / 1e6:8,.0f} MB"
        sys.stdout.write(f"{name:22} {spent.seconds:7.1f} s {spent.processor:7.1f} s CPU {memory}\n")
        sys.stdout.flush()

    def artifact(self, name: str) -> Path:
        """An artifact's model."""
        return self.home / "artifacts" / name / "onnxruntime/model.onnx"

    def commit(self, message: str) -> None:
        """Commit everything that git does not ignore, and push it."""
        self.git(self.home, "add", "--all")
        self.git(self.home, "commit", "--quiet", "--message", message)
        self.git(self.home, "push", "--quiet", "--set-upstream", "origin", "main")

    def git(self, folder: Path, *words: str) -> None:
        """Run git as the road's author."""
        subprocess.run(["git", *words], cwd=folder, env=self.environment, check=True)


def _identity(role: str) -> dict[str, str]:
    return {f"GIT_{role}_NAME": "You", f"GIT_{role}_EMAIL": "you@example.org"}


def _alone(path: Path, data: Path, folder: Path) -> Spent:
    return run([sys.executable, "-c", RUN, str(path), str(data)], folder)


def _libraries(folder: Path) -> int:
    """Bytes of a process that has only imported what compressing imports."""
    code = "import onnxruntime, torch, onnx\nimport weighbridge.compress.recipe.compose"
    return run([sys.executable, "-c", code], folder).peak


def _bytes(path: Path) -> int:
    beside = path.with_name(f"{path.name}.data")
    return path.stat().st_size + (beside.stat().st_size if beside.exists() else 0)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for one in (path, path.with_name(f"{path.name}.data")):
        if one.exists():
            with one.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
