"""Measurements by content: begun anywhere, continued here, and never chosen by what they found."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.gate.models import linear, weights
from tests.gate.weighing.test_persistence import AT_THE_LIMIT, SIZE, job_in
from weighbridge.core.documents import Budget, Measurement
from weighbridge.core.dvc_files import MEASUREMENTS, measurement_name
from weighbridge.gate.measure.fingerprint import describe
from weighbridge.gate.weighing.by_content import ByContent, answered
from weighbridge.gate.weighing.continuing import continues, job_key
from weighbridge.gate.weighing.locked import weigh_locked

ACCURACY = Budget(metric="accuracy.flips", max=0.5)


def launches(found: Measurement) -> list[float] | None:
    return found.comparisons[0].metrics["latency.p50"].log_ratio


@pytest.fixture
def weighed(tmp_path: Path) -> tuple[Measurement, ByContent]:
    """A measurement of two launches, and the store that it was written to."""
    store = ByContent(tmp_path / "cache")
    return weigh_locked(job_in(tmp_path, launches=2), tmp_path / "one.json", store=store), store


def test_a_measurement_goes_on_in_another_clone(weighed: tuple[Measurement, ByContent], tmp_path: Path) -> None:
    """Its launches are kept and counted; the earlier run stays named."""
    first, store = weighed
    again = weigh_locked(job_in(tmp_path, launches=3), tmp_path / "elsewhere.json", store=store)
    assert launches(again)[:2] == launches(first)
    assert len(launches(again)) == 3
    assert Measurement.read(store.path(job_in(tmp_path))) == again


def test_a_remote_is_continued_and_wins_over_what_grew_apart(
    weighed: tuple[Measurement, ByContent], tmp_path: Path
) -> None:
    """What was shared first counts; a longer one is taken where it begins with all of it."""
    shared, store = weighed
    data = (tmp_path / "one.json").read_bytes()
    asked = []

    def fetch(name: str) -> bytes:
        asked.append(name)
        return data

    job = job_in(tmp_path, launches=2)
    found = replace(store, folder=tmp_path / "empty", fetch=fetch).find(job, None)
    assert found == shared
    assert asked == [f"{MEASUREMENTS}/{measurement_name(job_key(job))}"]
    longer = weigh_locked(job_in(tmp_path, launches=3), tmp_path / "one.json")
    far = replace(store, folder=tmp_path / "empty", fetch=lambda _: data)
    assert far.find(job, longer) == longer
    apart = changed(longer, [0.5, *launches(longer)[1:]])
    assert far.find(job, apart) == shared


def changed(found: Measurement, log_ratio: list[float]) -> Measurement:
    """A measurement with other launches."""
    comparison = found.comparisons[0]
    taken = comparison.metrics["latency.p50"].model_copy(update={"log_ratio": log_ratio})
    metrics = {**comparison.metrics, "latency.p50": taken}
    return found.model_copy(update={"comparisons": [comparison.model_copy(update={"metrics": metrics})]})


def test_a_store_that_git_tracks_is_not_believed(tmp_path: Path) -> None:
    """A change that points DVC's cache at a folder of the repository brings its measurements along."""
    for words in (["init", "-q"], ["config", "user.email", "a@example.org"], ["config", "user.name", "A"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    store = ByContent(tmp_path / "cache")
    job = job_in(tmp_path, launches=2)
    weigh_locked(job, tmp_path / "one.json", store=store)
    assert store.find(job, None) is not None
    subprocess.run(["git", "add", "-A"], cwd=tmp_path, check=True)
    assert store.find(job, None) is None
    before = store.path(job).read_bytes()
    store.keep(job, Measurement.read(store.path(job)).model_copy(update={"examples": 1}))
    assert store.path(job).read_bytes() == before


def test_a_remote_that_gives_another_measurement_is_not_believed(
    weighed: tuple[Measurement, ByContent], tmp_path: Path
) -> None:
    """Its name says what it has to be about."""
    other = job_in(tmp_path / "two" if (tmp_path / "two").mkdir() is None else tmp_path)
    other = replace(other, device=describe({"WEIGHBRIDGE_DEVICE_CLASS": "other"}))
    far = ByContent(tmp_path / "empty", lambda _: (tmp_path / "one.json").read_bytes())
    assert far.find(other, None) is None


def test_another_budget_is_judged_from_the_measurement_that_there_is(tmp_path: Path) -> None:
    """Nothing runs where it says all that is asked; what it does not say is measured, and nothing else."""
    store = ByContent(tmp_path / "cache")
    job = job_in(tmp_path, [SIZE, ACCURACY])
    first = weigh_locked(job, tmp_path / "one.json", store=store)
    assert answered(first, job)
    said = []
    tighter = job_in(tmp_path, [Budget(metric="size.bytes", max_ratio=1.5), ACCURACY])
    again = weigh_locked(tighter, tmp_path / "two.json", lambda *words: said.append(words[0]), store=store)
    assert again == first
    assert said == []
    assert not answered(first, job_in(tmp_path, [SIZE, ACCURACY, AT_THE_LIMIT]))
    bare = first.comparisons[0].model_copy(update={"metrics": {}})
    assert not answered(first.model_copy(update={"comparisons": [bare]}), job)
    assert not answered(first.model_copy(update={"comparisons": []}), job)
    assert not answered(first.model_copy(update={"faults": ["it crashed"]}), job)
    assert not answered(first.model_copy(update={"missing": {"stable": "none"}}), job)
    assert not answered(first, replace(job, options=replace(job.options, code={"metric.py": "sha256:" + "0" * 64})))


def test_an_open_question_is_not_answered(weighed: tuple[Measurement, ByContent], tmp_path: Path) -> None:
    """Two launches decide nothing at the limit."""
    first, _ = weighed
    assert not answered(first, job_in(tmp_path, launches=2))


def test_the_same_bytes_of_another_recipe_are_that_recipes_measurement(tmp_path: Path) -> None:
    """By content; the document names the recipe that asked."""
    store = ByContent(tmp_path / "cache")
    job = job_in(tmp_path, [SIZE])
    weigh_locked(replace(job, options=replace(job.options, recipe="a")), tmp_path / "a.json", store=store)
    found = weigh_locked(replace(job, options=replace(job.options, recipe="b")), tmp_path / "b.json", store=store)
    assert found.recipe == "b"


def test_a_runtime_belongs_to_its_own_target(tmp_path: Path) -> None:
    """Another version of LiteRT is another device for its files alone; older documents with all of them still count."""
    job = job_in(tmp_path, [SIZE])
    device = describe({})
    upgraded = device.model_copy(update={"runtimes": {**device.runtimes, "ai-edge-litert": "99"}})
    assert device.for_target("onnxruntime").fingerprint == upgraded.for_target("onnxruntime").fingerprint
    assert device.for_target("litert").fingerprint != upgraded.for_target("litert").fingerprint
    newer = device.model_copy(update={"runtimes": {**device.runtimes, "onnxruntime": "99"}})
    assert device.for_target("onnxruntime").fingerprint != newer.for_target("onnxruntime").fingerprint
    found = weigh_locked(job, tmp_path / "one.json")
    assert "ai-edge-litert" not in found.device.runtimes
    assert continues(found.model_copy(update={"device": upgraded}), job)


def test_the_store_is_found_around_a_project(tmp_path: Path) -> None:
    """In DVC's cache, wherever its configuration puts it; a folder without DVC has none."""
    assert ByContent.around(tmp_path) is None
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "models").mkdir()
    store = ByContent.around(tmp_path / "models")
    assert store is not None
    assert store.folder == tmp_path / ".dvc/cache"
    linear(tmp_path / "x.onnx", weights())
    assert isinstance(store.path(job_in(tmp_path)), Path)
