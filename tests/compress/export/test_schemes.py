"""Each scheme on each target: what is stored, what stays, and what is caught where a converter did something else."""

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from weighbridge.compress.export import EXPORTERS, executorch, litert, litert_model, pt2e, pte, tflite
from weighbridge.compress.export.capture import example_of
from weighbridge.compress.export.pt2e import Within, kept_layers
from weighbridge.compress.graph.lowering import agreement
from weighbridge.compress.steps import Context, Subject
from weighbridge.compress.techniques.quantize import Quantize
from weighbridge.core.errors import InputError, InvariantError, StateError

if TYPE_CHECKING:
    from tests.compress.export.conftest import Net

STORED = {"fp16": "float16", "weight-fp16": "float16", "dynamic-int8": "int8", "weight-int8": "int8"}


def quantized(net: "tuple[Net, Context]", program: Any, **config: str | tuple[str]) -> Any:
    """A float program, quantized for its target."""
    name = "litert" if program.data[4:8] == b"TFL3" else "executorch"
    return EXPORTERS[name].lowerings["quantize"](Quantize(**config), program, net[1])


def outputs(net: "tuple[Net, Context]", program: Any) -> tuple[NDArray[Any], ...]:
    """What LiteRT answers to a few examples."""
    return litert_model.run(program.data, net[1].data.calibration.take(slice(0, 32)).inputs)


@pytest.mark.parametrize("scheme", STORED)
def test_litert_stores_weights_as_the_scheme_says(
    net: "tuple[Net, Context]", programs: dict[str, Any], scheme: str
) -> None:
    """Fewer bytes, the type in the file's own tensors, the same answers."""
    before = programs["litert"]
    after, facts = quantized(net, before, scheme=scheme)
    assert {layer.kind for layer in tflite.layers(after.data)} == {STORED[scheme]}
    assert len(litert.write(after.data)) < len(litert.write(before.data))
    assert facts["layers"] == ["body.0", "classes", "stem"]
    assert agreement(outputs(net, after), outputs(net, before))["relative_error"] < 0.03


def test_four_bits_need_an_exception_where_litert_has_no_form(
    net: "tuple[Net, Context]", programs: dict[str, Any]
) -> None:
    """A convolution of one input channel is depthwise to LiteRT, which has no 4-bit form of it."""
    with pytest.raises(InputError, match=r"no form of layer stem \(DEPTHWISE_CONV_2D\).*keep"):
        quantized(net, programs["litert"], scheme="weight-int4")
    after, facts = quantized(net, programs["litert"], scheme="weight-int4", keep=("stem",))
    kinds = {layer.operator: layer.kind for layer in tflite.layers(after.data)}
    assert kinds == {"DEPTHWISE_CONV_2D": "float32", "CONV_2D": "int4", "FULLY_CONNECTED": "int4"}
    assert facts["kept"] == ["stem"]
    values = next(layer.values for layer in tflite.layers(after.data) if layer.kind == "int4")
    assert values.min() >= -8
    assert values.max() == 7
    assert len(np.unique(values)) > 8


def test_static_ranges_hold_every_calibration_example(net: "tuple[Net, Context]", programs: dict[str, Any]) -> None:
    """The quantizer's own moving average would clip what few examples reach."""
    after, _ = quantized(net, programs["litert"], scheme="static-int8")
    assert agreement(outputs(net, after), outputs(net, programs["litert"]))["relative_error"] < 0.05


@pytest.mark.parametrize("name", ["litert", "executorch"])
def test_kept_layers_stay_in_float(net: "tuple[Net, Context]", programs: dict[str, Any], name: str) -> None:
    """By a pattern; the rest is integer."""
    _, facts = quantized(net, programs[name], scheme="static-int8", keep=("cla*",))
    assert facts["kept"] == ["classes"]
    assert facts["layers"] == ["body.0", "stem"]
    assert facts["int8_tensors"] == 2


@pytest.mark.parametrize("name", ["litert", "executorch"])
def test_patterns_that_match_nothing_are_refused(
    net: "tuple[Net, Context]", programs: dict[str, Any], name: str
) -> None:
    """With the layers that there are; and so is keeping all of them."""
    with pytest.raises(InputError, match=r"'clases' matches no layer.*classes"):
        quantized(net, programs[name], scheme="static-int8", keep=("clases",))
    with pytest.raises(InputError, match="left to quantize"):
        quantized(net, programs[name], scheme="static-int8", keep=("*",))


def test_a_layer_that_a_converter_left_in_float_is_caught(programs: dict[str, Any]) -> None:
    """The check looks at the file: a float file is no integer file, whatever made it."""
    layers = tflite.layers(programs["litert"].data)
    with pytest.raises(InputError, match="its weight is float32"):
        litert._check_done(Quantize(scheme="static-int8"), layers, layers, [])
    integers = [replace(layer, kind="int8", computes="int8") for layer in layers]
    assert litert._check_done(Quantize(scheme="static-int8"), layers, integers, []) == {"int8_tensors": 3}
    with pytest.raises(InputError, match="computes in float32"):
        litert._check_done(Quantize(scheme="static-int8"), layers, [replace(layers[0], kind="int8"), *integers[1:]], [])
    with pytest.raises(InvariantError, match="was to be kept and is int8"):
        litert._check_done(Quantize(scheme="static-int8"), layers, integers, [layers[0].name])
    with pytest.raises(InvariantError, match="went in"):
        litert._check_done(Quantize(scheme="static-int8"), layers, integers[1:], [])
    with pytest.raises(InvariantError, match="0 weights as 8-bit integers"):
        executorch._check_done(programs["executorch"].data, 3, programs["executorch"].data)


def test_a_trained_graph_that_was_converted_in_float_is_caught(
    net: "tuple[Net, Context]", programs: dict[str, Any]
) -> None:
    """Without its own configuration the converter takes the graph, in silence, as float convolutions."""
    config = Quantize(scheme="qat-int8", finetune={"epochs": 1})
    subject, facts = pt2e.train(config, Subject(copy.deepcopy(net[0])), net[1])
    assert facts["layers"] == ["body.0", "classes", "stem"]
    assert facts["losses"]
    example = example_of(subject.module, net[1].data.calibration)
    data = litert_model.converted(pt2e.converted(subject.notes["pt2e"]["graph"], fold=False), example, subject.module)
    with pytest.raises(InvariantError, match="3 layers went in, 0 came out"):
        litert._check_done(config, tflite.layers(programs["litert"].data), tflite.layers(data), [])


@pytest.mark.parametrize("name", ["litert", "executorch"])
def test_training_must_have_come_first(net: "tuple[Net, Context]", programs: dict[str, Any], name: str) -> None:
    """The file half of quantization-aware training needs the graph that the module half left."""
    with pytest.raises(InvariantError, match="quantization-aware training"):
        quantized(net, programs[name], scheme="qat-int8")


def test_a_program_without_delegates_is_refused(net: "tuple[Net, Context]") -> None:
    """Portable kernels are a hundred times slower: their operators are named."""
    import torch
    from executorch.exir import to_edge_transform_and_lower

    from weighbridge.compress.export.capture import Positional, silenced

    with silenced():
        captured = torch.export.export(Positional(torch.nn.ReLU(), ("x",)).eval(), (torch.zeros(1, 4),))
        data = bytes(to_edge_transform_and_lower(captured).to_executorch().buffer)
    with pytest.raises(InputError, match=r"XNNPACK takes no operator.*aten::relu"):
        executorch.check_delegated(data)


def test_readers_decode_what_the_runtime_computes_with(net: "tuple[Net, Context]", programs: dict[str, Any]) -> None:
    """Weights of both formats are the module's own, in another order."""
    stem = np.sort(net[0].classes.weight.detach().numpy(), axis=None)
    for reading in (tflite.read(programs["litert"].data), pte.read(programs["executorch"].data)):
        found = [np.sort(values, axis=None) for values in reading.weights.values() if values.size == stem.size]
        assert any(np.array_equal(values, stem) for values in found)


def test_a_file_for_a_newer_runtime_names_both_versions(
    programs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """LiteRT's files say from which version on they run."""
    monkeypatch.setattr(litert_model, "installed", lambda _: "0.9.3")
    with pytest.raises(StateError, match=r"needs LiteRT [12]\.\d+\.\d+ or newer; ai-edge-litert 0\.9\.3 is installed"):
        litert_model.run(programs["litert"].data, {})


@pytest.mark.parametrize("name", ["litert", "executorch"])
def test_a_broken_file_is_one_line_with_versions(
    net: "tuple[Net, Context]", programs: dict[str, Any], name: str
) -> None:
    """Truncated, or of an older format."""
    few = net[1].data.calibration.take(slice(0, 1)).inputs
    data = programs[name].data
    for broken in (data[:4] + b"OLD1" + data[8:], data[: len(data) // 2]):
        with pytest.raises(InvariantError, match=r"does not run the artifact \(.* \d+\.\d+|is not a readable LiteRT"):
            EXPORTERS[name].run(broken, few)


def test_constraints_reach_into_the_captured_graph() -> None:
    """Masks and codebooks are about the module's parameters; the graph has them one level down."""
    import torch
    from torch import nn

    from weighbridge.compress.techniques.prune.masks import Mask

    inner = nn.Linear(2, 2)
    outer = nn.Module()
    outer.graph = nn.Module()
    outer.graph.module = inner
    mask = torch.tensor([[True, False], [True, True]])
    constraint = Within(Mask("weight", mask))
    assert constraint.violation(outer) is not None
    constraint.project(outer)
    assert constraint.violation(outer) is None
    assert inner.weight[0, 1] == 0
    inner.weight.grad = torch.ones(2, 2)
    constraint.before_step(outer)
    assert inner.weight.grad[0, 1] == 0
    assert constraint.name == Mask("weight", mask).name


def test_training_needs_its_quantizer(net: "tuple[Net, Context]", monkeypatch: pytest.MonkeyPatch) -> None:
    """LiteRT alone does not bring it: the extra is named."""
    monkeypatch.setattr(pt2e, "installed", lambda name: None if name == "executorch" else "1")
    with pytest.raises(StateError, match=r"needs executorch.*weighbridge\[executorch\]"):
        pt2e.train(Quantize(scheme="qat-int8"), None, net[1])
    with pytest.raises(InputError, match="matches no layer"):
        kept_layers(net[0], Quantize(scheme="qat-int8", keep=("nowhere",)))
