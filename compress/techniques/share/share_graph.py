"""Sharing in a file: k-means on the weights of a finished ONNX model, and weights that are hashed as it is loaded.

Hashed weights need no codes: a function of standard operators computes the bucket and the sign of every position, and
the runtime folds it into the dense weight when it loads the file. What is stored is the shared values alone, and for
pruned weights which of them are zero, in a form of `pack`.
"""

from __future__ import annotations

from string import ascii_lowercase
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import FunctionProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from weighbridge.compress.graph.layers import matching
from weighbridge.compress.graph.lowering import array_of, finished, layers
from weighbridge.compress.graph.normal import opened
from weighbridge.compress.graph.normal.walk import copied
from weighbridge.compress.graph.spilled import whole
from weighbridge.compress.steps import Facts, Graph
from weighbridge.compress.techniques.pack import check_folded
from weighbridge.compress.techniques.pack.decoders import DOMAIN, IR_VERSION, Decoder
from weighbridge.compress.techniques.pack.forms import code, coded_forms, tensor_bytes
from weighbridge.compress.techniques.share.codebook import MULTIPLIERS, SHIFTS, Init, codebook_of, hash_positions
from weighbridge.core.errors import InputError, InvariantError

OPSET = 18
"""First opset with BitwiseXor."""
FUNCTION = "h"
HASHED = "hashed"
"""Key of `notes`: parameter → the number of its shared values and the seed of its hash."""


def share_weights(
    graph: Graph, size: int, init: Init, chosen: list[str] | None, keep: list[str]
) -> tuple[Graph, Facts]:
    """Every float weight of two or more axes replaced by the nearest of at most `size` values of its own.

    Exact zeros stay. Raises `InputError` for a pattern that matches nothing, `InvariantError` where nothing changed.
    """
    proto = copied(whole(finished(opened(graph.proto))))
    every = layers(Graph(proto, graph.notes))
    names = sorted({layer.name for layer in every})
    wanted = set(names if chosen is None else matching(names, chosen, "share: layers"))
    wanted -= set(matching(names, keep, "share: keep"))
    weights = sorted({layer.weight for layer in every if layer.name in wanted})
    if not weights:
        raise InputError("the file has no float weight to share", where="share")
    facts = {}
    changed = False
    for tensor in proto.graph.initializer:
        if tensor.name in weights:
            weight = numpy_helper.to_array(tensor)
            shared = _nearest(tensor.name, weight, size, init)
            changed |= not np.array_equal(weight, shared)
            tensor.CopyFrom(numpy_helper.from_array(shared, tensor.name))
            facts[tensor.name] = {
                "distinct": len(np.unique(shared)),
                "zeros": int((shared == 0).sum()),
                "weights": shared.size,
            }
    if not changed:
        raise InvariantError("the weights hold no more distinct values than asked for: sharing changed nothing")
    return Graph(proto, graph.notes), {"method": "kmeans", "tensors": facts}


def _nearest(name: str, weight: NDArray[Any], size: int, init: Init) -> NDArray[np.float32]:
    if not np.isfinite(weight).all():
        raise InputError(f"{name!r} contains NaN or infinite weights", where="share")
    book = codebook_of(name, {name: weight}, size, init)
    codes = book.codes[name].numpy().ravel()
    sums = np.bincount(codes, weight.ravel().astype(np.float64), minlength=book.size + 1)
    means = sums / np.maximum(np.bincount(codes, minlength=book.size + 1), 1)
    return np.asarray(means.astype(np.float32)[codes].reshape(weight.shape))


def hash_weights(graph: Graph) -> tuple[Graph, Facts]:
    """Hashed parameters, by `notes["hashed"]`, stored as their shared values; the file computes where they go.

    Of a pruned parameter the places of its zeros are stored too. One that the exporter laid out anew (gates of
    recurrent layers) stays dense, and is named in the facts. Raises `InvariantError` where none is left or the
    runtime does not fold the hash away.
    """
    origins: dict[str, str] = graph.notes.get("parameters", {})
    opset = next((item.version for item in graph.proto.opset_import if item.domain == ""), 0)
    if opset < OPSET:
        raise InputError(f"the model uses opset {opset}; hashing needs {OPSET}", where="share")
    proto = ModelProto()
    proto.CopyFrom(whole(graph.proto))
    calls: list[NodeProto] = []
    decoders: dict[str, Decoder] = {}
    stored: dict[str, int] = {}
    dense: list[str] = []
    seed = 0
    for tensor in sorted(proto.graph.initializer, key=lambda item: str(item.name)):
        parameter = origins.get(tensor.name, tensor.name)
        hashed = graph.notes.get(HASHED, {}).get(parameter)
        if hashed is None:
            continue
        seed = hashed["seed"]
        nodes, constants = _call(str(tensor.name), array_of(proto, tensor.name), hashed["size"], seed)
        if not nodes:
            dense.append(parameter)
            continue
        decoders |= _masked(str(tensor.name), array_of(proto, tensor.name), nodes, constants)
        calls += nodes
        stored[parameter] = hashed["size"]
        _replace(proto, str(tensor.name), constants)
    if not stored:
        raise InvariantError(f"no hashed weight can be stored by its values ({', '.join(dense)})", where="share")
    body = [NodeProto.FromString(node.SerializeToString()) for node in proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend([*calls, *body])
    proto.functions.extend([_function(opset, seed), *(decoder.function(opset) for decoder in decoders.values())])
    proto.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    proto.ir_version = max(proto.ir_version, IR_VERSION)
    proto = finished(proto)
    check_folded(graph.proto, proto)
    return Graph(proto, graph.notes), {"stored": stored, "dense": dense}


def _call(name: str, weight: NDArray[Any], size: int, seed: int) -> tuple[list[NodeProto], dict[str, NDArray[Any]]]:
    """The nodes that compute a weight from its shared values, as it is or transposed; none where neither fits.

    What they give in the place of a zero does not matter: `_masked` sees to those.
    """
    for transposed in (False, True) if weight.ndim == 2 else (False,):
        source = weight.T if transposed else weight
        codes, signs = hash_positions(source.size, size, seed)
        kept = source.ravel() != 0
        codes, flat = codes[kept], (source.ravel() * signs.astype(np.float32))[kept]
        values = np.zeros(size, dtype=np.float32)
        values[codes] = flat
        if len(flat) and np.array_equal(values[codes], flat):
            constants: dict[str, NDArray[Any]] = {f"{name}/values": values, f"{name}/shape": np.array(source.shape)}
            result = f"{name}/rows" if transposed else name
            nodes = [helper.make_node(FUNCTION, list(constants), [result], domain=DOMAIN)]
            if transposed:
                nodes.append(helper.make_node("Transpose", [result], [name]))
            return nodes, constants
    return [], {}


def _masked(
    name: str, weight: NDArray[Any], nodes: list[NodeProto], constants: dict[str, NDArray[Any]]
) -> dict[str, Decoder]:
    """Let `nodes`, which compute a hashed weight, give zero where it is zero; the decoders that this takes, by name."""
    if weight.all():
        return {}
    coded = code((weight != 0).astype(np.float32))
    assert coded is not None  # zeros and ones are few enough values
    form = min(
        coded_forms(coded), key=lambda form: sum(tensor_bytes(item).ByteSize() for item in form.constants.values())
    )
    names = {role: f"{name}/mask {role}" for role in form.constants}
    constants |= {names[role]: value for role, value in form.constants.items()}
    nodes[-1].output[0] = f"{name}/hashed"
    nodes += [
        form.decoder.call(names, f"{name}/mask"),
        helper.make_node("Mul", [f"{name}/hashed", f"{name}/mask"], [name]),
    ]
    return {form.decoder.name: form.decoder}


def _replace(proto: ModelProto, name: str, constants: dict[str, NDArray[Any]]) -> None:
    kept = [TensorProto.FromString(item.SerializeToString()) for item in proto.graph.initializer if item.name != name]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    proto.graph.initializer.extend(numpy_helper.from_array(value, key) for key, value in constants.items())


def _function(opset: int, seed: int) -> FunctionProto:
    """Shared values (A) and shape (B) → weight: `codebook.hash_positions` in standard operators, on int64."""
    nodes: list[NodeProto] = []

    def node(operator: str, *inputs: str, **attributes: int) -> str:
        output = f"value {len(nodes)}"
        nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(value: int) -> str:
        return node("Constant", value_int=value)

    zero, one, two, word = constant(0), constant(1), constant(2), constant(1 << 32)
    place = node("Range", zero, node("ReduceProd", "B", keepdims=0), one)
    mixed = node("Mod", node("Add", node("Mul", place, constant(MULTIPLIERS[0])), constant(seed)), word)
    for shift, multiplier in zip(SHIFTS, (*MULTIPLIERS[1:], None), strict=True):
        mixed = node("BitwiseXor", mixed, node("Div", mixed, constant(1 << shift)))
        if multiplier is not None:
            mixed = node("Mod", node("Mul", mixed, constant(multiplier)), word)
    bucket = node("Mod", node("Div", mixed, two), node("Size", "A"))
    sign = node("Sub", one, node("Mul", node("Mod", mixed, two), two))
    signed = node("Mul", node("Gather", "A", bucket), node("Cast", sign, to=TensorProto.FLOAT))
    result = node("Reshape", signed, "B")
    return helper.make_function(DOMAIN, FUNCTION, ["A", "B"], [result], _short(nodes), [helper.make_opsetid("", opset)])


def _short(nodes: list[NodeProto]) -> list[NodeProto]:
    """The nodes with letters for values, but for the function's inputs and its output: names cost bytes."""
    letters = [f"{a}{b}" for a in ("", *ascii_lowercase) for b in ascii_lowercase]
    names = dict(zip((str(node.output[0]) for node in nodes[:-1]), letters, strict=False))
    for node in nodes:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    return nodes
