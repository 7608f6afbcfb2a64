"""Levers at what is asked: limits, recipes, devices. Judged from what the template measured."""

from __future__ import annotations

from typing import Any

from levers_cases.case import Lever, document


def params(name: str, act: Any, says: str) -> Lever:
    """A change of `params.yaml` that fails without a waiver."""
    return Lever(name, document("params.yaml", act), says, (1,), judged=True)


def _budget(index: int, **changed: Any) -> Any:
    return lambda content: content["budgets"][index].update(changed)


LEVERS: tuple[Lever, ...] = (
    params("a limit that is raised", _budget(0, max_ratio=0.99), "policy: size.bytes .*loosened"),
    params("a drop that is allowed", _budget(2, max_drop=0.5), "policy: accuracy.top1 .*loosened"),
    params(
        "a budget that is removed",
        lambda content: content["budgets"].pop(1) and None,
        "policy: accuracy.flips .*removed",
    ),
    params("a budget that is not required", _budget(0, required=False), "policy: size.bytes .*advisory"),
    params("a budget with a coarser resolution", _budget(2, resolution=0.2), "policy: accuracy.top1 .*resolution"),
    params("a budget about this data set alone", _budget(1, mode="exact"), "policy: accuracy.flips .*mode"),
    params(
        "a recipe that does not count",
        lambda content: content["recipes"]["w8"].update(advisory=True),
        "policy: recipe w8",
    ),
    params("a recipe that is removed", lambda content: content["recipes"].pop("w8") and None, "policy: recipe w8"),
)
