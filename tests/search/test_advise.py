"""`weighbridge advise`: a ranked list whose recipes run, and a clear word where no recipe can meet the budgets."""

import json
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from typer.testing import CliRunner

from tests.compress.nets import build
from tests.search.project import project
from weighbridge.cli import app
from weighbridge.compress import stages
from weighbridge.compress.export.onnxruntime import ONNXRUNTIME
from weighbridge.compress.recipe.recipe import read_steps
from weighbridge.core.documents import Budget, RecipeSection
from weighbridge.core.errors import InputError
from weighbridge.core.progress import silent
from weighbridge.search.advise import EXPECT, Advised, advise, obstacle
from weighbridge.search.estimate.prediction import Until, predict_all
from weighbridge.search.problem.coarse import coarse
from weighbridge.search.problem.searched_model import space_of, untrained_source


@pytest.fixture(scope="module")
def advised(tmp_path_factory: pytest.TempPathFactory) -> Advised:
    """The advice for one small project."""
    root = project(tmp_path_factory.mktemp("advised"))
    stages.prepare(root)
    stages.train(root)
    return advise(root, "size")


def test_each_advice_is_a_recipe_with_a_reason(advised: Advised) -> None:
    """Every list of steps is valid as it stands, smaller than the baseline, and says why and what to expect."""
    assert advised.obstacle is None
    assert advised.trained
    assert len(advised.recipes) >= 3
    for item in advised.recipes:
        assert read_steps(RecipeSection(steps=item.steps), "advice")
        assert item.sizes.bytes <= 0.9 * advised.baseline.bytes
        assert item.why
        assert item.outlook in EXPECT


def test_the_list_is_ranked_by_the_goal(advised: Advised) -> None:
    """Among recipes of one outlook the smallest comes first."""
    places = [(list(EXPECT).index(item.outlook), item.sizes.bytes) for item in advised.recipes]
    assert places == sorted(places)


def test_what_only_weighing_decides_is_said(advised: Advised) -> None:
    """Accuracy is no prediction."""
    assert advised.weighed == ["accuracy.top1"]


def test_a_budget_of_all_models_counts_for_advice(tmp_path: Path) -> None:
    """`budgets: {from: …}` is asked as the project's own list is."""
    (tmp_path / "budgets.yaml").write_text("budgets: [{metric: size.bytes, max: 100B}]\n")
    root = project(tmp_path, budgets={"from": "budgets.yaml"})
    result = CliRunner().invoke(app, ["advise", "-q", "--root", str(root)])
    assert result.exit_code == 1
    assert "at most 100 B" in result.stderr


IMPOSSIBLE = {"metric": "size.bytes", "max": "100B"}


def test_the_budgets_of_one_recipe_are_asked_as_the_gate_asks_them(tmp_path: Path) -> None:
    """In the place of the common ones, and only where that recipe is meant."""
    recipes = {"tiny": {"steps": [{"quantize": {"scheme": "static-int8"}}], "budgets": [IMPOSSIBLE]}}
    root = project(tmp_path, recipes=recipes)
    result = CliRunner().invoke(app, ["advise", "-q", "--root", str(root)])
    assert result.exit_code == 0, result.output
    assert "tiny has own budgets: `--for NAME` asks those." in result.stdout
    result = CliRunner().invoke(app, ["advise", "-q", "--root", str(root), "--for", "tiny"])
    assert result.exit_code == 1
    assert "at most 100 B" in result.stderr
    with pytest.raises(InputError, match="'small' is not among 'recipes'") as caught:
        advise(root, recipe="small")
    assert caught.value.where == "--for"


def test_an_impossible_budget_names_the_nearest_recipe_and_what_is_in_its_way(tmp_path: Path) -> None:
    """Exit code 1, the value beside the limit, and the largest parts of the file."""
    budgets = [{"metric": "size.bytes", "max": "100B"}, {"metric": "size.bytes", "max_ratio": 1.0}]
    result = CliRunner().invoke(app, ["advise", "-q", "--root", str(project(tmp_path, budgets=budgets))])
    assert result.exit_code == 1
    assert "no recipe of the space meets the budgets; the nearest (" in result.stderr
    assert "at most 100 B. In its way: " in result.stderr
    assert "max_ratio" not in result.stderr


def test_recipes_that_there_was_no_time_for_are_not_called_too_large(tmp_path: Path) -> None:
    """The sentence is of those that were predicted, and of no other."""
    source = untrained_source(project(tmp_path))
    space = space_of(source)
    some = predict_all(source, space, coarse(space)[1:3], silent)
    budgets = [Budget(metric="size.bytes", max="100B")]
    assert obstacle(some, budgets, space).startswith("no recipe of the space meets the budgets")
    left = replace(some, left=1)
    assert obstacle(left, budgets, space).startswith("no recipe that there was time to predict (2) meets the budgets")


def test_predictions_end_with_the_first_that_is_enough_or_when_time_is_up(tmp_path: Path) -> None:
    """Nothing is made that no question needs; how many were left out is told."""
    source = untrained_source(project(tmp_path))
    space = space_of(source)
    points = coarse(space)[1:4]
    first = predict_all(source, space, points, silent, Until(enough=lambda item: item.point == points[0]))
    assert (len(first.found), first.left) == (1, 2)
    last = predict_all(source, space, points, silent, Until(enough=lambda item: item.point == points[2]))
    assert (len(last.found), last.left) == (3, 0)
    late = predict_all(source, space, points, silent, Until(seconds=0.0))
    assert (len(late.found), late.left) == (0, 3)


def test_forms_that_no_training_must_mend_are_predicted_first(tmp_path: Path) -> None:
    """Behind the least of everything: a large model has no time for more."""
    space = space_of(untrained_source(project(tmp_path)))
    forms = [point.form for point in coarse(space)[1:] if point.form != "none"][: len(space.knobs["form"]) - 1]
    assert sorted(forms) == sorted(space.knobs["form"][1:])
    assert forms[-2:] == ["share-4", "share-2"]


def test_an_empty_space_is_an_input_error(tmp_path: Path) -> None:
    """The key is named."""
    root = project(tmp_path, search={"techniques": ["prune-weights"], "sparsities": []})
    with pytest.raises(InputError, match="the space is empty") as caught:
        advise(root)
    assert str(caught.value.where).endswith("params.yaml: search")


def test_a_keep_pattern_that_matches_nothing_is_an_input_error(tmp_path: Path) -> None:
    """A misspelt layer would be compressed after all."""
    with pytest.raises(InputError, match="hiden") as caught:
        advise(project(tmp_path, search={"keep": ["hiden"]}))
    assert caught.value.where == "params.yaml: search.keep"


def test_a_finished_onnx_model_is_advised_too(tmp_path: Path) -> None:
    """Lowering steps alone."""
    module, context = build("mlp")
    onnx.save(ONNXRUNTIME.export(module, context.data.calibration).proto, tmp_path / "net.onnx")
    root = project(tmp_path, model={"name": "tiny", "onnx": "net.onnx"}, train=None)
    result = CliRunner().invoke(app, ["advise", "-q", "--json", "--root", str(root)])
    assert result.exit_code == 0, result.output
    steps = [item["steps"] for item in json.loads(result.stdout)["recipes"]]
    assert steps
    assert not any("prune" in step for one in steps for step in one)
