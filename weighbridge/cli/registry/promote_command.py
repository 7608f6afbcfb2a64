"""`weighbridge registry promote`."""

from __future__ import annotations

from typing import Annotated

import typer

from weighbridge.cli.options import grouped
from weighbridge.cli.registry.output import print_change
from weighbridge.cli.registry.promote_options import Channel, Pick, Signing
from weighbridge.cli.registry.registry_options import ChangeOptions, Expect, ProjectOptions


@grouped
def promote(
    *,
    pick: Pick,
    channel: Annotated[
        Channel, typer.Option("--channel", help="`none` records it; `policy`: what on_merge says.")
    ] = Channel.STABLE,
    expect: Expect = None,
    notes: Annotated[str, typer.Option("--notes", help="For the record.")] = "",
    signing: Signing,
    change: ChangeOptions,
    project: ProjectOptions,
) -> None:
    """Make what passed a version: stable, on canary, or recorded."""
    from weighbridge.ci.judging_again import judge_again
    from weighbridge.core.git import Git, find_project
    from weighbridge.registry.lifecycle.evidence import gather
    from weighbridge.registry.lifecycle.promote import PromotionRequest
    from weighbridge.registry.lifecycle.promote import promote as promote_recipe

    signing.check()
    root = find_project(project.root)
    recipe = pick.one(root)
    gather(root, recipe)  # what lies there agrees, before it is judged
    judge_again(Git.discover(root), root, recipe)
    request = PromotionRequest(recipe, channel.value, expect=expect, notes=notes)
    committed = promote_recipe(root, request, settings=change.settings(), key=signing.signer())
    print_change(committed, as_json=project.as_json)
