"""Weighings with `time_limit: auto` of models that take 5, 70 and 500 ms: whether they decide, and when they said so.

Each model is weighed against the same network as another file, where 5 % are allowed (pass is right), and against one
of a tenth more of the same operators, where nothing is (fail is right). What a weighing says after its first launch
pair, how long one takes, is held to what the following ones took.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from benchmarks.gating.models import exclusively
from weighbridge.core.documents import Budget, Weighing
from weighbridge.data import Split
from weighbridge.gate.measure.fingerprint import describe
from weighbridge.gate.verdict.judge import judge
from weighbridge.gate.weighing.job import Source, read_job
from weighbridge.gate.weighing.weigh import weigh

MILLISECONDS = (5, 70, 500)
WIDTH, BLOCKS, EXAMPLES = 512, 20, 8
CASES = (("the same network, 5 % allowed", BLOCKS, 1.05, "pass"), ("a tenth slower", BLOCKS + 2, 1.0, "fail"))
"""What, blocks of the candidate, limit, and the right verdict."""
PLAN_BAR = 1.3
"""How many times as long as it said a weighing may take: every launch is counted at the price of the first."""


def network(blocks: int, rows: int, *, twin: bool = False) -> bytes:
    """A model of as many products of one matrix with so many rows; `twin`: other bytes, the same work."""
    rng = np.random.default_rng(1)
    weight = rng.standard_normal((WIDTH, WIDTH), dtype=np.float32) * np.float32(np.sqrt(2 / WIDTH))
    tensors = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.array([1, rows, 1], np.int64), "rows")]
    tensors.append(numpy_helper.from_array(np.array([1], np.int64), "axis"))
    nodes = [
        helper.make_node("Unsqueeze", ["x", "axis"], ["one"]),
        helper.make_node("Expand", ["one", "rows"], ["r0"]),
    ]
    for index in range(blocks):
        nodes += [
            helper.make_node("MatMul", [f"r{index}", "w"], [f"m{index}"]),
            helper.make_node("Relu", [f"m{index}"], [f"r{index + 1}"]),
        ]
    nodes.append(helper.make_node("ReduceMean", [f"r{blocks}", "axis"], ["y"], keepdims=0))
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", WIDTH]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "slow", ports[:1], ports[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return bytes(model.SerializeToString()) + (b"\x32\x01." if twin else b"")


def rows_for(milliseconds: float) -> int:
    """Rows at which the model takes about so long here, on one thread."""
    probe = 64
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(network(BLOCKS, probe), options)
    x = {"x": np.ones((1, WIDTH), np.float32)}
    seconds = []
    for _ in range(15):
        begin = time.perf_counter()
        session.run(None, x)
        seconds.append(time.perf_counter() - begin)
    return max(1, round(probe * milliseconds / 1000 / float(np.median(seconds))))


@dataclass
class Heard:
    """What a weighing said of its progress, with the seconds since it began."""

    begin: float
    plan: tuple[float, str] | None = None
    first: float | None = None
    decided: str | None = None

    def __call__(self, stage: str, _done: int, _total: int, note: str = "") -> None:
        """One line of progress."""
        now = time.perf_counter() - self.begin
        if stage == "weigh" and self.first is None:
            self.first = now
        if stage == "plan" and self.plan is None:
            self.plan = (now, note)
            sys.stderr.write(f"{note}\n")
        if note.startswith("decided"):
            self.decided = note


def weighed(folder: Path, milliseconds: int, found: dict[str, Any], keep: Callable[[], None]) -> None:
    """Both cases of a model that takes so long, into `found`: those that are not there yet, each kept at once."""
    if all(name in found for name, *_ in CASES):
        return
    rows = rows_for(milliseconds)
    baseline = folder / f"{milliseconds}.onnx"
    baseline.write_bytes(network(BLOCKS, rows))
    inputs = np.random.default_rng(5).standard_normal((EXAMPLES, WIDTH), dtype=np.float32)
    split = Split({"x": inputs}, np.zeros(EXAMPLES, np.int64))
    for name, blocks, limit, right in CASES:
        if name in found:
            continue
        candidate = folder / f"{milliseconds}-{blocks}.onnx"
        candidate.write_bytes(network(blocks, rows, twin=True))
        budget = Budget(metric="latency.p50", max_ratio=limit)
        source = Source(baseline, candidate, split, "generated")
        job = read_job(source, [budget], describe(os.environ), Weighing(time_limit="auto"))
        with exclusively():
            heard = Heard(time.perf_counter())
            measurement = weigh(job, progress=heard)
            seconds = time.perf_counter() - heard.begin
        verdict = judge(measurement, [budget])
        found[name] = {
            "right": right, "verdict": verdict.verdict.value, "reason": verdict.budgets[0].reason,
            "seconds": round(seconds, 1), **said(heard, seconds),
        }  # fmt: skip
        keep()


def said(heard: Heard, seconds: float) -> dict[str, Any]:
    """The plan, and how long the launches took beside what it said."""
    if heard.plan is None or heard.first is None or heard.decided is None:
        return {"plan": None if heard.plan is None else heard.plan[1], "pairs": None, "over_plan": None}
    pairs = int("".join(filter(str.isdigit, heard.decided)))
    pair = heard.plan[0] - heard.first
    ratio = (seconds - heard.first) / (pairs * pair)
    return {"plan": heard.plan[1], "pairs": pairs, "seconds_before_plan": round(heard.plan[0], 1),
            "over_plan": round(ratio, 2)}  # fmt: skip


def rows(found: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Name, value and bar (at most): a wrong or missing verdict is 1; the time beside the plan."""
    held = []
    for milliseconds, cases in found.items():
        for name, case in cases.items():
            title = f"auto: {milliseconds}: {name}"
            held.append((f"{title}: verdict is {case['right']} (0: yes)", float(case["verdict"] != case["right"]), 0.0))
            ratio = case["over_plan"]
            held.append((f"{title}: seconds / plan", float("inf") if ratio is None else ratio, PLAN_BAR))
    return held
