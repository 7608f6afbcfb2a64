"""One recipe for several targets: what the files hold, how they answer beside each other, and what is caught."""

import copy
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.compress.export.conftest import OTHERS, Net, composed, steps
from tests.compress.nets import context
from weighbridge.compress import invariants
from weighbridge.compress.export import EXPORTERS
from weighbridge.compress.export.target import ports
from weighbridge.compress.recipe.compose import compose_all, export_baseline
from weighbridge.compress.recipe.recipe import TECHNIQUES
from weighbridge.compress.recipe.recipe_run import BuiltArtifact
from weighbridge.compress.steps import Context, Graph, Subject
from weighbridge.compress.techniques.quantize import Quantize
from weighbridge.compress.training.module_quality import predict
from weighbridge.core.errors import InputError, InvariantError
from weighbridge.core.files import sha256_bytes
from weighbridge.data import Split


@pytest.mark.parametrize("name", OTHERS)
def test_float_files_equal_their_module(net: tuple[Net, Context], programs: dict[str, Any], name: str) -> None:
    """To float round-off, on one example at a time."""
    few = net[1].data.calibration.take(slice(0, 16))
    ours = EXPORTERS[name].run(EXPORTERS[name].write(programs[name].model), few.inputs)
    np.testing.assert_allclose(ours[0], predict(net[0], few)[0], atol=1e-5)


@pytest.mark.parametrize("name", OTHERS)
def test_ports_are_named_as_in_the_onnx_export(programs: dict[str, Any], name: str) -> None:
    """The gate feeds by name, whatever the target."""
    assert ports(programs[name]) == {"inputs": ["image"], "outputs": ["output"]}


def test_integer_files_hold_integers_and_run_on_fast_kernels(pruned: dict[str, BuiltArtifact]) -> None:
    """Every weight is stored in 8 bits, and a delegate takes the graph."""
    for name in OTHERS:
        reading = EXPORTERS[name].read(pruned[name].data)
        assert reading.integers == 3
        assert reading.kernels["delegates"] >= 1
        assert pruned[name].steps[-1].facts["int8_tensors"] == 3
        assert pruned[name].parity["kernels"] == reading.kernels


def test_module_steps_are_shared_and_sizes_are_each_targets_own(
    net: tuple[Net, Context], pruned: dict[str, BuiltArtifact]
) -> None:
    """One pruning, three files; parameters and MACs are the network's, bytes the file's."""
    counts = {(artifact.sizes.params, artifact.sizes.macs) for artifact in pruned.values()}
    assert len(counts) == 1
    for name, artifact in pruned.items():
        assert [record.technique for record in artifact.steps] == ["prune", "quantize"]
        assert artifact.sizes.bytes == len(artifact.data)
        assert artifact.steps[-1].sizes == artifact.sizes
        assert (artifact.steps[0].sizes is None) == (name in OTHERS)


def test_module_halves_run_once(net: tuple[Net, Context], monkeypatch: pytest.MonkeyPatch) -> None:
    """Pruning runs once for all targets, training with rounding once for those that share it."""
    calls = []

    def prune(*given: Any) -> Any:
        calls.append("prune")
        return pruning(*given)

    def train(_: object, subject: Subject, __: object) -> tuple[Subject, dict[str, Any]]:
        calls.append("train")
        return Subject(copy.deepcopy(subject.module), subject.constraints, {"seen": len(calls)}), {}

    def lower(_: object, graph: Graph, surroundings: Context) -> Any:
        calls.append(("lower", graph.notes["seen"]))
        return TECHNIQUES["quantize"].lower(Quantize(scheme="static-int8"), graph, surroundings)

    pruning = TECHNIQUES["prune"].module
    monkeypatch.setitem(TECHNIQUES, "prune", replace(TECHNIQUES["prune"], module=prune))
    targets = [
        replace(EXPORTERS["onnxruntime"], name=name, trainings={"quantize": train}, lowerings={"quantize": lower})
        for name in ("one", "two")
    ]
    recipe = steps({"prune": {"sparsity": 0.5}}, {"quantize": {"scheme": "qat-int8", "finetune": {"epochs": 1}}})
    made = compose_all(recipe, Subject(copy.deepcopy(net[0])), net[1], targets)
    assert calls == ["prune", "train", ("lower", 2), ("lower", 2)]
    assert made["one"].data == made["two"].data


def test_files_of_one_recipe_are_compared_with_each_other(pruned: dict[str, BuiltArtifact]) -> None:
    """The manifest says how every pair of targets answers on the same inputs."""
    for name, artifact in pruned.items():
        beside = artifact.parity["targets"]
        assert set(beside) == set(EXPORTERS) - {name}
        assert all(pair["agreement"] > 0.95 and pair["examples"] == 96 for pair in beside.values())


def test_both_runtimes_compute_the_same_trained_integers(taught: dict[str, BuiltArtifact]) -> None:
    """LiteRT and ExecuTorch run one trained graph: within one step of the output's rounding."""
    for name in OTHERS:
        pair = taught[name].parity["targets"][next(other for other in OTHERS if other != name)]
        assert pair["agreement"] == 1.0
        assert pair["largest_difference"] < 0.05


def test_pruned_and_shared_weights_survive_in_the_files(
    pruned: dict[str, BuiltArtifact], taught: dict[str, BuiltArtifact]
) -> None:
    """Zeros and codebooks are found again in the integers, whatever the format."""
    for name in OTHERS:
        assert pruned[name].parity["zeros"] >= 0.55 * sum(v.size for v in weights(name, pruned[name].data))
        assert taught[name].parity["shared"] >= 2


def weights(name: str, data: Any) -> list[Any]:
    """Weights of a file."""
    return list(EXPORTERS[name].read(data).weights.values())


@pytest.mark.parametrize("name", OTHERS)
def test_a_file_without_its_zeros_is_caught(
    net: tuple[Net, Context], pruned: dict[str, BuiltArtifact], programs: dict[str, Any], name: str
) -> None:
    """Claims of the pruned net against the file of the net that was never pruned."""
    reading = EXPORTERS[name].read(pruned[name].data)
    made = invariants.claims_of_file(reading.weights)
    assert made
    invariants.claims_hold(made, reading.weights, "here")
    dense = EXPORTERS[name].read(EXPORTERS[name].write(programs[name].model))
    with pytest.raises(InvariantError, match="zeros"):
        invariants.claims_hold(made, dense.weights, "here")
    with pytest.raises(InvariantError, match="integer operators"):
        invariants.integers_kept(reading.integers, dense.integers, "here")


@pytest.mark.parametrize("name", OTHERS)
def test_a_target_whose_file_answers_otherwise_is_caught(
    net: tuple[Net, Context], programs: dict[str, Any], name: str
) -> None:
    """A runtime that is wrong by a hundredth of the largest output, and one that gives NaN."""
    shifted = replace(
        EXPORTERS[name],
        export=lambda *_: programs[name],
        run=lambda data, inputs: tuple(output + 0.1 for output in EXPORTERS[name].run(data, inputs)),
    )
    with pytest.raises(InvariantError, match="differs from the module"):
        export_baseline(Subject(net[0]), net[1], shifted)
    broken = replace(
        shifted, run=lambda data, inputs: tuple(output * np.nan for output in EXPORTERS[name].run(data, inputs))
    )
    with pytest.raises(InvariantError, match="NaN"):
        export_baseline(Subject(net[0]), net[1], broken)


def test_a_baseline_is_compared_with_onnxruntime(net: tuple[Net, Context], programs: dict[str, Any]) -> None:
    """The uncompressed file of another target answers as the uncompressed ONNX file does."""
    made = replace(EXPORTERS["litert"], export=lambda *_: programs["litert"])
    beside = export_baseline(Subject(net[0]), net[1], made).parity["targets"]["onnxruntime"]
    assert beside["agreement"] == 1.0
    assert beside["largest_difference"] < 1e-4


class Determinant(nn.Module):
    """A layer with an operator that ONNX has and the others lack."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return torch.linalg.det(values.reshape(-1, 4, 2, 2))


class Odd(nn.Module):
    """Features (n, 16) → logits (n, 4)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.odd = nn.Linear(16, 16), Determinant()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.odd(self.first(features))


@pytest.mark.parametrize("name", OTHERS)
def test_an_operator_that_a_target_lacks_is_named_with_its_layer(name: str) -> None:
    """Nobody searches a traceback of three frameworks."""
    split = Split({"features": np.zeros((2, 16), np.float32)}, np.arange(2))
    with pytest.raises(InputError) as refused:
        EXPORTERS[name].export(Odd().eval(), split)
    assert re.search(r"operator aten\.[\w.]*det[\w.]* in layer 'odd' \(Determinant\)", str(refused.value))
    assert name in str(refused.value)


class Picked(nn.Module):
    """As many rows as values are positive."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features[:, torch.nonzero(features[0] > 0).flatten()].sum(1, keepdim=True)


class Picky(nn.Module):
    """Features (n, 16) → (n, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.pick = nn.Linear(16, 16), Picked()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.pick(self.first(features))


@pytest.mark.parametrize("name", OTHERS)
def test_a_shape_that_depends_on_values_is_named_with_its_layer(name: str) -> None:
    """LiteRT lacks the operator; ExecuTorch has it, and no place for what it gives."""
    split = Split({"features": np.ones((2, 16), np.float32)}, np.arange(2))
    with pytest.raises(InputError) as refused:
        EXPORTERS[name].export(Picky().eval(), split)
    said = rf"target {name} .* operator aten\.nonzero\.default in layer 'pick' \(Picked\)"
    assert re.search(said, str(refused.value))


class Branch(nn.Module):
    """Python control flow on a tensor's value."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features if features.sum() > 0 else -features


@pytest.mark.parametrize("name", OTHERS)
def test_control_flow_on_values_is_refused_in_one_line(name: str) -> None:
    """With the place in the user's code or the exporter's reason, and what to do."""
    split = Split({"features": np.zeros((2, 16), np.float32)}, np.arange(2))
    with pytest.raises(InputError, match="Python control flow") as refused:
        EXPORTERS[name].export(Branch(), split)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", OTHERS)
def test_outputs_without_a_batch_are_refused(name: str) -> None:
    """A scalar for a batch of one cannot be compared or judged."""

    class Summed(nn.Module):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return features.sum()

    split = Split({"features": np.zeros((2, 16), np.float32)}, np.arange(2))
    with pytest.raises(InputError, match="first dimension must be the batch"):
        EXPORTERS[name].export(Summed(), split)


class Words(nn.Module):
    """Tokens (n, 4) of 64-bit integers and features (n, 8) → logits (n, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.classes = nn.Embedding(11, 8), nn.Linear(8, 3)

    def forward(self, features: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return self.classes(self.table(tokens).mean(1) + features)


@pytest.mark.parametrize("name", OTHERS)
def test_inputs_keep_their_types_and_their_names(name: str) -> None:
    """64-bit integers are fed as such, and inputs go by name though the data has another order."""
    torch.manual_seed(0)
    net = Words().eval()
    rng = np.random.default_rng(0)
    inputs = {"tokens": rng.integers(0, 11, (6, 4)), "features": rng.normal(size=(6, 8)).astype(np.float32)}
    split = Split(inputs, np.arange(6) % 3)
    program = EXPORTERS[name].export(net, split)
    data = EXPORTERS[name].write(program.model)
    assert program.inputs == ("tokens", "features")
    np.testing.assert_allclose(EXPORTERS[name].run(data, inputs)[0], predict(net, split)[0], atol=1e-5)
    assert context(net, split).data.calibration is not None


def test_two_processes_give_the_same_bytes_without_a_trace_of_where(
    programs: dict[str, Any], pruned: dict[str, BuiltArtifact]
) -> None:
    """Files are a function of model, data and code; they hold no path, no class name, no time.

    ONNX files are the same whether the other converters were ever loaded into the process, as they are here.
    """
    script = (
        "import sys\n"
        "from tests.compress.export.conftest import trained_net, composed, OTHERS\n"
        "from weighbridge.core.files import sha256_bytes\n"
        "recipe = {'prune': {'sparsity': 0.6}}, {'quantize': {'scheme': 'static-int8'}}\n"
        "made = composed(*trained_net(), *recipe, targets=('onnxruntime',))\n"
        "assert 'litert_torch' not in sys.modules and 'executorch' not in sys.modules\n"
        "made |= composed(*trained_net(), *recipe, targets=OTHERS)\n"
        "print('digests', *(sha256_bytes(made[name].data) for name in ('onnxruntime', *OTHERS)))\n"
    )
    root = Path(__file__).parents[3]
    ran = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    line = next(line for line in ran.stdout.splitlines() if line.startswith("digests"))
    assert line.split()[1:] == [sha256_bytes(pruned[name].data) for name in ("onnxruntime", *OTHERS)]
    for name in OTHERS:
        for data in (pruned[name].data, EXPORTERS[name].write(programs[name].model)):
            for trace in (str(root).encode(), b"torch.nn", b"conftest", b"MLIR", b"site-packages", b".py"):
                assert trace not in data


def test_converters_keep_quiet(
    net: tuple[Net, Context], programs: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    """What they print, their C++ parts included, is not a user's business."""
    few = net[1].data.calibration.take(slice(0, 2)).inputs
    for name in OTHERS:
        EXPORTERS[name].run(EXPORTERS[name].write(programs[name].model), few)
    composed(*net, {"quantize": {"scheme": "dynamic-int8"}}, targets=("litert",))
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""
