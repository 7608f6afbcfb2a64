"""`weighbridge stage …`: the bodies of the DVC stages, so that anything DVC does can be run by hand."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import typer

from weighbridge.cli.console import progress
from weighbridge.cli.usage import Application
from weighbridge.core.allocator import return_large_blocks
from weighbridge.core.facts.targets import DEFAULT_TARGET

app = Application(help="One stage of the pipeline in dvc.yaml, run by hand.")

ROOT = typer.Option(
    Path(), "--root", metavar="DIR", help="The project's folder, where params.yaml lies.", show_default=False
)
QUIET = typer.Option(False, "--quiet", "-q", help="No progress.")
PLANNED = "WEIGHBRIDGE_PLAN_ITEM"
"""Set while an item of a plan is done."""
RECIPE = typer.Argument(..., help="A recipe's name in params.yaml.")


@app.command()
def prepare(root: Path = ROOT, quiet: bool = QUIET) -> None:
    """Call the data factory, check its splits and write them as .npz files."""
    from weighbridge.ci.declared import declared
    from weighbridge.compress import stages

    with declared(root, "prepare"), progress(quiet=quiet) as report:
        stages.prepare(root, report)


@app.command()
def train(root: Path = ROOT, quiet: bool = QUIET) -> None:
    """Train the baseline; write its checkpoint as safetensors."""
    from weighbridge.ci.declared import declared
    from weighbridge.compress import stages

    with declared(root, "train"), progress(quiet=quiet) as report:
        stages.train(root, report)


@app.command()
def baseline(
    target: str = typer.Argument(DEFAULT_TARGET, help="A target in params.yaml."),
    root: Path = ROOT,
    quiet: bool = QUIET,
) -> None:
    """Export the trained baseline for one target as an artifact with its manifest."""
    from weighbridge.ci.declared import declared
    from weighbridge.compress import stages

    return_large_blocks()
    with declared(root, "baseline"), progress(quiet=quiet) as report:
        stages.baseline(root, target, report)


@app.command()
def compress(recipe: str = RECIPE, root: Path = ROOT, quiet: bool = QUIET) -> None:
    """Run one recipe: module steps, export and lowering steps for each of its targets, invariants after each.

    Under DVC, a recipe that the model cannot take leaves its refusal in the artifact's place: the other recipes are
    weighed, and `weighbridge gate` reports this one as an error and fails.
    """
    from weighbridge.ci.declared import declared
    from weighbridge.compress import stages

    return_large_blocks()
    with declared(root, "compress"), progress(quiet=quiet) as report:
        refusal = stages.compress(root, recipe, report, keep_going=_keep_going())
    if refusal is not None:
        typer.echo(f"recipe {recipe} was not built, and the gate will fail: {refusal.reason}", err=True)


@app.command()
def device(root: Path = ROOT) -> None:
    """Write down what the outside world is: this machine, and what the registry serves now."""
    from weighbridge.gate.stages import pipeline
    from weighbridge.registry.lookup import stable

    pipeline.device(root)
    stable.write_stable(root, root / "artifacts" / "stable")


@app.command()
def weigh(
    recipe: str = RECIPE,
    device: str | None = typer.Option(
        None, "--device", metavar="NAME", help="On this device alone.", show_default="each"
    ),
    root: Path = ROOT,
    quiet: bool = QUIET,
) -> None:
    """Weigh a recipe's artifacts on each device against the baseline, and against stable where a budget asks."""
    from weighbridge.ci.declared import declared
    from weighbridge.core.documents import Refusal
    from weighbridge.gate.stages import pipeline

    with declared(root, "weigh"), progress(quiet=quiet) as report:
        found = pipeline.weigh(root, recipe, report, device=device, keep_going=_keep_going(), fetch=_measurements(root))
    for item in found:
        if isinstance(item, Refusal):
            typer.echo(f"recipe {recipe} was not weighed, and the gate will fail: {item.reason}", err=True)


def _measurements(root: Path) -> Callable[[str], bytes | None]:
    """What reads measurements from the DVC remote, where `ci gate` says that it may be asked."""
    from weighbridge.core.documents.measurement import SHARED_VARIABLE
    from weighbridge.gate.weighing.by_content import no_remote
    from weighbridge.registry.lookup.asking import CannotAskError
    from weighbridge.registry.lookup.measurements import fetch_measurement

    if not os.environ.get(SHARED_VARIABLE):
        return no_remote

    def fetch(name: str) -> bytes | None:
        try:
            return fetch_measurement(root, name)
        except CannotAskError as error:
            typer.echo(f"no measurement is continued from the remote: {error}", err=True)
            return None

    return fetch


def _keep_going() -> bool:
    """Whether DVC or a plan runs this stage: what one recipe cannot do is then recorded, and the others go on."""
    return "DVC_STAGE" in os.environ or PLANNED in os.environ


@app.command()
def judge(root: Path = ROOT) -> None:
    """Judge every measurement by the budgets; write reports/. Exits 0: `weighbridge gate` has the verdict's code."""
    from weighbridge.ci.declared import require_limits
    from weighbridge.gate.stages import summary

    require_limits(root)
    summary.judge(root)


@app.command(hidden=True)
def item(given: str = typer.Argument(..., help="As `plan --json` prints it."), root: Path = ROOT) -> None:
    """Do one item of a plan, unless it is done, and stamp it; it is claimed meanwhile."""
    from weighbridge.core.files import parse_json
    from weighbridge.search.done_items import Stamps
    from weighbridge.search.plan import Item

    wanted = Item.of_json(parse_json(given, "item"))
    os.environ[PLANNED] = wanted.key

    def work() -> int:
        if wanted.kind == "make":
            compress(wanted.name, root, quiet=True)
        elif wanted.kind == "weigh":
            weigh(wanted.name, wanted.device, root, quiet=True)
        else:
            judge(root)
        return 0

    raise typer.Exit(Stamps(root).do(wanted, work))
