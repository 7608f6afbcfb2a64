"""Blocks of few bits: what onnxruntime computes from them, and rounding that makes up for its errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from pydantic import ValidationError

from tests.compress import nets
from weighbridge.compress.export.onnxruntime import export
from weighbridge.compress.graph import lowering, sessions
from weighbridge.compress.steps import Context, Graph
from weighbridge.compress.techniques.quantize import Quantize, gptq, lower
from weighbridge.compress.techniques.quantize.gptq import BlockForm, moments_of, rounded
from weighbridge.core.errors import InvariantError
from weighbridge.data import Split

FORMS = [
    BlockForm(bits, levels, block, symmetric)
    for bits, levels in ((4, 16), (4, 8), (4, 4), (8, 256))
    for block in (16, 32)
    for symmetric in (True, False)
]


def correlated(count: int, width: int, seed: int = 0) -> NDArray[Any]:
    """Inputs (count, width) of which each is a mix of a few."""
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((count, 6)) @ rng.standard_normal((6, width))
    return (mixed + 0.1 * rng.standard_normal((count, width))).astype(np.float32)


def two_products(weight: NDArray[Any], *, shared: bool = False) -> onnx.ModelProto:
    """`x` → `y` = tanh(x·w), `z` = y·v, with v = w where it is shared."""
    info, node = helper.make_tensor_value_info, helper.make_node
    width = weight.shape[0]
    graph = helper.make_graph(
        [node("MatMul", ["x", "w"], ["p"], name="one"), node("Tanh", ["p"], ["y"], name="tanh"),
         node("MatMul", ["y", "w" if shared else "v"], ["z"], name="two")],
        "g",
        [info("x", TensorProto.FLOAT, ["n", width])],
        [info("z", TensorProto.FLOAT, ["n", None])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.ascontiguousarray(weight[::-1].T), "v")],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def config(**more: str | int | tuple[str]) -> Quantize:
    return Quantize(scheme="weight-int4", kernel="matmulnbits", agreement=0, **more)


@pytest.fixture(scope="module")
def mlp() -> tuple[Graph, Context]:
    """An exported net of linear layers and its context."""
    module, context = nets.build("mlp")
    return export(module, context.data.train), context


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_the_runtime_computes_with_the_values_that_are_stored(form: BlockForm) -> None:
    """Packing, zero points and an odd number of blocks that does not divide the rows are as MatMulNBits reads them."""
    rng = np.random.default_rng(1)
    weight = (rng.standard_normal((72, 10)) + 0.3).astype(np.float32)
    info = helper.make_tensor_value_info
    plain = helper.make_node("MatMul", ["x", "w"], ["y"], name="one")
    node, tensors = gptq.product(plain, "w", weight, form, None)
    graph = helper.make_graph(
        [node], "g", [info("x", TensorProto.FLOAT, ["n", 72])], [info("y", TensorProto.FLOAT, ["n", 10])], tensors
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    x = rng.standard_normal((5, 72)).astype(np.float32)
    (found,) = sessions.run(proto, Split({"x": x}), "test")
    stored = rounded(weight, form)
    np.testing.assert_allclose(found, x @ stored.values(72), rtol=1e-4, atol=1e-4)
    low, high = form.ends
    assert low <= stored.codes.min()
    assert stored.codes.max() <= high
    assert len(np.unique(stored.codes)) <= form.levels
    # The nearest value: off by half a step, but where the end of the range was drawn in.
    steps = np.repeat(np.abs(stored.scales), form.block, axis=0)[:72]
    assert np.median(np.abs(stored.values(72) - weight) / steps) < 0.5


@pytest.mark.parametrize("form", [form for form in FORMS if form.bits == 4], ids=str)
def test_errors_of_the_product_even_out_on_correlated_inputs(form: object) -> None:
    """The weights move further than to the nearest value, and the product less: also on inputs of another draw."""
    weight = np.random.default_rng(2).standard_normal((72, 24)).astype(np.float32)
    x, other = correlated(500, 72), correlated(500, 72)[::-1] + 0.05 * correlated(500, 72, seed=3)
    plain, ours = (rounded(weight, form, moments).values(72) for moments in (None, x.T @ x))
    error = {name: np.square(other @ (found - weight)).mean() for name, found in (("plain", plain), ("ours", ours))}
    assert error["ours"] < 0.5 * error["plain"]
    assert np.square(ours - weight).mean() > np.square(plain - weight).mean()


def test_inputs_that_are_always_zero_decide_nothing() -> None:
    """A pixel that is black on all calibration data has no say, and its weights go to their nearest values."""
    x = correlated(100, 32)
    x[:, 5] = 0
    weight = np.random.default_rng(4).standard_normal((32, 4)).astype(np.float32)
    form = BlockForm(4, 16, 32, symmetric=True)
    found, plain = rounded(weight, form, x.T @ x).values(32), rounded(weight, form).values(32)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found[5], plain[5])
    assert (found != plain).any()


def test_a_zero_point_serves_weights_of_one_sign() -> None:
    """Half of a symmetric range would be empty."""
    weight = np.random.default_rng(5).uniform(0, 1, (64, 8)).astype(np.float32)
    errors = [
        np.square(rounded(weight, BlockForm(4, 16, 32, symmetric=symmetric)).values(64) - weight).mean()
        for symmetric in (True, False)
    ]
    assert errors[1] < 0.4 * errors[0]


def test_moments_are_those_of_the_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of inputs and of what is computed on the way; in groups where memory does not hold all of them at once."""
    x = correlated(40, 12)
    weight = np.random.default_rng(6).standard_normal((12, 8)).astype(np.float32) * 0.1
    y = np.tanh(x @ weight)
    proto = two_products(weight)
    for limit in (1 << 20, 1):
        monkeypatch.setattr(gptq, "MOMENTS_BYTES", limit)
        found = dict(moments_of(proto, {"x": 12, "y": 8}, Split({"x": x}), "test"))
        np.testing.assert_allclose(found["x"], x.T @ x, rtol=1e-4)
        np.testing.assert_allclose(found["y"], y.T @ y, rtol=1e-4, atol=1e-4)
    assert [value.name for value in proto.graph.output] == ["z"]


def test_infinite_activations_stop_the_rounding() -> None:
    """Nothing can be learned from them."""
    weight = np.full((4, 4), 3e38, np.float32)
    with pytest.raises(InvariantError, match="p is not finite on calibration data"):
        dict(moments_of(two_products(weight), {"p": 4}, Split({"x": np.full((2, 4), 3e38, np.float32)}), "test"))


def test_a_net_in_four_bits_answers_nearer_with_rounding_by_data(mlp: tuple[Graph, Context]) -> None:
    """From the recipe's step to the file: same layers, same bytes, a smaller error; blocks and zero points as asked."""
    graph, context = mlp
    facts = {}
    for rounding in ("nearest", "gptq"):
        for symmetric in (True, False):
            after, facts[rounding, symmetric] = lower(
                config(levels=8, rounding=rounding, symmetric=symmetric, block_size=16), graph, context
            )
            nodes = [node for node in after.proto.graph.node if node.op_type == "MatMulNBits"]
            assert {len(node.input) for node in nodes} == {3 if symmetric else 4}
    for symmetric in (True, False):
        ours, plain = facts["gptq", symmetric], facts["nearest", symmetric]
        assert ours["layers"] == plain["layers"]
        assert ours["relative_error"] < 0.9 * plain["relative_error"]


def test_layers_that_are_kept_stay_in_float(mlp: tuple[Graph, Context]) -> None:
    """Their weights are those of the model before, bit by bit."""
    graph, context = mlp
    after, facts = lower(config(rounding="gptq", keep=("classes",)), graph, context)
    assert facts["kept"] == ["classes"]
    assert [layer.name for layer in lowering.layers(after)] == ["classes"]
    before = next(layer for layer in lowering.layers(graph) if layer.name == "classes")
    kept = lowering.array_of(after.proto, lowering.layers(after)[0].weight)
    np.testing.assert_array_equal(kept.T, lowering.array_of(graph.proto, before.weight))


def test_readers_of_one_weight_are_rounded_by_their_own_inputs(mlp: tuple[Graph, Context]) -> None:
    """Each has a copy: what evens out the errors of one would add to those of the other."""
    _, context = mlp
    weight = np.random.default_rng(7).standard_normal((32, 32)).astype(np.float32) * 0.2
    x = correlated(64, 32)
    data = type(context.data)(train=Split({"x": x}), calibration=Split({"x": x}), test=Split({"x": x}))
    one = type(context)(data=data, train=context.train, seed=1, baseline=context.baseline, teacher=None,
                        progress=context.progress)  # fmt: skip
    after, facts = lower(config(rounding="gptq"), Graph(two_products(weight, shared=True)), one)
    assert facts["MatMulNBits"] == 2
    codes = [numpy_helper.to_array(item) for item in after.proto.graph.initializer if item.name.endswith("/codes")]
    assert len(codes) == 2
    assert (codes[0] != codes[1]).any()


def test_fewer_levels_are_fewer_values_in_the_folded_form_too(mlp: tuple[Graph, Context]) -> None:
    """Three bits' worth of them, in the storage of four."""
    graph, context = mlp
    sizes, values = [], []
    for levels in (16, 8):
        after, _ = lower(Quantize(scheme="weight-int4", levels=levels, agreement=0), graph, context)
        sizes.append(after.proto.ByteSize())
        stored = [
            numpy_helper.to_array(item) for item in after.proto.graph.initializer if item.data_type == TensorProto.INT4
        ]
        values.append(max(len(np.unique(array.astype(np.int8))) for array in stored))
    assert values == [15, 7]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scheme": "weight-int4", "rounding": "gptq"}, "'rounding' belongs to kernel: matmulnbits"),
        ({"scheme": "weight-int4", "symmetric": False}, "'symmetric' belongs to kernel: matmulnbits"),
        ({"scheme": "weight-int8", "levels": 8}, "'levels' has no meaning for scheme weight-int8"),
        ({"scheme": "weight-int4", "levels": 7}, "Input should be 4, 8 or 16"),
        ({"scheme": "fp16", "rounding": "gptq"}, "no meaning for scheme fp16"),
    ],
)
def test_what_belongs_to_another_form_is_refused(values: dict[str, Any], message: str) -> None:
    """Before anything runs."""
    with pytest.raises(ValidationError, match=message):
        Quantize.model_validate(values)
