"""Answers on other processors: what is compared, what rounding explains, and what is never taken for agreement."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.gate.models import HONEST, adapter, artifact, examples, linear
from weighbridge.core.errors import InputError
from weighbridge.core.facts.isa import this_host
from weighbridge.core.formats.onnx_precision import FLOAT32, roundoff
from weighbridge.data import Split
from weighbridge.gate.measure.emulation import ARM64_VARIABLE, Emulator, emulators
from weighbridge.gate.measure.feeding import Feeding
from weighbridge.gate.measure.portability import Compared, EmulatedArtifact, compare, differences

HERE = Emulator("this processor", "nothing", (sys.executable,))
ELSEWHERE = Emulator("another", "env", ("env", "ELSEWHERE=1", sys.executable))
SECONDS = 60.0


def found_on(
    emulator: Emulator,
    tmp_path: Path,
    run: str,
    *,
    load: str = "pass",
    seconds: float = SECONDS,
    split: Split | None = None,
) -> Compared:
    """What comparing one artifact, run by an adapter with that body, gave."""
    runtime = adapter(tmp_path, run, load=load)
    subject = EmulatedArtifact(artifact(linear(tmp_path / "m.onnx"), adapter=runtime), 0, Feeding((), None))
    return compare([subject], split or examples(40), emulator, seconds)[0]


def test_a_file_that_answers_alike_passes(tmp_path: Path) -> None:
    """The same processor is the simplest other one."""
    found = found_on(HERE, tmp_path, HONEST)
    assert found.alike
    assert (found.examples, found.differing, found.largest) == (40, 0, 0.0)


def test_a_file_that_answers_otherwise_does_not(tmp_path: Path) -> None:
    """One example of forty is enough."""
    found = found_on(
        ELSEWHERE,
        tmp_path,
        f"""
        if "ELSEWHERE" in os.environ and self.calls == 7:
            return [-np.cumsum(x, axis=1)[:, :3]]
        {HONEST}
        """,
    )
    assert not found.alike
    assert found.differing == 1
    assert found.decisions == 1


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGILL)", "crashed by signal 4"),
        ("return [x[:, :2]]", "answers of shape"),
        ("return [np.full((len(x), 3), np.nan)]", "NaN"),
    ],
)
def test_a_file_that_does_not_run_there_is_no_agreement(tmp_path: Path, run: str, said: str) -> None:
    """An instruction that is missing, other shapes, no numbers."""
    found = found_on(ELSEWHERE, tmp_path, f"if 'ELSEWHERE' in os.environ:\n    {run}\n{HONEST}")
    assert found.crashed
    assert not found.alike
    assert said in found.reason


def test_what_does_not_fit_the_time_is_not_compared(tmp_path: Path) -> None:
    """Nothing is claimed of it, good or bad, and the next artifact has its turn."""
    slow = adapter(tmp_path, f"if 'ELSEWHERE' in os.environ:\n    time.sleep(60)\n{HONEST}", name="slow.py")
    quick = adapter(tmp_path, HONEST, name="quick.py")
    path = linear(tmp_path / "m.onnx")
    subjects = [EmulatedArtifact(artifact(path, adapter=runtime), 0, Feeding((), None)) for runtime in (slow, quick)]
    first, second = compare(subjects, examples(40), ELSEWHERE, 12.0)
    assert (first.examples, first.crashed, first.alike) == (0, False, False)
    assert "time did not suffice" in first.reason
    assert second.alike


def test_an_emulator_that_cannot_run_the_runtime_says_nothing_of_the_file(tmp_path: Path) -> None:
    """The artifact was never loaded."""
    found = found_on(Emulator("another", "false", ("false",)), tmp_path, HONEST)
    assert not found.crashed
    assert "false does not run the runtime" in found.reason


def test_examples_are_as_many_as_the_time_allows(tmp_path: Path) -> None:
    """A slow processor answers some of them, and these are compared."""
    found = found_on(ELSEWHERE, tmp_path, f"if 'ELSEWHERE' in os.environ:\n    time.sleep(0.3)\n{HONEST}", seconds=8.0)
    assert 0 < found.examples < 40
    assert found.alike


def test_rounding_is_measured_by_disturbing_the_inputs() -> None:
    """What the model itself makes of a last bit is tolerated twice over, and nothing beyond."""
    ours = np.random.default_rng(0).standard_normal((50, 3))
    scale = np.abs(ours).max()
    moved = ours.copy()
    moved[3, 1] += 0.01 * scale
    for apart, alike in ((0.019, True), (0.021, False)):
        theirs = ours.copy()
        theirs[7, 2] += apart * scale
        found = differences(ours, theirs, [moved])
        assert found.alike is alike
        assert found.tolerance == pytest.approx(0.02)
    assert not differences(ours, theirs, [ours]).alike


@pytest.mark.parametrize(("apart", "alike"), [(0.009, True), (0.011, False)])
def test_integer_inputs_cannot_be_disturbed(tmp_path: Path, apart: float, alike: bool) -> None:
    """Token ids have no last bits: a hundredth is tolerated."""
    x = np.arange(160).reshape(40, 4)
    body = f"y = x[:, :3] / 159.0\nreturn [y * (1 - {apart}) if 'ELSEWHERE' in os.environ else y]"
    assert found_on(ELSEWHERE, tmp_path, body, split=Split({"x": x}, x[:, 0])).alike is alike


@pytest.mark.parametrize(("kind", "alike"), [(TensorProto.FLOAT16, True), (TensorProto.FLOAT, False)])
def test_a_rounding_is_as_large_as_the_floats_that_the_file_computes_in(tmp_path: Path, kind: Any, alike: bool) -> None:
    """Half-precision arithmetic rounds after every operation: 0.05 % is nothing there, and a fault elsewhere."""
    path = computing_in(kind, tmp_path / "m.onnx")
    runtime = adapter(tmp_path, "y = x[:, :3]\nreturn [y * (1 + 5e-4) if 'ELSEWHERE' in os.environ else y]")
    subject = EmulatedArtifact(
        artifact(path, adapter=runtime), 0, Feeding((), None), roundoff=roundoff(onnx.load(str(path)))
    )
    assert compare([subject], examples(40), ELSEWHERE, SECONDS)[0].alike is alike


def test_an_overflow_of_half_precision_is_no_rounding() -> None:
    """Infinite there, finite here: a fault at every tolerance."""
    ours = np.full((4, 3), 65_000.0)
    theirs = ours.copy()
    theirs[2, 1] = np.inf
    assert differences(ours, theirs, [ours], noise=2.0**-10).differing == 1


@pytest.mark.skipif(ARM64_VARIABLE not in os.environ, reason="no arm64 Python (tests/install-arm64)")
def test_half_precision_on_arm64_is_the_same_model(tmp_path: Path) -> None:
    """Onnxruntime computes in float16 there and in float32 here."""
    path = computing_in(TensorProto.FLOAT16, tmp_path / "m.onnx")
    emulator = next(item for item in emulators() if item.processor == "arm64")
    found = [
        compare(
            [EmulatedArtifact(artifact(path), 0, Feeding((), None), roundoff=share)], examples(40), emulator, SECONDS
        )[0]
        for share in (roundoff(onnx.load(str(path))), FLOAT32)
    ]
    assert found[0].alike, found[0]
    assert not found[1].alike, "float32 roundings do not explain it: the test shows nothing"


def computing_in(kind: Any, path: Path) -> Path:
    """A hidden layer of 256 whose weights and products have that type."""
    rng = np.random.default_rng(3)
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    weights = [(rng.standard_normal(shape) / 8).astype(dtype) for shape in ((4, 256), (256, 3))]
    nodes = [
        helper.make_node("Cast", ["x"], ["c"], to=kind),
        helper.make_node("MatMul", ["c", "w0"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "w1"], ["o"]),
        helper.make_node("Cast", ["o"], ["y"], to=TensorProto.FLOAT),
    ]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name, size in (("x", 4), ("y", 3))]
    stored = [numpy_helper.from_array(array, f"w{index}") for index, array in enumerate(weights)]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path


def test_not_a_number_is_no_agreement() -> None:
    """Comparisons with NaN are false, in both directions."""
    ours = np.ones((4, 3))
    assert differences(ours, np.full((4, 3), np.nan), [ours]).differing == 4


def test_tools_that_are_absent_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each processor is listed, with what shows it or how to get that."""
    none = emulators({"PATH": str(tmp_path)}, "x86_64")
    assert [item.processor for item in none] == ["x86-64 with AVX2, without VNNI", "arm64"]
    assert not any(item.command for item in none)
    assert "apt-get install valgrind" in none[0].absent
    assert "install-arm64" in none[1].absent
    tool = tmp_path / "valgrind"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    python = tmp_path / "python"
    python.touch()
    both = emulators({"PATH": str(tmp_path), ARM64_VARIABLE: str(python)}, "x86_64")
    assert both[0].command[0] == str(tool)
    assert both[1].command == (str(python),)
    assert emulators({"PATH": str(tmp_path)}, "aarch64") == []
    with pytest.raises(InputError, match=f"{ARM64_VARIABLE}=.*: file not found"):
        emulators({ARM64_VARIABLE: str(tmp_path / "gone")}, "x86_64")


def saturating(path: Path, largest: int) -> Path:
    """Sixteen quantized inputs that are all at their upper end times weights of one magnitude: the worst sum."""
    zeros = [numpy_helper.from_array(np.zeros((), kind), name) for kind, name in ((np.uint8, "zx"), (np.int8, "zw"))]
    stored = [
        numpy_helper.from_array(np.full((16, 3), largest, np.int8) * np.array([1, -1, 1], np.int8), "w"),
        numpy_helper.from_array(np.float32(1 / 255), "sx"),
        numpy_helper.from_array(np.float32(0.01), "sw"),
        *zeros,
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "sx", "zx"], ["q"]),
        helper.make_node("MatMulInteger", ["q", "w", "zx", "zw"], ["i"]),
        helper.make_node("Cast", ["i"], ["scores"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3])],
        stored,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("valgrind") is None, reason="needs valgrind; see tests/install-system-packages")
def test_valgrind_shows_a_processor_whose_products_saturate(tmp_path: Path) -> None:
    """Weights of ±127 answer otherwise there, weights of ±64 as here."""
    x = np.random.default_rng(0).uniform(0.9, 1.0, (50, 16)).astype(np.float32)
    split = Split({"x": x}, np.zeros(50, np.int64))
    paths = (saturating(tmp_path / "full.onnx", 127), saturating(tmp_path / "reduced.onnx", 64))
    subjects = [EmulatedArtifact(artifact(path), 0, Feeding((), None)) for path in paths]
    full, reduced = compare(subjects, split, emulators()[0], 300)
    assert reduced.alike
    assert full.alike is bool(this_host().lacks(["vnni"]))
