from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from tests.gate.models import examples, weights
from weighbridge.compress import stages
from weighbridge.core.documents import Measurement, Params, RecipeVerdict, Verdict, parse
from weighbridge.core.documents.custom_ops import CustomOps
from weighbridge.core.errors import InputError, MeasurementError
from weighbridge.data import Data, write_npz
from weighbridge.gate.devices.command import Harness
from weighbridge.gate.stages import pipeline
from weighbridge.gate.stages.standalone import StandaloneRequest, run
from weighbridge.gate.verdict.pipeline_changes import library_changes

Weigh = Callable[..., tuple[RecipeVerdict, Measurement]]
BUDGETS = [{"metric": "accuracy.top1", "max_drop": 0.05, "mode": "exact"}]


def custom(path: Path, padding: int = 0) -> None:
    """`x` (n, 4) → scores (n, 3), by NegPos, an operator of onnxruntime-extensions that cuts numbers in two parts
    which are added again; the scores are those of the plain linear model.
    """
    up = np.random.default_rng(0).standard_normal((4, 256)).astype(np.float32)
    down = (np.linalg.pinv(up) @ np.eye(4)).astype(np.float32) @ weights()
    nodes = [
        helper.make_node("NegPos", ["x"], ["below", "above"], name="cut", domain="ai.onnx.contrib"),
        helper.make_node("Add", ["below", "above"], ["both"]),
        helper.make_node("MatMul", ["both", "up"], ["wide"], name="up"),
        helper.make_node("MatMul", ["wide", "down"], ["scores"], name="down"),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [info("x", TensorProto.FLOAT, ["n", 4])],
        [info("scores", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(up, "up"), numpy_helper.from_array(down, "down")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.contrib", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, doc_string="." * padding)
    path.write_bytes(model.SerializeToString())


@pytest.fixture
def weigh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Weigh:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.chdir(tmp_path)
    custom(tmp_path / "a.onnx", padding=100)
    custom(tmp_path / "b.onnx")
    write_npz(tmp_path / "eval.npz", examples(100))
    (tmp_path / "budgets.yaml").write_text(yaml.safe_dump({"budgets": BUDGETS}))

    def judged(*named: CustomOps) -> tuple[RecipeVerdict, Measurement]:
        request = StandaloneRequest(
            Path("a.onnx"), Path("b.onnx"), "eval.npz", Path("budgets.yaml"), Path("out"), custom_ops=named
        )
        return run(request)[0], Measurement.read(Path("out/measurement.json"))

    return judged


def named(path: Path) -> CustomOps:
    return CustomOps(path=str(path), sha256=sha256(Path(path).read_bytes()).hexdigest())


@pytest.fixture
def extensions() -> Path:
    package = pytest.importorskip("onnxruntime_extensions", reason="a library of custom operators to load")
    return Path(package.get_library_path())


def test_a_file_that_needs_a_library_names_the_domain(weigh: Weigh) -> None:
    """One clear error before anything runs; the same in the compress room."""
    with pytest.raises(InputError, match=r"'cut' is the operator NegPos of the domain 'ai.onnx.contrib'") as caught:
        weigh()
    assert "custom_ops: [{path: libops.so, sha256: …}]" in str(caught.value)
    assert caught.value.where == "a.onnx"


def test_a_library_with_another_digest_is_refused_before_it_is_loaded(weigh: Weigh, tmp_path: Path) -> None:
    """A library is code: the bytes that are loaded are those that were named, or none."""
    (tmp_path / "libops.so").write_bytes(b"no library")
    other = CustomOps(path="libops.so", sha256="0" * 64)
    with pytest.raises(InputError, match="not the one named; it was not loaded") as caught:
        weigh(other)
    assert caught.value.where == "custom_ops[0].sha256"
    with pytest.raises(InputError, match=r"file not found: gone.so"):
        weigh(CustomOps(path="gone.so", sha256="0" * 64))
    verdict, measured = weigh(named(Path("libops.so")))
    assert verdict.verdict is Verdict.ERROR
    assert "libops.so" in measured.faults[0]
    with pytest.raises(InputError, match="sha256"):
        parse(CustomOps, {"path": "libops.so", "sha256": "abc"}, "params.yaml")


def test_a_named_library_is_loaded_to_weigh(weigh: Weigh, extensions: Path) -> None:
    """With it the operator runs, and the record says which bytes answered."""
    verdict, measured = weigh(named(extensions))
    assert measured.faults == []
    assert verdict.verdict is Verdict.PASS
    assert measured.protocol.details["code"] == {str(extensions): f"sha256:{named(extensions).sha256}"}


def test_devices_elsewhere_load_no_library() -> None:
    """A library is built for one machine, and travels nowhere."""
    place, model = SimpleNamespace(name="board"), SimpleNamespace(libraries=("libops.so",))
    Harness.require_no_libraries(place, [SimpleNamespace(libraries=())])
    with pytest.raises(MeasurementError, match="board: libraries of custom operators are loaded on this machine alone"):
        Harness.require_no_libraries(place, [model])


def data() -> Data:
    return Data(train=examples(80, seed=2), test=examples(80))


def test_a_pipeline_builds_and_weighs_with_a_named_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extensions: Path
) -> None:
    """The section `custom_ops` of params is for both rooms; without it the baseline is refused."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    custom(tmp_path / "model.onnx")
    content = {
        "model": {"name": "tiny", "onnx": "model.onnx"},
        "data": {"factory": "tests.gate.stages.test_custom_ops:data"},
        "recipes": {"small": {"steps": [{"quantize": {"scheme": "weight-int8"}}]}},
        "budgets": BUDGETS,
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    stages.prepare(tmp_path)
    stages.train(tmp_path)
    with pytest.raises(InputError, match=r"of the domain 'ai.onnx.contrib'"):
        stages.baseline(tmp_path)
    (tmp_path / "libops.so").write_bytes(extensions.read_bytes())
    content["custom_ops"] = [{"path": "libops.so", "sha256": named(extensions).sha256}]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    stages.baseline(tmp_path)
    stages.compress(tmp_path, "small")
    pipeline.device(tmp_path)
    (measurement,) = pipeline.weigh(tmp_path, "small")
    assert measurement.faults == []
    assert measurement.comparisons[0].metrics["accuracy.top1"].both >= 76


def test_another_library_is_a_change_of_policy() -> None:
    """Code that answers with the model decides what is measured."""
    before = [CustomOps(path="a.so", sha256="0" * 64), CustomOps(path="b.so", sha256="1" * 64)]
    after = [CustomOps(path="a.so", sha256="2" * 64), CustomOps(path="c.so", sha256="1" * 64)]
    found = library_changes(before, after)
    assert [(item.budget, item.base[:6]) for item in found] == [
        ("custom_ops a.so", "000000"),
        ("custom_ops c.so", "absent"),
    ]
    assert library_changes(before, before[:1]) == []


def test_libraries_are_for_onnxruntime() -> None:
    """Other runtimes have no such libraries."""
    content = {
        "model": {"name": "tiny", "factory": "nets:build"},
        "data": {"factory": "nets:data"},
        "targets": ["onnxruntime", "litert"],
        "custom_ops": [{"path": "a.so", "sha256": "0" * 64}],
        "recipes": {"small": {"steps": [{"pack": {}}]}},
        "budgets": BUDGETS,
    }
    with pytest.raises(InputError, match="'custom_ops' are for the target onnxruntime alone"):
        parse(Params, content, "params.yaml")
