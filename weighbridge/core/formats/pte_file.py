"""ExecuTorch files (`.pte`): the signature, read without running anything. Names come from elsewhere: it has none."""

from __future__ import annotations

from collections.abc import Sequence

from weighbridge.core.errors import InputError
from weighbridge.core.formats.flatbuffer import FlatTable, root
from weighbridge.core.formats.onnx_file import Port, Signature

IDENTIFIER = b"ET12"
METHOD = "forward"

# Numbers of ScalarType (schema/scalar_type.fbs).
DTYPES = {
    0: "uint8", 1: "int8", 2: "int16", 3: "int32", 4: "int64", 5: "float16", 6: "float32", 7: "float64", 11: "bool",
    27: "uint16", 28: "uint32", 29: "uint64",
}  # fmt: skip

# Fields by their number in schema/program.fbs.
PROGRAM_PLANS = 1
PLAN_NAME, PLAN_VALUES, PLAN_INPUTS, PLAN_OUTPUTS = 0, 2, 3, 4
VALUE_KIND, VALUE = 0, 1
KIND_TENSOR = 5
TENSOR_TYPE, TENSOR_SIZES, TENSOR_DYNAMISM = 0, 2, 8


def signature(data: bytes, where: str, inputs: Sequence[str] = (), outputs: Sequence[str] = ()) -> Signature:
    """Types and shapes of the method `forward` under the names given, in order.

    Without names there may be one input, and it is called `input`; outputs are called `output_0`, … Raises
    `InputError` for bytes that are not an ExecuTorch program, and for names that are not as many as the file's inputs.
    """
    program = root(data, IDENTIFIER, "ExecuTorch (.pte)", where)
    plans = {plan.text(PLAN_NAME): plan for plan in program.tables(PROGRAM_PLANS)}
    if METHOD not in plans:
        raise InputError(f"has no method {METHOD!r}", where=where, fix=f"methods: {', '.join(plans) or 'none'}")
    plan = plans[METHOD]
    values = plan.tables(PLAN_VALUES)
    ins, outs = (
        [_tensor(values, index, where) for index in plan.integers(field)] for field in (PLAN_INPUTS, PLAN_OUTPUTS)
    )
    if not inputs and len(ins) == 1:
        inputs = ("input",)
    if not outputs:
        outputs = tuple(f"output_{index}" for index in range(len(outs)))
    for kind, names, found in (("inputs", inputs, ins), ("outputs", outputs, outs)):
        if len(names) != len(found):
            raise InputError(
                f"has {len(found)} {kind}; the manifest beside it names {len(names)} under ports.{kind}",
                where=where,
                fix="an ExecuTorch file has no names: its manifest must list them",
            )
    return Signature(_ports(inputs, ins), _ports(outputs, outs))


def _ports(names: Sequence[str], found: list[tuple[str, tuple[int | None, ...]]]) -> tuple[Port, ...]:
    return tuple(Port(name, dtype, shape) for name, (dtype, shape) in zip(names, found, strict=True))


def _tensor(values: list[FlatTable], index: int, where: str) -> tuple[str, tuple[int | None, ...]]:
    """Type and shape. A size that may vary up to a bound is written as its bound there: it is taken for fixed."""
    value = values[index] if 0 <= index < len(values) else None
    tensor = value.table(VALUE) if value is not None and value.integer(VALUE_KIND, "<B") == KIND_TENSOR else None
    if tensor is None:
        raise InputError(f"value {index} among its inputs and outputs is not a tensor", where=where)
    return DTYPES.get(tensor.integer(TENSOR_TYPE, "<b"), "unknown"), tuple(tensor.integers(TENSOR_SIZES))
