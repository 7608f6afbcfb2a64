"""Bytes and multiply-accumulates without training are those of the trained file."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.compress.nets import MLP, build, context, features
from weighbridge.compress.export.onnxruntime import ONNXRUNTIME
from weighbridge.compress.recipe.compose import compose
from weighbridge.compress.recipe.maker import Maker
from weighbridge.compress.recipe.reweighting import reweighted
from weighbridge.compress.steps import Context, Subject
from weighbridge.core.documents import SearchSection, TrainSection
from weighbridge.core.errors import InvariantError
from weighbridge.search.estimate.prediction import unchanged
from weighbridge.search.problem.space import Point, Space

SPACE = Space("onnxruntime", SearchSection(), TrainSection(epochs=2, lr=0.01, batch_size=32), module=True)
PLAIN = [Point(widths=(0.5,)), Point(form="static-int8"), Point(form="qat-int8"), Point(form="share-3")]
SPARSE = [Point(sparsity=0.8), Point(widths=(0.5,), sparsity=0.7, form="share-4")]


def wide(_: object) -> tuple[MLP, Context]:
    """A net whose file is mostly weights: where zeros lie depends on training, and tens of bytes with it."""
    torch.manual_seed(1)
    module = MLP(width=96).eval()
    return module, context(module, features())


@pytest.mark.parametrize(("made", "points"), [(build, PLAIN), (wide, SPARSE)], ids=["residual", "wide"])
def test_predicted_bytes_are_those_of_the_trained_file(
    made: Callable[..., tuple[torch.nn.Module, Context]] | Callable[[Any], tuple[MLP, Context]], points: list[Point]
) -> None:
    """Within one percent for every recipe, and the same multiply-accumulates."""
    module, steps_context = made("residual")
    maker = Maker(steps_context, ONNXRUNTIME, Subject(module), train=False)
    for point in points:
        predicted = maker.make(SPACE.read(point, 0)).sizes
        steps = SPACE.read(point, 3)
        sizes = compose(steps, Subject(copy.deepcopy(module)), steps_context, ONNXRUNTIME).sizes
        assert abs(predicted.bytes - sizes.bytes) <= 0.01 * sizes.bytes, (point, predicted, sizes)
        assert predicted.macs == sizes.macs


def test_modules_of_one_architecture_are_exported_once() -> None:
    """Zeros and shared values change no shape: their files come from the export of the model itself."""
    module, steps_context = build("residual")
    maker = Maker(steps_context, ONNXRUNTIME, Subject(module), train=False)
    for point in (Point(sparsity=0.8), Point(form="share-2"), Point(sparsity=0.5, form="share-3"), Point(form="fp16")):
        maker.make(SPACE.read(point, 0))
    assert maker.exports == 1


def test_weights_in_an_export_that_does_not_answer_alike_are_not_believed() -> None:
    """A template whose constants belong to another module is noticed by its answers, and the module is exported."""
    module, steps_context = build("mlp")
    maker = Maker(steps_context, ONNXRUNTIME, Subject(module))
    maker.make([])
    key, template = next(iter(maker._templates.items()))
    wrong = {name: origin for name, origin in template.notes["parameters"].items() if "bias" not in name}
    broken = replace(template, notes={"parameters": wrong})
    maker._templates[key] = broken
    other, _ = build("mlp", seed=2)
    assert reweighted(broken, other) is not None
    maker.source = Subject(other)
    before = maker.exports
    maker.make([])
    assert maker.exports == before + 1


def test_steps_that_recipes_share_are_trained_once() -> None:
    """The same prune step before two other steps runs once; its module is not changed by what follows."""
    module, steps_context = build("mlp")
    maker = Maker(steps_context, ONNXRUNTIME, Subject(module))
    first = maker.make(SPACE.read(Point(widths=(0.5,), form="static-int8"), 2))
    second = maker.make(SPACE.read(Point(widths=(0.5,), form="weight-int8"), 2))
    assert (first.trained, second.trained) == (1, 0)
    alone = Maker(steps_context, ONNXRUNTIME, Subject(copy.deepcopy(module)))
    assert alone.make(SPACE.read(Point(widths=(0.5,), form="weight-int8"), 2)).data == second.data


def test_answers_with_nan_are_no_answers() -> None:
    """What is no number never counts as unchanged."""
    good = np.eye(3, dtype=np.float32)
    with pytest.raises(InvariantError, match="NaN"):
        unchanged([good * np.nan], [good], classes=True)
