"""Sparse initializers, which neither quantizers nor most runtimes read: written out dense."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, SparseTensorProto, TensorProto, numpy_helper

from weighbridge.compress.graph.normal.walk import copied, graphs


def dense(proto: ModelProto) -> ModelProto:
    """The model whose sparse initializers are initializers of the same name."""
    if not any(graph.sparse_initializer for graph in graphs(proto.graph)):
        return proto
    model = copied(proto)
    for graph in graphs(model.graph):
        graph.initializer.extend(_dense(sparse) for sparse in graph.sparse_initializer)
        del graph.sparse_initializer[:]
    return model


def _dense(sparse: SparseTensorProto) -> TensorProto:
    """Indices are (n,), positions in the flat tensor, or (n, axes) (onnx.proto, SparseTensorProto)."""
    values = numpy_helper.to_array(sparse.values)
    indices = np.asarray(numpy_helper.to_array(sparse.indices))
    shape = tuple(sparse.dims)
    whole = np.zeros(shape, values.dtype)
    if indices.ndim == 1:
        whole.reshape(-1)[indices] = values
    else:
        whole[tuple(indices.T)] = values
    return numpy_helper.from_array(whole, sparse.values.name)
