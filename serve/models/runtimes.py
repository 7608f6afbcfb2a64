"""The runtimes behind one interface: bytes in memory → a model with described inputs and outputs.

Bytes are loaded, never a path: what was verified is what runs. A file that asks for external data or for a library of
custom operators does not load.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from weighbridge.core.errors import InputError
from weighbridge.serve.tensors import NAMES, Array, Feed, Spec

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


@dataclass(frozen=True)
class Loaded:
    """One artifact in memory."""

    inputs: tuple[Spec, ...]
    outputs: tuple[Spec, ...]
    platform: str
    run: Callable[[Feed], list[Array]]
    """One inference: all outputs, in their order. Called from one thread at a time."""

    @property
    def batches(self) -> bool:
        """Whether requests may run together: the first dimension of every input and output is free."""
        return all(spec.shape[:1] == (-1,) for spec in (*self.inputs, *self.outputs))


def load(data: bytes, target: str, threads: int) -> Loaded:
    """Load an artifact's bytes; a target that is not served here is an `InputError`."""
    loader = LOADERS.get(target)
    if loader is None:
        raise InputError(f"{target} is not served here", where="--target", fix=f"one of {', '.join(LOADERS)}")
    return loader(data, threads)


_ORT = {
    "float": "FP32",
    "double": "FP64",
    "float16": "FP16",
    "bool": "BOOL",
    **{f"{kind}{bits}": f"{kind.upper()}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}


def _onnxruntime(data: bytes, threads: int) -> Loaded:
    import onnxruntime  # noqa: PLC0415  # only the runtime of the artifact at hand is imported

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(feed: Feed) -> list[Array]:
        outputs: list[Array] = session.run(names, feed)
        return outputs

    inputs, outputs = (tuple(map(_ort_spec, of)) for of in (session.get_inputs(), session.get_outputs()))
    return Loaded(inputs, outputs, "onnxruntime_onnx", run)


def _ort_spec(node: Any) -> Spec:
    kind = node.type.removeprefix("tensor(").removesuffix(")")
    if kind not in _ORT:
        raise InputError(f"is a {node.type}; only tensors of numbers are served", where=node.name)
    return Spec(node.name, _ORT[kind], tuple(n if isinstance(n, int) and n >= 0 else -1 for n in node.shape))


def _litert(data: bytes, threads: int) -> Loaded:
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415

    interpreter = Interpreter(model_content=data, num_threads=threads)
    interpreter.allocate_tensors()
    signatures = interpreter._get_full_signature_list()  # noqa: SLF001  # the public list leaves the tensors out
    if signatures:
        signature = signatures.get("serving_default") or next(iter(signatures.values()))
        inputs, outputs = dict(signature["inputs"]), dict(signature["outputs"])
    else:
        inputs = {item["name"]: item["index"] for item in interpreter.get_input_details()}
        outputs = {item["name"]: item["index"] for item in interpreter.get_output_details()}
    details = {item["index"]: item for item in (*interpreter.get_input_details(), *interpreter.get_output_details())}

    def specs(names: Mapping[str, int]) -> tuple[Spec, ...]:
        return tuple(_litert_spec(name, details[index]) for name, index in names.items())

    def run(feed: Feed) -> list[Array]:
        for name, index in inputs.items():
            interpreter.set_tensor(index, feed[name])
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in outputs.values()]

    return Loaded(specs(inputs), specs(outputs), "tensorflow_lite", run)


def _litert_spec(name: str, detail: Mapping[str, Any]) -> Spec:
    dtype = np.dtype(detail["dtype"])
    if dtype not in NAMES:
        raise InputError(f"is a {dtype}; only tensors of numbers are served", where=name)
    return Spec(name, NAMES[dtype], tuple(int(n) for n in detail["shape"]))


LOADERS: Mapping[str, Callable[[bytes, int], Loaded]] = {
    loader.__name__.removeprefix("_"): loader for loader in (_onnxruntime, _litert)
}
"""Target → what loads its files: each function has its name."""
