"""Running a graph by onnxruntime while it is built: sessions, batches of examples, outputs."""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto

from weighbridge.compress.graph import feeds, spilled
from weighbridge.compress.graph.graph_form import at_opset as at_opset  # noqa: PLC0414  # lowering steps know it from here
from weighbridge.compress.graph.graph_form import finished as finished  # noqa: PLC0414
from weighbridge.core.errors import InputError, InvariantError
from weighbridge.core.formats.onnx_file import Port, serialize, signature
from weighbridge.core.formats.onnx_weightless import LARGE, beside
from weighbridge.core.operator_libraries import OperatorLibrary
from weighbridge.core.ragged import buckets, filled_up, joined, stacked
from weighbridge.data import Split

Array = NDArray[Any]
_OPTIMIZED = "session.optimized_model_external_initializers_"
ORT_ERRORS = (
    onnxruntime.capi.onnxruntime_pybind11_state.EPFail,
    onnxruntime.capi.onnxruntime_pybind11_state.Fail,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidGraph,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidProtobuf,
    onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented,
    onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException,
)
MAPPED = 1 << 26
"""Bytes of a model from which on its weights are mapped from a file to run it."""


_LIBRARIES: ContextVar[tuple[Path, ...]] = ContextVar("libraries", default=())


_HELD: dict[Path, ctypes.CDLL] = {}
"""Libraries of this process, kept until it ends."""


@contextmanager
def with_libraries(libraries: Sequence[OperatorLibrary]) -> Iterator[None]:
    """Within it, sessions load these libraries of custom operators, and no other ones."""
    token = _LIBRARIES.set(tuple(library.path for library in libraries))
    try:
        yield
    finally:
        _LIBRARIES.reset(token)


def register(options: Any) -> Any:
    """The options of a session, with the libraries of `with_libraries` registered; an `InputError` for what is none."""
    for path in _LIBRARIES.get():
        try:
            # onnxruntime unloads a library with its session: one that is loaded again after that may crash.
            _HELD.setdefault(path, ctypes.CDLL(str(path)))
        except OSError as error:
            raise InputError(f"cannot be loaded as a library: {error}", where=str(path)) from error
        options.register_custom_ops_library(str(path))
    return options


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back what quantizers log, warn and print: they write to the terminal of whoever imports them."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def session(proto: ModelProto, where: str, *, level: str = "all", save: Path | None = None) -> Any:
    """An onnxruntime session on one core; a graph that the runtime refuses is an `InputError`.

    `level` is onnxruntime's optimization level: `all`, or `basic`, which does not depend on the processor.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    register(options)
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_BASIC if level == "basic" else levels.ORT_ENABLE_ALL
    if save is not None:
        options.optimized_model_filepath = str(save)
        if spilled.is_spilled(proto):
            options.add_session_config_entry(f"{_OPTIMIZED}file_name", f"{save.name}.data")
            options.add_session_config_entry(f"{_OPTIMIZED}min_size_in_bytes", str(LARGE))
    try:
        if spilled.is_spilled(proto):
            return _spilled(proto, options)
        if proto.ByteSize() > MAPPED and save is None:
            return _mapped(proto, options)
        return onnxruntime.InferenceSession(serialize(proto), options, providers=["CPUExecutionProvider"])
    except ORT_ERRORS as error:
        raise InputError(f"onnxruntime cannot load the model: {error}", where=where) from error


def _spilled(proto: ModelProto, options: Any) -> Any:
    """A session that maps the weights where they lie."""
    path = spilled.bare_file(proto)
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    finally:
        path.unlink()


def _mapped(proto: ModelProto, options: Any) -> Any:
    """A session that maps large weights from a file, where the bytes of one message would be held three times.

    The file is gone at once; what is mapped of it stays.
    """
    with tempfile.TemporaryDirectory(prefix="weighbridge.") as folder:
        path = Path(folder) / "model.onnx"
        beside(proto, path)
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def batches(proto: ModelProto, split: Split, size: int = 64) -> Iterator[dict[str, Array]]:
    """Feeds for a model from a split, in order: its fixed batch size where it has one, up to `size` otherwise.

    An input that the split does not have is an `InputError`. A last batch that does not fill a fixed size is left out.
    """
    return (feed for _, feed in _indexed(proto, split, size))


def _indexed(proto: ModelProto, split: Split, size: int = 64) -> Iterator[tuple[Array, dict[str, Array]]]:
    """As `batches`, with the examples' places; where they differ in length, a batch has one length."""
    ports = signature(proto).inputs
    gone = feeds.missing(ports, split.inputs)
    if gone:
        raise InputError(
            f"the data has no input {gone[0]!r}", where="data", fix=f"it has: {', '.join(sorted(split.inputs))}"
        )
    fixed = feeds.fixed_batch(ports)
    step, kinds = fixed or size, buckets(split.inputs)
    if len(kinds) > 1 and step > 1 and fixed:
        raise InputError(f"the model takes {fixed} examples at a time, and these differ in length", where="data")
    for chosen in kinds:
        arrays = stacked(split.inputs, chosen) if len(kinds) > 1 else split.inputs
        for start in range(0, len(chosen) - (step - 1 if fixed else 0), step):
            cut = feeds.feed(ports, arrays, start, min(step, len(chosen) - start))
            yield chosen[start : start + step], {port.name: _fed(port, cut[port.name]) for port in ports}


def _fed(port: Port, values: Array) -> Array:
    expected = None if port.dtype in ("unknown", "bfloat16", "string") else np.dtype(port.dtype)
    return np.ascontiguousarray(values if expected is None else values.astype(expected, copy=False))


def run(proto: ModelProto, split: Split, where: str, *, level: str = "all", finite: bool = True) -> list[Array]:
    """The model's outputs on a split, each (n, …). With `finite`, NaN and infinite values are an `InvariantError`."""
    return outputs_of(session(proto, where, level=level), proto, split, where, finite=finite)


def outputs_of(runner: Any, proto: ModelProto, split: Split, where: str, *, finite: bool = True) -> list[Array]:
    """As `run`, in a session that stands."""
    collected: list[list[Array]] = []
    places: list[Array] = []
    names = [port.name for port in runner.get_outputs()]
    try:
        for chosen, feed in _indexed(proto, split):
            collected.append(feeds.by_example(names, runner.run(None, feed), feed))
            places.append(chosen)
    except ORT_ERRORS as error:
        raise InputError(f"onnxruntime cannot run the model: {error}", where=where) from error
    if not collected:
        raise InputError("there are fewer examples than the model's fixed batch size", where="data")
    ragged = len(buckets(split.inputs)) > 1
    outputs = []
    for column in zip(*collected, strict=True):
        parts = [np.atleast_1d(part) for part in column]
        parts = [part.astype(np.str_) if part.dtype.kind == "O" else part for part in parts]
        whole = joined(list(zip(places, parts, strict=True))) if ragged else np.concatenate(parts)
        outputs.append(filled_up(whole, split.labels))
    for index, output in enumerate(outputs):
        if finite and output.dtype.kind == "f" and not np.isfinite(output).all():
            raise InvariantError(f"output {index} is not finite on calibration data", where=where)
    return outputs
