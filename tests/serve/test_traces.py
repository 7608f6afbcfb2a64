"""Spans of requests: what they say, whom they follow, and that nothing is sent unless told to."""

import http.server
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.serve.world import MODEL, Client, body, server

pytest.importorskip("opentelemetry.sdk")
INFER = f"/v2/models/{MODEL}/infer"


def _traced(registry: Path, tmp_path: Path, per_cent: int) -> tuple[Client, Any]:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

    from weighbridge.serve.observability.traces import Tracer

    made, found = server(registry, tmp_path / "cache"), InMemorySpanExporter()
    client = Client(made.start())
    client.server = made
    provider = TracerProvider(sampler=ParentBasedTraceIdRatio(per_cent / 100))
    provider.add_span_processor(SimpleSpanProcessor(found))
    made.service.tracer = Tracer(provider, lambda: 10**18)
    return client, found


def _spans(found: Any, count: int) -> Any:
    """Spans are made once the answer is on its way."""
    until = time.monotonic() + 20
    while len(found.get_finished_spans()) < count:
        assert time.monotonic() < until
        time.sleep(0.01)
    return found.get_finished_spans()


def test_a_span_says_which_version_answered_and_never_what(registry: Path, tmp_path: Path) -> None:
    client, found = _traced(registry, tmp_path, 100)
    client.infer(body(id="r1"))
    run, infer = _spans(found, 2)
    assert (infer.name, run.name, run.parent.span_id) == ("infer", "run", infer.context.span_id)
    assert infer.start_time < run.start_time < run.end_time == infer.end_time == 10**18
    assert infer.attributes["weighbridge.version"] == "v2"
    assert infer.attributes["weighbridge.digest"].startswith("sha256:")
    assert infer.attributes["weighbridge.request"] == "r1"
    assert set(infer.attributes) == {
        f"weighbridge.{name}" for name in ("model", "version", "digest", "canary", "request")
    }
    assert infer.status.is_unset


def test_a_failed_request_is_a_failed_span(registry: Path, tmp_path: Path) -> None:
    client, found = _traced(registry, tmp_path, 100)
    loaded = client.server.fleet.board.stable.loaded
    object.__setattr__(loaded, "run", lambda _: 1 / 0)
    assert client.infer()[0] == 500
    assert not _spans(found, 2)[-1].status.is_ok
    assert not _spans(found, 2)[-1].status.is_unset


def test_a_sampled_trace_that_calls_is_followed_and_the_rest_is_left_out(registry: Path, tmp_path: Path) -> None:
    client, found = _traced(registry, tmp_path, 0)
    client.infer()
    client.infer(headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-00"})
    client.infer(headers={"traceparent": "nonsense"})
    client.infer(headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})
    _, infer = _spans(found, 2)
    assert infer.context.trace_id == int("a" * 32, 16)
    assert infer.parent.span_id == int("b" * 16, 16)


def test_spans_arrive_where_the_user_says_and_only_there(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    got = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    collector = http.server.HTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{collector.server_port}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    quiet = server(registry, tmp_path / "quiet")
    assert json.loads(Client(quiet.start())("POST", INFER, body())[2])["model_version"] == "v2"
    assert quiet.service.tracer is None
    told = server(registry, tmp_path / "told", traces=f"{url}/v1/traces", traced=100.0)
    Client(told.start())("POST", INFER, body(id="seen"))
    told.fleet.board.stable.batcher.close()
    until = time.monotonic() + 20
    while not got:
        assert time.monotonic() < until
        told.service.tracer.provider.force_flush()
    told.service.tracer.provider.shutdown()
    collector.shutdown()
    collector.server_close()
    (path, sent) = got[0]
    assert len(got) == 1
    assert path == "/v1/traces"
    assert b"seen" in sent
