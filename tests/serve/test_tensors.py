"""Tensors: what fits is read, in both forms; everything else is refused by name before it is allocated."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from weighbridge.core.errors import InputError
from weighbridge.serve.tensors import Limits, Request, Spec, decode, encode, finite, has_nan

X = Spec("x", "FP32", (-1, 4))


def _asked(
    tensor: dict[str, Any] | None = None,
    raw: bytes = b"",
    inputs: Sequence[Spec] = (X,),
    limits: Limits | None = None,
    **more: Any,
) -> Request:
    item = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [0, 1, 2.5, 3]}
    tensors = [{**item, **(tensor or {})}]
    for drop in [key for key, value in tensors[0].items() if value is None]:
        del tensors[0][drop]
    text = json.dumps({"inputs": tensors, **more}).encode()
    return decode(text + raw, len(text) if raw else None, inputs, limits or Limits())


def test_json_flat_and_nested_are_one_tensor() -> None:
    flat = _asked().feed["x"]
    nested = _asked({"data": [[0, 1, 2.5, 3]]}).feed["x"]
    assert flat.dtype == np.float32
    assert np.array_equal(flat, nested)
    assert flat.shape == (1, 4)


def test_binary_data_is_the_same_tensor() -> None:
    raw = np.array([0, 1, 2.5, 3], "<f4").tobytes()
    found = _asked({"data": None, "parameters": {"binary_data_size": 16}}, raw)
    assert np.array_equal(found.feed["x"], _asked().feed["x"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "y"}, "no input 'y'"),
        ({"shape": [1, 5]}, "inputs.x.shape: expected [-1, 4]"),
        ({"shape": [4]}, "inputs.x.shape"),
        ({"shape": [-1, 4]}, "list of sizes"),
        ({"shape": [True, 4]}, "list of sizes"),
        ({"shape": [0, 4], "data": []}, "1 to 256 examples"),
        ({"shape": [10**30, 4]}, "1 to 256 examples"),
        ({"datatype": "FP64"}, "expected FP32"),
        ({"data": [1, 2, 3]}, "expected 4 values, got 3"),
        ({"data": ["1", 2, 3, 4]}, "a value that is no FP32"),
        ({"data": [True, 2, 3, 4]}, "a value that is no FP32"),
        ({"data": [[1, 2], 3, 4]}, "nested"),
        ({"data": [[[[[1]]]]]}, "nested"),
        ({"data": [1e39, 2, 3, 4]}, "range of FP32"),
        ({"data": "1234"}, "list of values"),
        ({"parameters": {"binary_data_size": 16}}, "as JSON and as binary"),
        ({"data": None, "parameters": {"binary_data_size": 15}}, "expected 16"),
        ({"data": None, "parameters": {"binary_data_size": 16}}, "ends before its data"),
        ({"data": None, "parameters": []}, None),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change: dict[str, Any], said: str | None) -> None:
    with pytest.raises(InputError, match=None) as caught:
        _asked(change)
    assert said is None or said in str(caught.value)


@pytest.mark.parametrize("kind", ["<f2", "<f4", "<f8"])
@pytest.mark.parametrize("size", [1, 7, 3072, 8192, 8193, 20_000])
def test_one_value_that_is_not_finite_is_found_wherever_it_is_and_no_other_array_is_refused(
    kind: str, size: int
) -> None:
    largest = np.finfo(kind).max
    for good in (np.zeros(size, kind), np.full(size, largest, kind), np.full(size, -largest, kind)):
        with np.errstate(all="raise"):
            assert finite(good, "x") is good
            assert not has_nan(good)
        for place in {0, size // 2, size - 1}:
            for value in (np.nan, np.inf, -np.inf):
                bad = good.copy()
                bad[place] = value
                with np.errstate(all="raise"), pytest.raises(InputError, match="NaN or infinite"):
                    finite(bad, "x")
                assert has_nan(bad) == np.isnan(value)


def test_arrays_of_whole_numbers_without_values_or_unaligned_are_looked_at_too() -> None:
    assert not has_nan(np.array([1, 2]))
    assert finite(np.zeros((0, 3), np.float32), "x").size == 0
    raw = np.frombuffer(b"abc" + np.array([1, np.nan], "<f4").tobytes(), "<f4", 2, 3)
    assert has_nan(raw)
    with pytest.raises(InputError, match="NaN or infinite"):
        finite(raw.reshape(2, 1), "x")
    assert has_nan(np.array(np.nan, np.float32))


def test_nan_is_refused_in_both_forms() -> None:
    raw = np.array([0, np.nan, 2, 3], "<f4").tobytes()
    with pytest.raises(InputError, match="NaN"):
        _asked({"data": None, "parameters": {"binary_data_size": 16}}, raw)
    with pytest.raises(InputError, match="NaN is not a JSON number"):
        decode(
            b'{"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [NaN, 1, 2, 3]}]}',
            None,
            (X,),
            Limits(),
        )


def test_a_missing_a_doubled_and_a_superfluous_part_are_refused() -> None:
    with pytest.raises(InputError, match="is missing: y"):
        _asked(inputs=(X, Spec("y", "INT64", (-1,))))
    item = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [0, 1, 2, 3]}
    with pytest.raises(InputError, match="given twice"):
        decode(json.dumps({"inputs": [item, item]}).encode(), None, (X,), Limits())
    with pytest.raises(InputError, match="3 bytes belong to no input"):
        _asked(raw=b"abc")


def test_limits_hold_before_anything_is_allocated() -> None:
    with pytest.raises(InputError, match="more than 3 elements"):
        _asked(limits=Limits(elements=3))
    with pytest.raises(InputError, match="2 tensors; at most 1"):
        decode(json.dumps({"inputs": [{}, {}]}).encode(), None, (X,), Limits(tensors=1))
    free = Spec("x", "FP32", (-1, -1))
    with pytest.raises(InputError, match="more than"):
        _asked({"shape": [1, 10**18], "data": None, "parameters": {"binary_data_size": 4}}, b"1234", (free,))


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"{}", b'{"inputs": 1}', b'{"inputs": [1]}', b"\xff", b"[" * 10**5])
def test_what_is_no_request_is_refused(text: bytes) -> None:
    with pytest.raises(InputError):
        decode(text, None, (X,), Limits())


def test_integers_keep_all_their_digits() -> None:
    spec = Spec("x", "INT64", (-1,))
    found = decode(
        b'{"inputs": [{"name": "x", "shape": [1], "datatype": "INT64", "data": [9007199254740993]}]}',
        None,
        (spec,),
        Limits(),
    )
    assert found.feed["x"][0] == 9007199254740993


def test_an_answer_is_encoded_in_both_forms() -> None:
    outputs = {"a": np.array([[1.5]], np.float32), "b": np.array([2], np.int64)}
    body, length = encode(b'{"model_name":"m"', 'say "1"', outputs, frozenset({"a"}))
    said = json.loads(body[:length])
    assert (said["model_name"], said["id"]) == ("m", 'say "1"')
    assert said["outputs"][0]["parameters"] == {"binary_data_size": 4}
    assert said["outputs"][1]["data"] == [2]
    assert np.frombuffer(body[length:], "<f4") == 1.5
    with pytest.raises(InputError, match="binary_data"):
        encode(b'{"model_name":"m"', "1", {"a": np.array([np.inf], np.float32)}, frozenset())
