"""What lowering steps share: the layers of an ONNX graph and their names, and running it; its form is in `graph_form`.

A *layer* is a node with a weight that is stored in the file. It answers to its module's name (`features.0`), where
the exporter noted which parameter a weight came from, or else to its weight's name without `.weight`; failing
both, to its node's name.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto

from weighbridge.compress.graph import feeds, spilled
from weighbridge.compress.graph.graph_form import at_opset as at_opset  # noqa: PLC0414  # lowering steps know it from here
from weighbridge.compress.graph.graph_form import finished as finished  # noqa: PLC0414
from weighbridge.compress.graph.normal.walk import bodies, nodes
from weighbridge.compress.steps import Graph
from weighbridge.core.errors import InputError, InvariantError
from weighbridge.core.formats.onnx_file import Port, serialize, signature
from weighbridge.core.formats.onnx_weightless import LARGE, beside
from weighbridge.data import Split

Array = NDArray[Any]

ORT_ERRORS = (
    onnxruntime.capi.onnxruntime_pybind11_state.EPFail,
    onnxruntime.capi.onnxruntime_pybind11_state.Fail,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidGraph,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidProtobuf,
    onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented,
    onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException,
)

# Operators with weights: which input holds them, and along which of its axes the output channels lie.
WEIGHT_SLOTS: dict[str, tuple[int, ...]] = {
    "Conv": (1,),
    "ConvTranspose": (1,),
    "GRU": (1, 2),
    "Gather": (0,),
    "Gemm": (1,),
    "LSTM": (1, 2),
    "MatMul": (0, 1),
    "RNN": (1, 2),
}


_OPTIMIZED = "session.optimized_model_external_initializers_"
"""Of onnxruntime_session_options_config_keys.h: where weights of an optimized model go."""

MAPPED = 1 << 26
"""Bytes of a model from which on its weights are mapped from a file to run it."""


@dataclass(frozen=True)
class Layer:
    """A node and one weight of it that is stored in the file."""

    name: str
    node: str
    """The node's name."""
    op_type: str
    weight: str
    """The initializer's name."""
    shape: tuple[int, ...]
    axis: int
    """Along which the weight's output channels lie."""


def layers(graph: Graph) -> list[Layer]:
    """Every node that has a stored float weight of two or more dimensions, in the graph's order.

    Nodes in branches and loop bodies are among them; a weight without elements is none.
    """
    proto = graph.proto
    stored = {tensor.name: tensor for tensor in proto.graph.initializer if tensor.data_type == TensorProto.FLOAT}
    origins: Mapping[str, str] = graph.notes.get("parameters", {})
    found = []
    for node in nodes(proto.graph):
        for slot in WEIGHT_SLOTS.get(node.op_type, ()):
            tensor = stored.get(node.input[slot]) if slot < len(node.input) else None
            if tensor is not None and len(tensor.dims) >= 2 and all(tensor.dims):
                name = layer_name(origins.get(tensor.name, tensor.name)) or node.name
                axis = _channel_axis(node, slot, len(tensor.dims))
                found.append(Layer(name, node.name, node.op_type, tensor.name, tuple(tensor.dims), axis))
    return found


def layer_name(parameter: str) -> str:
    """`features.0.weight` → `features.0`."""
    return parameter.removesuffix(".weight")


def select(known: Sequence[Layer], patterns: Sequence[str], where: str) -> list[Layer]:
    """The layers that any of the patterns (`*` and `?` as in file names) matches.

    A pattern that matches nothing is an `InputError` that lists the layers.
    """
    for pattern in patterns:
        if not any(_matches(layer, pattern) for layer in known):
            names = ", ".join(dict.fromkeys(layer.name for layer in known)) or "none"
            raise InputError(f"{pattern!r} matches no layer", where=where, fix=f"layers: {names}")
    return [layer for layer in known if any(_matches(layer, pattern) for pattern in patterns)]


def _matches(layer: Layer, pattern: str) -> bool:
    return any(fnmatchcase(name, pattern) for name in (layer.name, layer.node, layer.weight))


def _channel_axis(node: NodeProto, slot: int, rank: int) -> int:
    match node.op_type:
        case "ConvTranspose" | "GRU" | "LSTM" | "RNN":
            return 1
        case "Gemm":
            transposed = any(item.name == "transB" and item.i for item in node.attribute)
            return 0 if transposed else 1
        case "MatMul":
            return rank - 1 if slot == 1 else rank - 2
        case _:
            return 0


def array_of(proto: ModelProto, name: str) -> Array:
    """The values of one initializer."""
    tensor = next(tensor for tensor in proto.graph.initializer if tensor.name == name)
    return spilled.to_array(tensor)


def named(proto: ModelProto) -> ModelProto:
    """A copy whose nodes all have names of their own, as quantizers need them."""
    copy = ModelProto()
    copy.CopyFrom(proto)
    inner = [node for outer in copy.graph.node for body in bodies(outer) for node in nodes(body)]
    every = [*copy.graph.node, *inner]
    taken = Counter(node.name for node in every)
    for index, node in enumerate(every):
        if not node.name or taken[node.name] > 1:
            node.name = f"{node.op_type}_{index}"
    return copy


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back what quantizers log, warn and print: they write to the terminal of whoever imports them."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def session(proto: ModelProto, where: str, *, level: str = "all", save: Path | None = None) -> Any:
    """An onnxruntime session on one core; a graph that the runtime refuses is an `InputError`.

    `level` is onnxruntime's optimization level: `all`, or `basic`, which does not depend on the processor.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_BASIC if level == "basic" else levels.ORT_ENABLE_ALL
    if save is not None:
        options.optimized_model_filepath = str(save)
        if spilled.is_spilled(proto):
            options.add_session_config_entry(f"{_OPTIMIZED}file_name", f"{save.name}.data")
            options.add_session_config_entry(f"{_OPTIMIZED}min_size_in_bytes", str(LARGE))
    try:
        if spilled.is_spilled(proto):
            return _spilled(proto, options)
        if proto.ByteSize() > MAPPED and save is None:
            return _mapped(proto, options)
        return onnxruntime.InferenceSession(serialize(proto), options, providers=["CPUExecutionProvider"])
    except ORT_ERRORS as error:
        raise InputError(f"onnxruntime cannot load the model: {error}", where=where) from error


def _spilled(proto: ModelProto, options: Any) -> Any:
    """A session that maps the weights where they lie."""
    path = spilled.bare_file(proto)
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    finally:
        path.unlink()


def _mapped(proto: ModelProto, options: Any) -> Any:
    """A session that maps large weights from a file, where the bytes of one message would be held three times.

    The file is gone at once; what is mapped of it stays.
    """
    with tempfile.TemporaryDirectory(prefix="weighbridge.") as folder:
        path = Path(folder) / "model.onnx"
        beside(proto, path)
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def batches(proto: ModelProto, split: Split, size: int = 64) -> Iterator[dict[str, Array]]:
    """Feeds for a model from a split, in order: its fixed batch size where it has one, up to `size` otherwise.

    An input that the split does not have is an `InputError`. A last batch that does not fill a fixed size is left out.
    """
    ports = signature(proto).inputs
    gone = feeds.missing(ports, split.inputs)
    if gone:
        raise InputError(
            f"the data has no input {gone[0]!r}", where="data", fix=f"it has: {', '.join(sorted(split.inputs))}"
        )
    fixed = feeds.fixed_batch(ports)
    step = fixed or size
    for start in range(0, len(split) - (step - 1 if fixed else 0), step):
        cut = feeds.feed(ports, split.inputs, start, min(step, len(split) - start))
        yield {port.name: _fed(port, cut[port.name]) for port in ports}


def _fed(port: Port, values: Array) -> Array:
    expected = None if port.dtype in ("unknown", "bfloat16") else np.dtype(port.dtype)
    return np.ascontiguousarray(values if expected is None else values.astype(expected, copy=False))


def run(proto: ModelProto, split: Split, where: str, *, level: str = "all", finite: bool = True) -> list[Array]:
    """The model's outputs on a split, each (n, …). With `finite`, NaN and infinite values are an `InvariantError`."""
    runner = session(proto, where, level=level)
    collected: list[list[Array]] = []
    names = [port.name for port in runner.get_outputs()]
    try:
        collected.extend(feeds.by_example(names, runner.run(None, feed)) for feed in batches(proto, split))
    except ORT_ERRORS as error:
        raise InputError(f"onnxruntime cannot run the model: {error}", where=where) from error
    if not collected:
        raise InputError("there are fewer examples than the model's fixed batch size", where="data")
    outputs = [
        np.concatenate([np.atleast_1d(values[index]) for values in collected]) for index in range(len(collected[0]))
    ]
    for index, output in enumerate(outputs):
        if finite and output.dtype.kind == "f" and not np.isfinite(output).all():
            raise InvariantError(f"output {index} is not finite on calibration data", where=where)
    return outputs


def agreement(ours: Sequence[Array], theirs: Sequence[Array]) -> dict[str, float]:
    """How two models' outputs on the same examples agree.

    `relative_error`: root mean square of the difference over that of `theirs`, the worst output.
    `same_class`: share of examples with the same largest entry along the last axis of the first output.
    """
    errors = [_relative_error(a, b) for a, b in zip(ours, theirs, strict=True) if b.dtype.kind == "f"]
    same = 1.0
    if ours[0].ndim >= 2:
        same = float((ours[0].argmax(-1) == theirs[0].argmax(-1)).mean())
    return {"relative_error": max(errors, default=0.0), "same_class": same}


def _relative_error(ours: Array, theirs: Array) -> float:
    scale = float(np.sqrt(np.mean(np.square(theirs, dtype=np.float64))))
    error = float(np.sqrt(np.mean(np.square(ours.astype(np.float64) - theirs))))
    return error / scale if scale else error


def optimized(proto: ModelProto, where: str) -> ModelProto:
    """The graph after onnxruntime's processor-independent optimizations: constants folded, normalisations fused."""
    path = spilled.fresh_path("optimized.onnx")
    try:
        session(proto, where, level="basic", save=path)
        if not spilled.is_spilled(proto):
            return finished(onnx.load(path))
        return finished(spilled.adopted(onnx.load(path, load_external_data=False), path))
    finally:
        path.unlink(missing_ok=True)


def integer_tensors(proto: ModelProto) -> dict[str, int]:
    """Initializers with two or more elements by integer type, and nodes that quantize or compute on integers."""
    integers = {"INT8", "UINT8", "INT4", "UINT4"}
    found: Counter[str] = Counter()
    for tensor in proto.graph.initializer:
        kind = TensorProto.DataType.Name(tensor.data_type)
        if kind in integers and int(np.prod(tensor.dims)) > 1:
            found[f"{kind.lower()}_tensors"] += 1
    operators = Counter(node.op_type for node in proto.graph.node if _is_integer(node.op_type))
    return {**dict(sorted(found.items())), **dict(sorted(operators.items()))}


def _is_integer(op_type: str) -> bool:
    return op_type.startswith(("QLinear", "Quantize", "Dequantize", "DynamicQuantize", "QGemm")) or op_type in {
        "ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "MatMulNBits",
    }  # fmt: skip
