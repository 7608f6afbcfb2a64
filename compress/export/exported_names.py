"""Names of an exported graph: nodes by their layers, weights by their parameters."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper
from torch import Tensor, nn


def name_nodes(proto: ModelProto) -> None:
    """Name each node after its layer: `features.0`, and where a layer has several, `features.0/Relu`."""
    layers = [_scope(node) for node in proto.graph.node]
    weights = {tensor.name for tensor in proto.graph.initializer}
    several = Counter(layers)
    taken: Counter[str] = Counter()
    for node, layer in zip(proto.graph.node, layers, strict=True):
        owner = next((name.rsplit(".", 1)[0] for name in node.input if name in weights and "." in name), None)
        if owner is not None and taken[owner] == 0 and node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            name = owner  # normalisation folded into a layer leaves the node in that layer's name
        else:
            name = layer if layer and several[layer] == 1 else f"{layer}/{node.op_type}".lstrip("/")
        taken[name] += 1
        node.name = name if taken[name] == 1 else f"{name}_{taken[name] - 1}"


def _scope(node: onnx.NodeProto) -> str:
    """The innermost module's path, from the exporter's metadata; empty for the model itself."""
    for item in node.metadata_props:
        if item.key == "pkg.torch.onnx.name_scopes":
            scopes = re.findall(r"'([^']*)'", item.value)
            return scopes[-2] if len(scopes) > 1 and not scopes[-2].startswith("_empty") else ""
    return ""


def parameter_origins(proto: ModelProto, module: nn.Module) -> dict[str, str]:
    """Initializer → parameter: by name, or where the exporter transposed or reordered it, by its sorted values."""
    parameters = {name: tensor.detach() for name, tensor in module.named_parameters()}
    found = {tensor.name: tensor.name for tensor in proto.graph.initializer if tensor.name in parameters}
    rest = {name: tensor for name, tensor in parameters.items() if name not in found}
    for tensor in proto.graph.initializer:
        if tensor.name in found or tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        # A recurrent layer's two directions are one tensor; it goes by its first.
        name = _same_values(values, rest) or (_same_values(values[0], rest) if values.ndim == 3 else None)
        if name is not None:
            found[tensor.name] = name
            del rest[name]
    return found


def _same_values(values: NDArray[Any], parameters: Mapping[str, Tensor]) -> str | None:
    """The first parameter of the same values in any order. Few are sorted: equal values have an equal sum of bits."""
    if values.size <= 1:
        return None
    bits, ordered = _bits(values), None
    for name, tensor in parameters.items():
        if tensor.numel() != values.size or not tensor.is_floating_point():
            continue
        own = tensor.to(torch.float32).numpy()
        if _bits(own) != bits:
            continue
        if np.array_equal(own, values) or np.array_equal(own.T, values):
            return name
        ordered = np.sort(values, axis=None) if ordered is None else ordered
        if np.array_equal(np.sort(own, axis=None), ordered):
            return name
    return None


def _bits(values: NDArray[Any]) -> int:
    """A sum that does not depend on the order of the values, and is exact."""
    whole = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return int(whole.sum(dtype=np.uint64))
