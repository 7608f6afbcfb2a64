"""Export: parity on every kind of model, a free batch, nothing of the machine in the bytes, and clear refusals."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from tests.compress.nets import KINDS, Residual, build, features, images, sequences
from weighbridge.compress.export import EXPORTERS, find_target
from weighbridge.compress.graph.names import concise
from weighbridge.compress.steps import Context
from weighbridge.compress.training.module_quality import predict
from weighbridge.core.errors import InputError, InvariantError
from weighbridge.core.formats.onnx_file import parse_model, serialize, signature
from weighbridge.data import Split

TARGET = EXPORTERS["onnxruntime"]


@pytest.fixture(scope="module", params=KINDS)
def exported(request: pytest.FixtureRequest) -> tuple[Any, nn.Module, Context, Any]:
    """Kind, module, context and graph."""
    module, context = build(request.param)
    return request.param, module, context, TARGET.export(module, context.data.train)


def test_the_file_answers_as_the_module_on_any_batch(exported: tuple[Any, nn.Module, Context, Any]) -> None:
    """One example, several, and a number that no batch size divides."""
    _, module, context, graph = exported
    data = TARGET.write(graph.proto)
    for count in (1, 2, 65):
        few = context.data.train.take(slice(0, count))
        ours, theirs = TARGET.run(data, few.inputs)[0], predict(module, few)[0]
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_the_file_names_inputs_outputs_and_nothing_else(exported: tuple[Any, nn.Module, Context, Any]) -> None:
    """Inputs as the data's arrays; short names, no metadata, no default attribute, no path of this machine inside."""
    _, _, context, graph = exported
    data = TARGET.write(graph.proto)
    proto = parse_model(data, "artifact")
    found = signature(proto)
    assert [port.name for port in found.inputs] == list(context.data.train.inputs)
    assert [(port.name, port.shape[0]) for port in found.outputs] == [("output", "n")]
    assert not proto.producer_name
    assert not proto.metadata_props
    assert all(not node.name and not node.doc_string and not node.metadata_props for node in proto.graph.node)
    assert all(len(tensor.name) <= 2 for tensor in proto.graph.initializer)
    for text in (b"site-packages", b".py", b"torch", b"forward"):
        assert text not in data
    onnx.checker.check_model(proto)


def test_initializers_lead_back_to_parameters(exported: tuple[Any, nn.Module, Context, Any]) -> None:
    """Every matrix and kernel is found, transposed and reordered ones too."""
    kind, module, _, graph = exported
    named = {name for name, tensor in module.named_parameters() if tensor.ndim >= 2}
    if kind == "transformer":
        named.discard("position")
    assert named <= set(graph.notes["parameters"].values())


def test_nodes_are_named_after_layers() -> None:
    """Normalisation is folded, and the node keeps its layer's name."""
    module, context = build("residual")
    graph = TARGET.export(module, context.data.train)
    names = {node.op_type: node.name for node in graph.proto.graph.node if node.op_type == "Gemm"}
    assert names == {"Gemm": "classes"}
    convolutions = [node.name for node in graph.proto.graph.node if node.op_type == "Conv"]
    assert convolutions == ["stem", "one", "two"]
    assert not any(node.op_type == "BatchNormalization" for node in graph.proto.graph.node)
    assert len({node.name for node in graph.proto.graph.node}) == len(graph.proto.graph.node)


def test_exporting_twice_gives_the_same_bytes_and_does_not_change_the_module() -> None:
    """Deterministic, and a module in training mode is so afterwards."""
    module, context = build("mlp")
    module.train()
    first, second = (TARGET.write(TARGET.export(module, context.data.train).proto) for _ in range(2))
    assert first == second
    assert module.training


class Several(nn.Module):
    """Two inputs, one of integers, and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.mix = nn.Embedding(5, 4), nn.Linear(8, 3)

    def forward(self, number: torch.Tensor, word: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        joined = torch.cat([number, self.words(word).mean(1)], 1)
        return self.mix(joined), joined.sum(1)


def test_several_inputs_and_outputs_keep_their_order() -> None:
    """By the data's names; outputs are numbered."""
    rng = np.random.default_rng(0)
    inputs = {"word": rng.integers(0, 5, (6, 7)), "number": rng.normal(size=(6, 4)).astype(np.float32)}
    split, module = Split(inputs, np.zeros(6, np.int64)), Several().eval()
    data = TARGET.write(TARGET.export(module, split).proto)
    found = signature(parse_model(data, "artifact"))
    assert {port.name: port.dtype for port in found.inputs} == {"word": "int64", "number": "float32"}
    assert [port.name for port in found.outputs] == ["output0", "output1"]
    for ours, theirs in zip(TARGET.run(data, inputs), predict(module, split), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


class Eigenvalues(nn.Module):
    """An operator that ONNX does not have, inside a layer."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.linalg.eigvals(features[:, :, None] * features[:, None, :]).real[:, :3]


class Branch(nn.Module):
    """Python control flow on a tensor's value."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features[:, :3] if features.sum() > 0 else -features[:, :3]


class Fixed(nn.Module):
    """A batch dimension that gets lost."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features[:2, :3].reshape(2, 3)


def test_an_operator_without_onnx_form_is_named_with_its_layer() -> None:
    """One line with operator, layer and what to do."""
    module = nn.Sequential()
    module.add_module("spectrum", Eigenvalues())
    with pytest.raises(InputError) as caught:
        TARGET.export(module, Split({"input": features().inputs["features"]}, features().labels))
    assert str(caught.value) == (
        "model.factory: the model cannot be exported: the operator aten.linalg_eig.default in layer 'spectrum' "
        "(Eigenvalues) has no ONNX form (write that layer with operators that ONNX has)"
    )


def test_control_flow_on_values_and_fixed_batches_are_refused(capfd: pytest.CaptureFixture[str]) -> None:
    """With the line of code where it can be told, and without a page of output."""
    with pytest.raises(InputError, match="cannot be traced for export") as caught:
        TARGET.export(Branch(), features())
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
    with pytest.raises(InputError, match=r"first dimension of 'output' is fixed|cannot be traced"):
        TARGET.export(Fixed(), features())


def test_a_file_that_the_runtime_refuses_is_an_error() -> None:
    """Garbage and wrong inputs end in one clear error."""
    with pytest.raises(InvariantError, match="onnxruntime does not run the artifact"):
        TARGET.run(b"not a model", features().inputs)
    module, context = build("mlp")
    data = TARGET.write(TARGET.export(module, context.data.train).proto)
    with pytest.raises(InvariantError, match="onnxruntime does not run the artifact"):
        TARGET.run(data, {"features": np.zeros((3, 5), np.float32)})


def test_an_unknown_target_lists_those_that_are_there() -> None:
    """By name."""
    assert find_target("onnxruntime") is TARGET
    known = r"\(targets: onnxruntime, litert, executorch\)"
    with pytest.raises(InputError, match=rf"the target 'tensorrt' is not built in {known}"):
        find_target("tensorrt")


def tiny(
    nodes: list[Any], weights: dict[str, NDArray[Any]], outputs: Sequence[str] = ("y",), opset: int = 21
) -> onnx.ModelProto:
    """A model of x (2, 3) → outputs."""
    value = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, "m"]) for name in outputs]
    stored = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "a long name", value, ends, initializer=stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def test_concise_drops_what_is_unused_or_default() -> None:
    """An unused weight and attributes at their defaults go, others stay; the meaning is the same."""
    nodes = [
        helper.make_node("Gemm", ["x", "weight"], ["hidden"], name="a node", alpha=1.0, beta=1.0, transB=1),
        helper.make_node("Softmax", ["hidden"], ["y"], axis=1),
    ]
    before = tiny(nodes, {"weight": np.ones((4, 3), np.float32), "unused": np.ones(9, np.float32)})
    after = concise(before)
    assert [item.name for item in after.graph.node[0].attribute] == ["transB"]
    assert [item.name for item in after.graph.node[1].attribute] == ["axis"]
    assert len(after.graph.initializer) == 1
    feeds = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}
    np.testing.assert_array_equal(TARGET.run(serialize(before), feeds)[0], TARGET.run(serialize(after), feeds)[0])
    assert len(serialize(after)) < len(serialize(before))
    assert serialize(concise(after)) == serialize(after)


def test_renaming_never_collides_with_inputs_and_outputs() -> None:
    """A port that is called `a` keeps its name, and nothing else gets it."""
    nodes = [
        helper.make_node("Relu", ["x"], ["first"]),
        helper.make_node("Neg", ["first"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
    ]
    after = concise(tiny(nodes, {}, outputs=("a", "b")))
    assert [value.name for value in after.graph.output] == ["a", "b"]
    written = [name for node in after.graph.node for name in node.output]
    assert len(set(written)) == 3
    onnx.checker.check_model(parse_model(serialize(after), "tiny"))


def test_subgraphs_are_renamed_with_the_values_around_them() -> None:
    """A branch reads values of the graph that it stands in."""
    branch = helper.make_graph(
        [helper.make_node("Mul", ["hidden", "hidden"], ["inner"])],
        "then",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    other = helper.make_graph(
        [helper.make_node("Neg", ["hidden"], ["inner"])],
        "else",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("Relu", ["x"], ["hidden"]),
        helper.make_node("If", ["choice"], ["y"], then_branch=branch, else_branch=other),
    ]
    before = tiny(nodes, {"choice": np.array(True)})
    feeds = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}
    ours = TARGET.run(serialize(concise(before)), feeds)[0]
    np.testing.assert_array_equal(ours, feeds["x"] ** 2)


def test_kernel_shapes_that_follow_from_the_weight_are_left_out() -> None:
    """A convolution without `kernel_shape` computes the same."""
    module = Residual().eval()
    data = TARGET.write(TARGET.export(module, images()).proto)
    proto = parse_model(data, "artifact")
    attributes = [{item.name for item in node.attribute} for node in proto.graph.node if node.op_type == "Conv"]
    assert attributes == [{"pads"}] * 3
    np.testing.assert_allclose(TARGET.run(data, images().inputs)[0], predict(module, images())[0], atol=1e-5)


def test_sequences_are_exported_with_their_own_name() -> None:
    """The input is called as in the data, not `x`."""
    module, context = build("recurrent")
    assert context.data.train.inputs.keys() == sequences().inputs.keys()
    graph = TARGET.export(module, context.data.train)
    assert graph.proto.graph.input[0].name == "sequence"
