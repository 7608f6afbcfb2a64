"""`registry.policy.yaml`: who may change channels, whose signatures count, how canaries grow.

It is read from the commit that a change is built on, never from the working tree: whoever edits it must get the
edit into the branch first.
"""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator

from registry.layout import POLICY, View, WorkTree
from registry.online import OnlineBudget
from registry.records import CanaryPlan, Weight
from weighbridge.documents.base import Written, parse
from weighbridge.documents.metrics import parse_quantity
from weighbridge.errors import StateError
from weighbridge.files import parse_yaml


def _public_key(text: str) -> str:
    if "BEGIN PUBLIC KEY" not in text:
        raise ValueError("expected a public key in PEM form (-----BEGIN PUBLIC KEY-----)")
    return text


PublicKey = Annotated[str, AfterValidator(_public_key)]


class CanarySection(Written):
    """How canaries grow, unless a command says otherwise."""

    steps: list[Weight] = Field(default=[5.0, 25.0, 50.0, 100.0], min_length=1)
    """Per cent of the traffic, growing."""
    min_samples: int = Field(default=1000, ge=1)
    """Requests that the canary must have answered on a step before it can advance."""
    min_time: float = Field(default=600.0, ge=0)
    """Seconds on a step before it can advance; `10min` and `600s` are read too."""
    budgets: list[OnlineBudget] = []
    """What must hold online. A canary without budgets can be advanced by hand only."""

    @field_validator("min_time", mode="before")
    @classmethod
    def _duration(cls, value: Any) -> Any:
        return parse_quantity(value, "seconds") if isinstance(value, str) else value

    @field_validator("steps")
    @classmethod
    def _growing(cls, steps: list[float]) -> list[float]:
        if sorted(set(steps)) != steps:
            raise ValueError("expected steps that grow, such as [5, 25, 50, 100]")
        return steps


class Policy(Written):
    """The whole of `registry.policy.yaml`. Without the file: anybody who can push, unsigned accepted."""

    schema_version: Literal[1] = 1
    promoters: list[str] | None = None
    """Patterns of git identities (`*@example.org`) that may promote; None: anybody who can push.
    An identity in git is a claim: to prove it, require signatures."""
    operators: list[str] | None = None
    """Patterns of identities that may move channels (roll back, canary, quarantine); None: anybody who can push."""
    require_signature: bool = False
    """Refuse to promote, serve or pull a version without a signature by one of `keys`."""
    keys: dict[str, PublicKey] = {}
    """Public keys (Ed25519 or ECDSA P-256, PEM) whose signatures count, by a name of your choice."""
    canary_section: CanarySection = Field(default=CanarySection(), alias="canary")

    @property
    def canary(self) -> CanaryPlan:
        """The plan that a canary starts with where the command names none."""
        section = self.canary_section
        return CanaryPlan(
            steps=section.steps,
            min_samples=section.min_samples,
            min_seconds=section.min_time,
            budgets=[budget.model_dump(mode="json", exclude_none=True) for budget in section.budgets],
        )

    def require_promoter(self, identity: str) -> None:
        """A `StateError` where the identity may not promote."""
        _require(self.promoters, identity, "promote")

    def require_operator(self, identity: str) -> None:
        """A `StateError` where the identity may not move channels."""
        _require(self.operators, identity, "move channels")


def _require(patterns: list[str] | None, identity: str, what: str) -> None:
    address = identity.rpartition("<")[2].rstrip(">")
    if patterns is not None and not any(fnmatch.fnmatchcase(address, pattern) for pattern in patterns):
        raise StateError(f"{identity} may not {what}", where=POLICY, fix="ask one of those whom the policy names")


def read_policy(view: View) -> Policy:
    """The policy of a state; the default where it has none. An invalid one is an `InputError`, never the default."""
    data = view.read(POLICY)
    if data is None:
        return Policy()
    return parse(Policy, parse_yaml(data.decode("utf-8", errors="replace"), POLICY), POLICY)


def plan_with(root: Path, *, steps: str | None, min_samples: int | None, min_time: str | None) -> CanaryPlan | None:
    """The policy's plan with a command's own values in place; None where the command names none.

    `steps` is text such as `5,25,50,100`; `min_time` such as `10min`. What cannot be read is an `InputError`.
    """
    if steps is None and min_samples is None and min_time is None:
        return None
    base = read_policy(WorkTree(root)).canary_section.model_dump(exclude={"budgets"})
    given: dict[str, Any] = {"steps": steps.split(",") if steps else None, "min_samples": min_samples}
    given["min_time"] = min_time
    changed = {**base, **{key: value for key, value in given.items() if value is not None}}
    section = parse(CanarySection, changed, "canary start")
    budgets = read_policy(WorkTree(root)).canary.budgets
    return CanaryPlan(
        steps=section.steps, min_samples=section.min_samples, min_seconds=section.min_time, budgets=budgets
    )
