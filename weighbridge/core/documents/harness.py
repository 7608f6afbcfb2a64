"""What a user's harness answers (`devices: {NAME: {command: […]}}`): what its author writes against.

Strict, unlike other documents that programs write: an unknown key is more likely a misspelt one than news.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from weighbridge.core.documents.base import Digest

Nanoseconds = Annotated[int, Field(gt=0, lt=2**53, strict=True)]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class Described(_Answer):
    """The answer to `describe`: what decides how fast an artifact runs on the device."""

    cpu: str = Field(min_length=1, max_length=200)
    isa: list[str] = []
    cores: int = Field(ge=1)
    memory_bytes: int = Field(ge=1)
    system: str = Field(min_length=1, max_length=200)
    runtimes: dict[str, str]
    """Version by package or library: another version is another device."""
    clock_ns: int = Field(ge=1, lt=10**9)
    """The step of the clock that durations are taken with, in nanoseconds."""


class Answered(_Answer):
    """The answer to `answer`; the outputs lie in the `.npz` file that the request names, one array per index."""

    digest: Digest
    """Of the model's file as it was loaded."""


class HarnessBurst(_Answer):
    """The durations of one role's inferences in a row, the first one included: it is dropped here."""

    ns: list[Nanoseconds] = Field(min_length=2, max_length=1 << 16)
    elapsed_ns: Nanoseconds
    """From before the first to after the last."""


class HarnessRound(_Answer):
    """One burst of every role, in random order."""

    bursts: dict[str, HarnessBurst]
    disturbed: bool = False
    """Whether the device did something else meanwhile."""


class HarnessPhase(_Answer):
    """Rounds of one kind; every burst has as many durations as the others."""

    name: Literal["latency", "throughput"]
    rounds: list[HarnessRound] = Field(min_length=1, max_length=10_000)


class HarnessRole(_Answer):
    """One fresh process, or one fresh start of the device."""

    digest: Digest
    """Of the model's file as it was loaded."""
    load_ns: Nanoseconds
    first_ns: Nanoseconds
    """The first inference."""
    memory: int = Field(gt=0, strict=True)
    """Peak resident bytes after warm-up."""
    empty: int = Field(gt=0, strict=True)
    """The same before the model was loaded."""


class Launched(_Answer):
    """The answer to `launch`."""

    roles: dict[str, HarnessRole]
    phases: list[HarnessPhase] = []
