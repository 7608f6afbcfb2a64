"""A team's own loop, loss and augmentation train the baseline and every fine-tuning, and cannot break a recipe."""

from pathlib import Path

import pytest
import torch
from torch.optim.optimizer import _global_optimizer_post_hooks

from tests.compress.test_stages import RECIPES, files, project, run
from tests.howto import blocks
from weighbridge.compress import stages
from weighbridge.compress.recipe.project_folder import Project
from weighbridge.core.documents import Manifest
from weighbridge.core.errors import InputError, InvariantError

TRAIN = {"epochs": 6, "batch_size": 32, "lr": 0.02, "seed": 3}
FACTORIES = "tests.compress.factories"


def with_train(root: Path, **keys: str) -> Path:
    """A project that trains in a way of its own."""
    return project(root, train={**TRAIN, **keys})


def test_the_loop_trains_the_baseline_and_its_losses_are_kept(tmp_path: Path) -> None:
    """What the loop reports is the history."""
    root = with_train(tmp_path, loop=f"{FACTORIES}:own_loop")
    stages.prepare(root)
    stages.train(root)
    lines = (root / "artifacts/trained/training.csv").read_text().splitlines()
    assert len(lines) == 1 + TRAIN["epochs"]
    assert float(lines[-1].split(",")[1]) < float(lines[1].split(",")[1])


def test_the_loop_of_the_how_to_page_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is printed there, on the data set that is printed there."""
    data, loop = [block for block in blocks("own-training") if block.kind == "python"]
    (tmp_path / "loop_of_the_page.py").write_text(loop.text)
    (tmp_path / "data_of_the_page.py").write_text(data.text)
    monkeypatch.syspath_prepend(str(tmp_path))
    train = {**TRAIN, "loop": "loop_of_the_page:fit"}
    root = project(tmp_path, train=train, data={"factory": "data_of_the_page:load"})
    stages.prepare(root)
    stages.train(root)
    lines = (root / "artifacts/trained/training.csv").read_text().splitlines()
    assert float(lines[-1].split(",")[1]) < float(lines[1].split(",")[1])


@pytest.mark.parametrize("loop", ["own_loop", "hand_made_loop"])
def test_masks_and_codebooks_survive_the_users_loop(tmp_path: Path, loop: str) -> None:
    """Every technique that fine-tunes uses the loop, and what earlier steps fixed stays fixed: each step proves it."""
    root = run(with_train(tmp_path, loop=f"{FACTORIES}:{loop}"), "slim")
    manifest = Manifest.read(root / "artifacts/recipes/slim/onnxruntime/manifest.json")
    facts = [step.model_dump() for step in manifest.steps]
    assert len(facts) == len(RECIPES["slim"])
    assert manifest.artifact.bytes < Project(root).baseline_manifest("onnxruntime").artifact.bytes / 2


def test_a_teacher_reaches_the_users_loop(tmp_path: Path) -> None:
    """The loss that the loop gets has the teacher's term: without it, other weights come out."""
    taught = run(with_train(tmp_path / "a", loop=f"{FACTORIES}:own_loop"), "tutored")
    recipe = {"tutored": {"steps": [{"prune": {"sparsity": 0.5, "finetune": {"epochs": 1}}}]}}
    alone = run(project(tmp_path / "b", train={**TRAIN, "loop": f"{FACTORIES}:own_loop"}, recipes=recipe), "tutored")
    same = "recipes/tutored/onnxruntime/model.onnx"
    assert files(taught)[same] != files(alone)[same]


def test_the_same_loop_and_seed_give_the_same_bytes(tmp_path: Path) -> None:
    """A user's loop that draws from the given seed is as reproducible as ours."""
    first = run(with_train(tmp_path / "a", loop=f"{FACTORIES}:own_loop"), "slim")
    second = run(with_train(tmp_path / "b", loop=f"{FACTORIES}:own_loop"), "slim")
    name = "recipes/slim/onnxruntime/model.onnx"
    assert files(first)[name] == files(second)[name]


@pytest.mark.parametrize(
    ("loop", "error", "said"),
    [
        ("idle_loop", InvariantError, "took no optimizer step"),
        ("failing_loop", InputError, "failed in train: RuntimeError.'out of patience'"),
        ("nowhere", InputError, "has no callable 'nowhere'"),
    ],
)
def test_a_loop_that_does_not_train_is_refused(
    tmp_path: Path, loop: str, error: type[InvariantError] | type[InputError], said: str
) -> None:
    """Named, with what to do, and no checkpoint is written."""
    root = with_train(tmp_path, loop=f"{FACTORIES}:{loop}")
    stages.prepare(root)
    with pytest.raises(error, match=said):
        stages.train(root)
    assert not (root / "artifacts/trained").exists()


def test_a_loop_that_breaks_a_mask_is_refused(tmp_path: Path) -> None:
    """Weights that were changed after the last step are no longer on the mask, and the gate would measure them."""
    root = with_train(tmp_path, loop=f"{FACTORIES}:breaking_loop")
    stages.prepare(root)
    stages.train(root)
    stages.baseline(root)
    with pytest.raises(InvariantError, match="breaking_loop broke the "):
        stages.compress(root, "slim")


def test_hooks_end_with_the_loop(tmp_path: Path) -> None:
    """An optimizer that steps later, elsewhere, is nobody's business here."""
    before = dict(_global_optimizer_post_hooks)
    run(with_train(tmp_path, loop=f"{FACTORIES}:own_loop"), "slim")
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    parameter.grad = torch.ones(3)
    optimizer.step()
    assert torch.equal(parameter.detach(), torch.zeros(3))
    assert set(_global_optimizer_post_hooks) <= set(before)


@pytest.mark.parametrize("key", ["loss", "augment"])
def test_own_loss_and_augmentation_change_what_is_learned(tmp_path: Path, key: str) -> None:
    """The built-in loop with a loss or an augmentation of the user's."""
    value = f"{FACTORIES}:{'own_loss' if key == 'loss' else 'noise'}"
    plain, own = with_train(tmp_path / "a"), with_train(tmp_path / "b", **{key: value})
    for root in (plain, own):
        stages.prepare(root)
        stages.train(root)
    first, second = (Project(root).trained_module().state_dict() for root in (plain, own))
    assert any(not torch.equal(first[name], second[name]) for name in first)
    again = with_train(tmp_path / "c", **{key: value})
    stages.prepare(again)
    stages.train(again)
    third = Project(again).trained_module().state_dict()
    assert all(torch.equal(second[name], third[name]) for name in second)


@pytest.mark.parametrize(
    ("key", "name", "said"),
    [("loss", "no_scalar", "gave tensor"), ("augment", "dropped_input", "give back features")],
)
def test_a_loss_or_augmentation_that_gives_the_wrong_thing_is_one_error(
    tmp_path: Path, key: str, name: str, said: str
) -> None:
    """Named with the key in params.yaml."""
    root = with_train(tmp_path, **{key: f"{FACTORIES}:{name}"})
    stages.prepare(root)
    with pytest.raises(InputError, match=said) as caught:
        stages.train(root)
    assert caught.value.where == f"params.yaml: train.{key}"


def test_the_users_code_is_part_of_the_lineage(tmp_path: Path) -> None:
    """Another loop is other code, even where it gives the same weights."""
    first = run(with_train(tmp_path / "a"))
    second = run(with_train(tmp_path / "b", loop=f"{FACTORIES}:own_loop"))
    codes = [Manifest.read(root / "artifacts/baseline/onnxruntime/manifest.json").code for root in (first, second)]
    assert codes[0] != codes[1]
