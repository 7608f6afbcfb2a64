"""Heads that repeat are read once, and decode to what they decode to without a memory."""

import json

import numpy as np
import pytest

from weighbridge.core.errors import InputError
from weighbridge.serve.protocol.heads import Heads
from weighbridge.serve.tensors import Limits, Spec, decode

SPECS = (Spec("a", "FP32", (-1, 2)), Spec("b", "INT64", (-1,)))
RAW = np.array([[3, 4]], "<i8").tobytes()[:8] + np.array([[1, 2]], "<f4").tobytes()


def _body(
    identity: str | None = None, raw: bytes = RAW, *, compact: bool = False, **more: dict[str, int] | None
) -> tuple[bytes, int]:
    """`b` comes before `a`: the order of a request is not the model's."""
    tensors = [
        {"name": "b", "shape": [1], "datatype": "INT64", "parameters": {"binary_data_size": 8}},
        {"name": "a", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}},
    ]
    said = {**({"id": identity} if identity else {}), "inputs": tensors, **more}
    head = json.dumps(said, separators=(",", ":") if compact else None).encode()
    return head + raw, len(head)


@pytest.mark.parametrize("compact", [False, True])
def test_a_remembered_head_decodes_as_one_that_is_read_anew(compact: bool) -> None:
    heads = Heads()
    for identity in (None, "first", "second", "first"):
        body, head = _body(identity, compact=compact, parameters={"binary_data_output": True})
        found, anew = (take(body, head, SPECS, Limits()) for take in (heads.decode, decode))
        assert (found.id, found.binary, found.outputs) == (anew.id, anew.binary, anew.outputs)
        assert list(found.feed) == ["a", "b"]
        for name in found.feed:
            np.testing.assert_array_equal(found.feed[name], anew.feed[name])
    assert len(heads.plans) == 1


def test_what_a_remembered_head_lets_through_is_still_checked() -> None:
    heads = Heads()
    body, head = _body()
    heads.decode(body, head, SPECS, Limits())
    nan, _ = _body(raw=RAW[:8] + np.array([[1, np.nan]], "<f4").tobytes())
    for broken, said in ((nan, "NaN"), (body + b"x", "belong to no input"), (body[:-1], "ends before")):
        with pytest.raises(InputError, match=said):
            heads.decode(broken, head, SPECS, Limits())
    other = (SPECS[0], Spec("b", "INT32", (-1,)))
    with pytest.raises(InputError, match="expected INT32"):  # another version with other inputs
        heads.decode(body, head, other, Limits())


def test_a_second_id_is_refused_whatever_is_remembered() -> None:
    heads = Heads()
    bare, _ = _body(id_=None)
    body = bare.replace(b'"id_": null', b'"id": "own"')
    heads.decode(body, len(body) - len(RAW), SPECS, Limits())
    doubled = b'{"id": "first", ' + body[1:]
    with pytest.raises(InputError, match="occurs twice"):
        heads.decode(doubled, len(doubled) - len(RAW), SPECS, Limits())


def test_heads_that_never_repeat_do_not_fill_the_memory() -> None:
    heads = Heads()
    for number in range(1000):
        body, head = _body(parameters={"n": number})
        heads.decode(body, head, SPECS, Limits())
    assert len(heads.plans) <= 256
