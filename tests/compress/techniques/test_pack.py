"""Packed weights: they decode to themselves, the smallest form wins, the runtime folds it all away."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from tests.compress import nets
from weighbridge.compress.export.onnxruntime import export, write
from weighbridge.compress.graph.lowering import array_of, optimized
from weighbridge.compress.graph.sessions import session
from weighbridge.compress.steps import Graph
from weighbridge.compress.techniques import pack as package
from weighbridge.compress.techniques.pack import Pack, check_folded, pack, pack_model, pack_plan
from weighbridge.compress.techniques.pack.forms import code, coded_forms, entries, float_forms, gap_bases
from weighbridge.compress.techniques.pack.joined import Joined
from weighbridge.compress.techniques.pack.pack_plan import key, plan
from weighbridge.compress.techniques.pack.radix import LARGEST, best_base, decode, encode
from weighbridge.compress.techniques.quantize import Quantize, lower
from weighbridge.core.errors import InputError, InvariantError
from weighbridge.core.formats.onnx_file import counts, parse_model, serialize, signature
from weighbridge.data import Split


def linear(*weights: NDArray[Any], opset: int = 21) -> onnx.ModelProto:
    """A chain of matrix products."""
    names = [f"w{index}" for index in range(len(weights))]
    values = ["x", *(f"v{index}" for index in range(len(weights) - 1)), "y"]
    nodes = [helper.make_node("MatMul", [values[i], names[i]], [values[i + 1]]) for i in range(len(weights))]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", weights[0].shape[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", weights[-1].shape[1]])],
        [numpy_helper.from_array(weight, name) for name, weight in zip(names, weights, strict=True)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def shared(rng: np.random.Generator, shape: tuple[int, int], levels: int, sparsity: float = 0.0) -> NDArray[Any]:
    """Weights of a few distinct values, some of them zero."""
    book = rng.normal(size=levels).astype(np.float32)
    values = book[rng.integers(0, levels, shape)]
    return np.where(rng.random(shape) < sparsity, np.float32(0), values)


def decoded(form: Any) -> tuple[Any, Any]:
    """What onnxruntime makes of one form: the decoder alone, run."""
    inputs = {role: f"i{index}" for index, role in enumerate(form.constants)}
    graph = helper.make_graph(
        [form.decoder.call(inputs, "y")],
        "g",
        [],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(value, inputs[role]) for role, value in form.constants.items()],
    )
    graph.output[0].type.tensor_type.elem_type = numpy_helper.from_array(
        form.constants["book" if "book" in form.constants else "values"]
    ).data_type
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("w", 1)],
        functions=[form.decoder.function(21)],
        ir_version=10,
    )
    return session(model, "test").run(None, {})[0], model


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 5000), st.lists(st.integers(0, 2**31), max_size=100))
def test_digits_come_back(base: int, numbers: list[int]) -> None:
    """Words of any base give back the digits that were written."""
    digits = np.array([number % base for number in numbers], np.int64)
    form = best_base(base)
    np.testing.assert_array_equal(decode(encode(digits, form), form)[: len(digits)], digits)
    assert form.size(len(digits)) == encode(digits, form).nbytes


@given(st.integers(2, 100_000))
def test_words_are_as_full_as_they_can_be(base: int) -> None:
    """No word type holds more digits; nothing overflows."""
    form = best_base(base)
    largest = 255 if form.dtype is np.uint8 else LARGEST
    assert base**form.digits - 1 <= largest < base ** (form.digits + 1) - 1
    assert form.bits >= np.log2(base)
    assert form.bits <= 64


def test_digits_out_of_range_are_refused() -> None:
    """A digit of the base or more would read as another number."""
    with pytest.raises(ValueError, match="the base is 3"):
        encode(np.array([0, 3]), best_base(3))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.floats(0, 1), st.integers(2, 40), st.integers(1, 12))
def test_places_can_be_walked(seed: int, count: int, density: float, limit: int, multiple: int) -> None:
    """From 0 in steps of at most `limit`, in whole words, over every weight that is present."""
    present = np.random.default_rng(seed).random(count) < density
    places = entries(present, limit, multiple)
    if places is None:
        assert (~present).sum() < 3 * multiple
        return
    assert places[0] == 0
    assert len(places) % multiple == 0
    assert (np.diff(places) >= 1).all()
    assert (np.diff(places) <= limit).all()
    assert np.isin(np.flatnonzero(present), places).all()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(1, 1), (5,), (7, 3), (4, 3, 3, 3), (40, 33)]),
    st.integers(1, 40),
    st.sampled_from([0.0, 0.3, 0.9, 0.99]),
    st.sampled_from([np.float32, np.float16, np.int8, np.uint8]),
)
def test_every_form_decodes_to_the_weight(seed: int, shape: Any, levels: int, sparsity: Any, kind: Any) -> None:
    """Whatever form a weight is stored in, onnxruntime and the standard's own evaluator decode its bits."""
    rng = np.random.default_rng(seed)
    values = (shared(rng, shape, levels, sparsity) * 30).astype(kind)
    coded = code(values)
    forms = [*coded_forms(coded), *(float_forms(values) if values.dtype.kind == "f" else ())]
    assert forms
    for form in forms:
        found, model = decoded(form)
        np.testing.assert_array_equal(found, values)
        np.testing.assert_array_equal(ReferenceEvaluator(model).run(None, {})[0], values)


def test_too_many_values_have_no_codebook() -> None:
    """Beyond 256 distinct values codes would not be small; a codebook that lacks a value is no codebook."""
    assert code(np.arange(257, dtype=np.float32)) is None
    assert code(np.ones(4, np.float32), np.zeros(2, np.float32)) is None
    assert code(np.array([-0.0, 1.0], np.float32)).book.tolist() == [0.0, 1.0]


def test_dense_weights_have_no_sparse_form() -> None:
    """Without zeros there is nothing to skip."""
    assert list(float_forms(np.ones((4, 4), np.float32))) == []
    assert [form.kind for form in coded_forms(code(np.ones((4, 4), np.float32)))] == ["dense codes"]
    assert gap_bases(np.array([], int), 10, 2) == []


@pytest.mark.parametrize(
    ("levels", "sparsity", "kind"),
    [(16, 0.0, "dense codes"), (16, 0.95, "delta"), (16, 0.5, "bitmask"), (400, 0.95, "delta floats"),
     (400, 0.4, "bitmask floats")],
)  # fmt: skip
def test_the_smallest_form_wins(levels: int, sparsity: float, kind: str) -> None:
    """Dense codes, gaps or a bit for each weight, by how many are zero."""
    rng = np.random.default_rng(1)
    values = shared(rng, (200, 100), levels, sparsity) if levels < 256 else None
    if values is None:
        values = np.where(rng.random((200, 100)) < sparsity, 0, rng.normal(size=(200, 100))).astype(np.float32)
    chosen = plan({"w": values}, 21).forms["w"]
    assert chosen.kind == kind
    everything = [*(coded_forms(code(values)) if levels < 256 else ()), *float_forms(values)]
    smallest = min(sum(value.nbytes for value in form.constants.values()) for form in everything)
    assert sum(value.nbytes for value in chosen.constants.values()) <= 1.02 * smallest + 60


def test_sizes_come_near_the_entropy() -> None:
    """8 % kept of 784 x 300 in 16 values: within 12 % of positions and codes at their entropy, 30x below dense."""
    rng = np.random.default_rng(0)
    weight = shared(rng, (784, 300), 16, 0.92)
    proto = linear(weight)
    packed, forms = pack_model(proto)
    size = len(write(packed))
    density = (weight != 0).mean()
    entropy = -density * np.log2(density) - (1 - density) * np.log2(1 - density) + density * 4
    assert forms["w0"].kind == "delta"
    assert size < 1.12 * entropy * weight.size / 8 + 700
    assert weight.nbytes / size > 30


@pytest.mark.parametrize("opset", [11, 13, 17, 21])
def test_packed_files_load_in_stock_onnxruntime(opset: int) -> None:
    """A chain of all kinds of weights gives the dense model's outputs, with the same nodes left after loading."""
    rng = np.random.default_rng(2)
    weights = [
        shared(rng, (60, 50), 8), shared(rng, (50, 70), 8, 0.9), shared(rng, (70, 60), 20, 0.45),
        np.where(rng.random((60, 50)) < 0.9, 0, rng.normal(size=(60, 50))).astype(np.float32),
        rng.normal(size=(50, 9)).astype(np.float32),
    ]  # fmt: skip
    proto = linear(*weights, opset=opset)
    packed, forms = pack_model(proto)
    assert "w4" not in forms
    data = write(packed)
    assert len(data) < len(write(proto)) / 2
    x = rng.normal(size=(3, 60)).astype(np.float32)
    ours = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    theirs = onnxruntime.InferenceSession(write(proto), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    np.testing.assert_array_equal(ours, theirs)
    assert signature(parse_model(data, "m")) == signature(proto)
    assert counts(packed) == counts(proto)
    assert Counter(node.op_type for node in optimized(packed, "t").graph.node) == {"MatMul": 5}


def biased(*biases: NDArray[np.float32], opset: int = 21) -> onnx.ModelProto:
    """A chain of square layers with the biases given, all of one width, and weights of two values."""
    width = len(biases[0])
    rng = np.random.default_rng(0)
    tensors = [numpy_helper.from_array(shared(rng, (width, width), 2), f"w{i}") for i in range(len(biases))]
    tensors += [numpy_helper.from_array(bias, f"b{i}") for i, bias in enumerate(biases)]
    values = ["x", *(f"v{i}" for i in range(len(biases) - 1)), "y"]
    nodes = [helper.make_node("Gemm", [values[i], f"w{i}", f"b{i}"], [values[i + 1]]) for i in range(len(biases))]
    ports = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width])] for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", *ports, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


@pytest.mark.parametrize("opset", [11, 13, 18, 21])
def test_biases_with_one_codebook_are_packed_as_one(opset: int) -> None:
    """Their values are stored once and their codes end to end; every runtime splits them when it loads the file."""
    rng = np.random.default_rng(4)
    book = rng.normal(size=16).astype(np.float32)
    proto = biased(*(book[rng.integers(0, 16, 40)] for _ in range(5)), opset=opset)
    packed, forms = pack_model(proto)
    assert "joined" in forms
    assert not any(name in forms for name in ("b0", "b1", "b2", "b3", "b4"))
    check_folded(proto, packed)
    x = rng.normal(size=(3, 40)).astype(np.float32)
    ours, theirs = (session(model, "t").run(None, {"x": x})[0] for model in (packed, proto))
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_allclose(ReferenceEvaluator(packed).run(None, {"x": x})[0], theirs, rtol=1e-4, atol=1e-4)
    assert counts(packed) == counts(proto)
    apart = {name: form for name, form in forms.items() if name != "joined"}
    assert len(write(packed)) < len(write(proto)) - 5 * 40 * 4 + 350
    assert set(apart) == {"w0", "w1", "w2", "w3", "w4"}


def test_biases_of_their_own_values_stay_apart() -> None:
    """Vectors that share nothing gain nothing from being one."""
    rng = np.random.default_rng(5)
    proto = biased(*(rng.normal(size=40).astype(np.float32) for _ in range(5)))
    packed, forms = pack_model(proto)
    assert "joined" not in forms
    assert {"b0", "b1", "b2", "b3", "b4"} <= {tensor.name for tensor in packed.graph.initializer}


def test_biases_in_the_wrong_order_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A split that hands out the right vectors to the wrong layers gives other outputs, and is no packed model."""
    rng = np.random.default_rng(4)
    book = rng.normal(size=4).astype(np.float32)
    proto = biased(*(book[rng.integers(0, 4, 40)] for _ in range(5)))
    x = rng.normal(size=(6, 40)).astype(np.float32)
    surroundings = nets.context(None, Split({"x": x}, np.arange(6) % 3))
    pack(Pack(), Graph(proto), surroundings)

    def crossed(joined: Joined, sizes: str, opset: object) -> onnx.NodeProto:
        return helper.make_node("Split", [joined.name, sizes], list(joined.parts)[::-1])

    monkeypatch.setattr(Joined, "node", crossed)
    with pytest.raises(InvariantError, match="packed outputs differ"):
        pack(Pack(), Graph(proto), surroundings)


def test_equal_weights_are_stored_once() -> None:
    """Two layers of one weight, or of one codebook, share what they can."""
    rng = np.random.default_rng(3)
    weight = shared(rng, (64, 64), 16, 0.8)
    once, twice = (len(write(pack_model(linear(*[weight] * count))[0])) for count in (1, 2))
    assert twice - once < 200


def test_equal_weights_that_are_stored_twice_are_decoded_once() -> None:
    """The runtime merges the decoders of equal weights: fewer constants than before, and none that is missing."""
    rng = np.random.default_rng(3)
    proto = linear(*[shared(rng, (64, 64), 16, 0.8)] * 2)
    packed, forms = pack_model(proto)
    assert len(forms) == 2
    check_folded(proto, packed)


def test_integer_weights_pack_too() -> None:
    """Pruned int8 weights of a quantized net are stored sparse; the runtime computes on integers as before."""
    module, context = nets.build("residual")
    graph = export(module, context.data.train)
    proto = onnx.ModelProto.FromString(graph.proto.SerializeToString())
    for tensor in proto.graph.initializer:
        if tensor.name in ("one.weight", "two.weight"):
            values = numpy_helper.to_array(tensor).copy()
            values[np.abs(values) < np.quantile(np.abs(values), 0.95)] = 0
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    quantized, _ = lower(Quantize(scheme="static-int8"), Graph(proto, graph.notes), context)
    packed, facts = pack(Pack(), quantized, context)
    assert facts["largest_difference"] == 0
    assert facts["after"]["bytes"] < facts["before"]["bytes"]
    assert {fact["form"] for fact in facts["tensors"]} <= {"delta", "bitmask"}
    full = [session(item.proto, "t", save=None) for item in (quantized, packed)]
    feed = {"image": context.data.train.inputs["image"][:4]}
    np.testing.assert_array_equal(full[0].run(None, feed)[0], full[1].run(None, feed)[0])


@pytest.mark.parametrize("scheme", ["fp16", "weight-fp16"])
@pytest.mark.parametrize(("levels", "forms"), [(400, {"bitmask floats"}), (4, {"delta", "bitmask"})])
def test_half_precision_weights_pack_too(scheme: str, levels: int, forms: set[str]) -> None:
    """Pruned or shared weights in float16 are stored sparse or as codes, and computed with as before."""
    weights = [shared(np.random.default_rng(seed), (64, 64), levels, 0.8) / 8 for seed in (1, 2)]
    context = nets.context(None, Split({"x": weights[0][:32]}, np.arange(32) % 3))
    half, _ = lower(Quantize(scheme=scheme), Graph(linear(*weights)), context)
    packed, facts = pack(Pack(), half, context)
    assert facts["largest_difference"] == 0
    assert facts["after"]["bytes"] < (0.5 if levels == 400 else 0.2) * facts["before"]["bytes"]
    assert {fact["form"] for fact in facts["tensors"]} <= forms
    onnx.checker.check_model(packed.proto, full_check=True)


def test_a_shared_net_packs_through_the_step() -> None:
    """Facts name each weight with its form; sizes before and after are those of the files."""
    module, context = nets.build("mlp")
    graph = export(module, context.data.train)
    for tensor in graph.proto.graph.initializer:
        if len(tensor.dims) == 2:
            values = np.sign(numpy_helper.to_array(tensor)).astype(np.float32) / 4
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    packed, facts = pack(Pack(), graph, context)
    assert facts["after"]["bytes"] == len(write(packed.proto)) < facts["before"]["bytes"] == len(write(graph.proto))
    fact = {name: value for name, value in facts["tensors"][1].items() if name != "bytes"}
    assert fact == {"weight": "more.weight", "form": "dense codes", "elements": 576, "levels": 2}
    again, _ = pack(Pack(), graph, context)
    assert serialize(again.proto) == serialize(packed.proto)


def test_nothing_to_pack_is_an_error() -> None:
    """A model of dense float weights would only grow."""
    module, context = nets.build("residual")
    with pytest.raises(InvariantError, match="neither sparse nor shared"):
        pack(Pack(), export(module, context.data.train), context)


def test_old_opsets_are_refused() -> None:
    """Decoders need operators of opset 11."""
    with pytest.raises(InputError, match=r"opset 9; decoders need 11"):
        pack_model(linear(np.ones((20, 20), np.float32), opset=9))


def test_a_decoder_that_stays_is_caught() -> None:
    """A decoder fed by something that is no constant is left in the graph: not the dense model at run time."""
    proto = linear(shared(np.random.default_rng(0), (60, 50), 4))
    packed, _ = pack_model(proto)
    loose = onnx.ModelProto.FromString(packed.SerializeToString())
    call = next(node for node in loose.graph.node if node.domain == "w")
    book = next(tensor for tensor in loose.graph.initializer if tensor.name == call.input[3])
    loose.graph.input.append(helper.make_tensor_value_info("book", TensorProto.FLOAT, list(book.dims)))
    call.input[3] = "book"
    with pytest.raises(InvariantError, match="does not fold the decoders"):
        check_folded(proto, loose)


def test_a_weight_that_decodes_wrongly_is_caught() -> None:
    """One flipped code gives another weight, whatever the outputs on a few examples say."""
    proto = linear(shared(np.random.default_rng(0), (60, 50), 4))
    packed, forms = pack_model(proto)
    words = forms["w0"].constants["words"]
    tensor = next(item for item in packed.graph.initializer if item.dims == list(words.shape))
    values = array_of(packed, tensor.name).copy()
    values[3] ^= 1
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    with pytest.raises(InvariantError, match="1 weights do not decode"):
        check_folded(proto, packed)


def test_other_outputs_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The outputs of the packed file are compared with the dense ones, not assumed."""
    module, context = nets.build("mlp")
    graph = export(module, context.data.train)
    for tensor in graph.proto.graph.initializer:
        if len(tensor.dims) == 2:
            values = np.sign(numpy_helper.to_array(tensor)).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    real, calls = package.run, []  # type: ignore[attr-defined]

    def crooked(*arguments: Any) -> list[Any]:
        calls.append(arguments)
        return [output + np.float32(0.01 * (len(calls) == 2)) for output in real(*arguments)]

    monkeypatch.setattr(package, "run", crooked)
    with pytest.raises(InvariantError, match="packed outputs differ"):
        pack(Pack(), graph, context)


def test_constants_are_hashed_once_however_many_weights_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times the weights, four times the work: each choice looks at what all others store."""
    asked = []

    def counted(value: Any) -> Any:
        asked.append(value.size)
        return key(value)

    monkeypatch.setattr(pack_plan, "key", counted)
    rng = np.random.default_rng(3)
    weights = {f"w{index}": (rng.normal(size=400) * (rng.random(400) < 0.2)).astype(np.float32) for index in range(32)}
    counts = []
    for some in (8, 32):
        asked.clear()
        assert plan({name: weights[name] for name in list(weights)[:some]}, 21).forms
        counts.append(len(asked))
    assert counts[1] <= 4.2 * counts[0]
