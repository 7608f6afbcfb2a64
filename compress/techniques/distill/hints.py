"""Hints: features of a teacher's layers that a student's layers should resemble (FitNets, arXiv:1412.6550)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from weighbridge.compress.graph.forward import outputs
from weighbridge.compress.graph.layers import matching
from weighbridge.compress.steps import Constraint
from weighbridge.compress.training.losses import Loss
from weighbridge.core.documents import Written
from weighbridge.core.errors import InputError


class Hint(Written):
    """One pair of layers. A regressor from the student's channels to the teacher's is trained and thrown away."""

    student: str
    """Name of the student's layer."""
    teacher: str
    """Name of the teacher's layer."""
    weight: float = Field(default=1.0, gt=0, le=1000)
    """Factor of the mean squared distance between the features, in the loss."""


@dataclass(frozen=True)
class _Inside:
    """A constraint on the student, for a module that holds the student and the regressors."""

    inner: Constraint

    @property
    def name(self) -> str:
        return self.inner.name

    def before_step(self, module: nn.Module) -> None:
        self.inner.before_step(module.get_submodule("student"))

    def project(self, module: nn.Module) -> None:
        self.inner.project(module.get_submodule("student"))

    def violation(self, module: nn.Module) -> str | None:
        return self.inner.violation(module.get_submodule("student"))


class Hinted(nn.Module):
    """A student with one regressor a hint; what is trained while there are hints."""

    def __init__(self, student: nn.Module, regressors: Sequence[nn.Module], watch: _Watch) -> None:
        super().__init__()
        self.student = student
        self.regressors = nn.ModuleList(regressors)
        self._watch = watch

    def forward(self, *given: Tensor, **named: Tensor) -> Any:
        """The student's own outputs."""
        return self.student(*given, **named)

    def inside(self, constraints: Sequence[Constraint]) -> list[Constraint]:
        """Constraints on the student as constraints on this module."""
        return [_Inside(constraint) for constraint in constraints]

    def with_hints(self, loss: Loss) -> Loss:
        """`loss` of the student plus the weighted distances of all hints."""

        def hinted_loss(_: nn.Module, inputs: dict[str, Tensor], labels: Tensor, chosen: Tensor) -> Tensor:
            with self._watch.students():
                total = loss(self.student, inputs, labels, chosen)
            return total + self._watch.distance(self.regressors, inputs)

        return hinted_loss


class _Features:
    """The outputs of some layers of a module during one forward pass."""

    def __init__(self, module: nn.Module, names: Sequence[str]) -> None:
        self.module = module
        self.names = names
        self.seen: dict[str, Tensor] = {}
        self._handles: list[Any] = []

    def __enter__(self) -> Self:
        self.seen.clear()
        for name in self.names:

            def keep(_: nn.Module, __: Any, found: Any, name: str = name) -> None:
                self.seen[name] = found[0] if isinstance(found, tuple | list) else found

            self._handles.append(self.module.get_submodule(name).register_forward_hook(keep))
        return self

    def __exit__(self, *_: object) -> None:
        while self._handles:
            self._handles.pop().remove()


class _Watch:
    """Features of both sides of each hint."""

    def __init__(self, student: nn.Module, teacher: nn.Module, hints: Sequence[Hint]) -> None:
        self.hints = hints
        self._student = _Features(student, [hint.student for hint in hints])
        self._teacher = _Features(teacher, [hint.teacher for hint in hints])

    def students(self) -> _Features:
        """Watch the student's layers while the context is open."""
        return self._student

    def pairs(self, inputs: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
        """The student's features of the pass just watched and the teacher's on the same inputs."""
        with self._teacher, torch.no_grad():
            outputs(self._teacher.module.to(next(iter(inputs.values())).device), inputs)
        return [(self._student.seen[hint.student], self._teacher.seen[hint.teacher]) for hint in self.hints]

    def distance(self, regressors: nn.ModuleList, inputs: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of mean squared distances, student's features regressed and brought to one size."""
        total = torch.zeros(())
        for hint, regressor, (mine, wanted) in zip(self.hints, regressors, self.pairs(inputs), strict=True):
            total = total + hint.weight * F.mse_loss(*_same_size(regressor(mine), wanted))
        return total


def hinted(student: nn.Module, teacher: nn.Module, hints: Sequence[Hint], example: Mapping[str, Tensor]) -> Hinted:
    """The student with fresh regressors for its hints; `example` holds a few inputs, each (n, …).

    Raises `InputError` where a layer does not exist (with a suggestion), is not called, or its features have
    another number of axes than the teacher's.
    """
    for index, hint in enumerate(hints):
        _find(student, hint.student, f"distill: hints[{index}].student")
        _find(teacher, hint.teacher, f"distill: hints[{index}].teacher")
    watch = _Watch(student, teacher, hints)
    with watch.students(), torch.no_grad():
        outputs(student, example)
    try:
        pairs = watch.pairs(example)
    except KeyError as error:
        raise InputError(
            f"layer {error.args[0]!r} is never called as a layer", where="distill: hints", fix="name another layer"
        ) from error
    regressors = [_regressor(hint, *pair) for hint, pair in zip(hints, pairs, strict=True)]
    return Hinted(student, regressors, watch)


def _find(module: nn.Module, name: str, where: str) -> None:
    names = [found for found, _ in module.named_modules() if found]
    if name not in names:
        matching(names, [name], where)
        raise InputError(f"{name!r} is a pattern; a hint needs one layer", where=where)


def _regressor(hint: Hint, mine: Tensor, wanted: Tensor) -> nn.Module:
    """Channels to channels at every position: a 1x1 convolution, or a linear layer on the last axis."""
    if mine.ndim != wanted.ndim or not 2 <= mine.ndim <= 5:
        raise InputError(
            f"features of {hint.student!r} are {tuple(mine.shape[1:])} per example, those of {hint.teacher!r} "
            f"{tuple(wanted.shape[1:])}",
            where="distill: hints",
            fix="pair layers whose outputs have as many axes",
        )
    if mine.shape[1:-1] == wanted.shape[1:-1] and mine.ndim <= 3:
        return nn.Linear(mine.shape[-1], wanted.shape[-1])
    if mine.ndim == 3 and mine.shape[2] != wanted.shape[2]:
        raise InputError(
            f"features of {hint.student!r} and {hint.teacher!r} differ in channels and in length: "
            f"{tuple(mine.shape[1:])} and {tuple(wanted.shape[1:])}",
            where="distill: hints",
            fix="pair layers of equal length",
        )
    convolution = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}[mine.ndim]
    return convolution(mine.shape[1], wanted.shape[1], 1)


def _same_size(mine: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Both averaged down to the smaller of their sizes; features without spatial axes as they are."""
    if mine.ndim < 4:
        return mine, wanted
    size = [min(pair) for pair in zip(mine.shape[2:], wanted.shape[2:], strict=True)]
    pool: Any = F.adaptive_avg_pool2d if mine.ndim == 4 else F.adaptive_avg_pool3d
    return pool(mine, size), pool(wanted, size)
