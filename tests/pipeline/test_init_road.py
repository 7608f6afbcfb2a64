"""From an empty repository with somebody's ONNX file to a promoted version, by the commands of the guide."""

import re
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from tests.pipeline.act_bench import Bench, identify

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

EVALUATION = '''\
"""The evaluation set that came with the model."""

from pathlib import Path

from weighbridge.data import Data, read_npz


def load():
    every = read_npz(Path(__file__).with_name("eval.npz"))
    return Data(train=every.take(slice(0, 400)), test=every.take(slice(400, None)))
'''


def foreign_model(folder: Path) -> None:
    """A classifier that nobody here trained, and examples that it answers rightly."""
    random = np.random.default_rng(3)
    first, second = (random.normal(0, 0.3, shape).astype(np.float32) for shape in ((24, 48), (48, 3)))
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["signal", "first"], ["hidden"]),
            helper.make_node("Relu", ["hidden"], ["active"]),
            helper.make_node("MatMul", ["active", "second"], ["scores"]),
        ],
        "classifier",
        [helper.make_tensor_value_info("signal", TensorProto.FLOAT, ["n", 24])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(first, "first"), numpy_helper.from_array(second, "second")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "detector.onnx")
    signal = random.normal(0, 1, (1600, 24)).astype(np.float32)
    labels = (np.maximum(signal @ first, 0) @ second).argmax(1)
    np.savez(folder / "eval.npz", signal=signal, labels=labels)


def test_a_foreign_onnx_file_becomes_a_promoted_version(tmp_path: Path) -> None:
    """`init`, `dvc repro`, `gate`, `registry promote`, in a folder of a repository that has a pipeline of its own."""
    (tmp_path / "remote").mkdir()
    bench = Bench(tmp_path)
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main", bench.work], check=True)
    identify(bench)
    foreign_model(bench.work)
    bench.write("evaluation.py", EVALUATION)
    bench.write("dvc.yaml", "stages:\n  greet: # ours\n    cmd: echo hello > hello.txt\n    outs: [hello.txt]\n")
    bench.run("weighbridge", "init", "--name", "detector", "--onnx", "detector.onnx", "--data", "evaluation:load",
              "--data-file", "eval.npz", "--dvc-remote", str(tmp_path / "remote"), "--yes")  # fmt: skip
    params = yaml.safe_load((bench.work / "params.yaml").read_text())
    # What is noisy is tested elsewhere; here the road counts.
    params["budgets"] = [item for item in params["budgets"] if not item["metric"].startswith("latency")]
    params["recipes"] = {"fp16": {"steps": params["recipes"]["fp16"]["steps"]}}  # its target is the default
    bench.write("params.yaml", yaml.safe_dump(params, sort_keys=False))
    bench.commit("A model and its gate")
    ran = re.findall(r"Running stage '(\S+)'", bench.run("dvc", "repro"))
    assert set(ran) == {"greet", "prepare", "baseline@onnxruntime", "compress@fp16", "device", "weigh@fp16", "judge"}
    assert (bench.work / "hello.txt").is_file()
    params["recipes"]["fp16"] |= {"target": "onnxruntime", "advisory": True}
    bench.write("params.yaml", yaml.safe_dump(params, sort_keys=False))
    assert "Running stage 'device'" in (said := bench.run("dvc", "repro", "compress@fp16"))
    assert "Stage 'compress@fp16' didn't change, skipping" in said
    bench.write("artifacts/targets/fp16", "litert\n")
    assert "artifacts/targets/fp16" in bench.run("dvc", "status", "compress@fp16")
    bench.run("git", "checkout", "--quiet", "params.yaml")
    bench.run("dvc", "repro", "--quiet", "compress@fp16")
    assert "gate: pass" in bench.run("weighbridge", "gate")
    bench.commit("Reproduce")
    bench.run("dvc", "push", "--quiet")
    bench.run("weighbridge", "registry", "promote", "fp16", "--no-push")
    assert "detector@v1" in bench.run("weighbridge", "registry", "resolve", "detector@stable")
    bench.run("weighbridge", "registry", "verify")
