"""The recipes that the figures come from: valid, within the training budget, each training with its teacher."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.best_recipes import bars
from weighbridge.compress.recipe.recipe import read_steps
from weighbridge.compress.steps import Step
from weighbridge.compress.training.finetune import teaching
from weighbridge.compress.training.settings import Finetune
from weighbridge.core.documents import Params, RecipeSection, parse
from weighbridge.core.files import read_yaml

ROOT = Path(__file__).parents[2]
RECIPES = read_yaml(ROOT / "benchmarks/recipes.yaml")
BUDGET = 10


def steps_of(name: str) -> list[Step]:
    """The validated steps of one of them."""
    return read_steps(parse(RecipeSection, RECIPES[name], name), name)


@pytest.mark.parametrize("name", RECIPES)
def test_training_stays_within_the_budget(name: str) -> None:
    """Epochs of what ships, where a step trains; the section `train` of the quickstart gives what a step leaves out."""
    default = Params.read(ROOT / "params.yaml").train.epochs
    tunings = [getattr(step.config, "finetune", None) for step in steps_of(name)]
    epochs = [tuning.epochs or default for tuning in tunings if isinstance(tuning, Finetune)]
    assert 0 < sum(epochs) <= BUDGET


def test_every_training_has_the_one_teacher() -> None:
    """The control of a recipe then says what the teacher is worth."""
    for name in RECIPES:
        for step in steps_of(name):
            if getattr(step.config, "finetune", None) is not None:
                assert teaching(step.config).teacher == "baseline"


def rows(*figures: tuple[str, float, float]) -> list[Any]:
    """What the benchmark keeps of a run, as far as bars look at it."""
    return [{"recipe": name, "ratio": ratio, "change": change} for name, ratio, change in figures]


def test_the_worst_seed_decides_every_bar() -> None:
    """One seed below 40 times, or one that lost more than a point, and the bar is missed."""
    good = rows(("smallest", 42.0, -0.005), ("smallest", 41.0, -0.009), ("fastest", 4.0, -0.007))
    assert [bar["met"] for bar in bars(good).values()] == [True, True]
    assert bars([*good, *rows(("smallest", 39.9, -0.001))])["smallest_ratio"] == {
        "value": 39.9,
        "target": 40.0,
        "met": False,
    }
    lossy = bars([*good, *rows(("fastest", 4.5, -0.0101))])
    assert lossy["points_lost"]["value"] == pytest.approx(1.01)
    assert not lossy["points_lost"]["met"]
