import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.gate.models import adapter, examples, linear, weights
from weighbridge.core.documents import Absent, Budget, Launches, Proportions, Weighing
from weighbridge.core.errors import InputError
from weighbridge.data import Split
from weighbridge.gate.devices import local
from weighbridge.gate.measure import evaluation
from weighbridge.gate.measure.fingerprint import describe
from weighbridge.gate.measure.launches import LaunchProtocol
from weighbridge.gate.measure.model_files import read_model
from weighbridge.gate.measure.runtimes import ADAPTERS
from weighbridge.gate.verdict.judge import judge
from weighbridge.gate.weighing.continuing import continues
from weighbridge.gate.weighing.default_limits import default_budgets
from weighbridge.gate.weighing.job import Job, JobOptions, Source, read_job, with_metrics
from weighbridge.gate.weighing.weigh import weigh

QUICK = LaunchProtocol(warm_seconds=0.0, rounds=10, fewest_rounds=5, launch_seconds=0.2)
SIZE = Budget(metric="size.bytes", max_ratio=1.0)
P50 = Budget(metric="latency.p50", max_ratio=1.5, resolution=0.5)
CALM_OR_NOT = ("pass", "inconclusive")
"""What may come of a good candidate: tests run on machines that do other things."""
TOP1 = Budget(metric="accuracy.top1", max_drop=0.05)


PLAIN = "return [x @ w]"
"""A runtime in numpy alone, quick to start."""


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Job]:
    """A job for a baseline and a candidate with the given weights; runs on the runtime given as a function body."""

    def job(
        budgets: list[Budget],
        candidate: NDArray[Any] | None = None,
        *,
        padding: int = 0,
        run: str | None = None,
        stable: Path | None = None,
        count: int = 400,
        **rest: float | bool | dict[str, str],
    ) -> Job:
        if run is not None:
            # The baseline is recognised by its folder's number and stays honest.
            body = f"if self.honest: return [x @ self.w]\n{run}"
            load = "global honest, w\nhonest = '/0/' in path\nw = np.load({!r})"
            path = adapter(tmp_path, body, load=load.format(str(tmp_path / "w.npy")))
            np.save(tmp_path / "w.npy", weights())
            path.write_text(path.read_text().replace("self.honest", "honest").replace("self.w", "w"))
            monkeypatch.setitem(ADAPTERS, "faulty", path)
        source = Source(
            linear(tmp_path / "baseline.onnx", padding=100),
            linear(tmp_path / "candidate.onnx", candidate, padding=padding),
            examples(count),
            "eval.npz",
            stable=stable,
        )
        weighing = Weighing(time_limit=rest.pop("time_limit", 30.0))
        runtime = "faulty" if run is not None else "onnxruntime"
        return read_job(source, budgets, describe({}), weighing, JobOptions(protocol=QUICK, runtime=runtime, **rest))

    return job


def test_words_where_the_file_says_scores_are_a_fault(make: Callable[..., Job]) -> None:
    """Text is an answer only of a file that says so."""
    job = make([TOP1], run="return [(x @ w).astype(str)]")
    assert weigh(job).faults == ["candidate: output 'scores' is float32, and its answers are not"]


def test_a_candidate_like_its_baseline_passes(make: Callable[..., Job]) -> None:
    """Facts, answers and launches of two files through onnxruntime, and a verdict over them."""
    job = make([SIZE, P50, TOP1], weights() * np.float32(2))
    seen = []
    before = os.sched_getaffinity(0)
    measurement = weigh(job, progress=lambda *said: seen.append(said))
    size, latency, top1 = judge(measurement, job.budgets).budgets
    assert (size.verdict, top1.verdict) == ("pass", "pass")
    assert latency.verdict in CALM_OR_NOT
    (comparison,) = measurement.comparisons
    assert isinstance(comparison.metrics["latency.p50"], Launches)
    assert len(comparison.metrics["latency.p50"].log_ratio) >= 10
    assert comparison.metrics["accuracy.top1"] == Proportions(both=400, only_reference=0, only_candidate=0, neither=0)
    assert measurement.faults == []
    assert os.sched_getaffinity(0) == before
    assert {stage for stage, *_ in seen} == {"accuracy", "weigh"}


def test_a_candidate_that_is_fast_on_the_test_set_alone_is_named(make: Callable[..., Job], tmp_path: Path) -> None:
    """It recognises the examples by their bytes; the report says how much longer others take."""
    np.save(tmp_path / "known.npy", np.sort([float(row.sum()) for row in examples(400).inputs["x"]]))
    known = f"np.load({str(tmp_path / 'known.npy')!r})"
    body = f"if len(x) == 1 and not np.isclose({known}, float(x.sum()), 1e-7, 0).any(): time.sleep(0.02)"
    job = make([Budget(metric="latency.p50", max_ratio=1000.0)], padding=10, time_limit=3.0, run=f"{body}\n{PLAIN}")
    (comparison,) = weigh(job).comparisons
    assert any("beside the baseline for inputs that are like" in note for note in comparison.controls.notes)


def test_a_worse_candidate_fails_before_anything_is_timed(make: Callable[..., Job]) -> None:
    """Accuracy failed for certain: no launch is taken, unless everything was asked for."""
    worse = make([P50, TOP1], -weights())
    measurement = weigh(worse)
    verdict = judge(measurement, worse.budgets)
    assert verdict.verdict == "fail"
    assert "latency.p50" not in measurement.comparisons[0].metrics
    assert len(measurement.comparisons[0].flips) == 20
    all_of_it = weigh(replace(worse, options=replace(worse.options, thorough=True), weighing=Weighing(time_limit=3)))
    assert "latency.p50" in all_of_it.comparisons[0].metrics


def test_the_same_bytes_pass_untimed(make: Callable[..., Job]) -> None:
    """Identical files are decided by their digest."""
    job = make([SIZE, P50, TOP1], padding=100)
    measurement = weigh(job)
    assert judge(measurement, job.budgets).verdict == "pass"
    assert "latency.p50" not in measurement.comparisons[0].metrics


FAULTS = {
    "NaN": "return [np.full((len(x), 3), np.nan, np.float32)]",
    "constant": "return [np.zeros((len(x), 3), np.float32)]",
    "crash": "os.abort()",
    "killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "hang": "time.sleep(600)",
    "dies while timed": "if len(x) == 1 and self.calls > 300: os.abort()\nreturn [x @ w]",
    "NaN while timed": "return [x @ w * (np.nan if len(x) == 1 and self.calls > 300 else 1)]",
    "shape while timed": "return [(x @ w)[:, : 2 + (self.calls < 300)]]",
}


@pytest.mark.parametrize("name", FAULTS)
def test_no_fault_of_a_candidate_passes(make: Callable[..., Job], monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Every fault is recorded, and the verdict is an error: exit 3."""
    monkeypatch.setattr("weighbridge.gate.weighing.time_outs.SHORTEST_TIMEOUT", 1.0)
    monkeypatch.setattr("weighbridge.gate.weighing.time_outs.LONGEST_TIMEOUT", 1.5)
    job = make([TOP1, P50], run=FAULTS[name])
    job = (
        replace(job, options=replace(job.options, protocol=replace(QUICK, warm_inferences=400)))
        if "timed" in name
        else job
    )
    measurement = weigh(job)
    verdict = judge(measurement, job.budgets)
    assert len(measurement.faults) == 1
    assert measurement.faults[0].startswith("candidate:")
    assert not measurement.protocol.complete
    assert verdict.verdict == "error"
    assert verdict.verdict.exit_code == 3


def endless(path: Path) -> Path:
    """A file that onnxruntime loads and never finishes: a loop of 2^62 rounds around the linear model."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Neg", ["v"], ["u"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, None),
        ],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, []),
         helper.make_tensor_value_info("u", TensorProto.FLOAT, None)],
    )  # fmt: skip
    trips = helper.make_node("Constant", [], ["trips"], value=numpy_helper.from_array(np.array(2**62)))
    return linear(path, extra=[trips, helper.make_node("Loop", ["trips", "", "raw"], ["scores"], body=body)])


def greedy(path: Path) -> Path:
    """A file that asks for four terabytes while it runs."""
    size = helper.make_node("Constant", [], ["size"], value=numpy_helper.from_array(np.array([2**40])))
    return linear(path, extra=[
        size,
        helper.make_node("ConstantOfShape", ["size"], ["huge"]),
        helper.make_node("ReduceSum", ["huge"], ["none"], keepdims=0),
        helper.make_node("Add", ["raw", "none"], ["scores"]),
    ])  # fmt: skip


@pytest.mark.parametrize(("spoil", "said"), [(endless, "hung"), (greedy, "candidate: ")])
def test_a_real_file_that_hangs_or_swallows_memory_is_an_error(
    make: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], Path], said: str
) -> None:
    """The same through onnxruntime itself, on files that are valid ONNX."""
    monkeypatch.setattr("weighbridge.gate.weighing.time_outs.LONGEST_TIMEOUT", 4.0)
    job = make([TOP1], weights() * np.float32(2))
    path = spoil(tmp_path / "spoilt" / "candidate.onnx")
    measurement = weigh(replace(job, candidate=read_model(path, "candidate")))
    assert said in measurement.faults[0]
    assert judge(measurement, job.budgets).verdict == "error"


def test_a_measurement_continues_only_what_it_is_about(
    make: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other bytes, data, device, threads, batch or protocol start afresh; the same go on and keep their numbers."""
    job = make([P50], weights() * np.float32(2), time_limit=1.2)
    first = weigh(job)
    assert continues(first, job)
    second = weigh(job, previous=first)
    before, after = (item.comparisons[0].metrics["latency.p50"].log_ratio for item in (first, second))
    assert after[: len(before)] == before
    assert second.protocol.elapsed_seconds > first.protocol.elapsed_seconds
    assert not continues(first, make([P50], weights() * np.float32(3)))
    job = make([P50], weights() * np.float32(2))
    assert not continues(first, replace(job, split=examples(399)))
    assert not continues(first, replace(job, device=describe({"WEIGHBRIDGE_DEVICE_CLASS": "other"})))
    assert not continues(first, replace(job, weighing=Weighing(threads=2)))
    assert not continues(first, replace(job, weighing=Weighing(batch_size=2)))
    assert not continues(first, replace(job, runtime="litert"))
    assert continues(first, replace(job, weighing=Weighing(time_limit=9, seed=3)))
    monkeypatch.setattr("weighbridge.gate.weighing.continuing.PROTOCOL_VERSION", 99)
    assert not continues(first, job)


def test_a_fault_is_not_forgotten_by_weighing_again(make: Callable[..., Job]) -> None:
    """The later measurement says that an earlier run crashed."""
    job = make([TOP1], run="os.abort()")
    failed = weigh(job)
    again = weigh(replace(job, runtime="onnxruntime"), previous=failed.model_copy(update={"target": "onnxruntime"}))
    assert again.faults == []
    assert "ended in a fault" in again.comparisons[0].controls.notes[0]


@pytest.mark.parametrize("when", ["before it is staged", "while it runs"])
def test_a_file_swapped_while_it_is_weighed_is_an_error(
    make: Callable[..., Job], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, when: str
) -> None:
    """The digest in a verdict is that of the bytes that ran, and of the file that lies there afterwards."""
    job = make([TOP1], padding=10)

    def swap() -> None:
        linear(tmp_path / "candidate.onnx", -weights(), padding=10)

    if when == "before it is staged":
        swap()
    else:
        answer = evaluation.answer
        monkeypatch.setattr(local, "answer", lambda *args, **more: (swap(), answer(*args, **more))[1])
    found = weigh(job)
    assert len(found.faults) == 1
    assert "candidate.onnx was replaced while it was weighed" in found.faults[0]
    assert judge(found, job.budgets).verdict == "error"


def test_stable_is_a_second_reference_in_the_same_launches(make: Callable[..., Job], tmp_path: Path) -> None:
    """Limits against what is served now rest on launches of all three."""
    stable = linear(tmp_path / "stable.onnx", weights() * np.float32(3))
    against = [P50, Budget(metric="latency.p50", max_ratio=1.5, resolution=0.5, against="stable"),
               Budget(metric="accuracy.top1", max_drop=0.05, against="stable")]  # fmt: skip
    job = make(against, weights() * np.float32(2), stable=stable, run=PLAIN, time_limit=8.0)
    measurement = weigh(job)
    assert [item.against for item in measurement.comparisons] == ["baseline", "stable"]
    baseline, second = (item.metrics["latency.p50"] for item in measurement.comparisons)
    assert baseline.numbers == second.numbers
    assert baseline.candidate == second.candidate
    assert (baseline.reference, baseline.log_ratio) != (second.reference, second.log_ratio)
    assert judge(measurement, job.budgets).verdict in CALM_OR_NOT


def test_a_stable_of_the_baselines_bytes_is_not_measured_twice(make: Callable[..., Job], tmp_path: Path) -> None:
    """Both comparisons then share their reference."""
    stable = linear(tmp_path / "stable.onnx", padding=100)
    budgets = [P50, Budget(metric="latency.p50", max_ratio=1.5, resolution=0.5, against="stable")]
    measurement = weigh(make(budgets, weights() * np.float32(2), stable=stable, run=PLAIN, time_limit=2.0))
    first, second = (item.metrics["latency.p50"] for item in measurement.comparisons)
    assert first == second


def test_a_missing_stable_is_an_error_that_names_it(make: Callable[..., Job]) -> None:
    """Never a pass by default."""
    budgets = [Budget(metric="latency.p50", max_ratio=1.5, against="stable")]
    job = make(budgets, weights() * np.float32(2), missing={"stable": "the registry is empty"})
    verdict = judge(weigh(job), job.budgets)
    assert verdict.verdict == "error"
    assert "the registry is empty" in verdict.budgets[0].reason


def test_what_cannot_be_measured_is_absent_and_never_passes(
    make: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Energy without counters, end to end without the user's code."""
    monkeypatch.setattr("weighbridge.gate.devices.local.counters", lambda: "this machine shows no counters")
    budgets = [Budget(metric="energy", max_ratio=1.0), Budget(metric="latency.end_to_end", max_ratio=1.1)]
    job = make(budgets, weights() * np.float32(2))
    measurement = weigh(job)
    assert measurement.comparisons[0].metrics["energy"] == Absent(reason="this machine shows no counters")
    verdict = judge(measurement, job.budgets)
    assert [item.verdict for item in verdict.budgets] == ["error", "error"]


def test_every_sampled_metric_is_taken_where_a_budget_names_it(make: Callable[..., Job]) -> None:
    """Cold start, throughput, tails and memory in one set of launches."""
    names = ["cold_start", "throughput", "latency.p95", "latency.p99", "memory.peak"]
    budgets = with_metrics([], names)
    job = make(budgets, weights() * np.float32(2), thorough=True)
    measurement = weigh(replace(job, weighing=Weighing(time_limit=300.0, launches=3)))
    found = measurement.comparisons[0].metrics
    lengths = {name: len(found[name].candidate) for name in names}
    assert set(lengths.values()) == {3}
    assert found["throughput"].candidate[0] > 100
    assert measurement.protocol.details["empty_runtime_bytes"] > 1e6


def test_users_metrics_see_all_outputs_and_can_be_limited(make: Callable[..., Job]) -> None:
    """A budget may name `module:callable`."""
    budgets = [Budget(metric="mine:share", min=0.9)]
    job = make(budgets, weights() * np.float32(2), users={"mine:share": lambda outputs, labels: float(
        np.mean(outputs[0].argmax(axis=1) == labels))})  # fmt: skip
    verdict = judge(weigh(job), job.budgets)
    assert verdict.budgets[0].verdict == "pass"
    assert verdict.budgets[0].estimate == 1.0


def test_budgets_for_another_device_are_not_measured(make: Callable[..., Job]) -> None:
    """Only what is judged here is timed here."""
    measurement = weigh(
        make([Budget(metric="latency.p50", max_ratio=1.1, device="phone"), SIZE], weights() * np.float32(2))
    )
    assert "latency.p50" not in measurement.comparisons[0].metrics


def test_default_budgets_follow_the_labels() -> None:
    """Classes get top-1 and flips, numbers get the mean error."""
    assert {item.metric for item in default_budgets(examples(9))} == {
        "size.bytes", "latency.p50", "accuracy.top1", "accuracy.flips",
    }  # fmt: skip
    numbers = examples(9)
    numbers = type(numbers)(numbers.inputs, numbers.labels + 0.5)
    assert {item.metric for item in default_budgets(numbers)} == {"size.bytes", "latency.p50", "accuracy.mae"}


@pytest.mark.parametrize(
    ("labels", "form"),
    [
        (np.array([0.0, 1.0, 2.0]), "whole numbers"),
        (np.array([[0], [1], [2]]), "whole numbers"),
        (np.eye(3, dtype=np.float32), "one-hot rows"),
        (np.eye(3, dtype=np.int64), "one-hot rows"),
    ],
)
def test_classes_in_another_form_never_become_a_regression(labels: NDArray[Any], form: str) -> None:
    """Float or one-hot labels are refused without budgets; measured values are judged by their mean error."""
    with pytest.raises(InputError, match=f"the labels are {form}") as caught:
        default_budgets(Split({"x": np.zeros((3, 1))}, labels))
    assert "accuracy.mae" in str(caught.value)
    measured = Split({"x": np.zeros((3, 1))}, np.array([0.5, 1.0, 2.0]))
    assert "accuracy.mae" in {item.metric for item in default_budgets(measured)}


def test_asked_for_metrics_get_a_limit_where_none_names_them() -> None:
    """Every metric of the table can be asked for; a user's own decides nothing by default."""
    found = with_metrics([P50], ["latency.p50", "throughput", "accuracy.auc", "params", "energy", "mine:score"])
    assert [(item.metric, item.rule.name, item.required) for item in found] == [
        ("latency.p50", "max_ratio", True),
        ("throughput", "min_ratio", True),
        ("accuracy.auc", "max_drop", True),
        ("params", "max_ratio", True),
        ("energy", "max_ratio", True),
        ("mine:score", "max_drop", False),
    ]
    with pytest.raises(InputError, match=r"did you mean 'latency\.p95'"):
        with_metrics([], ["latency.p5"])
