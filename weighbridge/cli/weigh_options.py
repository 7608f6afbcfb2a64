"""Options of `weighbridge weigh`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

import typer


@dataclass(frozen=True)
class WeighingOptions:
    """How inferences are timed."""

    time_limit: Annotated[
        str,
        typer.Option(
            "--time-limit", metavar="SECONDS|auto", help="Time for the noisy metrics; auto: as long as it takes."
        ),
    ] = "60"
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the order of bursts and of resampling.")] = 11
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Examples in one timed inference.")] = 1
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads of the runtime.")] = 1

    def section(self) -> dict[str, object]:
        """As `weighing:` of params.yaml has it: a plain number of the option is seconds."""
        limit = self.time_limit
        return asdict(self) | {"time_limit": f"{limit}s" if limit.replace(".", "", 1).isdigit() else limit}


@dataclass(frozen=True)
class QualityOptions:
    """What is compared, and how inputs are fed."""

    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", metavar="NAME|MODULE:CALLABLE", help="Weigh this too; may be repeated."),
    ] = None
    output: Annotated[
        str | None,
        typer.Option("--output", metavar="NAME", help="The output that is judged.", show_default="the first"),
    ] = None
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            metavar="KIND|YAML",
            help="What quality means: embedding, token, …, or '{kind: token, mask: attention_mask}'.",
            show_default="by the labels",
        ),
    ] = None
    custom_ops: Annotated[
        str | None,
        typer.Option(
            "--custom-ops",
            metavar="FILE|YAML",
            help="Libraries of operators that may be loaded: '[{path: libops.so, sha256: …}]'.",
            show_default="none",
        ),
    ] = None
    inputs: Annotated[
        str | None,
        typer.Option(
            "--inputs",
            metavar="FILE|YAML",
            help="How inputs are fed: '{sr: {constant: true}, state: {batch_axis: 1, carry: new_state}}'.",
            show_default="by their shapes",
        ),
    ] = None
