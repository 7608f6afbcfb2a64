"""`weighbridge weigh BASELINE CANDIDATE`: the gate for any two files of one runtime, no pipeline needed."""

from __future__ import annotations

from pathlib import Path

import typer

from weighbridge.cli.console import progress


def weigh(
    baseline: Path = typer.Argument(..., help="The artifact to compare with (.onnx, .tflite or .pte)."),
    candidate: Path = typer.Argument(..., help="The artifact to judge, for the same runtime."),
    data: str = typer.Option(
        ..., "--data", metavar="FILE|MODULE:CALLABLE", help="eval.npz, or module:callable of a data factory."
    ),
    budgets: Path = typer.Option(
        None, "--budgets", metavar="FILE", help="YAML with a list under 'budgets:'.", show_default=False
    ),
    out: Path = typer.Option(
        None, "--out", metavar="DIR", help="Folder for measurement.json, verdict.json and gate.md.", show_default=False
    ),
    time_limit: str = typer.Option(
        "60", "--time-limit", metavar="SECONDS|auto", help="Time for the noisy metrics; auto: as long as it takes."
    ),
    seed: int = typer.Option(11, "--seed", min=0, help="Of the order of bursts and of resampling."),
    metric: list[str] = typer.Option(
        [], "--metric", metavar="NAME|MODULE:CALLABLE", help="Weigh this too; may be repeated."
    ),
    output: str = typer.Option(
        None, "--output", metavar="NAME", help="The output that is judged.", show_default="the first"
    ),
    batch_size: int = typer.Option(1, "--batch-size", min=1, help="Examples in one timed inference."),
    threads: int = typer.Option(1, "--threads", min=1, help="Threads of the runtime."),
    everything: bool = typer.Option(False, "--all", help="Measure on after a required budget has failed for certain."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="No progress."),
) -> None:
    """Weigh a candidate against a baseline and exit with the verdict: 0 pass, 1 fail, 3 could not judge.

    Without --budgets the candidate must be no larger, at most 5% slower (median), lose at most one point of top-1
    accuracy and flip at most 5% of the answers. Running it again continues the measurement in --out.
    """
    from weighbridge.gate.stages import standalone

    request = standalone.StandaloneRequest(
        baseline=baseline,
        candidate=candidate,
        data=data,
        budgets=budgets,
        out=out,
        metrics=tuple(metric),
        output=output,
        weighing={
            "time_limit": f"{time_limit}s" if time_limit.replace(".", "", 1).isdigit() else time_limit,
            "seed": seed,
            "batch_size": batch_size,
            "threads": threads,
        },
        thorough=everything,
    )
    with progress(quiet=quiet) as report:
        verdict, table = standalone.run(request, report)
    typer.echo(table, nl=False)
    raise typer.Exit(verdict.verdict.exit_code)
