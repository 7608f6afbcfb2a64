"""Factorizing: exact at full rank, best at lower ones, on every kind of net, and every refusal."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from tests.compress.nets import KINDS, build, context, features, images
from weighbridge.compress.graph.fold import fold_batchnorm
from weighbridge.compress.steps import Step, Subject
from weighbridge.compress.techniques.factorize import explain, factorize, refuses
from weighbridge.compress.techniques.factorize.config import FactorizeConfig
from weighbridge.compress.techniques.factorize.lowrank import Ranks, energy_ranks, factors, full_ranks, spectra, tucker2
from weighbridge.compress.techniques.prune.config import PruneConfig
from weighbridge.compress.techniques.share import ShareConfig
from weighbridge.compress.training.loop import fit
from weighbridge.compress.training.module_quality import evaluate, quality
from weighbridge.compress.training.objective import batch
from weighbridge.compress.training.settings import Finetune
from weighbridge.core.errors import InputError, InvariantError

LAYERS = {
    "linear": (lambda: nn.Linear(9, 7), (2, 9)),
    "linear without bias": (lambda: nn.Linear(5, 8, bias=False), (2, 3, 5)),
    "1d": (lambda: nn.Conv1d(4, 6, 3, padding=1), (2, 4, 9)),
    "2d": (lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1, dilation=2), (2, 4, 9, 9)),
    "2d same": (lambda: nn.Conv2d(4, 6, (1, 3), padding="same", padding_mode="circular"), (2, 4, 7, 7)),
    "2d 1x1": (lambda: nn.Conv2d(4, 6, 1, bias=False), (2, 4, 7, 7)),
    "3d": (lambda: nn.Conv3d(3, 5, 2), (2, 3, 4, 4, 4)),
}


@pytest.mark.parametrize("form", ["svd", "tucker2"])
@pytest.mark.parametrize("kind", LAYERS)
def test_exact_at_full_rank(kind: str, form: str) -> None:
    """At full rank the chain computes what the layer did, whatever its stride, padding or dilation."""
    torch.manual_seed(0)
    make, shape = LAYERS[kind]
    layer, example = make(), torch.randn(shape)
    full = full_ranks(layer, form)
    chain = factors(layer, Ranks("svd" if len(full) == 1 else "tucker2", full))
    torch.testing.assert_close(chain(example), layer(example), rtol=1e-4, atol=1e-5)


def product(chain: nn.Sequential) -> torch.Tensor:
    """The matrix that a chain of two linear layers stands for."""
    return (chain.expand.weight @ chain.reduce.weight).detach()


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 9), st.integers(2, 9), st.data())
def test_truncation_error_is_the_tail(rows: int, columns: int, data: st.DataObject) -> None:
    """The squared error of a linear layer equals the squared singular values left out (Eckart and Young)."""
    rank = data.draw(st.integers(1, min(rows, columns)))
    torch.manual_seed(rows * 10 + columns)
    layer = nn.Linear(columns, rows)
    error = float((product(factors(layer, Ranks("svd", (rank,)))) - layer.weight.detach()).square().sum())
    tail = float((spectra(layer, "svd")[0][rank:] ** 2).sum())
    assert error == pytest.approx(tail, abs=1e-5)


def test_tucker_finds_a_kernel_of_low_rank() -> None:
    """A kernel made from ranks (2, 3) is found back exactly; below them the iteration is no worse than HOSVD."""
    torch.manual_seed(0)
    core, into, out = torch.randn(3, 2, 3, 3), torch.randn(6, 2), torch.randn(8, 3)
    kernel = torch.einsum("os,srxy,ir->oixy", out, core, into)

    def rebuilt(first: int, second: int) -> torch.Tensor:
        found, left, right = tucker2(kernel, first, second)
        return torch.einsum("os,srxy,ir->oixy", right, found, left).float()

    torch.testing.assert_close(rebuilt(2, 3), kernel, rtol=1e-4, atol=1e-4)
    u = torch.linalg.svd(kernel.transpose(0, 1).flatten(1))[0][:, :1]
    v = torch.linalg.svd(kernel.flatten(1))[0][:, :2]
    hosvd = torch.einsum("ov,pv,pjxy,ju,iu->oixy", v, v, kernel, u, u)
    assert (rebuilt(1, 2) - kernel).norm() <= (hosvd - kernel).norm() + 1e-5


def test_energy_ranks() -> None:
    """The smallest rank whose squared singular values reach the part asked for."""
    values = (torch.tensor([3.0, 2.0, 1.0]), torch.tensor([4.0, 0.0]))
    assert energy_ranks(values, 9 / 14) == (1, 1)
    assert energy_ranks(values, 0.7) == (2, 1)
    assert energy_ranks(values, 0.99) == (3, 1)


RULES = {
    "residual": {"ratio": 0.3},
    "separable": {"rank": 2},
    "mlp": {"energy": 0.5},
    "recurrent": {"rank": 1},
    "transformer": {"ratio": 0.25},
}


@pytest.mark.parametrize("method", ["svd", "tucker2"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_net(kind: str, method: str) -> None:
    """Parameters fall as reported, the net still runs in eval and in training, and the input is untouched."""
    module, surroundings = build(kind)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    config = FactorizeConfig(method=method, finetune=Finetune(epochs=1), **RULES[kind])
    found, facts = factorize(config, Subject(module), surroundings)
    after = sum(parameter.numel() for parameter in found.module.parameters())
    assert facts["params"] == {"before": sum(p.numel() for p in module.parameters()), "after": after}
    saved = sum(item["params"]["before"] - item["params"]["after"] for item in facts["layers"].values())
    assert facts["params"]["before"] - after == saved > 0
    assert all(item["macs"]["after"] < item["macs"]["before"] for item in facts["layers"].values())
    assert np.isfinite(evaluate(found.module, surroundings.data.train)).all()
    assert not found.module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_transformer_leaves_the_fused_path() -> None:
    """A transformer block with factorized layers runs in eval mode, where torch would read weights directly."""
    module, surroundings = build("transformer")
    found, facts = factorize(FactorizeConfig(ratio=0.25), Subject(module), surroundings)
    assert set(facts["layers"]) >= {"encoder.layers.0.linear1", "encoder.layers.0.linear2"}
    assert not any("self_attn" in name for name in facts["layers"])
    inputs, _ = batch(surroundings.data.train, slice(0, 4))
    with torch.inference_mode():
        fused = found.module(inputs["sequence"])
    found.module.train()
    torch.testing.assert_close(fused, found.module(inputs["sequence"]).detach(), rtol=1e-4, atol=1e-5)


def test_near_full_energy_keeps_the_answers() -> None:
    """A layer of low rank, factorized by energy, gives the same answers with fewer parameters."""
    module, surroundings = build("mlp")
    with torch.no_grad():
        module.more.weight.copy_(torch.randn(24, 3) @ torch.randn(3, 24))
    found, facts = factorize(FactorizeConfig(energy=0.999999, layers=["more"]), Subject(module), surroundings)
    assert facts["layers"]["more"]["ranks"] == [3]
    assert facts["layers"]["more"]["error"] < 1e-3
    expected, got = (evaluate(net, surroundings.data.train) for net in (module, found.module))
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("method", ["svd", "tucker2"])
@pytest.mark.parametrize("amount", [0.6, 1_000])
def test_budget_is_met_and_used(method: str, amount: float) -> None:
    """A budget of parameters is kept, and one more rank step would not fit."""
    module, surroundings = build("residual")
    params = sum(parameter.numel() for parameter in module.parameters())
    budget = amount * params if amount < 1 else amount
    found, facts = factorize(FactorizeConfig(method=method, params=amount), Subject(module), surroundings)
    after = sum(parameter.numel() for parameter in found.module.parameters())
    assert after == facts["params"]["after"] <= budget
    assert after > 0.6 * budget


def test_finetuning_recovers_accuracy() -> None:
    """Training after factorizing wins back what a small rank had cost."""
    module, surroundings = build("mlp")
    data = surroundings.data.train
    fit(module, data, surroundings.train.model_copy(update={"epochs": 6}), seed=1)
    config = FactorizeConfig(rank=1, keep=["classes"])
    plain, _ = factorize(config, Subject(module), surroundings)
    tuned, facts = factorize(config.model_copy(update={"finetune": Finetune(epochs=20)}), Subject(module), surroundings)
    assert quality(evaluate(tuned.module, data), data.labels) > quality(evaluate(plain.module, data), data.labels)
    assert facts["losses"][-1] < facts["losses"][0]


def test_normalisation_after_a_chain_still_folds() -> None:
    """A normalisation after a factorized convolution folds into the last of the chain."""
    module, surroundings = build("residual")
    fit(module, surroundings.data.train, surroundings.train, seed=1)
    found, _ = factorize(FactorizeConfig(ratio=0.3, layers=["one"]), Subject(module), surroundings)
    folded = fold_batchnorm(found.module, batch(surroundings.data.train, slice(0, 2))[0])
    assert isinstance(folded.one_norm, nn.Identity)
    assert folded.one.expand.bias is not None


def test_same_bits_twice() -> None:
    """Factorizing twice gives the same bits."""
    one, two = (
        factorize(FactorizeConfig(method="tucker2", ratio=0.4), Subject(module), surroundings)[0].module.state_dict()
        for module, surroundings in (build("residual"), build("residual"))
    )
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("mlp", {"rank": 17, "layers": ["hidden"]}, "rank 17 is above the full rank 16 of layer 'hidden'"),
        ("mlp", {"rank": 25}, "rank 25 is above the full rank 24 of layer 'more'"),
        ("mlp", {"rank": 1, "layers": ["hiddn"]}, "'hiddn' matches no layer .*did you mean 'hidden'"),
        ("mlp", {"rank": 1, "keep": ["nothing*"]}, r"factorize: keep: 'nothing\*' matches no layer"),
        ("separable", {"rank": 1, "layers": ["depthwise"]}, "'depthwise' is a convolution of 8 groups"),
        ("recurrent", {"rank": 1, "layers": ["lstm"]}, "'lstm' is LSTM; linear layers and plain convolutions"),
        (
            "transformer",
            {"rank": 1, "layers": ["encoder.layers.0.self_attn"]},
            "is MultiheadAttention; linear layers and plain",
        ),
        (
            "transformer",
            {"rank": 1, "layers": ["*.out_proj"]},
            r"'encoder\.layers\.0\.self_attn\.out_proj' belongs to nn\.MultiheadAttention",
        ),
        ("mlp", {"params": 60}, "even at rank 1 the model has .* parameters, more than 60"),
    ],
)
def test_what_cannot_be_done_is_named(kind: str, values: dict[str, Any], message: str) -> None:
    """Ranks above full, patterns without a match, layers of other kinds and impossible budgets are one error."""
    module, surroundings = build(kind)
    with pytest.raises(InputError, match=message):
        factorize(FactorizeConfig(**values), Subject(module), surroundings)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ratio": 0.99}, "no layer would have fewer parameters"),
        ({"ratio": 0.9, "layers": ["more"]}, "layer 'more' would not get smaller at rank 22"),
        ({"params": 100_000}, "within 100000: factorizing changes nothing"),
    ],
)
def test_changing_nothing_is_an_error(values: dict[str, Any], message: str) -> None:
    """A factorization that would not make the model smaller is refused."""
    module, surroundings = build("mlp")
    with pytest.raises(InvariantError, match=message):
        factorize(FactorizeConfig(**values), Subject(module), surroundings)


def test_model_that_reads_a_replaced_weight() -> None:
    """A model that uses a layer's weight outside the layer is an error that names it, not a crash."""

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.into, self.classes = nn.Linear(16, 16), nn.Linear(16, 3)

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return self.classes(nn.functional.linear(self.into(features), self.into.weight.t()))

    module = Tied().eval()
    with pytest.raises(InputError, match=r"reads attributes of a layer that was replaced .*one of: into"):
        factorize(FactorizeConfig(rank=1, keep=["classes"]), Subject(module), context(module, features()))


def test_layer_that_is_not_called() -> None:
    """A layer that the data never reaches is named where it is asked for, and left out otherwise."""
    module, surroundings = build("mlp")
    module.unused = nn.Linear(64, 64)
    with pytest.raises(InputError, match="'unused' is not called on the data"):
        factorize(FactorizeConfig(rank=1, layers=["unused"]), Subject(module), surroundings)
    _, facts = factorize(FactorizeConfig(rank=1), Subject(module), surroundings)
    assert "unused" not in facts["layers"]


def test_after_masks_and_codebooks_it_is_refused() -> None:
    """Factorizing after magnitude pruning or sharing would undo them; after structured pruning it is welcome."""
    masks = Step("prune", PruneConfig(sparsity=0.5), "here")
    channels = Step("prune", PruneConfig(method="structured", ratio=0.5), "here")
    config = FactorizeConfig(rank=1)
    assert "put factorize before prune" in refuses(config, [masks])
    assert "put factorize before share" in refuses(config, [Step("share", ShareConfig(), "here")])
    assert refuses(config, [channels]) is None


@pytest.mark.parametrize(
    "values",
    [{}, {"ratio": 0.5, "rank": 2}, {"ratio": 1.0}, {"energy": 0.0}, {"rank": 0}, {"params": 0}, {"ranks": 3}],
)
def test_config_out_of_range(values: dict[str, float]) -> None:
    """Exactly one rule for ranks, and in its range."""
    with pytest.raises(ValidationError):
        FactorizeConfig(**values)


def test_explain_rows_equal_what_happens() -> None:
    """The table's figures are those of the factorized model, MACs of a strided convolution too."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, stride=2, padding=1),
        nn.Flatten(),
        nn.Linear(192, 3),
    ).eval()
    surroundings = context(module, images())
    config = FactorizeConfig(method="tucker2", ratio=0.5)
    rows = explain(config, Subject(copy.deepcopy(module)), surroundings)
    found, facts = factorize(config, Subject(module), surroundings)
    assert [row["layer"] for row in rows] == list(facts["layers"]) == ["0", "2", "4"]
    chain = found.module[2]
    assert rows[1]["params after"] == sum(parameter.numel() for parameter in chain.parameters())
    assert rows[1]["macs"] == 16 * 8 * 12 * 9
    assert rows[1]["macs after"] == 64 * 8 * 4 + 16 * (4 * 6 * 9 + 6 * 12)
    assert rows[1]["bytes"] == 4 * (8 * 12 * 9 + 12)
