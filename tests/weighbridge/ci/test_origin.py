from tests.registry.project import commit_all, make_repository
from weighbridge.ci.origin import elsewhere, with_origin
from weighbridge.core.documents.report import ProjectReport
from weighbridge.core.git import Git


def test_what_was_measured_in_this_run_needs_no_word(tmp_path):
    """Every recipe was weighed."""
    git = Git(make_repository(tmp_path))
    assert elsewhere(git, ".", ["int8", "fp16"], ["weigh@int8", "weigh@fp16", "judge"]) == ""


def test_the_headline_names_the_lock_that_a_measurement_comes_from(tmp_path):
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
