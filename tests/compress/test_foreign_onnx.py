"""A model that nobody here trained: the text-direction classifier of rapidocr-onnxruntime, by Paddle's exporter."""

from __future__ import annotations

import subprocess
import sys
import zipfile

import numpy as np
import pytest

from weighbridge.compress.export.onnxruntime import write
from weighbridge.compress.graph.lowering import agreement, finished, layers
from weighbridge.compress.graph.sessions import run
from weighbridge.compress.steps import Context, Graph
from weighbridge.compress.techniques.pack import Pack, pack
from weighbridge.compress.techniques.quantize import Quantize, lower
from weighbridge.compress.techniques.share.share_graph import share_weights
from weighbridge.core.documents import TrainSection
from weighbridge.core.files import sha256_file
from weighbridge.core.formats.onnx_file import counts, load_model
from weighbridge.data import Data, Split

PACKAGE = "rapidocr-onnxruntime==1.4.4"
MEMBER = "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx"
DIGEST = "sha256:e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c"


@pytest.fixture(scope="module")
def classifier(request: pytest.FixtureRequest) -> Graph:
    """The model's file, fetched once from the package (which would pull in OpenCV if it were installed)."""
    folder = request.config.cache.mkdir("rapidocr")
    path = folder / "cls.onnx"
    if not path.exists():
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", str(folder), PACKAGE], check=True
        )
        wheel = next(folder.glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            path.write_bytes(archive.read(MEMBER))
        wheel.unlink()
    assert sha256_file(path) == DIGEST
    return Graph(finished(load_model(path)))


@pytest.fixture(scope="module")
def context() -> Context:
    """Drawn lines of strokes, every second one upside down."""
    rng = np.random.default_rng(0)
    labels = np.arange(64) % 2
    images = np.full((64, 3, 48, 192), 0.8, np.float32)
    for image, upside_down in zip(images, labels, strict=True):
        for left in range(6, 186, 18):
            height, top = rng.integers(8, 18), rng.integers(6, 16)
            image[:, top : top + height + 14, left : left + 3] = -0.8
            image[:, top + height : top + height + 3, left : left + 11] = -0.8
            if rng.random() < 0.5:
                image[:, top : top + 3, left : left + 11] = -0.8
        if upside_down:
            image[:] = image[:, ::-1, ::-1].copy()
    images += rng.normal(0, 0.02, images.shape).astype(np.float32)
    split = Split({"x": images}, labels)
    return Context(
        data=Data(train=split, test=split, calibration=split),
        train=TrainSection(),
        seed=0,
        baseline=lambda: pytest.fail("there is no module"),
        teacher=lambda _: pytest.fail("there is no module"),
        progress=lambda *_, **__: None,
    )


def test_it_reads_lines(classifier: Graph, context: Context) -> None:
    """The drawn lines mean something to the model: it tells most of those that are upside down."""
    answers = run(classifier.proto, context.data.test, "test")[0].argmax(1)
    assert (answers == context.data.test.labels).mean() > 0.8
    assert len(layers(classifier)) == 54
    assert counts(classifier.proto).params > 130_000


@pytest.mark.parametrize(("scheme", "share"), [("static-int8", 0.45), ("weight-int8", 0.4), ("fp16", 0.7)])
def test_it_can_be_quantized(classifier: Graph, context: Context, scheme: str, share: float) -> None:
    """Opset 11, 566 nodes, open sizes, hard swishes: quantized, smaller, and of the same opinion."""
    after, facts = lower(Quantize(scheme=scheme), classifier, context)
    assert facts["same_class"] >= 0.85
    assert len(write(after.proto)) < share * len(write(classifier.proto))


def test_it_can_be_shared_and_packed(classifier: Graph, context: Context) -> None:
    """128 values a weight, packed: a third of the bytes, the same outputs as before packing."""
    shared, _ = share_weights(classifier, 128, "linear", None, [])
    packed, facts = pack(Pack(), shared, context)
    assert facts["largest_difference"] <= 1e-5
    assert facts["after"]["bytes"] < 0.36 * facts["before"]["bytes"]
    split = context.data.test
    assert agreement(run(packed.proto, split, "t"), run(classifier.proto, split, "t"))["same_class"] > 0.85
