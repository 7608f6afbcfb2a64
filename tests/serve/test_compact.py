"""JSON by an encoder that is made once."""

import json

import pytest

from weighbridge.serve.compact import compact


def test_values_are_encoded_as_json_does_and_what_cannot_be_is_an_error() -> None:
    value = {"a": ['"\\é\u2028', 1, -0.5, 1e300, True, None, {}], "b": {"c": [[]]}}
    assert compact()(value) == json.dumps(value, separators=(",", ":")).encode()
    assert compact()([float("inf")]) == b"[Infinity]"
    with pytest.raises(ValueError, match="Out of range"):
        compact(allow_nan=False)([float("nan")])
    with pytest.raises(TypeError, match="not JSON serializable"):
        compact()([object()])


def test_without_the_c_encoder_the_bytes_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("json.encoder.c_make_encoder", None)
    assert compact()({"a": [1, "é"]}) == b'{"a":[1,"\\u00e9"]}'
