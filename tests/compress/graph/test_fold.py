"""Folding normalisation: same outputs, same names, zeros kept, and every refusal."""

import pytest
import torch
from torch import nn

from weighbridge.compress.graph.fold import batchnorm_pairs, fold_batchnorm
from weighbridge.core.errors import InputError, InvariantError


def lively(module: "nn.Sequential | Residual | nn.Module") -> "nn.Sequential | Residual | nn.Module":
    """The module with weights and statistics that are not their initial zeros and ones."""
    torch.manual_seed(3)
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                layer.running_mean.uniform_(-1, 1)
                layer.running_var.uniform_(0.5, 2)
                if layer.affine:
                    layer.weight.uniform_(0.5, 2)
                    layer.bias.uniform_(-1, 1)
    return module


class Residual(nn.Module):
    """One residual block with a pre-activation head whose first normalisation follows a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6))
        self.conv = nn.Conv2d(6, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.after = nn.BatchNorm2d(6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return self.after(x + self.norm(self.conv(torch.relu(x))))


def check(module: nn.Sequential | Residual | nn.Module, *example: torch.Tensor) -> nn.Module:
    """Fold, compare outputs, and return the folded module."""
    lively(module)
    folded = fold_batchnorm(module, {"x": example[0]})
    torch.testing.assert_close(folded(*example), module.eval()(*example), rtol=1e-4, atol=1e-4)
    return folded


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Sequential(nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU()), (2, 2, 8, 8)),
        (nn.Sequential(nn.Conv2d(4, 8, 3, groups=4), nn.BatchNorm2d(8, affine=False)), (2, 4, 8, 8)),
        (nn.Sequential(nn.Conv1d(2, 4, 3), nn.Dropout(), nn.BatchNorm1d(4)), (2, 2, 8)),
        (nn.Sequential(nn.ConvTranspose2d(4, 6, 3), nn.BatchNorm2d(6)), (2, 4, 5, 5)),
        (nn.Sequential(nn.ConvTranspose2d(4, 6, 3, groups=2, bias=False), nn.BatchNorm2d(6)), (2, 4, 5, 5)),
        (nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 2)), (4, 3)),
    ],
)
def test_outputs_stay(module: nn.Sequential, shape: tuple[int, ...]) -> None:
    """Every kind of layer keeps its outputs and loses its normalisation."""
    folded = check(module, torch.randn(shape))
    assert not any(isinstance(layer, nn.modules.batchnorm._NormBase) for layer in folded.modules())


def test_residual_network() -> None:
    """Layers in a residual net fold; a normalisation of a sum stays where it is."""
    folded = check(Residual(), torch.randn(2, 1, 8, 8))
    assert isinstance(folded.norm, nn.Identity)
    assert isinstance(folded.stem[1], nn.Identity)
    assert isinstance(folded.after, nn.BatchNorm2d)
    assert type(folded) is Residual


def test_a_shared_output_is_not_folded() -> None:
    """A layer whose raw output is used elsewhere too keeps its normalisation."""

    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x)
            return y + self.norm(y)

    assert isinstance(check(Skip(), torch.randn(2, 1, 5, 5)).norm, nn.BatchNorm2d)


def test_zeros_survive_and_the_input_is_untouched() -> None:
    """Pruned weights stay zero, and the module given is not changed."""
    module = lively(nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4)))
    with torch.no_grad():
        module[0].weight[:, :, 0] = 0
    before = {name: value.clone() for name, value in module.state_dict().items()}
    folded = fold_batchnorm(module)
    assert bool((folded[0].weight[:, :, 0] == 0).all())
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_module_without_normalisation_needs_no_trace() -> None:
    """Nothing is traced where there is nothing to fold."""

    class Branching(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    assert batchnorm_pairs(Branching()) == {}


def test_untraceable_forward_is_named() -> None:
    """Control flow on tensors is an error that names a normalisation."""

    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(self.conv(x)) if x.sum() > 0 else x

    with pytest.raises(InputError, match="'norm' cannot be folded"):
        fold_batchnorm(Branching())


def test_layer_used_twice_is_named() -> None:
    """Weights that two normalisations would scale differently are refused."""

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 1)
            self.one, self.two = nn.BatchNorm2d(2), nn.BatchNorm2d(2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.two(self.conv(self.one(self.conv(x))))

    with pytest.raises(InputError, match="'conv' or its normalisation 'one' is used more than once"):
        fold_batchnorm(Twice())


def test_functional_normalisation_is_named() -> None:
    """A normalisation that exporters would fold and we cannot is refused."""

    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.batch_norm(self.conv(x), self.norm.running_mean, self.norm.running_var)

    with pytest.raises(InputError, match="'conv' is normalised by a function"):
        fold_batchnorm(Functional())


def test_another_axis_is_refused() -> None:
    """Normalising steps of a sequence after a linear layer is not folded into its features."""

    class Steps(nn.Module):
        def __init__(self, steps: int) -> None:
            super().__init__()
            self.linear, self.norm = nn.Linear(3, 5), nn.BatchNorm1d(steps)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(self.linear(x))

    with pytest.raises(InputError, match="not of one axis"):
        fold_batchnorm(lively(Steps(7)))
    with pytest.raises(InvariantError, match="changed the outputs"):
        fold_batchnorm(lively(Steps(5)), {"x": torch.randn(2, 5, 3)})
