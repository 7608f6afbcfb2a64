"""Distilling: the loss, hints, the control beside the student, composition with masks, and every refusal."""

import copy
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from tests.compress.nets import KINDS, MLP, Residual, build, context, features, images
from tests.compress.techniques.test_share import pruned
from weighbridge.compress.steps import Context, Step, Subject
from weighbridge.compress.techniques.distill import DistillConfig, distill, distillation_loss, explain, refuses
from weighbridge.compress.techniques.distill.hints import hinted
from weighbridge.compress.techniques.share import ShareConfig, share
from weighbridge.compress.training.loop import fit
from weighbridge.compress.training.module_quality import evaluate
from weighbridge.compress.training.objective import batch
from weighbridge.compress.training.settings import Finetune
from weighbridge.core.errors import InputError, InvariantError


def small_mlp() -> MLP:
    """A narrow student."""
    return MLP(8)


def four_classes() -> MLP:
    """A student that answers another question."""
    net = MLP(8)
    net.classes = nn.Linear(8, 4)
    return net


def broken() -> NoReturn:
    """A factory that fails."""
    raise RuntimeError("no weights today")


class NarrowResidual(Residual):
    """A residual student of half the width."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(1, 4, 3, padding=1, bias=False, stride=2), nn.BatchNorm2d(4)
        self.one, self.one_norm = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.two = nn.Conv2d(4, 4, 3, padding=1)
        self.classes = nn.Linear(4, 3)


HERE = "tests.compress.techniques.test_distill"
SMALL = f"{HERE}:small_mlp"


def trained(kind: str = "mlp", epochs: int = 6) -> tuple[nn.Module, Context]:
    """A trained net as baseline and teacher, with its context."""
    module, surroundings = build(kind)
    fit(module, surroundings.data.train, surroundings.train.model_copy(update={"epochs": epochs}), seed=1)
    return module, surroundings


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_net(kind: str) -> None:
    """The model as it is learns from its baseline; student and control are both reported."""
    module, surroundings = build(kind)
    subject, facts = distill(DistillConfig(finetune=Finetune(epochs=1)), Subject(copy.deepcopy(module)), surroundings)
    assert set(facts["validation"]) == {"teacher", "student", "control", "examples"}
    assert facts["teacher"] == "sha256:" + "0" * 64
    assert facts["validation"]["examples"] == 10
    assert len(facts["losses"]["student"]) == len(facts["losses"]["control"]) == 1
    assert type(subject.module) is type(module)


def test_student_factory_learns() -> None:
    """A narrow student from a factory reaches its teacher's accuracy on separable clouds."""
    module, surroundings = trained()
    config = DistillConfig(student=SMALL, finetune=Finetune(epochs=15), keep="student")
    subject, facts = distill(config, Subject(module), surroundings)
    assert subject.module.hidden.out_features == 8
    assert facts["params"] == sum(p.numel() for p in subject.module.parameters())
    assert facts["validation"]["student"] >= 0.9
    assert facts["kept"] == "student"


def test_loss_is_hintons() -> None:
    """The loss equals the formula: task and T²-scaled divergence, mixed by the weight."""
    module, surroundings = trained()
    data, settings = surroundings.data.train, surroundings.train
    student = small_mlp().eval()
    chosen = torch.arange(20)
    inputs, labels = batch(data, chosen.numpy())
    loss = distillation_loss(module, data, settings, temperature=3.0, weight=0.25)
    logits, answers = student(inputs["features"]), module(inputs["features"])
    p, q = torch.softmax(answers / 3, 1), torch.softmax(logits / 3, 1)
    expected = 0.75 * nn.functional.cross_entropy(logits, labels) + 0.25 * 9 * (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(loss(student, inputs, labels, chosen), expected)


def test_soft_gradients_do_not_shrink_with_temperature() -> None:
    """T² keeps the size of the soft targets' gradients when the temperature rises."""
    module, surroundings = trained()
    data = surroundings.data.train
    norms = []
    for temperature in (10.0, 20.0):
        student = MLP(8)
        torch.manual_seed(0)
        for parameter in student.parameters():
            nn.init.normal_(parameter, std=0.2)
        loss = distillation_loss(module, data, surroundings.train, temperature=temperature, weight=1.0)
        inputs, labels = batch(data, np.arange(32))
        loss(student, inputs, labels, torch.arange(32)).backward()
        norms.append(float(student.classes.weight.grad.norm()))
    assert norms[1] == pytest.approx(norms[0], rel=0.3)


def test_control_is_training_without_a_teacher() -> None:
    """The control equals the same student trained by the plain loop on the same part of train."""
    from weighbridge.compress.training.splits import holdout

    module, surroundings = trained()
    student = copy.deepcopy(module)
    config = DistillConfig(weight=0.0, finetune=Finetune(epochs=2))
    _, facts = distill(config, Subject(module), surroundings)
    train, _ = holdout(surroundings.data.train, 0.1, surroundings.seed)
    history = fit(student, train, surroundings.train.model_copy(update={"epochs": 2}), seed=surroundings.seed)
    assert facts["losses"]["control"] == list(history.losses)
    # With a weight of 0 the student is its own control, which shows that nothing else differs between them.
    assert facts["losses"]["student"] == pytest.approx(facts["losses"]["control"], rel=1e-6)


def confused(surroundings: Context, module: nn.Module) -> Context:
    """The surroundings with a teacher that is wrong on everything."""
    wrong = copy.deepcopy(module)
    with torch.no_grad():
        wrong.classes.weight.copy_(-20 * wrong.classes.weight)
    return replace(surroundings, teacher=lambda _: (wrong, "sha256:" + "1" * 64))


@pytest.mark.parametrize(("keep", "kept"), [("best", "control"), ("student", "student")])
def test_what_is_kept(keep: str, kept: str) -> None:
    """With a teacher that is wrong on everything the control wins, unless the student is asked for."""
    module, surroundings = trained()
    config = DistillConfig(student=SMALL, weight=1.0, keep=keep, finetune=Finetune(epochs=8))
    subject, facts = distill(config, Subject(module), confused(surroundings, module))
    assert facts["kept"] == kept
    assert facts["validation"]["control"] > facts["validation"]["student"]
    found = evaluate(subject.module, surroundings.data.train).argmax(1)
    assert bool((found == surroundings.data.train.labels).mean() > 0.5) is (kept == "control")


def test_masks_and_codebooks_survive() -> None:
    """A pruned and shared student keeps its zeros and its values, with hints too."""
    subject, surroundings = pruned("residual")
    shared, _ = share(ShareConfig(bits=3), subject, surroundings)
    config = DistillConfig(finetune=Finetune(epochs=1), hints=[{"student": "one", "teacher": "one"}], keep="student")
    found, _ = distill(config, shared, surroundings)
    assert not torch.equal(found.module.one.weight, shared.module.one.weight)
    assert len(found.constraints) > 5
    assert all(item.violation(found.module) is None for item in found.constraints)


def test_hints_pull_features_together() -> None:
    """Training on hints brings the regressed features nearer to the teacher's, at another width and resolution."""
    module, surroundings = trained("residual")
    torch.manual_seed(0)
    student = NarrowResidual()
    inputs, _ = batch(surroundings.data.train, slice(0, 32))
    pair = hinted(student, module, DistillConfig(hints=[{"student": "two", "teacher": "two"}]).hints, inputs)

    def zero(*_: object) -> torch.Tensor:
        student(inputs["image"])
        return torch.zeros((), requires_grad=True)

    loss = pair.with_hints(zero)
    history = fit(pair, surroundings.data.train.take(slice(0, 32)), surroundings.train, seed=0, loss=loss)
    assert history.losses[-1] < history.losses[0]
    config = DistillConfig(
        student=f"{HERE}:NarrowResidual", hints=[{"student": "two", "teacher": "two", "weight": 0.1}], keep="student"
    )
    found, facts = distill(config, Subject(module), surroundings)
    assert isinstance(found.module, NarrowResidual)
    assert not any("regressor" in name for name, _ in found.module.named_parameters())
    assert facts["losses"]["student"][-1] < facts["losses"]["student"][0]


def test_hints_on_sequences_and_vectors() -> None:
    """Features of recurrent layers and of linear ones can be hinted too."""
    module, surroundings = build("recurrent")
    hints = [{"student": "lstm", "teacher": "lstm"}, {"student": "classes", "teacher": "classes"}]
    _, facts = distill(
        DistillConfig(hints=hints, finetune=Finetune(epochs=1)), Subject(copy.deepcopy(module)), surroundings
    )
    assert np.isfinite(facts["losses"]["student"]).all()


@pytest.mark.parametrize(
    ("hint", "message"),
    [
        ({"student": "onee", "teacher": "one"}, r"hints\[0\]\.student: 'onee' matches no layer \(did you mean 'one'"),
        ({"student": "one", "teacher": "on*"}, r"hints\[0\]\.teacher: 'on\*' is a pattern"),
        ({"student": "one", "teacher": "classes"}, r"features of 'one' are \(8, 8, 8\) per example, .*\(3,\)"),
    ],
)
def test_hints_that_do_not_fit(hint: dict[str, str], message: str) -> None:
    """Layers that are missing, patterns, and features that cannot be compared are named."""
    module, surroundings = build("residual")
    with pytest.raises(InputError, match=message):
        distill(DistillConfig(hints=[hint]), Subject(module), surroundings)


def test_hint_on_a_layer_that_is_never_called() -> None:
    """A layer whose owner reads its weights directly has no features."""
    module, surroundings = build("transformer")
    name = "encoder.layers.0.self_attn.out_proj"
    with pytest.raises(InputError, match="is never called as a layer"):
        distill(DistillConfig(hints=[{"student": name, "teacher": name}]), Subject(module), surroundings)


def test_teacher_of_other_classes() -> None:
    """A teacher whose outputs differ in shape is one clear error."""
    module, surroundings = trained()
    surroundings = replace(surroundings, teacher=lambda _: (four_classes().eval(), "sha256:" + "2" * 64))
    with pytest.raises(InputError, match=r"distill: teacher: .* shape \(4,\) per example, the student \(3,\)"):
        distill(DistillConfig(), Subject(module), surroundings)


def test_teacher_that_gives_no_numbers() -> None:
    """A teacher that answers NaN is refused before the student trains."""
    module, surroundings = trained()
    wrong = copy.deepcopy(module)
    with torch.no_grad():
        wrong.classes.bias[0] = float("nan")
    surroundings = replace(surroundings, teacher=lambda _: (wrong, "sha256:" + "2" * 64))
    with pytest.raises(InvariantError, match="teacher's outputs contain NaN or infinite values"):
        distill(DistillConfig(), Subject(module), surroundings)


def test_unknown_teacher_and_broken_student() -> None:
    """A version that is not registered and a factory that fails are errors with their names."""
    module, surroundings = trained()
    with pytest.raises(InputError, match="there is no version sha256:3333"):
        distill(DistillConfig(teacher="sha256:" + "3" * 64), Subject(module), surroundings)
    with pytest.raises(InputError, match=r"distill: student: .*broken failed.*no weights today"):
        distill(DistillConfig(student=f"{HERE}:broken"), Subject(module), surroundings)
    with pytest.raises(InputError, match="distill: student: forward fails on the data"):
        distill(DistillConfig(student=f"{HERE}:NarrowResidual"), Subject(module), surroundings)


def test_student_of_its_own_must_come_first() -> None:
    """A student factory after another step would undo that step, and the recipe is refused."""
    before = [Step("prune", DistillConfig(), "here")]
    assert "undoes prune" in refuses(DistillConfig(student=SMALL), before)
    assert refuses(DistillConfig(), before) is None
    assert refuses(DistillConfig(student=SMALL), []) is None


def test_diverging_training() -> None:
    """A student that diverges is named with stage and epoch."""
    module, surroundings = trained()
    student = copy.deepcopy(module)
    with torch.no_grad():
        student.hidden.weight.mul_(1e30)
        student.more.weight.mul_(1e30)
    with pytest.raises(InvariantError, match=r"distill student: training diverged: .* epoch 1, step 1"):
        distill(DistillConfig(), Subject(student), surroundings)


def test_regression_distils_too() -> None:
    """With a squared-error task the teacher's output is the second target."""
    data = features()
    regression = replace(data, labels=np.eye(3, dtype=np.float32)[data.labels])
    torch.manual_seed(0)
    module = MLP().eval()
    surroundings = context(module, regression, loss="mse")
    _, facts = distill(DistillConfig(finetune=Finetune(epochs=2)), Subject(copy.deepcopy(module)), surroundings)
    assert facts["metric"] == "negative mean squared error"
    assert facts["losses"]["student"][-1] < facts["losses"]["student"][0]


@pytest.mark.parametrize(
    "values",
    [{"temperature": 0}, {"weight": 1.5}, {"teacher": "v3"}, {"validation": 1.0}, {"student": "x"}, {"alpha": 0.5}],
)
def test_config_out_of_range(values: dict[str, Any]) -> None:
    """Temperatures, weights and references that make no sense are refused."""
    with pytest.raises(ValidationError):
        DistillConfig(**values)


def test_explain_rows() -> None:
    """The table pairs the layers of model and student by position."""
    module, surroundings = trained()
    rows = explain(DistillConfig(student=SMALL), Subject(module), surroundings)
    assert [(row["layer"], row["params"], row["params after"]) for row in rows] == [
        ("hidden", 24 * 17, 8 * 17),
        ("more", 24 * 25, 8 * 9),
        ("classes", 3 * 25, 3 * 9),
    ]
    torch.manual_seed(0)
    other = Residual().eval()
    rows = explain(DistillConfig(student=SMALL), Subject(module), context(module, features()))
    assert rows[0]["shape"] == "8x16"
    images_context = context(other, images())
    rows = explain(DistillConfig(student=f"{HERE}:NarrowResidual"), Subject(other), images_context)
    assert rows[0]["macs"] == 8 * 9 * 64
    assert rows[0]["macs after"] == 4 * 9 * 16
