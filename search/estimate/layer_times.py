"""How long each layer takes, measured by the runtime's own profile."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import onnxruntime as ort
from onnx import GraphProto

from weighbridge.compress.graph.sessions import batches, register
from weighbridge.compress.graph.spilled import message
from weighbridge.compress.steps import Subject
from weighbridge.search.problem.searched_model import Source

PROFILED = 200
"""Inferences of the profile."""
FUSED, BLOCKED = "fused ", "_nchwc"
"""What onnxruntime puts before and after names: of nodes fused into one, and of convolutions in its own layout."""
ACTIVATIONS = frozenset({"Relu", "LeakyRelu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Add"})
"""What onnxruntime fuses into the layer before it."""
RESTING = ("rate", "teacher")
"""Knobs that change nothing before training."""


def predicted_time(was: Mapping[str, int], now: Mapping[str, int], shares: Mapping[str, float]) -> float:
    """Time beside the baseline's: each layer's measured share, scaled by what is left of its work."""
    if not shares or not sum(was.values()):
        return max(sum(now.values()) / max(sum(was.values()), 1), 1e-3)
    left = 1.0 - sum(shares.values())
    for layer, share in shares.items():
        work = sum(macs for name, macs in now.items() if name == layer or name.startswith(f"{layer}."))
        left += share * (work / was[layer] if was.get(layer) else 1.0)
    return max(left, 1e-3)


def time_shares(source: Source) -> dict[str, float]:
    """Each layer's share of the time of one inference, by onnxruntime's own profile on one thread.

    Layers are those that a node is named after; what belongs to none (reshaping, pooling) is in no share.
    """
    assert source.context.data.calibration is not None  # the contract of `Context.data`
    with tempfile.TemporaryDirectory(prefix="weighbridge.") as folder:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_profiling, options.log_severity_level = True, 3
        options.profile_file_prefix = str(Path(folder) / "profile")
        # The file that ships has short names: layers are found in the graph that it is written from.
        start, calibration = source.start, source.context.data.calibration
        graph = source.target.export(start.module, calibration) if isinstance(start, Subject) else start
        example = next(batches(graph.model, calibration.take(slice(0, 1)), 1))
        session = ort.InferenceSession(message(graph.model), register(options), providers=["CPUExecutionProvider"])
        for _ in range(PROFILED):
            session.run(None, example)
        events = json.loads(Path(session.end_profiling()).read_text())
    layer_of, spent = _layers(graph.model.graph), dict[str, float]()
    for event in events:
        if event.get("cat") == "Node" and str(event.get("name", "")).endswith("_kernel_time"):
            name = str(event["name"]).removesuffix("_kernel_time").removeprefix(FUSED).removesuffix(BLOCKED)
            layer = layer_of.get(name, name).partition("/")[0]
            spent[layer] = spent.get(layer, 0.0) + float(event["dur"])
    total = sum(spent.values()) or 1.0
    return {layer: time / total for layer, time in spent.items()}


def _layers(graph: GraphProto) -> dict[str, str]:
    """Output → the node that it comes from; of an activation, the node before it.

    onnxruntime names a convolution in its own layout after its output, or after that of the activation fused into it.
    """
    found: dict[str, str] = {}
    for node in graph.node:
        before = next((found[name] for name in node.input if name in found), None)
        name = before if before is not None and node.op_type in ACTIVATIONS else str(node.name)
        found |= dict.fromkeys(map(str, node.output), name)
    return found
