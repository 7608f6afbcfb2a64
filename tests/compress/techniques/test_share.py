"""Sharing weights: on every kind of net, after pruning, through training and export, and every refusal."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from tests.compress.nets import KINDS, build
from weighbridge.compress.graph.layers import weights
from weighbridge.compress.steps import Context, Subject
from weighbridge.compress.techniques.share import ShareConfig, explain, share
from weighbridge.compress.techniques.share.codebook import shared_parameters
from weighbridge.compress.training.loop import fit
from weighbridge.compress.training.module_quality import evaluate, quality
from weighbridge.compress.training.settings import Finetune
from weighbridge.core.errors import InputError, InvariantError


@dataclass
class Mask:
    """A pruning mask as a constraint, as an earlier step leaves it."""

    parameter: str
    mask: torch.Tensor
    name: str = "prune mask"

    def before_step(self, module: nn.Module) -> None:
        dict(module.named_parameters())[self.parameter].grad.mul_(self.mask)

    def project(self, module: nn.Module) -> None:
        with torch.no_grad():
            dict(module.named_parameters())[self.parameter].mul_(self.mask)

    def violation(self, module: nn.Module) -> str | None:
        alive = dict(module.named_parameters())[self.parameter][self.mask == 0]
        return "revived" if bool(alive.any()) else None


def pruned(kind: str) -> tuple[Any, Context]:
    """A net whose matrices lost 60 % of their weights, its masks, and the context."""
    module, context = build(kind)
    masks = []
    with torch.no_grad():
        for weight in weights(module):
            mask = (weight.tensor.abs() >= weight.tensor.abs().flatten().quantile(0.6)).float()
            weight.tensor.mul_(mask)
            masks.append(Mask(weight.name, mask))
    return Subject(module, masks), context


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_net(kind: str) -> None:
    """All matrices and kernels, those of attention and recurrent layers too, hold at most 2^bits values."""
    module, context = build(kind)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    shared, facts = share(ShareConfig(bits=2, finetune=Finetune(epochs=1)), Subject(module), context)
    assert shared_parameters(shared.constraints) == {weight.name for weight in weights(module)}
    for weight in weights(shared.module):
        distinct = len(weight.tensor.unique())
        assert distinct <= 4
        assert facts["tensors"][weight.name]["distinct"] == distinct
    assert all(item.violation(shared.module) is None for item in shared.constraints)
    assert len(facts["losses"]) == 1
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_composes_with_pruning(kind: str) -> None:
    """Masks of an earlier step survive sharing and its fine-tuning; zero is a code of its own."""
    subject, context = pruned(kind)
    shared, facts = share(ShareConfig(bits=3, finetune=Finetune(epochs=2)), subject, context)
    assert all(item.violation(shared.module) is None for item in shared.constraints)
    for name, tensor in facts["tensors"].items():
        mask = next(item.mask for item in subject.constraints if item.parameter == name)
        assert tensor["distinct"] <= 9
        assert tensor["zeros"] == int((mask == 0).sum())


def test_later_training_keeps_codebooks() -> None:
    """Fine-tuning in a later step, with the constraints left here, keeps codes and moves values."""
    module, context = build("residual")
    shared, _ = share(ShareConfig(bits=2), Subject(module), context)
    before = shared.module.one.weight.detach().clone()
    fit(shared.module, context.data.train, context.train, seed=1, constraints=shared.constraints)
    after = shared.module.one.weight.detach()
    assert not torch.equal(before, after)
    assert all(item.violation(shared.module) is None for item in shared.constraints)


def test_normalisation_is_folded_first() -> None:
    """After sharing no normalisation is left that an exporter would multiply into the shared weights."""
    module, context = build("residual")
    fit(module, context.data.train, context.train, seed=1)
    shared, _ = share(ShareConfig(bits=8), Subject(module), context)
    assert isinstance(shared.module.one_norm, nn.Identity)
    expected, found = (evaluate(net, context.data.train) for net in (module, shared.module))
    assert np.abs(expected - found).max() < 0.02 * np.abs(expected).max()


@pytest.mark.parametrize(("scope", "books"), [("tensor", 5), ("layer", 3), ("model", 1)])
def test_scopes(scope: str, books: int) -> None:
    """One codebook a tensor, a layer (LSTM and GRU have two matrices each) or the whole model."""
    module, context = build("recurrent")
    shared, facts = share(ShareConfig(bits=3, scope=scope), Subject(module), context)
    assert len(facts["codebooks"]) == len(shared.constraints) == books
    if scope == "model":
        values = torch.cat([weight.tensor.flatten() for weight in weights(shared.module)])
        assert len(values.unique()) <= 8


def test_finetuning_recovers_accuracy() -> None:
    """Training the shared values raises the accuracy that two bits had cost."""
    module, context = build("mlp")
    fit(module, context.data.train, context.train, seed=1)
    config = ShareConfig(bits=1)
    plain, _ = share(config, Subject(module), context)
    tuned, _ = share(config.model_copy(update={"finetune": Finetune(epochs=10)}), Subject(module), context)
    data = context.data.train
    assert quality(evaluate(tuned.module, data), data.labels) > quality(evaluate(plain.module, data), data.labels)


@pytest.mark.parametrize("kind", KINDS)
def test_hashed_sharing(kind: str) -> None:
    """Hashing leaves the asked-for number of values (and their negatives) in each tensor, also after training."""
    module, context = build(kind)
    config = ShareConfig(method="hash", ratio=0.125, finetune=Finetune(epochs=1))
    shared, _ = share(config, Subject(module), context)
    for weight in weights(shared.module):
        assert len(weight.tensor.abs().unique()) <= max(1, round(0.125 * weight.tensor.numel()))
    assert all(item.violation(shared.module) is None for item in shared.constraints)


def test_same_seed_same_bits() -> None:
    """Sharing twice gives the same bits."""
    one, two = (
        share(ShareConfig(bits=2, finetune=Finetune(epochs=1)), Subject(module), context)[0].module.state_dict()
        for module, context in (build("separable"), build("separable"))
    )
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_biases_share_one_codebook() -> None:
    """With `biases`, all biases together hold at most 2^bits values and keep them through training."""
    module, context = build("recurrent")
    config = ShareConfig(bits=4, biases=2, keep=["classes"], finetune=Finetune(epochs=2))
    shared, facts = share(config, Subject(module), context)
    parameters = dict(shared.module.named_parameters())
    biases = [name for name in parameters if "bias" in name and name != "classes.bias"]
    assert set(biases) < set(facts["tensors"])
    assert "classes.bias" not in facts["tensors"]
    assert len(torch.cat([parameters[name] for name in biases]).unique()) <= 4
    rows = {row["layer"]: row for row in explain(config, Subject(module), context)}
    assert rows["lstm.bias_ih_l0"]["bytes after"] == 8


def test_layers_and_keep() -> None:
    """Patterns choose layers or single parameters; what `keep` names stays as it was."""
    module, context = build("recurrent")
    config = ShareConfig(bits=1, layers=["lstm", "gru.weight_ih_l0"], keep=["lstm.weight_hh*"])
    shared, facts = share(config, Subject(module), context)
    assert set(facts["tensors"]) == {"lstm.weight_ih_l0", "gru.weight_ih_l0"}
    assert torch.equal(shared.module.lstm.weight_hh_l0, module.lstm.weight_hh_l0)


def test_pattern_that_matches_nothing() -> None:
    """A misspelt layer is one error with a suggestion."""
    module, context = build("mlp")
    with pytest.raises(InputError, match=r"share: layers: 'hiden' matches no layer \(did you mean 'hidden'\?\)"):
        share(ShareConfig(layers=["hiden"]), Subject(module), context)
    with pytest.raises(InputError, match=r"share: keep: 'xyz' matches no layer .*classes, .*more"):
        share(ShareConfig(keep=["xyz"]), Subject(module), context)
    with pytest.raises(InputError, match="no layer is left"):
        share(ShareConfig(keep=["*"]), Subject(module), context)


def test_sharing_twice_and_changing_nothing() -> None:
    """A second codebook for a weight, or sharing what has few values anyway, is an error."""
    module, context = build("mlp")
    shared, _ = share(ShareConfig(bits=4), Subject(module), context)
    with pytest.raises(InputError, match=r"'hidden\.weight' is shared already"):
        share(ShareConfig(bits=2), shared, context)
    with pytest.raises(InvariantError, match="changed nothing"):
        share(ShareConfig(bits=4), Subject(shared.module), context)


def test_weights_that_are_no_numbers() -> None:
    """NaN in a weight is named, not clustered."""
    module, context = build("mlp")
    with torch.no_grad():
        module.hidden.weight[0, 0] = float("nan")
    with pytest.raises(InputError, match=r"'hidden\.weight' contains NaN or infinite weights"):
        share(ShareConfig(), Subject(module), context)


def test_diverging_finetuning() -> None:
    """Fine-tuning that diverges stops with step and epoch."""
    module, context = build("mlp")
    with torch.no_grad():
        module.hidden.weight.mul_(1e30)
        module.classes.weight.mul_(1e30)
    with pytest.raises(InvariantError, match=r"share: training diverged: .* epoch 1, step 1"):
        share(ShareConfig(finetune=Finetune(epochs=1)), Subject(module), context)


def test_no_matrices() -> None:
    """A module without matrices is one clear error."""
    module = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16, affine=False), nn.Softmax(1)).eval()
    _, context = build("mlp")
    with pytest.raises(InputError, match="Sequential has no matrix or kernel"):
        share(ShareConfig(), Subject(module), context)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"bits": 0}, "greater than or equal to 1"),
        ({"bits": 9}, "less than or equal to 8"),
        ({"bit": 4}, "Extra inputs"),
        ({"method": "hash"}, "needs 'ratio'"),
        ({"method": "hash", "ratio": 0.1, "bits": 3}, "bits does not apply"),
        ({"ratio": 0.5}, "ratio does not apply"),
        ({"method": "hash", "ratio": 1.0}, "less than 1"),
    ],
)
def test_config_out_of_range(values: dict[str, Any], message: str) -> None:
    """Bits and ratios out of range, and keys of the other method, are refused."""
    with pytest.raises(ValidationError, match=message):
        ShareConfig(**values)


def test_explain_rows() -> None:
    """The table says what codes, masks and codebooks will take, without touching the module."""
    subject, context = pruned("mlp")
    rows = explain(ShareConfig(bits=4), subject, context)
    kept = int((subject.module.hidden.weight != 0).sum())
    assert rows[0] == {
        "layer": "hidden.weight",
        "shape": "24x16",
        "params": 384,
        "params after": 384,
        "macs": 384,
        "macs after": 384,
        "bytes": 4 * 384,
        "bytes after": -(-(kept * 4 + 384) // 8) + 64,
    }
    rows = explain(ShareConfig(method="hash", ratio=0.25), subject, context)
    assert rows[0]["bytes after"] == 4 * 96 + 384 // 8
    module, context = build("recurrent")
    rows = explain(ShareConfig(method="hash", ratio=0.25, keep=["classes"]), Subject(module), context)
    assert [row["layer"] for row in rows] == [w.name for w in weights(module) if w.layer != "classes"]
    assert rows[0]["macs"] == 6 * 4 * 8 * 5
    assert rows[0]["bytes after"] == 4 * 40


def test_explain_layers_that_are_not_called() -> None:
    """Attention reads its output projection directly: its MACs are those of the whole block, once."""
    module, context = build("transformer")
    rows = {row["layer"]: row for row in explain(ShareConfig(), Subject(module), context)}
    block = "encoder.layers.0.self_attn"
    assert rows[f"{block}.out_proj.weight"]["macs"] == 0
    assert rows[f"{block}.in_proj_weight"]["macs"] == 6 * (48 * 16 + 16 * 16) + 2 * 6 * 6 * 16
    assert rows["encoder.layers.0.linear1.weight"]["macs"] == 6 * 16 * 32


def test_layers_can_have_bits_of_their_own() -> None:
    """A name or pattern decides the bits of its layer; the others take those of the step."""
    module, surroundings = build("mlp")
    config = ShareConfig(bits=3, bits_by_layer={"hidden": 1, "classes*": 4})
    subject, facts = share(config, Subject(module), surroundings)
    found = {name: len(np.unique(p.detach().numpy())) for name, p in subject.module.named_parameters() if p.ndim == 2}
    assert found == {"hidden.weight": 2, "more.weight": 8, "classes.weight": 16}
    assert facts["codebooks"] == {"hidden.weight": 2, "more.weight": 8, "classes.weight": 16}
    rows = {row["layer"]: row for row in explain(config, Subject(build("mlp")[0]), surroundings)}
    assert rows["hidden.weight"]["bytes after"] == 16 * 24 // 8 + 4 * 2


def test_bits_for_a_layer_that_is_not_there() -> None:
    """A pattern that matches nothing is refused with what there is."""
    module, surroundings = build("mlp")
    with pytest.raises(InputError, match=r"share: bits_by_layer: 'hiden' matches no layer .*did you mean 'hidden'"):
        share(ShareConfig(bits_by_layer={"hiden": 2}), Subject(module), surroundings)


@pytest.mark.parametrize(
    "bad",
    [
        {"bits_by_layer": {"hidden": 9}},
        {"bits_by_layer": {"hidden": 2}, "on": "file"},
        {"bits_by_layer": {"hidden": 2}, "scope": "model"},
        {"bits_by_layer": {"hidden": 2}, "method": "hash", "ratio": 0.1},
        {"agreement": 0.8},
        {"agreement": 1.5, "on": "file"},
    ],
)
def test_configs_that_make_no_sense(bad: dict[str, Any]) -> None:
    """Bits out of range, and keys that another key leaves without meaning."""
    with pytest.raises(ValidationError):
        ShareConfig(**bad)
