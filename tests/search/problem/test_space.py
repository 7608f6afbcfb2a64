"""The space is the grammar: every point is a recipe that the grammar takes, and none is idle."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.core.documents import SearchSection, TrainSection
from weighbridge.core.errors import InputError
from weighbridge.search.problem.coarse import coarse
from weighbridge.search.problem.space import Space, apportioned
from weighbridge.search.problem.weight_forms import Stored

LAYERS = ("features.0", "features.3", "hidden")
MANY = tuple(f"blocks.{index}" for index in range(12))
SPACES = [
    Space("onnxruntime", SearchSection(), TrainSection(), module=True, layers=LAYERS),
    Space("onnxruntime", SearchSection(keep=["hidden"]), TrainSection(), module=True),
    Space("onnxruntime", SearchSection(), TrainSection(), module=False),
    Space("litert", SearchSection(), TrainSection(), module=True, layers=LAYERS),
    Space("executorch", SearchSection(), TrainSection(loss="mse"), module=True),
    Space(
        "onnxruntime",
        SearchSection(keep=["hidden"]),
        TrainSection(),
        module=True,
        stored=Stored(40, ("words",), blocks=True),
    ),
    Space("onnxruntime", SearchSection(epochs=0), TrainSection(), module=True),
    Space("onnxruntime", SearchSection(), TrainSection(), module=True, layers=LAYERS, removable=("features.3",)),
    Space("litert", SearchSection(keep=["hidden"]), TrainSection(), module=True, removable=MANY),
]


@given(st.sampled_from(SPACES), st.integers(0, 12), st.randoms(use_true_random=False))
def test_every_point_is_a_valid_recipe(space: Space, epochs: int, random: Random) -> None:
    """The grammar refuses none of them, whatever the knobs say."""
    point = space.point({name: random.choice(values) for name, values in space.knobs.items()})
    if not space.empty(point):
        assert space.read(point, min(epochs, space.section.epochs))


@given(st.sampled_from(SPACES), st.randoms(use_true_random=False))
def test_a_point_is_what_its_values_say(space: Space, random: Random) -> None:
    """Values and points are one thing written twice, so that a journal can hold either."""
    point = space.point({name: random.choice(values) for name, values in space.knobs.items()})
    assert space.point(space.values(point)) == point


def test_zeros_are_never_without_what_stores_them() -> None:
    """Pruned weights without pack leave a file as large as before: no point has them."""
    for space in SPACES:
        for point in coarse(space):
            names = [next(iter(step)) for step in space.steps(point, 3)]
            if point.sparsity:
                assert names[-1] == "pack"


def test_a_layer_that_goes_has_no_width() -> None:
    """Its width is nothing that a sampler could learn from, and no step names it after it went."""
    space = SPACES[-2]
    values = {"without:features.3": True, **{f"width:{name}": 0.5 for name in LAYERS}}
    point = space.point(values)
    assert point.widths == (0.5, 0.0, 0.5)
    assert point == space.point({**values, "width:features.3": 0.75})
    assert space.steps(point, 2) == [
        {"prune": {"method": "depth", "layers": ["features.3"]}},
        {"prune": {"method": "structured", "round_to": 4, "ratio": 0.5, "finetune": tuned(2)}},
    ]


def test_the_last_step_that_changes_shapes_trains() -> None:
    """Where layers go and no channels, that step does."""
    space = SPACES[-2]
    (step,) = space.steps(space.point({"without:features.3": True}), 3)
    assert step == {"prune": {"method": "depth", "layers": ["features.3"], "finetune": tuned(3)}}


def test_of_many_layers_a_share_goes() -> None:
    """Which of them is for the step to find out; `keep` stands in it."""
    space = SPACES[-1]
    assert space.knobs["depth"] == (0.0, 0.25, 0.5)
    assert not any(name.startswith("without:") for name in space.knobs)
    (step,) = space.steps(space.point({"depth": 0.25}), 0)
    assert step == {"prune": {"method": "depth", "ratio": 0.25, "keep": ["hidden"]}}


def tuned(epochs: int) -> dict[str, float]:
    """Fine-tuning by the training's own settings."""
    return {"epochs": epochs, "lr": 0.001, "batch_size": 64}


def test_epochs_are_shared_out_whole() -> None:
    """Ten epochs over three steps are those of the recipes made by hand; one epoch goes to the last step."""
    assert apportioned(["channels", "zeros", "share"], 10) == [2, 6, 2]
    assert apportioned(["channels", "zeros", "share"], 1) == [0, 0, 1]
    assert apportioned(["share"], 10) == [10]
    for epochs in range(12):
        assert sum(apportioned(["channels", "zeros", "share"], epochs)) == epochs


def test_an_empty_space_is_refused() -> None:
    """Nothing to choose is said, with the key."""
    space = Space("executorch", SearchSection(techniques=["share"]), TrainSection(), module=True)
    with pytest.raises(InputError, match="the space is empty"):
        space.check("params.yaml")


def test_the_coarse_points_have_the_smallest_recipe_first() -> None:
    """Where the first is too large for a budget, nothing else needs to be looked at."""
    first = coarse(SPACES[0])[0]
    assert (first.widths, first.sparsity, first.form) == ((0.75, 0.75, 0.75), 0.92, "share-2")
