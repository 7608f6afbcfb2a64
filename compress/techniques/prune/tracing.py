"""Follow channels through a module: torch-pruning's dependency graph, and where it needs help."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from weighbridge.compress.graph.forward import outputs
from weighbridge.compress.training.objective import batch
from weighbridge.core.errors import InputError, InvariantError
from weighbridge.data import Split

OPAQUE = (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)
"""Layers whose inner widths are not pruned: their weights are no plain matrix of inputs by outputs."""

TRACING_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError)
"""What torch-pruning, and a module that it cut wrongly, may raise."""


def dependency_graph(module: nn.Module, examples: Split) -> Any:
    """The graph of one forward pass; an `InputError` that names the layers in the way where it cannot be built."""
    inputs = batch(examples, slice(0, 2))[0]
    with quiet(), _closed(module), _trainable(module), torch.enable_grad():
        try:
            return tp.DependencyGraph().build_dependency(
                module,
                example_inputs=inputs,
                forward_fn=outputs,
                customized_pruners={nn.GRU: _Recurrent(), nn.RNN: _Recurrent(), nn.LSTM: _Recurrent()},
            )
        except TRACING_ERRORS as error:
            raise untraceable(module, error) from error


@contextlib.contextmanager
def _trainable(module: nn.Module) -> Iterator[None]:
    """Within, every weight is: the graph of a pass has no node for a layer whose weights are frozen."""
    frozen = [item for item in module.parameters() if not item.requires_grad and item.is_floating_point()]
    for parameter in frozen:
        parameter.requires_grad = True
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad = False


class _Closed(torch.autograd.Function):
    """A recurrent layer as one step of the traced graph: its inner products are nobody's channels."""

    @staticmethod
    def forward(_: Any, __: Tensor, *found: Tensor) -> tuple[Tensor, ...]:
        """The outputs, computed before."""
        return tuple(output.clone() for output in found)

    @staticmethod
    def backward(_: Any, *__: Tensor) -> Tensor:
        """Never called: the graph is walked, not differentiated."""
        raise InvariantError("a traced recurrent layer was differentiated", where="prune")


@contextlib.contextmanager
def _closed(module: nn.Module) -> Iterator[None]:
    """Within, recurrent layers leave a single node in the autograd graph."""
    layers = [layer for layer in module.modules() if isinstance(layer, nn.RNNBase)]

    def close(layer: nn.RNNBase) -> None:
        compute = layer.forward

        def forward(given: Tensor, *state: Any) -> Any:
            with torch.no_grad():
                found, last = compute(given, *state)
            if isinstance(last, tuple):
                output, *states = _Closed.apply(given, found, *last)  # type: ignore[no-untyped-call]
                return output, tuple(states)
            return _Closed.apply(given, found, last)  # type: ignore[no-untyped-call]

        layer.forward = forward

    for layer in layers:
        close(layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


class UnfollowedError(InputError):
    """Channels cannot be followed to where they end."""


def untraceable(module: nn.Module, error: Exception, layers: str = "") -> UnfollowedError:
    """The error for a module in which channels cannot be followed: from `layers` where they are known."""
    opaque = [f"{name} ({type(layer).__name__})" for name, layer in module.named_modules() if isinstance(layer, OPAQUE)]
    through = ", ".join(opaque) or type(module).__name__
    reason = reason_of(error)
    return UnfollowedError(
        f"channels {f'of {layers} ' if layers else ''}cannot be followed through {through}: {reason}",
        where="prune",
        fix=f"keep {f'the first of {layers}' if layers else 'the layers around it'}, or use method: magnitude",
    )


def reason_of(error: Exception) -> str:
    """Of an error's text, which may be pages; its kind where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


class _Recurrent(tp.pruner.function.BasePruningFunc):  # type: ignore[misc]  # torch-pruning has no types
    """Recurrent layers lose inputs, never hidden units."""

    def prune_in_channels(self, layer: nn.RNNBase, idxs: list[int]) -> nn.Module:
        """Drop columns of the first layer's input matrices."""
        kept = [index for index in range(layer.input_size) if index not in set(idxs)]
        for name in ("weight_ih_l0", "weight_ih_l0_reverse"):
            if hasattr(layer, name):
                setattr(layer, name, nn.Parameter(getattr(layer, name).detach()[:, kept].contiguous()))
        layer.input_size = len(kept)
        return layer

    def prune_out_channels(self, layer: nn.RNNBase, idxs: list[int]) -> nn.Module:
        """Never called: recurrent layers are kept."""
        raise InvariantError(f"{type(layer).__name__} would lose {len(idxs)} hidden units", where="prune")

    def get_in_channels(self, layer: nn.RNNBase) -> int:
        """Width of the inputs."""
        return int(layer.input_size)

    def get_out_channels(self, layer: nn.RNNBase) -> int:
        """Width of the outputs."""
        return int(layer.hidden_size) * (2 if layer.bidirectional else 1)


def makes_outputs(graph: Any) -> set[nn.Module]:
    """Layers from which an output is reached through no other weights: their width is the outputs' width."""
    weighted = (_ConvNd, nn.Linear, nn.Embedding, *OPAQUE)
    found: set[nn.Module] = set()
    for layer, start in graph.module2node.items():
        if not isinstance(layer, weighted):
            continue
        stack, seen = [start], {start}
        while stack:
            node = stack.pop()
            if not node.outputs:
                found.add(layer)
                break
            for following in node.outputs:
                depthwise = isinstance(following.module, _ConvNd) and following.module.groups > 1
                if following not in seen and (depthwise or not isinstance(following.module, weighted)):
                    seen.add(following)
                    stack.append(following)
    return found


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """torch-pruning warns of parameters outside of layers, which `_check` covers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
