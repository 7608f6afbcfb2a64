import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.gate.models import artifact, linear
from weighbridge.gate.measure import frames, worker, worker_inputs
from weighbridge.gate.measure.operations import Operations
from weighbridge.gate.measure.process import open_artifact

NUMBERS = hnp.arrays(
    st.sampled_from(["float32", "float64", "int64", "uint8", "bool"]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)


@given(st.dictionaries(st.text(max_size=5), NUMBERS, max_size=3))
def test_arrays_survive_the_pipe(arrays: dict[str, Any]) -> None:
    """What is packed is unpacked, name by name, type, shape and bytes."""
    described, payload = frames.pack_arrays(arrays)
    found = frames.unpack_arrays(described, payload)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


@given(st.binary(max_size=64))
def test_no_bytes_but_a_frame_are_a_header(data: bytes) -> None:
    """Random bytes are refused, never taken for lengths."""
    with pytest.raises(frames.ProtocolError):
        frames.unpack_header(data)


@pytest.mark.parametrize(
    "described",
    [
        [{"name": "a", "dtype": "<f4", "shape": [3]}],
        [{"name": "a", "dtype": "<f4", "shape": [1]}],
        [{"name": "a", "dtype": "O", "shape": [1]}],
        [{"name": "a", "dtype": "<f4", "shape": [-2]}],
        [{"name": "a", "dtype": "nonsense", "shape": [2]}],
        [{"name": "a", "dtype": "<f4", "shape": [10**400]}],
        [{"name": "a", "dtype": "f4,(", "shape": [2]}],
        [{"dtype": "<f4", "shape": [2]}],
        [7],
        None,
    ],
)
def test_a_description_that_does_not_fit_its_payload_is_refused(described: list[int | dict[str, Any]] | None) -> None:
    """Lengths, types and shapes must agree with the eight bytes that came."""
    with pytest.raises(frames.ProtocolError):
        frames.unpack_arrays(described, b"\0" * 8)


def test_feeds_are_whole_batches_in_order() -> None:
    """Batches follow each other; an input without an axis for examples gets one example at a time."""
    arrays = {"a": np.arange(5), "b": np.arange(10).reshape(5, 2)}
    found = list(worker_inputs.feeds(arrays, 2, []))
    assert [feed["a"].tolist() for feed in found] == [[0, 1], [2, 3]]
    single = list(worker_inputs.feeds(arrays, 1, ["a"]))
    assert [feed["a"].shape for feed in single] == [()] * 5
    assert single[3]["b"].tolist() == [[6, 7]]


def test_the_timing_process_imports_only_numpy_and_one_runtime(tmp_path: Path) -> None:
    """Of Weighbridge itself and its frames alone, no scipy, onnx or torch: the artifact is measured, on any device."""
    opened, started = open_artifact(artifact(linear(tmp_path / "m.onnx")))
    with opened:
        status, _ = opened.ask("status")
    third_party = {name.partition(".")[0] for name in status["modules"]} - sys.stdlib_module_names
    installed = {
        name for name in third_party if not name.startswith("_") and name not in ("__main__", "runtime_adapter")
    }
    assert installed == {"numpy", "onnxruntime", "weighbridge"}
    ours = {name for name in status["modules"] if name.startswith("weighbridge.gate.measure.")}
    assert ours == {
        f"weighbridge.gate.measure.{name}"
        for name in ("frames", "operations", "process_limits", "worker", "worker_inputs")
    }
    assert {name for name in status["modules"] if name.startswith("weighbridge")} - ours == {
        "weighbridge", "weighbridge.core", "weighbridge.core.ragged", "weighbridge.core.row_answers",
        "weighbridge.gate", "weighbridge.gate.measure",
    }  # fmt: skip
    assert status["memory"] >= started["memory"] > 0


def test_an_unknown_operation_is_answered_not_died_of() -> None:
    """The loop outlives a request that it cannot serve."""
    source, sink = io.BytesIO(frames.pack({"op": "dance"}) + frames.pack({"op": "status"})), io.BytesIO()
    worker.serve(source, sink)
    assert b"KeyError" in sink.getvalue()
    assert b"modules" in sink.getvalue()


def test_the_garbage_collector_rests_while_timing_and_works_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """A collection in the middle of an inference would be counted as the model's time."""
    import gc

    seen = []
    bench = Operations()
    bench.time(3, 0, lambda _: seen.append(gc.isenabled()) or [np.zeros(1)])
    assert seen == [False] * 3
    assert gc.isenabled()
