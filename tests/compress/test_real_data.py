"""The techniques on real data: motion windows (convolutions over time), spelling (embedding and GRU), digits."""

import copy
from typing import TYPE_CHECKING, Any

import pytest

from tests.compress.real import CASES, trained
from weighbridge.compress.steps import Subject
from weighbridge.compress.techniques.distill import DistillConfig, distill
from weighbridge.compress.techniques.factorize import factorize
from weighbridge.compress.techniques.factorize.config import FactorizeConfig
from weighbridge.compress.techniques.prune import PruneConfig, prune
from weighbridge.compress.techniques.share import ShareConfig, share
from weighbridge.compress.training.module_quality import evaluate, quality
from weighbridge.compress.training.settings import Finetune

if TYPE_CHECKING:
    from torch.nn import Module

    from weighbridge.data import Split

ENOUGH = {"motion": 0.8, "spelling": 0.75, "digits": 0.95}
"""Accuracy of the baselines on their test parts, which shows that there is something to lose."""


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[Any, ...]:
    """Name, trained net, context and test split of one data set."""
    return request.param, *trained(request.param)


def accuracy(module: "Module", test: "Split") -> float:
    """Top-1 on the test part."""
    return quality(evaluate(module, test), test.labels)


def test_baseline_learned(case: tuple[Any, ...]) -> None:
    """The baselines are far above chance."""
    name, module, _, test = case
    assert accuracy(module, test) >= ENOUGH[name]


def test_three_bits_cost_little(case: tuple[Any, ...]) -> None:
    """Eight shared values a tensor, trained for three epochs, cost at most three points."""
    _, module, context, test = case
    config = ShareConfig(bits=3, finetune=Finetune(epochs=3, lr=0.002))
    shared, facts = share(config, Subject(copy.deepcopy(module)), context)
    assert max(item["distinct"] for item in facts["tensors"].values()) <= 8
    assert accuracy(shared.module, test) >= accuracy(module, test) - 0.03


def test_pruned_then_shared(case: tuple[Any, ...]) -> None:
    """50 % sparsity and 16 values compose, at a cost of at most four points."""
    _, module, context, test = case
    tuned = Finetune(epochs=3, lr=0.002)
    pruned, _ = prune(PruneConfig(sparsity=0.5, finetune=tuned), Subject(copy.deepcopy(module)), context)
    shared, facts = share(ShareConfig(bits=4, finetune=tuned), pruned, context)
    zeros = sum(item["zeros"] for item in facts["tensors"].values())
    assert zeros >= 0.5 * sum(item["weights"] for item in facts["tensors"].values()) - 1
    assert all(item.violation(shared.module) is None for item in shared.constraints)
    assert accuracy(shared.module, test) >= accuracy(module, test) - 0.04


def test_factorized_to_two_thirds(case: tuple[Any, ...]) -> None:
    """Two thirds of the parameters, fine-tuned, cost at most four points; recurrent layers are left alone."""
    name, module, context, test = case
    if name == "spelling":
        _, facts = factorize(FactorizeConfig(rank=1), Subject(copy.deepcopy(module)), context)
        assert list(facts["layers"]) == ["classes"]
        return
    config = FactorizeConfig(method="tucker2", params=0.66, finetune=Finetune(epochs=3, lr=0.002))
    found, facts = factorize(config, Subject(copy.deepcopy(module)), context)
    assert facts["params"]["after"] <= 0.66 * facts["params"]["before"]
    assert accuracy(found.module, test) >= accuracy(module, test) - 0.04


def test_distilled_beside_its_control(case: tuple[Any, ...]) -> None:
    """A student that starts from its teacher ends near it, and the better of student and control is kept."""
    _, module, context, test = case
    config = DistillConfig(weight=0.7, finetune=Finetune(epochs=2, lr=0.002))
    found, facts = distill(config, Subject(copy.deepcopy(module)), context)
    both = facts["validation"]
    assert facts["kept"] == ("student" if both["student"] >= both["control"] else "control")
    assert accuracy(found.module, test) >= accuracy(module, test) - 0.03
