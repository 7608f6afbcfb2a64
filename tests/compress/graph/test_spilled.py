"""Large weights lie in files while a graph is rewritten: the same bytes ship, in a fraction of the memory."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from weighbridge.compress.export.onnxruntime import ONNXRUNTIME, write
from weighbridge.compress.graph import large_file, spilled
from weighbridge.compress.graph.large_file import LargeFile
from weighbridge.compress.graph.lowering import finished
from weighbridge.compress.graph.normal import entered
from weighbridge.compress.recipe.compose import compose, export_baseline
from weighbridge.compress.recipe.recipe import read_steps
from weighbridge.compress.steps import Context, Graph
from weighbridge.compress.techniques.pack import Pack, pack
from weighbridge.compress.techniques.quantize import Quantize, lower
from weighbridge.compress.techniques.share.share_graph import share_weights
from weighbridge.core.documents import RecipeSection, TrainSection
from weighbridge.core.errors import InputError
from weighbridge.core.files import sha256_file
from weighbridge.data import Data, Split

WIDTH = 160
SCHEMES = [
    {"scheme": "fp16"},
    {"scheme": "fp16", "keep": ["w2"]},
    {"scheme": "weight-fp16"},
    {"scheme": "weight-int8"},
    {"scheme": "weight-int4", "block_size": 32, "keep": ["head"]},
    {"scheme": "weight-int4", "kernel": "matmulnbits", "keep": ["table", "kernel"]},
    {"scheme": "dynamic-int8"},
    {"scheme": "dynamic-int8", "per_channel": False, "keep": ["w1"]},
    {"scheme": "static-int8"},
    {"scheme": "static-int8", "calibration": "entropy", "format": "qoperator"},
    {"scheme": "static-int8", "calibration": "percentile", "keep_sensitive": 1},
    {"scheme": "static-int8", "bias_correction": True},
    {"scheme": "weight-int8", "bias_correction": True},
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Split]:
    """A file with an embedding, Gemms both ways round with factors, a MatMul and a convolution; its examples."""
    rng = np.random.default_rng(5)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32) / 12, name)

    stored = [weight("table", 130, WIDTH), weight("w1", WIDTH, WIDTH), weight("b1", WIDTH), weight("w2", WIDTH, WIDTH),
              weight("w3", WIDTH, WIDTH), weight("kernel", 8, 1, 60, 60), weight("head", 8, 3),
              numpy_helper.from_array(np.array([0, 1, 1, WIDTH]), "shape")]  # fmt: skip
    nodes = [
        helper.make_node("Gather", ["table", "x"], ["e"], name="embed"),
        helper.make_node("Gemm", ["e", "w1", "b1"], ["a"], transB=1, name="one"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Gemm", ["b", "w2", "b1"], ["c"], alpha=0.5, name="two"),
        helper.make_node("MatMul", ["c", "w3"], ["d"], name="three"),
        helper.make_node("Reshape", ["d", "shape"], ["f"], name="form"),
        helper.make_node("Pad", ["f", "pads"], ["g"], name="pad"),
        helper.make_node("Conv", ["g", "kernel"], ["h"], name="conv"),
        helper.make_node("GlobalAveragePool", ["h"], ["i"], name="pool"),
        helper.make_node("Flatten", ["i"], ["j"], name="flat"),
        helper.make_node("MatMul", ["j", "head"], ["y"], name="classes"),
    ]
    stored.append(numpy_helper.from_array(np.array([0, 0, 30, 0, 0, 0, 29, 0]), "pads"))
    ports = [helper.make_tensor_value_info("x", 7, ["n"]), helper.make_tensor_value_info("y", 1, ["n", 3])]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], stored)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    path = tmp_path_factory.mktemp("model") / "net.onnx"
    onnx.save(proto, path)
    split = Split({"x": rng.integers(0, 130, 48)}, np.arange(48) % 3)
    return path, split


def context(split: Split) -> Context:
    """What steps run in."""
    return Context(Data(split, split, split), TrainSection(), 0, None, None, lambda *_, **__: None)


def entry(path: Path) -> Graph:
    """The model as the pipeline takes it."""
    return Graph(finished(entered(spilled.opened(path))))


def stream(monkeypatch: pytest.MonkeyPatch, *, one_file: int | None = None) -> None:
    """From here on the small model counts as a large one."""
    monkeypatch.setattr(spilled, "FROM", 1000)
    monkeypatch.setattr(spilled, "LARGE", 1000)
    if one_file is not None:
        monkeypatch.setattr(large_file, "ONE_FILE", one_file)


@pytest.mark.parametrize("config", SCHEMES, ids=lambda config: " ".join(map(str, config.values())))
def test_bytes_are_those_of_the_model_in_memory(
    model: tuple[Path, Split], monkeypatch: pytest.MonkeyPatch, config: dict[str, Any]
) -> None:
    """Every scheme gives the same file to the bit, whether its weights lie in memory or in scratch."""
    path, split = model
    held, facts = lower(Quantize(agreement=0.1, **config), entry(path), context(split))
    expected = write(held.proto)
    assert isinstance(expected, bytes)
    stream(monkeypatch)
    source = entry(path)
    assert spilled.is_spilled(source.proto)
    ours, again = lower(Quantize(agreement=0.1, **config), source, context(split))
    shipped = write(ours.proto)
    assert isinstance(shipped, LargeFile)
    assert said(shipped.path.read_bytes()) == said(expected)
    assert again == facts


def said(data: bytes) -> bytes:
    """A file's bytes without one that says the default: onnxruntime writes it to some weights that it passes on."""
    proto = onnx.load_model_from_string(data)
    for tensor in proto.graph.initializer:
        tensor.ClearField("data_location")
    return proto.SerializeToString(deterministic=True)


def test_share_and_pack_take_a_large_model_whole(model: tuple[Path, Split], monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that looks at all weights at once gives the same file too."""
    path, split = model
    held, _ = share_weights(entry(path), 16, "linear", None, [])
    expected = write(pack(Pack(), held, context(split))[0].proto)
    stream(monkeypatch)
    ours, _ = share_weights(entry(path), 16, "linear", None, [])
    assert write(pack(Pack(), ours, context(split))[0].proto).path.read_bytes() == expected


def test_a_model_in_two_files(model: tuple[Path, Split], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What one message cannot hold ships as two files; the first names the digest of the other; a runtime loads it."""
    path, split = model
    steps = read_steps(RecipeSection(steps=[{"quantize": {"scheme": "weight-int8"}}]), "recipe")
    plain = export_baseline(entry(path), context(split), ONNXRUNTIME)
    stream(monkeypatch, one_file=1000)
    baseline = export_baseline(entry(path), context(split), ONNXRUNTIME)
    artifact = compose(steps, entry(path), context(split), ONNXRUNTIME)
    assert artifact.sizes.bytes < 0.35 * baseline.sizes.bytes
    assert plain.sizes.bytes <= baseline.sizes.bytes < 1.1 * plain.sizes.bytes
    baseline.data.place(tmp_path, "model.onnx")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.onnx", "model.onnx.data"]
    stored = onnx.load(tmp_path / "model.onnx", load_external_data=False)
    assert {item.key: item.value for item in stored.metadata_props} == {
        "model.onnx.data": sha256_file(tmp_path / "model.onnx.data")
    }
    session = onnx.load(tmp_path / "model.onnx")
    assert ONNXRUNTIME.run(plain.data, split.inputs)[0] == pytest.approx(
        ONNXRUNTIME.run(session.SerializeToString(), split.inputs)[0]
    )


def test_external_data_enters_unread_and_a_cut_file_is_refused(
    model: tuple[Path, Split], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file whose weights lie beside it gives the same graph; one whose weights were cut short does not enter."""
    path, _ = model
    onnx.save(onnx.load(path), tmp_path / "net.onnx", save_as_external_data=True, location="w", size_threshold=0)
    stream(monkeypatch)
    ours, theirs = spilled.message(entry(tmp_path / "net.onnx").proto), spilled.message(entry(path).proto)
    assert ours == theirs
    (tmp_path / "w").write_bytes((tmp_path / "w").read_bytes()[:-9])
    with pytest.raises(InputError, match="beyond the end of w"):
        spilled.opened(tmp_path / "net.onnx")


def test_a_step_on_the_whole_model_refuses_what_memory_cannot_hold(
    model: tuple[Path, Split], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says how large the model is, and which steps take it."""
    path, _ = model
    stream(monkeypatch)
    proto = entry(path).proto
    monkeypatch.setattr(spilled, "MAX_BYTES", 1000)
    with pytest.raises(InputError, match="this step takes at most 1000"):
        spilled.whole(proto)


PEAK = """
import sys
from pathlib import Path
import numpy as np
import weighbridge.compress.recipe.compose
from weighbridge.core.allocator import return_large_blocks
from weighbridge.compress.export.onnxruntime import ONNXRUNTIME
from weighbridge.compress.graph.lowering import finished
from weighbridge.compress.graph.normal import entered
from weighbridge.compress.graph.spilled import opened
from weighbridge.compress.recipe.compose import compose
from weighbridge.compress.recipe.recipe import read_steps
from weighbridge.compress.steps import Context, Graph
from weighbridge.compress.techniques.share.share_graph import share_weights
from weighbridge.core.documents import RecipeSection, TrainSection
from weighbridge.data import Data, Split
from weighbridge.compress.graph import spilled
return_large_blocks()
spilled.FROM = int(sys.argv[3])
def peak():  # not ru_maxrss, which a process has from the one that started it
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
before = peak()
split = Split({"x": np.ones((8, 2048), np.float32)}, np.arange(8))
context = Context(Data(split, split, split), TrainSection(), 0, None, None, lambda *_, **__: None)
steps = read_steps(RecipeSection(steps=[{"quantize": {"scheme": sys.argv[2], "agreement": 0.01}}]), "recipe")
compose(steps, Graph(finished(entered(opened(Path(sys.argv[1]))))), context, ONNXRUNTIME)
print(peak() - before)
"""


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    """A perceptron of 67 MB."""
    path = tmp_path_factory.mktemp("wide") / "net.onnx"
    weight = np.random.default_rng(0).standard_normal((2048, 2048)).astype(np.float32) / 45
    stored = [numpy_helper.from_array(weight, f"w{index}") for index in range(4)]
    nodes = [helper.make_node("MatMul", ["x", "w0"], ["v0"])]
    nodes += [helper.make_node("MatMul", [f"v{index}", f"w{index + 1}"], [f"v{index + 1}"]) for index in range(3)]
    ports = [helper.make_tensor_value_info(name, 1, ["n", 2048]) for name in ("x", "v3")]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


@pytest.mark.parametrize("scheme", ["weight-int8", "dynamic-int8"])
def test_peak_memory_of_a_step(wide: onnx.ModelProto, scheme: str) -> None:
    """A step on a large file takes at most two and a half times the file beyond what the libraries take."""
    assert peak(wide, scheme, 1 << 22) < 2.5 * wide.stat().st_size


def test_peak_memory_of_a_step_that_holds_its_weights(wide: onnx.ModelProto) -> None:
    """The same step on the same file, held in memory, takes more: the measurement sees it."""
    assert peak(wide, "dynamic-int8", 1 << 30) > 3.5 * wide.stat().st_size


def peak(path: onnx.ModelProto, scheme: str, limit: int) -> int:
    """Bytes that a process takes for one step beyond what its libraries take; models of `limit` bytes are spilled."""
    command = [sys.executable, "-c", PEAK, str(path), scheme, str(limit)]
    root = Path(__file__).parents[3]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1])
