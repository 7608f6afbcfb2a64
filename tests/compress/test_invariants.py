"""Each invariant holds on what is right and is seen to break on what is wrong."""

import copy
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from tests.compress.nets import MLP
from weighbridge.compress import invariants, parity
from weighbridge.compress.graph.constants import effective_weights
from weighbridge.compress.invariants import Claim
from weighbridge.compress.techniques.prune.masks import Mask
from weighbridge.core.documents import Sizes
from weighbridge.core.errors import InvariantError

WHERE = "params.yaml: recipes.r.steps[0].prune"


def mlp() -> MLP:
    """A small net with seeded weights."""
    torch.manual_seed(1)
    return MLP()


def graph(nodes: list[Any], weights: dict[str, Any], opset: int = 21) -> onnx.ModelProto:
    """A model of (n, 4) → whatever its last node writes."""
    return helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
            [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, ["n", "m"])],
            initializer=[
                array if isinstance(array, TensorProto) else numpy_helper.from_array(array, name)
                for name, array in weights.items()
            ],
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=10,
    )


def test_a_step_that_changed_nothing_is_an_error() -> None:
    """The state's digest sees one changed weight, and nothing else passes as a change."""
    module = mlp()
    before = invariants.state_digest(module)
    with pytest.raises(InvariantError, match="the step changed nothing") as caught:
        invariants.changed(before, invariants.state_digest(copy.deepcopy(module)), WHERE)
    assert str(caught.value).startswith(WHERE)
    with torch.no_grad():
        module.hidden.bias[3] += 1e-6
    invariants.changed(before, invariants.state_digest(module), WHERE)


def test_weights_that_are_no_numbers_are_seen() -> None:
    """NaN in one buffer or parameter is named."""
    module = mlp()
    invariants.finite_weights(module, WHERE)
    with torch.no_grad():
        module.more.weight[0, 0] = float("nan")
    with pytest.raises(InvariantError, match=r"more\.weight holds NaN"):
        invariants.finite_weights(module, WHERE)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_outputs_that_are_no_numbers_are_counted(bad: float) -> None:
    """NaN and infinities of any sign."""
    output = np.zeros((5, 3), np.float32)
    invariants.finite([output, np.arange(5)], WHERE)
    output[2, 1] = bad
    with pytest.raises(InvariantError, match="NaN or infinite for 1 of 5"):
        invariants.finite([output], WHERE)


def test_a_broken_mask_is_seen_and_so_is_a_dropped_one() -> None:
    """A pruned weight that came back, another shape, a parameter that went, a constraint that a step dropped."""
    module = mlp()
    kept = torch.ones_like(module.more.weight, dtype=torch.bool)
    kept[0] = False
    mask = Mask("more.weight", kept)
    with pytest.raises(InvariantError, match=r"broke the prune mask of more\.weight: 24 pruned weights are not zero"):
        invariants.constraints_hold([mask], module, WHERE)
    mask.project(module)
    invariants.constraints_hold([mask], module, WHERE)
    with pytest.raises(InvariantError, match="the mask \\(2, 2\\)"):
        invariants.constraints_hold([Mask("more.weight", torch.ones(2, 2, dtype=torch.bool))], module, WHERE)
    with pytest.raises(InvariantError, match="the parameter is gone"):
        invariants.constraints_hold([Mask("nothing.weight", kept)], module, WHERE)
    with pytest.raises(InvariantError, match=r"lost the prune mask of more\.weight"):
        invariants.constraints_kept([mask], [], WHERE)
    invariants.constraints_kept([mask], [Mask("more.weight", kept)], WHERE)


@pytest.mark.parametrize("name", ["bytes", "gzip", "zstd", "params", "macs"])
def test_a_size_that_had_to_fall_and_did_not_is_an_error(name: str) -> None:
    """Equal is not less."""
    before = Sizes(bytes=10, gzip=10, zstd=10, params=10, macs=10)
    after = before.model_copy(update={key: 9 for key in ("bytes", "gzip", "zstd", "params", "macs") if key != name})
    with pytest.raises(InvariantError, match=f"{name} did not fall: 10 before the step, 10 after"):
        invariants.fell(("bytes", "gzip", "zstd", "params", "macs"), before, after, WHERE)
    invariants.fell(tuple({"bytes", "gzip"} - {name}), before, after, WHERE)


def test_parity_holds_to_the_tolerance_and_not_beyond() -> None:
    """The difference is on the scale of the largest output, at least one."""
    reference = np.array([[10.0, 0.0], [0.0, 5.0]], np.float32)
    found = parity.parity([reference + 5e-4], [reference], 1e-4, WHERE)
    assert found["agreement"] == 1.0
    assert found["largest_difference"] == pytest.approx(5e-5, rel=1e-3)
    with pytest.raises(InvariantError, match=r"differs from the module by 0\.0002 of the largest output; 1e-04"):
        parity.parity([reference + 2e-3], [reference], 1e-4, WHERE)


def test_parity_of_a_lossy_file_needs_agreement() -> None:
    """Nine of ten answers at least; another shape, number of outputs or NaN never passes."""
    reference = np.eye(4, dtype=np.float32)
    assert parity.parity([reference * 3], [reference], None, WHERE)["agreement"] == 1.0
    with pytest.raises(InvariantError, match=r"answers as the model did on 0\.0%"):
        parity.parity([np.roll(reference, 1, axis=1)], [reference], None, WHERE)
    ten = np.eye(10, dtype=np.float32)
    one, two = ten.copy(), ten.copy()
    one[0] = two[0] = two[1] = np.roll(ten[0], 2)
    assert parity.parity([one], [ten], None, WHERE) == {
        "examples": 10, "largest_difference": 1.0, "agreement": 0.9, "least_agreement": 0.9,
    }  # fmt: skip
    with pytest.raises(InvariantError, match=r"on 80\.0% of 10 real inputs; at least 90% must"):
        parity.parity([two], [ten], None, WHERE)
    assert parity.parity([two], [ten], None, WHERE, least=0.8)["least_agreement"] == 0.8
    with pytest.raises(InvariantError, match="gives 2 outputs; the module gives 1"):
        parity.parity([reference, reference], [reference], None, WHERE)
    with pytest.raises(InvariantError, match=r"output 0 is \(4, 2\); the module's is \(4, 4\)"):
        parity.parity([reference[:, :2]], [reference], None, WHERE)
    with pytest.raises(InvariantError, match="NaN or infinite"):
        parity.parity([reference * np.nan], [reference], None, WHERE)


def test_agreement_of_a_regression_is_one_less_its_relative_error() -> None:
    """A constant answer agrees with nothing."""
    reference = np.linspace(-1, 1, 40, dtype=np.float32)[:, None]
    assert parity.parity([reference], [reference], None, WHERE)["agreement"] == 1.0
    with pytest.raises(InvariantError, match="answers as the model did"):
        parity.parity([np.zeros_like(reference)], [reference], None, WHERE)


def test_claims_are_read_off_the_module() -> None:
    """A sparse weight claims its zeros, a shared one its values, others nothing."""
    module = mlp()
    with torch.no_grad():
        module.hidden.weight[:, ::2] = 0
        module.more.weight.copy_(torch.sign(module.more.weight))
    found = {claim.parameter: claim for claim in invariants.claims(module)}
    assert found == {
        "hidden.weight": Claim("hidden.weight", 24 * 16, 24 * 8, None),
        "more.weight": Claim("more.weight", 24 * 24, 0, 2),
    }


def sparse_file(zeros: int = 6, scale: float | None = None) -> onnx.ModelProto:
    """One MatMul whose (4, 4) weight has `zeros` zeros, stored as float or as int8 with a scale per column."""
    weight = np.arange(1, 17, dtype=np.float32)
    weight[:zeros] = 0
    weight = weight.reshape(4, 4)
    product = helper.make_node("MatMul", ["x", "w"], ["y"])
    if scale is None:
        return graph([product], {"w": weight})
    decode = helper.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=1)
    return graph([decode, product], {"q": weight.astype(np.int8), "s": np.full(4, scale, np.float32)})


@pytest.mark.parametrize("scale", [None, 0.25])
def test_zeros_are_found_again_in_the_file_or_missed(scale: float | None) -> None:
    """As floats or as integers with a scale; one zero too few is an error."""
    claim = Claim("fc.weight", 16, 6, None)
    kept = invariants.claims_hold([claim], sparse_file(6, scale), WHERE)
    assert kept == {"weights": 1, "zeros": 6, "shared": 0}
    with pytest.raises(InvariantError, match=r"fc\.weight had 6 zeros of 16; the file has 5 zeros"):
        invariants.claims_hold([claim], sparse_file(5, scale), WHERE)
    with pytest.raises(InvariantError, match=r"fc\.weight \(6 zeros of 99\) is not among the file's weights"):
        invariants.claims_hold([Claim("fc.weight", 99, 6, None)], sparse_file(6, scale), WHERE)


def test_of_a_table_of_positions_a_file_reads_the_rows_of_its_inputs() -> None:
    """A network for twelve tokens reads twelve of its sixteen positions: their zeros are held, and no others."""
    module = torch.nn.Embedding(16, 4)
    with torch.no_grad():
        module.weight[::2] = 0
    table = module.weight.detach().numpy()
    made = invariants.claims(module)
    assert made == [Claim("weight", 64, 32, None)]
    (claim,) = invariants.claims_read(made, module, {"rows": table[None, :12], "other": np.ones((1, 12, 4))})
    assert claim == Claim("weight", 48, 24, None)
    for weights in ({"rows": table[None, :12] + 1}, {"rows": table}):
        assert invariants.claims_read(made, module, weights) == made


def test_two_claims_need_two_weights() -> None:
    """One sparse weight in the file cannot stand for two in the module."""
    claim = Claim("fc.weight", 16, 6, None)
    with pytest.raises(InvariantError, match="is not among"):
        invariants.claims_hold([claim, claim], sparse_file(), WHERE)


def test_distinct_values_are_counted_after_decoding() -> None:
    """A codebook of three values is three values; a fourth is too many; a scale per channel is allowed."""
    book = np.array([-1.0, 0.0, 2.0], np.float32)
    codes = (np.arange(16) % 3).reshape(4, 4).astype(np.uint8)
    decode = [
        helper.make_node("Cast", ["c"], ["i"], to=TensorProto.INT64),
        helper.make_node("Gather", ["book", "i"], ["w"]),
    ]
    product = helper.make_node("MatMul", ["x", "w"], ["y"])
    file = graph([*decode, product], {"c": codes, "book": book})
    claim = Claim("fc.weight", 16, 5, 3)
    assert invariants.claims_hold([claim], file, WHERE)["shared"] == 1
    with pytest.raises(InvariantError, match="3 distinct values"):
        invariants.claims_hold([Claim("fc.weight", 16, 5, 2)], file, WHERE)
    by_channel = book[codes] * np.array([1, 2, 3, 4], np.float32)
    assert invariants.claims_hold([claim], graph([product], {"w": by_channel}), WHERE)["shared"] == 1


def test_effective_weights_subtract_zero_points() -> None:
    """Unsigned integer weights are zero where they equal their zero point."""
    weight = np.full((4, 4), 128, np.uint8)
    weight[0] = 130
    node = helper.make_node("MatMulInteger", ["x8", "w", "", "z"], ["y"])
    head = helper.make_node("DynamicQuantizeLinear", ["x"], ["x8", "s", "p"])
    file = graph([head, node], {"w": weight, "z": np.array(128, np.uint8)})
    assert effective_weights(file)["w"].tolist() == [[2.0] * 4, [0.0] * 4, [0.0] * 4, [0.0] * 4]


def test_effective_weights_of_blockwise_products_are_codes_less_their_zero() -> None:
    """MatMulNBits stores two codes a byte, lowest first; 8 is zero where no zero point is given."""
    codes = np.full((2, 16), 8, np.uint8)
    codes[0, 3], codes[1, 15] = 10, 1
    packed = (codes[:, ::2] | (codes[:, 1::2] << 4)).reshape(2, 1, 8)
    node = helper.make_node(
        "MatMulNBits", ["x", "b", "s"], ["y"], domain="com.microsoft", K=16, N=2, bits=4, block_size=16
    )
    file = graph([node], {"b": packed, "s": np.ones((2, 1), np.float32)})
    file.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    found = effective_weights(file)["b"]
    assert found.shape == (2, 16)
    assert (found[0, 3], found[1, 15], np.count_nonzero(found)) == (2.0, -7.0, 2)


def test_both_directions_of_a_recurrent_layer_are_weights_of_their_own() -> None:
    """ONNX stacks them in one tensor, PyTorch has two parameters."""
    rng = np.random.default_rng(0)
    node = helper.make_node("GRU", ["x3", "w", "r"], ["y", ""], hidden_size=2, direction="bidirectional")
    head = helper.make_node("Unsqueeze", ["x", "a"], ["x3"])
    weights = {
        "w": rng.normal(size=(2, 6, 4)).astype(np.float32),
        "r": rng.normal(size=(2, 6, 2)).astype(np.float32),
        "a": np.array([0], np.int64),
    }
    assert {name: value.shape for name, value in effective_weights(graph([head, node], weights)).items()} == {
        "w[0]": (6, 4),
        "w[1]": (6, 4),
        "r[0]": (6, 2),
        "r[1]": (6, 2),
    }


def test_integers_that_became_floats_again_are_seen() -> None:
    """A later lowering must leave integer operators in place."""
    integer, floating = sparse_file(scale=0.5), sparse_file()
    assert invariants.integer_nodes(integer) == 1
    invariants.integers_kept(1, integer, WHERE)
    invariants.integers_kept(0, floating, WHERE)
    with pytest.raises(InvariantError, match="the 1 integer operators of an earlier step are gone"):
        invariants.integers_kept(1, floating, WHERE)


def test_models_in_these_tests_are_valid() -> None:
    """The checker of onnx takes them."""
    onnx.checker.check_model(sparse_file(scale=0.5))
