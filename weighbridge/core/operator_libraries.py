"""Libraries of custom operators: which domains need one, and whether a library is the one that was named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from weighbridge.core.errors import InputError
from weighbridge.core.files import sha256_file
from weighbridge.core.formats.onnx_walk import subgraphs

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

    from weighbridge.core.documents.custom_ops import CustomOps

RUNTIME_DOMAINS = ("ai.onnx", "com.microsoft", "com.ms.")
"""Domains of operators that onnxruntime brings itself."""
EXTENSIONS = "ai.onnx.contrib"
"""Domain of the package onnxruntime-extensions, a library of its own."""


@dataclass(frozen=True)
class OperatorLibrary:
    """A library whose bytes have the digest that was named."""

    path: Path
    digest: str
    """`sha256:` and 64 hexadecimal digits."""


@dataclass(frozen=True)
class ForeignOperator:
    """The first operator of a file that neither onnxruntime nor the file itself has."""

    node: str
    operator: str
    domain: str


def named_libraries(sections: Sequence[CustomOps], root: Path, where: str) -> tuple[OperatorLibrary, ...]:
    """The libraries that `where` names; one that is missing or has other bytes is an `InputError`, never loaded."""
    found = []
    for index, section in enumerate(sections):
        path, place = root / section.path, f"{where}[{index}]"
        if not path.is_file():
            raise InputError(f"file not found: {section.path}", where=f"{place}.path")
        digest = sha256_file(path)
        if digest != f"sha256:{section.sha256}":
            raise InputError(
                f"{section.path} has the digest {digest.removeprefix('sha256:')}, not the one named; it was not loaded",
                where=f"{place}.sha256",
                fix="name this digest only if you know where the library comes from",
            )
        found.append(OperatorLibrary(path.resolve(), digest))
    return tuple(found)


def foreign_operator(proto: ModelProto) -> ForeignOperator | None:
    """The first node whose operator only a library of custom operators has; None where there is none."""
    own = {(function.domain, function.name) for function in proto.functions}
    for body in (proto.graph.node, *(function.node for function in proto.functions)):
        for node in (inner for outer in body for inner in _with_inner(outer)):
            known = not node.domain or (node.domain.startswith(RUNTIME_DOMAINS) and node.domain != EXTENSIONS)
            if not known and (node.domain, node.op_type) not in own:
                return ForeignOperator(node.name, node.op_type, node.domain)
    return None


def require_libraries(found: ForeignOperator | None, libraries: Sequence[OperatorLibrary], where: str) -> None:
    """Raise `InputError` for an operator that needs a library where none is named."""
    if found is not None and not libraries:
        raise InputError(
            f"node {found.node!r} is the operator {found.operator} of the domain {found.domain!r}, which needs "
            "a library of custom operators; none is loaded",
            where=where,
            fix="name it by its digest, `custom_ops: [{path: libops.so, sha256: …}]`, or export the model with "
            "operators of ONNX or onnxruntime, or as a local function",
        )


def _with_inner(node: NodeProto) -> Iterator[NodeProto]:
    yield node
    for attribute in node.attribute:
        for graph in subgraphs(attribute):
            for inner in graph.node:
                yield from _with_inner(inner)
