"""The one loop: it learns, repeats itself to the bit, keeps constraints, and stops where a loss is no number."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from tests.compress.nets import MLP, Residual, features, images
from weighbridge.compress.graph.forward import outputs, takes_keywords
from weighbridge.compress.techniques.prune.masks import Mask
from weighbridge.compress.training.loop import History, fit
from weighbridge.compress.training.module_quality import check_module, evaluate, predict, quality
from weighbridge.compress.training.objective import deterministic
from weighbridge.compress.training.optimizing import one_cycle
from weighbridge.compress.training.settings import Finetune
from weighbridge.core.documents import TrainSection
from weighbridge.core.errors import InputError, InvariantError
from weighbridge.data import Split

SETTINGS = TrainSection(epochs=2, batch_size=32, lr=0.01)


def mlp(seed: int = 1) -> MLP:
    """A small net with seeded weights."""
    torch.manual_seed(seed)
    return MLP()


def same(left: MLP, right: MLP) -> bool:
    """Whether two modules hold the same bits."""
    pairs = zip(left.state_dict().values(), right.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_training_learns_and_leaves_eval_mode() -> None:
    """The loss falls, the answers are better than chance, and the module is in eval mode afterwards."""
    module, split = mlp(), features()
    history = fit(module, split, SETTINGS.model_copy(update={"epochs": 6}), seed=3)
    assert history.losses[-1] < history.losses[0]
    assert history.steps == 6 * 3
    assert quality(evaluate(module, split), split.labels) > 0.8
    assert not module.training


def test_the_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    """Training is a function of module, data, settings and seed."""
    modules = [mlp() for _ in range(3)]
    for module, seed in zip(modules, (3, 3, 4), strict=True):
        torch.rand(seed)  # whatever the process drew before does not matter
        fit(module, features(), SETTINGS, seed=seed)
    assert same(modules[0], modules[1])
    assert not same(modules[0], modules[2])


def test_the_process_gets_its_own_state_back() -> None:
    """Threads, deterministic mode and the random state are as they were."""
    before = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.get_rng_state())
    with deterministic(9):
        assert torch.get_num_threads() == 1
        assert torch.are_deterministic_algorithms_enabled()
        torch.rand(3)
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before[:2]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_a_mask_survives_training() -> None:
    """Weights under a mask are zero after every step, those beside it move."""
    module = mlp()
    kept = torch.rand(module.more.weight.shape, generator=torch.Generator().manual_seed(0)) > 0.5
    mask = Mask("more.weight", kept)
    mask.project(module)
    before = module.more.weight.detach().clone()
    fit(module, features(), SETTINGS.model_copy(update={"weight_decay": 0.1}), seed=3, constraints=[mask])
    assert mask.violation(module) is None
    assert not torch.equal(module.more.weight, before)


def test_a_diverging_loss_stops_with_epoch_and_step() -> None:
    """NaN is one clear error that names stage, epoch and step."""
    calls = []

    def loss(module: nn.Module, inputs: dict[str, torch.Tensor], labels: object, indices: object) -> Any:
        calls.append(1)
        value = outputs(module, inputs)[0].mean()
        return value * (float("nan") if len(calls) == 5 else 1.0)

    with pytest.raises(InvariantError) as caught:
        fit(mlp(), features(), SETTINGS, seed=3, loss=loss, stage="prune")
    assert str(caught.value) == "prune: training diverged: the loss is nan at epoch 2, step 5 of 6 (lower lr)"


def test_a_loss_of_ones_own_sees_the_indices_of_its_examples() -> None:
    """Distillation can look answers up: indices point into the split."""
    split, seen = features(), []

    def loss(
        module: nn.Module, inputs: dict[str, torch.Tensor], labels: torch.Tensor, indices: torch.Tensor
    ) -> torch.Tensor:
        assert torch.equal(labels, torch.from_numpy(split.labels)[indices].long())
        assert torch.equal(inputs["features"], torch.from_numpy(split.inputs["features"])[indices])
        seen.extend(indices.tolist())
        return outputs(module, inputs)[0].square().mean()

    fit(mlp(), split, SETTINGS.model_copy(update={"epochs": 1}), seed=3, loss=loss)
    assert sorted(seen) == list(range(len(split)))


def test_no_batch_has_a_single_example() -> None:
    """97 examples in batches of 32 do not end in a batch of one, on which normalisation fails."""
    split = images(97)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    fit(module, split, SETTINGS.model_copy(update={"epochs": 1}), seed=3)


def test_epochs_are_reported_and_observed() -> None:
    """Progress and the observer see every epoch, the observer a module in eval mode."""
    seen, reported = [], []
    fit(
        mlp(),
        features(),
        SETTINGS,
        seed=3,
        on_epoch=lambda epoch, module: seen.append((epoch, module.training)),
        progress=lambda stage, done, total, detail="": reported.append((stage, done, total)),
    )
    assert seen == [(1, False), (2, False)]
    assert reported == [("train", 1, 2), ("train", 2, 2)]


def test_an_empty_split_is_refused() -> None:
    """There is nothing to train or evaluate on."""
    empty = features().take(slice(0, 0))
    with pytest.raises(InputError, match="no examples to train on"):
        fit(mlp(), empty, SETTINGS, seed=3)
    with pytest.raises(InputError, match="no examples to evaluate on"):
        evaluate(mlp(), empty)


@given(st.integers(1, 500))
def test_the_one_cycle_stays_within_its_peak(total: int) -> None:
    """From the first step to the last the factor is above zero and at most one, and it ends far below."""
    factors = [one_cycle(step, total) for step in range(total)]
    assert all(0 < factor <= 1 for factor in factors)
    if total >= 20:
        assert factors[-1] < 0.05
        assert max(factors) > 0.9


def test_finetuning_takes_what_it_does_not_set_from_train() -> None:
    """Set values win, others are the section's."""
    merged = Finetune(epochs=3).settings(TrainSection(epochs=8, lr=0.02, batch_size=16))
    assert (merged.epochs, merged.lr, merged.batch_size) == (3, 0.02, 16)


@pytest.mark.parametrize("key", ["epochs", "lr", "batch_size"])
def test_finetuning_refuses_nonsense(key: str) -> None:
    """Zero epochs, learning rates and batches are refused."""
    with pytest.raises(ValueError, match="greater than"):
        Finetune(**{key: 0})


class Two(nn.Module):
    """Two inputs and two outputs."""

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"sum": left + right, "difference": left - right}


def test_inputs_go_by_name_where_forward_has_the_names() -> None:
    """The order of the arrays does not matter where names fit; else it is positional."""
    left, right = torch.ones(2, 3), torch.zeros(2, 3)
    assert torch.equal(outputs(Two(), {"right": right, "left": left})[1], left)
    assert not takes_keywords(Two(), ("a", "b"))
    assert torch.equal(outputs(Two(), {"a": right, "b": left})[1], -left)


def test_prediction_covers_every_example_once() -> None:
    """Batches are joined in order, whatever their size."""
    module, split = Residual().eval(), images(50)
    np.testing.assert_allclose(predict(module, split, 7)[0], predict(module, split, 50)[0], atol=1e-6)
    assert evaluate(module, split).shape == (50, 3)


def test_quality_is_accuracy_or_minus_the_squared_error() -> None:
    """Higher is better in both."""
    logits = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert quality(logits, np.array([0, 0])) == 0.5
    assert math.isclose(quality(np.array([[1.0], [3.0]]), np.array([1.0, 1.0]), "mse"), -2.0)


def test_regression_trains_on_float_labels() -> None:
    """Mean squared error takes (n,) labels against (n, 1) outputs."""
    split = features()
    target = Split(split.inputs, split.inputs["features"][:, 0].astype(np.float64))
    module = nn.Sequential(nn.Linear(16, 1))
    settings = SETTINGS.model_copy(update={"loss": "mse", "epochs": 20, "lr": 0.05})
    history = fit(module, target, settings, seed=1)
    assert history.losses[-1] < 0.5 * history.losses[0]
    check_module(module, target, settings, "model.factory")


class Crash(nn.Module):
    """A forward that does not fit its data."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features @ torch.ones(3, 3)


@pytest.mark.parametrize(
    ("module", "labels", "said"),
    [
        (Crash(), None, "forward fails on the data \\(features \\(2, 16\\) float32\\)"),
        (nn.Linear(16, 2), None, "the model gives 2 classes; labels go from 0 to 2"),
        (nn.Linear(16, 3), np.zeros(96), "labels are float64; cross entropy needs classes"),
        (nn.Unflatten(1, (4, 4)), None, "expected one row of logits"),
        ("no module", None, "returned str"),
    ],
)
def test_a_module_that_does_not_fit_is_one_clear_line(
    module: Crash | nn.Linear | nn.Unflatten | str, labels: NDArray[np.float64] | None, said: str
) -> None:
    """Wrong input, wrong number of classes, wrong labels, wrong rank, no module at all."""
    split = features() if labels is None else Split(features().inputs, labels)
    with pytest.raises(InputError, match=said) as caught:
        check_module(module, split, SETTINGS, "params.yaml: model.factory")
    assert str(caught.value).startswith("params.yaml: model.factory: ")


def test_tied_copies_do_not_leak() -> None:
    """Training a copy leaves the original alone."""
    module = mlp()
    twin = copy.deepcopy(module)
    fit(twin, features(), SETTINGS, seed=3)
    assert same(module, mlp())


def sgd_like(settings: TrainSection) -> tuple[MLP, list[Any], History]:
    """One step on everything; AdamW's first step would hide a wrong scale of the gradient, clipping does not."""
    module = mlp()
    seen = []

    class Gradients:
        name = "gradients"

        def before_step(self, module: nn.Module) -> None:
            seen.append({name: p.grad.clone() for name, p in module.named_parameters()})

        def project(self, module: object) -> None:
            pass

        def violation(self, module: object) -> None:
            return None

    history = fit(module, features(), settings, seed=3, constraints=[Gradients()])
    return module, seen, history


@pytest.mark.parametrize(("batch_size", "accumulated"), [(32, 2), (5, 13), (64, 1)])
def test_accumulated_batches_have_the_gradient_of_the_large_batch(batch_size: int, accumulated: int) -> None:
    """Up to rounding: parts of unequal length weigh by their examples."""
    whole = TrainSection(epochs=2, batch_size=batch_size * accumulated, lr=0.01)
    parts = whole.model_copy(update={"batch_size": batch_size, "accumulate_grad_batches": accumulated})
    (_, expected, one), (_, found, many) = sgd_like(whole), sgd_like(parts)
    assert one.steps == many.steps == len(found)
    assert many.losses == pytest.approx(one.losses, rel=1e-4)
    for name, gradient in expected[0].items():
        torch.testing.assert_close(found[0][name], gradient, rtol=1e-4, atol=1e-6)


def test_labels_that_do_not_count_weigh_nothing_among_accumulated_batches() -> None:
    """The mean is over the labels that count in the whole step; a part with none of them is left out."""
    split = features(16)
    labels = split.labels.copy()
    labels[np.random.default_rng(0).permutation(16)[:11]] = -100
    thin = Split(split.inputs, labels)
    results = []
    for settings in (
        TrainSection(epochs=1, batch_size=16),
        TrainSection(epochs=1, batch_size=2, accumulate_grad_batches=8),
    ):
        module = mlp()
        history = fit(module, thin, settings, seed=3)
        results.append((history.losses, module))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-5)
    torch.testing.assert_close(results[0][1].more.weight, results[1][1].more.weight, rtol=1e-4, atol=1e-5)


def test_steps_say_how_long_in_place_of_epochs() -> None:
    """The last pass is cut short; a fine-tuning that says epochs has its epochs."""
    settings = TrainSection(steps=4, batch_size=32)
    history = fit(mlp(), features(), settings, seed=3)  # 96 examples: 3 steps a pass
    assert history.steps == 4
    assert len(history.losses) == 2
    assert Finetune(epochs=1).settings(settings).steps_for(96) == (3, 3)
    assert Finetune(steps=5).settings(SETTINGS).steps_for(96) == (3, 5)
    with pytest.raises(ValueError, match="one of 'epochs' and 'steps'"):
        TrainSection(steps=4, epochs=2)
    with pytest.raises(ValueError, match="one of 'epochs' and 'steps'"):
        Finetune(steps=4, epochs=2)


def test_many_answers_lie_in_a_file_and_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers on a large split are mapped, those on a small one are arrays."""
    module, split = mlp(), features()
    expected = predict(module, split, 40)[0]
    monkeypatch.setattr("weighbridge.compress.training.module_quality.MOST_BYTES", 64)
    found = predict(module, split, 40)[0]
    assert isinstance(found.base, np.memmap)
    assert np.array_equal(found, expected)
