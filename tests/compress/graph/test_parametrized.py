"""Torch parametrizations: steps reach the weights that compute."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from tests.compress import nets
from weighbridge.compress.export.onnxruntime import ONNXRUNTIME
from weighbridge.compress.graph.layers import weights
from weighbridge.compress.graph.parametrized import plain
from weighbridge.compress.recipe.compose import compose
from weighbridge.compress.recipe.recipe import read_steps
from weighbridge.compress.recipe.recipe_run import BuiltArtifact
from weighbridge.compress.steps import Context, Subject
from weighbridge.core.documents import RecipeSection
from weighbridge.core.errors import InputError


class Adapted(nn.Module):
    """A weight with a low-rank adapter on top, as LoRA keeps it while it trains."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.up, self.down = nn.Parameter(torch.randn(rows, 2)), nn.Parameter(torch.randn(2, columns))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight + self.up @ self.down


def lora(layer: Any) -> Any:
    parametrize.register_parametrization(layer, "weight", Adapted(*layer.weight.shape))
    return layer


KINDS = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "adapter": lora,
    "old weight_norm": torch.nn.utils.weight_norm,
    "old spectral_norm": torch.nn.utils.spectral_norm,
}


def wrapped(kind: str) -> tuple[Any, Any]:
    """An MLP whose hidden layers are under one parametrization, as training would leave it."""
    module, context = nets.build("mlp")
    for layer in (module.hidden, module.more):
        KINDS[kind](layer)
    module.train()
    module(torch.randn(8, 16))
    return module.eval(), context


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_the_weights_that_compute_become_parameters(kind: str) -> None:
    """The module answers as before, and its weights are those of the layers, no factors."""
    module, _ = wrapped(kind)
    inputs = torch.randn(32, 16)
    expected = module(inputs)
    found = plain(module)
    assert torch.allclose(found(inputs), expected, atol=1e-6)
    assert [weight.name for weight in weights(found)] == ["hidden.weight", "more.weight", "classes.weight"]
    assert sorted(dict(found.named_parameters())) == sorted(f"{weight.layer}.{kind}" for weight in weights(found)
                                                            for kind in ("weight", "bias"))  # fmt: skip


def test_a_module_without_parametrizations_is_itself() -> None:
    """Nothing is copied where nothing is to be done."""
    module, _ = nets.build("mlp")
    assert plain(module) is module


def composed(step: dict[str, dict[str, float]], module: nn.Module, context: Context) -> BuiltArtifact:
    steps = read_steps(RecipeSection(target="onnxruntime", steps=[step]), "params.yaml: recipes.x")
    return compose(steps, Subject(copy.deepcopy(module)), context, ONNXRUNTIME)


def test_pruning_reaches_what_it_says() -> None:
    """Half of all weights of a weight-normed net are zero, where before only those of its one plain layer were."""
    module, context = wrapped("weight_norm")
    with pytest.raises(InputError, match=r"prune reaches 72 of 1080 weights \(6.7%\): 'more.parametrizations"):
        composed({"prune": {"sparsity": 0.5}}, module, context)
    artifact = composed({"prune": {"sparsity": 0.5}}, plain(module), context)
    (record,) = artifact.steps
    assert record.facts["sparsity"] == 0.5
    assert record.facts["weights"] == 16 * 24 + 24 * 24 + 24 * 3
