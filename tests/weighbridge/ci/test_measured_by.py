from pathlib import Path

from tests.gate.project import write_project
from tests.registry.project import commit_all, make_repository
from weighbridge.ci.measured_by import continued, elsewhere, with_origin
from weighbridge.core.documents import Measurement, Params
from weighbridge.core.documents.keyed_report import ProjectReport
from weighbridge.core.git import Git


def test_what_was_measured_in_this_run_needs_no_word(tmp_path: Path) -> None:
    """Every recipe was weighed."""
    git = Git(make_repository(tmp_path))
    assert elsewhere(git, ".", ["int8", "fp16"], ["weigh@int8", "weigh@fp16", "judge"]) == ""


def test_the_headline_names_the_lock_that_a_measurement_comes_from(tmp_path: Path) -> None:
    """The commit that last wrote it, and its author; the author's name cannot become markup."""
    root = make_repository(tmp_path)
    git = Git(root)
    assert elsewhere(git, ".", ["int8"], []) == "not measured in this run: int8 (dvc.lock as of no commit)"
    (root / "net").mkdir()
    (root / "net/dvc.lock").write_text("schema: '2.0'\n")
    git.run("config", "user.name", "A. *Person*")
    commit = commit_all(root)[:7]
    clause = elsewhere(git, "net", ["a", "b", "c", "d", "e"], ["weigh@b"])
    assert clause.startswith("not measured in this run: a, c, d and 1 more (dvc.lock as of ")
    assert commit in clause
    report = with_origin(ProjectReport(headline="## ✅ Pass"), clause)
    assert report.headline.startswith("## ✅ Pass; not measured in this run")
    assert r"A. \*Person\*" in report.headline
    assert with_origin(report, "") is report


def test_launches_of_another_run_that_are_continued_are_named(tmp_path: Path) -> None:
    """DVC restores what the lock names, and the stage goes on from there: its evidence is not this run's alone."""
    root = write_project(tmp_path)
    params = Params.read(root / "params.yaml")
    assert continued(root, params, ["weigh@int8", "weigh@share"], "mine") == ""
    path = root / "measurements/int8/onnxruntime@local.json"

    def measured(*runs: tuple[str, str]) -> str:
        found = Measurement.read(path)
        details = {"runs": [{"run": run, "by": by, "at": "2026-11-20 08:00 UTC"} for run, by in runs]}
        found.model_copy(update={"protocol": found.protocol.model_copy(update={"details": details})}).write(path)
        return continued(root, params, ["weigh@int8"], "mine")

    assert measured(("mine", "CI")) == ""
    said = "continues an earlier measurement: int8 (measured by Ada, 2026-11-20 08:00 UTC)"
    assert measured(("other", "Ada"), ("mine", "CI")) == said
    assert continued(root, params, [], "mine") == ""
