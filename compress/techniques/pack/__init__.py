"""Pack: sparse and shared weights in a standard ONNX file that decodes itself.

No runtime has kernels for codebooks or unstructured sparsity, but every runtime folds constants: a graph that
computes its weights from packed codes is the dense graph as soon as it is loaded. Any runtime of standard ONNX loads
the file; steady-state speed is that of the dense model; only the bytes differ (Deep Compression, arXiv:1510.00149,
without its own runtime).

- `radix`: digits of any base in words
- `decoders`: the functions that decode
- `forms`: the ways to store one weight
- `joined`: biases that share a codebook, as one
- `pack_plan`: which of them is smallest, for all weights together
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from weighbridge.compress.graph.lowering import at_opset, finished, optimized
from weighbridge.compress.graph.names import concise
from weighbridge.compress.graph.normal import laid_out
from weighbridge.compress.graph.normal.walk import bodies
from weighbridge.compress.graph.sessions import run
from weighbridge.compress.graph.spilled import message, to_array, whole
from weighbridge.compress.steps import Context, Facts, Graph, StepConfig
from weighbridge.compress.techniques.pack.decoders import DOMAIN, IR_VERSION, OPSET
from weighbridge.compress.techniques.pack.forms import Form, tensor_bytes
from weighbridge.compress.techniques.pack.joined import SPLIT_INPUT, Joined, join
from weighbridge.compress.techniques.pack.pack_plan import Key, PackPlan, key, plan
from weighbridge.core.errors import InputError, InvariantError
from weighbridge.core.formats.compressed import compressed_sizes

__all__ = ["Pack", "pack", "pack_model"]

WHERE = "pack"
LEAST = 16
"""Weights with fewer elements are never smaller packed."""
TOLERANCE = 1e-5
"""Largest difference of outputs, relative to the largest output."""
TYPES = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT8, TensorProto.UINT8}


class Pack(StepConfig):
    """Store every weight in its smallest form: dense codes, deltas or a bitmask, with or without a codebook."""


def pack(config: Pack, graph: Graph, context: Context) -> tuple[Graph, Facts]:
    """Pack all weights that get smaller. What the runtime computes with stays the same, bit for bit.

    Raises `InvariantError` where nothing gets smaller (the weights are neither sparse nor shared), and where the
    runtime does not fold the decoders away, does not decode the same weights or gives other outputs; `InputError`
    where the model's opset is too old for the decoders.
    """
    del config
    split = context.data.calibration
    if split is None:
        raise InputError("there is no calibration split", where="data.calibration")
    source = at_opset(laid_out(whole(graph.proto)), OPSET, WHERE)
    proto, forms = pack_model(source)
    check_folded(source, proto)
    dense, packed = run(graph.proto, split, WHERE), run(proto, split, WHERE)
    largest = max(float(np.abs(ours - theirs).max(initial=0.0)) for ours, theirs in zip(packed, dense, strict=True))
    scale = max(float(np.abs(theirs).max(initial=0.0)) for theirs in dense) or 1.0
    if largest > TOLERANCE * scale:
        raise InvariantError(f"packed outputs differ by {largest:.3g} from the dense model's", where=WHERE)
    before, after = (compressed_sizes(message(concise(item))) for item in (graph.proto, proto))
    facts: Facts = {
        "before": before,
        "after": after,
        "largest_difference": largest,
        "tensors": [_fact(name, form, graph) for name, form in forms.items()],
    }
    return Graph(proto, graph.notes), facts


def pack_model(source: ModelProto) -> tuple[ModelProto, dict[str, Form]]:
    """The same model with packed weights, and the form of each weight that was packed, by name.

    Vectors that share values are packed as one where that is smaller, under the name `joined`.

    Raises `InvariantError` where the file would not get smaller, `InputError` where its opset is below 11.
    """
    proto = whole(finished(source))
    opset = next((item.version for item in proto.opset_import if item.domain == ""), 0)
    if opset < OPSET:
        raise InputError(f"the model uses opset {opset}; decoders need {OPSET}", where=WHERE, fix="convert the model")
    weights = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in proto.graph.initializer
        if tensor.data_type in TYPES and int(np.prod(tensor.dims)) >= LEAST
    }
    chosen = plan(weights, opset)
    packed = _assembled(proto, chosen, opset)
    joined = join(proto)
    if joined is not None:
        rest = {name: values for name, values in weights.items() if name not in joined.parts}
        other = plan({**rest, joined.name: joined.values}, opset)
        split = _assembled(proto, other, opset, joined) if joined.name in other.forms else packed
        if len(message(concise(split))) < len(message(concise(packed))):
            packed, chosen = split, other
    before, after = (len(message(concise(item))) for item in (proto, packed))
    if not chosen.forms or after >= before:
        # Said, because someone whose weights lie there would look for the reason there.
        inside = ", those of branches and loop bodies among them," if any(map(bodies, proto.graph.node)) else ""
        raise InvariantError(
            f"nothing gets smaller ({before} bytes, packed {after}): the weights{inside} are neither sparse nor shared",
            where=WHERE,
            fix="put prune, share or an 8-bit quantize step before pack",
        )
    return packed, dict(chosen.forms)


def _assembled(proto: ModelProto, chosen: PackPlan, opset: int, joined: Joined | None = None) -> ModelProto:
    model = ModelProto()
    model.CopyFrom(proto)
    gone = {*chosen.forms, *(joined.parts if joined is not None else ())}
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in gone]
    pool = _Pool({str(tensor.name) for tensor in kept} | {str(value.name) for value in model.graph.input})
    calls = [
        form.decoder.call({role: pool.name_of(value) for role, value in form.constants.items()}, name)
        for name, form in chosen.forms.items()
    ]
    if joined is not None:
        calls.append(joined.node(pool.name_of(joined.sizes) if opset >= SPLIT_INPUT else "", opset))
    body = [NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]
    del model.graph.initializer[:]
    model.graph.initializer.extend([*kept, *pool.tensors])
    del model.graph.node[:]
    model.graph.node.extend([*calls, *body])
    there = {function.name for function in model.functions if function.domain == DOMAIN}  # of a hashed, pruned weight
    model.functions.extend(decoder.function(opset) for decoder in chosen.decoders if decoder.name not in there)
    if chosen.forms:
        model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    model.ir_version = max(model.ir_version, IR_VERSION)
    return finished(model)


class _Pool:
    """Constants, each stored once."""

    def __init__(self, taken: set[str]) -> None:
        self.taken = taken
        self.names: dict[Key, str] = {}
        self.tensors: list[TensorProto] = []

    def name_of(self, value: NDArray[Any]) -> str:
        """The name of the initializer that holds `value`."""
        found = self.names.get(key(value))
        if found is None:
            found = f"{WHERE}/{len(self.names)}"
            while found in self.taken:
                found += "'"
            self.names[key(value)] = found
            tensor = TensorProto()
            tensor.CopyFrom(tensor_bytes(value))
            tensor.name = found
            self.tensors.append(tensor)
        return found


def check_folded(source: ModelProto, packed: ModelProto) -> None:
    """Prove that onnxruntime folds every decoder at load, into the very weights of the source.

    Both graphs are loaded by onnxruntime with its processor-independent optimizations; they must come out with the
    same operators in the same number and the same constants, byte for byte.
    """
    dense, decoded = optimized(source, WHERE), optimized(packed, WHERE)
    operators = [Counter(str(node.op_type) for node in model.graph.node) for model in (dense, decoded)]
    if operators[0] != operators[1]:
        left = sorted((operators[1] - operators[0]) + (operators[0] - operators[1]))
        raise InvariantError(f"onnxruntime does not fold the decoders: {', '.join(left)} differ", where=WHERE)
    missing = _constants(dense) - _constants(decoded)
    if missing:
        raise InvariantError(f"{len(missing)} weights do not decode to what they were", where=WHERE)


def _constants(model: ModelProto) -> set[Key]:
    """Stored tensors by value; minus zero counts as zero.

    How often a value is stored is no sign of its decoding: onnxruntime merges decoders of equal weights into one.
    """
    arrays = (to_array(tensor) for tensor in model.graph.initializer)
    return {key(np.asarray(array + array.dtype.type(0) if array.dtype.kind == "f" else array)) for array in arrays}


def _fact(name: str, form: Form, graph: Graph) -> Facts:
    parameter = graph.notes.get("parameters", {}).get(name, name)
    stored = sum(int(tensor_bytes(form.constants[role]).ByteSize()) for role in _PAYLOAD & form.constants.keys())
    book = form.constants.get("book")
    return {
        "weight": parameter,
        "form": form.kind,
        "elements": int(np.prod(form.constants["shape"])),
        "levels": None if book is None else len(book),
        "bytes": stored,
    }


_PAYLOAD = {"words", "mask", "values", "book"}
