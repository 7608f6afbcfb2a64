"""Graphs as people have them: each kind comes out small, answers as before, and no weight is overlooked."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from weighbridge.compress.export.onnxruntime import run as run_file
from weighbridge.compress.export.onnxruntime import write
from weighbridge.compress.graph.graph_form import at_opset
from weighbridge.compress.graph.lowering import agreement, finished, layers
from weighbridge.compress.graph.normal import entered, laid_out, opened, refuse_foreign, refuse_ports
from weighbridge.compress.graph.normal.attention_masks import SATURATED, masks, saturated
from weighbridge.compress.graph.sessions import run
from weighbridge.compress.steps import Context, Graph
from weighbridge.compress.techniques.pack import Pack, pack
from weighbridge.compress.techniques.quantize import Quantize, lower
from weighbridge.compress.techniques.quantize.gemms import matmuls
from weighbridge.compress.techniques.share.share_graph import share_weights
from weighbridge.core.documents import TrainSection
from weighbridge.core.errors import InputError, InvariantError
from weighbridge.core.formats.onnx_file import parse_model, signature
from weighbridge.data import Data, Split

FLOAT, DOUBLE = TensorProto.FLOAT, TensorProto.DOUBLE
LOWEST = np.finfo(np.float32).min


def port(name: str, shape: list[str | int] | None, kind: Any = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def stored(**arrays: onnx.ModelProto | np.float32 | NDArray[np.float32] | NDArray[np.int32]) -> list[TensorProto]:
    return [numpy_helper.from_array(np.asarray(value), name) for name, value in arrays.items()]


def model(
    nodes: list[Any],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[Any],
    weights: list[Any],
    opset: int | list[onnx.ValueInfoProto] = 17,
    ir: int | list[onnx.ValueInfoProto] = 8,
    **options: int | list[Any],
) -> Any:
    """A checked file, as it comes from disk."""
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights, sparse_initializer=options.get("sparse", ()))
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(name, 1) for name in options.get("domains", ()))]
    proto = helper.make_model(graph, opset_imports=imports, ir_version=ir, functions=options.get("functions", ()))
    return parse_model(proto.SerializeToString(), "test")


def normal(*shape: int, seed: int = 0, scale: float = 4.0, kind: type[np.float32] = np.float32) -> onnx.ModelProto:
    return (np.random.default_rng(seed).normal(size=shape) / scale).astype(kind)


def context(labels: Any = None, **inputs: onnx.ModelProto | NDArray[np.int64]) -> Context:
    count = len(next(iter(inputs.values())))
    split = Split(inputs, np.arange(count) % 3 if labels is None else labels)
    return Context(
        data=Data(train=split, test=split, calibration=split),
        train=TrainSection(),
        seed=0,
        baseline=lambda: pytest.fail("there is no module"),
        teacher=lambda _: pytest.fail("there is no module"),
        progress=lambda *_, **__: None,
    )


@pytest.fixture
def rows() -> Context:
    """Feature rows (128, 16)."""
    return context(x=normal(128, 16, scale=1.0, seed=9))


def perceptron(weights: list[Any], kind: Any = FLOAT, **options: int | list[Any]) -> Any:
    nodes = [
        helper.make_node("MatMul", ["x", "W1"], ["a"], name="one"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "W2"], ["y"], name="two"),
    ]
    return model(nodes, [port("x", ["n", 16], kind)], [port("y", ["n", 6], kind)], weights, **options)


W1, W2 = normal(16, 32, seed=1), normal(32, 6, seed=2)


def quantized(
    scheme: str, proto: Any, given: Context, **options: str | int | list[str]
) -> tuple[Any, dict[str, float], dict[str, Any]]:
    """The file of one scheme, and how it answers beside the given one."""
    graph, facts = lower(Quantize(scheme=scheme, **options), Graph(finished(entered(proto))), given)
    before, after = (
        run_file(write(item), given.data.calibration.inputs) for item in (finished(entered(proto)), graph.proto)
    )
    return graph.proto, agreement(after, before), facts


SCHEMES = ("fp16", "static-int8", "dynamic-int8", "weight-int8", "weight-int4", "weight-fp16")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_weights_among_the_inputs_are_weights(scheme: str, rows: Context) -> None:
    """A file of IR version 3 lists its weights as inputs: what comes out has the data's input alone."""
    proto = perceptron(stored(W1=W1, W2=W2), opset=11, ir=3)
    proto.graph.input.extend([port("W1", [16, 32]), port("W2", [32, 6])])
    assert [value.name for value in finished(proto).graph.input] == ["x", "W1", "W2"]
    made, found, facts = quantized(scheme, proto, rows)
    assert [value.name for value in made.graph.input] == ["x"]
    assert facts["layers"] == ["W1", "W2"]
    assert found["same_class"] > (0.8 if scheme == "weight-int4" else 0.95)


@pytest.mark.parametrize("scheme", ["fp16", "static-int8", "dynamic-int8", "weight-int8"])
def test_a_sparse_initializer_is_written_out(scheme: str, rows: Context) -> None:
    """Flat and coordinate indices alike become the dense weight, which every scheme then sees."""
    kept = np.abs(W1) > 0.2
    values = numpy_helper.from_array(W1[kept], "W1")
    flat = helper.make_sparse_tensor(values, *stored(at=np.flatnonzero(kept)), [16, 32])
    pairs = helper.make_sparse_tensor(values, *stored(at=np.argwhere(kept)), [16, 32])
    for sparse in (flat, pairs):
        proto = perceptron(stored(W2=W2), sparse=[sparse])
        dense = {item.name: numpy_helper.to_array(item) for item in laid_out(proto).graph.initializer}
        assert np.array_equal(dense["W1"], W1 * kept)
    _, found, facts = quantized(scheme, proto, rows)
    assert "W1" in facts["layers"]
    assert found["same_class"] > 0.95


def branching(weights: list[onnx.ModelProto]) -> Any:
    """Two branches of one If, each with a weight of its own under the same name."""

    def branch(name: str, value: Any) -> onnx.GraphProto:
        nodes = [helper.make_node("MatMul", ["x", "W"], [f"{name}/y"], name=f"{name}/product")]
        return helper.make_graph(nodes, name, [], [port(f"{name}/y", None)], stored(W=value))

    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], keepdims=0),
        helper.make_node("Greater", ["mean", "zero"], ["above"]),
        helper.make_node(
            "If", ["above"], ["y"], name="choice",
            then_branch=branch("then", weights[0]), else_branch=branch("else", weights[1]),
        ),
    ]  # fmt: skip
    return model(nodes, [port("x", ["n", 16])], [port("y", ["n", 6])], stored(zero=np.float32(0)))


@pytest.mark.parametrize("scheme", ["fp16", "weight-int8", "weight-int4"])
def test_weights_in_branches_are_compressed(scheme: str, rows: Context) -> None:
    """Both branches' weights are reached, though they have one name."""
    proto = branching([normal(16, 6, seed=3), normal(16, 6, seed=4)])
    made, found, facts = quantized(scheme, proto, rows)
    assert len(facts["layers"]) == 2
    assert len(write(made)) < len(write(proto))
    assert found["relative_error"] < (0.15 if scheme == "weight-int4" else 0.01)


@pytest.mark.parametrize("scheme", ["static-int8", "dynamic-int8"])
def test_an_integer_scheme_says_that_a_layer_lies_in_a_branch(scheme: str, rows: Context) -> None:
    """The runtime's quantizer does not enter branches: reason, layer and a way out."""
    proto = branching([W2[:16], W2[16:]])
    with pytest.raises(InputError, match=r"layer W.* lies inside If 'choice'.*weight-int8"):
        lower(Quantize(scheme=scheme), Graph(finished(proto)), rows)


def test_sharing_and_packing_reach_into_branches(rows: Context) -> None:
    """A codebook for each branch's weight, stored as codes."""
    proto = branching([normal(16, 6, seed=3), normal(16, 6, seed=4)])
    shared, facts = share_weights(Graph(finished(proto)), 4, "linear", None, [])
    assert [tensor["distinct"] for tensor in facts["tensors"].values()] == [4, 4]
    packed, facts = pack(Pack(), shared, rows)
    assert facts["largest_difference"] == 0
    assert len(write(packed.proto)) < len(write(proto))
    with pytest.raises(InvariantError, match="those of branches and loop bodies among them"):
        pack(Pack(), Graph(finished(proto)), rows)


def test_weights_in_local_functions_are_compressed(rows: Context) -> None:
    """A function's own constants are the model's weights."""
    body = [
        helper.make_node("Constant", [], ["W"], value=numpy_helper.from_array(W1)),
        helper.make_node("MatMul", ["X", "W"], ["Y"]),
    ]
    function = helper.make_function("own", "Layer", ["X"], ["Y"], body, [helper.make_opsetid("", 17)])
    nodes = [
        helper.make_node("Layer", ["x"], ["a"], domain="own"),
        helper.make_node("MatMul", ["a", "W2"], ["y"], name="two"),
    ]
    ports = [port("x", ["n", 16])], [port("y", ["n", 6])]
    proto = model(nodes, *ports, stored(W2=W2), functions=[function], domains=["own"])
    assert len(layers(Graph(finished(proto)))) == 1
    _, found, facts = quantized("weight-int8", proto, rows)
    assert len(facts["layers"]) == 2
    assert found["relative_error"] < 0.01


@pytest.mark.parametrize("scheme", SCHEMES)
def test_float64_is_compressed_as_float32(scheme: str, rows: Context) -> None:
    """Inputs and outputs stay float64; what computes is float32 or smaller."""
    proto = perceptron(stored(W1=W1.astype(float), W2=W2.astype(float)), DOUBLE)
    wide = context(x=rows.data.calibration.inputs["x"].astype(float))
    made, found, _ = quantized(scheme, proto, wide)
    assert [item.dtype for item in (*signature(made).inputs, *signature(made).outputs)] == ["float64", "float64"]
    assert all(tensor.data_type != DOUBLE for tensor in made.graph.initializer)
    assert found["same_class"] > (0.8 if scheme == "weight-int4" else 0.95)


def test_a_float64_weight_beyond_float32_is_refused_by_name(rows: Context) -> None:
    """Nothing becomes infinite in silence."""
    proto = perceptron(stored(W1=W1.astype(float) * 1e60, W2=W2.astype(float)), DOUBLE)
    with pytest.raises(InputError, match="W1 is float64 and has values beyond float32"):
        lower(Quantize(scheme="weight-int8"), Graph(finished(proto)), rows)


def test_bfloat16_weights_stay_as_small_as_they_came(rows: Context) -> None:
    """The runtime computes in bfloat16 on no CPU: a Cast widens the weights at load, exactly, and the file runs."""
    halves = [helper.make_tensor(name, TensorProto.BFLOAT16, value.shape, value.ravel()) for name, value in
              (("W1", W1), ("W2", W2))]  # fmt: skip
    proto = perceptron(halves, TensorProto.BFLOAT16)
    inner = perceptron(halves)
    for node in (
        helper.make_node("Cast", ["x"], ["xb"], to=TensorProto.BFLOAT16),
        helper.make_node("Cast", ["yb"], ["y"], to=FLOAT),
    ):
        inner.graph.node.append(node)
    inner.graph.node[0].input[0], inner.graph.node[2].output[0] = "xb", "yb"
    given = entered(inner)
    assert {item.data_type for item in given.graph.initializer} == {TensorProto.BFLOAT16}
    exact = [numpy_helper.to_array(item).astype(np.float32) for item in halves]
    plain = run(perceptron(stored(W1=exact[0], W2=exact[1])), rows.data.calibration, "test")
    assert np.array_equal(run(finished(given), rows.data.calibration, "test")[0], plain[0])
    assert len(write(finished(given))) < len(write(finished(inner))) + 100
    _, found, facts = quantized("static-int8", inner, rows)
    assert facts["layers"] == ["W1", "W2"] or len(facts["layers"]) == 2
    assert found["same_class"] > 0.95
    assert signature(entered(proto)).inputs[0].dtype == "bfloat16"


def test_float16_files_can_be_quantized_to_integers(rows: Context) -> None:
    """A file in half precision has weights too; asking for half precision again names the reason."""
    half = perceptron(stored(W1=W1.astype(np.float16), W2=W2.astype(np.float16)), TensorProto.FLOAT16)
    given = context(x=rows.data.calibration.inputs["x"].astype(np.float16))
    _, found, facts = quantized("weight-int8", half, given)
    assert facts["layers"] == ["W1", "W2"]
    assert found["relative_error"] < 0.02
    with pytest.raises(InputError, match="stores 2 float16"):
        lower(Quantize(scheme="fp16"), Graph(finished(half)), given)


def test_zipmap_is_unwrapped(rows: Context) -> None:
    """A sequence of maps becomes the tensor inside; labels are compared as labels."""
    nodes = [
        helper.make_node("MatMul", ["x", "W1"], ["a"], name="one"),
        helper.make_node("Softmax", ["a"], ["p"], axis=-1),
        helper.make_node("ArgMax", ["a"], ["label"], axis=1, keepdims=0),
        helper.make_node("ZipMap", ["p"], ["probability"], domain="ai.onnx.ml", classlabels_int64s=[*range(32)]),
    ]
    maps = onnx.ValueInfoProto(name="probability")
    kind = maps.type.sequence_type.elem_type.map_type
    kind.key_type, kind.value_type.tensor_type.elem_type = TensorProto.INT64, FLOAT
    outputs = [port("label", ["n"], TensorProto.INT64), maps]
    proto = model(nodes, [port("x", ["n", 16])], outputs, stored(W1=W1), domains=["ai.onnx.ml"])
    with pytest.raises(InputError, match="'probability' is a sequence, not a tensor"):
        refuse_ports(proto, "net.onnx")
    refuse_ports(entered(proto), "net.onnx")
    assert signature(entered(proto)).outputs[1].shape == (None, 32)
    label, probability = run_file(write(finished(entered(proto))), rows.data.calibration.inputs)
    assert np.array_equal(probability.argmax(1), label)
    assert quantized("static-int8", proto, rows)[1]["relative_error"] < 0.2


@pytest.mark.parametrize("least", [13, 21])
def test_operators_of_the_runtime_survive_a_newer_opset(least: int, rows: Context) -> None:
    """com.microsoft has no opset of its own to convert: its nodes stay as they are."""
    nodes = [
        helper.make_node("FusedMatMul", ["x", "W1"], ["a"], domain="com.microsoft", alpha=0.5),
        helper.make_node("MatMul", ["a", "W2"], ["y"], name="two"),
    ]
    weights = stored(W1=W1, W2=W2)
    proto = model(
        nodes, [port("x", ["n", 16])], [port("y", ["n", 6])], weights, opset=12, ir=7, domains=["com.microsoft"]
    )
    after = at_opset(proto, least, "test")
    split = rows.data.calibration
    assert np.array_equal(run(after, split, "test")[0], run(proto, split, "test")[0])
    assert quantized("static-int8", proto, rows)[1]["same_class"] > 0.95


def test_a_skipped_output_is_no_value(rows: Context) -> None:
    """Two nodes that leave out an output do not wait for each other."""
    weights = stored(W=normal(1, 64, 16, seed=1), R=normal(1, 64, 16, seed=2), W2=W2[:16])
    nodes = [
        helper.make_node("Unsqueeze", ["x", "first"], ["t"]),
        helper.make_node("LSTM", ["t", "W", "R", "", "", "", ""], ["", "", "c"], hidden_size=16),
        helper.make_node("Squeeze", ["c", "first"], ["s"]),
        helper.make_node("MatMul", ["s", "W2"], ["y"], name="two"),
    ]
    proto = model(nodes, [port("x", ["n", 16])], [port("y", ["n", 6])], [*weights, *stored(first=np.array([0]))])
    assert quantized("weight-int8", proto, rows)[1]["same_class"] > 0.95


def tied() -> tuple[Any, Context]:
    """One matrix as an embedding, transposed with a factor, and as it is."""
    matrix = normal(32, 32, seed=5)
    nodes = [
        helper.make_node("Gather", ["E", "ids"], ["e"], name="embed"),
        helper.make_node("Add", ["e", "x"], ["s"]),
        helper.make_node("Gemm", ["s", "E"], ["a"], name="down", transB=1, alpha=2.0),
        helper.make_node("Tanh", ["a"], ["t"]),
        helper.make_node("Gemm", ["t", "E"], ["u"], name="up"),
        helper.make_node("MatMul", ["u", "W2"], ["y"], name="head"),
    ]
    inputs = [port("x", ["n", 32]), port("ids", ["n"], TensorProto.INT64)]
    rng = np.random.default_rng(0)
    given = context(x=normal(256, 32, scale=1.0), ids=rng.integers(0, 32, 256))
    return model(nodes, inputs, [port("y", ["n", 6])], stored(E=matrix, W2=W2)), given


@pytest.mark.parametrize("scheme", ["static-int8", "dynamic-int8", "weight-int8", "fp16"])
def test_each_reader_of_a_tied_weight_gets_what_it_needs(scheme: str) -> None:
    """Along rows, along columns and as an embedding: eight bits lose no more than without the tie."""
    proto, given = tied()
    _, found, facts = quantized(scheme, proto, given)
    assert facts["layers"] == ["E", "W2"]
    assert found["same_class"] > 0.95


def test_keep_names_a_tied_weight_once() -> None:
    """`keep: [E]` keeps every reader, `keep: [up]` one of them."""
    proto, given = tied()
    assert quantized("static-int8", proto, given, keep=["E"])[2]["layers"] == ["W2"]
    made, _, facts = quantized("static-int8", proto, given, keep=["up"])
    assert facts["layers"] == facts["kept"] + ["W2"] == ["E", "W2"]
    left = [item for item in made.graph.initializer if item.data_type == FLOAT and len(item.dims) == 2]
    assert len(left) == 1


def test_two_products_with_one_weight_keep_their_own_factors() -> None:
    """Rewritten as MatMul, a transposed reader with a factor and a plain one do not become the same."""
    proto, given = tied()
    split = given.data.calibration
    after = matmuls(finished(proto))
    assert np.allclose(run(after, split, "t")[0], run(proto, split, "t")[0], atol=1e-4)


def masked(lowest: float | np.float32, *, mask_is_read_elsewhere: bool = False) -> tuple[Any, Context]:
    """Attention over 8 positions with an additive causal mask."""
    mask = np.triu(np.full((8, 8), lowest, np.float32), 1)
    nodes = [
        helper.make_node("MatMul", ["x", "K"], ["k"], name="key"),
        helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["x", "kt"], ["s"], name="scores"),
        helper.make_node("Add", ["s", "mask"], ["m"], name="masking"),
        helper.make_node("Softmax", ["m"], ["p"], axis=-1),
        helper.make_node("MatMul", ["p", "x"], ["a"], name="mix"),
        helper.make_node("Flatten", ["a"], ["f"]),
        helper.make_node("Gemm", ["f", "W"], ["y"], name="out"),
    ]
    outputs = [port("y", ["n", 5])]
    if mask_is_read_elsewhere:
        nodes.append(helper.make_node("MatMul", ["s", "mask"], ["z"]))
        outputs.append(port("z", None))
    proto = model(
        nodes, [port("x", ["n", 8, 16])], outputs, stored(K=normal(16, 16), W=normal(128, 5, scale=11), mask=mask)
    )
    return proto, context(x=normal(256, 8, 16, scale=1.0, seed=3))


@pytest.mark.parametrize("scheme", ["fp16", "static-int8", "weight-int8"])
@pytest.mark.parametrize("lowest", [LOWEST, -1e9, -np.inf])
def test_an_attention_mask_costs_no_answers(scheme: str, lowest: float | np.float32) -> None:
    """The lowest float32 is beyond float16, and in the range of an 8-bit tensor it would leave nothing else."""
    proto, given = masked(lowest)
    options = {"calibration": "entropy"} if scheme == "static-int8" else {}
    assert quantized(scheme, proto, given, **options)[1]["same_class"] > 0.95


def test_only_masks_saturate() -> None:
    """A constant that something else reads too is a weight, and keeps its values."""
    proto, _ = masked(LOWEST)
    assert [node.op_type for node in masks(proto.graph)["mask"]] == ["Add", "Softmax"]
    after = next(item for item in saturated(proto).graph.initializer if item.name == "mask")
    assert numpy_helper.to_array(after).min() == -SATURATED
    other, given = masked(-1e5, mask_is_read_elsewhere=True)
    assert saturated(other) is other
    with pytest.raises(InvariantError, match=r"mask reaches 1e\+05, beyond float16"):
        lower(Quantize(scheme="fp16"), Graph(finished(other)), given)


def test_keep_is_honoured_where_float16_cannot_hold_a_weight(rows: Context) -> None:
    """A layer beyond float16 is refused by name; kept, it and what reads its large values stay in float32."""
    nodes = [
        helper.make_node("MatMul", ["x", "W1"], ["a"], name="one"),
        helper.make_node("MatMul", ["a", "big"], ["b"], name="two"),
        helper.make_node("Mul", ["b", "down"], ["y"], name="three"),
    ]
    weights = stored(W1=W1, big=W2 * np.float32(1e6), down=np.float32(1e-6))
    proto = model(nodes, [port("x", ["n", 16])], [port("y", ["n", 6])], weights)
    with pytest.raises(InvariantError, match=r"big reaches .* beyond float16") as caught:
        lower(Quantize(scheme="fp16"), Graph(finished(proto)), rows)
    assert "keep" in str(caught.value)
    made, found, _ = quantized("fp16", proto, rows, keep=["big"])
    types = {len(item.dims): item.data_type for item in made.graph.initializer if item.dims[:1] == [16]}
    assert types == {2: TensorProto.FLOAT16}
    assert found["same_class"] > 0.98
    assert found["relative_error"] < 0.02


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_weight_without_elements_is_not_touched(scheme: str, rows: Context) -> None:
    """A layer whose columns were all pruned away has nothing to quantize, and nothing to stumble over."""
    nodes = [
        helper.make_node("MatMul", ["x", "W1"], ["a"], name="one"),
        helper.make_node("MatMul", ["x", "none"], ["e"], name="zero"),
        helper.make_node("Concat", ["a", "e"], ["c"], axis=1),
        helper.make_node("MatMul", ["c", "W2"], ["y"], name="two"),
    ]
    weights = stored(W1=W1, W2=W2, none=np.zeros((16, 0), np.float32))
    proto = model(nodes, [port("x", ["n", 16])], [port("y", ["n", 6])], weights)
    _, found, facts = quantized(scheme, proto, rows)
    assert facts["layers"] == ["W1", "W2"]
    assert found["same_class"] > (0.8 if scheme == "weight-int4" else 0.95)


def test_a_grouped_transposed_convolution_with_a_bias_is_quantized() -> None:
    """Its bias has more channels than its weight has scales: one scale for the weight then."""
    nodes = [
        helper.make_node("ConvTranspose", ["x", "W", "b"], ["t"], name="up", group=2, pads=[1] * 4),
        helper.make_node("Flatten", ["t"], ["f"]),
        helper.make_node("Gemm", ["f", "V"], ["y"], name="out"),
    ]
    weights = stored(W=normal(8, 4, 3, 3), b=normal(8, scale=1.0), V=normal(8 * 36, 5, scale=12))
    proto = model(nodes, [port("x", ["n", 8, 6, 6])], [port("y", ["n", 5])], weights)
    given = context(x=normal(128, 8, 6, 6, scale=1.0))
    _, found, facts = quantized("static-int8", proto, given)
    assert facts["layers"] == ["V", "W"]
    assert found["same_class"] > 0.95


def test_small_weights_keep_the_digits_of_their_scales(rows: Context) -> None:
    """Scales of 4e-6 are no float16 numbers worth having; in a unit of their own they are."""
    small = perceptron(stored(W1=W1 * np.float32(3e-5), W2=W2 * np.float32(3e4)))
    plain = perceptron(stored(W1=W1, W2=W2))
    found = [quantized("weight-int4", proto, rows, block_size=32)[1]["relative_error"] for proto in (small, plain)]
    assert found[0] < 1.05 * found[1]


@pytest.mark.parametrize("scheme", ["static-int8", "fp16"])
def test_a_quantized_file_says_so(scheme: str, rows: Context) -> None:
    """A second pass over integers is refused by that reason; what is left in float can still be made small."""
    proto = perceptron(stored(W1=W1, W2=W2))
    once, _ = lower(Quantize(scheme="static-int8", keep=["two"]), Graph(finished(proto)), rows)
    with pytest.raises(InputError, match=r"quantized already .* starts from floats .*weight-int8"):
        lower(Quantize(scheme=scheme), once, rows)
    _, facts = lower(Quantize(scheme="weight-int8"), once, rows)
    assert facts["layers"] == ["W2"]


def test_packing_converts_an_old_opset(rows: Context) -> None:
    """Decoders need opset 11; a file of opset 9 is converted, not refused."""
    proto = perceptron(stored(W1=np.sign(W1), W2=np.sign(W2)), opset=9, ir=4)
    packed, facts = pack(Pack(), Graph(finished(proto)), rows)
    assert facts["largest_difference"] == 0
    assert next(item.version for item in packed.proto.opset_import if not item.domain) == 11


def test_one_number_for_a_batch_is_asked_for_each_example(rows: Context) -> None:
    """A 0-d output depends on who is in the batch: each example is alone in its own."""
    nodes = [helper.make_node("MatMul", ["x", "W1"], ["a"]), helper.make_node("ReduceSum", ["a"], ["y"], keepdims=0)]
    proto = model(nodes, [port("x", ["n", 16])], [port("y", [])], stored(W1=W1))
    (found,) = run_file(write(finished(proto)), rows.data.calibration.inputs)
    assert np.allclose(found, (rows.data.calibration.inputs["x"] @ W1).sum(1), atol=1e-3)


def test_an_ordinary_graph_is_the_same_object(rows: Context) -> None:
    """Nothing is copied, renamed or reordered where there is nothing to bring into form."""
    proto = finished(perceptron(stored(W1=W1, W2=W2)))
    assert entered(proto) is proto
    assert opened(proto, half=True) is proto


def test_a_custom_operator_is_refused_by_name() -> None:
    """No library is loaded because a file names its operators; the runtime's own and local functions need none."""

    def wrapped(node: onnx.NodeProto, **options: list[Any]) -> Any:
        ports = [port("x", ["n", 16])], [port("y", ["n", 16])]
        return model([node], *ports, [], domains=[node.domain], **options)

    foreign = helper.make_node("Decode", ["x"], ["y"], name="d", domain="ai.acme")
    with pytest.raises(InputError, match=r"'d' is the operator Decode of the domain 'ai.acme'.* none is loaded"):
        refuse_foreign(wrapped(foreign), "net.onnx")
    body = [helper.make_node("Relu", ["X"], ["Y"])]
    function = helper.make_function("ai.acme", "Decode", ["X"], ["Y"], body, [helper.make_opsetid("", 17)])
    refuse_foreign(wrapped(foreign, functions=[function]), "net.onnx")
    refuse_foreign(wrapped(helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")), "net.onnx")


def test_a_scheme_that_reaches_next_to_nothing_says_so() -> None:
    """Most weights sit in an operator that the scheme has no form of: named, with its share, not passed by."""
    nodes = [
        helper.make_node("FusedMatMul", ["x", "large"], ["a"], domain="com.microsoft", name="fused", alpha=0.5),
        helper.make_node("MatMul", ["a", "small"], ["y"], name="two"),
    ]
    weights = stored(large=normal(16, 256), small=normal(256, 1))
    proto = model(nodes, [port("x", ["n", 16])], [port("y", ["n", 1])], weights, domains=["com.microsoft"])
    with pytest.raises(InputError, match="reaches 256 of 4352 weights; large is read by FusedMatMul 'fused'"):
        lower(Quantize(scheme="weight-int8"), Graph(finished(proto)), context(x=normal(64, 16, scale=1.0)))
