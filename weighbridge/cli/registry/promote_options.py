"""Options of what promotes a version: which, where to, and by whose signature."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weighbridge.cli.options import Select

if TYPE_CHECKING:
    from weighbridge.registry.trust.signing import Signer


class Channel(StrEnum):
    """Where a new version goes at once."""

    STABLE = "stable"
    CANARY = "canary"
    NONE = "none"
    POLICY = "policy"


@dataclass(frozen=True)
class Pick:
    """Which recipe."""

    recipe: Annotated[str | None, typer.Argument(help="A recipe that passed.")] = None
    by: Annotated[
        Select | None,
        typer.Option(
            "--select",
            help="Of those that passed: the smallest file, the lowest latency.p50 or the best accuracy.top1.",
            show_default=False,
        ),
    ] = None

    def one(self, root: Path) -> str:
        """The recipe's name; an `InputError` unless it is named in exactly one way."""
        from weighbridge.core.errors import InputError
        from weighbridge.registry.lifecycle.selection import select

        if (self.recipe is None) == (self.by is None):
            raise InputError("expected a recipe or --select, and not both")
        return self.recipe or select(root, str(self.by))


@dataclass(frozen=True)
class Signing:
    """How the version is signed."""

    key: Annotated[
        Path | None,
        typer.Option(
            "--key",
            metavar="FILE",
            envvar="WEIGHBRIDGE_SIGNING_KEY",
            help="Private key (PEM) to sign with.",
            show_default=False,
        ),
    ] = None
    keyless: Annotated[bool, typer.Option("--keyless", help="Sign with the identity of this CI job, by sigstore.")] = (
        False
    )
    trust_config: Annotated[
        Path | None,
        typer.Option(
            "--trust-config",
            metavar="FILE",
            help="Another sigstore instance than the public one (JSON).",
            show_default=False,
        ),
    ] = None

    def check(self) -> None:
        """An `InputError` where the options contradict each other."""
        from weighbridge.core.errors import InputError

        if self.key is not None and self.keyless:
            raise InputError("a version is signed by a key or without one", where="--keyless", fix="leave --key out")
        if self.trust_config is not None and not self.keyless:
            raise InputError("belongs to --keyless", where="--trust-config")

    def signer(self) -> Signer | None:
        """What signs; None: nothing does."""
        from weighbridge.registry.trust.keyless import ambient_signer
        from weighbridge.registry.trust.signing import load_private_key

        if self.keyless:
            return ambient_signer(self.trust_config)
        return load_private_key(self.key) if self.key else None
