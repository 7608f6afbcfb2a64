"""`registry.policy.yaml`: who may change channels, whose signatures count, how canaries grow.

It is read from the commit that a change is built on, never from the working tree: whoever edits it must get the
edit into the branch first.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, PrivateAttr, field_validator, model_validator

from weighbridge.core.documents.base import Written, load, parse
from weighbridge.core.errors import InputError, StateError
from weighbridge.core.facts.quantities import parse_quantity, require_duration
from weighbridge.core.files import read_yaml
from weighbridge.core.strict_yaml import parse_yaml
from weighbridge.registry.state.layout import POLICY, View, safe_relative
from weighbridge.registry.state.records import CANARY_SAMPLES, CANARY_SECONDS, CANARY_STEPS, CanaryPlan, Weight
from weighbridge.registry.trust.online_budgets import OnlineBudget
from weighbridge.registry.trust.watch_policy import WatchSection


def _public_key(text: str) -> str:
    if "BEGIN PUBLIC KEY" not in text:
        raise ValueError("expected a public key in PEM form (-----BEGIN PUBLIC KEY-----)")
    return text


PublicKey = Annotated[str, AfterValidator(_public_key)]
GITHUB = "https://token.actions.githubusercontent.com"


class Identity(Written):
    """A workflow whose signatures count without a key: sigstore's CA confirmed it when it signed."""

    issuer: str = Field(default=GITHUB, pattern=r"^https://[^\s*]+$")
    """Who said that it was that workflow: the OpenID Connect issuer, exactly."""
    workflow: str = Field(pattern=r"^https://[^\s/*]+/[^\s/*]+/[^\s/*]+/\S+$")
    """The workflow's URI, `https://github.com/OWNER/REPOSITORY/.github/workflows/promote.yml@refs/heads/main`.
    A `*` stands for any text without `/`; host, owner and repository are given in full."""
    repository: str | None = Field(default=None, pattern=r"^https://[^\s*]+$")
    """The repository that the workflow ran in, `https://github.com/OWNER/REPOSITORY`: needed where other repositories
    can call the workflow."""


class CanarySection(Written):
    """How canaries grow, unless a command says otherwise."""

    steps: list[Weight] = Field(default=list(CANARY_STEPS), min_length=1)
    """Per cent of the traffic, growing."""
    min_samples: int = Field(default=CANARY_SAMPLES, ge=1)
    """Requests that the canary must have answered on a step before it can advance."""
    min_time: float = Field(default=CANARY_SECONDS, ge=0)
    """Time on a step before it can advance, with its unit: `10min`, `600s`."""
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


class RegistryPolicy(Written):
    """The whole of `registry.policy.yaml`. Without the file: anybody who can push, unsigned accepted."""

    schema_version: Literal[1] = 1
    promoters: list[str] | None = None
    """Patterns of git identities (`*@example.org`) that may promote; None: anybody who can push.
    An identity in git is a claim: to prove it, require signatures."""
    operators: list[str] | None = None
    """Patterns of identities that may move channels (roll back, canary, quarantine); None: anybody who can push."""
    require_signature: bool = False
    """Refuse to promote, serve or pull a version without a signature by one of `keys` or `identities`."""
    require_fresh: bool = False
    """Refuse to pull a channel's tag from OCI without a signed channel statement that has not expired
    (`registry push --fresh-for`)."""
    keys: dict[str, PublicKey] = {}
    """Public keys (Ed25519 or ECDSA P-256, PEM) whose signatures count, by a name of your choice."""
    retired_keys: dict[str, PublicKey] = {}
    """Keys of yesterday: what they signed can be gone back to, served and pulled; they sign no new version."""
    identities: dict[str, Identity] = {}
    """Workflows whose signatures count without a key, by a name of your choice."""
    trust_root: str | None = None
    """Path, beside this file, of sigstore's trust root (`weighbridge registry trust-root FILE`): by it signatures
    without keys are checked, offline. `identities` need one."""
    on_merge: Literal["stable", "canary", "record"] = "stable"
    """What CI does with a version that a merge brought: makes it stable, starts its canary, or only records it."""
    canary_section: CanarySection = Field(default=CanarySection(), alias="canary")
    watch: WatchSection = WatchSection()
    """What a stable version must keep, and what an alarm does."""
    _trust_root: bytes | None = PrivateAttr(default=None)

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

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        both = sorted(set(self.keys) & set(self.identities))
        if both:
            raise ValueError(f"{both[0]!r} names a key and an identity; give one of them another name")
        again = sorted(set(self.retired_keys) & {*self.keys, *self.identities})
        if again:
            raise ValueError(f"{again[0]!r} is among the retired keys and among those that count")
        if self.identities and self.trust_root is None:
            raise ValueError("'identities' need a 'trust_root' (`weighbridge registry trust-root FILE` writes one)")
        if self.trust_root is not None and not safe_relative(self.trust_root):
            raise ValueError("'trust_root' is a path within the project")
        return self

    @property
    def names_signers(self) -> bool:
        """Whether any signature counts."""
        return bool(self.keys or self.identities or self.retired_keys)

    def for_what_exists(self) -> Self:
        """The policy for versions that were signed before: retired keys count."""
        return self.model_copy(update={"keys": {**self.retired_keys, **self.keys}})

    def with_trust_root(self, content: bytes | None) -> Self:
        """The policy itself, knowing the content of the file that it names as its `trust_root`."""
        self._trust_root = content
        return self

    def require_trust_root(self) -> bytes:
        """What signatures without keys are checked by; an `InputError` where the file that is named is missing:
        nothing could be checked.
        """
        if self._trust_root is None:
            raise InputError(
                f"trust root not found: {self.trust_root}",
                where=f"{POLICY}: trust_root",
                fix=f"`weighbridge registry trust-root {self.trust_root or 'FILE'}`, and commit it",
            )
        return self._trust_root

    def require_promoter(self, identity: str) -> None:
        """A `StateError` where the identity may not promote."""
        _require(self.promoters, identity, "promote")

    def require_operator(self, identity: str) -> None:
        """A `StateError` where the identity may not move channels."""
        _require(self.operators, identity, "move channels")


def _require(patterns: list[str] | None, identity: str, what: str) -> None:
    address = identity.rpartition("<")[2].rstrip(">")
    if patterns is not None and not any(_is(address, pattern) for pattern in patterns):
        raise StateError(f"{identity} may not {what}", where=POLICY, fix="ask one of the people that the policy lists")


def _is(address: str, pattern: str) -> bool:
    """Whether a pattern names an address; as written first, since `github-actions[bot]` has brackets of its own."""
    return address == pattern or fnmatch.fnmatchcase(address, pattern)


def read_policy(view: View) -> RegistryPolicy:
    """The policy of a state; the default where it has none. An invalid one is an `InputError`, never the default."""
    data = view.read(POLICY)
    if data is None:
        return RegistryPolicy()
    policy = parse(RegistryPolicy, parse_yaml(data.decode("utf-8", errors="replace"), POLICY), POLICY)
    return policy.with_trust_root(view.read(policy.trust_root) if policy.trust_root else None)


def require_units(content: Any, where: str) -> None:
    """Raise `InputError` where a policy that people write now has a time without a unit.

    One that is merged already is read all the same, as seconds: rolling back must not wait for its correction.
    """
    sections = {name: content.get(name) if isinstance(content, dict) else None for name in ("canary", "watch")}
    canary, watch = ({} if not isinstance(section, dict) else section for section in sections.values())
    budgets = canary.get("budgets")
    times = [("canary.min_time", canary.get("min_time")), ("watch.epoch", watch.get("epoch"))]
    times += [
        (f"canary.budgets[{index}].threshold", budget.get("threshold"))
        for index, budget in enumerate(budgets if isinstance(budgets, list) else [])
        if isinstance(budget, dict)
    ]
    for key, value in times:
        try:
            require_duration(value, key.rpartition(".")[2])
        except ValueError as error:
            raise InputError(str(error), where=f"{where}: {key}") from error


def check_written(data: bytes, where: str) -> None:
    """Raise `InputError` where the bytes are no policy that can be merged: not valid, or with a time without a unit."""
    content = parse_yaml(data.decode("utf-8", errors="replace"), where)
    require_units(content, where)
    parse(RegistryPolicy, content, where)


def load_policy(path: Path) -> RegistryPolicy:
    """A policy from a file outside any registry, with the trust root that it names beside it."""
    require_units(read_yaml(path), str(path))
    policy = load(RegistryPolicy, path)
    root = path.parent / policy.trust_root if policy.trust_root else None
    return policy.with_trust_root(root.read_bytes() if root is not None and root.is_file() else None)


@dataclass(frozen=True)
class CanaryChange:
    """A command's own values in place of those of the policy's plan; None: the policy's."""

    steps: str | None = None
    """Such as `5,25,50,100`."""
    min_samples: int | None = None
    min_time: str | None = None
    """Such as `10min`."""

    def of(self, policy: RegistryPolicy) -> CanaryPlan:
        """The plan; what cannot be read is an `InputError`."""
        base = policy.canary_section.model_dump(exclude={"budgets"})
        given: dict[str, Any] = {
            "steps": self.steps.split(",") if self.steps else None,
            "min_samples": self.min_samples,
        }
        given["min_time"] = self.min_time
        changed = {**base, **{key: value for key, value in given.items() if value is not None}}
        section = parse(CanarySection, changed, "canary start")
        return CanaryPlan(
            steps=section.steps,
            min_samples=section.min_samples,
            min_seconds=section.min_time,
            budgets=policy.canary.budgets,
        )
