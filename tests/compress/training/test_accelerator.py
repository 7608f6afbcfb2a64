"""Device and precision of training: the CPU in float32 unless params say otherwise, and recorded where they do."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.compress.nets import MLP, features
from tests.compress.test_stages import project
from weighbridge.compress import stages
from weighbridge.compress.techniques.distill import distillation_loss
from weighbridge.compress.training.accelerator import Accelerator, chosen
from weighbridge.compress.training.checkpoint import trained_on
from weighbridge.compress.training.loop import History, fit
from weighbridge.compress.training.module_quality import evaluate, quality
from weighbridge.core.documents import Manifest, TrainSection
from weighbridge.core.errors import InputError


@pytest.fixture
def _cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@pytest.fixture
def _no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def trained(**keys: Any) -> tuple[MLP, History]:
    """A small net, trained."""
    torch.manual_seed(1)
    module = MLP()
    settings = TrainSection(epochs=6, batch_size=32, lr=0.01, **keys)
    return module, fit(module, features(), settings, seed=3)


@pytest.mark.usefixtures("_cuda")
def test_cuda_is_taken_where_it_is_asked_for_and_recorded() -> None:
    """`cpu` is the default even beside a GPU."""
    assert chosen(TrainSection()).recorded() is None
    for device in ("auto", "cuda"):
        found = chosen(TrainSection(device=device, precision="fp16"))
        assert (found.device.type, found.recorded()) == ("cuda", "NVIDIA H200, fp16")


@pytest.mark.usefixtures("_no_cuda")
def test_cuda_that_is_missing_is_one_error_before_anything_is_written(tmp_path: Path) -> None:
    """`auto` takes the CPU then, with the same bits as `cpu`."""
    root = project(tmp_path, train={"epochs": 1, "batch_size": 32, "device": "cuda"})
    stages.prepare(root)
    with pytest.raises(InputError, match=r"params\.yaml: train\.device: cuda is asked for"):
        stages.train(root)
    assert not (root / "artifacts/trained").exists()
    (one, history), (other, _) = trained(device="auto"), trained()
    assert history.device is None
    assert all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))
    with pytest.raises(InputError, match="fp16 trains on CUDA alone"):
        chosen(TrainSection(device="auto", precision="fp16"))
    with pytest.raises(ValueError, match="fp16 trains on CUDA"):
        TrainSection(precision="fp16")


def test_bf16_learns_keeps_float32_weights_and_repeats_itself() -> None:
    """Other bits than float32, the same ones each time."""
    (one, history), (again, _), (full, _) = trained(precision="bf16"), trained(precision="bf16"), trained()
    assert history.device == "cpu, bf16"
    assert all(tensor.dtype == torch.float32 for tensor in one.state_dict().values())
    assert all(map(torch.equal, one.state_dict().values(), again.state_dict().values()))
    assert not torch.equal(one.more.weight, full.more.weight)
    assert quality(evaluate(one, features()), features().labels) > 0.8


def test_every_loss_and_a_teacher_bear_bf16() -> None:
    """Losses get float32 outputs, a sigmoid's too."""
    settings = TrainSection(epochs=1, batch_size=32, precision="bf16")
    teacher, split = MLP().eval(), features()
    loss = distillation_loss(teacher, split, settings, temperature=2, weight=0.5)
    assert fit(MLP(), split, settings, seed=3, loss=loss).steps == 3

    class Probability(MLP):
        def forward(self, features: Tensor) -> Tensor:
            return super().forward(features)[:, :1].sigmoid()

    binary = type(split)(split.inputs, split.labels % 2)
    keys = {"loss": "binary_cross_entropy"}
    assert fit(Probability(), binary, settings.model_copy(update=keys), seed=3).losses[0] < 1


def test_manifests_say_where_baseline_and_recipe_were_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of CPU and float32 they say nothing: those bytes follow from the inputs."""
    steps = [{"prune": {"sparsity": 0.5, "finetune": {"epochs": 1}}}]
    root = project(tmp_path, train={"epochs": 1, "batch_size": 32}, recipes={"slim": {"steps": steps}})
    stages.prepare(root)
    stages.train(root)
    stages.baseline(root)
    assert trained_on(root / "artifacts/trained/checkpoint.safetensors") is None
    assert Manifest.read(root / "artifacts/baseline/onnxruntime/manifest.json").training == {}
    gpu = Accelerator(torch.device("cpu"), "NVIDIA H200", "fp32")  # its name, on what there is here
    for module in ("training.loop", "built_manifest"):
        monkeypatch.setattr(f"weighbridge.compress.{module}.chosen", lambda _: gpu)
    stages.train(root)
    stages.baseline(root)
    stages.compress(root, "slim")
    said = "NVIDIA H200, fp32"
    assert Manifest.read(root / "artifacts/baseline/onnxruntime/manifest.json").training == {"baseline": said}
    recipe = Manifest.read(root / "artifacts/recipes/slim/onnxruntime/manifest.json")
    assert recipe.training == {"baseline": said, "recipe": said}
    assert recipe.steps[0].facts["device"] == said
