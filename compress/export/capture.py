"""What the converters of modules share: a calling convention, an example, quiet, and refusals that name the layer."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from weighbridge.compress.graph.forward import outputs
from weighbridge.compress.training.objective import batch
from weighbridge.core.errors import InputError
from weighbridge.data import Split

PREFIX = "module."
"""Where a captured program has the parameters of the module that it was captured from."""

CONVERTER_ERRORS: tuple[type[Exception], ...] = (
    ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
"""What converters raise on models that they cannot handle; those of executorch and torch.export add their own."""

_OPERATOR = (
    r"Lowering not found: ([\w.]+)",
    r"Operator torch\._ops\.([\w.]+) is not",
    r"Operator: <EdgeOpOverload: ([\w.]+)>",
    r"Missing out variants: \{'([\w:.]+)'",
    r"target=(?:torch\.ops|executorch\.exir\.dialects\.edge\._ops)\.([\w.]+)\]",
)


class Positional(nn.Module):
    """A module that takes its inputs by position, in the data's order, and gives a tuple of tensors."""

    def __init__(self, module: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.module = module
        self.names = names

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        """All outputs that are tensors."""
        return outputs(self.module, dict(zip(self.names, values, strict=True)))


@dataclass(frozen=True)
class Example:
    """One example, as weighing feeds it, and the names around it."""

    values: tuple[Tensor, ...]
    """Each (1, …)."""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    """`output`, or `output0`, `output1`, …: as in the ONNX export."""
    dtypes: tuple[tuple[str, ...], tuple[str, ...]] = field(default=((), ()))
    """Of inputs and outputs, as numpy names them."""


def example_of(module: nn.Module, split: Split) -> Example:
    """The first example of a split, and what the module makes of it."""
    sample = batch(split, slice(0, 1))[0]
    with torch.no_grad():
        found = outputs(module, sample)
    for index, output in enumerate(found):
        if output.ndim == 0 or output.shape[0] != 1:
            raise InputError(
                f"output {index} is {tuple(output.shape)} for one example; its first dimension must be the batch",
                where="model.factory",
            )
    names = ("output",) if len(found) == 1 else tuple(f"output{index}" for index in range(len(found)))
    kinds = tuple(
        tuple(str(tensor.dtype).removeprefix("torch.") for tensor in side) for side in (sample.values(), found)
    )
    return Example(tuple(sample.values()), tuple(sample), names, (kinds[0], kinds[1]))


@contextmanager
def silenced() -> Iterator[None]:
    """Hold back what converters and runtimes print, their C++ parts included, which write to the descriptors."""
    with tempfile.TemporaryFile() as sink, warnings.catch_warnings(), contextlib.ExitStack() as stack:
        warnings.simplefilter("ignore")
        for descriptor in (1, 2):
            saved = os.dup(descriptor)
            stack.callback(os.close, saved)
            stack.callback(os.dup2, saved, descriptor)
            os.dup2(sink.fileno(), descriptor)
        with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123  # a device, not a path of ours
            stack.enter_context(contextlib.redirect_stdout(nowhere))
            stack.enter_context(contextlib.redirect_stderr(nowhere))
            yield


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """The module in eval mode; its own mode comes back afterwards."""
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)


def refused(error: Exception, target: str, module: nn.Module, example: Example) -> InputError:
    """What a converter could not do, as one line that names operator and layer."""
    text = _chain(error)
    operator = next((found[1] for pattern in _OPERATOR if (found := re.search(pattern, text))), None)
    if operator is not None:
        layer = _layer_of(operator, module, example)
        return InputError(
            f"the target {target} has no form of the operator {operator} in layer {layer}",
            where="model.factory",
            fix="write that layer with operators that the target has, or leave the target out",
        )
    if (shaped := _shaped_by_values(module, example)) is not None:
        return InputError(
            f"the target {target} takes no shapes that depend on values, as those of {shaped}",
            where="model.factory",
            fix="give that layer's values a fixed shape, or leave the target out",
        )
    line = re.search(r'File "[^"]*?([^"/]+)", line (\d+), in forward\n[ \t]+(\S.*)', text)
    code = f" at {line[1]}:{line[2]} `{line[3].strip()}`" if line else ""
    reason = next((part.strip() for part in str(error).splitlines() if part.strip()), type(error).__name__)
    return InputError(
        f"the model cannot be converted for the target {target}{code}: {reason}",
        where="model.factory",
        fix="keep Python control flow and shapes off the values of tensors",
    )


def _chain(error: BaseException | None) -> str:
    parts = []
    while error is not None:
        parts.append(str(error))
        error = error.__cause__ or error.__context__
    return "\n".join(parts)


def _layer_of(operator: str, module: nn.Module, example: Example) -> str:
    """The path of the first layer in which the traced program uses an operator."""
    wanted = operator.replace("::", ".")
    for program in _traced(module, example):
        for node in program.graph.nodes:
            if _same_operator(str(node.target), wanted) and node.meta.get("nn_module_stack"):
                return _described(node.meta["nn_module_stack"], module)
    return "(unknown)"


def _shaped_by_values(module: nn.Module, example: Example) -> str | None:
    """The first operator whose result has a size that only its values tell, with its layer."""
    for program in _traced(module, example)[:1]:
        for node in program.graph.nodes:
            value, stack = node.meta.get("val"), node.meta.get("nn_module_stack")
            if isinstance(value, Tensor) and stack and any(isinstance(size, torch.SymInt) for size in value.shape):
                return f"the operator {node.target} in layer {_described(stack, module)}"
    return None


def _traced(module: nn.Module, example: Example) -> tuple[Any, ...]:
    """The captured program, as it is and in core operators; nothing where it cannot be captured."""
    try:
        with silenced(), torch.no_grad():
            traced = torch.export.export(Positional(module, example.inputs), example.values)
            return traced, traced.run_decompositions()
    except CONVERTER_ERRORS:
        return ()


def _same_operator(found: str, wanted: str) -> bool:
    return found == wanted or found.removesuffix(".default") == wanted.removesuffix(".default")


def _described(stack: Mapping[str, tuple[str, Any]], module: nn.Module) -> str:
    path, kind = list(stack.values())[-1]
    name = kind if isinstance(kind, str) else kind.__name__
    path = path.removeprefix("module").lstrip(".")
    return f"{path!r} ({name.rsplit('.', 1)[-1]})" if path else f"the model itself ({type(module).__name__})"
