"""OpenTelemetry spans of requests, sent only to where a user says.

A span is made when its request is over, from times that were taken anyway: what is not sampled costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

PARENT = "traceparent"
"""The header of W3C Trace Context, which says what called."""


@dataclass(frozen=True)
class Traced:
    """One answered or failed request. Seconds before now."""

    parent: str | None
    age: float
    """Since the request was read."""
    waited: float
    """Of these, until it was handed to the runtime."""
    attributes: Mapping[str, str | int | bool]
    failed: bool


@dataclass(frozen=True)
class Tracer:
    """Makes spans with an OpenTelemetry provider."""

    provider: Any
    clock: Callable[[], int]
    """Nanoseconds since 1970, as spans have them."""

    def record(self, request: Traced) -> None:
        """A span of the request, with one of the run inside."""
        from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context  # noqa: PLC0415  # optional
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        context = TraceContextTextMapPropagator().extract({PARENT: request.parent}) if request.parent else None
        end = self.clock()
        begin = end - int(request.age * 1e9)
        tracer = self.provider.get_tracer("weighbridge.serve")
        span = tracer.start_span(
            "infer", context, kind=SpanKind.SERVER, attributes=request.attributes, start_time=begin
        )
        if span.is_recording():
            inside = tracer.start_span("run", set_span_in_context(span), start_time=begin + int(request.waited * 1e9))
            inside.end(end)
        if request.failed:
            span.set_status(StatusCode.ERROR)
        span.end(end)


def provider_for(endpoint: str, per_cent: float) -> Any:
    """A provider that sends over OTLP (HTTP) to an endpoint, in the background; of requests that no sampled trace
    called, that many per cent.
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415  # optional
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio  # noqa: PLC0415

    resource = Resource.create({"service.name": "weighbridge"})
    made = TracerProvider(resource=resource, sampler=ParentBasedTraceIdRatio(per_cent / 100))
    made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
    return made
