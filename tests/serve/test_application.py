"""The protocol over HTTP, in the test's own process: answers, refusals, split, shadow, feedback, counters."""

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.serve.world import MODEL, Client, body, model, one_hot, operator, server
from weighbridge.core.errors import StateError
from weighbridge.registry.canary.telemetry import Window, read_log
from weighbridge.serve.answers import Options
from weighbridge.serve.models.batching import Batching
from weighbridge.serve.models.runtimes import Loaded, load
from weighbridge.serve.observability.journal import Appender
from weighbridge.serve.server import Listening
from weighbridge.serve.tensors import Limits

INFER = f"/v2/models/{MODEL}/infer"


def _client(
    registry: Path, tmp_path: Path, load: Callable[..., Any] | None = None, **settings: Options | Batching | Path
) -> Client:
    made = server(registry, tmp_path / "cache", **settings)
    if load is not None:
        made.fleet.load = load(made.fleet.load)
    client = Client(made.start())
    client.server = made
    return client


@pytest.fixture
def client(registry: Path, tmp_path: Path) -> Client:
    return _client(registry, tmp_path)


def _canary(registry: Path, weight: float = 50.0) -> None:
    from weighbridge.registry.state.records import CanaryPlan

    plan = CanaryPlan(steps=sorted({weight, 100.0}), min_samples=10, min_seconds=0, budgets=[])
    operator(registry).start_canary("v3", plan)


def _breaking(run: Callable[[Any, Any], Any], version_bytes: bytes | None = None) -> Callable[..., Any]:
    """A loader whose model of generation 3 (the canary) runs this instead, once it is warm."""
    canary = model(3)

    def wrap(load: Any) -> Callable[..., Any]:
        def loading(data: Any, target: str, threads: Any) -> Loaded:
            loaded = load(data, target, threads)
            if data != (version_bytes or canary):
                return loaded
            calls = []

            def running(feed: Mapping[str, NDArray[Any]]) -> Any:
                calls.append(1)
                return loaded.run(feed) if len(calls) <= 3 else run(feed, loaded)

            return Loaded(loaded.inputs, loaded.outputs, loaded.platform, running)

        return loading

    return wrap


def test_health_metadata_and_inference(client: Client) -> None:
    assert client("GET", "/v2/health/live")[0] == 200
    assert client("GET", "/v2/health/ready")[0] == 200
    assert client("GET", f"/v2/models/{MODEL}/ready")[0] == 200
    assert json.loads(client("GET", "/v2")[2])["extensions"] == ["binary_tensor_data"]
    said = json.loads(client("GET", f"/v2/models/{MODEL}")[2])
    assert said["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    assert said["versions"] == ["v2"]
    status, answer = client.infer(body([one_hot(0), one_hot(1)], id="a"))
    assert status == 200
    assert (answer["model_version"], answer["id"]) == ("v2", "a")
    assert answer["outputs"] == [{"name": "scores", "datatype": "FP32", "shape": [2, 3], "data": [0, 0, 1, 1, 0, 0]}]


def test_binary_tensors_go_in_and_out(client: Client) -> None:
    raw = np.array([one_hot()], "<f4").tobytes()
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    status, headers, answer = client("POST", INFER, head + raw, {"Inference-Header-Content-Length": str(len(head))})
    length = int(headers["inference-header-content-length"])
    assert status == 200
    assert np.frombuffer(answer[length:], "<f4").tolist() == [0, 0, 1]
    assert json.loads(answer[:length])["outputs"][0]["parameters"] == {"binary_data_size": 12}


@pytest.mark.parametrize(
    ("path", "data", "headers", "status"),
    [
        (INFER, b"no JSON", {}, 400),
        (INFER, body([[0.0, 1.0, 2.0, float("1e39")]]), {}, 400),
        (INFER, body(outputs=[{"name": "nothing"}]), {}, 400),
        (INFER, body(), {"Inference-Header-Content-Length": "x"}, 400),
        (INFER, body(), {"Inference-Header-Content-Length": "99999"}, 400),
        (INFER, body(), {"Content-Encoding": "gzip"}, 415),
        (INFER, body(), {"Content-Length": "999999999999"}, 413),
        ("/v2/models/other/infer", body(), {}, 404),
        (f"/v2/models/{MODEL}/versions/v9/infer", body(), {}, 404),
        ("/v2/nothing", b"", {}, 404),
    ],
)
def test_what_cannot_be_answered_is_refused_with_its_status(
    client: Client, path: str, data: Any, headers: dict[str, str], status: int
) -> None:
    assert client("POST", path, data, headers)[0] == status
    assert 'weighbridge_requests_total{version="v2"}' not in client.metrics()


def test_a_body_without_an_end_is_cut_off_at_the_limit(registry: Path, tmp_path: Path) -> None:
    client = _client(registry, tmp_path, options=Options(limits=Limits(body_bytes=1000)))
    assert client("POST", INFER, chunks=[b"x" * 400] * 50)[0] == 413


def test_a_slow_client_is_given_up(registry: Path, tmp_path: Path) -> None:
    client = _client(registry, tmp_path)
    client.application.slow = 0.05

    async def ask() -> Any:
        sent = []

        async def receive() -> dict[str, Any]:
            if sent == ["first"]:
                await asyncio.sleep(60)
            sent.append("first")
            return {"type": "http.request", "body": b"{", "more_body": True}

        answers = []

        async def send(message: dict[str, Any]) -> None:
            answers.append(message)

        await client.application({"type": "http", "method": "POST", "path": INFER, "headers": []}, receive, send)
        return answers[0]["status"]

    assert asyncio.run(ask()) == 408


def test_a_share_of_the_keys_meets_the_canary_and_each_key_always_the_same(registry: Path, tmp_path: Path) -> None:
    _canary(registry, 50.0)
    client = _client(registry, tmp_path)
    first = [client.infer(headers={"x-request-key": f"user{k}"})[1]["model_version"] for k in range(60)]
    again = [client.infer(headers={"x-request-key": f"user{k}"})[1]["model_version"] for k in range(60)]
    assert first == again
    assert 15 <= first.count("v3") <= 45
    assert client.infer(path=f"/v2/models/{MODEL}/versions/v3/infer")[1]["model_version"] == "v3"


def test_a_move_of_the_channel_is_served_and_the_version_before_is_kept(registry: Path, client: Client) -> None:
    before = client.server.fleet.board.stable
    operator(registry).release("v3")
    client.server.look()
    board = client.server.fleet.board
    assert client.infer()[1]["model_version"] == "v3"
    assert board.previous is before
    operator(registry).release("v2")
    client.server.look()
    assert client.server.fleet.board.stable is before  # nothing was loaded again


def test_a_canary_that_fails_is_counted_and_stable_answers(registry: Path, tmp_path: Path) -> None:
    _canary(registry, 100.0)

    def fail(feed: object, loaded: object) -> NoReturn:
        raise RuntimeError("broken")

    client = _client(registry, tmp_path, _breaking(fail))
    status, answer = client.infer()
    assert (status, answer["model_version"]) == (200, "v2")
    counts = client.metrics()
    assert counts['weighbridge_errors_total{version="v3"}'] == 1
    assert counts['weighbridge_requests_total{version="v3"}'] == 1
    assert counts['weighbridge_errors_total{version="v2"}'] == 0


def test_what_stable_answers_for_a_failing_canary_is_nobodys_evidence(registry: Path, tmp_path: Path) -> None:
    """Requests that the canary's failures choose are no sample of stable's; their labels are taken all the same."""
    _canary(registry, 50.0)

    def fail(feed: object, loaded: object) -> NoReturn:
        raise RuntimeError("broken")

    log = tmp_path / "requests.jsonl"
    options = Options(sample=100, shadow=100, slices=lambda feed: ["all"])
    client = _client(registry, tmp_path, _breaking(fail), options=options, log=log)
    asked = [f"r{k}" for k in range(40)]
    assert {client.infer(body(id=name))[1]["model_version"] for name in asked} == {"v2"}
    failed = client.metrics()['weighbridge_errors_total{version="v3"}']
    assert 5 < failed < 35
    assert all(client("POST", "/v2/feedback", {"id": name, "label": "2"})[0] == 200 for name in asked)
    assert client("POST", "/v2/feedback", {"id": "r0", "label": "2"})[0] == 409

    def counted(of: Client) -> list[float]:
        names = ("requests_total{", 'predictions_total{prediction="2",', 'slice_requests_total{slice="all",')
        counts = of.metrics()
        found = [counts[f'weighbridge_{name}version="v2"}}'] for name in names]
        return [*found, counts['weighbridge_stood_in_total{version="v2"}']]

    own = 40 - failed
    assert counted(client) == [own, own, own, failed]
    counts = client.metrics()
    assert counts['weighbridge_latency_seconds_bucket{le="+Inf",version="v2"}'] == own
    assert counts['weighbridge_labelled_total{version="v2"}'] == own
    assert counts['weighbridge_compared_total{version="v3"}'] <= own
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert sum(line.get("stands_in_for") == "v3" for line in lines) == failed
    since = datetime.now(UTC) - timedelta(hours=1)
    seen = read_log(log, Window(MODEL, "v3", "v2", since, since + timedelta(hours=2)))
    assert (seen.stable.requests, seen.canary.requests, seen.canary.errors) == (own, failed, failed)
    client.server.follower.close()
    again = _client(registry, tmp_path)
    assert again.metrics()['weighbridge_labelled_total{version="v2"}'] == own


def test_a_request_that_stable_fails_on_too_is_told_apart_from_its_own_errors(registry: Path, tmp_path: Path) -> None:
    _canary(registry, 100.0)

    def fail(feed: object, loaded: object) -> NoReturn:
        raise RuntimeError("broken")

    def both(load: Any) -> Any:
        return _breaking(fail, model(2))(_breaking(fail)(load))

    client = _client(registry, tmp_path, both)
    assert client.infer()[0] == 500
    counts = client.metrics()
    assert counts['weighbridge_errors_total{version="v3"}'] == 1
    assert counts['weighbridge_errors_total{version="v2"}'] == 0
    assert counts['weighbridge_stood_in_errors_total{version="v2"}'] == 1


def test_an_answer_of_nan_is_an_error_never_an_answer(registry: Path, tmp_path: Path) -> None:
    client = _client(
        registry, tmp_path, _breaking(lambda feed, loaded: [np.full((1, 3), np.nan, np.float32)], model(2))
    )
    status, answer = client.infer()
    assert status == 500
    assert "contains NaN" in answer["error"]
    assert client.metrics()['weighbridge_errors_total{version="v2"}'] == 1


def test_a_model_that_hangs_costs_a_bounded_time_and_the_server_says_it_is_not_ready(
    registry: Path, tmp_path: Path
) -> None:
    gate, began = threading.Event(), threading.Event()
    hang = _breaking(lambda feed, loaded: began.set() or (gate.wait(30) and loaded.run(feed)), model(2))
    client = _client(registry, tmp_path, hang, batching=Batching(patience=0.1))
    while not began.is_set():  # a request that is given up before its run begins says nothing of the model
        assert client.infer()[0] == 500
    status, headers, _ = client("POST", INFER, body())
    assert (status, headers["retry-after"]) == (503, "1")
    assert client("GET", "/v2/health/ready")[0] == 503
    assert client("GET", "/v2/health/live")[0] == 200
    gate.set()


def test_a_canary_that_does_not_load_gets_no_traffic(registry: Path, tmp_path: Path) -> None:
    _canary(registry, 100.0)

    def refusing(load: Any) -> Callable[..., Any]:
        def loading(data: Any, target: str, threads: Any) -> Any:
            if data == model(3):
                raise RuntimeError("bad file")
            return load(data, target, threads)

        return loading

    client = _client(registry, tmp_path, refusing)
    assert client.infer()[1]["model_version"] == "v2"
    said = json.loads(client("GET", "/status")[2])
    assert said["canary"] is None
    assert "does not load: bad file" in said["problems"][0]
    client.server.fleet.load = load
    client.server.look()  # what failed is tried again
    assert client.infer()[1]["model_version"] == "v3"


def test_nothing_serves_that_is_quarantined_even_where_its_successor_does_not_load(
    registry: Path, client: Client
) -> None:
    operator(registry).roll_back(to="v1", reason="test")
    good = client.server.fleet.load

    def refuse(*_: object) -> NoReturn:
        raise RuntimeError("bad file")

    client.server.fleet.load = refuse
    client.server.look()
    assert client.infer()[0] == 503
    assert client("GET", "/v2/health/ready")[0] == 503
    client.server.fleet.load = good
    client.server.look()
    assert client.infer()[1]["model_version"] == "v1"


def test_a_remote_that_is_away_is_told_with_its_age(registry: Path, client: Client) -> None:
    registry.rename(registry.with_name("away"))
    client.server.look()
    assert client.infer()[0] == 200
    said = json.loads(client("GET", "/status")[2])
    assert said["registry_age_seconds"] >= 0
    assert said["problems"]
    assert client.metrics()["weighbridge_registry_problem"] == 1


def test_shadowed_requests_are_compared_and_stable_answers(registry: Path, tmp_path: Path) -> None:
    _canary(registry, 1e-9)
    client = _client(registry, tmp_path, options=Options(shadow=100))

    async def ask() -> set[Any]:
        answers = [await client.asked("POST", INFER, body([one_hot(k % 3)], id=f"r{k}")) for k in range(6)]
        await asyncio.sleep(0.1)
        await client.asked("POST", "/v2/feedback", {"id": "r0", "label": 2})
        await client.asked("POST", "/v2/feedback", {"id": "r1", "label": "1"})
        return {json.loads(answer[2])["model_version"] for answer in answers}

    assert asyncio.run(ask()) == {"v2"}
    counts = client.metrics()
    assert counts['weighbridge_compared_total{version="v3"}'] == 6
    assert counts['weighbridge_disagreed_total{version="v3"}'] == 6
    assert counts['weighbridge_paired_total{version="v3"}'] == 2
    assert counts['weighbridge_paired_only_stable_total{version="v3"}'] == 1
    assert counts['weighbridge_paired_only_canary_total{version="v3"}'] == 1
    assert 'weighbridge_requests_total{version="v3"}' in counts
    assert counts['weighbridge_requests_total{version="v3"}'] == 0


def test_feedback_counts_once_and_outlives_the_process(registry: Path, tmp_path: Path) -> None:
    client = _client(registry, tmp_path)
    for k in range(3):
        client.infer(body([one_hot(k)], id=f"r{k}"))
    answers = [client("POST", "/v2/feedback", data)[0] for data in (
        {"id": "r0", "label": "2"}, {"id": "r1", "label": 1}, {"id": "r0", "label": "2"}, {"id": "who", "label": "1"},
        {"id": "r2", "label": ["1", "2"]}, {"id": "r2", "label": 1.5}, {"label": "1"}, b"[", b"[]",
    )]  # fmt: skip
    assert answers == [200, 200, 409, 404, 400, 400, 400, 400, 400]
    counts = client.metrics()
    assert counts['weighbridge_labelled_total{version="v2"}'] == 2
    assert counts['weighbridge_correct_total{version="v2"}'] == 1
    assert counts['weighbridge_refused_total{what="feedback",why="doubled"}'] == 1
    assert counts['weighbridge_refused_total{what="feedback",why="unknown"}'] == 1
    client.server.follower.close()
    again = _client(registry, tmp_path)
    assert again("POST", "/v2/feedback", {"id": "r2", "label": "1"})[0] == 200
    assert again("POST", "/v2/feedback", {"id": "r0", "label": "2"})[0] == 409
    assert again.metrics()['weighbridge_labelled_total{version="v2"}'] == 3


def test_a_full_disk_costs_feedback_and_no_answer(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = _client(registry, tmp_path)
    client.infer(body(id="r0"))

    def full(*_: object) -> NoReturn:
        raise StateError("cannot be written: No space left on device")

    monkeypatch.setattr("weighbridge.serve.observability.journal.Appender.append_bytes", full)
    assert client.infer(body(id="r1"))[0] == 200
    assert client("POST", "/v2/feedback", {"id": "r0", "label": "2"})[0] == 503
    counts = client.metrics()
    assert counts['weighbridge_refused_total{what="journal",why="not written"}'] == 1
    assert 'weighbridge_labelled_total{version="v2"}' not in counts


def test_the_log_has_no_inputs_unless_told_and_the_judge_reads_it(registry: Path, tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    client = _client(registry, tmp_path, log=log, options=Options(sample=100, slices=lambda feed: ["all"]))
    client.infer(body(id="r0"))
    line = json.loads(log.read_text())
    assert line.keys() == {"time", "version", "id", "error", "latency", "prediction", "confidence", "summary", "slices"}
    assert 1 / 3 < line["confidence"] <= 1
    assert line["summary"] == {}, "the mean of four numbers says too much of them"
    assert (line["version"], line["prediction"], line["slices"], line["error"]) == ("v2", "2", ["all"], False)
    assert client.metrics()['weighbridge_slice_requests_total{slice="all",version="v2"}'] == 1


def test_latency_has_a_bucket_at_each_limit_of_the_policy(registry: Path, tmp_path: Path) -> None:
    from tests.registry import project as made

    (registry / "registry.policy.yaml").write_text(
        "canary: {budgets: [{metric: latency, threshold: 37ms, max: 0.05}]}\n"
    )
    made.commit_all(registry, "Limit latency")
    client = _client(registry, tmp_path)
    client.infer()
    counts = client.metrics()
    assert counts['weighbridge_latency_seconds_bucket{le="0.037",version="v2"}'] <= 1
    assert counts['weighbridge_latency_seconds_bucket{le="+Inf",version="v2"}'] == 1


def test_a_users_function_that_fails_costs_no_answer(registry: Path, tmp_path: Path) -> None:
    def broken(_: object) -> NoReturn:
        raise ValueError("mine")

    client = _client(registry, tmp_path, options=Options(slices=broken, classes=broken))
    assert client.infer()[0] == 200
    counts = client.metrics()
    assert counts['weighbridge_refused_total{what="slices",why="failed"}'] == 1
    assert counts['weighbridge_refused_total{what="classes",why="failed"}'] == 1


def test_an_unforeseen_error_of_a_look_is_told_and_the_state_is_tried_again(registry: Path, client: Client) -> None:
    made = client.server
    problem = "weighbridge_registry_problem"
    update, made.listening = made.fleet.update, Listening(poll=0.01)
    operator(registry).release("v3")

    def broken(_: object) -> NoReturn:
        raise RuntimeError("unforeseen")

    made.fleet.update = broken
    thread = threading.Thread(target=made._poll)
    thread.start()

    def wait(holds: Callable[[], object]) -> None:
        until = time.monotonic() + 30
        while not holds():
            assert time.monotonic() < until
            time.sleep(0.02)

    try:
        wait(lambda: client.metrics().get('weighbridge_refused_total{what="look",why="failed"}', 0) >= 2)
        assert client.infer()[1]["model_version"] == "v2"
        assert "RuntimeError: unforeseen" in json.loads(client("GET", "/status")[2])["problems"][0]
        assert client.metrics()[problem] == 1
        made.fleet.update = update
        wait(lambda: client.infer()[1]["model_version"] == "v3")
        wait(lambda: client.metrics()[problem] == 0)
    finally:
        made._stop.set()
        thread.join()


def test_a_clock_that_jumps_changes_neither_ages_nor_patience(
    registry: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for jumped in (0.0, 4e9):  # to 1970, and a century ahead
        monkeypatch.setattr(time, "time", lambda jumped=jumped: jumped)
        client.server.look()
        assert client.infer()[0] == 200
        assert client("GET", "/v2/health/ready")[0] == 200
        assert 0 <= json.loads(client("GET", "/status")[2])["registry_age_seconds"] < 60


def test_pre_and_postprocess_are_part_of_the_latency_end_to_end_and_not_of_the_models(
    registry: Path, tmp_path: Path
) -> None:
    def turned(feed: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        time.sleep(0.03)
        return {"x": np.roll(feed["x"], 1, axis=1)}

    def doubled(outputs: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        time.sleep(0.03)
        return {"scores": outputs["scores"] * 2}

    log = tmp_path / "a.jsonl"
    options = Options(preprocess=turned, postprocess=doubled, sample=100, log_inputs=True)
    client = _client(registry, tmp_path, options=options, log=log)
    status, answer = client.infer(body([one_hot(0)]))
    assert (status, answer["outputs"][0]["data"]) == (200, [2, 0, 0])  # of input 1, which is class 0 of v2
    counts = client.metrics()
    assert counts['weighbridge_latency_seconds_bucket{le="0.05",version="v2"}'] == 0
    whole, model = (counts[f'weighbridge_{name}_seconds_sum{{version="v2"}}'] for name in ("latency", "model_latency"))
    assert whole - model >= 0.06
    assert json.loads(log.read_text())["inputs"] == {"x": [one_hot(0)]}  # as it was asked


@pytest.mark.parametrize("broken", [lambda _: 1 / 0, lambda _: {}, lambda found: {k: v > 0 for k, v in found.items()}])
def test_a_pre_or_postprocess_that_fails_is_a_failed_request_that_says_so(
    registry: Path, tmp_path: Path, broken: Any
) -> None:
    for name, errors in (("preprocess", 0), ("postprocess", 1)):
        client = _client(registry, tmp_path / name, options=Options(**{name: broken}))
        status, answer = client.infer()
        assert (status, answer["error"].startswith(f"{name} failed: ")) == (500, True)
        assert client.metrics().get('weighbridge_errors_total{version="v2"}', 0) == errors


def test_a_line_that_a_full_disk_cuts_off_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lines.jsonl"
    appender, write = Appender(path), os.write
    appender.append({"first": 1})
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:5]))
    with pytest.raises(StateError, match="No space left"):
        appender.append({"second": 2})
    monkeypatch.setattr(os, "write", write)
    appender.append({"third": 3})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"first": 1}, {"third": 3}]
    if Path("/dev/full").exists():
        with pytest.raises(StateError, match="No space left"):
            Appender(Path("/dev/full")).append({"line": 1})
