"""k-means in one dimension, hashed positions, and codebooks as constraints."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from torch import nn

from weighbridge.compress.techniques.share.codebook import (
    Codebook,
    Init,
    assign,
    codebook_of,
    hash_positions,
    hashed_codebook,
    kmeans,
    shared_parameters,
)

STARTS: tuple[Init, ...] = ("linear", "density", "least_squares")
VALUES = arrays(np.float32, st.integers(1, 200), elements=st.floats(-4, 4, width=32))


def error(values: NDArray[Any], centers: NDArray[np.float32]) -> float:
    """Squared distance to the nearest center."""
    return float(((values - centers[assign(values, centers)]).astype(np.float64) ** 2).sum())


@given(VALUES, st.integers(1, 20), st.sampled_from(["linear", "density", "least_squares"]))
def test_centers_are_few_sorted_and_within_range(values: NDArray[Any], size: int, init: Any) -> None:
    """Never more centers than asked for, ascending, between the smallest and the largest value."""
    centers = kmeans(values, size, init)
    assert 1 <= len(centers) <= size
    assert bool((np.diff(centers) > 0).all())
    assert values.min() - 1e-6 <= centers[0]
    assert centers[-1] <= values.max() + 1e-6


@given(VALUES, st.integers(2, 20))
def test_no_worse_than_where_it_starts(values: NDArray[Any], size: int) -> None:
    """Lloyd's rounds never end worse than evenly spaced centers."""
    start = np.linspace(values.min(), values.max(), size, dtype=np.float32)
    assert error(values, kmeans(values, size)) <= error(values, np.unique(start)) + 1e-4


@given(VALUES, st.integers(1, 20))
def test_assigns_to_the_nearest(values: NDArray[Any], size: int) -> None:
    """Every value gets the center nearest to it."""
    centers = kmeans(values, size)
    distance = np.abs(values[:, None].astype(np.float64) - centers[None])
    taken = distance[np.arange(len(values)), assign(values, centers)]
    np.testing.assert_allclose(taken, distance.min(1), atol=1e-6)


def test_few_distinct_values_are_kept_exactly() -> None:
    """Where values are as few as centers, they are the centers."""
    np.testing.assert_array_equal(kmeans(np.array([3.0, 1.0, 3.0, 2.0]), 4), [1, 2, 3])


@given(arrays(np.float32, st.integers(1, 9), elements=st.floats(-4, 4, width=16)), st.integers(1, 4))
def test_least_squares_has_no_better(values: NDArray[Any], size: int) -> None:
    """No way to cut a few sorted values into runs has a smaller error."""
    ordered = np.sort(values.astype(np.float64))
    cuts = itertools.combinations(range(1, len(ordered)), min(size, len(ordered)) - 1)
    runs = (np.split(ordered, cut) for cut in cuts)
    least = min(sum(float(((run - run.mean()) ** 2).sum()) for run in item) for item in runs)
    assert error(values, kmeans(values, size, "least_squares")) == pytest.approx(least, abs=1e-5)


@pytest.mark.parametrize(("count", "size", "spared"), [(288, 8, 0), (2048, 16, 0.1), (20_000, 256, 0.15)])
def test_least_squares_where_other_starts_get_stuck(count: int, size: int, spared: float) -> None:
    """Beside both other starts it never loses, and spares the share of the error that their minima cost."""
    values = np.random.default_rng(count).laplace(size=count).astype(np.float32)
    linear, density, least = (error(values, kmeans(values, size, init)) for init in STARTS)
    assert least <= min(linear, density) * 1.001
    assert least <= (1 - spared) * linear


def test_finds_separate_clusters() -> None:
    """Three far clusters are found from an evenly spaced start with an outlier, and no center is wasted."""
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(center, 0.01, 100) for center in (-1, 0, 1)] + [[30.0]])
    np.testing.assert_allclose(kmeans(values, 4), [-1, 0, 1, 30], atol=0.02)


def test_hash_is_fixed_and_even() -> None:
    """Buckets never change (files would break), fill evenly, and both signs are as frequent."""
    codes, signs = hash_positions(100_000, 64, 7)
    assert codes[:6].tolist() == [3, 57, 24, 52, 51, 31]
    assert signs[6:12].tolist() == [1, -1, 1, 1, -1, -1]
    counts = np.bincount(codes, minlength=64)
    assert counts.min() > 0.85 * 100_000 / 64
    assert counts.max() < 1.15 * 100_000 / 64
    assert abs(int(signs.sum())) < 2_000
    other, _ = hash_positions(100_000, 64, 8)
    assert (other == codes).mean() < 0.05


def linear(weight: Any) -> nn.Linear:
    """A linear layer with the given weight."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.as_tensor(weight))
    return layer


def random(shape: tuple[int, int], sparsity: float = 0.0, seed: int = 0) -> Any:
    """Normal weights, a part of them zero."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) * (rng.random(shape) >= sparsity)).astype(np.float32)


def test_zeros_keep_their_own_code() -> None:
    """Pruned weights stay zero, and the shared values come on top of zero."""
    weight = random((20, 30), sparsity=0.7)
    book = codebook_of("layer", {"weight": weight}, 4, "linear")
    layer = linear(weight)
    book.project(layer)
    found = layer.weight.detach().numpy()
    np.testing.assert_array_equal(found == 0, weight == 0)
    assert len(np.unique(found)) == 5 == book.distinct


@pytest.mark.parametrize("hashed", [False, True])
def test_gradients_are_summed_per_value(hashed: bool) -> None:
    """Each weight of a cluster gets the (signed) sum over the cluster; zeros get none."""
    weight = random((6, 8), sparsity=0.3)
    book = (
        hashed_codebook("weight", weight, 0.1, 3) if hashed else codebook_of("layer", {"weight": weight}, 3, "linear")
    )
    layer = linear(weight)
    gradient = torch.from_numpy(random((6, 8), seed=5))
    layer.weight.grad = gradient.clone()
    book.before_step(layer)
    codes = book.codes["weight"]
    signs = book.signs["weight"] if book.signs else torch.ones(6, 8)
    for row, column in np.ndindex(6, 8):
        same = codes == codes[row, column]
        expected = 0 if weight[row, column] == 0 else float((gradient * signs)[same].sum() * signs[row, column])
        assert float(layer.weight.grad[row, column]) == pytest.approx(expected, abs=1e-5)


def test_values_survive_training_and_codes_stay() -> None:
    """After optimizer steps, the weights hold as few values as before, in the same places, but other ones."""
    book = codebook_of("layer", {"weight": random((12, 12), 0.5)}, 4, "linear")
    layer = linear(random((12, 12), 0.5))
    book.project(layer)
    before = layer.weight.detach().clone()
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.05)
    for step in range(5):
        optimizer.zero_grad()
        (layer(torch.from_numpy(random((9, 12), seed=step))) - 1).square().mean().backward()
        book.before_step(layer)
        optimizer.step()
        book.project(layer)
        assert book.violation(layer) is None
    assert not torch.equal(before, layer.weight)
    assert len(layer.weight.unique()) == 5
    assert bool(((layer.weight == 0) == (before == 0)).all())


def test_broken_codebooks_are_seen() -> None:
    """A single weight that moves, a shape that changes or a parameter that goes is a violation."""
    weight = random((5, 5))
    book = codebook_of("layer", {"weight": weight}, 3, "linear")
    layer = linear(weight)
    assert "at most 3 were shared" in book.violation(layer)
    book.project(layer)
    assert book.violation(layer) is None
    with torch.no_grad():
        layer.weight[0, 0] += 0.5
    assert "4 distinct values" in book.violation(layer)
    assert "has shape (5, 4)" in book.violation(nn.Linear(4, 5))
    assert book.violation(nn.ReLU()) == "weight is gone"


def test_hashed_values_are_the_least_squares_fit() -> None:
    """A bucket's value is the signed mean of its weights, so that no other value is nearer."""
    weight = random((10, 10))
    book = hashed_codebook("weight", weight, 0.2, 0)
    layer = linear(weight)
    book.project(layer)
    best = np.square(layer.weight.detach().numpy() - weight).sum()
    assert book.violation(layer) is None
    assert len(layer.weight.abs().unique()) <= 20
    values = book.values(layer)
    for bucket in range(book.size):
        values[bucket] += 0.1
        other = book._spread(values, "weight").numpy()
        assert np.square(other - weight).sum() > best
        values[bucket] -= 0.1


def test_names_of_shared_parameters() -> None:
    """Codebooks say which parameters they cover."""
    book = codebook_of("layer", {"a.weight": random((3, 3)), "b.weight": random((2, 2))}, 3, "density")
    assert isinstance(book, Codebook)
    assert shared_parameters([book]) == {"a.weight", "b.weight"}
    assert book.name == "share codebook of layer"
