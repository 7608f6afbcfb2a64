"""Conversions are slow: each is made once for all tests of this folder."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.compress.nets import context, images
from weighbridge.compress.export import EXPORTERS
from weighbridge.compress.recipe.compose import compose_all
from weighbridge.compress.recipe.recipe import read_steps
from weighbridge.compress.steps import Subject
from weighbridge.compress.training.loop import fit
from weighbridge.core.documents import RecipeSection

OTHERS = ("litert", "executorch")


class Net(nn.Module):
    """Images (n, 1, 8, 8) → logits (n, 3), with a normalisation and a nested layer."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.body = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.AvgPool2d(8), nn.Flatten())
        self.classes = nn.Linear(32, 3)

    def forward(self, image):
        return self.classes(self.body(torch.relu(self.norm(self.stem(image)))))


def trained_net():
    """A net that has learnt its images, and its context."""
    torch.manual_seed(1)
    net = Net()
    surroundings = context(net, images())
    fit(net, surroundings.data.train, surroundings.train.model_copy(update={"epochs": 10}), seed=1)
    return net, replace(surroundings, baseline=lambda: copy.deepcopy(net))


def steps(*items, target=OTHERS):
    """Validated steps for these targets."""
    return read_steps(RecipeSection(target=list(target), steps=list(items)), "params.yaml: recipes.r")


def composed(net, surroundings, *items, targets=tuple(EXPORTERS)):
    """One recipe for several targets: artifacts by target."""
    chosen = [EXPORTERS[name] for name in targets]
    return compose_all(steps(*items, target=targets), Subject(copy.deepcopy(net)), surroundings, chosen)


@pytest.fixture(scope="session")
def net():
    """The net and its context."""
    return trained_net()


@pytest.fixture(scope="session")
def programs(net):
    """The float form of the net for each target but onnxruntime."""
    return {name: EXPORTERS[name].export(net[0], net[1].data.calibration) for name in OTHERS}


@pytest.fixture(scope="session")
def pruned(net):
    """Artifacts of a pruned net with static 8-bit integers, for all targets."""
    return composed(*net, {"prune": {"sparsity": 0.6}}, {"quantize": {"scheme": "static-int8"}})


@pytest.fixture(scope="session")
def taught(net):
    """Artifacts of a net with shared weights that was trained with rounding in place."""
    recipe = ({"share": {"bits": 4}}, {"quantize": {"scheme": "qat-int8", "finetune": {"epochs": 2}}})
    return composed(*net, *recipe, targets=OTHERS)
