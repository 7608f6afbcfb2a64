"""The one repository that all levers start from: an ONNX model of a few kilobytes with two recipes, really weighed.

Its limits are about bytes and answers, so that nothing depends on the speed of the machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

BINARIES = Path(sys.executable).parent
EVALUATION = """\
from pathlib import Path

from weighbridge.data import Data, read_npz


def load() -> Data:
    every = read_npz(Path("eval.npz"))
    half = len(every) // 2
    return Data(train=every.take(slice(0, half)), test=every.take(slice(half, None)))
"""
WORKFLOW = "name: {name}\non: pull_request\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: {run}\n"


def environment(*first: Path) -> dict[str, str]:
    """What commands run in: our binaries, an identity for git, no settings of the machine's own."""
    path = os.pathsep.join([*map(str, first), str(BINARIES), os.environ["PATH"]])
    identity = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in _IDENTITY.items()}
    git = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_COUNT": "1"}
    git |= {"GIT_CONFIG_KEY_0": "protocol.file.allow", "GIT_CONFIG_VALUE_0": "always"}
    return {
        **os.environ,
        **identity,
        **git,
        "PATH": path,
        "DVC_NO_ANALYTICS": "1",
        "WEIGHBRIDGE_DEVICE_CLASS": "levers",
    }


_IDENTITY = {"NAME": "benchmark", "EMAIL": "benchmark@example.invalid"}


def run(root: Path, *command: str, accepted: tuple[int, ...] = (0,)) -> str:
    """What a command printed; another exit code than those accepted ends the benchmark."""
    done = subprocess.run(command, cwd=root, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode not in accepted:
        raise SystemExit(f"{' '.join(command)} exited {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def commit(root: Path, message: str) -> None:
    """Commit everything."""
    run(root, "git", "add", "--all")
    run(root, "git", "commit", "--quiet", "--allow-empty", "--message", message)


def make(root: Path) -> None:
    """Build, weigh, judge and commit."""
    root.mkdir(parents=True)
    run(root, "git", "init", "--quiet", "--initial-branch=main")
    _model(root)
    (root / "evaluation.py").write_text(EVALUATION)
    (root / "README.md").write_text("# Net\n")
    options = ("--name", "net", "--onnx", "net.onnx", "--data", "evaluation:load", "--data-file", "eval.npz")
    run(root, "weighbridge", "init", *options, "--licence", "MIT", "--dvc-remote", str(root.parent / "remote"), "--yes")
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["recipes"] = {
        name: {"target": "onnxruntime", "steps": [{"quantize": {"scheme": scheme}}]}
        for name, scheme in (("fp16", "fp16"), ("w8", "weight-int8"))
    }
    params["weighing"] = {"time_limit": "5s"}
    params["budgets"] = [
        {"metric": "size.bytes", "max_ratio": 0.9},
        {"metric": "accuracy.flips", "max": 0.1},
        {"metric": "accuracy.top1", "max_drop": 0.1},
    ]
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    (root / "tests").mkdir()
    (root / "tests/test_net.py").write_text("def test() -> None:\n    assert True\n")
    (root / ".github/workflows/docs.yml").write_text(WORKFLOW.format(name="docs", run="mkdocs build"))
    run(root, "dvc", "repro", "--quiet")
    commit(root, "Gate net")


def _model(root: Path) -> None:
    random = np.random.default_rng(77)
    first = (random.normal(size=(16, 64)) / 4).astype("float32")
    second = (random.normal(size=(64, 6)) / 6).astype("float32")
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["a"], name="one"),
        helper.make_node("Relu", ["a"], ["b"], name="two"),
        helper.make_node("MatMul", ["b", "second"], ["y"], name="three"),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 6])]
    weights = [numpy_helper.from_array(first, "first"), numpy_helper.from_array(second, "second")]
    model = helper.make_model(
        helper.make_graph(nodes, "net", inputs, outputs, weights), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 8
    onnx.save(model, root / "net.onnx")
    x = random.normal(size=(600, 16)).astype("float32")
    answers = np.maximum(x @ first, 0) @ second
    np.savez(root / "eval.npz", x=x, labels=answers.argmax(1).astype("int64"))
