"""The decoders: ONNX functions of standard operators that every runtime which folds constants runs once, at load.

One function a form, shared by all tensors stored in that form; what differs (words, codebook, shape, base) comes in
as inputs, so that a tensor costs one node. All index arithmetic is int64.
"""

from __future__ import annotations

from dataclasses import dataclass

from onnx import FunctionProto, NodeProto, TensorProto, helper

DOMAIN = "w"
"""Of the functions; any runtime inlines them."""

OPSET = 11
"""Least version of the standard operators that the decoders need: CumSum and ScatterElements came with it."""

IR_VERSION = 8
"""Least version of the file format that has functions."""

Template = tuple[str, str, str, tuple[tuple[str, int], ...]]
"""(operator, inputs, output, attributes) of one node."""


@dataclass(frozen=True)
class Decoder:
    """One function: its name, its inputs by role, its output."""

    name: str
    roles: tuple[str, ...]
    nodes: tuple[Template, ...]
    """Values have short names, or stand for an input by its role."""

    def function(self, opset: int) -> FunctionProto:
        """The function for a model of that opset; its output is the last node's."""
        letters = [chr(ord("A") + index) for index in range(len(self.roles))]
        by_role = dict(zip(self.roles, letters, strict=True))
        nodes = []
        for op_type, inputs, output, attributes in self.nodes:
            names = [by_role.get(name, name) for name in inputs.split()]
            nodes.append(helper.make_node(op_type, names, [output], **dict(attributes)))
        imports = [helper.make_opsetid("", opset)]
        return helper.make_function(DOMAIN, self.name, letters, [nodes[-1].output[0]], nodes, imports)

    def call(self, inputs: dict[str, str], output: str) -> NodeProto:
        """One use: inputs by role."""
        return helper.make_node(self.name, [inputs[role] for role in self.roles], [output], domain=DOMAIN)


def _node(op_type: str, inputs: str, output: str, **attributes: int) -> Template:
    return (op_type, inputs, output, tuple(attributes.items()))


def _digits(words: str, powers: str, base: str, output: str) -> list[Template]:
    """Words (m, 1) → digits (m * digits,)."""
    return [
        _node("Cast", words, output, to=TensorProto.INT64),
        _node("Div", f"{output} {powers}", f"{output}d"),
        _node("Mod", f"{output}d {base}", f"{output}m"),
        _node("Reshape", f"{output}m all", f"{output}f"),
    ]


DENSE = Decoder(
    "a",
    ("words", "powers", "base", "book", "shape", "all", "zero"),
    (
        *_digits("words", "powers", "base", "c"),
        _node("ReduceProd", "shape", "n"),
        _node("Slice", "cf zero n", "s"),
        _node("Gather", "book s", "v"),
        _node("Reshape", "v shape", "o"),
    ),
)
"""A code for every weight. `all` is [-1], `zero` is [0]."""

DELTA = Decoder(
    "b",
    ("words", "powers", "base", "levels", "book", "shape", "all", "zero", "one"),
    (
        *_digits("words", "powers", "base", "c"),
        _node("Div", "cf levels", "g"),
        _node("Mod", "cf levels", "i"),
        _node("Add", "g one", "h"),
        _node("Squeeze", "zero", "x"),  # the standard wants the axis as a scalar
        _node("CumSum", "h x", "p", exclusive=1),
        _node("ReduceProd", "shape", "n"),
        _node("Expand", "zero n", "e"),
        _node("ScatterElements", "e p i", "s"),
        _node("Gather", "book s", "v"),
        _node("Reshape", "v shape", "o"),
    ),
)
"""Digits gap * levels + code: where the next stored weight is, and which value this one has. `book[0]` is zero."""

DELTA_RAW = Decoder(
    "c",
    ("words", "powers", "base", "values", "shape", "all", "zero", "one"),
    (
        *_digits("words", "powers", "base", "c"),
        _node("Add", "cf one", "h"),
        _node("Squeeze", "zero", "x"),  # the standard wants the axis as a scalar
        _node("CumSum", "h x", "p", exclusive=1),
        _node("ReduceProd", "shape", "n"),
        _node("ConstantOfShape", "n", "e"),
        _node("ScatterElements", "e p values", "s"),
        _node("Reshape", "s shape", "o"),
    ),
)
"""Gaps as digits, values as float32."""

_MASK = (
    *_digits("mask", "halves", "two", "c"),
    _node("ReduceProd", "shape", "n"),
    _node("Slice", "cf zero n", "m"),
    _node("Squeeze", "zero", "x"),
    _node("CumSum", "m x", "p"),
)

MASK = Decoder(
    "d",
    ("mask", "halves", "two", "words", "powers", "base", "book", "shape", "all", "zero", "one"),
    (
        *_MASK,
        *_digits("words", "powers", "base", "k"),
        _node("Gather", "kf p", "g"),
        _node("Add", "g one", "h"),
        _node("Mul", "h m", "i"),
        _node("Gather", "book i", "v"),
        _node("Reshape", "v shape", "o"),
    ),
)
"""A bit for every weight, and a code for each that is not zero; the first code is never read. `book[0]` is zero."""

MASK_RAW = Decoder(
    "e",
    ("mask", "halves", "two", "values", "shape", "all", "zero"),
    (
        *_MASK,
        _node("Mul", "p m", "i"),
        _node("Gather", "values i", "v"),
        _node("Reshape", "v shape", "o"),
    ),
)
"""A bit for every weight; `values[0]` is zero, the others those that are not, in order."""

DECODERS = (DENSE, DELTA, DELTA_RAW, MASK, MASK_RAW)
