"""Recipes end to end on many kinds of model; techniques that cheat are caught whatever they say of themselves."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from tests.compress.nets import KINDS, build
from weighbridge.compress.export import EXPORTERS
from weighbridge.compress.recipe.compose import compose, export_baseline
from weighbridge.compress.recipe.placing import placed
from weighbridge.compress.recipe.recipe import TECHNIQUES, read_steps
from weighbridge.compress.recipe.recipe_run import sizes_of
from weighbridge.compress.steps import Context, Graph, Step, StepConfig, Subject, Technique
from weighbridge.compress.techniques.prune.masks import Mask
from weighbridge.compress.training.loop import fit
from weighbridge.compress.training.splits import StoredSplit
from weighbridge.core.documents import RecipeSection, TaskSection
from weighbridge.core.errors import InputError, InvariantError
from weighbridge.core.files import sha256_bytes
from weighbridge.core.formats import compressed
from weighbridge.core.formats.onnx_file import parse_model
from weighbridge.data import Split, write_npz

TARGET = EXPORTERS["onnxruntime"]
TUNED = {"epochs": 1}
RECIPES = {
    "residual": [
        {"prune": {"method": "structured", "ratio": 0.25, "round_to": 2, "finetune": TUNED}},
        {"prune": {"sparsity": 0.4, "finetune": TUNED}},
        {"quantize": {"scheme": "static-int8"}},
    ],
    "separable": [{"prune": {"sparsity": 0.6}}, {"share": {"bits": 2, "finetune": TUNED}}, {"pack": {}}],
    "mlp": [{"prune": {"sparsity": 0.7}}, {"quantize": {"scheme": "qat-int8", "finetune": TUNED}}],
    "recurrent": [{"prune": {"sparsity": 0.5, "scope": "layer", "finetune": TUNED}}],
    "transformer": [{"prune": {"method": "structured", "ratio": 0.5, "round_to": 4}}, {"share": {"bits": 4}}],
}


class Empty(StepConfig):
    """No parameters."""


def trained(kind: str) -> tuple[torch.nn.Module, Context]:
    """A net of one kind that has learnt its examples, and its context."""
    module, context = build(kind)
    fit(module, context.data.train, context.train.model_copy(update={"epochs": 20}), seed=1)
    return module, context


def steps(*items: dict[str, dict[str, Any]]) -> list[Step]:
    """Validated steps."""
    return read_steps(RecipeSection(steps=list(items)), "params.yaml: recipes.r")


@pytest.mark.parametrize("kind", KINDS)
def test_recipes_compose_on_every_kind_of_model(kind: str) -> None:
    """Each step is recorded with its sizes, the file runs, and what was pruned or shared is still there."""
    module, context = trained(kind)
    artifact = compose(steps(*RECIPES[kind]), Subject(module), context, TARGET)
    assert [record.technique for record in artifact.steps] == [next(iter(item)) for item in RECIPES[kind]]  # type: ignore[attr-defined]
    assert artifact.steps[-1].sizes == artifact.sizes
    assert artifact.sizes.bytes == len(artifact.data)
    assert artifact.parity["agreement"] >= 0.8
    answers = TARGET.run(artifact.data, context.data.test.inputs)[0]
    assert np.mean(answers.argmax(1) == context.data.test.labels) > 0.5
    assert parse_model(artifact.data, "artifact").graph.input[0].name == next(iter(context.data.train.inputs))


def test_the_training_split_is_out_of_memory_while_a_model_is_exported(tmp_path: Path) -> None:
    """Exporting takes as much memory as training: the two never come together."""
    module, context = trained("mlp")
    path = tmp_path / "train.npz"
    write_npz(path, context.data.train)
    stored = StoredSplit(path, list(context.data.train.inputs))
    context = replace(context, data=replace(context.data, train=stored))
    held = []

    def export(module: torch.nn.Module, split: Split) -> Any:
        held.append("_split" in vars(stored))
        return TARGET.export(module, split)

    recipe = steps({"prune": {"sparsity": 0.4, "finetune": TUNED}}, {"share": {"bits": 4, "finetune": TUNED}})
    compose(recipe, Subject(module), context, replace(TARGET, export=export))
    assert held
    assert not any(held)
    assert len(stored) == len(context.data.test)


@pytest.mark.parametrize("kind", ["mlp"])
def test_the_same_recipe_gives_the_same_bytes(kind: str) -> None:
    """Twice in one process, from two copies of one module."""
    digests = []
    for _ in range(2):
        module, context = build(kind)
        digests.append(sha256_bytes(compose(steps(*RECIPES[kind]), Subject(module), context, TARGET).data))
    assert digests[0] == digests[1]


def test_the_baseline_equals_its_module() -> None:
    """Export alone: no steps, parity to the stated tolerance."""
    module, context = trained("residual")
    artifact = export_baseline(Subject(module), context, TARGET)
    assert artifact.steps == ()
    assert artifact.parity["largest_difference"] <= artifact.parity["tolerance"] == 1e-4
    assert artifact.sizes.macs > 0


def test_a_finished_onnx_model_is_a_baseline_too() -> None:
    """It is brought into the form that ships, and lowering steps compare with its own outputs."""
    module, context = trained("mlp")
    given = Graph(TARGET.export(module, context.data.train).proto)
    baseline = export_baseline(given, context, TARGET)
    small = compose(steps({"quantize": {"scheme": "static-int8"}}), given, context, TARGET, baseline.sizes)
    assert small.sizes.bytes < baseline.sizes.bytes
    assert small.parity["agreement"] > 0.9


@pytest.mark.parametrize(
    ("config", "stated"),
    [
        ({"scheme": "fp16"}, 0.99),
        ({"scheme": "static-int8"}, 0.9),
        ({"scheme": "weight-int8"}, 0.9),
        ({"scheme": "static-int8", "agreement": 0.97}, 0.97),
    ],
)
def test_a_lossy_file_states_how_far_it_must_agree(config: dict[str, Any], stated: float) -> None:
    """By the scheme, or as the recipe says; the manifest records it beside what was reached."""
    module, context = trained("mlp")
    parity = compose(steps({"quantize": config}), Subject(module), context, TARGET).parity
    assert parity["least_agreement"] == stated <= parity["agreement"]


@pytest.mark.parametrize(("least", "stated"), [({}, 0.99), ({"least": 0.5}, 0.5), ({"least": 0.999}, 0.999)])
def test_what_the_task_says_comes_before_what_a_scheme_usually_keeps(least: dict[str, float], stated: float) -> None:
    """Half precision keeps 0.99 by itself, and whatever `task.least` says where it says something."""
    module, context = trained("mlp")
    judged = replace(context, task=TaskSection(kind="classification", **least))
    recipe = steps({"quantize": {"scheme": "fp16"}})
    assert compose(recipe, Subject(module), judged, TARGET).parity["least_agreement"] == stated


def test_quantizing_that_changes_answers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose classes moved round answers finite numbers of the right shape, and is not the model any more."""
    module, context = trained("mlp")
    real = TECHNIQUES["quantize"].lower

    def moved(config: Any, graph: Graph, context: Context) -> tuple[Any, Any]:
        done, facts = real(config, graph, context)
        for tensor in done.proto.graph.initializer:
            if list(tensor.dims) == [3] and tensor.data_type == onnx.TensorProto.FLOAT:
                values = numpy_helper.to_array(tensor) + np.array([1000, 0, 0], np.float32)
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        return done, facts

    recipe = steps({"quantize": {"scheme": "weight-int8"}})
    compose(recipe, Subject(module), context, TARGET)
    monkeypatch.setitem(TECHNIQUES, "quantize", replace(TECHNIQUES["quantize"], lower=moved))
    with pytest.raises(InvariantError, match=r"steps\[0\].quantize: answers as the model did on .* at least 90% must"):
        compose(recipe, Subject(module), context, TARGET)
    loose = steps({"quantize": {"scheme": "weight-int8", "agreement": 0.1}})
    assert compose(loose, Subject(module), context, TARGET).parity["least_agreement"] == 0.1


def test_the_most_lenient_lossy_step_decides() -> None:
    """Two lossy steps: what the first was allowed to lose is not held against the second."""
    module, context = trained("mlp")
    given = Graph(TARGET.export(module, context.data.train).proto)
    recipe = steps({"share": {"bits": 6, "on": "file", "agreement": 0.6}}, {"quantize": {"scheme": "static-int8"}})
    assert compose(recipe, given, context, TARGET).parity["least_agreement"] == 0.6


def cheat(monkeypatch: pytest.MonkeyPatch, technique: Technique) -> list[Step]:
    """Put a technique into the table, and give a recipe of it alone."""
    monkeypatch.setitem(TECHNIQUES, "cheat", technique)
    return [Step("cheat", Empty(), "params.yaml: recipes.r.steps[0].cheat")]


def refused(monkeypatch: pytest.MonkeyPatch, technique: Technique, *, before: list[Step] = ()) -> str:
    """What a recipe ends with that has this technique as its last step."""
    module, context = build("mlp")
    recipe = [*before, *cheat(monkeypatch, technique)]
    with pytest.raises(InvariantError) as caught:
        compose(recipe, Subject(module), context, TARGET)
    message = str(caught.value)
    assert message.startswith("params.yaml: recipes.r.steps[0].cheat")
    return message


def idle(config: object, state: Subject | Graph, context: object) -> tuple[Subject | Graph, dict[str, float]]:
    """Claim to have pruned, and do nothing."""
    return state, {"sparsity": 0.9}


def test_a_module_step_that_did_nothing_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its facts do not help it."""
    assert "the step changed nothing" in refused(monkeypatch, Technique(Empty, module=idle))


def test_a_lowering_step_that_did_nothing_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is the same to the byte."""
    assert "the step changed nothing" in refused(monkeypatch, Technique(Empty, lower=idle))


def test_a_step_that_makes_the_file_larger_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes must fall."""

    def bloat(config: object, graph: Graph, context: object) -> tuple[Graph, dict[str, Any]]:
        graph.proto.graph.initializer.append(numpy_helper.from_array(np.ones(500, np.float32), "ballast"))
        graph.proto.graph.node.add(op_type="Identity", input=["ballast"], output=["b"])
        return Graph(graph.proto, graph.notes), {}

    assert "bytes did not fall" in refused(monkeypatch, Technique(Empty, lower=bloat))


def test_a_step_that_does_not_lower_what_it_must_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise is a change, but no fewer MACs."""

    def noise(config: object, subject: Subject, context: object) -> tuple[Subject, dict[str, Any]]:
        with torch.no_grad():
            subject.module.more.weight.mul_(1.1)
        return subject, {}

    technique = Technique(Empty, module=noise, falls=lambda _: ("macs",))
    assert "macs did not fall" in refused(monkeypatch, technique)


def test_a_step_that_undoes_a_mask_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pruned weights that came back, and a mask that was dropped."""

    def regrow(config: object, subject: Subject, context: object) -> tuple[Subject, dict[str, Any]]:
        with torch.no_grad():
            subject.module.more.weight.add_(0.01)
        return subject, {}

    def forget(config: object, subject: Subject, context: object) -> tuple[Subject, dict[str, Any]]:
        with torch.no_grad():
            subject.module.more.bias.add_(0.01)
        return Subject(subject.module), {}

    before = steps({"prune": {"sparsity": 0.5}})
    assert "broke the prune mask of more.weight" in refused(monkeypatch, Technique(Empty, module=regrow), before=before)
    assert "lost the prune mask of" in refused(monkeypatch, Technique(Empty, module=forget), before=before)


def test_a_step_that_gives_nan_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the weights of a module."""

    def poison(config: object, subject: Subject, context: object) -> tuple[Subject, dict[str, Any]]:
        with torch.no_grad():
            subject.module.more.weight[0, 0] = float("nan")
        return subject, {}

    assert "more.weight holds NaN" in refused(monkeypatch, Technique(Empty, module=poison))


def rewrite(change: Any) -> Callable[..., Any]:
    """A lowering that changes the largest weight of a file and stores it in half the bytes, so that bytes fall."""

    def lower(config: object, graph: Graph, context: object) -> tuple[Graph, dict[str, Any]]:
        proto = copy.deepcopy(graph.proto)
        tensor = max(proto.graph.initializer, key=lambda item: len(item.raw_data))
        values = change(numpy_helper.to_array(tensor).copy()).astype(np.float16)
        cast = proto.graph.node.add(op_type="Cast", input=["half"], output=[tensor.name])
        cast.attribute.add(name="to", i=1, type=2)
        proto.graph.node.insert(0, cast)
        del proto.graph.node[-1]
        tensor.CopyFrom(numpy_helper.from_array(values, "half"))
        return Graph(proto, graph.notes), {}

    return lower


def test_a_file_with_other_answers_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lossy or exact: NaN, other classes, and for exact lowerings any difference beyond the tolerance."""
    nan = Technique(Empty, lower=rewrite(lambda values: values * np.nan))
    assert "NaN or infinite" in refused(monkeypatch, nan)
    negated = Technique(Empty, lower=rewrite(lambda values: -3 * values[:, ::-1]))
    assert "differs from the module" in refused(monkeypatch, Technique(Empty, lower=negated.lower, exact=True))


def test_a_file_without_its_zeros_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The final file is decoded and searched for what the module had, after every lowering."""
    module, context = build("mlp")
    regrown = Technique(Empty, lower=rewrite(lambda values: values + (values == 0) * np.float32(1e-3)))
    recipe = [*steps({"prune": {"sparsity": 0.6}}), *cheat(monkeypatch, regrown)]
    with pytest.raises(InvariantError, match="zeros of 576"):
        compose(recipe, Subject(module), context, TARGET)


def test_errors_of_a_technique_say_where_in_params_they_arose() -> None:
    """A pattern that matches nothing names the key in the file, and a suggestion."""
    module, context = build("mlp")
    with pytest.raises(InputError) as caught:
        compose(steps({"prune": {"sparsity": 0.5, "keep": ["clases"]}}), Subject(module), context, TARGET)
    assert str(caught.value) == (
        "params.yaml: recipes.r.steps[0].prune.keep: 'clases' matches no layer (did you mean 'classes'?)"
    )


def test_the_module_is_exported_once_after_its_last_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports cost seconds: a recipe of one module step and one lowering step needs a single one."""
    module, context = build("mlp")
    exports = []
    counted = replace(TARGET, export=lambda *given: exports.append(1) or TARGET.export(*given))
    baseline = sizes_of(TARGET.export(module, context.data.train).proto, b"x" * 10_000)
    recipe = steps({"prune": {"method": "structured", "ratio": 0.5}}, {"quantize": {"scheme": "static-int8"}})
    compose(recipe, Subject(module), context, counted, baseline)
    assert len(exports) == 1


def test_compressed_sizes_of_a_large_file_are_taken_where_a_step_must_lower_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Magnitude pruning has to lower what zstd gives; half precision lowers the file itself."""
    monkeypatch.setattr(compressed, "UNASKED", 0)
    module, context = build("mlp")
    baseline = export_baseline(Subject(module), context, TARGET).sizes
    assert (baseline.gzip, baseline.zstd) == (None, None)
    recipe = {"prune": {"sparsity": 0.5}}, {"quantize": {"scheme": "fp16"}}
    pruned = compose(steps(*recipe), Subject(copy.deepcopy(module)), context, TARGET, baseline)
    assert [record.sizes.zstd is None for record in pruned.steps] == [False, False]
    assert pruned.sizes.gzip is None
    half = compose(steps(recipe[1]), Subject(module), context, TARGET, baseline)
    assert (half.sizes.gzip, half.sizes.zstd) == (None, None)


def test_a_mask_is_a_constraint_that_codebooks_keep() -> None:
    """Prune, then share: zeros are a value of their own."""
    module, context = trained("mlp")
    subject = Subject(module)
    artifact = compose(steps({"prune": {"sparsity": 0.5}}, {"share": {"bits": 2}}), subject, context, TARGET)
    assert artifact.parity["shared"] == 3
    assert artifact.parity["zeros"] >= round(0.5 * (16 * 24 + 24 * 24 + 24 * 3))
    assert any(isinstance(item, Mask) for item in subject.constraints) or artifact.steps[0].facts["sparsity"] >= 0.5


def test_what_one_lowering_step_shared_the_next_must_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sharing on the file is claimed like sharing on the module: noise after it is caught."""
    module, context = build("mlp")

    def jitter(values: Any) -> Any:
        return values + np.linspace(0, 1e-2, values.size, dtype=np.float32).reshape(values.shape)

    given = Graph(TARGET.export(module, context.data.train).proto)
    shared = steps({"share": {"bits": 2, "on": "file", "agreement": 0.5}})
    assert compose(shared, given, context, TARGET).parity["agreement"] >= 0.5
    recipe = [*shared, *cheat(monkeypatch, Technique(Empty, lower=rewrite(jitter)))]
    with pytest.raises(InvariantError, match="4 distinct values; the file has"):
        compose(recipe, given, context, TARGET)


def test_what_a_library_raises_is_one_error_with_the_step() -> None:
    """Reason, place and a way out; a defect of our own stays a defect."""
    step = Step("prune", StepConfig(), "params.yaml: recipes.slim.steps[0].prune")
    with pytest.raises(InvariantError, match="torch cannot take the model: ") as caught, placed(step):
        torch.nn.Linear(2, 3)(torch.ones(4, 5))
    assert caught.value.where == step.where
    assert "keep" in str(caught.value)
    with pytest.raises(InvariantError, match="onnxruntime cannot take the model"), placed(step):
        onnxruntime.InferenceSession(b"no model")
    with pytest.raises(KeyError), placed(step):
        fields_of_nothing()


def fields_of_nothing() -> None:
    """As a defect in this program would raise; the module's name decides whose it is."""
    scope = {"__name__": "weighbridge.compress.example"}
    exec("{}['missing']", scope)  # a frame of a module of ours
