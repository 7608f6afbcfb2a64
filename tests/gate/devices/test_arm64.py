"""Outputs of one file on another processor: arm64 under qemu-user, behind a real sshd. Never its timings.

Set up by `tests/install-arm64 FOLDER`; WEIGHBRIDGE_ARM64_PYTHON names the interpreter that it prints.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.gate import sshd
from tests.gate.measure.test_runtimes import NAMES, placed
from tests.gate.models import examples, linear
from weighbridge.core.documents import DeviceSection
from weighbridge.data import Split
from weighbridge.gate.devices.local import Local
from weighbridge.gate.devices.ssh import Ssh
from weighbridge.gate.measure.evaluation import Manner
from weighbridge.gate.measure.feeding import Feeding, feeding
from weighbridge.gate.measure.model_files import Model, read_model

PYTHON = os.environ.get("WEIGHBRIDGE_ARM64_PYTHON")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PYTHON is None, reason="needs WEIGHBRIDGE_ARM64_PYTHON; see tests/install-arm64"),
]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Local, Ssh]]:
    """The machine that runs the tests, and an emulated arm64 one."""
    folder = tmp_path_factory.mktemp("arm64")
    (folder / "sshd").mkdir()
    with sshd.server(folder / "sshd") as server:
        section = DeviceSection(address=server.address, python=PYTHON, folder=str(folder))
        with Ssh("arm64", section, server.environment) as there, Local() as here:
            yield here, there


def outputs(places: tuple[Local, Ssh], model: Model, target: str, split: Split, feed: Feeding) -> list[Any]:
    """What the file answers on both."""
    manner = Manner(feed, timeout=120)
    return [place.answer(place.stage([model], target)[model.name], split, [0], manner)[0][0] for place in places]


def test_it_is_an_arm64_machine(places: tuple[Local, Ssh]) -> None:
    """The device's own words: another processor, other instruction sets, the same versions of the runtimes."""
    here, there = (place.device for place in places)
    assert there.system.endswith("aarch64")
    assert "asimd" in there.isa
    assert here.fingerprint != there.fingerprint
    for package in ("numpy", "onnxruntime", "ai-edge-litert"):
        assert here.runtimes[package] == there.runtimes[package]


def test_float_files_answer_alike(places: tuple[Local, Ssh], tmp_path: Path) -> None:
    """ONNX Runtime: rounding apart, and every decision the same."""
    model = read_model(linear(tmp_path / "m.onnx"), "candidate")
    near, far = outputs(places, model, "onnxruntime", examples(), Feeding((), None))
    np.testing.assert_allclose(near, far, rtol=1e-5, atol=1e-5)
    assert (near.argmax(axis=1) == far.argmax(axis=1)).all()


def test_int8_files_answer_alike(places: tuple[Local, Ssh], tmp_path: Path) -> None:
    """Integer kernels of two instruction sets: the same products, so nearly the same sums of scaled ones."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path = tmp_path / "int8.onnx"
    quantize_dynamic(linear(tmp_path / "m.onnx"), path, weight_type=QuantType.QInt8)
    model = read_model(path, "candidate")
    near, far = outputs(places, model, "onnxruntime", examples(), Feeding((), 1))
    np.testing.assert_allclose(near, far, rtol=1e-4, atol=1e-4)
    assert (near.argmax(axis=1) == far.argmax(axis=1)).all()


def test_litert_answers_alike(places: tuple[Local, Ssh], tmp_path: Path) -> None:
    """XNNPACK's kernels for both processors."""
    model = read_model(placed(tmp_path, "net", "litert", ports=NAMES["net"]), "candidate")
    x = np.random.default_rng(0).standard_normal((50, 1, 8, 8)).astype(np.float32)
    split = Split({"x": x}, np.zeros(50, np.int64))
    near, far = outputs(places, model, "litert", split, feeding(model.signature, split, "data"))
    np.testing.assert_allclose(near, far, rtol=1e-5, atol=1e-5)
