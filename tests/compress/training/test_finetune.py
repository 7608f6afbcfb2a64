"""A teacher in fine-tuning: what is trained, the control beside the recipe, lineage, and every refusal."""

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tests.compress.nets import MLP, build
from weighbridge.compress.export.onnxruntime import ONNXRUNTIME
from weighbridge.compress.recipe import control as control_module
from weighbridge.compress.recipe.compose import compose
from weighbridge.compress.recipe.explain import explain_steps
from weighbridge.compress.recipe.recipe import TECHNIQUES, read_steps
from weighbridge.compress.recipe.recipe_run import BuiltArtifact
from weighbridge.compress.steps import Context, Subject
from weighbridge.compress.techniques.prune import PruneConfig
from weighbridge.compress.training.finetune import finetune, untaught
from weighbridge.compress.training.loop import fit
from weighbridge.compress.training.module_quality import evaluate, quality
from weighbridge.compress.training.settings import Finetune, Teaching
from weighbridge.compress.training.splits import holdout
from weighbridge.core.documents import RecipeSection
from weighbridge.core.errors import InputError, InvariantError

if TYPE_CHECKING:
    from weighbridge.data import Split

TAUGHT = {"epochs": 2, "distill": {"temperature": 3, "weight": 0.7, "validation": 0.2}}
UNTAUGHT = {"epochs": 2}


def trained(epochs: int = 6) -> tuple[torch.nn.Module, Context]:
    """A trained MLP as baseline and teacher, with its context."""
    module, context = build("mlp")
    fit(module, context.data.train, context.train.model_copy(update={"epochs": epochs}), seed=1)
    answering = replace(context, teacher=lambda _: (copy.deepcopy(module).eval(), "sha256:" + "0" * 64))
    return module, answering


def run(items: list[Any], module: torch.nn.Module, context: Context) -> BuiltArtifact:
    """The recipe of these items, run on a copy of the module."""
    steps = read_steps(RecipeSection(steps=items), "params.yaml: recipes.x")
    return compose(steps, Subject(copy.deepcopy(module)), context, ONNXRUNTIME)


def halves(context: Context) -> "tuple[Split, Split]":
    """What a recipe with these teachers trains on, and what it holds out."""
    return holdout(context.data.train, 0.2, context.seed)


@pytest.mark.parametrize(
    ("item", "stage"),
    [
        ({"prune": {"sparsity": 0.5, "finetune": TAUGHT}}, "prune"),
        ({"prune": {"sparsity": 0.5, "schedule": "cubic", "finetune": TAUGHT}}, "prune"),
        ({"prune": {"method": "structured", "ratio": 0.5, "round_to": 4, "finetune": TAUGHT}}, "prune"),
        ({"share": {"bits": 2, "finetune": TAUGHT}}, "share"),
        ({"factorize": {"ratio": 0.3, "finetune": TAUGHT}}, "factorize"),
        ({"quantize": {"scheme": "qat-int8", "finetune": TAUGHT}}, "quantization-aware training"),
    ],
)
def test_every_step_that_trains_takes_a_teacher(item: dict[str, dict[str, Any]], stage: str) -> None:
    """The teacher changes what is trained; its digest, the control and the held-out part are in the facts."""
    module, context = trained()
    stages = []
    context = replace(context, progress=lambda name, *_: stages.append(name))
    (name,) = item
    untaught = {name: {**item[name], "finetune": UNTAUGHT}}
    taught, untaught_artifact = run([item], module, context), run([untaught], module, context)
    facts = taught.steps[0].facts
    assert taught.data != untaught_artifact.data
    assert facts["teacher"] == "sha256:" + "0" * 64
    assert set(facts["validation"]) == {"teacher", "student", "control", "examples"}
    assert facts["validation"]["examples"] == 19
    assert facts["metric"] == "top1"
    assert "validation" not in untaught_artifact.steps[0].facts
    assert {stage, f"{stage} control"} <= set(stages)


def test_the_control_is_the_recipe_without_its_teachers() -> None:
    """Two taught steps have one control: both steps, from the same start, on the same part, without a teacher."""
    module, context = trained()
    items = [
        {"prune": {"sparsity": 0.5, "finetune": TAUGHT}},
        {"share": {"bits": 3, "finetune": TAUGHT}},
    ]
    facts = run(items, module, context).steps[1].facts
    part, held = halves(context)
    only_part = replace(context, data=replace(context.data, train=part))
    subject = Subject(copy.deepcopy(module))
    steps = read_steps(RecipeSection(steps=items), "x")
    for step in steps:
        subject, _ = TECHNIQUES[step.name].module(untaught(step.config), subject, only_part)
    expected = quality(evaluate(subject.module, held), held.labels)
    assert facts["validation"]["control"] == expected
    assert facts["validation"]["teacher"] == quality(evaluate(module, held), held.labels)


def test_what_ships_never_saw_the_part_held_out() -> None:
    """A step without a teacher, in a recipe that has one, leaves the part out too."""
    module, context = trained()
    seen = []
    real = control_module.controlled

    def noting(taught: Teaching, given: Context) -> control_module.Control:
        found = real(taught, given)
        seen.append((found.context.data.train, found.validation))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("weighbridge.compress.recipe.compose.controlled", noting)
        artifact = run(
            [{"prune": {"sparsity": 0.5, "finetune": TAUGHT}}, {"share": {"bits": 3, "finetune": UNTAUGHT}}],
            module,
            context,
        )
    ((part, held),) = seen
    assert len(part) + len(held) == len(context.data.train)
    rows = {row.tobytes() for row in held.inputs["features"]}
    assert not any(row.tobytes() in rows for row in part.inputs["features"])
    assert artifact.steps[1].facts["validation"]["examples"] == len(held)


def test_a_wrong_teacher_shows_beside_the_control() -> None:
    """A teacher that is wrong on everything makes a student that is worse than its control, and the facts say so."""
    module, context = trained(12)
    wrong = copy.deepcopy(module)
    with torch.no_grad():
        wrong.classes.weight.copy_(-20 * wrong.classes.weight)
    misled = replace(context, teacher=lambda _: (wrong, "sha256:" + "1" * 64))
    tuned = {"epochs": 30, "distill": {"weight": 1.0, "temperature": 1, "validation": 0.3}}
    facts = run([{"prune": {"sparsity": 0.3, "finetune": tuned}}], module, misled).steps[0].facts
    assert facts["validation"]["student"] < facts["validation"]["control"]


def test_finetuning_with_a_teacher_is_fit_with_its_loss() -> None:
    """The loss of the student falls towards the teacher's answers, and the history names the teacher."""
    module, context = trained()
    student = MLP()
    config = Finetune(epochs=30, distill={"weight": 1.0, "temperature": 2})
    history = finetune(student, config, context, constraints=(), stage="test")
    assert history.teacher == "sha256:" + "0" * 64
    assert history.losses[-1] < history.losses[0] / 3
    agreed = evaluate(student, context.data.train).argmax(1) == evaluate(module, context.data.train).argmax(1)
    assert agreed.mean() > 0.9


def test_masks_and_codebooks_survive_a_teacher() -> None:
    """The claims of the file are those of a taught recipe: zeros and shared values as asked."""
    module, context = trained()
    items = [
        {"prune": {"sparsity": 0.6, "finetune": TAUGHT}},
        {"share": {"bits": 2, "finetune": TAUGHT}},
        {"pack": {}},
    ]
    artifact = run(items, module, context)
    weights = sum(item["weights"] for item in artifact.steps[1].facts["tensors"].values())
    assert artifact.parity["zeros"] >= round(0.6 * weights)
    assert artifact.parity["shared"] == 3


def test_the_same_recipe_gives_the_same_bytes() -> None:
    """Student and control take nothing from each other: two runs agree, and so does one without a control."""
    module, context = trained()
    items = [{"prune": {"sparsity": 0.5, "finetune": TAUGHT}}]
    first, second = run(items, module, context), run(items, module, context)
    assert first.data == second.data
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(control_module.Control, "follow", lambda *_: None)
        assert run(items, module, context).data == first.data


def test_a_control_that_diverges_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the control, since the student's own training may be sound."""
    module, context = trained()

    def diverges(config: Any, *_: object) -> NoReturn:
        assert config.finetune.distill is None, "the control goes first"
        raise InvariantError("training diverged: the loss is nan at epoch 1, step 2 of 4", where="prune")

    monkeypatch.setitem(TECHNIQUES, "prune", replace(TECHNIQUES["prune"], module=diverges))
    with pytest.raises(InvariantError, match=r"recipes.x.steps\[0\].prune.*in the control without a teacher"):
        run([{"prune": {"sparsity": 0.5, "finetune": TAUGHT}}], module, context)


def test_distill_after_a_taught_step_trains_only_the_control() -> None:
    """In the control, the step `distill` is training without a teacher as well."""
    module, context = trained()
    items = [
        {"prune": {"sparsity": 0.5, "finetune": TAUGHT}},
        {"distill": {"finetune": {"epochs": 1}, "weight": 0.9}},
    ]
    facts = run(items, module, context).steps[1].facts
    assert set(facts["validation"]) == {"teacher", "student", "control", "examples"}
    assert facts["validation"]["examples"] == 19


def test_explain_trains_with_no_teacher() -> None:
    """Explaining asks for no teacher: there may be none yet."""
    module, context = trained()

    def missing(_: object) -> NoReturn:
        raise InputError("asked for")

    steps = read_steps(
        RecipeSection(
            steps=[
                {"prune": {"sparsity": 0.5, "schedule": "cubic", "finetune": TAUGHT}},
                {"quantize": {"scheme": "qat-int8", "finetune": TAUGHT}},
            ]
        ),
        "x",
    )
    rows = explain_steps(steps, Subject(module), replace(context, teacher=missing), ONNXRUNTIME)
    assert rows[-1]["layer"] == "(file)"


def refusal(items: list[dict[str, dict[str, Any]]]) -> str:
    """The error of a recipe, read."""
    with pytest.raises(InputError) as caught:
        read_steps(RecipeSection(steps=items), "params.yaml: recipes.x")
    return str(caught.value)


def test_a_recipe_has_one_teacher() -> None:
    """An artifact's lineage names one teacher; two are refused with file and key."""
    other = {"epochs": 1, "distill": {"teacher": "sha256:" + "2" * 64, "validation": 0.2}}
    text = refusal(
        [{"prune": {"sparsity": 0.5, "finetune": TAUGHT}}, {"share": {"bits": 3, "finetune": other}}],
    )
    assert "recipes.x.steps[1].share.finetune.distill.teacher: is sha256:2222" in text
    assert "an earlier step has baseline" in text
    distilled = {"distill": {"teacher": "sha256:" + "2" * 64, "finetune": UNTAUGHT}}
    text = refusal([{"prune": {"sparsity": 0.5, "finetune": TAUGHT}}, distilled])
    assert "recipes.x.steps[1].distill.teacher: is sha256:2222" in text
    assert "steps[1].prune.finetune.distill.teacher: is baseline" in refusal(
        [distilled, {"prune": {"sparsity": 0.5, "finetune": TAUGHT}}]
    )


def test_a_recipe_holds_out_one_part() -> None:
    """A later step with a smaller part would train on what an earlier one held out."""
    other = {"epochs": 1, "distill": {"validation": 0.1}}
    text = refusal(
        [{"prune": {"sparsity": 0.5, "finetune": TAUGHT}}, {"share": {"bits": 3, "finetune": other}}],
    )
    assert "steps[1].share.finetune.distill.validation: is 0.1, but an earlier step has 0.2" in text


def test_max_drop_takes_no_teacher() -> None:
    """A recipe that stops by itself has no control that is the same model."""
    with pytest.raises(ValidationError, match="another model"):
        PruneConfig(sparsity=0.9, max_drop=0.1, finetune=Finetune(distill={}))


@pytest.mark.parametrize(
    "bad", [{"weight": 0}, {"weight": 1.5}, {"temperature": 0}, {"teacher": "v7"}, {"validation": 1}, {"heat": 3}]
)
def test_bad_teachings_are_refused(bad: dict[str, Any]) -> None:
    """Out of range, unknown, or a teacher that is no digest: one error that names the key."""
    assert "finetune.distill" in refusal([{"prune": {"sparsity": 0.5, "finetune": {"distill": bad}}}])


def test_distill_has_its_own_teacher() -> None:
    """The step `distill` with a second teacher in its fine-tuning is refused."""
    assert "has its teacher already" in refusal([{"distill": {"finetune": {"distill": {}}}}])


def test_a_teacher_of_another_shape_is_refused() -> None:
    """A teacher with four classes for a student of three: one error that names the step."""
    module, context = trained()
    four = MLP()
    four.classes = torch.nn.Linear(24, 4)
    wrong = replace(context, teacher=lambda _: (four, "sha256:" + "1" * 64))
    with pytest.raises(InputError, match=r"steps\[0\].prune.*outputs of shape \(4,\)"):
        run([{"prune": {"sparsity": 0.5, "finetune": TAUGHT}}], module, wrong)


def test_too_few_examples_to_hold_any_out() -> None:
    """A part of train that would be empty is one error."""
    module, context = trained()
    few = replace(context, data=replace(context.data, train=context.data.train.take(np.arange(3))))
    with pytest.raises(InputError, match="leaves a part empty"):
        run([{"prune": {"sparsity": 0.5, "finetune": {"distill": {"validation": 0.1}}}}], module, few)
