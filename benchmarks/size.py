"""What large models cost: peak memory and time of weighing them and of the steps that rewrite files, against bars.

    python benchmarks/size.py --json size.json [--megabytes 256] [--large]

Each figure is taken in a process of its own (`VmHWM`), beside the same model run by onnxruntime alone. `--large` adds a
model of 3 GB in two files, which takes 12 GB of disk and some minutes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH = 2048
BARS = {"weighing / runtime": 1.3, "lowering / file": 2.5}
SCHEMES = ("fp16", "weight-int8", "weight-int4", "dynamic-int8")

BODY = """
import json, sys, time
from pathlib import Path
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
begin = time.perf_counter()
{work}
print("\\n" + json.dumps({{"peak": peak(), "seconds": time.perf_counter() - begin}}))
"""

RUN = """
import onnxruntime, numpy
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession({path!r}, options)
session.run(None, {{"x": numpy.load({data!r})["x"][:1]}})
"""

WEIGH = """
from weighbridge.gate.stages.standalone import StandaloneRequest, run
request = StandaloneRequest(baseline=Path({path!r}), candidate=Path({other!r}), data={data!r},
    budgets=Path({budgets!r}), out=Path({out!r}), weighing={{"time_limit": 300.0}})
verdict, table = run(request)
assert verdict.verdict == "pass", table
"""

LOWER = """
import numpy
from weighbridge.core.allocator import return_large_blocks
return_large_blocks()
from weighbridge.compress.export import find_target
from weighbridge.compress.graph.lowering import finished
from weighbridge.compress.graph.spilled import opened
from weighbridge.compress.graph.normal import entered
from weighbridge.compress.recipe.compose import compose
from weighbridge.compress.recipe.recipe import read_steps
from weighbridge.compress.steps import Context, Graph
from weighbridge.core.documents import RecipeSection, TrainSection
from weighbridge.data import Data, read_npz
split = read_npz(Path({data!r}))
data = Data(train=split, test=split, calibration=split)
steps = read_steps(RecipeSection(steps=[{{"quantize": {{"scheme": {scheme!r}, "agreement": 0.01}}}}]), "recipe")
def none(*_): raise AssertionError
def none_at_all(*_): pass
context = Context(data=data, train=TrainSection(), seed=1, baseline=none, teacher=none, progress=none_at_all)
artifact = compose(steps, Graph(finished(entered(opened(Path({path!r}))))), context, find_target("onnxruntime"))
print(artifact.sizes.bytes)
"""


def measured(work: str, **names: Any) -> dict[str, float]:
    """Peak bytes and seconds of a process that does some work."""
    code = BODY.format(work=work.format(**names))
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def network(path: Path, layers: int, *, seed: int = 0, outside: bool = False) -> int:
    """A perceptron of square layers, in one file or with its weights beside it; returns its bytes."""
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    nodes, tensors, name = [], [], "x"
    weights = path.with_name("model.onnx.data")
    with weights.open("wb") as file:
        for index in range(layers):
            values = (rng.standard_normal((WIDTH, WIDTH), dtype=np.float32)) / np.float32(np.sqrt(WIDTH / 2))
            tensor = TensorProto(name=f"w{index}", data_type=TensorProto.FLOAT, dims=values.shape)
            if outside:
                entries = {"location": weights.name, "offset": str(file.tell()), "length": str(values.nbytes)}
                tensor.data_location = TensorProto.EXTERNAL
                tensor.external_data.extend(onnx.StringStringEntryProto(key=k, value=v) for k, v in entries.items())
                file.write(values.tobytes())
            else:
                tensor = numpy_helper.from_array(values, tensor.name)
            tensors.append(tensor)
            nodes += [
                helper.make_node("MatMul", [name, f"w{index}"], [f"m{index}"], name=f"layer{index}"),
                helper.make_node("Relu", [f"m{index}"], [f"r{index}"], name=f"relu{index}"),
            ]
            name = f"r{index}"
    if not outside:
        weights.unlink()
    tensors.append(numpy_helper.from_array(rng.standard_normal((WIDTH, 10), dtype=np.float32), "head"))
    nodes.append(helper.make_node("MatMul", [name, "head"], ["y"], name="head"))
    ports = [helper.make_tensor_value_info(*port) for port in (("x", 1, ["n", WIDTH]), ("y", 1, ["n", 10]))]
    graph = helper.make_graph(nodes, "mlp", ports[:1], ports[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return sum(file.stat().st_size for file in path.parent.iterdir())


def examples(path: Path, count: int = 64) -> None:
    """Inputs, and classes that nothing depends on."""
    rng = np.random.default_rng(7)
    np.savez(path, x=rng.standard_normal((count, WIDTH), dtype=np.float32), labels=np.arange(count) % 10)


def weighing(work: Path, model: Path, data: Path, size: int) -> dict[str, Any]:
    """Weighing a model against itself, by size, answers and latency."""
    budgets = work / "budgets.yaml"
    budgets.write_text("budgets:\n- {metric: size.bytes, max_ratio: 1.0}\n- {metric: accuracy.flips, max: 0.5}\n")
    alone = measured(RUN, path=str(model), data=str(data))
    ours = measured(
        WEIGH, path=str(model), other=str(model), data=str(data), budgets=str(budgets), out=str(work / "out")
    )
    return {"bytes": size, "runtime": alone, "gate": ours, "ratio": ours["peak"] / alone["peak"]}


def lowering(work: Path, model: Path, data: Path, size: int) -> dict[str, Any]:
    """Each scheme that rewrites a file: peak beyond what the libraries take, per byte of the file."""
    empty = measured("import onnxruntime, torch, onnx\nimport weighbridge.compress.recipe.compose")["peak"]
    found = {}
    for scheme in SCHEMES:
        taken = measured(LOWER, path=str(model), data=str(data), scheme=scheme, out=str(work / "lowered.onnx"))
        found[scheme] = {**taken, "ratio": (taken["peak"] - empty) / size}
    return found


def main() -> None:
    """Measure, print, compare with the bars; exit code 1 where one is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--large", action="store_true")
    options = parser.parse_args()
    begin = time.time()
    with tempfile.TemporaryDirectory() as folder:
        found = _all(Path(folder), options.megabytes, large=options.large)
    found["seconds"] = time.time() - begin
    options.json.write_text(json.dumps(found, indent=2) + "\n")
    missed = [name for name, value, bar in found["bars"] if value > bar]
    for name, value, bar in found["bars"]:
        sys.stdout.write(f"{'MISSED' if name in missed else 'ok':7} {name}: {value:.2f} (at most {bar})\n")
    sys.exit(1 if missed else 0)


def _all(work: Path, megabytes: int, *, large: bool) -> dict[str, Any]:
    data = work / "data.npz"
    examples(data)
    found: dict[str, Any] = {"bars": []}
    makers: dict[str, Callable[[], tuple[Path, int]]] = {"one file": lambda: _made(work, megabytes, outside=False)}
    if large:
        makers["two files, 3 GB"] = lambda: _made(work, 3072, outside=True)
    for name, make in makers.items():
        model, size = make()
        found[name] = {"weighing": weighing(work, model, data, size)}
        found["bars"].append(
            [f"{name}: weighing / runtime", found[name]["weighing"]["ratio"], BARS["weighing / runtime"]]
        )
        if name == "one file":
            found[name]["lowering"] = lowering(work, model, data, size)
            found["bars"] += [
                [f"{name}: {scheme}: lowering / file", item["ratio"], BARS["lowering / file"]]
                for scheme, item in found[name]["lowering"].items()
            ]
    return found


def _made(work: Path, megabytes: int, *, outside: bool) -> tuple[Path, int]:
    path = work / ("two" if outside else "one") / "model.onnx"
    return path, network(path, max(1, megabytes * 2**20 // (4 * WIDTH * WIDTH)), outside=outside)


if __name__ == "__main__":
    main()
