"""`weighbridge calibrate`: what this machine can resolve, measured on this machine."""

from __future__ import annotations

from pathlib import Path

import typer

from weighbridge.cli.console import progress


def calibrate(
    model: Path = typer.Option(
        None, "--model", metavar="FILE", help="An ONNX file; generated ones otherwise.", show_default=False
    ),
    data: str = typer.Option(
        None,
        "--data",
        metavar="FILE|MODULE:CALLABLE",
        help="eval.npz or module:callable, with --model.",
        show_default=False,
    ),
    launches: int = typer.Option(24, "--launches", min=10, max=1000, help="Launch pairs of each trial."),
    seed: int = typer.Option(11, "--seed", min=0, help="Of the order of bursts and of resampling."),
    root: Path = typer.Option(Path(), "--root", metavar="DIR", help="The project's folder.", show_default=False),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="No progress."),
) -> None:
    """Weigh a model against itself and slower copies; print and store what the gate can resolve here.

    The result lies under .weighbridge/calibration/, by the device's fingerprint, and is shown in reports.
    """
    from weighbridge.gate.calibrate import trials as room

    request = room.CalibrationRequest(root=root, model=model, data=data, launches=launches, seed=seed)
    with progress(quiet=quiet) as report:
        done = room.run(request, report)
    typer.echo(done.table, nl=False)
