"""The independent numbers of the zoo: a few lines of numpy on the same files, and other quantizers' files."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from benchmarks.zoo_peers import PEERS, made
from weighbridge.compress.graph.sessions import ORT_ERRORS
from weighbridge.data import Split, read_npz

Array = NDArray[Any]


class Judged(Protocol):
    """What of a road says how its answers are compared."""

    @property
    def asked(self) -> Mapping[str, str]:
        """The task as a mapping."""

    @property
    def inputs(self) -> Mapping[str, Any]:
        """How inputs are fed; here, those that are carried."""


BASELINE = Path("artifacts/baseline/onnxruntime/model.onnx")
TEST = Path("artifacts/data/test.npz")
CALIBRATION = Path("artifacts/data/calibration.npz")
CLOSE = 1e-4
SPACE = 6624
"""The last class of the network that reads lines; the first is nothing."""


def checked(folder: Path, recipe: str, verdict: Mapping[str, Any], road: Judged) -> dict[str, Any]:
    """What the gate says of a recipe, and the same numbers computed here."""
    measurement = json.loads((folder / f"measurements/{recipe}/onnxruntime@local.json").read_text())
    metrics = measurement["comparisons"][0]["metrics"]
    path, split = folder / f"artifacts/recipes/{recipe}/onnxruntime/model.onnx", _tested(folder, road)
    own = _compared(folder, path, split, road)
    own["size.bytes"] = path.stat().st_size
    said = {name: value(metrics[name]) if name in metrics else None for name in own}
    budgets = [item for item in verdict["budgets"] if item["lower"] is not None or item["upper"] is not None]
    return {
        "verdict": verdict["verdict"],
        "size_ratio": own["size.bytes"] / metrics["size.bytes"]["reference"],
        "latency_ratio": _ratio(next((item for name, item in metrics.items() if name.startswith("latency.")), {})),
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


def _tested(folder: Path, road: Judged) -> Split:
    """The test set, each input once, as the gate counts them; of streams everything."""
    split = read_npz(folder / TEST)
    if any("carry" in item for item in road.inputs.values()):
        return split
    first = dict[bytes, int]()
    for index in range(len(split)):
        first.setdefault(
            b"".join(np.ascontiguousarray(array[index]).tobytes() for array in split.inputs.values()), index
        )
    return split.take(np.array(list(first.values())))


def _compared(folder: Path, path: Path, split: Split, road: Judged) -> dict[str, float]:
    carry = {name: item["carry"] for name, item in road.inputs.items() if "carry" in item}
    if road.asked["kind"] == "custom":  # lines that a network reads
        theirs, ours = ([_letters(row[0]) for row in each_answer(file, split)] for file in (folder / BASELINE, path))
        alike = [1 - _edits(*pair) / max(1, *map(len, pair)) for pair in zip(theirs, ours, strict=True)]
        wanted = [row[(row != 0) & (row != SPACE)] for row in split.labels]
        right = [max(0, 1 - _edits(*pair) / len(pair[0])) for pair in zip(wanted, ours, strict=True)]
        return {"agreement": float(np.mean(alike)), road.asked["metric"]: float(np.mean(right))}
    if road.asked["kind"] == "detection":
        theirs, ours = (_rows(file, split) for file in (folder / BASELINE, path))
        return {"agreement": float(np.mean([_f1(*pair) for pair in zip(theirs, ours, strict=True)]))}
    theirs, ours = (answers(file, split, road.asked.get("output"), carry) for file in (folder / BASELINE, path))
    if road.asked["kind"] == "language-model":
        return language(theirs, ours, split.labels)
    return numbers(road.asked["kind"], theirs, ours, split.labels)


def _letters(scores: Array) -> Array:
    """The likeliest class of each step: once where it goes on, without nothing and spaces."""
    found = np.array([key for key, _ in itertools.groupby(scores.argmax(1))])
    return found[(found != 0) & (found != SPACE)]


def _edits(first: Array, second: Array) -> int:
    """Letters to insert, delete or replace, row by row of the table."""
    places = np.arange(len(second) + 1)
    row = places
    for count, letter in enumerate(first, 1):
        moved = np.append(count, np.minimum(row[1:] + 1, row[:-1] + (second != letter)))
        row = np.minimum.accumulate(moved - places) + places
    return int(row[-1])


def _rows(path: Path, split: Split) -> list[list[Array]]:
    """Of each image its boxes, the surest first: x1, y1, x2, y2, score, class."""
    boxes, scores, classes = (answers(path, split, name) for name in ("output0", "output1", "output2"))
    every = np.concatenate([boxes, scores[..., None], classes[..., None]], 2)
    return [sorted((row for row in rows if row[4] >= 0.3), key=lambda row: -row[4]) for rows in every]


def _f1(theirs: list[Array], ours: list[Array]) -> float:
    """F1 of two lists of boxes: each finds the one of the same class that it overlaps most, by half at least."""
    total, left, matched = len(theirs) + len(ours), list(theirs), 0
    for row in ours:
        shares = [_overlap(row, other) if other[5] == row[5] else 0.0 for other in left]
        if shares and max(shares) >= 0.5:
            left.pop(int(np.argmax(shares)))
            matched += 1
    return 2 * matched / total if total else 1.0


def _overlap(first: Array, second: Array) -> float:
    sides = np.minimum(first[2:4], second[2:4]) - np.maximum(first[:2], second[:2])
    shared = float(np.prod(np.maximum(sides, 0)))
    return shared / (float(np.prod(first[2:4] - first[:2]) + np.prod(second[2:4] - second[:2])) - shared)


def answers(path: Path, split: Split, output: str | None = None, carry: Mapping[str, str] | None = None) -> Array:
    """An output of a file (the first one) on a split, (n, …)."""
    return np.concatenate(list(each_answer(path, split, output, carry)))


def each_answer(
    path: Path, split: Split, output: str | None = None, carry: Mapping[str, str] | None = None
) -> Iterator[Array]:
    """The output to one example at a time, each (1, …).

    `carry` names inputs that get an output of the example before, and zeros where a new group begins.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options)
    ports = {port.name: port for port in session.get_inputs()}
    names = [port.name for port in session.get_outputs()]
    found = dict[str, Array]()
    for index in range(len(split)):
        begins = index == 0 or (split.groups is not None and split.groups[index] != split.groups[index - 1])
        feed = {name: split.inputs[name][index][None] for name in ports if name in split.inputs}
        for name, source in (carry or {}).items():
            shape = [side if isinstance(side, int) else 1 for side in ports[name].shape]
            start = feed.get(name, np.zeros(shape, np.float32))  # a cache begins with what the data has: nothing
            feed[name] = start if begins else found[source]
        found = dict(zip(names, session.run(names, feed), strict=True))
        yield found[output or names[0]]


def numbers(kind: str, theirs: Array, ours: Array, labels: Array) -> dict[str, float]:
    """The task's agreement of two models' outputs, and where there are labels the second one's accuracy."""
    first, second = (output.reshape(len(output), -1).astype(float) for output in (theirs, ours))
    labelled = labels.ndim == 1 or labels.shape[1] > 0
    if kind == "embedding":
        lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
        return {"agreement.cosine": float(np.mean((first * second).sum(1) / lengths))}
    if kind == "classification":
        found = {"agreement": float(np.mean(first.argmax(1) == second.argmax(1)))}
        named = np.unique(labels)[second.argmax(1)] if labels.dtype.kind == "U" else second.argmax(1)
        return found | ({"accuracy.top1": float(np.mean(named == labels))} if labelled else {})
    if kind == "token":
        counted, scores = labels != -100, (np.asarray(output).argmax(-1) for output in (theirs, ours))
        first, second = (found[counted] for found in scores)
        return {
            "agreement": float(np.mean(first == second)),
            "accuracy.tokens": float(np.mean(second == labels[counted])),
        }
    if kind == "segmentation":
        pixels, wanted = (output.argmax(1) for output in (theirs, ours))
        return {"agreement": float(np.mean(pixels == wanted)), "accuracy.miou": _iou(wanted, labels)}
    if kind == "multilabel":
        limit = 0.5 if first.min() >= 0 and first.max() <= 1 else 0.0
        yes, too = first > limit, second > limit
        total = np.maximum(yes.sum(1) + too.sum(1), 1)
        return {"agreement": float(np.mean(np.where((yes | too).any(1), 2 * (yes & too).sum(1) / total, 1)))}
    error = np.sqrt(((first - second) ** 2).mean(1).mean())
    found = {"agreement": float(max(0, 1 - error / first.std()))}
    return found | ({"accuracy.mae": float(np.abs(second - labels.reshape(second.shape)).mean())} if labelled else {})


def language(theirs: Array, ours: Array, labels: Array) -> dict[str, float]:
    """Of logits (n, tokens, vocabulary): bits per token of the second, its divergence from the first, same tokens."""
    base, other = (_log_softmax(logits) for logits in (theirs, ours))
    likely = np.take_along_axis(other, labels[..., None], -1)
    return {
        "lm.nll": float(-likely.mean() / np.log(2)),
        "lm.kld": float((np.exp(base) * (base - other)).sum(-1).mean()),
        "lm.same_top": float(np.mean(base.argmax(-1) == other.argmax(-1))),
    }


def _log_softmax(logits: Array) -> Array:
    shifted = logits.astype(float) - logits.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))


def _iou(found: Array, labels: Array) -> float:
    """The mean over the labels' classes of intersection over union."""
    pairs = [(found == name, labels == name) for name in np.unique(labels)]
    return float(np.mean([(first & second).sum() / (first | second).sum() for first, second in pairs]))


def beside(folder: Path, road: Judged) -> dict[str, Any]:
    """What other quantizers make of the same baseline: bytes, the same numbers, seconds and peak memory."""
    split, rows = _tested(folder, road), {}
    for name in PEERS:
        out = folder / f"{name}.onnx"
        rows[name] = row = made(name, folder / BASELINE, folder / CALIBRATION, out)
        if "failed" not in row:
            try:
                row |= {"size.bytes": out.stat().st_size, **_compared(folder, out, split, road)}
            except ORT_ERRORS as error:  # a file that does not run; its message is the row
                row["failed"] = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
    return rows
