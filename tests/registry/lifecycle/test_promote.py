"""What enters the registry, and everything that does not."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.registry.project import BASELINE, MODEL, SOME, candidate_bytes, commit_all, edit_json, git, lock, write_run
from weighbridge.core.dvc_files import Lock, md5_of
from weighbridge.core.errors import InputError, IntegrityError, StateError, WeighbridgeError
from weighbridge.core.files import sha256_bytes, sha256_file
from weighbridge.registry.lifecycle.operate import Operator
from weighbridge.registry.lifecycle.promote import PromotionRequest, promote
from weighbridge.registry.lifecycle.selection import select
from weighbridge.registry.lookup.resolve import resolve
from weighbridge.registry.state.layout import WorkTree, read_record
from weighbridge.registry.state.tip import Settings
from weighbridge.registry.trust.verify import verify_models

RECIPES = ("int8", "fp16")


def refused(root: Path, kind: type[WeighbridgeError], message: str, request: PromotionRequest | None = None) -> None:
    """Promotion is refused with that message, and leaves nothing behind."""
    before = git(root, "rev-parse", "HEAD"), git(root, "status", "--porcelain")
    with pytest.raises(kind, match=message):
        promote(root, request or PromotionRequest("int8"))
    assert (git(root, "rev-parse", "HEAD"), git(root, "status", "--porcelain")) == before
    assert not (root / "registry").exists()


def relock(root: Path) -> None:
    """As if the pipeline had written what lies there, and it was committed."""
    lock(root, RECIPES)
    commit_all(root)


def test_what_passed_becomes_a_version_and_stable(project: Path) -> None:
    """The record says what was promoted, in one commit that leaves a clean tree."""
    commit = git(project, "rev-parse", "HEAD")
    committed = promote(project, PromotionRequest("int8", notes="first"))
    assert committed.event.kind == "promoted"
    assert git(project, "status", "--porcelain") == ""
    assert git(project, "rev-parse", "HEAD~1") == commit
    found = resolve(project, f"{MODEL}@stable")
    assert (found.version, found.digest) == ("v1", sha256_bytes(candidate_bytes("int8")))
    record = read_record(WorkTree(project), MODEL, "v1")
    assert record["commit"] == commit
    assert record["recipe"] == {"steps": [{"quantize": {"scheme": "static-int8"}}]}
    assert record["dvc_lock"] == sha256_file(project / "dvc.lock")
    assert record["baseline"] == {"version": "b1", "digest": sha256_bytes(BASELINE)}
    assert record["metrics"]["accuracy.top1"]["lower"] < 910 / 995 < record["metrics"]["accuracy.top1"]["upper"]
    assert record["licence"] == "Apache-2.0"
    assert record["notes"] == "first"
    assert record["verdict"]["verdict"] == "pass"


def test_promoting_needs_no_package_of_other_extras(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job that promotes has few packages: sizes under zstd are the gate's business."""
    monkeypatch.setitem(sys.modules, "zstandard", None)
    assert promote(project, PromotionRequest("int8")).event.kind == "promoted"


def test_the_baseline_is_recorded_once_and_always_deployable(promoted: Path) -> None:
    """Two promotions over one baseline make one baseline record, which resolves."""
    assert resolve(promoted, f"{MODEL}@baseline").digest == sha256_bytes(BASELINE)
    assert [row.baselines for row in verify_models(promoted)] == [1]


@pytest.mark.parametrize("verdict", ["fail", "inconclusive", "error"])
def test_no_other_verdict_than_pass_is_promoted(project: Path, verdict: str) -> None:
    """Fail, inconclusive and error are refused alike, with the recipe, the verdict and the budget's reason."""
    write_run(project, 1, {"int8": verdict})
    commit_all(project)
    refused(project, StateError, f"the verdict on 'int8' is {verdict}, not pass.*because")


def test_a_verdict_that_says_pass_over_a_failed_budget_is_refused(project: Path) -> None:
    """The verdict is worked out again from its budgets: the word alone opens nothing."""
    write_run(project, 1, {"int8": "fail"})
    edit_json(project / "reports/verdict.json", lambda v: v["recipes"]["int8"].update(verdict="pass"))
    relock(project)
    refused(project, StateError, "is fail, not pass")


def test_a_verdict_without_budgets_is_refused(project: Path) -> None:
    """Nothing judged is nothing passed."""
    edit_json(project / "reports/verdict.json", lambda v: v["recipes"]["int8"].update(budgets=[]))
    relock(project)
    refused(project, StateError, "is error, not pass")


def test_a_recipe_without_verdict_is_refused(project: Path) -> None:
    """A recipe that the gate never saw cannot pass."""
    edit_json(project / "reports/verdict.json", lambda v: v["recipes"].pop("int8"))
    relock(project)
    refused(project, StateError, "has no verdict on 'int8'")


def test_an_unknown_recipe_is_refused(project: Path) -> None:
    """A name that params.yaml does not have is an input error with the names that it has."""
    refused(project, InputError, "unknown recipe 'int7'", PromotionRequest("int7"))


def test_a_budget_that_nobody_waived_the_loosening_of_is_refused(project: Path) -> None:
    """A policy change that fails the gate also keeps everything out of the registry."""
    change = {"kind": "loosened", "budget": "size.bytes max", "base": "1", "head": "2"}
    edit_json(project / "reports/verdict.json", lambda v: v.update(policy_changes=[change]))
    relock(project)
    refused(project, StateError, "no waiver accepts it")


def test_an_expired_waiver_is_refused(project: Path) -> None:
    """A waiver counts until its last day."""
    use = {"file": "waivers/a.yaml", "who": "Test", "why": "x", "expires": "2020-01-01", "accepts": []}
    edit_json(project / "reports/verdict.json", lambda v: v.update(waivers=[use]))
    relock(project)
    refused(project, StateError, "expired on 2020-01-01")


@pytest.mark.parametrize("now", ["2026-11-23T00:00:00", "2026-11-23T23:59:59", "2026-11-24T00:00:00"])
def test_a_waiver_counts_through_its_last_day(project: Path, now: str) -> None:
    """To its last second, in UTC; a second later the version is refused."""
    use = {"file": "waivers/a.yaml", "who": "Test", "why": "x", "expires": "2026-11-23", "accepts": []}
    edit_json(project / "reports/verdict.json", lambda v: v.update(waivers=[use]))
    relock(project)
    settings = Settings(clock=lambda: datetime.fromisoformat(now).replace(tzinfo=UTC))
    if now.startswith("2026-11-24"):
        with pytest.raises(StateError, match="expired on 2026-11-23"):
            promote(project, PromotionRequest("int8"), settings=settings)
    else:
        assert promote(project, PromotionRequest("int8"), settings=settings).event.kind == "promoted"


@pytest.mark.parametrize(
    ("path", "change", "message"),
    [
        ("artifacts/recipes/int8/onnxruntime/model.onnx", None, "has the digest"),
        ("artifacts/baseline/onnxruntime/model.onnx", None, "has the digest"),
        (
            "measurements/int8/onnxruntime@local.json",
            lambda m: m["candidate"].update(digest=SOME),
            "candidate's digest",
        ),
        ("measurements/int8/onnxruntime@local.json", lambda m: m["baseline"].update(digest=SOME), "baseline's digest"),
        ("measurements/int8/onnxruntime@local.json", lambda m: m.update(examples=7), "measurement's digest"),
        (
            "measurements/int8/onnxruntime@local.json",
            lambda m: m.update(faults=["crashed"]),
            "records a fault: crashed",
        ),
        (
            "measurements/int8/onnxruntime@local.json",
            lambda m: m.update(recipe="fp16"),
            "measurement's digest|recipe's name",
        ),
        ("reports/verdict.json", lambda v: v["recipes"]["int8"]["candidate"].update(digest=SOME), "candidate's"),
        ("reports/verdict.json", lambda v: v["recipes"]["int8"]["baseline"].update(digest=SOME), "baseline's"),
        ("reports/verdict.json", lambda v: v["recipes"]["int8"].update(measurement=SOME), "measurement's digest"),
        ("reports/verdict.json", lambda v: v.update(model="other"), "the model is other"),
        ("artifacts/recipes/int8/onnxruntime/manifest.json", lambda m: m.update(baseline=SOME), "baseline's digest"),
        (
            "artifacts/recipes/int8/onnxruntime/manifest.json",
            lambda m: m.update(recipe={"steps": []}),
            "the recipe is not the one",
        ),
        (
            "artifacts/recipes/int8/onnxruntime/manifest.json",
            lambda m: m["artifact"].update(path="../x"),
            "outside its folder",
        ),
        (
            "artifacts/recipes/int8/onnxruntime/manifest.json",
            lambda m: m.update(sources={"params.yaml": SOME}),
            "made by another params.yaml than this checkout has",
        ),
        (
            "artifacts/baseline/onnxruntime/manifest.json",
            lambda m: m.update(settings={"model": {"factory": "a.b:other"}}),
            "the baseline was made with another model.factory",
        ),
        ("artifacts/recipes/int8/onnxruntime/manifest.json", lambda m: m.update(seed=9), "made with the seed 9"),
        ("artifacts/recipes/int8/onnxruntime/manifest.json", lambda m: m.update(data=SOME[:-1] + "b"), "other data"),
    ],
)
def test_documents_that_disagree_are_refused(project: Path, path: str, change: Any, message: str) -> None:
    """Manifest, measurement, verdict and bytes must be about one thing, even where dvc.lock agrees with all of them."""
    if change is None:
        (project / path).write_bytes(b"other bytes")
    else:
        edit_json(project / path, change)
    relock(project)
    refused(project, WeighbridgeError, message)


@pytest.mark.parametrize(
    "path",
    [
        "artifacts/recipes/int8/onnxruntime/manifest.json",
        "measurements/int8/onnxruntime@local.json",
        "reports/verdict.json",
    ],
)
def test_files_that_the_pipeline_did_not_make_are_refused(project: Path, path: str) -> None:
    """A file edited after the pipeline is not what dvc.lock says, however well it fits otherwise."""
    (project / path).write_text((project / path).read_text() + "\n")
    if path.startswith("reports"):
        commit_all(project)
    refused(project, IntegrityError, "is not what dvc.lock says")


def test_a_lock_file_with_another_source_than_the_checkout_is_refused(project: Path) -> None:
    """The artifact was made by it, as the lock says; what lies here made nothing."""
    (project / "net.py").write_text("WIDTH = 1\n")
    lock = yaml.safe_load((project / "dvc.lock").read_text())
    deps = [{"path": "net.py", "hash": "md5", "md5": 32 * "0"}]
    lock["stages"]["compress@int8"] = {
        "deps": deps,
        "outs": [{"path": "artifacts/recipes/int8", "md5": md5_of(Lock.of(lock), "artifacts/recipes/int8")}],
    }
    (project / "dvc.lock").write_text(yaml.safe_dump(lock))
    commit_all(project)
    refused(project, IntegrityError, "has another net.py for the stage compress@int8")


def test_a_lock_file_that_names_nothing_is_refused(project: Path) -> None:
    """What dvc.lock does not name was not made by the pipeline."""
    (project / "dvc.lock").write_text(yaml.safe_dump({"stages": {}}))
    commit_all(project)
    refused(project, StateError, "does not name artifacts/recipes/int8")


@pytest.mark.parametrize("path", ["dvc.lock", "reports/verdict.json", "measurements/int8/onnxruntime@local.json"])
def test_a_missing_file_is_refused(project: Path, path: str) -> None:
    """Nothing missing passes."""
    (project / path).unlink()
    if path != "measurements/int8/onnxruntime@local.json":
        commit_all(project)
    refused(project, WeighbridgeError, "file not found|cannot be read")


def test_a_dirty_tree_is_refused(project: Path) -> None:
    """A version names the commit that it was made from; a dirty tree has none."""
    (project / "new.py").write_text("x = 1")
    refused(project, StateError, "the tree is dirty: new.py")


def test_an_edited_record_is_not_to_be_committed(promoted: Path) -> None:
    """What lies in the registry's folder is restored, where other changes are committed."""
    path = promoted / f"registry/models/{MODEL}/versions/v1.yaml"
    path.write_text(path.read_text() + "\n")
    (promoted / "a.py").write_text("x = 1")
    with pytest.raises(StateError, match=r"v1\.yaml: was edited by hand.*restore them with git"):
        promote(promoted, PromotionRequest("fp16"))


def test_the_same_bytes_do_not_become_two_versions(promoted: Path) -> None:
    """Promoting what is a version already says which one it is."""
    with pytest.raises(StateError, match="are tiny-cnn@v2 already"):
        promote(promoted, PromotionRequest("int8"))


def test_quarantined_bytes_do_not_come_back(promoted: Path) -> None:
    """What was rolled back is not promoted again until somebody lifts the quarantine, with a reason."""
    Operator(promoted, MODEL).roll_back(reason="wrong answers")
    with pytest.raises(StateError, match="v2, which is quarantined"):
        promote(promoted, PromotionRequest("int8"))
    Operator(promoted, MODEL).quarantine("v2", reason="the data was wrong, not the model", lift=True)
    Operator(promoted, MODEL).release("v2", reason="back")
    assert resolve(promoted, MODEL).version == "v2"


def test_a_version_that_was_weighed_against_another_stable_is_refused(project: Path) -> None:
    """Two changes in budget, merged one after the other, may be over it together."""
    promote(project, PromotionRequest("int8"))
    write_run(project, 2, stable=SOME)
    commit_all(project)
    with pytest.raises(StateError, match="weighed against another stable than v1"):
        promote(project, PromotionRequest("int8"))
    write_run(project, 2, stable=sha256_bytes(candidate_bytes("int8", 1)))
    commit_all(project)
    assert promote(project, PromotionRequest("int8")).channels.stable.version == "v2"


def test_an_expectation_that_does_not_hold_is_refused(project: Path) -> None:
    """`--expect` names what must be stable for the decision to stand."""
    with pytest.raises(StateError, match="stable is none, expected v3"):
        promote(project, PromotionRequest("int8", expect="v3"))
    promote(project, PromotionRequest("int8", expect="none"))


def test_a_record_without_channel_moves_nothing(project: Path) -> None:
    """`--channel none` records a version for a canary; stable stays what it was."""
    promote(project, PromotionRequest("int8"))
    committed = promote(project, PromotionRequest("fp16", channel="none"))
    assert committed.event.kind == "recorded"
    assert resolve(project, MODEL).version == "v1"
    assert resolve(project, f"{MODEL}@v2").digest == sha256_bytes(candidate_bytes("fp16"))


@pytest.mark.parametrize(("by", "recipe"), [("smallest", "int8"), ("fastest", "int8"), ("most-accurate", "fp16")])
def test_selection_is_among_those_that_passed(project: Path, by: str, recipe: str) -> None:
    """The best by what was asked; one that failed is never selected."""
    assert select(project, by) == recipe
    other = next(name for name in RECIPES if name != recipe)
    write_run(project, 1, {recipe: "fail"})
    assert select(project, by) == other
    write_run(project, 1, {recipe: "fail", other: "inconclusive"})
    with pytest.raises(StateError, match="no recipe passed"):
        select(project, by)


def test_a_selection_by_what_was_not_measured_is_refused(project: Path) -> None:
    """No latency, no fastest: a missing estimate never wins."""
    edit_json(
        project / "measurements/int8/onnxruntime@local.json",
        lambda m: m["comparisons"][0]["metrics"].pop("latency.p50"),
    )
    with pytest.raises(InputError, match=r"latency.p50 of int8 was not measured"):
        select(project, "fastest")


def test_the_teacher_is_named_by_version(project: Path) -> None:
    """A distilled version names its teacher by digest, and by version where the registry knows it."""
    path = project / "artifacts/recipes/int8/onnxruntime/manifest.json"
    edit_json(path, lambda m: m.update(teacher=sha256_bytes(BASELINE)))
    relock(project)
    promote(project, PromotionRequest("int8"))
    assert read_record(WorkTree(project), MODEL, "v1")["teacher"]["version"] == "b1"


def test_a_local_dvc_remote_receives_the_bytes(project: Path, tmp_path: Path) -> None:
    """A version that is pushed names bytes that others can pull: candidate and baseline are in the remote."""
    (project / ".dvc/config").write_text(
        f"[core]\n    remote = store\n['remote \"store\"']\n    url = {tmp_path}/dvc\n"
    )
    commit_all(project)
    promote(project, PromotionRequest("int8"))
    stored = sorted(sha256_file(path) for path in (tmp_path / "dvc/files/md5").rglob("*") if path.is_file())
    assert stored == sorted([sha256_bytes(BASELINE), sha256_bytes(candidate_bytes("int8"))])


def test_the_record_keeps_what_the_gate_judged(project: Path) -> None:
    """Every budget with its interval stands in the record, as the gate wrote it."""
    promote(project, PromotionRequest("int8"))
    judged = json.loads((project / "reports/verdict.json").read_text())["recipes"]["int8"]["budgets"]
    assert read_record(WorkTree(project), MODEL, "v1")["verdict"]["budgets"] == judged
