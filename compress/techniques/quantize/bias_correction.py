"""Bias correction: the mean shift of a layer's outputs that rounding its weights causes, taken out of its bias.

Inputs behind a ReLU are positive on average, so that the rounding errors of one channel add up to a shift of all its
outputs instead of averaging out. A depthwise convolution has nine weights a channel, whose errors cannot cancel.
Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019
(arXiv:1906.04721), section 4.2, with the expectation taken on calibration data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from weighbridge.compress.graph.lowering import Array, Layer, array_of
from weighbridge.compress.graph.normal.walk import copied, fresh, names, nodes
from weighbridge.compress.graph.sessions import ORT_ERRORS, batches, session
from weighbridge.compress.graph.spilled import is_spilled, spill, total_bytes, whole
from weighbridge.compress.steps import Facts
from weighbridge.core.errors import InputError
from weighbridge.core.formats.onnx_external import MAX_BYTES
from weighbridge.data import Split

WHERE = "quantize.bias_correction"
EXAMPLES = 16
"""In one inference on calibration data."""
BITS = 10
"""Significant bits of a layer's largest correction: what processors compute differently lies far below."""

Apply = Callable[[ModelProto, Sequence[Layer]], ModelProto]
"""A graph and the layers to quantize → the graph in which they are."""


@dataclass(frozen=True)
class _Place:
    """Where a layer's bias is read: the node, by its first output, and which of its inputs it is or would be."""

    layer: Layer
    reader: str
    slot: int


def with_corrected_biases(
    source: ModelProto, chosen: Sequence[Layer], apply: Apply, split: Split
) -> tuple[ModelProto, Facts]:
    """The quantized graph whose layers' outputs have the means that they have in `source` on calibration data.

    The facts name the corrected layers and those without a place for a bias. `InputError` where there is none at all.
    """
    if total_bytes(source) > MAX_BYTES:
        raise InputError("a model beyond 2 GiB has no bias correction", where=WHERE, fix="leave it out")
    place = spill if is_spilled(source) else lambda made: made
    source = whole(source)
    places = _places(source, chosen)
    if not places:
        raise InputError("no layer to quantize has a bias", where=WHERE, fix="leave it out")
    errors = _errors(source, apply(source, chosen), places)
    shifts = _shifts(source, places, errors, split)
    left = {layer.name for layer in chosen} - {place.layer.name for place in places.values()}
    facts: Facts = {"layers": sorted({place.layer.name for place in places.values()}), "without_bias": sorted(left)}
    return place(apply(_shifted(source, places, shifts), chosen)), facts


def _places(source: ModelProto, chosen: Sequence[Layer]) -> dict[str, _Place]:
    """By node, where the biases of its chosen layers are; a node without a place for one is left out."""
    by_name = {node.name: node for node in source.graph.node}
    stored = {tensor.name: tensor for tensor in source.graph.initializer if tensor.data_type == TensorProto.FLOAT}
    outputs = {value.name for value in source.graph.output}
    found = {}
    for layer in chosen:
        node = by_name.get(layer.node)
        if node is None or len(node.input) < 2 or node.input[1] != layer.weight:
            continue
        reader, slot = node, 2
        if node.op_type == "MatMul":
            readers = [other for other in source.graph.node if node.output[0] in other.input]
            if len(readers) != 1 or readers[0].op_type != "Add" or node.output[0] in outputs:
                continue
            reader, slot = readers[0], 1 - list(readers[0].input).index(node.output[0])
        elif node.op_type not in ("Conv", "ConvTranspose", "Gemm") or _factor(node) != 1:
            continue
        bias = reader.input[slot] if slot < len(reader.input) else ""
        fits = node.op_type.startswith("Conv") or len(layer.shape) == 2
        if bias:
            fits &= bias in stored and list(stored[bias].dims) == [_channels(node, layer)]
        if fits and (bias or node.op_type != "MatMul"):
            found[node.name] = _Place(layer, reader.output[0], slot)
    return found


def _channels(node: NodeProto, layer: Layer) -> int:
    groups = next((item.i for item in node.attribute if item.name == "group"), 1)
    return int(layer.shape[layer.axis] * (groups if node.op_type == "ConvTranspose" else 1))


def _factor(node: NodeProto) -> float:
    """What a Gemm multiplies its bias by."""
    return next((float(item.f) for item in node.attribute if item.name == "beta"), 1.0)


def _errors(source: ModelProto, made: ModelProto, places: dict[str, _Place]) -> dict[str, Array]:
    """By node, what rounding took from its weight: the stored one less the one that the quantized file decodes to."""
    read = {node.name: node.input[1] for node in made.graph.node if node.name in places}
    decoded = _constants(made, sorted(set(read.values())))
    return {name: array_of(source, place.layer.weight) - decoded[read[name]] for name, place in places.items()}


def _constants(model: ModelProto, wanted: Sequence[str]) -> dict[str, Array]:
    """Values that a graph computes from its stored tensors alone."""
    made_by = {output: node for node in model.graph.node for output in node.output}
    needed, open_names = set(wanted), list(wanted)
    while open_names:
        node = made_by.get(open_names.pop())
        for name in node.input if node is not None else ():
            if name not in needed:
                needed.add(name)
                open_names.append(name)
    part = copied(model)
    for field in (part.graph.input, part.graph.output, part.graph.node, part.graph.initializer, part.graph.value_info):
        del field[:]
    part.graph.node.extend(node for node in model.graph.node if needed & set(node.output))
    part.graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in needed)
    part.graph.output.extend(ValueInfoProto(name=name) for name in wanted)
    return dict(zip(wanted, session(part, WHERE).run(None, {}), strict=True))


def _shifts(source: ModelProto, places: dict[str, _Place], errors: dict[str, Array], split: Split) -> dict[str, Array]:
    """By node, the mean of what its outputs lose by the errors of its weight, for each channel, on float inputs."""
    probe, outputs = _probe(source, errors)
    runner = session(probe, WHERE)
    totals: dict[str, Array] = {}
    counts = dict.fromkeys(places, 0)
    try:
        for feed in batches(source, split, EXAMPLES):
            for name, values in zip(places, runner.run([outputs[name] for name in places], feed), strict=True):
                pooled = values.ndim > 2 and places[name].layer.op_type.startswith("Conv")
                rows = values.reshape(len(values), -1) if pooled else values.reshape(-1, values.shape[-1])
                totals[name] = totals.get(name, np.zeros(rows.shape[1])) + rows.sum(0, dtype=np.float64)
                counts[name] += len(rows)
    except ORT_ERRORS as error:
        raise InputError(f"onnxruntime cannot run the model: {error}", where=WHERE) from error
    return {name: _coarse(total / counts[name]) for name, total in totals.items()}


def _probe(source: ModelProto, errors: dict[str, Array]) -> tuple[ModelProto, dict[str, str]]:
    """The graph with a twin of each node whose weight is the error, and the twins' outputs; images are averaged."""
    probe, outputs = copied(source), {}
    taken = names(probe.graph)
    for node in source.graph.node:
        if node.name not in errors:
            continue
        weight, output, pooled = (fresh(f"{node.output[0]}/{part}", taken) for part in ("error", "shift", "mean"))
        twin = NodeProto.FromString(node.SerializeToString())
        twin.name = output
        twin.input[:] = [node.input[0], weight]
        twin.output[:] = [output]
        probe.graph.node.append(twin)
        probe.graph.initializer.append(numpy_helper.from_array(errors[node.name], weight))
        if node.op_type.startswith("Conv"):
            probe.graph.node.append(helper.make_node("GlobalAveragePool", [output], [pooled]))
        outputs[node.name] = pooled if node.op_type.startswith("Conv") else output
    probe.graph.output.extend(ValueInfoProto(name=name) for name in outputs.values())
    return probe, outputs


def _coarse(shift: Array) -> Array:
    """Corrections on a grid, so that one processor's last bits do not become another file."""
    largest = float(np.abs(shift).max(initial=0.0))
    if not 0 < largest < np.inf:
        return shift
    step = 2.0 ** (np.floor(np.log2(largest)) + 1 - BITS)
    return np.asarray(np.rint(shift / step) * step)


def _shifted(source: ModelProto, places: dict[str, _Place], shifts: dict[str, Array]) -> ModelProto:
    """The graph with its biases moved by `shifts`; a bias that several nodes read is copied, a missing one is made."""
    model = copied(source)
    taken = names(model.graph)
    readers = {node.output[0]: node for node in model.graph.node if node.output}
    read = [name for node in nodes(model.graph) for name in node.input]
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for name, place in places.items():
        node = readers[place.reader]
        bias = node.input[place.slot] if place.slot < len(node.input) else ""
        before = numpy_helper.to_array(stored[bias]) if bias else np.zeros(len(shifts[name]), np.float32)
        after = (before.astype(np.float64) + shifts[name]).astype(np.float32)
        if bias and read.count(bias) == 1:
            stored[bias].CopyFrom(numpy_helper.from_array(after, bias))
            continue
        own = fresh(f"{place.reader}/bias", taken)
        model.graph.initializer.append(numpy_helper.from_array(after, own))
        node.input[:] = [*node.input[: place.slot], own, *node.input[place.slot + 1 :]]
    return model
