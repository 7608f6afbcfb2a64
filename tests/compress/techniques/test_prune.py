"""Pruning reaches what was asked for, layer by layer or over all, and says what it cannot do and where."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.compress.nets import KINDS, MLP, Recurrent, Residual, build, context, features, images
from weighbridge.compress.graph.forward import outputs
from weighbridge.compress.graph.layers import weights
from weighbridge.compress.steps import Subject
from weighbridge.compress.techniques.prune import PruneConfig, explain, prune
from weighbridge.compress.techniques.prune.magnitude import GrowingMasks, sparsity_facts
from weighbridge.compress.techniques.prune.masks import Mask, pattern, smallest
from weighbridge.compress.techniques.prune.structured import cost, reestimate_batchnorm, width_facts
from weighbridge.compress.training.loop import fit
from weighbridge.compress.training.module_quality import evaluate, quality
from weighbridge.compress.training.settings import Finetune
from weighbridge.core.errors import InputError, InvariantError
from weighbridge.data import Split

TUNED = Finetune(epochs=1)


def mlp(seed: int = 1) -> MLP:
    """A small net with seeded weights."""
    torch.manual_seed(seed)
    return MLP()


def pruned(kind: str, **config: float | str | Finetune | list[str]) -> tuple[nn.Module, Subject, dict[str, Any]]:
    """(module before, subject after, facts) of one step on one kind of net."""
    module, context = build(kind)
    subject, facts = prune(PruneConfig(**config), Subject(copy.deepcopy(module)), context)
    return module, subject, facts


def zeros(module: nn.Module) -> tuple[int, int]:
    """Zeros over all matrices and kernels, and how many weights there are."""
    tensors = [weight.tensor for weight in weights(module)]
    return sum(int((tensor == 0).sum()) for tensor in tensors), sum(tensor.numel() for tensor in tensors)


@given(st.floats(0.01, 0.8), st.sampled_from(["global", "layer"]), st.integers(0, 5))
def test_masks_drop_exactly_the_smallest(sparsity: float, scope: Any, seed: int) -> None:
    """As many as were asked for, and no kept weight is smaller than a dropped one of the same ranking."""
    chosen = weights(mlp(seed))
    masks = smallest(chosen, sparsity, scope)
    groups = [chosen] if scope == "global" else [[weight] for weight in chosen]
    for group in groups:
        kept = torch.cat([masks[weight.name].flatten() for weight in group])
        values = torch.cat([weight.tensor.detach().abs().flatten() for weight in group])
        assert int((~kept).sum()) == round(sparsity * len(values))
        if bool((~kept).any()):
            assert values[~kept].max() <= values[kept].min()


def test_equal_weights_go_in_order() -> None:
    """Which of equal weights is dropped does not depend on the sort."""
    module = nn.Sequential(nn.Linear(8, 4, bias=False))
    nn.init.ones_(module[0].weight)
    kept = smallest(weights(module), 0.5, "layer")["0.weight"].flatten()
    assert kept.tolist() == [False] * 16 + [True] * 16


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.77, 0.99])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_what_is_dropped_is_what_a_stable_sort_puts_first(sparsity: float, dtype: torch.dtype) -> None:
    """With many equal magnitudes, zeros among them, of every type that weights have."""
    module = nn.Sequential(nn.Linear(50, 60, bias=False)).to(dtype)
    values = torch.randint(-4, 5, (60, 50), generator=torch.Generator().manual_seed(3)).float()
    module[0].weight.data.copy_(values)
    mask = smallest(weights(module), sparsity, "global")["0.weight"]
    order = np.argsort(values.abs().flatten().numpy(), kind="stable")[: round(sparsity * 3000)]
    assert set(torch.nonzero(~mask.flatten()).flatten().tolist()) == set(order.tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_magnitude_pruning_on_every_kind_of_model(kind: str) -> None:
    """Sparsity as asked, kept through fine-tuning by a mask for every weight."""
    _, subject, facts = pruned(kind, sparsity=0.6, scope="layer", finetune=TUNED)
    count, total = zeros(subject.module)
    assert count >= 0.6 * total - len(weights(subject.module))
    assert facts["sparsity"] == pytest.approx(count / total, abs=1e-6)
    masks = [item for item in subject.constraints if isinstance(item, Mask)]
    assert {mask.parameter for mask in masks} == {weight.name for weight in weights(subject.module)}
    assert all(mask.violation(subject.module) is None for mask in masks)


def test_layers_that_each_round_down_are_what_was_asked_for() -> None:
    """Sparsity by layer is rounded in each: 4 of 9 and 4 of 9 at 0.49 are all there is to ask, not 9 of 18."""
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    surroundings = context(module, Split({"features": np.eye(3, dtype=np.float32)}, np.arange(3)))
    _, facts = prune(PruneConfig(sparsity=0.49, scope="layer"), Subject(module), surroundings)
    assert facts["zeros"] == 8


@pytest.mark.parametrize("config", [{"sparsity": 0.5}, {"sparsity": 0.5, "scope": "layer"}, {"pattern": "2:4"}])
def test_fewer_zeros_than_were_asked_for_are_an_error(config: dict[str, Any]) -> None:
    """One weight that is not zero after all."""
    chosen = PruneConfig(**config)
    module, context = build("mlp")
    subject, facts = prune(chosen, Subject(module), context)
    assert sparsity_facts(chosen, subject)["sparsity"] == facts["sparsity"] == 0.5
    weight = module.hidden.weight.detach()
    weight[tuple(torch.nonzero(weight == 0)[0])] = 1.0
    with pytest.raises(InvariantError, match=r"sparsity is 0\.49\d+; (0\.5|2:4) was asked for"):
        sparsity_facts(chosen, subject)


def test_pruning_again_keeps_earlier_zeros() -> None:
    """A second step starts from the first one's masks and joins them."""
    module, context = build("mlp")
    first, _ = prune(PruneConfig(sparsity=0.5, layers=["hidden"]), Subject(module), context)
    was = (first.module.hidden.weight == 0).clone()
    second, _ = prune(PruneConfig(sparsity=0.8, scope="layer", keep=["classes"]), first, context)
    assert bool((second.module.hidden.weight[was] == 0).all())
    assert sum(mask.parameter == "hidden.weight" for mask in second.constraints) == 1  # type: ignore[attr-defined]


def test_the_cubic_schedule_rises_to_its_target_and_rests() -> None:
    """Sparsity grows with the steps, never falls, and is there after 60 % of them (Zhu and Gupta's formula)."""
    module = mlp()
    growing = GrowingMasks(weights(module), 0.8, "global", 50)
    found = []
    for _ in range(50):
        growing.before_step(module)
        growing.project(module)
        found.append(zeros(module)[0] / zeros(module)[1])
    assert found == sorted(found)
    assert found[15] == pytest.approx(0.8 * (1 - (1 - 15 / 30) ** 3), abs=0.01)
    assert found[30] == found[-1] == pytest.approx(0.8, abs=0.001)
    assert growing.violation(module) is None
    with torch.no_grad():
        module.hidden.weight.fill_(1)
    assert "pruned weights are not zero" in growing.violation(module)


def test_cubic_pruning_reaches_its_sparsity() -> None:
    """The whole step: masks are constraints afterwards, and the sparsity is exact."""
    _, subject, facts = pruned("mlp", sparsity=0.7, schedule="cubic", finetune=Finetune(epochs=3))
    assert facts["sparsity"] == pytest.approx(0.7, abs=1e-3)
    assert len(subject.constraints) == 3


def test_layers_keep_the_share_that_a_ranking_before_training_gives_them() -> None:
    """`global-once`: as many zeros in each layer as in one shot, though they are elsewhere after training."""
    _, at_once, before = pruned("mlp", sparsity=0.7)
    _, tuned, after = pruned("mlp", sparsity=0.7, schedule="cubic", scope="global-once", finetune=Finetune(epochs=3))
    _, _, moved = pruned("mlp", sparsity=0.7, schedule="cubic", finetune=Finetune(epochs=3))
    assert after["by_layer"] == before["by_layer"] != moved["by_layer"]
    places = [[weight.tensor != 0 for weight in weights(subject.module)] for subject in (at_once, tuned)]
    assert any(not torch.equal(first, second) for first, second in zip(*places, strict=True))


def test_channels_have_no_share_to_keep() -> None:
    """They are ranked before any training as it is."""
    with pytest.raises(ValueError, match="global-once is of zeros"):
        PruneConfig(method="structured", ratio=0.5, scope="global-once")


def test_a_pattern_keeps_n_of_m_along_the_inputs() -> None:
    """Of every four weights in a row the two largest stay."""
    module, subject, facts = pruned("mlp", pattern="2:4")
    for before, after in zip(weights(module), weights(subject.module), strict=True):
        groups = after.tensor.detach().reshape(-1, 4)
        assert ((groups != 0).sum(1) == 2).all()
        largest = before.tensor.detach().reshape(-1, 4).abs().topk(2).values.sum(1)
        assert torch.allclose(groups.abs().sum(1), largest)
    assert facts["sparsity"] == 0.5


def test_a_pattern_runs_over_input_channels_of_a_kernel() -> None:
    """For a convolution the row is one position of the kernel over the input channels."""
    layer = nn.Sequential(nn.Conv2d(8, 3, 3))
    mask = pattern(weights(layer), 1, 4)["0.weight"]
    assert (mask.reshape(3, 2, 4, 3, 3).sum(2) == 1).all()


def test_a_pattern_that_does_not_fit_names_the_layer() -> None:
    """One input channel has no groups of four."""
    with pytest.raises(InputError) as caught:
        pruned("residual", pattern="2:4")
    assert str(caught.value) == (
        "prune: pattern: stem.weight has 1 inputs, which is no multiple of 4 (add stem to keep)"
    )


def test_a_sparsity_that_empties_a_layer_names_it() -> None:
    """Pruning over all layers can take all of one."""
    module = mlp()
    with torch.no_grad():
        module.classes.weight.mul_(1e-6)
    with pytest.raises(InputError, match=r"leaves no weight of classes\.weight"):
        smallest(weights(module), 0.5, "global")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "needs exactly one of sparsity, pattern; found none"),
        ({"sparsity": 0.5, "pattern": "2:4"}, "found sparsity, pattern"),
        ({"sparsity": 1.0}, "less than 1"),
        ({"sparsity": 0.0}, "greater than 0"),
        ({"pattern": "4:4"}, "keeps everything"),
        ({"pattern": "two of four"}, "is not N:M"),
        ({"pattern": "2:4", "scope": "layer"}, "a pattern fixes"),
        ({"sparsity": 0.5, "ratio": 0.5}, "ratio does not apply to method magnitude"),
        ({"method": "structured", "sparsity": 0.5, "ratio": 0.5}, "sparsity does not apply to method structured"),
        ({"method": "structured"}, "needs exactly one of ratio, macs, params"),
        ({"method": "structured", "ratio": 0.5, "macs": 0.5}, "found ratio, macs"),
        ({"method": "structured", "macs": "2 apples"}, "does not measure count"),
        ({"sparsity": 0.5, "schedule": "cubic"}, "needs 'finetune'"),
        ({"sparsity": 0.5, "max_drop": 0.1}, "needs 'finetune'"),
        ({"method": "structured", "macs": 0.5, "max_drop": 0.1, "finetune": {}}, "give 'ratio'"),
        ({"sparsity": 0.5, "max_drop": 0.1, "schedule": "cubic", "finetune": {}}, "leave out 'schedule'"),
    ],
)
def test_configs_that_make_no_sense_are_refused(config: dict[str, Any], said: str) -> None:
    """Each with what is wrong."""
    with pytest.raises(ValueError, match=said):
        PruneConfig(**config)


def test_a_count_may_be_written_with_a_unit() -> None:
    """`2k` parameters."""
    assert PruneConfig(method="structured", params="2k").params == 2000


@pytest.mark.parametrize("kind", ["residual", "separable", "mlp", "transformer"])
@pytest.mark.parametrize("importance", ["l1", "l2", "taylor"])
def test_channels_go_from_every_kind_of_model(kind: str, importance: str) -> None:
    """MACs and parameters fall, widths are multiples, the output layer keeps its width, and training goes on."""
    module, subject, facts = pruned(
        kind, method="structured", ratio=0.5, round_to=4, importance=importance, finetune=TUNED
    )
    assert facts["macs"][1] < facts["macs"][0]
    assert facts["params"][1] == sum(parameter.numel() for parameter in subject.module.parameters())
    assert facts["channels"]
    assert all(now % 4 == 0 and now < was for was, now in facts["channels"].values())
    assert subject.module.classes.out_features == module.classes.out_features
    assert all(parameter.grad is None or torch.isfinite(parameter.grad).all() for parameter in module.parameters())


def test_a_residual_sum_loses_the_same_channels_on_both_sides() -> None:
    """Stem and second convolution are added, so they keep equal widths."""
    _, subject, _ = pruned("residual", method="structured", ratio=0.5, round_to=2)
    assert subject.module.stem.out_channels == subject.module.two.out_channels == 4


class Concatenated(nn.Module):
    """Two branches of different width, joined."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(1, 12, 1)
        self.join, self.classes = nn.Conv2d(20, 8, 1), nn.Linear(8, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        joined = torch.relu(self.join(torch.cat([self.left(image), self.right(image)], 1)))
        return self.classes(joined.mean((2, 3)))


def test_concatenated_branches_are_followed() -> None:
    """What is joined has as many inputs as both branches have outputs; grouping and flattening likewise."""
    module = Concatenated()
    config = PruneConfig(method="structured", ratio=0.5, round_to=2)
    subject, _ = prune(config, Subject(module), context(module, images()))
    assert subject.module.join.in_channels == subject.module.left.out_channels + subject.module.right.out_channels
    assert (subject.module.left.out_channels, subject.module.right.out_channels) == (4, 6)


class Grouped(nn.Module):
    """A grouped convolution and a group normalisation, then a flattened map."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.grouped = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1, groups=2)
        self.norm, self.classes = nn.GroupNorm(4, 16), nn.Linear(16 * 64, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.classes(torch.relu(self.norm(self.grouped(self.stem(image)))).flatten(1))


def test_groups_lose_the_same_channels() -> None:
    """Every part of a grouped layer stays equally wide, so that the layer still divides."""
    module = Grouped()
    config = PruneConfig(method="structured", ratio=0.5, round_to=4)
    subject, _ = prune(config, Subject(module), context(module, images()))
    assert subject.module.grouped.out_channels == 8
    assert subject.module.classes.in_features == 8 * 64


@pytest.mark.parametrize("budget", [{"macs": 0.5}, {"params": 0.6}])
def test_budgets_are_met_and_used(budget: dict[str, float]) -> None:
    """MACs or parameters end within the budget, and not far below it."""
    _, _, facts = pruned("mlp", method="structured", round_to=1, **budget)
    ((name, share),) = budget.items()
    assert 0.8 * share <= facts[name][1] / facts[name][0] <= share


def test_a_budget_out_of_reach_or_met_already_is_refused() -> None:
    """With what the model has, or what is left at least."""
    with pytest.raises(InputError, match="10 parameters cannot be reached: at least"):
        pruned("mlp", method="structured", round_to=8, params=10)
    with pytest.raises(InputError, match="within 1000000 already"):
        pruned("mlp", method="structured", params="1M")


def test_channels_are_ranked_over_all_layers_where_asked() -> None:
    """A layer of tiny weights loses more than others, but never all."""
    module = mlp()
    with torch.no_grad():
        module.more.weight[:20] *= 1e-3
        module.more.bias[:20] *= 1e-3
        module.classes.weight[:, :20] *= 1e-3
    _, given = build("mlp")
    config = PruneConfig(method="structured", ratio=0.4, scope="global", round_to=1)
    subject, _ = prune(config, Subject(module), given)
    assert 0 < subject.module.more.out_features < subject.module.hidden.out_features


def test_a_normalisation_s_scale_ranks_channels() -> None:
    """Channels with a scale of zero go first; a layer without normalisation has no scale and is named."""
    torch.manual_seed(1)
    module = Residual()
    with torch.no_grad():
        module.one_norm.weight.fill_(1.0)
        module.one_norm.weight[[1, 2, 5, 6]] = 0.0
    kept = module.one.weight.detach()[[0, 3, 4, 7]]
    config = PruneConfig(
        method="structured", ratio=0.5, round_to=4, importance="bn", layers=["one"], reestimate_bn=False
    )
    subject, _ = prune(config, Subject(module), context(module, images()))
    assert torch.equal(subject.module.one.weight, kept)
    with pytest.raises(InputError, match="no batch normalisation follows 'hidden'"):
        pruned("mlp", method="structured", ratio=0.5, importance="bn")


def test_recurrent_layers_lose_inputs_but_no_hidden_units() -> None:
    """A net of nothing else cannot be pruned by channels, and says which layers are in the way."""
    with pytest.raises(InputError) as caught:
        pruned("recurrent", method="structured", ratio=0.5)
    assert "lstm (LSTM), gru (GRU)" in str(caught.value)
    with pytest.raises(InputError, match="'gru' is GRU, whose hidden units are not pruned"):
        pruned("recurrent", method="structured", ratio=0.5, layers=["gru"])


def test_attention_keeps_its_inner_widths_and_says_so() -> None:
    """What is pruned around it leaves a note; a part of it that is asked for is an error that names it."""
    _, _, facts = pruned("transformer", method="structured", ratio=0.5, round_to=4)
    assert facts["left_alone"] == {
        "encoder.layers.0.self_attn": "MultiheadAttention: heads and inner widths are not pruned"
    }
    inner = "encoder.layers.0.self_attn.out_proj"
    with pytest.raises(InputError, match=f"'{inner}' belongs to 'encoder.layers.0.self_attn', which is Multihead"):
        pruned("transformer", method="structured", ratio=0.5, layers=[inner, "encoder.layers.0.linear1"])
    with pytest.raises(InputError, match=r"'encoder\.layers\.0\.self_attn' is MultiheadAttention, whose heads and"):
        pruned("transformer", method="structured", ratio=0.5, layers=["encoder.*"])


class Embedded(nn.Module):
    """A linear layer before a recurrent net."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.rest = nn.Linear(5, 8), Recurrent()
        self.rest.lstm = nn.LSTM(8, 8, batch_first=True, bidirectional=True)
        self.rest.gru = nn.GRU(16, 8, batch_first=True)

    def forward(self, sequence: torch.Tensor) -> torch.Tensor:
        return self.rest(torch.relu(self.embed(sequence)))


def test_a_layer_before_a_recurrent_one_is_pruned() -> None:
    """The recurrent layer's input matrices, of both directions, lose the same columns."""
    _, given = build("recurrent")
    module = Embedded()
    config = PruneConfig(method="structured", ratio=0.5, round_to=4)
    subject, facts = prune(config, Subject(module), given)
    assert facts["channels"] == {"embed": [8, 4]}
    assert facts["left_alone"] == {
        "rest.lstm": "LSTM: hidden units are not pruned",
        "rest.gru": "GRU: hidden units are not pruned",
    }
    assert subject.module.rest.lstm.weight_ih_l0_reverse.shape == (32, 4)
    assert module.rest.lstm.forward.__name__ == "forward"
    assert "forward" not in vars(subject.module.rest.lstm)


def test_patterns_that_match_nothing_get_a_suggestion() -> None:
    """For layers to prune and layers to keep, in both methods."""
    for config in ({"sparsity": 0.5}, {"method": "structured", "ratio": 0.5}):
        for key in ("layers", "keep"):
            with pytest.raises(InputError, match="'hiden' matches no layer \\(did you mean 'hidden'"):
                pruned("mlp", **config, **{key: ["hiden"]})


def test_keeping_everything_leaves_nothing_to_do() -> None:
    """An error rather than a step that did nothing."""
    with pytest.raises(InputError, match="no layer's channels can be pruned"):
        pruned("mlp", method="structured", ratio=0.5, keep=["hidden", "more"])
    with pytest.raises(InputError, match="no layer is left"):
        pruned("mlp", sparsity=0.5, keep=["*"])


def test_layers_narrower_than_the_multiple_stay_whole() -> None:
    """Rounding never empties a layer; where that leaves nothing to prune, the step is an error."""
    with pytest.raises(InvariantError, match="MACs went from"):
        pruned("mlp", method="structured", ratio=0.5, round_to=64)


def test_running_statistics_are_taken_anew() -> None:
    """They become the plain mean and variance over the examples, and the layer's own momentum comes back."""
    module, split = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64)).eval(), images()
    with torch.no_grad():
        module[1].running_mean.fill_(9.0)
    assert reestimate_batchnorm(module, split) == 1
    flat = split.inputs["image"].reshape(len(split), -1)
    # Batches of 64 and 32 count equally in a plain mean of batches.
    expected = (flat[:64].mean(0) + flat[64:].mean(0)) / 2
    np.testing.assert_allclose(module[1].running_mean.numpy(), expected, atol=1e-5)
    assert module[1].momentum == 0.1
    assert not module[1].training
    assert reestimate_batchnorm(mlp(), split) == 0


@pytest.mark.parametrize(
    "config", [{"sparsity": 0.95, "scope": "layer"}, {"method": "structured", "ratio": 0.9, "round_to": 2}]
)
def test_pruning_in_rounds_stops_before_the_budget_breaks(config: dict[str, Any]) -> None:
    """The last round within the budget is kept, the one beyond is not; the held-out part is not trained on."""
    module, given = build("residual")
    fit(module, given.data.train, given.train.model_copy(update={"epochs": 12}), seed=1)
    step = PruneConfig(**config, max_drop=0.12, rounds=6, validation=0.3, finetune=Finetune(epochs=2))
    _, facts = prune(step, Subject(copy.deepcopy(module)), given)
    kept = [line for line in facts["rounds"] if line["kept"]]
    assert kept
    assert all(line["drop"] <= 0.12 for line in kept)
    assert facts["rounds"][: len(kept)] == kept
    assert len(facts["rounds"]) - len(kept) <= 1
    assert facts["validation_examples"] == round(0.3 * len(given.data.train))
    if config.get("sparsity"):
        assert facts["sparsity"] == pytest.approx(kept[-1]["amount"], abs=0.02)


def test_a_first_round_over_the_budget_is_an_error() -> None:
    """Nothing within the budget could be done: the error says what the round lost."""
    module, given = build("mlp")
    fit(module, given.data.train, given.train.model_copy(update={"epochs": 12}), seed=1)
    with torch.no_grad():  # the same function, but the first layer's weights are the smallest by far
        module.hidden.weight.mul_(1e-3)
        module.hidden.bias.mul_(1e-3)
        module.more.weight.mul_(1e3)
    step = PruneConfig(sparsity=0.7, max_drop=0.01, rounds=2, validation=0.3, finetune=Finetune(epochs=1, lr=1e-7))
    with pytest.raises(InvariantError, match=r"the first round \(0\.35\) loses"):
        prune(step, Subject(module), given)


def test_explaining_says_what_goes_without_training() -> None:
    """Rows for every weight, before and after, and the module stays as it is."""
    module, given = build("mlp")
    before = copy.deepcopy(module.state_dict())
    rows = {row["layer"]: row for row in explain(PruneConfig(method="structured", ratio=0.5), Subject(module), given)}
    assert rows["hidden.weight"] == {
        "layer": "hidden.weight", "shape": "24x16", "params": 384, "params after": 256, "macs": 384, "macs after": 256,
        "bytes": 1536, "bytes after": 1024,
    }  # fmt: skip
    sparse = explain(PruneConfig(sparsity=0.75, scope="layer"), Subject(module), given)
    assert sparse[0]["params after"] == 96
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_costs_count_what_runs() -> None:
    """MACs of one example and all parameters."""
    module, given = build("mlp")
    assert cost(module, given.data.calibration) == (16 * 24 + 24 * 24 + 24 * 3, 16 * 24 + 24 * 24 + 24 * 3 + 51)


def test_half_of_the_weights_are_not_needed_on_a_learnt_task() -> None:
    """What pruning is for: 50 % sparsity with a little training costs next to nothing."""
    module, given = build("mlp")
    fit(module, given.data.train, given.train.model_copy(update={"epochs": 12}), seed=1)
    before = quality(evaluate(module, given.data.test), given.data.test.labels)
    subject, _ = prune(PruneConfig(sparsity=0.5, finetune=Finetune(epochs=3)), Subject(module), given)
    assert quality(evaluate(subject.module, given.data.test), given.data.test.labels) >= before - 0.03
    assert outputs(subject.module, {"features": torch.zeros(1, 16)})[0].shape == (1, 3)


def test_channels_that_hardly_fall_are_an_error() -> None:
    """Half of the channels were asked for and one in hundreds went: said, with numbers, and no pass."""
    before, after = nn.Sequential(nn.Linear(400, 100)), nn.Sequential(nn.Linear(400, 99))
    split = Split({"input": np.zeros((4, 400), np.float32)}, np.arange(4) % 2)
    with pytest.raises(InvariantError, match=r"removed 1.00% of the parameters; ratio 0.5 asks for about 75%"):
        width_facts(before, after, split, 0.5)
    assert width_facts(before, after, split)["params"] == [40100, 39699]


def test_a_grouped_transposed_convolution_stays_whole_and_the_rest_is_pruned() -> None:
    """torch-pruning has no form of it: its channels are left alone, and nothing ends in a traceback."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
        nn.ConvTranspose2d(16, 16, 3, padding=1, groups=4), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3),
    ).eval()  # fmt: skip
    given = context(module, images())
    subject, facts = prune(PruneConfig(method="structured", ratio=0.5, round_to=4), Subject(module), given)
    assert facts["channels"] == {"0": [16, 8]}
    assert subject.module[4].in_channels == 16


class Headed(nn.Module):
    """Attention that divides its width by its own number of heads, and two dense layers behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Linear(16, 24)
        self.query, self.key, self.value, self.out = (nn.Linear(24, 24) for _ in range(4))
        self.wide, self.back, self.head = nn.Linear(24, 64), nn.Linear(64, 24), nn.Linear(24, 3)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(n, 16) → (n, 3)."""
        x = self.into(features)[:, None].repeat(1, 3, 1)
        q, k, v = (layer(x).reshape(-1, 3, 4, 6).transpose(1, 2) for layer in (self.query, self.key, self.value))
        mixed = ((q @ k.transpose(2, 3)).softmax(-1) @ v).transpose(1, 2)
        x = x + self.out(mixed.reshape(-1, 3, 24))
        return self.head((x + self.back(torch.relu(self.wide(x)))).mean(1))


def test_layers_that_take_no_fewer_channels_stay_whole_and_the_rest_is_pruned() -> None:
    """Heads of a fixed width stay, dense layers get narrower; the facts say which and why."""
    torch.manual_seed(0)
    module = Headed()
    given = context(module, features())
    subject, facts = prune(PruneConfig(method="structured", ratio=0.5), Subject(module), given)
    assert facts["channels"] == {"wide": [64, 32], **{key: [24, 16] for key in ("into", "out", "back")}}
    assert any("value" in names for names in facts["not_followed"])
    assert all("shape" in reason for reason in facts["not_followed"].values())
    assert "unfollowed" not in subject.notes
    with pytest.raises(InputError, match=r"channels of .*value.* cannot be followed through Headed"):
        prune(
            PruneConfig(method="structured", ratio=0.5, layers=["query", "key", "value", "wide"]),
            Subject(module),
            given,
        )


def test_channels_of_frozen_layers_go_and_the_layers_stay_frozen() -> None:
    """What does not train is pruned like the rest, and trains no more afterwards than before."""
    module, given = build("mlp")
    for parameter in module.hidden.parameters():
        parameter.requires_grad = False
    subject, facts = prune(PruneConfig(method="structured", ratio=0.5), Subject(module), given)
    assert set(facts["channels"]) == {"hidden", "more"}
    assert [name for name, item in subject.module.named_parameters() if not item.requires_grad] == [
        "hidden.weight",
        "hidden.bias",
    ]
    assert not module.hidden.weight.requires_grad
    assert module.more.weight.requires_grad
