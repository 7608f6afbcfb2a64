"""Whole layers go: those that can, the ones named or missed least, and what stays answers as a shorter net would."""

import copy
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from tests.compress.nets import MLP, Transformer, build, context, images, sequences
from weighbridge.compress.export import EXPORTERS
from weighbridge.compress.graph.forward import outputs
from weighbridge.compress.recipe.compose import compose, export_baseline
from weighbridge.compress.recipe.recipe import read_steps
from weighbridge.compress.steps import Context, Subject
from weighbridge.compress.techniques.prune import PruneConfig, explain, prune
from weighbridge.compress.techniques.prune.depth import Skipped, depth_facts, removable
from weighbridge.compress.training.objective import batch
from weighbridge.core.documents import RecipeSection
from weighbridge.core.errors import InputError, InvariantError
from weighbridge.data import Split

TARGET = EXPORTERS["onnxruntime"]


def plain(*widths: int) -> nn.Sequential:
    """Images (n, 1, 8, 8) → logits (n, 3): convolutions of these widths, each with normalisation and activation."""
    layers: list[nn.Module] = []
    for before, after in zip((1, *widths), widths, strict=False):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 3))


class Block(nn.Module):
    """A residual block that takes a second value and gives a tuple, as layers of transformers do."""

    def __init__(self, width: int, strength: float) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width)
        nn.init.normal_(self.inner.weight, std=strength)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> tuple[torch.Tensor]:
        return (x + torch.tanh(self.inner(x)) * (1.0 if mask is None else mask),)


class Stack(nn.Module):
    """Sequences (n, 6, 5) → logits (n, 3): blocks of these strengths in a list, called by keyword."""

    def __init__(self, *strengths: float) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 8)
        self.blocks = nn.ModuleList(Block(8, strength) for strength in strengths)
        self.classes = nn.Linear(8, 3)

    def forward(self, sequence: torch.Tensor) -> torch.Tensor:
        x = self.embed(sequence)
        for block in self.blocks:
            (x,) = block(x=x, mask=torch.ones_like(x))
        return self.classes(x.mean(1))


class Repeats(nn.Module):
    """Features (n, 16) → (n, 16): one layer called twice, and one that makes the output."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Sequential(nn.Linear(16, 16), nn.ReLU())
        self.last = nn.Sequential(nn.Linear(16, 16))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.last(self.shared(self.shared(features)))


def surroundings(module: nn.Module, split: Split) -> Context:
    """The context of a step on a module that is in eval mode."""
    return context(module.eval(), split)


def shorter(module: nn.Module, split: Split, **config: Any) -> tuple[nn.Module, dict[str, Any]]:
    """The module after one step, and the step's facts."""
    asked = PruneConfig(method="depth", **config)
    subject, facts = prune(asked, Subject(copy.deepcopy(module)), surroundings(module, split))
    return subject.module, facts


def test_what_stays_answers_as_a_net_without_the_layer() -> None:
    """The convolution goes with its normalisation and activation, and every other layer keeps its name."""
    torch.manual_seed(1)
    module, split = plain(4, 4, 6).eval(), images()
    found, facts = shorter(module, split, layers=["3"], reestimate_bn=False)
    by_hand = nn.Sequential(*module[:3], *module[6:]).eval()
    inputs = batch(split, slice(0, 8))[0]
    assert torch.equal(outputs(found, inputs)[0], outputs(by_hand, inputs)[0])
    assert facts["removed"] == ["3"]
    assert facts["params"] == [sum(p.numel() for p in net.parameters()) for net in (module, by_hand)]
    assert [name for name, layer in found.named_modules() if isinstance(layer, Skipped)] == ["3", "4", "5"]


def test_normalisations_are_estimated_for_the_layers_that_stay() -> None:
    """Those after the removed layer see other values than the ones that they were trained on."""
    torch.manual_seed(1)
    module, split = plain(4, 4, 6).eval(), images()
    found, _ = shorter(module, split, layers=["3"])
    assert not torch.equal(found[7].running_mean, module[7].running_mean)


def test_layers_that_can_go() -> None:
    """Those that give the shape they get: not what changes it, what is called twice or what makes the output."""
    torch.manual_seed(1)
    assert [item.name for item in removable(plain(4, 4, 6, 6).eval(), images())] == ["3", "9"]
    assert [item.name for item in removable(Stack(0.1, 0.1).eval(), sequences())] == ["blocks.0", "blocks.1"]
    features = Split({"features": np.zeros((4, 16), np.float32)}, np.zeros(4, np.int64))
    assert removable(Repeats().eval(), features) == []


def test_a_layer_without_which_the_model_does_not_run_stays() -> None:
    """An encoder of torch reads the first of its layers for what all have in common."""
    net = Transformer()
    block = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    net.encoder = nn.TransformerEncoder(block, 3, enable_nested_tensor=False)
    assert [item.name for item in removable(net.eval(), sequences())] == ["encoder.layers.1", "encoder.layers.2"]


def test_trying_changes_nothing() -> None:
    """Layers stand where they stood, with their statistics, after others were looked at."""
    torch.manual_seed(1)
    module, split = plain(4, 4, 6, 6).eval(), images()
    before = copy.deepcopy(module.state_dict())
    shorter(module, split, ratio=0.5)
    assert not any(isinstance(layer, Skipped) for layer in module.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize("strengths", [(2.0, 0.01, 1.0, 0.02), (0.01, 2.0, 0.02, 1.0)])
def test_the_layers_that_are_missed_least_go_first(strengths: tuple[float, ...]) -> None:
    """Half of four: the two that add next to nothing, wherever they are."""
    torch.manual_seed(1)
    _, facts = shorter(Stack(*strengths), sequences(), ratio=0.5)
    weak = [f"blocks.{index}" for index, strength in enumerate(strengths) if strength < 0.1]
    assert sorted(facts["removed"]) == weak


def test_a_share_is_of_the_layers_that_are_named_and_at_least_one() -> None:
    """`keep` takes names of any layer, and leaves whole what holds one of them."""
    torch.manual_seed(1)
    stack = Stack(0.01, 0.02, 2.0, 2.0)
    assert shorter(stack, sequences(), ratio=0.1, layers=["blocks.[23]"])[1]["removed"][0] in {"blocks.2", "blocks.3"}
    assert shorter(stack, sequences(), ratio=0.1, keep=["blocks.0.inner", "classes"])[1]["removed"] == ["blocks.1"]
    assert shorter(stack, sequences(), layers=["blocks.*"], keep=["blocks.3"])[1]["removed"] == [
        "blocks.0",
        "blocks.1",
        "blocks.2",
    ]


def test_a_bert_of_transformers_loses_layers() -> None:
    """Its layers are called with masks and more besides."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(1)
    sizes = {"vocab_size": 50, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
    module = transformers.BertForSequenceClassification(transformers.BertConfig(**sizes, num_hidden_layers=3)).eval()
    ids = np.random.default_rng(1).integers(0, 50, (12, 7))
    split = Split({"input_ids": ids, "attention_mask": np.ones_like(ids)}, np.arange(12) % 2)
    found, facts = shorter(module, split, layers=["bert.encoder.layer.1"])
    assert facts["removed"] == ["bert.encoder.layer.1"]
    inputs = batch(split, slice(0, 4))[0]
    del module.bert.encoder.layer[1]
    assert torch.allclose(outputs(found, inputs)[0], outputs(module, inputs)[0])


@pytest.mark.parametrize(
    ("module", "config", "expected"),
    [
        (MLP(), {"ratio": 0.5}, "no layer of MLP can be removed"),
        (Stack(0.1), {"layers": ["blocks.7"]}, "'blocks.7' matches no layer"),
        (Stack(0.1), {"ratio": 0.5, "keep": ["blocks.0"]}, "no layer is left to remove"),
        (Stack(0.1), {"ratio": 0.5, "keep": ["head"]}, "'head' matches no layer"),
    ],
)
def test_what_cannot_be_removed_is_said(module: nn.Module, config: dict[str, Any], expected: str) -> None:
    """With the layers that can."""
    split = sequences()
    if isinstance(module, MLP):
        split = Split({"features": np.zeros((96, 16), np.float32)}, np.arange(96) % 3)
    with pytest.raises(InputError, match=expected):
        shorter(module, split, **config)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, "needs 'layers', 'ratio' or both"),
        ({"ratio": 0.5, "sparsity": 0.5}, "sparsity does not apply to method depth"),
        ({"ratio": 0.5, "round_to": 4}, "round_to does not apply to method depth"),
        ({"ratio": 0.5, "max_drop": 0.1}, "max_drop does not apply to method depth"),
        ({"method": "magnitude", "sparsity": 0.5, "ratio": 0.5}, "ratio does not apply to method magnitude"),
    ],
)
def test_keys_of_other_methods_are_refused(config: dict[str, Any], expected: str) -> None:
    """One clear sentence each."""
    with pytest.raises(ValidationError, match=expected):
        PruneConfig.model_validate({"method": "depth", **config})


@pytest.mark.parametrize("first", [{"prune": {"sparsity": 0.5}}, {"share": {"bits": 3}}])
def test_layers_do_not_go_from_under_what_holds_them(first: dict[str, Any]) -> None:
    """A mask or a codebook of a layer that is no longer there."""
    section = RecipeSection(steps=[first, {"prune": {"method": "depth", "ratio": 0.5}}])
    with pytest.raises(InputError, match="would remove layers from under"):
        read_steps(section, "recipe")


def test_explained_before_it_is_done() -> None:
    """Nothing is left of the removed layer's row, and all of the others'."""
    torch.manual_seed(1)
    module, split = plain(4, 4, 6), images()
    config = PruneConfig(method="depth", layers=["3"])
    rows = {row["layer"]: row for row in explain(config, Subject(module), surroundings(module, split))}
    assert (rows["3.weight"]["params after"], rows["3.weight"]["macs after"]) == (0, 0)
    assert rows["3.weight"]["macs"] > 0
    assert all(row["params after"] == row["params"] for name, row in rows.items() if name != "3.weight")


def test_a_step_that_removed_nothing_is_an_error() -> None:
    """The facts are those of the modules, not of what was asked."""
    module, steps_context = build("residual")
    assert steps_context.data.calibration is not None
    with pytest.raises(InvariantError, match="parameters from"):
        depth_facts(module, copy.deepcopy(module), steps_context.data.calibration)


def test_a_shorter_net_is_tuned_narrowed_rounded_and_written() -> None:
    """As part of a recipe: layers, then channels, then integers, with fewer bytes after each."""
    torch.manual_seed(1)
    module, split = plain(32, 32, 32), images()
    tuned = {"epochs": 1, "lr": 0.01}
    items: list[dict[str, Any]] = [
        {"prune": {"method": "depth", "layers": ["3"], "finetune": tuned}},
        {"prune": {"method": "structured", "ratio": 0.5, "round_to": 8, "finetune": tuned}},
        {"quantize": {"scheme": "static-int8"}},
    ]
    steps_context = surroundings(module, split)
    sizes = [export_baseline(Subject(copy.deepcopy(module)), steps_context, TARGET).sizes]
    for count in range(1, 4):
        asked = read_steps(RecipeSection(steps=items[:count]), "recipe")
        artifact = compose(asked, Subject(copy.deepcopy(module)), steps_context, TARGET)
        sizes.append(artifact.sizes)
    assert sizes[0].params - sizes[1].params == 32 * 32 * 9 + 32
    assert sizes[0].macs - sizes[1].macs == 32 * 32 * 9 * 64
    assert sizes[1].params > sizes[2].params
    assert all(before.bytes > after.bytes for before, after in pairwise(sizes))
    assert TARGET.run(artifact.data, split.inputs)[0].shape == (96, 3)
