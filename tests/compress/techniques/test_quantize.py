"""Quantization of exported graphs: what is integer afterwards, what is refused, what stays."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from pydantic import ValidationError
from torch import nn

from tests.compress import nets
from weighbridge.compress.export.onnxruntime import ONNXRUNTIME, export, write
from weighbridge.compress.graph import lowering, sessions
from weighbridge.compress.recipe.compose import compose
from weighbridge.compress.recipe.recipe import read_steps
from weighbridge.compress.steps import Context, Graph, Subject
from weighbridge.compress.techniques.quantize import Quantize, gemms, integer, lower, phases, ranges, weight_only
from weighbridge.compress.techniques.quantize.integer import check_calibration, reduces_range
from weighbridge.compress.techniques.quantize.layer_sensitivity import rank, too_sensitive
from weighbridge.compress.training.loop import fit
from weighbridge.core.documents import RecipeSection
from weighbridge.core.errors import InputError, InvariantError
from weighbridge.core.facts import isa
from weighbridge.core.formats.onnx_file import counts, signature
from weighbridge.core.formats.onnx_isa import requires as required
from weighbridge.data import Split


@pytest.fixture(scope="module")
def trained() -> tuple[Graph, Context]:
    """A residual net that has learned its task, exported, with its context."""
    module, context = nets.build("residual")
    fit(module, context.data.train, context.train.model_copy(update={"epochs": 8}), seed=3)
    return export(module, context.data.train), context


@pytest.fixture(scope="module")
def graphs() -> dict[str, Any]:
    """One exported net of each kind, with its context."""
    built = {kind: nets.build(kind) for kind in nets.KINDS}
    return {kind: (export(module, context.data.train), context) for kind, (module, context) in built.items()}


def stored(graph: Graph, *types: Any) -> Any:
    """How many weights have one of the types: tensors that extend in two or more dimensions, as scales do not."""
    return sum(
        tensor.data_type in types and sum(size > 1 for size in tensor.dims) >= 2
        for tensor in graph.proto.graph.initializer
    )


@pytest.mark.parametrize("form", ["qdq", "qoperator"])
@pytest.mark.parametrize("calibration", ["minmax", "entropy", "percentile"])
def test_static_int8_is_integer_and_close(trained: tuple[Graph, Context], form: str, calibration: str) -> None:
    """Every weight is int8, outputs are close, ports stay, parameters and MACs are those of the float model."""
    graph, context = trained
    after, facts = lower(Quantize(scheme="static-int8", format=form, calibration=calibration), graph, context)
    assert stored(after, TensorProto.FLOAT) == 0
    assert stored(after, TensorProto.INT8) == 4
    assert facts["layers"] == ["classes", "one", "stem", "two"]
    assert facts["same_class"] > 0.9
    assert signature(after.proto) == signature(graph.proto)
    assert (counts(after.proto).params, counts(after.proto).macs) == (
        counts(graph.proto).params,
        counts(graph.proto).macs,
    )
    assert len(write(after.proto)) < len(write(graph.proto))


def test_calibration_methods_differ(trained: tuple[Graph, Context]) -> None:
    """Entropy and percentile calibration are no synonyms of the extremes."""
    graph, context = trained
    files = {
        method: write(lower(Quantize(scheme="static-int8", calibration=method), graph, context)[0].proto)
        for method in ("minmax", "entropy", "percentile")
    }
    assert len(set(files.values())) == 3


def test_activations_are_unsigned_and_weights_signed(trained: tuple[Graph, Context]) -> None:
    """U8 x S8, the fast pair of onnxruntime on CPUs; per-channel scales along the output channels."""
    graph, context = trained
    after, _ = lower(Quantize(scheme="static-int8"), graph, context)
    points = {tensor.name: tensor for tensor in after.proto.graph.initializer}
    for node in after.proto.graph.node:
        if node.op_type == "QuantizeLinear":
            assert points[node.input[2]].data_type == TensorProto.UINT8
    scales = [
        points[node.input[1]].dims
        for node in after.proto.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in points and len(points[node.input[0]].dims) >= 2
    ]
    assert sorted(dims[0] for dims in scales) == [3, 8, 8, 8]


@pytest.mark.parametrize(("option", "largest"), [("always", 64), ("never", 127)])
def test_reduced_range_takes_seven_bits(trained: tuple[Graph, Context], option: str, largest: int) -> None:
    """Reduced weights stay within ±64, full ones reach ±127."""
    graph, context = trained
    after, facts = lower(Quantize(scheme="static-int8", reduce_range=option), graph, context)
    found = max(
        int(np.abs(numpy_helper.to_array(tensor).astype(int)).max())
        for tensor in after.proto.graph.initializer
        if tensor.data_type == TensorProto.INT8 and len(tensor.dims) >= 2
    )
    assert found == largest
    assert facts["reduce_range"] is (option == "always")


@pytest.mark.parametrize(
    ("options", "reduced", "requires"),
    [
        ({}, True, ()),
        ({"isa": "native"}, False, ("vnni",)),
        ({"isa": "native", "reduce_range": "never"}, False, ("vnni",)),
        ({"reduce_range": "never"}, False, ("vnni",)),
        ({"reduce_range": "always"}, True, ()),
    ],
)
@pytest.mark.parametrize("scheme", ["static-int8", "dynamic-int8"])
def test_the_recipe_alone_decides_the_range_and_the_file_says_what_it_requires(
    trained: tuple[Graph, Context],
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
    options: dict[str, str],
    reduced: bool,
    requires: tuple[str, ...],
) -> None:
    """Whatever processor compresses: a file with full ranges requires VNNI, one with reduced ranges nothing."""
    graph, context = trained
    # Weights of convolutions are unsigned in the dynamic scheme and saturate nowhere: only the last layer is signed.
    keep = ("stem", "one", "two") if scheme == "dynamic-int8" else ()
    config = Quantize(scheme=scheme, keep=keep, **options)
    found = []
    for features in ({"avx2"}, {"avx2", "avx512_vnni"}):
        monkeypatch.setattr(isa, "flags", lambda features=features: frozenset(features))
        after, _ = lower(config, graph, context)
        assert reduces_range(config) is reduced
        assert required(after.proto) == requires
        found.append(write(after.proto))
    assert found[0] == found[1]


def test_native_ranges_that_are_reduced_are_refused() -> None:
    """Two keys that contradict each other."""
    with pytest.raises(ValidationError, match="isa: native asks for 8 bits"):
        Quantize(scheme="static-int8", isa="native", reduce_range="always")


@pytest.mark.parametrize("calibration", ["minmax", "entropy", "percentile"])
def test_noise_of_the_last_bits_does_not_reach_the_file(
    trained: tuple[Graph, Context], monkeypatch: pytest.MonkeyPatch, calibration: str
) -> None:
    """Ranges that another processor observed, 1e-7 aside, give the same bytes; without the grid they would not."""
    graph, context = trained
    config = Quantize(scheme="static-int8", calibration=calibration)
    exact = write(lower(config, graph, context)[0].proto)
    widened = ranges.widened
    noise = np.random.default_rng(0)

    def disturbed(low: NDArray[Any], high: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        return widened(*(np.float32(end * (1 + noise.uniform(-2e-7, 2e-7))) for end in (low, high)))

    def bare(low: NDArray[Any], high: NDArray[Any]) -> tuple[Any, ...]:
        return tuple(np.asarray(end * (1 + noise.uniform(-2e-7, 2e-7)), np.float32) for end in (low, high))

    monkeypatch.setattr(integer, "widened", disturbed)
    assert write(lower(config, graph, context)[0].proto) == exact
    monkeypatch.setattr(integer, "widened", bare)
    assert len({write(lower(config, graph, context)[0].proto) for _ in range(2)}) == 2


END = st.floats(-(2.0**100), 2.0**100, width=32).filter(lambda end: end == 0 or abs(end) > 2.0**-100)


@given(END, END)
def test_a_widened_range_holds_the_range_and_little_more(one: float, other: float) -> None:
    """Outward by at most a 128th; what it clips is noise."""
    low, high = sorted((one, other))
    wide = [float(end) for end in ranges.widened(np.float32(low), np.float32(high))]
    assert wide[0] <= low + 1e-5 * abs(low)
    assert wide[1] >= high - 1e-5 * abs(high)
    assert abs(wide[0] - low) <= abs(low) / 127
    assert abs(wide[1] - high) <= abs(high) / 127


@pytest.mark.parametrize("end", [1.0, -1.0, 0.5, 6.0, 0.0])
def test_ends_that_are_natural_stay(end: float) -> None:
    """The 1 of a softmax, give or take its last bits, is 1."""
    for near in (np.nextafter(np.float32(end), np.float32(-9)), end, np.nextafter(np.float32(end), np.float32(9))):
        assert [float(found) for found in ranges.widened(np.float32(near), np.float32(near))] == pytest.approx(
            [end, end], abs=1e-40, rel=0
        )


def test_pruned_zeros_stay_zero(trained: tuple[Graph, Context]) -> None:
    """Quantizing never undoes sparsity: every zero weight is a zero integer."""
    graph, context = trained
    proto = onnx.ModelProto.FromString(graph.proto.SerializeToString())
    masks = {}
    for tensor in proto.graph.initializer:
        if len(tensor.dims) >= 2:
            values = numpy_helper.to_array(tensor).copy()
            values[np.abs(values) < np.quantile(np.abs(values), 0.7)] = 0
            masks[tensor.name] = values == 0
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for scheme in ("static-int8", "weight-int8", "weight-int4", "fp16", "weight-fp16"):
        after, _ = lower(Quantize(scheme=scheme), Graph(proto, graph.notes), context)
        zeros = sorted(
            int((numpy_helper.to_array(tensor) == 0).sum())
            for tensor in after.proto.graph.initializer
            if len(tensor.dims) >= 2 and tensor.data_type != TensorProto.FLOAT
        )
        assert len(zeros) == 4
        for found, expected in zip(zeros, sorted(int(mask.sum()) for mask in masks.values()), strict=True):
            assert found >= expected


def test_kept_layers_stay_float(trained: tuple[Graph, Context]) -> None:
    """A pattern under `keep` leaves its layers alone, and them only."""
    graph, context = trained
    for scheme in ("static-int8", "weight-int8", "fp16", "dynamic-int8"):
        after, facts = lower(Quantize(scheme=scheme, keep=("stem", "cl*")), graph, context)
        assert facts["kept"] == ["classes", "stem"]
        assert stored(after, TensorProto.FLOAT) == 2


def test_a_pattern_that_matches_nothing_is_refused(trained: tuple[Graph, Context]) -> None:
    """The error lists the layers."""
    graph, context = trained
    with pytest.raises(InputError, match=r"'stam' matches no layer.*stem, one, two, classes"):
        lower(Quantize(scheme="static-int8", keep=("stam",)), graph, context)


def test_keeping_everything_is_refused(trained: tuple[Graph, Context]) -> None:
    """A step that would change nothing is an error."""
    graph, context = trained
    with pytest.raises(InputError, match="no layer is left"):
        lower(Quantize(scheme="fp16", keep=("*",)), graph, context)


def test_the_most_sensitive_layers_are_kept(trained: tuple[Graph, Context]) -> None:
    """The ranking is recorded, worst first; the worst are kept, and the outputs come closer."""
    graph, context = trained
    plain = lower(Quantize(scheme="weight-int4"), graph, context)[1]
    after, facts = lower(Quantize(scheme="weight-int4", keep_sensitive=1), graph, context)
    errors = [row["relative_error"] for row in facts["sensitivity"]]
    assert errors == sorted(errors, reverse=True)
    assert len(errors) == 4
    assert facts["kept"] == [facts["sensitivity"][0]["layer"]]
    assert facts["relative_error"] < plain["relative_error"]
    static = lower(Quantize(scheme="static-int8", keep_sensitive=2), graph, context)[1]
    assert len(static["kept"]) == 2
    assert stored(after, TensorProto.FLOAT) == 1


def test_sensitivity_limits() -> None:
    """A whole number keeps so many layers, a fraction those with a larger error."""
    ranking = rank(["a", "b", "c"], lambda name: [np.array([1.0, {"a": 1, "b": 2, "c": 1.5}[name]])], [np.ones(2)])
    assert [name for name, _ in ranking] == ["b", "c", "a"]
    assert too_sensitive(ranking, 2) == ["b", "c"]
    assert too_sensitive(ranking, 0.5) == ["b"]
    assert too_sensitive(ranking, 0.99) == []


def test_no_layer_below_the_threshold_is_refused(trained: tuple[Graph, Context]) -> None:
    """Where every layer exceeds the threshold, nothing would be quantized."""
    graph, context = trained
    with pytest.raises(InputError, match=r"quantize\.keep_sensitive: no layer is left"):
        lower(Quantize(scheme="weight-int4", keep_sensitive=1e-9), graph, context)


def test_half_keeps_float32_ports(trained: tuple[Graph, Context]) -> None:
    """Fp16 weights and operators inside, float32 inputs and outputs outside."""
    graph, context = trained
    after, facts = lower(Quantize(scheme="fp16"), graph, context)
    assert signature(after.proto) == signature(graph.proto)
    assert stored(after, TensorProto.FLOAT16) == 4
    assert facts["relative_error"] < 2e-3
    assert len(write(after.proto)) < 0.7 * len(write(graph.proto))


@pytest.mark.parametrize("scheme", ["fp16", "weight-fp16"])
def test_weights_beyond_half_precision_are_refused(trained: tuple[Graph, Context], scheme: str) -> None:
    """Clipping in silence would change the model."""
    graph, context = trained
    proto = onnx.ModelProto.FromString(graph.proto.SerializeToString())
    weight = next(tensor for tensor in proto.graph.initializer if tensor.name == "two.weight")
    values = numpy_helper.to_array(weight).copy()
    values[0] = 1e5
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    with pytest.raises((InputError, InvariantError), match=r"two\.weight.* beyond float16"):
        lower(Quantize(scheme=scheme), Graph(proto, graph.notes), context)


def test_dynamic_int8_computes_on_integers(trained: tuple[Graph, Context]) -> None:
    """Integer convolutions and products, no float weight left."""
    graph, context = trained
    after, facts = lower(Quantize(scheme="dynamic-int8"), graph, context)
    assert stored(after, TensorProto.FLOAT) == 0
    assert facts["ConvInteger"] == 3
    assert facts["MatMulInteger"] == 1
    assert facts["same_class"] > 0.9


@pytest.mark.parametrize(("scheme", "limit"), [("weight-fp16", 1e-3), ("weight-int8", 1e-2), ("weight-int4", 0.15)])
@pytest.mark.parametrize("kind", list(nets.KINDS))
def test_weight_only_decodes_at_load(graphs: dict[str, Any], kind: object, scheme: str, limit: float) -> None:
    """Any kind of layer is stored small; onnxruntime folds the decoder, so that the float graph is left."""
    graph, context = graphs[kind]
    after, facts = lower(Quantize(scheme=scheme), graph, context)
    assert stored(after, TensorProto.FLOAT) <= stored(graph, TensorProto.FLOAT) - len(facts["layers"]) + 2
    assert facts["relative_error"] < limit
    dense, folded = (lowering.optimized(item.proto, "test") for item in (graph, after))
    assert sorted(node.op_type for node in folded.graph.node) == sorted(node.op_type for node in dense.graph.node)
    assert len(write(after.proto)) < len(write(graph.proto))


@pytest.mark.parametrize("kind", ["residual", "separable", "mlp", "transformer"])
def test_static_int8_on_many_kinds(graphs: dict[str, Any], kind: str) -> None:
    """Convolutions (also depthwise), linear layers and attention are quantized; outputs agree."""
    graph, context = graphs[kind]
    after, facts = lower(Quantize(scheme="static-int8"), graph, context)
    assert stored(after, TensorProto.INT8) == len(facts["layers"])
    assert facts["same_class"] > 0.9


class TwoWays(nn.Module):
    """Sequences (n, 6, 5) → logits (n, 3): an LSTM, forwards and backwards."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(5, 16, batch_first=True, bidirectional=True)
        self.classes = nn.Linear(32, 3)

    def forward(self, sequence: torch.Tensor) -> torch.Tensor:
        return self.classes(self.lstm(sequence)[0][:, -1])


@pytest.mark.parametrize("per_channel", [True, False])
def test_dynamic_int8_lstm_computes_on_integers(per_channel: bool) -> None:
    """Both directions are stored as integers; what was pruned stays zero; parameters and MACs count as before."""
    torch.manual_seed(0)
    module = TwoWays()
    context = nets.context(module, nets.sequences())
    fit(module, context.data.train, context.train, seed=0)
    items = [
        {"prune": {"sparsity": 0.5}},
        {"quantize": {"scheme": "dynamic-int8", "per_channel": per_channel}},
    ]
    recipe = read_steps(RecipeSection(steps=items), "x")
    artifact = compose(recipe, Subject(module), context, ONNXRUNTIME)
    pruned, quantized = artifact.steps
    assert quantized.facts["DynamicQuantizeLSTM"] == 1
    assert quantized.facts["same_class"] > 0.9
    assert quantized.sizes.bytes < 0.6 * pruned.sizes.bytes
    assert (quantized.sizes.params, quantized.sizes.macs) == (pruned.sizes.params, pruned.sizes.macs)
    assert pruned.sizes.macs >= 6 * 2 * 4 * 16 * (5 + 16)
    assert artifact.parity["zeros"] >= pruned.facts["zeros"]


@pytest.mark.parametrize("scheme", ["static-int8", "dynamic-int8"])
def test_what_a_scheme_cannot_do_names_the_layer(graphs: dict[str, Any], scheme: str) -> None:
    """Onnxruntime has no int8 GRU and no static int8 LSTM: an error that names it, and the way out works."""
    graph, context = graphs["recurrent"]
    with pytest.raises(InputError, match=r"has no form of layer (gru|lstm)\.\S+ \((GRU|LSTM)\)"):
        lower(Quantize(scheme=scheme), graph, context)
    kept = Quantize(scheme=scheme, keep=("gru*", "lstm*"))
    assert lower(kept, graph, context)[1]["layers"] == ["classes"]


def test_blocks_are_finer_than_channels(graphs: dict[str, Any]) -> None:
    """A scale for each 16 weights gives weights that are nearer than one for each channel."""
    graph, context = graphs["mlp"]
    weight = lowering.array_of(graph.proto, "more.weight")
    errors = []
    for block in (None, 16):
        config = Quantize(scheme="weight-int4", block_size=block, keep=("classes",))
        folded = lowering.optimized(lower(config, graph, context)[0].proto, "test")
        decoded = [numpy_helper.to_array(tensor) for tensor in folded.graph.initializer]
        errors.append(min(np.abs(found - weight).mean() for found in decoded if found.shape == weight.shape))
    assert 0 < errors[1] < errors[0]


def test_blocks_that_do_not_fit_are_refused(trained: tuple[Graph, Context]) -> None:
    """A weight of 72 values has no blocks of 32."""
    graph, context = trained
    with pytest.raises(InputError, match="72 values, which blocks of 32 do not divide"):
        lower(Quantize(scheme="weight-int4", block_size=32), graph, context)


def test_gemm_is_rewritten_so_that_blocks_bite(graphs: dict[str, Any]) -> None:
    """MatMulNBits takes MatMul alone; linear layers are Gemm until they are rewritten."""
    graph, context = graphs["mlp"]
    assert {node.op_type for node in graph.proto.graph.node} == {"Gemm", "Relu"}
    after, facts = lower(Quantize(scheme="weight-int4", kernel="matmulnbits", block_size=16), graph, context)
    assert facts["MatMulNBits"] == 3
    assert facts["relative_error"] < 0.2
    assert lowering.layers(after) == []


def test_blocks_do_not_fit_convolutions(trained: tuple[Graph, Context]) -> None:
    """The layer that MatMulNBits cannot hold is named."""
    graph, context = trained
    with pytest.raises(InputError, match=r"no form of layer stem \(Conv\)"):
        lower(Quantize(scheme="weight-int8", kernel="matmulnbits"), graph, context)


def test_matmuls_keep_what_gemm_computes() -> None:
    """Transposed weights, factors alpha and beta and missing biases survive the rewriting; transA stays a Gemm."""
    rng = np.random.default_rng(0)
    shapes = {"a": (4, 3), "b": 5, "w": (4, 5), "v": (5, 2)}
    weights = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("Gemm", ["x", "a"], ["1"], transB=1, alpha=0.5),
        helper.make_node("Gemm", ["1", "w", "b"], ["2"], alpha=2.0, beta=3.0),
        helper.make_node("Gemm", ["2", "v"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    split = Split({"x": rng.normal(size=(8, 3)).astype(np.float32)}, np.arange(8))
    rewritten = gemms.matmuls(proto)
    assert [node.op_type for node in rewritten.graph.node] == ["MatMul", "MatMul", "Add", "MatMul"]
    np.testing.assert_allclose(
        sessions.run(rewritten, split, "t")[0], sessions.run(proto, split, "t")[0], rtol=1e-5, atol=1e-5
    )
    proto.graph.node[0].attribute.append(helper.make_attribute("transA", 1))
    assert gemms.matmuls(proto).graph.node[0].op_type == "Gemm"


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([4, 8]), st.integers(1, 6), st.integers(1, 40))
def test_rounding_is_within_half_a_step(seed: int, bits: Any, rows: int, columns: int) -> None:
    """Integers fit their bits, zero stays zero, and what is not clipped is off by half a step at most."""
    values = np.random.default_rng(seed).standard_t(3, (rows, columns)).astype(np.float32)
    values[0, 0] = 0
    codes, scales = weight_only.round_to_grid(values, bits)
    top = 2 ** (bits - 1) - 1
    assert np.abs(codes).max() <= top
    assert codes[0, 0] == 0
    inside = np.abs(codes) < top
    error = np.abs(codes * scales[:, None] - values)
    assert (error <= scales[:, None] * 0.5001)[inside].all()


def test_the_same_graph_gives_the_same_bytes(trained: tuple[Graph, Context]) -> None:
    """Quantizing twice gives one file."""
    graph, context = trained
    for scheme in ("fp16", "dynamic-int8", "static-int8", "weight-int4"):
        files = {write(lower(Quantize(scheme=scheme), copy.deepcopy(graph), context)[0].proto) for _ in range(2)}
        assert len(files) == 1


def test_bad_calibration_sets_are_refused(trained: tuple[Graph, Context]) -> None:
    """No examples, and classification with one class, give no ranges to trust."""
    graph, context = trained
    train = context.data.train
    empty, single = train.take(slice(0, 0)), train.take(np.flatnonzero(train.labels == 1))
    for split, message in ((empty, "is empty"), (single, r"all 32 examples .* class 1")):
        broken = replace(context, data=replace(context.data, calibration=split))
        with pytest.raises(InputError, match=message):
            lower(Quantize(scheme="static-int8"), graph, broken)
    check_calibration(Split({"x": np.zeros((3, 1))}, np.zeros(3)))  # regression has no classes


def test_outputs_that_are_not_finite_are_refused(trained: tuple[Graph, Context]) -> None:
    """A file that answers NaN never leaves the step."""
    graph, context = trained
    proto = onnx.ModelProto.FromString(graph.proto.SerializeToString())
    bias = next(tensor for tensor in proto.graph.initializer if tensor.name == "classes.bias")
    bias.CopyFrom(numpy_helper.from_array(np.full(3, np.nan, np.float32), bias.name))
    with pytest.raises(InvariantError, match="not finite"):
        lower(Quantize(scheme="weight-int8"), Graph(proto, graph.notes), context)


def test_a_model_without_weights_is_refused(trained: tuple[Graph, Context]) -> None:
    """There must be something to quantize."""
    _, context = trained
    graph = helper.make_graph(
        [helper.make_node("Relu", ["image"], ["y"])],
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1, 8, 8])],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    for scheme in ("static-int8", "weight-int8"):
        with pytest.raises(InputError, match="no convolution or matrix product"):
            lower(Quantize(scheme=scheme), Graph(proto), context)


def test_an_input_that_the_data_lacks_is_named(trained: tuple[Graph, Context]) -> None:
    """Calibration feeds inputs by name."""
    graph, context = trained
    split = Split({"picture": context.data.train.inputs["image"]}, context.data.train.labels)
    broken = replace(context, data=replace(context.data, calibration=split))
    with pytest.raises(InputError, match=r"no input 'image'.*picture"):
        lower(Quantize(scheme="static-int8"), graph, broken)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scheme": "int7"}, "Input should be"),
        ({"scheme": "fp16", "calibration": "minmax"}, "no meaning for scheme fp16"),
        ({"scheme": "static-int8", "finetune": {"epochs": 1}}, "belongs to qat-int8"),
        ({"scheme": "weight-int4", "block_size": 24}, "multiple of 16"),
        ({"scheme": "weight-int4", "block_size": 48, "kernel": "matmulnbits"}, "power of two"),
        ({"scheme": "static-int8", "keep_sensitive": 0}, "at least 1"),
        ({"scheme": "static-int8", "keep_sensitive": 1.5}, "between 0 and 1"),
        ({"scheme": "static-int8", "percentile": 20}, "greater than 50"),
        ({"scheme": "static-int8", "bits": 4}, "Extra inputs"),
    ],
)
def test_bad_configs_are_refused(values: dict[str, Any], message: str) -> None:
    """What has no meaning together is refused before anything runs."""
    with pytest.raises(ValidationError, match=message):
        Quantize.model_validate(values)


def test_phases() -> None:
    """Quantization-aware training trains and lowers; the others lower."""
    assert phases(Quantize(scheme="qat-int8")) == ("module", "lower")
    assert phases(Quantize(scheme="static-int8")) == ("lower",)


def test_trained_quantization_needs_its_training(trained: tuple[Graph, Context]) -> None:
    """A graph that was not trained with rounding is not passed off as one."""
    graph, context = trained
    with pytest.raises(InvariantError, match="does not come from quantization-aware training"):
        lower(Quantize(scheme="qat-int8"), graph, context)


def test_nodes_are_sorted_and_cycles_are_refused() -> None:
    """Nodes come after what they read; a graph that bites its tail is named."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    nodes = [helper.make_node("Relu", ["t"], ["y"]), helper.make_node("Neg", ["x"], ["t"])]
    proto = helper.make_model(helper.make_graph(nodes, "g", [value], [out]))
    assert [node.op_type for node in lowering.finished(proto).graph.node] == ["Neg", "Relu"]
    proto.graph.node[1].input[0] = "y"
    with pytest.raises(InvariantError, match="cycle"):
        lowering.finished(proto)
