"""Weights alone in few bits; what computes stays float32.

*Folded*: a weight is stored as int8, int4 or float16 and decoded by standard operators that the runtime folds once,
when it loads the file. Steady-state speed is that of float32, and any operator's weight can be stored so. The decoder
is Cast and Mul rather than DequantizeLinear, which onnxruntime keeps, or turns into a blockwise kernel, at run time.

*MatMulNBits*: onnxruntime's blockwise matrix product (com.microsoft), small in memory too. It takes MatMul alone, and
the exporter writes linear layers as Gemm, so Gemm is rewritten first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from weighbridge.compress.graph.lowering import Array, Layer, array_of, at_opset, finished, named
from weighbridge.compress.graph.sessions import quiet
from weighbridge.compress.graph.spilled import is_spilled, kept, whole
from weighbridge.compress.techniques.quantize.config import Quantize
from weighbridge.compress.techniques.quantize.gemms import matmuls
from weighbridge.compress.techniques.quantize.gptq import CLIPS, BlockForm, moments_of, product
from weighbridge.core.errors import InputError
from weighbridge.core.formats.onnx_weightless import without
from weighbridge.data import Split

USUAL_BLOCK = 32
"""Weights that share a scale in MatMulNBits, where nothing is said."""

AT_ONCE = 1 << 16
"""Weights that are rounded at once, by rows, each by itself, in float64: half a megabyte stays in a processor's cache,
and takes half the time of eight.
"""

LEAST_SCALE, MOST_SCALE = 2.0**-10, 2.0**15
"""Largest scale of a weight between which float16 holds all its scales well enough: down to 1/16 of the largest."""


def folded(proto: ModelProto, chosen: Sequence[Layer], config: Quantize) -> ModelProto:
    """Store the weights of the chosen layers in few bits, with a decoder that folds to float32 at load."""
    # 4-bit integers came with opset 21.
    source = at_opset(proto, 21, "quantize.scheme") if config.scheme == "weight-int4" else proto
    by_weight = {layer.weight: layer for layer in reversed(chosen)}
    model = without(source, by_weight.keys())
    decoders: list[NodeProto] = []
    for weight in dict.fromkeys(layer.weight for layer in chosen):
        layer = by_weight[weight]
        values = array_of(source, weight)
        if config.scheme == "weight-fp16":
            stored, nodes = _as_half(values, weight)
        else:
            widths = (8, 8) if config.scheme == "weight-int8" else (4, config.levels.bit_length() - 1)
            axis = layer.axis if config.per_channel else None
            stored, nodes = _as_integers(values, weight, axis, widths, config.block_size)
        model.graph.initializer.extend([kept(tensor) for tensor in stored] if is_spilled(source) else stored)
        decoders.extend(nodes)
    body = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*decoders, *body])
    return finished(model)


def blockwise(proto: ModelProto, chosen: Sequence[Layer], config: Quantize, split: Split) -> ModelProto:
    """Replace the chosen layers' matrix products by MatMulNBits; a convolution among them is an `InputError`.

    `split` is the calibration data that `rounding: gptq` rounds by.
    """
    odd = [layer for layer in chosen if layer.op_type not in ("Gemm", "MatMul")]
    if odd:
        raise InputError(
            f"MatMulNBits has no form of layer {odd[0].name} ({odd[0].op_type})",
            where="quantize.kernel",
            fix="name it under 'keep', or use kernel: folded",
        )
    model = matmuls(named(proto))
    nodes = {layer.node for layer in chosen}
    if config.rounding == "gptq" or config.levels < 16:
        return _in_blocks(model, nodes, config, split)
    if is_spilled(model):
        return finished(_one_by_one(model, nodes, config))
    others = [node.name for node in model.graph.node if node.op_type == "MatMul" and node.name not in nodes]
    return finished(_by_library(model, others, config))


def _one_by_one(model: ModelProto, chosen: set[str], config: Quantize) -> ModelProto:
    """The model in which each chosen product was rewritten in a graph of its own: one weight is in memory at a time."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    body: list[NodeProto] = []
    added: dict[str, TensorProto] = {}
    for node in model.graph.node:
        if node.op_type != "MatMul" or node.name not in chosen:
            body.append(NodeProto.FromString(node.SerializeToString()))
            continue
        ports = [ValueInfoProto(name=name) for name in (node.input[0], node.output[0])]
        graph = helper.make_graph([node], "product", ports[:1], ports[1:], [stored[node.input[1]]])
        single = whole(helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version))
        found = _by_library(single, [], config)
        body.extend(NodeProto.FromString(item.SerializeToString()) for item in found.graph.node)
        for tensor in found.graph.initializer:
            if tensor.name not in added:
                added[tensor.name] = kept(TensorProto.FromString(tensor.SerializeToString()))
        for item in found.opset_import:
            if all(item.domain != known.domain for known in model.opset_import):
                model.opset_import.append(item)
    del model.graph.node[:]
    model.graph.node.extend(body)
    model.graph.initializer.extend(tensor for name, tensor in added.items() if name not in stored)
    return model


def _by_library(model: ModelProto, others: Sequence[str], config: Quantize) -> ModelProto:
    """The model after onnxruntime's quantizer; `others` names products that stay."""
    # Its import takes a second, for the recipes that pack weights by four bits alone.
    from onnxruntime.quantization.matmul_nbits_quantizer import (  # noqa: PLC0415
        DefaultWeightOnlyQuantConfig,
        MatMulNBitsQuantizer,
    )

    quantizer = MatMulNBitsQuantizer(
        model,
        nodes_to_exclude=others,
        algo_config=DefaultWeightOnlyQuantConfig(
            block_size=config.block_size or USUAL_BLOCK,
            is_symmetric=config.symmetric,
            accuracy_level=0,
            bits=8 if config.scheme == "weight-int8" else 4,
        ),
    )
    with quiet():
        quantizer.process()
    return quantizer.model.model


def _in_blocks(model: ModelProto, nodes: set[str], config: Quantize, split: Split) -> ModelProto:
    """The same rewriting with our own rounding, which the library has no form of.

    Its GPTQ finds new scales for what it has rounded, which undoes a part of it.
    """
    bits = 8 if config.scheme == "weight-int8" else 4
    levels = config.levels if bits == 4 else 256
    form = BlockForm(bits, levels, config.block_size or USUAL_BLOCK, config.symmetric)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    reading: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        right = stored.get(node.input[1]) if node.op_type == "MatMul" else None
        if node.name in nodes and right is not None and len(right.dims) == 2:
            reading.setdefault(node.input[0], []).append(node)
    sizes = {name: int(stored[group[0].input[1]].dims[0]) for name, group in reading.items()}
    moments: Iterable[tuple[str, Array | None]] = (
        moments_of(model, sizes, split, "quantize.rounding")
        if config.rounding == "gptq"
        else ((name, None) for name in sizes)
    )
    readers = Counter(node.input[1] for group in reading.values() for node in group)
    made: dict[str, NodeProto] = {}
    tensors: list[TensorProto] = []
    for name, found in moments:
        for node in reading[name]:
            weight = node.input[1]
            # Inputs that differ round one weight differently: its readers have a copy each.
            stem = weight if readers[weight] == 1 else f"{weight}/{node.name}"
            made[node.name], added = product(node, stem, array_of(model, weight), form, found)
            tensors += added
    body = [made.get(node.name, node) for node in model.graph.node]
    rest = [NodeProto.FromString(node.SerializeToString()) for node in body]
    del model.graph.node[:]
    model.graph.node.extend(rest)
    model.graph.initializer.extend(tensors)
    return finished(model)


def _as_half(values: Array, name: str) -> tuple[list[TensorProto], list[NodeProto]]:
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    if not np.isfinite(halves).all():
        raise InputError(f"the weight {name} has values beyond float16", where="quantize", fix="keep its layer")
    cast = helper.make_node("Cast", [f"{name}/half"], [name], to=TensorProto.FLOAT)
    return [numpy_helper.from_array(halves, f"{name}/half")], [cast]


def _as_integers(
    values: Array, name: str, axis: int | None, widths: tuple[int, int], block: int | None
) -> tuple[list[TensorProto], list[NodeProto]]:
    """Integers, scales and the nodes that turn them into `name`; `widths` are the bits stored and those used."""
    bits, used = widths
    rows, restore = _rows(values, axis, block)
    unit = np.float32(1.0) if block is None else scale_unit(rows, used)
    scaled = rows if unit == 1 else rows / unit
    codes, scales = round_to_grid(scaled, used, np.float32 if block is None else np.float16)
    if block is not None:
        shaped, scale = codes, scales[:, None]
    else:
        shaped = restore(codes)
        scale = scales
        if axis is not None:
            scale = scale.reshape([-1 if index == axis else 1 for index in range(values.ndim)])
    code_name, scale_name = f"{name}/codes", f"{name}/scale"
    stored = [_integers(shaped, code_name, bits), numpy_helper.from_array(scale, scale_name)]
    decoded = name if block is None else f"{name}/blocks"
    nodes = [helper.make_node("Cast", [code_name], [f"{name}/float"], to=TensorProto.FLOAT)]
    if block is not None:  # so many scales that their own size counts: float16
        nodes.append(helper.make_node("Cast", [scale_name], [f"{name}/scales"], to=TensorProto.FLOAT))
        scale_name = f"{name}/scales"
    if unit != 1:
        stored.append(numpy_helper.from_array(np.asarray(unit), f"{name}/unit"))
        nodes.append(helper.make_node("Mul", [scale_name, f"{name}/unit"], [f"{name}/scaled"]))
        scale_name = f"{name}/scaled"
    nodes.append(helper.make_node("Mul", [f"{name}/float", scale_name], [decoded]))
    if block is not None:
        stored.append(numpy_helper.from_array(np.array(values.shape, np.int64), f"{name}/shape"))
        nodes.append(helper.make_node("Reshape", [decoded, f"{name}/shape"], [name]))
    return stored, nodes


def _rows(values: Array, axis: int | None, block: int | None) -> tuple[Array, Callable[[Array], Array]]:
    """The weight as rows that share a scale, and how rows become the weight's shape again."""
    if block is not None:
        if values.size % block:
            raise InputError(
                f"the weight has {values.size} values, which blocks of {block} do not divide",
                where="quantize.block_size",
            )
        return values.reshape(-1, block), lambda codes: codes
    if axis is None:
        return values.reshape(1, -1), lambda codes: codes.reshape(values.shape)
    moved = np.moveaxis(values, axis, 0)
    return moved.reshape(len(moved), -1), lambda codes: np.moveaxis(codes.reshape(moved.shape), 0, axis)


def scale_unit(rows: Array, bits: int) -> np.float32:
    """A power of two in which the scales of rows (n, m) fit float16: 1 where the largest does already.

    Float16 is exact to 0.05 % from 6e-5 on; scales of small weights would lie below, and lose their digits.
    """
    largest = float(np.abs(rows).max(initial=0.0)) / (2 ** (bits - 1) - 1)
    if largest == 0 or LEAST_SCALE <= largest <= MOST_SCALE:
        return np.float32(1.0)
    return np.float32(2.0 ** np.clip(np.floor(np.log2(largest)), -126, 127))


def round_to_grid(rows: Array, bits: int, kind: type[np.floating[Any]] = np.float32) -> tuple[Array, Array]:
    """Symmetric integers and scales (one a row, of type `kind`) for weights (rows, n); zero stays zero.

    The end of each row's range is the share of its largest weight that gives the least squared error.
    """
    height = max(1, AT_ONCE // max(1, rows.shape[1]))
    if len(rows) <= height:
        return _rounded(rows, bits, kind)
    codes, stored = np.empty(rows.shape, np.int8), np.empty(len(rows), kind)
    for start in range(0, len(rows), height):
        part = slice(start, start + height)
        codes[part], stored[part] = _rounded(rows[part], bits, kind)
    return codes, stored


def _rounded(rows: Array, bits: int, kind: type[np.floating[Any]]) -> tuple[Array, Array]:
    top = 2 ** (bits - 1) - 1
    largest = np.abs(rows).max(axis=1).astype(np.float64)
    largest[largest == 0] = 1.0
    best = np.full(len(rows), np.inf)
    scales = largest / top
    for clip in CLIPS if bits < 8 else CLIPS[:1]:
        trial = clip * largest / top
        rounded = np.clip(np.rint(rows / trial[:, None]), -top, top) * trial[:, None]
        error = np.square(rounded - rows).sum(axis=1)
        scales = np.where(error < best, trial, scales)
        best = np.minimum(error, best)
    stored = np.maximum(scales, np.finfo(kind).tiny).astype(kind)
    codes = np.clip(np.rint(rows / stored[:, None].astype(np.float32)), -top, top).astype(np.int8)
    return codes, stored


def _integers(codes: Array, name: str, bits: int) -> TensorProto:
    if bits == 8:
        return numpy_helper.from_array(np.ascontiguousarray(codes), name)
    flat = np.ascontiguousarray(codes).reshape(-1).view(np.uint8) & 0xF
    flat = np.append(flat, np.zeros(flat.size % 2, np.uint8))
    packed = (flat[0::2] | (flat[1::2] << 4)).astype(np.uint8)
    return helper.make_tensor(name, TensorProto.INT4, codes.shape, packed.tobytes(), raw=True)
