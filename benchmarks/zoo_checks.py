"""The independent numbers of the zoo: a few lines of numpy on the same files, and onnxruntime's own quantizer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import quantize_dynamic

from weighbridge.compress.graph.sessions import ORT_ERRORS
from weighbridge.data import Split, read_npz

Array = NDArray[Any]
BASELINE = Path("artifacts/baseline/onnxruntime/model.onnx")
TEST = Path("artifacts/data/test.npz")
CLOSE = 1e-4


def checked(folder: Path, recipe: str, verdict: Mapping[str, Any], task: Mapping[str, str]) -> dict[str, Any]:
    """What the gate says of a recipe, and the same numbers computed here."""
    measurement = json.loads((folder / f"measurements/{recipe}/onnxruntime@local.json").read_text())
    metrics = measurement["comparisons"][0]["metrics"]
    path, split = folder / f"artifacts/recipes/{recipe}/onnxruntime/model.onnx", read_npz(folder / TEST)
    own = _compared(folder, path, split, task)
    own["size.bytes"] = path.stat().st_size
    said = {name: value(metrics[name]) if name in metrics else None for name in own}
    budgets = [item for item in verdict["budgets"] if item["lower"] is not None]
    return {
        "verdict": verdict["verdict"],
        "size_ratio": own["size.bytes"] / metrics["size.bytes"]["reference"],
        "latency_ratio": _ratio(metrics.get("latency.p50", {})),
        "budgets": {
            f"{item['metric']} {item['rule']}": [item[name] for name in ("limit", "estimate", "lower", "upper")]
            for item in budgets
        },
        "metrics": said,
        "independent": own,
        "equal": all(given is not None and abs(given - own[name]) < CLOSE for name, given in said.items()),
    }


def value(item: Mapping[str, Any]) -> float | None:
    """The candidate's value of one metric."""
    if item["kind"] == "proportions":
        total = sum(item[name] for name in ("both", "only_reference", "only_candidate", "neither"))
        return float((item["both"] + item["only_candidate"]) / total)
    return item.get("candidate")


def _ratio(item: Mapping[str, Any]) -> float | None:
    logarithms = item.get("log_ratio")
    return float(np.exp(np.median(logarithms))) if logarithms else None


def _compared(folder: Path, path: Path, split: Split, task: Mapping[str, str]) -> dict[str, float]:
    theirs, ours = (answers(file, split, task.get("output")) for file in (folder / BASELINE, path))
    return numbers(task["kind"], theirs, ours, split.labels)


def answers(path: Path, split: Split, output: str | None = None) -> Array:
    """An output of a file (the first one) on a split, one example at a time."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options)
    names = None if output is None else [output]
    rows = [
        session.run(names, {port.name: split.inputs[port.name][index : index + 1] for port in session.get_inputs()})[0]
        for index in range(len(split))
    ]
    return np.concatenate(rows)


def numbers(kind: str, theirs: Array, ours: Array, labels: Array) -> dict[str, float]:
    """The task's agreement of two models' outputs, and where there are labels the second one's accuracy."""
    first, second = (output.reshape(len(output), -1).astype(float) for output in (theirs, ours))
    labelled = labels.ndim == 1 or labels.shape[1] > 0
    if kind == "embedding":
        lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
        return {"agreement.cosine": float(np.mean((first * second).sum(1) / lengths))}
    if kind == "classification":
        found = {"agreement": float(np.mean(first.argmax(1) == second.argmax(1)))}
        return found | ({"accuracy.top1": float(np.mean(second.argmax(1) == labels))} if labelled else {})
    if kind == "multilabel":
        limit = 0.5 if first.min() >= 0 and first.max() <= 1 else 0.0
        yes, too = first > limit, second > limit
        total = np.maximum(yes.sum(1) + too.sum(1), 1)
        return {"agreement": float(np.mean(np.where((yes | too).any(1), 2 * (yes & too).sum(1) / total, 1)))}
    error = np.sqrt(((first - second) ** 2).mean(1).mean())
    found = {"agreement": float(max(0, 1 - error / first.std()))}
    return found | ({"accuracy.mae": float(np.abs(second - labels.reshape(second.shape)).mean())} if labelled else {})


def beside(folder: Path, task: Mapping[str, str]) -> dict[str, Any]:
    """What the dynamic quantizer of onnxruntime makes of the same baseline: bytes and the same numbers."""
    made, split = folder / "dynamic.onnx", read_npz(folder / TEST)
    try:
        quantize_dynamic(folder / BASELINE, made)
        return {"size.bytes": made.stat().st_size, **_compared(folder, made, split, task)}
    except (*ORT_ERRORS, RuntimeError, ValueError, KeyError, TypeError) as error:  # its message is the row
        return {"failed": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"}
    finally:
        made.unlink(missing_ok=True)
