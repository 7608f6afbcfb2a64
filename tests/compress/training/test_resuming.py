"""A training that is killed goes on where its state was written, and ends in the bytes of one that was not."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.compress import factories
from tests.compress.nets import features
from tests.compress.test_stages import files, project
from weighbridge.compress import stages
from weighbridge.compress.graph.layers import choose_weights
from weighbridge.compress.steps import Constraint
from weighbridge.compress.techniques.prune.magnitude import GrowingMasks
from weighbridge.compress.techniques.quantize.qat import RunningRanges, _patched
from weighbridge.compress.training.loop import History, fit
from weighbridge.compress.training.resuming import resumable
from weighbridge.core.documents import TrainSection
from weighbridge.core.errors import InputError

EVERY_STEP = {"checkpoint_seconds": 1e-9}
RECIPE = [
    {"prune": {"sparsity": 0.5, "schedule": "cubic", "finetune": {"epochs": 2}}},
    {"share": {"bits": 3, "finetune": {"epochs": 2}}},
    {"quantize": {"scheme": "qat-int8", "per_channel": False, "finetune": {"epochs": 2}}},
]


class Killed(BaseException):
    """Ends a training from inside, as nothing that the product catches."""


class Dropping(nn.Module):
    """With dropout and batch normalisation: random numbers and buffers are a part of the state."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.norm, self.drop = nn.Linear(16, 12), nn.BatchNorm1d(12), nn.Dropout(0.3)
        self.classes = nn.Linear(12, 3)
        self.passes = 0
        self.dies_at: int | None = None

    def forward(self, features: Tensor) -> Tensor:
        self.passes += self.training
        if self.passes == self.dies_at:
            raise Killed
        found: Tensor = self.classes(self.drop(torch.relu(self.norm(self.hidden(features)))))
        return found


def net(dies_at: int | None = None) -> Dropping:
    """The same weights each time."""
    torch.manual_seed(1)
    module = Dropping()
    module.dies_at = dies_at
    return module


def trained(module: nn.Module, folder: Path, constraints: Sequence[Constraint] = (), **keys: Any) -> History:
    """A training of eight steps in all whose state is written as often as can be."""
    settings = TrainSection(
        **{"batch_size": 24, "lr": 0.01, **EVERY_STEP, **({} if "steps" in keys else {"epochs": 2}), **keys}
    )
    with resumable(folder, {"stage": "test"}):
        return fit(module, features(), settings, seed=3, constraints=constraints)


def bits(module: Dropping) -> dict[str, Tensor]:
    """Every tensor of a module."""
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    """Whether two sets of tensors are the same bits."""
    return all(torch.equal(tensor, right[name]) for name, tensor in left.items())


@pytest.fixture(autouse=True)
def _at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the share of time that writing may take."""
    monkeypatch.setattr("weighbridge.compress.training.resuming.WRITING", 0)


@pytest.mark.parametrize("dies_at", [3, 6])
@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"augment": "tests.compress.factories:jittered"},
        {"batch_size": 6, "accumulate_grad_batches": 4},
        {"precision": "bf16"},
        {"steps": 7},
    ],
)
def test_an_interrupted_training_ends_in_the_same_bytes(tmp_path: Path, keys: dict[str, Any], dies_at: int) -> None:
    """Whatever it draws or adds up; the steps before are not taken again, and nothing is left behind."""
    whole = net()
    history = trained(whole, tmp_path / "whole", **keys)
    again = net(dies_at * keys.get("accumulate_grad_batches", 1) - 1)
    with pytest.raises(Killed):
        trained(again, tmp_path / "state", **keys)
    assert len(list((tmp_path / "state").iterdir())) == 1
    resumed = net()
    assert trained(resumed, tmp_path / "state", **keys) == history
    assert same(bits(resumed), bits(whole))
    assert resumed.passes < whole.passes - (dies_at - 3)
    assert not (tmp_path / "state").exists()


def test_masks_that_grow_and_ranges_that_follow_go_on_too(tmp_path: Path) -> None:
    """What constraints and fake quantization learn during a training is a part of its state."""

    def started(dies_at: int | None = None) -> tuple[Dropping, GrowingMasks, Any]:
        module = net(dies_at)
        layers = {"hidden": module.hidden, "classes": module.classes}
        growing = GrowingMasks(choose_weights(module, None, [], "prune"), 0.6, "global", 8)
        return module, growing, _patched(module, layers, 127, per_channel=True)

    def went(folder: Path, dies_at: int | None = None) -> tuple[dict[str, Tensor], GrowingMasks, dict[str, Any]]:
        module, growing, patched = started(dies_at)
        with patched as fakes:
            trained(module, folder, [growing, RunningRanges(fakes)])
            return bits(module), growing, {name: fake.range for name, fake in fakes.items()}

    whole = went(tmp_path / "whole")
    with pytest.raises(Killed):
        went(tmp_path / "state", 4)
    resumed = went(tmp_path / "state")
    assert same(resumed[0], whole[0])
    assert resumed[1].taken == whole[1].taken == 8
    assert same(resumed[1].masks, whole[1].masks)
    assert resumed[2] == whole[2]


def test_a_state_that_was_changed_or_belongs_elsewhere_is_refused_by_name(tmp_path: Path) -> None:
    """A state of other settings is not even looked at: it has another name, and stays until the stage succeeds."""
    with pytest.raises(Killed):
        trained(net(5), tmp_path)
    [path] = tmp_path.iterdir()
    good = path.read_bytes()
    other = net(1)
    with pytest.raises(Killed):
        trained(other, tmp_path, lr=0.02)
    assert other.passes == 1  # from the start
    changed = bytearray(good)
    changed[-3] ^= 1
    for bad, problem in ((bytes(changed), "was changed"), (good[:-40], "is not readable")):
        path.write_bytes(bad)
        with pytest.raises(InputError, match=problem) as caught:
            trained(net(), tmp_path)
        assert caught.value.where == str(path)
    path.write_bytes(good)
    with pytest.raises(Killed):
        trained(net(5), tmp_path, lr=0.03)
    [newer] = set(tmp_path.iterdir()) - {path}
    newer.write_bytes(good)
    with pytest.raises(InputError, match="is the state of another training"):
        trained(net(), tmp_path, lr=0.03)


def test_zero_seconds_write_nothing_and_short_trainings_do_not_either(tmp_path: Path) -> None:
    """The default costs a training of under a minute nothing."""
    for seconds in (0, 60):
        with pytest.raises(Killed):
            trained(net(6), tmp_path / "none", checkpoint_seconds=seconds)
        assert not (tmp_path / "none").exists()


def test_a_recipe_killed_for_real_ends_in_the_same_bytes(tmp_path: Path) -> None:
    """Signal 9 in the second of three fine-tunings: pruning is not trained again, and every file is the same."""
    train = {"epochs": 3, "batch_size": 32, "lr": 0.02, "seed": 3, "loss": "tests.compress.factories:counted_loss"}
    sections = {"train": {**train, **EVERY_STEP}, "recipes": {"deep": {"steps": RECIPE}}}
    root = project(tmp_path / "p", **sections)
    for stage in (stages.prepare, stages.train, stages.baseline):
        stage(root)
    again = shutil.copytree(root, tmp_path / "q")
    before = factories.CALLS.count
    stages.compress(root, "deep")
    calls = factories.CALLS.count - before
    command = [Path(sys.executable).with_name("weighbridge"), "stage", "compress", "deep", "--root", again]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "KILLED_AT": "10"}
    died = subprocess.run(command, check=False, env=environment, capture_output=True)
    assert died.returncode == -signal.SIGKILL
    assert list((again / ".weighbridge/training/recipes/deep").glob("*.safetensors"))
    assert not (again / "artifacts/recipes/deep").exists()
    before = factories.CALLS.count
    stages.compress(again, "deep")
    assert factories.CALLS.count - before <= calls - 6
    assert files(again / "artifacts/recipes/deep") == files(root / "artifacts/recipes/deep")
    assert not (again / ".weighbridge/training/recipes/deep").exists()


def test_a_users_loop_has_a_folder_that_a_run_after_a_kill_finds(tmp_path: Path) -> None:
    """Empty at first, as it was left later, gone at the end."""
    root = project(
        tmp_path, train={"epochs": 2, "batch_size": 32, "loop": "tests.compress.factories:loop_with_scratch"}
    )
    stages.prepare(root)
    with pytest.raises(InputError, match="first run"):
        stages.train(root)
    stages.train(root)
    assert not (root / ".weighbridge/training/train").exists()
