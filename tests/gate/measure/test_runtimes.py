"""LiteRT and ExecuTorch: files read without running them, and run by their adapters in workers."""

import json
import struct
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gate.models import artifact, linear
from weighbridge.core.documents import Absent, ArtifactFile, Budget, Exact, Manifest, Sizes, Weighing
from weighbridge.core.errors import InputError, MeasurementError
from weighbridge.core.facts.targets import target_of_suffix
from weighbridge.core.files import sha256_bytes
from weighbridge.core.formats import pte_file, tflite_file
from weighbridge.core.formats.onnx_file import Port, Signature
from weighbridge.data import Split
from weighbridge.gate.devices.local import Local
from weighbridge.gate.measure.evaluation import Manner
from weighbridge.gate.measure.feeding import feeding
from weighbridge.gate.measure.launch_setup import LaunchProtocol, Setup
from weighbridge.gate.measure.model_files import read_model
from weighbridge.gate.measure.process import open_artifact, send_arrays
from weighbridge.gate.measure.runtimes import ADAPTERS
from weighbridge.gate.measure.sizes import facts
from weighbridge.gate.measure.staged_artifact import StagedArtifact
from weighbridge.gate.verdict.judge import judge
from weighbridge.gate.weighing.job import Source, read_job
from weighbridge.gate.weighing.weigh import weigh

FILES = Path(__file__).parents[2] / "fixtures" / "targets"
TARGETS = {"litert": ".tflite", "executorch": ".pte"}
QUICK = LaunchProtocol(warm_seconds=0.0, rounds=20, fewest_rounds=5, launch_seconds=0.2, timeout=60)


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    with np.load(FILES / "answers.npz") as archive:
        return dict(archive)


def placed(tmp_path: Path, name: str, target: str, **manifest: dict[str, list[str]]) -> Path:
    """A file with a manifest that is about its bytes."""
    data = (FILES / f"{name}{TARGETS[target]}").read_bytes()
    tmp_path.mkdir(parents=True, exist_ok=True)
    path = tmp_path / f"model{TARGETS[target]}"
    path.write_bytes(data)
    digest = sha256_bytes(data)
    Manifest(
        model="net", recipe_name="baseline", recipe={}, target=target,
        artifact=ArtifactFile(path=path.name, digest=digest, bytes=len(data)),
        sizes=Sizes(bytes=len(data), gzip=1, zstd=1, params=811, macs=3072),
        data=digest, code=digest, seed=1, environment={}, **manifest,
    ).write(tmp_path / "manifest.json")  # fmt: skip
    return path


NAMES = {"net": {"inputs": ["x"], "outputs": ["scores"]}, "two": {"inputs": ["b", "a"], "outputs": ["d", "larger"]}}


@pytest.mark.parametrize("target", TARGETS)
def test_a_file_says_what_it_takes_and_gives(tmp_path: Path, target: str) -> None:
    """Names, types and shapes, without any runtime; ExecuTorch's names are the manifest's."""
    model = read_model(placed(tmp_path, "two", target, ports=NAMES["two"]), "candidate")
    assert {port.name: (port.dtype, port.shape) for port in model.signature.inputs} == {
        "a": ("float32", (1, 4)),
        "b": ("float32", (1, 4)),
    }
    assert [port.dtype for port in model.signature.outputs] == ["float32", "int32"]
    assert model.size == model.path.stat().st_size


@pytest.mark.parametrize("target", TARGETS)
def test_counts_are_the_manifests_or_absent(tmp_path: Path, target: str) -> None:
    """Parameters and MACs are those of the network; without a manifest of these bytes nobody guesses."""
    with_manifest = read_model(placed(tmp_path / "a", "net", target), "candidate")
    assert facts(with_manifest, with_manifest)["params"] == Exact(candidate=811, reference=811)
    assert facts(with_manifest, with_manifest)["macs"] == Exact(candidate=3072, reference=3072)
    path = placed(tmp_path / "b", "net", target)
    path.write_bytes(path.read_bytes() + b"\0\0\0\0")
    without = read_model(path, "candidate", ["x"])
    found = facts(without, with_manifest)
    assert isinstance(found["params"], Absent)
    assert "no manifest of these bytes" in found["macs"].reason
    assert isinstance(found["size.bytes"], Exact)


@pytest.mark.parametrize("target", TARGETS)
def test_macs_that_the_manifest_could_not_count_are_absent(tmp_path: Path, target: str) -> None:
    """A sum without the operators that nobody could count is no number to hold a budget against."""
    path = placed(tmp_path, "net", target)
    beside = path.with_name("manifest.json")
    manifest = json.loads(beside.read_text())
    manifest["sizes"]["macs_unknown"] = ["Einsum"]
    beside.write_text(json.dumps(manifest))
    model = read_model(path, "candidate")
    found = facts(model, model)
    assert found["params"] == Exact(candidate=811, reference=811)
    assert "cannot be computed for Einsum" in found["macs"].reason


def test_executorch_files_have_no_names(tmp_path: Path) -> None:
    """One input takes the data's name; two need the manifest; as many names as ports."""
    path = tmp_path / "two.pte"
    path.write_bytes((FILES / "two.pte").read_bytes())
    with pytest.raises(InputError, match=r"has 2 inputs; the manifest beside it names 0"):
        read_model(path, "candidate", ["a", "b"])
    copied = tmp_path / "net.pte"
    copied.write_bytes((FILES / "net.pte").read_bytes())
    assert read_model(copied, "candidate", ["pixels"]).signature.inputs == (Port("pixels", "float32", (1, 1, 8, 8)),)
    with pytest.raises(InputError, match="has 2 outputs; the manifest beside it names 1"):
        read_model(placed(tmp_path / "m", "two", "executorch", ports={"inputs": ["b", "a"], "outputs": ["d"]}), "x")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("data", "said"), [(b"", "is empty"), (b"not a model", "is no "), (b"\x10\0\0\0ABCD", "is no ")]
)
def test_other_files_are_one_error(tmp_path: Path, target: str, data: bytes, said: str) -> None:
    """Empty, text, and a FlatBuffers file of another kind."""
    path = tmp_path / f"m{TARGETS[target]}"
    path.write_bytes(data)
    with pytest.raises(InputError, match=said) as caught:
        read_model(path, "candidate")
    assert caught.value.where == str(path)


@pytest.mark.parametrize(("reader", "file"), [(tflite_file, "two.tflite"), (pte_file, "net.pte")])
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_damaged_file_is_an_input_error_or_a_signature(reader: ModuleType, file: str, data: st.DataObject) -> None:
    """Cut anywhere, and with any word overwritten: no offset leads out of the file, and nothing else is raised."""
    content = bytearray((FILES / file).read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    else:
        place = data.draw(st.integers(8, len(content) - 4))
        value = data.draw(st.one_of(st.integers(0, 2**32 - 1), st.sampled_from([0, 2**31, 2**32 - 1, 4])))
        struct.pack_into("<I", content, place, value)
    try:
        found = reader.signature(bytes(content), "file")
    except InputError as error:
        found = error
    assert isinstance(found, Signature) or found.where == "file"


@pytest.mark.parametrize("target", TARGETS)
def test_a_worker_answers_as_torch_did(tmp_path: Path, target: str, answers: dict[str, Any]) -> None:
    """Through the shipped file, in a process with that runtime, one example at a time: the shape is fixed."""
    model = read_model(placed(tmp_path, "net", target, ports=NAMES["net"]), "candidate")
    split = Split({"x": answers["x"]}, answers["net"].argmax(axis=1))
    feed = feeding(model.signature, split, "data")
    assert feed.batch == 1
    with Local() as here:
        staged = here.stage([model], target)["candidate"]
        found, note = here.answer(staged, split, [0], Manner(feed, batch_size=32))
    np.testing.assert_allclose(found[0], answers["net"], atol=1e-5)
    assert note == "evaluated at batch 1"


@pytest.mark.parametrize("target", TARGETS)
def test_inputs_reach_the_right_port(tmp_path: Path, target: str, answers: dict[str, Any]) -> None:
    """By name, or in the order that the manifest gives: fed the other way round the answers would differ."""
    model = read_model(placed(tmp_path, "two", target, ports=NAMES["two"]), "candidate")
    split = Split({"a": np.repeat(answers["a"], 3, 0), "b": np.repeat(answers["b"], 3, 0)}, np.zeros(3, np.int64))
    split.inputs["a"][1] += 1  # or every answer would be the same
    with Local() as here:
        staged = here.stage([model], target)["candidate"]
        found, _ = here.answer(staged, split, [0, 1], Manner(feeding(model.signature, split, "data")))
    np.testing.assert_allclose(found[0][0], answers["first"][0], atol=1e-6)
    np.testing.assert_array_equal(found[1][2], answers["second"][0])
    assert not np.allclose(found[0][1], found[0][0])


def imported(model: StagedArtifact) -> tuple[set[Any], dict[str, Any]]:
    opened, started = open_artifact(model, timeout=60.0)
    with opened:
        return set(opened.ask("status")[0]["modules"]), started


def test_a_worker_imports_one_runtime(tmp_path: Path) -> None:
    """What it measures is the artifact: no converter, no other runtime; torch where ExecuTorch's binding needs it."""
    roots = {}
    for target, suffix in TARGETS.items():
        path = FILES / f"net{suffix}"
        model = StagedArtifact("candidate", ((str(path), sha256_bytes(path.read_bytes())),), ADAPTERS[target], ("x",))
        modules, started = imported(model)
        roots[target] = {name.partition(".")[0] for name in modules}
        assert started["version"]
        assert "executorch.exir" not in modules
    modules, _ = imported(artifact(linear(tmp_path / "m.onnx")))
    assert not {"torch", "ai_edge_litert", "executorch"} & {name.partition(".")[0] for name in modules}
    assert not {"torch", "tensorflow", "jax", "litert_torch", "onnxruntime"} & roots["litert"]
    assert not {"torchao", "tensorflow", "onnxruntime", "ai_edge_litert"} & roots["executorch"]


def tasks(target: str, threads: int) -> int:
    """How many threads a worker's process has once its model has answered."""
    path = FILES / f"net{TARGETS[target]}"
    model = StagedArtifact("candidate", ((str(path), sha256_bytes(path.read_bytes())),), ADAPTERS[target], ("x",))
    with open_artifact(model, threads=threads, timeout=60.0)[0] as opened:
        send_arrays(opened, "inputs", {"x": np.ones((2, 1, 8, 8), np.float32)}, batch=1, single=[])
        opened.ask("warm", inferences=3, seconds=0, most_seconds=1)
        return len(list(Path(f"/proc/{opened.process.pid}/task").iterdir()))


@pytest.mark.parametrize("target", TARGETS)
def test_threads_are_as_declared(target: str) -> None:
    """Two more threads are two more in the process, whatever the machine has."""
    assert tasks(target, 3) - tasks(target, 1) >= 2


@pytest.mark.parametrize("target", TARGETS)
def test_a_broken_file_is_a_fault_of_the_worker(tmp_path: Path, target: str) -> None:
    """What the reader lets pass and the runtime refuses is named with what the runtime said."""
    data = bytearray((FILES / f"net{TARGETS[target]}").read_bytes())
    data[len(data) // 2 :] = b"\xff" * (len(data) - len(data) // 2)
    path = tmp_path / f"m{TARGETS[target]}"
    path.write_bytes(data)
    model = StagedArtifact("candidate", ((str(path), sha256_bytes(bytes(data))),), ADAPTERS[target], ("x",))
    with pytest.raises(MeasurementError) as caught, open_artifact(model, timeout=60.0)[0] as opened:
        opened.ask("warm", inferences=1, seconds=0, most_seconds=1)
    assert caught.value.where == "candidate"


@pytest.mark.parametrize("target", TARGETS)
def test_a_launch_measures_it(tmp_path: Path, target: str, answers: dict[str, Any]) -> None:
    """The same protocol as for ONNX Runtime: bursts of two processes, memory and cold start."""
    models = [
        read_model(placed(tmp_path / name, "net", target, ports=NAMES["net"]), name)
        for name in ("baseline", "candidate")
    ]
    with Local() as here:
        ready = Setup(here.stage(models, target), {"x": answers["x"]}, (), QUICK, here.cores(1))
        launch = here.launch(ready, frozenset({"latency.p50"}), np.random.default_rng(0))
    assert launch.values["latency.p50"]["candidate"] > 0
    assert launch.values["memory.peak"]["baseline"] >= launch.empty_memory * 0.5
    assert abs(launch.log_ratios["latency.p50"]["candidate", "baseline"]) < 1.5


@pytest.mark.parametrize("target", TARGETS)
def test_a_whole_weighing_ends_in_a_verdict(tmp_path: Path, target: str, answers: dict[str, Any]) -> None:
    """Sizes, counts, accuracy and flips of the same file against itself with one byte of padding."""
    base = placed(tmp_path / "base", "net", target, ports=NAMES["net"])
    candidate = placed(tmp_path / "candidate", "net", target, ports=NAMES["net"])
    candidate.write_bytes(candidate.read_bytes() + b"\0" * 16)
    if target == "executorch":
        _remanifest(candidate)
    # Inputs that repeat count once: a little apart, they are examples of their own.
    x = np.concatenate([answers["x"] + np.float32(1e-4 * copy) for copy in range(20)])
    labels = np.concatenate([answers["net"].argmax(axis=1)] * 20)
    budgets = [Budget(metric="accuracy.flips", max=0.1), Budget(metric="size.bytes", max_ratio=1.1)]
    with Local() as here:
        job = read_job(Source(base, candidate, Split({"x": x}, labels), "data"), budgets, here.device, Weighing())
        assert job.runtime == target
        measurement = weigh(job, place=here)
    assert measurement.faults == []
    assert judge(measurement, budgets).verdict == "pass"
    assert measurement.target == target


def _remanifest(path: Path) -> None:
    manifest = Manifest.read(path.with_name("manifest.json"))
    data = path.read_bytes()
    found = ArtifactFile(path=path.name, digest=sha256_bytes(data), bytes=len(data))
    manifest.model_copy(update={"artifact": found}).write(path.with_name("manifest.json"))


def test_files_for_different_runtimes_are_not_compared(tmp_path: Path, answers: dict[str, Any]) -> None:
    """A ratio of two runtimes is no property of a recipe."""
    base = placed(tmp_path / "a", "net", "litert")
    other = placed(tmp_path / "b", "net", "executorch", ports=NAMES["net"])
    split = Split({"x": answers["x"]}, answers["net"].argmax(axis=1))
    with Local() as here, pytest.raises(InputError, match="is built for executorch; the baseline is for litert"):
        read_job(Source(base, other, split, "data"), [Budget(metric="size.bytes", max="1kB")], here.device, Weighing())


def test_targets_go_by_suffix() -> None:
    """What is nothing else is read as ONNX, and refused there if it is not."""
    assert [target_of_suffix(suffix) for suffix in (".onnx", ".tflite", ".pte", ".bin")] == [
        "onnxruntime", "litert", "executorch", "onnxruntime",
    ]  # fmt: skip


def test_the_gate_itself_loads_no_runtime() -> None:
    """Adapters are loaded by path, in workers: what weighs starts without torch, LiteRT and ONNX Runtime."""
    modules = ("stages.pipeline", "devices.ssh", "devices.command")
    code = f"import sys, {', '.join(f'weighbridge.gate.{name}' for name in modules)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "ai_edge_litert", "executorch", "onnxruntime"} & set(done.stdout.split())
