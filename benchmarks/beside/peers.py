"""The same work by other tools: what a user of each library writes, in a folder that holds the project's artifacts.

Inputs are the baseline that ships (`artifacts/baseline/onnxruntime/model.onnx`), its checkpoint, and the project's
own splits. Libraries are imported inside the functions: a fresh process pays for those that it uses.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

FLOAT = Path("artifacts/baseline/onnxruntime/model.onnx")
CHECKPOINT = Path("artifacts/trained/checkpoint.safetensors")
DATA = Path("artifacts/data")
PARAMS = Path("params.yaml")


@dataclass(frozen=True)
class Peer:
    """One way of another tool."""

    tool: str
    run: Callable[[Path], None]
    """Writes the file at that path."""


class Reader:
    """Calibration images for onnxruntime, in batches of 64."""

    def __init__(self) -> None:
        self._images = images("calibration")
        self._starts = iter(range(0, len(self._images), 64))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch; None after the last."""
        start = next(self._starts, None)
        return None if start is None else {"image": self._images[start : start + 64]}


def images(split: str) -> np.ndarray:
    """Images (n, 1, 28, 28) of a split."""
    with np.load(DATA / f"{split}.npz") as archive:
        return archive["image"]


def labels(split: str) -> np.ndarray:
    """Classes (n,) of a split."""
    with np.load(DATA / f"{split}.npz") as archive:
        return archive["labels"]


def ort_static(out: Path, *, source: Path = FLOAT, qdq: bool = True, reduce_range: bool = True) -> None:
    """Static quantization by onnxruntime: pre-processed, U8 activations, S8 weights by channel, min-max."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(source, prepared)
        quantize_static(
            prepared,
            out,
            Reader(),
            quant_format=QuantFormat.QDQ if qdq else QuantFormat.QOperator,
            per_channel=True,
            reduce_range=reduce_range,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


def ort_dynamic(out: Path) -> None:
    """Dynamic quantization by onnxruntime; unsigned weights, as its convolutions on integers need them."""
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(FLOAT, prepared)
        quantize_dynamic(prepared, out, per_channel=True, reduce_range=True, weight_type=QuantType.QUInt8)


def ort_half(out: Path) -> None:
    """Conversion to float16 by onnxruntime; inputs and outputs stay float32."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(FLOAT), keep_io_types=True), out)


def ort_matmul_nbits(out: Path) -> None:
    """Blockwise 4-bit weights by onnxruntime, after its own rewriting of Gemm: without it nothing would happen."""
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
    from onnxruntime.quantization.onnx_model import ONNXModel

    model = ONNXModel(onnx.load(FLOAT))
    model.replace_gemm_with_matmul()
    quantizer = MatMulNBitsQuantizer(model.model, block_size=32, is_symmetric=True, bits=4)
    quantizer.process()
    onnx.save(quantizer.model.model, out)


def nncf_static(out: Path) -> None:
    """NNCF's post-training quantization of ONNX models, its defaults, over the whole calibration split."""
    import nncf
    import onnx

    given = images("calibration")
    feeds = [{"image": given[index : index + 1]} for index in range(len(given))]
    onnx.save(nncf.quantize(onnx.load(FLOAT), nncf.Dataset(feeds), subset_size=len(feeds)), out)


def torch_pruning(out: Path, *, epochs: int) -> None:
    """Torch-Pruning: half of the channels by L2 norm of their groups, in multiples of 8, then a plain training loop."""
    import torch
    import torch_pruning as tp

    with one_thread():
        module = trained()
        example = torch.from_numpy(images("calibration")[:1])
        tp.pruner.BasePruner(
            module,
            example,
            importance=tp.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=0.5,
            ignored_layers=[module.classes],
            round_to=8,
        ).step()
        fit(module, epochs)
        export(module, out)


def torch_pruning_static(out: Path, *, epochs: int) -> None:
    """The same, then onnxruntime's static quantization."""
    with tempfile.TemporaryDirectory() as folder:
        pruned = Path(folder) / "pruned.onnx"
        torch_pruning(pruned, epochs=epochs)
        ort_static(out, source=pruned)


def export_static(out: Path) -> None:
    """From the checkpoint to an int8 file: export, then onnxruntime's static quantization."""
    with one_thread(), tempfile.TemporaryDirectory() as folder:
        exported = Path(folder) / "model.onnx"
        export(trained(), exported)
        ort_static(out, source=exported)


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch, seeded as the project is."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(settings()["seed"])
    try:
        yield
    finally:
        torch.set_num_threads(before)


def settings() -> dict[str, Any]:
    """The project's own `train` section."""
    import yaml

    return yaml.safe_load(PARAMS.read_text())["train"]


def trained() -> Any:
    """The baseline's module."""
    from safetensors.torch import load_model

    from examples.fashion.model import FashionCNN

    module = FashionCNN()
    load_model(module, CHECKPOINT)
    return module.eval()


def fit(module: Any, epochs: int) -> None:
    """Adam with a one-cycle learning rate over the training split."""
    import torch

    train = settings()
    size, lr = train["batch_size"], train["lr"]
    given, wanted = torch.from_numpy(images("train")), torch.from_numpy(labels("train"))
    optimizer = torch.optim.AdamW(module.parameters(), lr=lr, weight_decay=0.0, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=epochs * -(-len(given) // size))
    module.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(given)).split(size):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(module(given[chosen]), wanted[chosen]).backward()
            optimizer.step()
            schedule.step()
    module.eval()


def export(module: Any, out: Path) -> None:
    """An ONNX file with a free batch dimension."""
    import torch

    torch.onnx.export(
        module,
        (torch.from_numpy(images("calibration")[:2]),),
        out,
        dynamo=True,
        external_data=False,
        input_names=["image"],
        output_names=["output"],
        dynamic_shapes=({0: "n"},),
        opset_version=21,
        verbose=False,
    )


PEERS: dict[str, Peer] = {
    "ort-static-full-range": Peer("onnxruntime static QDQ", partial(ort_static, reduce_range=False)),
    "ort-static": Peer("onnxruntime static QDQ, reduce_range", ort_static),
    "ort-static-qoperator": Peer("onnxruntime static QOperator, reduce_range", partial(ort_static, qdq=False)),
    "nncf-static": Peer("NNCF, ONNX backend", nncf_static),
    "ort-dynamic": Peer("onnxruntime dynamic", ort_dynamic),
    "ort-fp16": Peer("onnxruntime float16", ort_half),
    "ort-matmulnbits": Peer("onnxruntime MatMulNBits int4", ort_matmul_nbits),
    "torch-pruning-50": Peer("Torch-Pruning 50 %, 10 epochs", partial(torch_pruning, epochs=10)),
    "torch-pruning-50-int8": Peer(
        "Torch-Pruning 50 %, 10 epochs, onnxruntime int8", partial(torch_pruning_static, epochs=10)
    ),
    "bare-static-int8": Peer("torch.onnx.export and onnxruntime static QDQ", export_static),
    "bare-structured": Peer("Torch-Pruning 50 %, 2 epochs", partial(torch_pruning, epochs=2)),
}
"""Every peer by the name that `--only` takes."""
