"""A user's trained weights become the baseline, number for number, or are refused with the tensor's name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.compress.nets import MLP
from tests.compress.test_stages import project, run
from weighbridge.compress import stages
from weighbridge.compress.recipe.project_folder import Project
from weighbridge.compress.training.weights import load_weights
from weighbridge.core.documents import Params
from weighbridge.core.errors import InputError

MODEL = {"name": "tiny", "factory": "tests.compress.nets:MLP"}
SHORT = {"epochs": 1, "batch_size": 32, "lr": 1e-5, "seed": 3}


def trained() -> MLP:
    """A module whose weights no factory gives."""
    torch.manual_seed(99)
    module = MLP()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.1)
    return module


def saved(folder: Path, form: str, state: dict[str, Any]) -> Path:
    """The state in one of the forms that people keep."""
    if form == "safetensors":
        path = folder / "net.safetensors"
        save_file(state, path)
        return path
    path = folder / "net.pt"
    content = {
        "plain": state,
        "lightning": {"state_dict": state, "epoch": 3, "lr": 0.1},
        "parallel": {f"module.{name}": tensor for name, tensor in state.items()},
        "half": {name: tensor.bfloat16() for name, tensor in state.items()},
    }[form]
    torch.save(content, path)
    return path


@pytest.mark.parametrize("form", ["safetensors", "plain", "lightning", "parallel"])
def test_the_baseline_has_the_weights_number_for_number(tmp_path: Path, form: str) -> None:
    """`train: none` trains nothing: what the file holds is what is exported and compared with."""
    source = trained()
    root = project(tmp_path / "p", train="none")
    path = saved(root, form, source.state_dict())
    text = (
        (root / "params.yaml")
        .read_text()
        .replace("factory: tests.compress.nets:MLP", f"factory: tests.compress.nets:MLP\n  weights: {path.name}")
    )
    (root / "params.yaml").write_text(text)
    run(root, "int8")
    found = Project(root).trained_module().state_dict()
    for name, tensor in source.state_dict().items():
        assert torch.equal(found[name], tensor), name
    assert (root / "artifacts/trained/training.csv").read_text() == "epoch,loss\n"


def test_training_starts_from_weights_where_it_is_not_none(tmp_path: Path) -> None:
    """With epochs, the weights are the start of a fine-tuning."""
    root = project(tmp_path / "p", train=SHORT)
    source = trained()
    path = saved(root, "safetensors", source.state_dict())
    (root / "params.yaml").write_text(
        (root / "params.yaml")
        .read_text()
        .replace("factory: tests.compress.nets:MLP", f"factory: tests.compress.nets:MLP\n  weights: {path.name}")
    )
    stages.prepare(root)
    stages.train(root)
    found = Project(root).trained_module().state_dict()
    name = next(iter(found))
    assert not torch.equal(found[name], source.state_dict()[name])
    assert torch.allclose(found[name], source.state_dict()[name], atol=1e-3)


def test_bfloat16_weights_fit_a_float32_module(tmp_path: Path) -> None:
    """Every bfloat16 number is a float32 number."""
    source, module = trained(), MLP()
    load_weights(saved(tmp_path, "half", source.state_dict()), module, "here")
    name, tensor = next(iter(source.state_dict().items()))
    assert torch.equal(module.state_dict()[name], tensor.bfloat16().float())


class Tied(nn.Module):
    """An embedding tied to the head."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self.head = nn.Linear(4, 10, bias=False)
        self.head.weight = self.embedding.weight


def test_a_tied_weight_may_stand_under_one_name(tmp_path: Path) -> None:
    """Safetensors stores a shared tensor once."""
    torch.manual_seed(5)
    source, module = Tied(), Tied()
    path = tmp_path / "tied.safetensors"
    save_file({"embedding.weight": source.embedding.weight.detach().clone()}, path)
    load_weights(path, module, "here")
    assert torch.equal(module.head.weight, source.head.weight)


def wrong(state: dict[str, Any], fault: str) -> dict[str, Any]:
    """A state with one fault."""
    name = next(iter(state))
    state = dict(state)
    if fault == "missing":
        del state[name]
    elif fault == "surplus":
        state["extra.weight"] = torch.zeros(2)
    elif fault == "shape":
        state[name] = torch.zeros(1, 1)
    elif fault == "nan":
        state[name] = torch.full_like(state[name], float("nan"))
    elif fault == "double":
        state[name] = state[name].double()
    return state


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("missing", "does not fit the module: it lacks '"),
        ("surplus", "it has 'extra.weight' besides"),
        ("shape", r"is \(1, 1\) in net.safetensors and"),
        ("nan", "contains NaN or infinite values"),
        ("double", "is float64 in net.safetensors and float32 in the module"),
    ],
)
def test_weights_that_do_not_fit_are_named_and_nothing_changes(tmp_path: Path, fault: str, said: str) -> None:
    """One line with the tensor; the module keeps what it had."""
    module = MLP()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    path = saved(tmp_path, "safetensors", wrong(trained().state_dict(), fault))
    with pytest.raises(InputError, match=said) as caught:
        load_weights(path, module, "params.yaml: model.weights")
    assert caught.value.where == "params.yaml: model.weights"
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


class Payload:
    """What a pickle could run."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return (print, ("ran",))


@pytest.mark.parametrize("content", ["pickle", "module", "garbage", "numbers", "absent"])
def test_what_is_no_state_dict_is_refused_and_never_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    """Whole modules and pickles are not loaded."""
    path = tmp_path / "net.pt"
    if content == "pickle":
        torch.save({"weight": Payload()}, path)
    elif content == "module":
        torch.save(MLP(), path)
    elif content == "garbage":
        path.write_bytes(b"\x00" * 100)
    elif content == "numbers":
        torch.save({"weight": 3}, path)
    with pytest.raises(InputError):
        load_weights(path, MLP(), "here")
    assert "ran" not in capsys.readouterr().out


def test_weights_without_a_factory_are_refused(tmp_path: Path) -> None:
    """An ONNX file brings its own."""
    root = project(tmp_path, model={"name": "tiny", "onnx": "net.onnx", "weights": "net.safetensors"})
    with pytest.raises(InputError, match="'weights' belong to a 'factory'"):
        Params.read(root / "params.yaml")


def test_fine_tuning_says_its_epochs_where_nothing_is_trained(tmp_path: Path) -> None:
    """A recipe takes from `train` what it does not set, and `train: none` has no epochs."""
    root = project(tmp_path, train="none", recipes={"slim": {"steps": [{"prune": {"sparsity": 0.5, "finetune": {}}}]}})
    stages.prepare(root)
    stages.train(root)
    stages.baseline(root)
    with pytest.raises(InputError, match="has no epochs"):
        stages.compress(root, "slim")
    assert not (root / "artifacts/recipes/slim").exists()
