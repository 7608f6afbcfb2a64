"""8-bit weights and activations by onnxruntime's quantizer: static (ranges from data) and dynamic."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, ValueInfoProto
from onnxruntime import quantization as ort_quantization
from onnxruntime.quantization.calibrate import (
    CalibrationMethod,
    EntropyCalibrater,
    MinMaxCalibrater,
    PercentileCalibrater,
    save_tensors_data,
)
from onnxruntime.quantization.quant_utils import add_pre_process_metadata
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

from weighbridge.compress.graph.lowering import Array, at_opset, finished, named, optimized
from weighbridge.compress.graph.normal.attention_masks import masks, saturated
from weighbridge.compress.graph.normal.walk import copied
from weighbridge.compress.graph.sessions import batches, quiet, session
from weighbridge.compress.graph.spilled import bare_file, is_spilled
from weighbridge.compress.techniques.quantize.config import Quantize
from weighbridge.compress.techniques.quantize.float_outputs import with_float_outputs
from weighbridge.compress.techniques.quantize.ranges import widened
from weighbridge.compress.techniques.quantize.stand_ins import refilled, with_stand_ins
from weighbridge.core.errors import InputError
from weighbridge.data import Split

METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}
CALIBRATORS = {"minmax": MinMaxCalibrater, "entropy": EntropyCalibrater, "percentile": PercentileCalibrater}
ENTROPY_BINS = 512
"""Bins of an activation's histogram; thresholds from 1/4 of the largest value up are tried."""
ORT_QUANTIZER_ERRORS = (ValueError, TypeError, AttributeError, RuntimeError, NotImplementedError, KeyError, IndexError)
"""What onnxruntime's quantizer raises on graphs that it cannot handle."""

CALIBRATION_BYTES = 1 << 30
"""Activations that calibration holds at once; an image of 224×224 in a mobile network has some 50 MB of them."""
MOST_IN_A_BATCH = 64

WHERE = "quantize"


class Reader:
    """Feeds a split to onnxruntime's calibration, batch by batch: the one method that it calls."""

    def __init__(self, feeds: Iterator[dict[str, Array]]) -> None:
        self._feeds = feeds

    def get_next(self) -> dict[str, Array] | None:
        """The next feed, or None after the last."""
        return next(self._feeds, None)


def prepared(proto: ModelProto) -> ModelProto:
    """The graph as the quantizer wants it: normalisations fused, constants folded, nodes named, shapes inferred."""
    # A scale for each channel came with opset 13.
    ready = onnx.shape_inference.infer_shapes(named(saturated(optimized(at_opset(proto, 13, WHERE), WHERE))))
    add_pre_process_metadata(ready)
    return ready


def check_calibration(split: Split) -> None:
    """Refuse data that gives no ranges to trust: no examples, or classification with one class."""
    if len(split) == 0:
        raise InputError("the calibration set is empty", where="data.calibration")
    labels = split.labels
    if labels.dtype.kind in "iu" and len(split) > 1 and (labels == labels[0]).all():
        raise InputError(
            f"all {len(split)} examples of the calibration set have the class {int(labels[0])}",
            where="data.calibration",
            fix="draw it from all classes",
        )


def reduces_range(config: Quantize) -> bool:
    """Whether weights take 7 bits: as the config says, never by the processor that compresses."""
    if config.reduce_range == "auto":
        return config.isa == "portable"
    return config.reduce_range == "always"


def calibrate(ready: ModelProto, config: Quantize, split: Split, ranges: Path) -> None:
    """Run a prepared graph on `split` and write the range of every activation to the file `ranges`.

    Not left to `quantize_static`, whose entropy calibration has as many bins as quantization levels, so that no
    threshold but the extremes is ever tried, and whose percentiles are symmetric, which wastes half the levels
    behind a ReLU. Ranges are widened to a coarse grid (see `ranges`), so that they are the same on every processor.
    """
    extra: dict[str, object] = {"symmetric": False}
    if config.calibration == "entropy":
        extra |= {"num_bins": ENTROPY_BINS, "num_quantized_bins": 128}
    if config.calibration == "percentile":
        extra |= {"percentile": config.percentile}
    with _scratch() as folder:
        source = folder / "float.onnx"
        axes = _save(ready, source)
        # What `create_calibrator` does, in two steps.
        calibrator = CALIBRATORS[config.calibration](
            source, sorted({*QLinearOpsRegistry, *QDQRegistry}), str(folder / "augmented.onnx"), **extra
        )
        calibrator.augment_graph()
        if axes:
            augmented = bare_file(refilled(onnx.load(calibrator.augmented_model_path), ready, axes))
            calibrator.augmented_model_path = str(augmented)
        calibrator.create_inference_session()
        for portion in portions(ready, split):
            _guarded(calibrator.collect_data, Reader(iter(portion)))
        found = calibrator.compute_data()
        for output in ready.graph.output if config.calibration != "minmax" else ():
            # A clipped answer ties the surest classes: outputs keep their extremes.
            _, _, least, most, *_ = calibrator.collector.histogram_dict.get(output.name, (0, 0, None, None))
            if most is not None:
                found.data[output.name].lowest, found.data[output.name].highest = np.asarray(least), np.asarray(most)
        for tensor in found.data.values():
            tensor.lowest, tensor.highest = widened(tensor.lowest, tensor.highest)
        save_tensors_data(found, ranges)


def portions(ready: ModelProto, split: Split, budget: int = CALIBRATION_BYTES) -> Iterator[list[dict[str, Array]]]:
    """The split's batches in lists whose activations take at most `budget` bytes, by what one example takes.

    onnxruntime keeps the activations of a list until its ranges are taken. One list is what small models get; one
    example at a time is the least.
    """
    each, fixed = _activation_bytes(ready, split)
    size = _even(len(split), max(1, min(MOST_IN_A_BATCH, budget // each)))
    feeds = batches(ready, split, size)
    while portion := list(islice(feeds, max(1, budget // (each * max(size if fixed == 1 else 1, fixed))))):
        yield portion


def _activation_bytes(ready: ModelProto, split: Split) -> tuple[int, int]:
    """Bytes of every inner value for one example, found by running one, or as many as the batch fixes, and how many."""
    watched = copied(ready)
    outputs = {value.name for value in watched.graph.output}
    inner = [name for node in watched.graph.node for name in node.output if name and name not in outputs]
    watched.graph.output.extend(ValueInfoProto(name=name) for name in inner)
    feed = next(batches(ready, split, 1), None)
    if feed is None:  # which running the model says
        return 1, 1
    found = session(watched, WHERE, level="basic").run(None, feed)
    count = max((len(array) for array in feed.values() if array.ndim), default=1)
    return max(1, sum(array.nbytes for array in found if isinstance(array, np.ndarray)) // count), count


def static(ready: ModelProto, config: Quantize, ranges: Path, *, exclude: Sequence[str] = ()) -> ModelProto:
    """Quantize a prepared graph to U8 activations and S8 weights, with the ranges that `calibrate` wrote.

    `exclude` names nodes that stay in float.
    """
    qdq = config.format == "qdq"
    with _scratch() as folder:
        path, source = folder / "quantized.onnx", folder / "float.onnx"
        axes = _save(ready, source)  # given a model in memory, the quantizer writes it to a temporary file itself
        _guarded(
            ort_quantization.quantize_static,
            source,
            path,
            None,
            quant_format=ort_quantization.QuantFormat.QDQ if qdq else ort_quantization.QuantFormat.QOperator,
            per_channel=config.per_channel,
            reduce_range=reduces_range(config),
            activation_type=ort_quantization.QuantType.QUInt8,
            weight_type=ort_quantization.QuantType.QInt8,
            nodes_to_exclude=[*exclude, *_excluded(ready)],
            calibrate_method=METHODS[config.calibration],
            # Products of two activations are rare, small and the most sensitive part of attention.
            extra_options={
                "ActivationSymmetric": False,
                "WeightSymmetric": True,
                "MatMulConstBOnly": True,
                **_types(axes),
                **_overrides(ready, config, exclude),
            },
            calibration_cache_path=ranges,
        )
        made = refilled(onnx.load(path), ready, axes)
        return _ordered(finished(with_float_outputs(made) if config.float_outputs else made))


def dynamic(ready: ModelProto, config: Quantize, *, exclude: Sequence[str] = ()) -> ModelProto:
    """Quantize weights to 8 bits; activations are quantized at every inference, by their own range.

    Weights of convolutions are unsigned: onnxruntime has no fast kernel for U8 x S8 `ConvInteger`.
    """
    with _scratch() as folder:
        path, source = folder / "quantized.onnx", folder / "float.onnx"
        axes = _save(ready, source)
        convolves = any(node.op_type == "Conv" and node.name not in exclude for node in ready.graph.node)
        _guarded(
            ort_quantization.quantize_dynamic,
            source,
            path,
            per_channel=config.per_channel,
            reduce_range=reduces_range(config),
            weight_type=ort_quantization.QuantType.QUInt8 if convolves else ort_quantization.QuantType.QInt8,
            # The quantizer first rewrites Gemm as MatMul, under this name.
            nodes_to_exclude=[name for one in (*exclude, *_excluded(ready)) for name in (one, f"{one}_MatMul")],
            extra_options={"MatMulConstBOnly": True, **_types(axes)},
        )
        return _ordered(finished(refilled(onnx.load(path), ready, axes)))


def _save(ready: ModelProto, path: Path) -> dict[str, int]:
    """Write the model that the quantizer reads, and say which weights are stand-ins in it; see `with_stand_ins`."""
    model, axes = with_stand_ins(ready) if is_spilled(ready) else (ready, {})
    onnx.save(model, path)
    return axes


def _types(axes: dict[str, int]) -> dict[str, object]:
    """The type of values that the quantizer adds itself: it does not find it out where stand-ins have other shapes."""
    return {"DefaultTensorType": TensorProto.FLOAT} if axes else {}


def _excluded(ready: ModelProto) -> list[str]:
    """Nodes that no 8-bit range fits: those on the way of an attention mask, and around a weight without elements.

    A mask of -1e38 in the range of a tensor leaves one step for everything else in it.
    """
    found = {node.name for way in masks(ready.graph).values() for node in way}
    empty = {str(tensor.name) for tensor in ready.graph.initializer if not all(tensor.dims)}
    made: set[str] = set()
    for node in ready.graph.node:
        if empty & set(node.input):
            made.update(node.output)
        if (empty | made) & set(node.input):
            found.add(node.name)
    return sorted(found)


def _overrides(ready: ModelProto, config: Quantize, exclude: Sequence[str]) -> dict[str, object]:
    """One scale for the whole weight of a grouped transposed convolution with a bias, in place of one a channel.

    Its weight is (in, out / groups, ...): channels count within each group, and the quantizer scales the bias, which
    has all of them, by as many scales as the weight has (onnxruntime#19694).
    """
    if not config.per_channel or config.format != "qdq":
        return {}
    entry = {"quant_type": ort_quantization.QuantType.QInt8, "symmetric": True, "reduce_range": reduces_range(config)}
    grouped = {
        node.input[1]: [dict(entry)]
        for node in ready.graph.node
        if node.op_type == "ConvTranspose" and len(node.input) > 2 and node.input[2] and node.name not in exclude
        if any(item.name == "group" and item.i > 1 for item in node.attribute)
    }
    return {"TensorQuantOverrides": grouped} if grouped else {}


def _even(count: int, most: int = MOST_IN_A_BATCH) -> int:
    """The largest batch that divides `count`: onnxruntime's histograms take batches of one shape alone."""
    return max(size for size in range(1, most + 1) if count % size == 0)


def _ordered(proto: ModelProto) -> ModelProto:
    """Initializers by name: the quantizer walks over sets, whose order is not the same in two processes."""
    tensors = sorted(proto.graph.initializer, key=lambda tensor: str(tensor.name))
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(tensors)
    return proto


@contextmanager
def _scratch() -> Iterator[Path]:
    """A temporary folder, with the quantizer's advice to the log held back."""
    with quiet(), tempfile.TemporaryDirectory(prefix="weighbridge.") as folder:
        yield Path(folder)


def _guarded(function: object, *arguments: object, **options: object) -> None:
    """Call onnxruntime's quantizer; what it cannot do is an `InputError`."""
    assert callable(function)
    try:
        function(*arguments, **options)
    except ORT_QUANTIZER_ERRORS as error:
        raise InputError(
            f"onnxruntime's quantizer refuses the model: {type(error).__name__}: {error}",
            where=WHERE,
            fix="name the layer under 'keep', or choose a weight-only scheme",
        ) from error
