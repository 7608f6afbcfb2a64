"""Fold batch normalisation into the convolution or linear layer before it.

Exporters and runtimes fold normalisation into the weights before it, which multiplies each output channel by its
own factor: a codebook of 16 values would come out as 16 values a channel, and ranges observed for quantization
would be those of other weights. Whoever fixes weights therefore folds first. The module keeps its class, its
structure and its layers' names; a normalisation that was folded becomes `nn.Identity`.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping

import torch
from torch import fx, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from weighbridge.compress.graph.forward import outputs
from weighbridge.core.errors import InputError, InvariantError

BATCHNORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
FOLDABLE = (*CONVOLUTIONS, *TRANSPOSED, nn.Linear)
TRANSPARENT = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
UNTRACEABLE = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
TOLERANCE = 1e-3
"""Largest difference of outputs after folding, relative to the largest output: float32 sums in another order."""


def fold_batchnorm(module: nn.Module, example: Mapping[str, torch.Tensor] | None = None) -> nn.Module:
    """A copy of `module`, in eval mode, whose foldable normalisations are part of the weights before them.

    `example` holds the inputs of one forward pass by name, each (n, …); with it, outputs are compared before and
    after, and a difference is an `InvariantError`. A module that cannot be traced, or a layer whose weights are
    used twice before a normalisation, is an `InputError` that names the layer. Pruned zeros stay zero.
    """
    folded = copy.deepcopy(module).eval()
    pairs = batchnorm_pairs(module)
    for name, normalisation in pairs.items():
        _fold(folded, name, normalisation)
    if pairs and example is not None:
        _compare(module, folded, example)
    return folded


def batchnorm_pairs(module: nn.Module) -> dict[str, str]:
    """Names of the layers that a normalisation follows directly → name of that normalisation, in call order.

    Normalisations without a layer before them (a pre-activation block, or a layer whose output is used elsewhere
    too) are left out: nothing folds them later either.
    """
    kinds = {name: layer for name, layer in module.named_modules() if isinstance(layer, nn.modules.batchnorm._NormBase)}  # noqa: SLF001  # the base of all running normalisations has no public name
    if not kinds:
        return {}
    calls = _trace(module, next(iter(kinds))).nodes
    layers = dict(module.named_modules(remove_duplicate=False))
    uses = Counter(id(layers[str(node.target)]) for node in calls if node.op == "call_module")
    pairs: dict[str, str] = {}
    for node in calls:
        source = _source(node, layers)
        if source is None:
            continue
        name = str(source.target)
        if node.op != "call_module":
            raise InputError(
                f"layer {name!r} is normalised by a function, not by a module, and cannot be folded",
                fix="use nn.BatchNorm layers, or leave this layer out",
            )
        if uses[id(layers[name])] > 1 or uses[id(layers[str(node.target)])] > 1:
            raise InputError(
                f"layer {name!r} or its normalisation {str(node.target)!r} is used more than once: cannot be folded",
                fix="give every use its own layers",
            )
        pairs[name] = str(node.target)
    return pairs


def _trace(module: nn.Module, name: str) -> fx.Graph:
    was_training = module.training
    module.eval()
    try:
        return fx.Tracer().trace(module)
    except UNTRACEABLE as error:
        raise InputError(
            f"normalisation {name!r} cannot be folded: {type(module).__name__}.forward cannot be traced ({error})",
            fix="remove control flow that depends on tensors, or fold the normalisation in the model's factory",
        ) from error
    finally:
        module.train(was_training)


def _source(node: fx.Node, layers: dict[str, nn.Module]) -> fx.Node | None:
    """The foldable layer whose output this node normalises, where nothing else uses that output."""
    if not _normalises(node, layers):
        return None
    before = node.args[0] if node.args else next(iter(node.kwargs.values()), None)
    while isinstance(before, fx.Node) and len(before.users) == 1 and before.op == "call_module":
        layer = layers[str(before.target)]
        if isinstance(layer, FOLDABLE):
            return before
        if not isinstance(layer, TRANSPARENT):
            return None
        before = before.args[0]
    return None


def _normalises(node: fx.Node, layers: dict[str, nn.Module]) -> bool:
    if node.op == "call_function":
        return node.target is F.batch_norm
    if node.op != "call_module":
        return False
    layer = layers[str(node.target)]
    # Without running statistics the factor depends on the batch: it is no constant that could be folded.
    return isinstance(layer, BATCHNORMS) and layer.running_mean is not None


def _fold(module: nn.Module, name: str, normalisation: str) -> None:
    layer = module.get_submodule(name)
    norm = module.get_submodule(normalisation)
    assert isinstance(layer, FOLDABLE)
    assert isinstance(norm, BATCHNORMS)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    if norm.num_features != _outputs(layer):
        raise InputError(
            f"normalisation {normalisation!r} has {norm.num_features} features, layer {name!r} has {_outputs(layer)} "
            "outputs: they are not of one axis and cannot be folded"
        )
    statistics = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
    with torch.no_grad():
        if isinstance(layer, nn.Linear):
            layer.weight, layer.bias = fuse_linear_bn_weights(layer.weight, layer.bias, *statistics)
        elif isinstance(layer, TRANSPOSED) and layer.groups > 1:
            _fold_grouped_transposed(layer, norm)
        else:
            transpose = isinstance(layer, TRANSPOSED)
            layer.weight, layer.bias = fuse_conv_bn_weights(layer.weight, layer.bias, *statistics, transpose)
    module.set_submodule(normalisation, nn.Identity())


def _fold_grouped_transposed(layer: nn.Module, norm: nn.Module) -> None:
    """Weights of a transposed convolution are (inputs, outputs / groups, …): outputs count within each group."""
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, torch.Tensor)
    mean, var, eps = norm.running_mean, norm.running_var, norm.eps
    assert isinstance(mean, torch.Tensor)
    assert isinstance(var, torch.Tensor)
    assert isinstance(eps, float)
    scale = torch.rsqrt(var + eps)
    scale = scale * norm.weight if isinstance(norm.weight, torch.Tensor) else scale
    shift = -mean * scale + (bias * scale if isinstance(bias, torch.Tensor) else 0)
    shift = shift + norm.bias if isinstance(norm.bias, torch.Tensor) else shift
    groups = layer.groups
    assert isinstance(groups, int)
    grouped = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
    scaled = grouped * scale.reshape(groups, 1, weight.shape[1], 1)
    layer.weight = nn.Parameter(scaled.reshape(weight.shape), weight.requires_grad)
    layer.bias = nn.Parameter(shift, weight.requires_grad)


def _outputs(layer: nn.Module) -> int:
    return int(getattr(layer, "out_channels", 0) or getattr(layer, "out_features", 0))


def _compare(before: nn.Module, after: nn.Module, example: Mapping[str, torch.Tensor]) -> None:
    was_training = before.training
    with torch.no_grad():
        expected, found = outputs(before.eval(), example), outputs(after, example)
    before.train(was_training)
    for one, other in zip(expected, found, strict=True):
        gap = (one - other).abs().max().item() / max(one.abs().max().item(), 1.0)
        if not gap <= TOLERANCE:
            raise InvariantError(
                f"folding normalisation changed the outputs of {type(before).__name__} by {gap:.1e} of their largest",
                fix="a layer is used in a way that its trace does not show",
            )
