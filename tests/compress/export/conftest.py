"""Conversions are slow: each is made once for all tests of this folder."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from tests.compress.nets import context, images
from weighbridge.compress.export import EXPORTERS
from weighbridge.compress.recipe.compose import compose_all
from weighbridge.compress.recipe.recipe import read_steps
from weighbridge.compress.recipe.recipe_run import BuiltArtifact
from weighbridge.compress.steps import Context, Step, Subject
from weighbridge.compress.training.loop import fit
from weighbridge.core.documents import RecipeSection

OTHERS = ("litert", "executorch")


class Net(nn.Module):
    """Images (n, 1, 8, 8) → logits (n, 3), with a normalisation and a nested layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.body = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.AvgPool2d(8), nn.Flatten())
        self.classes = nn.Linear(32, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.classes(self.body(torch.relu(self.norm(self.stem(image)))))


def trained_net() -> tuple[Net, Context]:
    """A net that has learnt its images, and its context."""
    torch.manual_seed(1)
    net = Net()
    surroundings = context(net, images())
    fit(net, surroundings.data.train, surroundings.train.model_copy(update={"epochs": 10}), seed=1)
    return net, replace(surroundings, baseline=lambda: copy.deepcopy(net))


def steps(*items: Net | Context | dict[str, dict[str, Any]], target: Sequence[str] = OTHERS) -> list[Step]:
    """Validated steps for these targets."""
    return read_steps(RecipeSection(target=list(target), steps=list(items)), "params.yaml: recipes.r")


def composed(
    net: nn.Module,
    surroundings: Net | Context,
    *items: Net | Context | dict[str, dict[str, Any]],
    targets: Sequence[str] = tuple(EXPORTERS),
) -> dict[str, BuiltArtifact]:
    """One recipe for several targets: artifacts by target."""
    chosen = [EXPORTERS[name] for name in targets]
    return compose_all(steps(*items, target=targets), Subject(copy.deepcopy(net)), surroundings, chosen)


@pytest.fixture(scope="session")
def net() -> tuple[Net, Context]:
    """The net and its context."""
    return trained_net()


@pytest.fixture(scope="session")
def programs(net: tuple[Net, Context]) -> dict[str, Any]:
    """The float form of the net for each target but onnxruntime."""
    return {name: EXPORTERS[name].export(net[0], net[1].data.calibration) for name in OTHERS}


@pytest.fixture(scope="session")
def pruned(net: tuple[Net, Context]) -> dict[str, BuiltArtifact]:
    """Artifacts of a pruned net with static 8-bit integers, for all targets."""
    return composed(*net, {"prune": {"sparsity": 0.6}}, {"quantize": {"scheme": "static-int8"}})


@pytest.fixture(scope="session")
def taught(net: tuple[Net, Context]) -> dict[str, BuiltArtifact]:
    """Artifacts of a net with shared weights that was trained with rounding in place."""
    recipe = ({"share": {"bits": 4}}, {"quantize": {"scheme": "qat-int8", "finetune": {"epochs": 2}}})
    return composed(*net, *recipe, targets=OTHERS)
