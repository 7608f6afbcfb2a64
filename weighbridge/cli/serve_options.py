"""Options of `weighbridge serve`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from weighbridge.serve.answers import Options
    from weighbridge.serve.models.batching import Batching
    from weighbridge.serve.server import Listening


@dataclass(frozen=True)
class Where:
    """Where to listen, and how patiently."""

    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1"
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port for HTTP.")] = 8080
    grpc_port: Annotated[
        int | None, typer.Option("--grpc-port", min=0, max=65535, help="The port for gRPC; without it there is none.")
    ] = None
    poll: Annotated[str, typer.Option("--poll", metavar="TIME", help="Between looks at the registry.")] = "30s"
    drain: Annotated[str, typer.Option("--drain", metavar="TIME", help="For requests under way at the end.")] = "30s"
    connections: Annotated[int, typer.Option("--connections", min=1, help="Open at once; more get 503.")] = 1024

    def settings(self) -> Listening:
        """As the server takes it."""
        from weighbridge.serve.server import Listening

        poll, drain = _seconds(self.poll, "--poll"), _seconds(self.drain, "--drain")
        return Listening(self.host, self.port, self.grpc_port, self.connections, poll, drain)


@dataclass(frozen=True)
class Runs:
    """How requests share runs of the model."""

    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads of the runtime, for each version.")] = 1
    max_batch: Annotated[int, typer.Option("--max-batch", min=1, help="Examples that run together at most.")] = 32
    batch_delay: Annotated[
        str, typer.Option("--batch-delay", metavar="TIME", help="A request waits so long for others at most.")
    ] = "0s"
    queue: Annotated[int, typer.Option("--queue", min=1, help="Requests that wait at most; more get 503.")] = 256
    timeout: Annotated[str, typer.Option("--timeout", metavar="TIME", help="After which a request is given up.")] = (
        "10s"
    )
    spin: Annotated[
        str, typer.Option("--spin", metavar="TIME", help="A lone, quick client is awaited so long awake; 0s: never.")
    ] = "500us"

    def settings(self) -> Batching:
        """As the server takes it."""
        from weighbridge.serve.models.batching import Batching

        delay, patience = _seconds(self.batch_delay, "--batch-delay"), _seconds(self.timeout, "--timeout")
        return Batching(self.max_batch, delay, self.queue, patience, _seconds(self.spin, "--spin"))


@dataclass(frozen=True)
class Treated:
    """Limits, shadow, and what is told of requests."""

    max_body: Annotated[str, typer.Option("--max-body", metavar="SIZE", help="Bytes of one request.")] = "16MiB"
    max_elements: Annotated[int, typer.Option("--max-elements", min=1, help="Of one request's tensors.")] = 4 * 2**20
    shadow: Annotated[
        float, typer.Option("--shadow", min=0, max=100, help="Per cent of stable's requests that the canary gets too.")
    ] = 0.0
    slices: Annotated[
        str | None, typer.Option("--slices", metavar="MODULE:CALLABLE", help="From inputs to names of slices.")
    ] = None
    classes: Annotated[
        str | None, typer.Option("--classes", metavar="MODULE:CALLABLE", help="From outputs to one class an example.")
    ] = None
    preprocess: Annotated[
        str | None,
        typer.Option("--preprocess", metavar="MODULE:CALLABLE", help="From a request's inputs to the model's."),
    ] = None
    postprocess: Annotated[
        str | None,
        typer.Option("--postprocess", metavar="MODULE:CALLABLE", help="From the model's outputs to the answer."),
    ] = None
    sample: Annotated[float, typer.Option("--sample", min=0, max=100, help="Per cent of requests to log.")] = 100.0
    log_inputs: Annotated[bool, typer.Option("--log-inputs", help="Log the inputs too; never done otherwise.")] = False

    def settings(self) -> Options:
        """As the server takes it."""
        from weighbridge.core.callables import import_callable
        from weighbridge.core.facts.quantities import parse_quantity
        from weighbridge.serve import answers
        from weighbridge.serve.answers import Options
        from weighbridge.serve.tensors import Limits

        limits = Limits(body_bytes=int(_parsed(parse_quantity, self.max_body, "bytes", "--max-body")))
        return Options(
            limits=Limits(limits.body_bytes, elements=self.max_elements),
            shadow=self.shadow,
            classes=import_callable(self.classes, "--classes") if self.classes else answers.classes,
            slices=import_callable(self.slices, "--slices") if self.slices else None,
            preprocess=import_callable(self.preprocess, "--preprocess") if self.preprocess else None,
            postprocess=import_callable(self.postprocess, "--postprocess") if self.postprocess else None,
            sample=self.sample,
            log_inputs=self.log_inputs,
        )


def _seconds(text: str, where: str) -> float:
    from weighbridge.core.facts.quantities import parse_quantity

    return float(_parsed(parse_quantity, text, "seconds", where))


def _parsed(parse: Any, text: str, unit: str, where: str) -> float:
    from weighbridge.core.errors import InputError

    try:
        value = float(parse(text, unit, needs_unit=True))
    except ValueError as error:
        raise InputError(str(error), where=where) from error
    if value < 0:
        raise InputError("is negative", where=where)
    return value
