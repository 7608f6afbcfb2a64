"""`weighbridge registry promote`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weighbridge.cli.options import grouped
from weighbridge.cli.registry.options import Change, Expect, Project
from weighbridge.cli.registry.output import print_change

if TYPE_CHECKING:
    from weighbridge.registry.trust.signing import Signer


@dataclass(frozen=True)
class Pick:
    """Which recipe."""

    recipe: Annotated[str | None, typer.Argument(help="A recipe that passed.")] = None
    smallest: Annotated[bool, typer.Option("--smallest", help="Of those that passed, the smallest file.")] = False
    fastest: Annotated[bool, typer.Option("--fastest", help="Of those that passed, the lowest latency.p50.")] = False
    most_accurate: Annotated[
        bool, typer.Option("--most-accurate", help="Of those that passed, the best accuracy.top1.")
    ] = False

    def one(self, root: Path) -> str:
        """The recipe's name; an `InputError` unless it is named in exactly one way."""
        from weighbridge.core.errors import InputError
        from weighbridge.registry.lifecycle.evidence import select

        picks = {"smallest": self.smallest, "fastest": self.fastest, "most-accurate": self.most_accurate}
        chosen = [name for name, wanted in picks.items() if wanted]
        if len(chosen) + (self.recipe is not None) != 1:
            raise InputError("expected a recipe, or one of --smallest, --fastest, --most-accurate")
        return self.recipe or select(root, chosen[0])


@dataclass(frozen=True)
class Signing:
    """How the version is signed."""

    key: Annotated[
        Path | None,
        typer.Option(
            "--key", envvar="WEIGHBRIDGE_SIGNING_KEY", help="Private key (PEM) to sign with.", show_default=False
        ),
    ] = None
    keyless: Annotated[bool, typer.Option("--keyless", help="Sign with the identity of this CI job, by sigstore.")] = (
        False
    )
    trust_config: Annotated[
        Path | None,
        typer.Option(
            "--trust-config", help="Another sigstore instance than the public one (JSON).", show_default=False
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


@grouped
def promote(
    *,
    pick: Pick,
    channel: Annotated[
        str, typer.Option("--channel", help="`stable`, or `none` to record it for a canary.")
    ] = "stable",
    expect: Expect = None,
    notes: Annotated[str, typer.Option("--notes", help="For the record.")] = "",
    signing: Signing,
    change: Change,
    project: Project,
) -> None:
    """Make what passed a version, and stable."""
    from weighbridge.core.errors import InputError
    from weighbridge.registry.lifecycle.promote import PromotionRequest
    from weighbridge.registry.lifecycle.promote import promote as promote_recipe

    signing.check()
    if channel not in ("stable", "none"):
        raise InputError(f"{channel!r} is neither 'stable' nor 'none'", where="--channel")
    recipe = pick.one(project.root)
    request = PromotionRequest(recipe, "stable" if channel == "stable" else "none", expect=expect, notes=notes)
    committed = promote_recipe(project.root, request, settings=change.settings(), key=signing.signer())
    print_change(committed, as_json=project.as_json)
