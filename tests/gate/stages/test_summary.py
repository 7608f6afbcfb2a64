"""The stage `judge`: from files to verdict and report, and every disagreement between them."""

import copy
import csv
import datetime as dt
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.gate.evidence import digest
from tests.gate.project import BASELINE, CANDIDATES, PARAMS, evidence, write_artifact, write_project
from weighbridge.core.documents import GateVerdict, Measurement, PolicyChange, RecipeVerdict, Refusal, Verdict
from weighbridge.core.dvc_files import file_md5
from weighbridge.core.errors import InputError, IntegrityError
from weighbridge.core.files import sha256_bytes
from weighbridge.gate.report import plots
from weighbridge.gate.stages.summary import Base, check, judge
from weighbridge.gate.verdict.waivers import identity_in

TODAY = dt.date(2026, 11, 23)
MANIFEST = Path(__file__).parents[2] / "fixtures/manifest/before-sources.json"


@pytest.fixture(autouse=True)
def _drawing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing, which takes seconds, but where a test is about the pictures."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(plots, "PLOTS", {})


@pytest.fixture
def drawn() -> None:
    """Draw the pictures."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project whose int8 recipe passes and whose advisory recipe fails."""
    return write_project(tmp_path)


def params_with(**changes: dict[str, Any]) -> dict[str, Any]:
    """The project's params with some sections replaced."""
    return {**copy.deepcopy(PARAMS), **changes}


def loosened() -> str:
    """Params whose latency limit is stricter: the head then looks looser than it."""
    params = copy.deepcopy(PARAMS)
    params["budgets"][1]["max_ratio"] = 0.86
    return yaml.safe_dump(params)


def test_the_stage_writes_verdict_report_metrics_and_plots(root: Path, drawn: None) -> None:
    """All files of the stage, and the verdict of what counts: the advisory failure is shown and does not decide."""
    verdict = judge(root, today=TODAY)
    assert verdict.verdict is Verdict.PASS
    assert verdict.recipes["share"].verdict is Verdict.FAIL
    assert GateVerdict.read(root / "reports/verdict.json") == verdict
    assert {path.name for path in (root / "reports").iterdir()} == {
        "verdict.json", "gate.md", "gate.html", "metrics.json", "pareto.csv", "limits.csv", "launches.csv",
        "pareto.png", "limits.png", "launches.png",
    }  # fmt: skip
    metrics = json.loads((root / "reports/metrics.json").read_text())
    assert metrics["int8"]["size"]["bytes"] == 400
    assert metrics["int8"]["accuracy"]["drop"] == pytest.approx(0.004)
    rows = list(csv.DictReader((root / "reports/pareto.csv").open()))
    assert [row["model"] for row in rows] == ["baseline", "int8", "share"]


def test_the_stage_is_deterministic(root: Path, drawn: None) -> None:
    """The same inputs give the same bytes, pictures included."""
    judge(root, today=TODAY)
    first = {path.name: path.read_bytes() for path in (root / "reports").iterdir()}
    judge(root, today=TODAY)
    assert {path.name: path.read_bytes() for path in (root / "reports").iterdir()} == first


def refuse(root: Path, recipe: str, stage: str = "compress") -> None:
    """Put a refusal where a recipe's artifact or measurement was."""
    path = root / "artifacts/recipes" / recipe / "refusal.json"
    if stage == "weigh":
        path = root / "measurements" / recipe / "onnxruntime@local.refusal.json"
    else:
        shutil.rmtree(path.parent)
    Refusal(recipe=recipe, stage=stage, what="prunes nothing", where=f"params.yaml: recipes.{recipe}").write(path)


@pytest.mark.parametrize("stage", ["compress", "weigh"])
def test_a_recipe_without_an_artifact_fails_the_gate_and_the_others_are_judged(root: Path, stage: str) -> None:
    """It is named as an error with its reason; the report says so first."""
    refuse(root, "int8", stage)
    verdict = judge(root, today=TODAY)
    assert verdict.verdict is Verdict.FAIL
    assert verdict.refused["int8"].verdict is Verdict.ERROR
    assert verdict.recipes.keys() == {"share"}
    report = (root / "reports/gate.md").read_text()
    assert f"int8 could not be {'built' if stage == 'compress' else 'weighed'}" in report.splitlines()[0]
    assert "prunes nothing" in report
    checked = check(root, today=TODAY)
    assert checked.verdict.verdict.exit_code == 1
    assert f"int8: error ({stage} refused it): params.yaml: recipes.int8: prunes nothing" in checked.table()


def test_an_advisory_recipe_without_an_artifact_is_shown_and_does_not_decide(root: Path) -> None:
    """As one that fails its limits."""
    refuse(root, "share")
    verdict = judge(root, today=TODAY)
    assert verdict.verdict is Verdict.PASS
    assert verdict.refused["share"].advisory
    assert "advisory" in check(root, today=TODAY).table()


def test_a_gate_with_nothing_but_refusals_never_passes(tmp_path: Path) -> None:
    """Neither where they count nor where all are advisory."""
    root = write_project(tmp_path, params_with(recipes={"share": PARAMS["recipes"]["share"]}))
    refuse(root, "share")
    assert judge(root, today=TODAY).verdict is Verdict.ERROR
    (root / "params.yaml").write_text(yaml.safe_dump(params_with(recipes={"share": {"steps": [{"share": {}}]}})))
    assert judge(root, today=TODAY).verdict is Verdict.FAIL


def test_a_verdict_that_forgets_a_refusal_does_not_follow(root: Path) -> None:
    """Removing it by hand, or putting the artifact away after the verdict, is seen."""
    refuse(root, "int8")
    judge(root, today=TODAY)
    path = root / "reports/verdict.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "refused": {}, "verdict": "pass"}))
    with pytest.raises(IntegrityError, match="the verdict on int8 does not follow"):
        check(root, today=TODAY)


def test_a_verdict_without_a_merge_base_names_what_it_rests_on(root: Path) -> None:
    """By digest, in the document; the report compares nothing, and so has no table of it."""
    judge(root, today=TODAY)
    stored = GateVerdict.read(root / "reports/verdict.json")
    found = {item.subject: item for item in stored.basis}
    measured = Measurement.read(root / "measurements/int8/onnxruntime@local.json")
    assert found["test set"].digest == measured.data
    assert found["baseline onnxruntime"].digest == sha256_bytes(BASELINE)
    assert found["measurement int8"].digest == measured.content_digest()
    assert {"prepared data", "limits", "weighing settings"} < found.keys()
    assert {item.state for item in stored.basis} == {"recorded"}
    assert "What this verdict rests on" not in (root / "reports/gate.md").read_text()


def test_a_failed_recipe_fails_the_gate(tmp_path: Path) -> None:
    """One recipe that counts and is slower than its limit."""
    verdict = judge(write_project(tmp_path, int8=1.3), today=TODAY)
    assert verdict.verdict is Verdict.FAIL
    assert verdict.verdict.exit_code == 1


def another_file(root: Path) -> None:
    (root / "artifacts/recipes/int8/onnxruntime/model.onnx").write_bytes(b"x" * 400)


def another_artifact(root: Path) -> None:
    write_artifact(root / "artifacts/recipes/int8/onnxruntime", "int8", b"x" * 400)


def another_baseline(root: Path) -> None:
    write_artifact(root / "artifacts/baseline/onnxruntime", "baseline", b"x" * 1000)


def another_recipes_measurement(root: Path) -> None:
    evidence("share").write(root / "measurements/int8/onnxruntime@local.json")


def another_recipes_artifact(root: Path) -> None:
    write_artifact(root / "artifacts/recipes/int8/onnxruntime", "share", CANDIDATES["int8"])


@pytest.mark.parametrize(
    "tamper",
    [another_file, another_artifact, another_baseline, another_recipes_measurement, another_recipes_artifact],
)
def test_documents_that_speak_of_other_bytes_are_an_error(root: Path, tamper: Callable[[Path], None]) -> None:
    """Artifact, manifest, measurement and baseline must agree; otherwise nothing passes."""
    tamper(root)
    verdict = judge(root, today=TODAY)
    assert verdict.verdict is Verdict.ERROR
    assert all(item.verdict is Verdict.ERROR for item in verdict.recipes["int8"].budgets)


ANOTHER = {
    "recipe": (
        {"recipe": {"steps": [{"quantize": {"scheme": "fp16"}}]}},
        "another recipe than the one params.yaml has",
    ),
    "target": (
        {"recipe": {**PARAMS["recipes"]["int8"], "target": "litert"}},
        "another recipe than the one params.yaml",
    ),
    "baseline": ({"baseline": digest("another")}, "compressed from another baseline"),
    "no baseline": ({"baseline": None}, "compressed from another baseline"),
    "seed": ({"seed": 8}, "made with the seed 8; params.yaml has 7"),
    "model": ({"model": "other"}, "made for the model 'other'"),
    "data": ({"data": digest("another")}, "made with other data than the baseline"),
    "code": ({"sources": {"net.py": digest("another")}}, "made by another net.py than this checkout has"),
    "code outside": ({"sources": {"../../net.py": digest("net")}}, "made by another ../../net.py than this checkout"),
    "training": (
        {"settings": {"model": {"factory": "some.model:Net"}, "train": {"epochs": 3}}},
        "made with another train.epochs than params.yaml has now",
    ),
    "factory": (
        {"settings": {"model": {"factory": "some.model:Other"}, "train": {}}},
        "made with another model.factory than params.yaml has now",
    ),
}


@pytest.mark.parametrize("name", ANOTHER)
def test_old_bytes_under_new_params_are_an_error(root: Path, name: str) -> None:
    """A lock file resolved by hand pairs them; the manifest says what the bytes were made from."""
    change, said = ANOTHER[name]
    edit_json(root / "artifacts/recipes/int8/onnxruntime/manifest.json", **change)
    verdict = judge(root, today=TODAY).recipes["int8"]
    assert verdict.verdict is Verdict.ERROR
    assert all(said in item.reason for item in verdict.budgets)


def test_code_that_made_an_artifact_is_compared_with_the_checkout(root: Path) -> None:
    """The same bytes of code pass; after an edit, as under a lock edited by hand, or without the file, nothing does."""
    (root / "net.py").write_text("WIDTH = 1\n")
    edit_json(
        root / "artifacts/recipes/int8/onnxruntime/manifest.json", sources={"net.py": sha256_bytes(b"WIDTH = 1\n")}
    )
    assert judge(root, today=TODAY).recipes["int8"].verdict is Verdict.PASS
    (root / "net.py").write_text("WIDTH = 2\n")
    assert "another net.py" in judge(root, today=TODAY).recipes["int8"].budgets[0].reason
    (root / "net.py").unlink()
    assert judge(root, today=TODAY).recipes["int8"].verdict is Verdict.ERROR


def test_code_that_took_part_in_measuring_is_compared_with_the_checkout(root: Path) -> None:
    """A metric of the user's own that was edited since makes the measurement void."""
    path = root / "measurements/int8/onnxruntime@local.json"
    (root / "own.py").write_text("def f1(): ...\n")
    found = Measurement.read(path)
    code = {"code": {"own.py": sha256_bytes(b"def f1(): ...\n")}}
    found.model_copy(update={"protocol": found.protocol.model_copy(update={"details": code})}).write(path)
    assert judge(root, today=TODAY).recipes["int8"].verdict is Verdict.PASS
    (root / "own.py").write_text("def f1(): return 1\n")
    assert "measurement was taken with another own.py" in judge(root, today=TODAY).recipes["int8"].budgets[0].reason


def test_a_manifest_of_an_older_version_is_read_and_the_report_says_what_was_not_compared(root: Path) -> None:
    """It has no `sources`; where the lock's md5 of a dependency differs from the checkout, it does not pass."""
    folder = root / "artifacts/recipes/int8/onnxruntime"
    old = json.loads(MANIFEST.read_text())
    old["artifact"] = json.loads((folder / "manifest.json").read_text())["artifact"]
    (folder / "manifest.json").write_text(json.dumps(old))
    verdict = judge(root, today=TODAY)
    assert verdict.recipes["int8"].verdict is Verdict.PASS
    said = "The manifest of the artifact int8 records no code, as those of older versions: its code could not be"
    assert any(note.startswith(said) for note in verdict.notes)
    (root / "net.py").write_text("WIDTH = 2\n")
    stage = {
        "cmd": "weighbridge stage compress int8",
        "deps": [{"path": "net.py", "hash": "md5", "md5": file_md5(root / "net.py")}],
        "outs": [{"path": "artifacts/recipes/int8", "hash": "md5", "md5": f"{32 * 'a'}.dir"}],
    }
    lock = {"schema": "2.0", "stages": {"compress@int8": stage}}
    (root / "dvc.lock").write_text(yaml.safe_dump(lock))
    assert judge(root, today=TODAY).recipes["int8"].verdict is Verdict.PASS
    (root / "net.py").write_text("WIDTH = 3\n")
    found = judge(root, today=TODAY).recipes
    assert found["int8"].verdict is Verdict.ERROR
    assert "dvc.lock has another net.py for the stage compress@int8" in found["int8"].budgets[0].reason
    assert found["share"].verdict is not Verdict.ERROR


def test_data_that_differs_from_what_was_prepared_is_an_error(root: Path) -> None:
    """Artifact and measurement must rest on the data that lies in the checkout."""
    measurement = evidence("int8")
    index = root / "artifacts/data/data.json"
    index.parent.mkdir(parents=True)

    def prepared(test: str) -> RecipeVerdict:
        index.write_text(json.dumps({"splits": {"test": {"digest": test}}}))
        for folder in ("baseline", "recipes/int8", "recipes/share"):
            edit_json(root / f"artifacts/{folder}/onnxruntime/manifest.json", data=sha256_bytes(index.read_bytes()))
        return judge(root, today=TODAY).recipes["int8"]

    assert prepared(measurement.data).verdict is Verdict.PASS
    found = prepared(digest("another test set"))
    assert found.verdict is Verdict.ERROR
    assert "the measurement was taken on another test set" in found.budgets[0].reason
    index.write_text(json.dumps({"splits": {"test": {"digest": measurement.data}}}))
    found = judge(root, today=TODAY).recipes["int8"]
    assert "made with other data than artifacts/data/data.json names" in found.budgets[0].reason
    index.write_text("{}")
    with pytest.raises(InputError, match="names no test split"):
        judge(root, today=TODAY)


def test_another_stable_than_was_weighed_is_an_error(root: Path) -> None:
    """What the registry serves has changed since: the comparison against it is void."""
    found = evidence("int8")
    against = found.comparisons[0].model_copy(update={"against": "stable"})
    found.model_copy(update={"comparisons": [*found.comparisons, against]}).write(
        root / "measurements/int8/onnxruntime@local.json"
    )
    (root / "artifacts/stable").mkdir(parents=True)
    (root / "artifacts/stable/stable.json").write_text(
        json.dumps(
            {
                "version": "v2",
                "artifacts": {"onnxruntime": {"path": "onnxruntime/model.onnx", "digest": sha256_bytes(b"another")}},
            }
        )
    )
    assert judge(root, today=TODAY).verdict is Verdict.ERROR


@pytest.mark.parametrize(
    "missing",
    ["measurements/int8/onnxruntime@local.json", "artifacts/recipes/int8/onnxruntime/manifest.json", "params.yaml"],
)
def test_a_missing_file_is_one_clear_error_and_writes_nothing(root: Path, missing: str) -> None:
    """The file is named; no report of half the recipes is left behind."""
    (root / missing).unlink()
    with pytest.raises(InputError, match=missing.rsplit("/", maxsplit=1)[-1]):
        judge(root, today=TODAY)
    assert not (root / "reports").exists()


def test_a_full_disk_leaves_the_old_verdict(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The verdict is written last: a report that cannot be written is not spoken of."""
    judge(root, today=TODAY)
    before = (root / "reports/verdict.json").read_bytes()
    write_project(root, int8=1.3)
    (root / "reports/limits.csv").unlink()
    (root / "reports/limits.csv").mkdir()
    with pytest.raises(Exception, match=r"limits\.csv"):
        judge(root, today=TODAY)
    assert (root / "reports/verdict.json").read_bytes() == before


def test_checking_repeats_the_judgement(root: Path) -> None:
    """The stored verdict follows from the evidence: the same verdict, a table for the terminal."""
    verdict = judge(root, today=TODAY)
    checked = check(root, today=TODAY)
    assert checked.verdict == verdict
    assert "int8: pass" in checked.table()
    assert "share: fail (advisory)" in checked.table()
    assert checked.markdown == (root / "reports/gate.md").read_text()


def edit_verdict(root: Path) -> None:
    path = root / "reports/verdict.json"
    path.write_text(path.read_text().replace('"fail"', '"pass"'))


def edit_limit(root: Path) -> None:
    params = copy.deepcopy(PARAMS)
    params["budgets"][1]["max_ratio"] = 2.0
    (root / "params.yaml").write_text(yaml.safe_dump(params))


def edit_measurement(root: Path) -> None:
    found = Measurement.read(root / "measurements/share/onnxruntime@local.json")
    found.model_copy(update={"examples": 999}).write(root / "measurements/share/onnxruntime@local.json")


def add_recipe(root: Path) -> None:
    params = copy.deepcopy(PARAMS)
    del params["recipes"]["share"]  # type: ignore[attr-defined]
    (root / "params.yaml").write_text(yaml.safe_dump(params))


@pytest.mark.parametrize("tamper", [edit_verdict, edit_limit, edit_measurement, add_recipe])
def test_a_verdict_that_does_not_follow_is_refused(root: Path, tamper: Callable[[Path], None]) -> None:
    """Edited by hand, or older than params.yaml or a measurement: run the pipeline again."""
    judge(root, today=TODAY)
    tamper(root)
    with pytest.raises(IntegrityError, match="does not follow"):
        check(root, today=TODAY)


def test_loosening_against_the_merge_base_fails(root: Path) -> None:
    """The base asked for 0.86, the head asks for 0.9: reported, and failed without a waiver."""
    judge(root, today=TODAY)
    checked = check(root, base=Base("main", loosened()), today=TODAY)
    assert checked.verdict.verdict is Verdict.FAIL
    assert [change.kind for change in checked.verdict.policy_changes] == ["loosened"]
    assert "no waiver accepts it" in checked.table()
    assert checked.verdict.policy_changes[0].under_base == {"int8": "inconclusive", "share": "inconclusive"}
    assert "by the merge base's limit" in checked.markdown
    assert "What changed in params.yaml" in checked.markdown
    assert "`budgets[1].max_ratio` | `0.86` | `0.9`" in checked.markdown


def test_loosening_with_a_waiver_passes_and_is_shown(root: Path) -> None:
    """The waiver's person and reason stand in report and verdict document."""
    judge(root, today=TODAY)
    (root / "waivers").mkdir()
    (root / "waivers/latency.yaml").write_text(
        "budget: latency.p50\npolicy: true\nto: 0.9\nwho: A. Person\nwhy: Slower device.\nexpires: 2026-12-31\n"
    )
    checked = check(root, base=Base("main", loosened()), today=TODAY)
    assert checked.verdict.verdict is Verdict.PASS
    assert checked.verdict.waivers[0].who == "A. Person"
    assert "A. Person" in checked.markdown
    late = check(root, base=Base("main", loosened()), today=dt.date(2027, 1, 1))
    assert late.verdict.verdict is Verdict.FAIL


def test_the_merge_base_says_how_waivers_hold(root: Path) -> None:
    """A waiver that it has already is spent; what the change allows its own waivers does not count."""
    (root / "waivers").mkdir()
    text = "budget: latency.p50\npolicy: true\nto: 0.9\nwho: A. Person\nwhy: Slower.\nexpires: 2026-12-31\n"
    (root / "waivers/latency.yaml").write_text(text)
    judge(root, today=TODAY)
    spent = Base("main", loosened(), waivers=frozenset({identity_in(text, "a.yaml")}))
    assert check(root, base=spent, today=TODAY).verdict.verdict is Verdict.FAIL
    (root / "params.yaml").write_text(yaml.safe_dump(params_with(policy={"waiver_days": 3650})))
    (root / "waivers/latency.yaml").write_text(text.replace("2026-12-31", "2030-12-31"))
    verdict = check(root, base=Base("main", loosened()), today=TODAY).verdict
    assert verdict.verdict is Verdict.FAIL
    assert {(change.kind, change.blocks) for change in verdict.policy_changes} == {("loosened", True), ("policy", True)}


def test_what_the_caller_found_is_judged_by_the_base_too(root: Path) -> None:
    """A model that was renamed blocks by default, and is told where the base's policy says so."""
    judge(root, today=TODAY)
    moved = PolicyChange(kind="model renamed", budget="model a", base="a", head="b")
    same = (root / "params.yaml").read_text()
    for text, expected in ((same, Verdict.FAIL), (same + "policy: {on_change: {model renamed: tell}}\n", Verdict.PASS)):
        checked = check(root, base=Base("main", text, (moved,)), today=TODAY)
        assert checked.verdict.verdict is expected


def test_a_base_without_params_is_said(root: Path) -> None:
    """The first change that brings a gate: nothing to compare with, and the report says so."""
    judge(root, today=TODAY)
    checked = check(root, base=Base("abc123", None), today=TODAY)
    assert checked.verdict.verdict is Verdict.PASS
    assert any("abc123 has no params.yaml" in note for note in checked.verdict.notes)


def test_a_waived_failure_passes_until_it_expires(tmp_path: Path) -> None:
    """The stage applies waivers; a later check by the calendar does too."""
    root = write_project(tmp_path, int8=1.3)
    (root / "waivers").mkdir()
    (root / "waivers/a.yaml").write_text(
        f"budget: latency.p50\nrecipe: int8\ndigest: {sha256_bytes(CANDIDATES['int8'])}\nto: 1.4\n"
        "who: A. Person\nwhy: For now.\nexpires: 2026-11-30\n"
    )
    assert judge(root, today=TODAY).verdict is Verdict.PASS
    assert check(root, today=TODAY).verdict.verdict is Verdict.PASS
    assert check(root, today=dt.date(2026, 12, 1)).verdict.verdict is Verdict.FAIL


def test_what_was_checked_can_be_written_elsewhere(root: Path, tmp_path: Path) -> None:
    """For a comment on a pull request: verdict, markdown and page in a folder of their own."""
    judge(root, today=TODAY)
    check(root, today=TODAY).write(tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "verdict.json",
        "gate.md",
        "gate.html",
    }


def test_only_advisory_recipes_is_an_error(tmp_path: Path) -> None:
    """Nothing that counts was judged."""
    recipes = {"share": PARAMS["recipes"]["share"]}
    verdict = judge(write_project(tmp_path, params_with(recipes=recipes)), today=TODAY)
    assert verdict.verdict is Verdict.ERROR
    assert any("advisory" in note for note in verdict.notes)


def test_calibration_is_shown_where_there_is_one(root: Path) -> None:
    """Sentences about this device, by its fingerprint; a broken file is one clear error."""
    fingerprint = evidence("int8").device.fingerprint.removeprefix("sha256:")
    path = root / ".weighbridge/calibration" / f"{fingerprint}.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"sentences": ["This machine resolves 3%."]}))
    judge(root, today=TODAY)
    assert "This machine resolves 3%." in (root / "reports/gate.md").read_text()
    path.write_text("[]")
    with pytest.raises(InputError, match="calibrate"):
        judge(root, today=TODAY)


def several(root: Path, *, litert_ratio: float = 0.85) -> Path:
    """The project with one recipe built for two targets, the second weighed on a second device as well."""
    params = copy.deepcopy(PARAMS)
    params["recipes"] = {"int8": {**params["recipes"]["int8"], "target": ["onnxruntime", "litert"]}}
    params["targets"] = ["onnxruntime", "litert"]
    params["devices"] = {"local": {}, "pi": {"address": "ssh://pi", "targets": ["litert"]}}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    for folder, name, data in (
        ("artifacts/baseline/litert", "baseline", BASELINE),
        ("artifacts/recipes/int8/litert", "int8", CANDIDATES["int8"]),
    ):
        write_artifact(root / folder, name, data)
        edit_json(root / folder / "manifest.json", target="litert")
    for target in params["targets"]:  # type: ignore[attr-defined]
        made = root / f"artifacts/recipes/int8/{target}/manifest.json"
        edit_json(made, recipe=params["recipes"]["int8"])
    taken = evidence("int8", ratio=litert_ratio).model_copy(update={"target": "litert"})
    there = taken.device.model_copy(update={"name": "pi"})
    taken.write(root / "measurements/int8/litert@local.json")
    taken.model_copy(update={"device": there}).write(root / "measurements/int8/litert@pi.json")
    return root


def edit_json(path: Path, **values: str | dict[str, str] | list[str]) -> None:
    """Set values of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_every_target_on_every_device_is_judged(root: Path) -> None:
    """By name; and the report compares them on one page."""
    verdict = judge(several(root), today=TODAY)
    assert list(verdict.recipes) == ["int8/onnxruntime", "int8/litert", "int8/litert@pi"]
    assert {name: (item.target, item.device_name) for name, item in verdict.recipes.items()} == {
        "int8/onnxruntime": ("onnxruntime", "local"),
        "int8/litert": ("litert", "local"),
        "int8/litert@pi": ("litert", "pi"),
    }
    assert verdict.verdict is Verdict.PASS
    assert "<summary>Targets and devices</summary>" in (root / "reports/gate.md").read_text()


@pytest.mark.parametrize(
    ("device", "required", "expected"),
    [("pi", True, Verdict.PASS), ("pie", True, Verdict.ERROR), ("pie", False, Verdict.PASS)],
)
def test_a_budget_that_no_device_answers_to_never_passes(
    root: Path, device: str, required: bool, expected: Verdict
) -> None:
    """A misspelt name must not switch a required budget off: each verdict says so, and none can be promoted."""
    several(root)
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["budgets"].append({"metric": "latency.p50", "max": "1s", "device": device, "required": required})
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    verdict = judge(root, today=TODAY)
    assert verdict.verdict is expected
    assert {item.verdict for item in verdict.recipes.values()} == {expected}
    said = [item.reason for item in verdict.recipes["int8/litert"].budgets if item.verdict is Verdict.ERROR]
    assert all("no model was weighed on a device of the class or name 'pie'" in reason for reason in said)
    assert bool(said) == (expected is Verdict.ERROR)
    assert check(root, today=TODAY).verdict.verdict is expected


def test_one_slow_target_fails_the_recipe(root: Path) -> None:
    """The whole is the worst of all places."""
    verdict = judge(several(root, litert_ratio=1.3), today=TODAY)
    assert verdict.recipes["int8/onnxruntime"].verdict is Verdict.PASS
    assert verdict.verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("measurements/int8/litert@pi.json", {"target": "onnxruntime"}),
        ("artifacts/recipes/int8/litert/manifest.json", {"target": "onnxruntime"}),
    ],
)
def test_a_document_of_another_target_is_an_error(root: Path, path: str, values: dict[str, str]) -> None:
    """A measurement on one runtime says nothing of another."""
    several(root)
    edit_json(root / path, **values)
    assert judge(root, today=TODAY).recipes["int8/litert@pi"].verdict is Verdict.ERROR


def test_a_measurement_of_another_device_is_an_error(root: Path) -> None:
    """What was taken here does not stand in for there."""
    several(root)
    (root / "measurements/int8/litert@local.json").replace(root / "measurements/int8/litert@pi.json")
    (root / "measurements/int8/litert@local.json").write_bytes((root / "measurements/int8/litert@pi.json").read_bytes())
    verdict = judge(root, today=TODAY)
    assert verdict.recipes["int8/litert"].verdict is Verdict.PASS
    assert verdict.recipes["int8/litert@pi"].verdict is Verdict.ERROR


@pytest.mark.parametrize(("requires", "expected"), [([], Verdict.PASS), (["vnni"], Verdict.ERROR)])
def test_what_the_device_cannot_run_as_it_was_made_is_an_error(
    root: Path, requires: list[str], expected: Verdict
) -> None:
    """The artifact requires VNNI, the device has AVX2: what was measured is not what it answers where it belongs."""
    edit_json(root / "artifacts/recipes/int8/onnxruntime/manifest.json", requires=requires)
    verdict = judge(root, today=TODAY).recipes["int8"]
    assert verdict.verdict is expected
    said = [item.reason for item in verdict.budgets if "requires vnni, which the device 'local' lacks" in item.reason]
    assert bool(said) == bool(requires)


@pytest.mark.parametrize("name", ["params.yaml", "dvc.yaml", "waivers", "waivers/a.yaml"])
def test_links_where_the_gate_reads_are_refused(root: Path, name: str) -> None:
    """What a link names can change without it."""
    path, elsewhere = root / name, root / "elsewhere"
    path.parent.mkdir(exist_ok=True)
    if path.exists():
        path.rename(elsewhere)
    else:
        elsewhere.write_text("a: 1\n")
    path.symlink_to(elsewhere)
    with pytest.raises(InputError, match="is a symbolic link"):
        judge(root, today=TODAY)
