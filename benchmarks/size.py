# ruff: noqa: E402  # imports follow the line that makes the right package importable
"""What large and slow models cost, against bars.

    python benchmarks/size.py --json size.json [--only files road explain auto] [--megabytes 256]

- `files`: peak memory and time of weighing and of the steps that rewrite files, beside onnxruntime alone
- `road`: a model of 2.6 GB in two files, from `init` to a version that another clone pulled; takes 25 GB of disk
- `explain`: seconds of `weighbridge explain` on an encoder of 22 million parameters
- `auto`: whether `time_limit: auto` decides models of 5, 70 and 500 ms, and keeps to what it says

`--quietly` names a command that makes a machine quiet for another one, behind which the road's weighings run;
`auto` goes on where it was interrupted, and measures the models that `--milliseconds` names.

Peaks are those of the largest process of a command, children included, by the kernel's count. Sections that were left
out keep their figures in the file, and their bars.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# `benchmarks/gate.py` has the name of the package that is measured: the repository must come first, this folder not.
HERE = Path(__file__).resolve().parent
sys.path[:] = [str(HERE.parent), *(entry for entry in sys.path if Path(entry or ".").resolve() != HERE)]

import numpy as np
from onnx import helper, numpy_helper

from benchmarks.sizing import explaining, large_road, slow_models
from benchmarks.sizing.stage_process import run

Row = tuple[str, float, float]
"""What, its value, and the most that it may be."""
ROAD_MEGABYTES = 2500
WIDTH = 2048
BARS = {"weighing / runtime": 1.3, "lowering / file": 2.5}
SCHEMES = ("fp16", "weight-int8", "weight-int4", "dynamic-int8")

RUN = """
import onnxruntime, numpy
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession({path!r}, options)
session.run(None, {{"x": numpy.load({data!r})["x"][:1]}})
"""

WEIGH = """
from pathlib import Path
from weighbridge.gate.stages.standalone import StandaloneRequest, run
request = StandaloneRequest(baseline=Path({path!r}), candidate=Path({other!r}), data={data!r},
    budgets=Path({budgets!r}), out=Path({out!r}), weighing={{"time_limit": 300.0}})
verdict, table = run(request)
assert verdict.verdict == "pass", table
"""

LOWER = """
from pathlib import Path
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


def measured(work: str, **names: Any) -> dict[str, Any]:
    """Peak bytes and seconds of a process that does some work, with those that it starts."""
    return run([sys.executable, "-c", work.format(**names)], HERE.parent).to_json()


def network(path: Path, megabytes: int) -> int:
    """A perceptron of square layers in one file; returns its bytes."""
    rng = np.random.default_rng(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    nodes, tensors, name = [], [], "x"
    for index in range(max(1, megabytes * 2**20 // (4 * WIDTH * WIDTH))):
        values = (rng.standard_normal((WIDTH, WIDTH), dtype=np.float32)) / np.float32(np.sqrt(WIDTH / 2))
        tensors.append(numpy_helper.from_array(values, f"w{index}"))
        nodes += [
            helper.make_node("MatMul", [name, f"w{index}"], [f"m{index}"], name=f"layer{index}"),
            helper.make_node("Relu", [f"m{index}"], [f"r{index}"], name=f"relu{index}"),
        ]
        name = f"r{index}"
    tensors.append(numpy_helper.from_array(rng.standard_normal((WIDTH, 10), dtype=np.float32), "head"))
    nodes.append(helper.make_node("MatMul", [name, "head"], ["y"], name="head"))
    ports = [helper.make_tensor_value_info(*port) for port in (("x", 1, ["n", WIDTH]), ("y", 1, ["n", 10]))]
    graph = helper.make_graph(nodes, "mlp", ports[:1], ports[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path.stat().st_size


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


def files(work: Path, megabytes: int) -> dict[str, Any]:
    """A model of one file, weighed and lowered."""
    model, data = work / "one/model.onnx", work / "data.npz"
    size = network(model, megabytes)
    examples(data)
    return {"weighing": weighing(work, model, data, size), "lowering": lowering(work, model, data, size)}


def file_rows(found: dict[str, Any]) -> list[Row]:
    """Peaks against their bars."""
    rows = [("files: weighing / runtime", found["weighing"]["ratio"], BARS["weighing / runtime"])]
    lowered = found["lowering"].items()
    return rows + [
        (f"files: {name}: lowering / file", item["ratio"], BARS["lowering / file"]) for name, item in lowered
    ]


@dataclass(frozen=True)
class Asked:
    """What was asked for on the command line."""

    megabytes: int = 256
    """Of the model of `files`."""
    quietly: tuple[str, ...] = ()
    milliseconds: tuple[int, ...] = slow_models.MILLISECONDS
    """Models of `auto`."""
    known: dict[str, Any] = field(default_factory=dict)
    """What `auto` found so far: it goes on from there."""
    keep: Callable[[], None] = lambda: None
    """Write what is known."""


def _auto(work: Path, asked: Asked) -> dict[str, Any]:
    for each in asked.milliseconds:
        slow_models.weighed(work, each, asked.known.setdefault(f"{each} ms", {}), asked.keep)
    return asked.known


SECTIONS: dict[str, tuple[Callable[[Path, Asked], dict[str, Any]], Callable[[dict[str, Any]], list[Row]]]] = {
    "files": (lambda work, asked: files(work, asked.megabytes), file_rows),
    "road": (lambda work, asked: large_road.travelled(work, ROAD_MEGABYTES, asked.quietly), large_road.rows),
    "explain": (lambda work, _: explaining.explained(work), explaining.rows),
    "auto": (_auto, slow_models.rows),
}


def main() -> None:
    """Measure, print, compare with the bars; exit code 1 where one is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--megabytes", type=int, default=256, help="of the model of `files`")
    parser.add_argument("--quietly", default="", metavar="COMMAND", help="a command before each weighing of `road`")
    parser.add_argument(
        "--milliseconds", nargs="+", type=int, choices=slow_models.MILLISECONDS, default=slow_models.MILLISECONDS,
        help="models of `auto`",
    )  # fmt: skip
    options = parser.parse_args()
    content: dict[str, Any] = json.loads(options.json.read_text()) if options.json.exists() else {}
    found, bars = content.get("rows", {}), content.get("bars", {})

    def keep() -> None:
        options.json.write_text(json.dumps({"rows": found, "bars": bars}, indent=2) + "\n")

    asked = Asked(
        options.megabytes,
        tuple(shlex.split(options.quietly)),
        tuple(options.milliseconds),
        found.setdefault("auto", {}) if "auto" in options.only else {},
        keep,
    )
    for name in options.only:
        measure, rows = SECTIONS[name]
        with tempfile.TemporaryDirectory() as folder:
            found[name] = measure(Path(folder), asked)
        held = {title: bar(value, at_most) for title, value, at_most in rows(found[name])}
        bars = {title: item for title, item in bars.items() if not title.startswith(f"{name}: ")} | held
        keep()
        for title, item in held.items():
            value = "none" if item["value"] is None else f"{item['value']:.2f}"
            said = "ok" if item["met"] else "MISSED"
            sys.stdout.write(f"{said:7} {title}: {value} (at most {item['target']:g})\n")
        sys.stdout.flush()
    sys.exit(0 if all(item["met"] for item in bars.values()) else 1)


def bar(value: float, at_most: float) -> dict[str, Any]:
    """One figure beside the most that it may be; JSON has no infinity for one that was not reached."""
    known = math.isfinite(value)
    return {"value": value if known else None, "target": at_most, "met": known and value <= at_most}


if __name__ == "__main__":
    main()
