"""Replace: a finished ONNX file of the user's own takes the model's place.

What no step here makes can still be a recipe: trees retrained with fewer rounds, a network distilled elsewhere, the
file of another quantizer. It is built, weighed, judged and promoted as any other. A model of its own may answer
otherwise: how often is for the budgets to say, and no agreement is asked of it here.
"""

from __future__ import annotations

from collections.abc import Sequence

from weighbridge.compress.steps import Context, Facts, Graph, Step, StepConfig
from weighbridge.core.errors import InputError
from weighbridge.core.formats.onnx_file import signature

WHERE = "replace"


class Replace(StepConfig):
    """Take a finished ONNX file, retrained smaller or made by another tool, in place of the model."""

    onnx: str
    """Path of the file, from the folder of params.yaml. `dvc.yaml` names it among the `deps` of `compress`."""


def refuses(_: Replace, before: Sequence[Step]) -> str | None:
    """Another model throws away what earlier steps did to this one."""
    return f"another file replaces the model and undoes {before[-1].name}: put replace first" if before else None


def replace(config: Replace, graph: Graph, context: Context) -> tuple[Graph, Facts]:
    """The file in the form in which models enter.

    Raises `InputError` where it cannot be read, or has other inputs or outputs than the model.
    """
    proto = context.finished(config.onnx)
    ours, theirs = signature(proto), signature(graph.proto)
    for kind, own, known in (("inputs", ours.inputs, theirs.inputs), ("outputs", ours.outputs, theirs.outputs)):
        found, expected = ({port.name: port.dtype for port in ports} for ports in (own, known))
        if found != expected:
            raise InputError(
                f"{config.onnx} has the {kind} {_said(found)}; the model has {_said(expected)}", where=f"{WHERE}: onnx"
            )
    return Graph(proto), {}


def _said(ports: dict[str, str]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in ports.items()) or "none"
