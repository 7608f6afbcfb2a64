"""One module's export with another's weights: taken where it answers alike, and only there."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from tests.compress.nets import build
from weighbridge.compress.export.onnxruntime import ONNXRUNTIME
from weighbridge.compress.recipe.explain import explain_steps
from weighbridge.compress.recipe.recipe import read_steps
from weighbridge.compress.recipe.reweighting import exported_again
from weighbridge.compress.steps import Subject
from weighbridge.compress.training.module_quality import predict
from weighbridge.core.documents import RecipeSection
from weighbridge.data import Split


def test_weights_of_another_module_of_the_same_shapes_are_taken() -> None:
    """The graph answers as the other module does; other shapes, or weights that were folded, do not fit."""
    module, context = build("mlp")
    other, _ = build("mlp", seed=2)
    template = ONNXRUNTIME.export(module, context.data.calibration)
    again = exported_again(template, other, context.data.calibration)
    answers = ONNXRUNTIME.run(ONNXRUNTIME.write(again.proto), context.data.test.inputs)
    np.testing.assert_allclose(answers[0], predict(other, context.data.test)[0], atol=1e-4)
    assert exported_again(template, build("transformer")[0], context.data.calibration) is None
    normed, context = build("residual")
    template = ONNXRUNTIME.export(normed, context.data.calibration)
    other, _ = build("residual", seed=2)
    other.stem_norm.running_var.fill_(4.0)
    assert exported_again(template, other, context.data.calibration) is None


def test_square_matrices_are_taken_the_way_round_that_the_exporter_stored_them() -> None:
    """Their shape does not show that their axes were exchanged."""
    torch.manual_seed(1)
    module, other = (nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6)) for _ in range(2))
    # Three axes, so that the layers become products with exchanged weights; of two they become Gemm.
    examples = Split({"x": np.random.default_rng(1).standard_normal((16, 3, 6)).astype(np.float32)})
    again = exported_again(ONNXRUNTIME.export(module, examples), other, examples)
    answers = ONNXRUNTIME.run(ONNXRUNTIME.write(again.proto), examples.inputs)
    np.testing.assert_allclose(answers[0], predict(other, examples)[0], atol=1e-5)


def test_a_recipe_that_changes_weights_alone_is_explained_by_one_export() -> None:
    """Exports are most of the time of `explain`; the rows are those of a real export after the step."""
    module, context = build("mlp")
    exports = []

    def export(*given: Any) -> Any:
        exports.append(1)
        return ONNXRUNTIME.export(*given)

    items = [{"prune": {"sparsity": 0.5}}, {"quantize": {"scheme": "weight-int8"}}]
    steps = read_steps(RecipeSection(steps=items), "params.yaml: recipes.r")
    rows = explain_steps(steps, Subject(module), context, replace(ONNXRUNTIME, export=export))
    assert len(exports) == 1
    files = [row for row in rows if row["layer"] == "(file)"]
    assert [row["step"] for row in files] == ["1 prune", "2 quantize"]
    assert files[0]["zstd after"] < files[0]["zstd"]
    assert files[0]["bytes after"] == files[1]["bytes"] > files[1]["bytes after"]
