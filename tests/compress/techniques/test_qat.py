"""Quantization-aware training: what it leaves is what onnxruntime's quantizer finds."""

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
from onnx import numpy_helper

from tests.compress import nets
from weighbridge.compress.export.onnxruntime import export, write
from weighbridge.compress.graph.sessions import run
from weighbridge.compress.steps import Context, Graph, Subject
from weighbridge.compress.techniques.prune import PruneConfig, prune
from weighbridge.compress.techniques.quantize import Quantize, lower, qat, train
from weighbridge.compress.techniques.quantize.qat import fake_activation, fake_weight
from weighbridge.compress.techniques.share import ShareConfig, share
from weighbridge.compress.training.loop import fit
from weighbridge.compress.training.module_quality import predict
from weighbridge.compress.training.settings import Finetune
from weighbridge.core.errors import InputError, InvariantError

CONFIG = Quantize(scheme="qat-int8", reduce_range="never", finetune=Finetune(epochs=2))


@pytest.fixture(scope="module")
def learned() -> tuple[torch.nn.Module, Context]:
    """A trained residual net and its context."""
    module, context = nets.build("residual")
    fit(module, context.data.train, context.train.model_copy(update={"epochs": 8}), seed=3)
    return module, context


@pytest.fixture(scope="module")
def trained(learned: tuple[torch.nn.Module, Context]) -> tuple[Subject, dict[str, Any], Any]:
    """The same after quantization-aware training, with its facts."""
    module, context = learned
    return *train(CONFIG, Subject(copy.deepcopy(module)), context), context


def lowered(config: Quantize, subject: Subject, context: Context) -> tuple[Graph, dict[str, Any]]:
    """Export and lower, as a recipe does."""
    graph = export(subject.module, context.data.train)
    return lower(config, Graph(graph.proto, {**graph.notes, **subject.notes}), context)


def test_the_artifact_holds_the_trained_integers(trained: tuple[Subject, dict[str, Any], Any]) -> None:
    """Each channel's largest weight is the end of its grid, so the quantizer finds the very integers of training."""
    subject, facts, context = trained
    after, found = lowered(CONFIG, subject, context)
    assert found["int8_tensors"] >= 4
    assert found["DequantizeLinear"] > 4
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in after.proto.graph.initializer}
    for name in facts["layers"]:
        weight = subject.module.get_parameter(f"{name}.weight").detach().numpy()
        codes = tensors[f"{name}.weight_quantized"]
        scale = tensors[f"{name}.weight_scale"].reshape(-1, *[1] * (weight.ndim - 1))
        assert np.abs(codes).max() == 127
        np.testing.assert_allclose(codes * scale, weight, rtol=1e-5, atol=1e-7)


def test_module_and_artifact_agree(trained: tuple[Subject, dict[str, Any], Any]) -> None:
    """The trained module, its layers' own forward restored, answers as the integer file does."""
    subject, _, context = trained
    assert all("forward" not in layer.__dict__ for layer in subject.module.modules())
    after, facts = lowered(CONFIG, subject, context)
    assert facts["same_class"] > 0.95
    assert facts["relative_error"] < 0.05
    assert write(after.proto) == write(lowered(CONFIG, subject, context)[0].proto)


def test_training_repairs_what_rounding_breaks(learned: tuple[torch.nn.Module, Context]) -> None:
    """With one scale for channels of very unlike size, training with rounding beats rounding afterwards."""
    module, context = copy.deepcopy(learned[0]), learned[1]
    with torch.no_grad():  # the same function, but one channel's values dwarf the others
        module.one_norm.weight[0] *= 40
        module.one_norm.bias[0] *= 40
        module.two.weight[:, 0] /= 40
    split = context.data.train
    config = Quantize(scheme="qat-int8", reduce_range="always", per_channel=False, finetune=Finetune(epochs=6))
    after = Quantize(scheme="static-int8", reduce_range="always", per_channel=False)
    rounded = lower(after, export(module, split), context)[0]
    tuned = lowered(config, train(config, Subject(module), context)[0], context)[0]

    def loss(graph: Graph) -> float:
        outputs = torch.from_numpy(run(graph.proto, split, "test")[0])
        return torch.nn.functional.cross_entropy(outputs, torch.from_numpy(split.labels)).item()

    assert loss(tuned) < loss(rounded)


def test_masks_survive_training_and_file(learned: tuple[torch.nn.Module, Context]) -> None:
    """Pruned zeros stay zero through fine-tuning, rounding and the integer file."""
    module, context = learned
    subject, _ = prune(PruneConfig(sparsity=0.7), Subject(copy.deepcopy(module)), context)
    zeros = {name: (value == 0).sum() for name, value in subject.module.named_parameters() if value.dim() > 1}
    after, _ = train(CONFIG, subject, context)
    assert all(constraint.violation(after.module) is None for constraint in after.constraints)
    file, _ = lowered(CONFIG, after, context)
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in file.proto.graph.initializer}
    for name, count in zeros.items():
        assert (tensors[f"{name}_quantized"] == 0).sum() >= int(count)


def test_codebooks_need_one_scale_a_tensor(learned: tuple[torch.nn.Module, Context]) -> None:
    """A scale per channel would turn 4 shared values into 4 a channel: refused with the way out, which works."""
    module, context = learned
    subject, _ = share(ShareConfig(bits=2), Subject(copy.deepcopy(module)), context)
    with pytest.raises(InvariantError, match=r"breaks an earlier step: share codebook.*per_channel: false"):
        train(CONFIG, Subject(copy.deepcopy(subject.module), subject.constraints), context)
    config = CONFIG.model_copy(update={"per_channel": False})
    after, _ = train(config, subject, context)
    file, _ = lowered(config, after, context)
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in file.proto.graph.initializer}
    assert all(len(np.unique(tensors[f"{name}.weight_quantized"])) <= 4 for name in ("stem", "one", "two"))


def test_what_rounding_breaks_is_refused_before_training(
    learned: tuple[torch.nn.Module, Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody trains for hours to learn that codebooks need one scale a tensor; trying leaves the weights alone."""
    module, context = learned
    subject, _ = share(ShareConfig(bits=2), Subject(copy.deepcopy(module)), context)
    fit_to = []
    monkeypatch.setattr(qat, "finetune", lambda module, *_, **__: fit_to.append(copy.deepcopy(module.state_dict())))
    monkeypatch.setattr(qat, "facts_of", lambda _: {})
    with pytest.raises(InvariantError, match="breaks an earlier step"):
        train(CONFIG, subject, context)
    assert not fit_to
    train(CONFIG.model_copy(update={"per_channel": False}), subject, context)
    assert all(torch.equal(value, fit_to[0][name]) for name, value in subject.module.state_dict().items())


def test_kept_layers_are_kept_in_both_halves(learned: tuple[torch.nn.Module, Context]) -> None:
    """What training leaves in float, the file leaves in float."""
    module, context = learned
    config = CONFIG.model_copy(update={"keep": ("stem",), "keep_sensitive": 1})
    subject, facts = train(config, Subject(copy.deepcopy(module)), context)
    worst = facts["sensitivity"][0]["layer"]
    assert facts["kept"] == sorted({"stem", worst})
    assert "stem" not in {row["layer"] for row in facts["sensitivity"]}
    _, found = lowered(config, subject, context)
    assert found["kept"] == facts["kept"]


def test_bad_choices_are_refused(learned: tuple[torch.nn.Module, Context]) -> None:
    """Patterns that match nothing, and those that leave nothing."""
    module, context = learned
    for keep, message in ((("stamm",), r"'stamm' matches no layer.*stem, one, two, classes"), (("*",), "is left")):
        with pytest.raises(InputError, match=message):
            train(CONFIG.model_copy(update={"keep": keep}), Subject(copy.deepcopy(module)), context)
    with pytest.raises(InputError, match="every layer is too sensitive"):
        train(CONFIG.model_copy(update={"keep_sensitive": 9}), Subject(copy.deepcopy(module)), context)


def test_layers_that_are_not_called_are_named() -> None:
    """Attention uses its projection's weight without calling the layer: an error that names it, and the way out."""
    module, context = nets.build("transformer")
    with pytest.raises(InputError, match=r"self_attn\.out_proj is not called as a module.*keep"):
        train(CONFIG, Subject(copy.deepcopy(module)), context)
    assert all("forward" not in layer.__dict__ for layer in module.modules())
    subject, facts = train(CONFIG.model_copy(update={"keep": ("*out_proj",)}), Subject(module), context)
    assert "classes" in facts["layers"]
    assert lowered(CONFIG, subject, context)[1]["same_class"] > 0.9


def test_recurrent_layers_stay_in_float_where_they_are_kept() -> None:
    """They have no integer form with ranges fixed ahead: refused before training, with a way out that works."""
    module, context = nets.build("recurrent")
    with pytest.raises(InputError, match=r"no form of layer lstm \(LSTM\).*keep"):
        train(CONFIG, Subject(copy.deepcopy(module)), context)
    for keep in (("lstm", "gru"), ("lstm.weight_*", "gru*")):
        config = CONFIG.model_copy(update={"keep": keep})
        subject, facts = train(config, Subject(copy.deepcopy(module)), context)
        assert (facts["layers"], facts["kept"]) == (["classes"], ["gru", "lstm"])
        _, found = lowered(config, subject, context)
        assert found["layers"] == ["classes"]
        assert set(found["kept"]) >= {"gru.weight_hh_l0", "lstm.weight_ih_l0"}


def test_attention_is_kept_whole_where_it_is_named() -> None:
    """The projections that no layer of its own holds stay in float with the one that has a layer."""
    module, context = nets.build("transformer")
    config = CONFIG.model_copy(update={"keep": ("*self_attn",)})
    with pytest.raises(InputError, match=r"out_proj is not called"):
        train(config, Subject(copy.deepcopy(module)), context)
    config = CONFIG.model_copy(update={"keep": ("*self_attn*",)})
    subject, _ = train(config, Subject(module), context)
    assert "encoder.layers.0.self_attn.in_proj_weight" in lowered(config, subject, context)[1]["kept"]


def test_training_is_deterministic(learned: tuple[torch.nn.Module, Context]) -> None:
    """The same seed gives the same weights."""
    module, context = learned
    first, second = (train(CONFIG, Subject(copy.deepcopy(module)), context)[0].module for _ in range(2))
    for one, two in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, two)


def test_diverging_training_stops(learned: tuple[torch.nn.Module, Context]) -> None:
    """A loss that is no number stops with stage and step, and the layers get their forward back."""
    module, context = learned
    broken = copy.deepcopy(module)
    wild = replace(context, train=context.train.model_copy(update={"lr": 9.99, "epochs": 1}))
    with torch.no_grad():
        broken.classes.bias.fill_(float("nan"))
    with pytest.raises((InvariantError, InputError)):
        train(CONFIG, Subject(broken), wild)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([64, 127]), st.booleans())
def test_fake_weights_are_on_their_grid(seed: int, top: Any, per_channel: bool) -> None:
    """Rounding is idempotent, keeps zeros and each channel's largest value, and gives so many levels at most."""
    rng = np.random.default_rng(seed)
    weight = torch.from_numpy((rng.normal(size=(3, 20)) * [[1], [100], [0]]).astype(np.float32))
    weight[0, :5] = 0
    rounded = fake_weight(weight, top, per_channel=per_channel)
    assert (rounded[weight == 0] == 0).all()
    torch.testing.assert_close(fake_weight(rounded, top, per_channel=per_channel), rounded, rtol=1e-6, atol=0)
    torch.testing.assert_close(rounded.abs().max(), weight.abs().max())
    assert max(len(torch.unique(row)) for row in rounded) <= 2 * top + 1


def test_gradients_pass_through_rounding() -> None:
    """The straight-through estimator: gradients inside the range pass, those outside do not."""
    values = torch.tensor([-1.0, 0.3, 5.0], requires_grad=True)
    fake_activation(values, 0.0, 1.0).sum().backward()
    assert values.grad.tolist() == [0.0, 1.0, 0.0]
    assert fake_activation(torch.zeros(1), -0.3, 1.0).item() == 0.0


def test_prediction_uses_the_rounded_weights(trained: tuple[Subject, dict[str, Any], Any]) -> None:
    """What is exported is what was trained: on-grid weights in a plain module."""
    subject, _, context = trained
    assert np.isfinite(predict(subject.module, context.data.train)[0]).all()
    assert isinstance(export(subject.module, context.data.train).proto, onnx.ModelProto)
