"""The gate of a change: which projects, which exit code, which lines; the pipeline itself is a stand-in here."""

import datetime as dt
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from tests.documents import gate_verdict, recipe_verdict
from weighbridge.ci import change_gate as gates
from weighbridge.ci.change_gate import Change, judge_all, judge_project
from weighbridge.ci.evidence_bundle import FOLDER, EvidenceBundle
from weighbridge.ci.judged import JudgedProject, exit_code, write_out
from weighbridge.ci.marks import marks
from weighbridge.ci.reproducing import Reproduced
from weighbridge.core.documents import BudgetVerdict, GateVerdict, Params, PolicyChange, Verdict
from weighbridge.core.documents.keyed_report import ChangeReport, ProjectReport
from weighbridge.core.errors import ExitCode, InputError
from weighbridge.core.git import Git
from weighbridge.gate.stages import summary

PARAMS = """\
model: {name: m, factory: "a:b"}
data: {factory: "c:d"}
recipes:
  int8: {steps: [{quantize: {scheme: fp16}}]}
  extreme:
    advisory: true
    steps: [{quantize: {scheme: fp16}}]
budgets:
  - {metric: size.bytes, max: 10kB}
  - {metric: accuracy.top1, max_drop: 0.01}
"""
STAGE = "stages:\n  judge: {cmd: weighbridge stage judge, deps: [nets/model.py]}\n"
EMPTY = "d41d8cd98f00b204e9800998ecf8427e"
LOCK = f"schema: '2.0'\nstages:\n  judge: {{deps: [{{path: nets/model.py, md5: {EMPTY}, hash: md5}}]}}\n"
DIGEST = "sha256:" + "0" * 64
TODAY = dt.date(2026, 11, 23)


def budget(metric: str = "size.bytes", verdict: Verdict = Verdict.FAIL, **changed: str) -> BudgetVerdict:
    rule, limit, against = ("max", 1e4, None) if metric == "size.bytes" else ("max_drop", 0.01, "baseline")
    content = {
        "metric": metric, "against": against, "rule": rule, "limit": limit, "unit": "bytes", "estimate": 2e4,
        "lower": 2e4, "upper": 2e4, "verdict": verdict, "reason": "twice the limit", "required": True,
    }  # fmt: skip
    return BudgetVerdict(**content | changed)


def verdict(policy: list[PolicyChange] = (), **recipes: list[BudgetVerdict]) -> GateVerdict:
    made = {
        name: recipe_verdict(
            items[0].verdict if items else Verdict.ERROR, items, baseline={"digest": DIGEST},
            candidate={"digest": DIGEST}, device="d", device_fingerprint=DIGEST, measurement=DIGEST,
            advisory=name == "extreme",
        )
        for name, items in recipes.items()
    }  # fmt: skip
    whole = made["int8"].verdict
    return gate_verdict(made, whole, model="m", device="d", policy=DIGEST, policy_changes=list(policy))


@pytest.fixture
def git(tmp_path: Path) -> Git:
    made = Git(tmp_path)
    made.run("init", "--quiet", "--initial-branch=main")
    made.run("config", "user.name", "test")
    made.run("config", "user.email", "test@example.invalid")
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets/model.py").write_text("")
    (tmp_path / "dvc.yaml").write_text(STAGE)
    (tmp_path / "dvc.lock").write_text(LOCK)
    commit(made, "first")
    made.run("branch", "base")
    return made


def commit(git: Git, message: str) -> None:
    git.run("add", "--all")
    git.run("commit", "--quiet", "--allow-empty", "--message", message)


class Stand:
    """Of `weighbridge.gate.stages.summary.CheckedGateGate`, what the gate uses."""

    def __init__(self, found: Any) -> None:
        self.verdict = found

    def told(self, **fields: object) -> Self:
        return self

    def sections(self, project: Path) -> ProjectReport:
        return ProjectReport(project=project, headline=f"## {self.verdict.verdict}")

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "gate.html").write_text("<html>")


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stand-ins for `dvc repro` and the judge; what they were asked."""
    asked: dict[str, Any] = {
        "ran": [],
        "verdict": verdict(int8=[budget(verdict=Verdict.PASS)]),
        "done": Reproduced(("judge",), None, "", ExitCode.PASS),
    }

    def check(root: object, *, base: summary.Base | None, today: dt.date | None, **options: object) -> Stand:
        asked["base"], asked["today"] = base, today
        found = asked["verdict"]
        return Stand(found)

    def reproduce(root: Path, echo: object, *, shared: bool = False, anew: Sequence[str] = ()) -> Any:
        asked["ran"].append(root)
        asked["shared"] = shared
        asked["anew"] = anew
        return asked["done"]

    monkeypatch.setattr(gates, "reproduce", reproduce)
    monkeypatch.setattr(summary, "check", check)
    return asked


def change(git: Git, **options: bool | str | None) -> Change:
    return Change(git, options.pop("base", "base"), TODAY, **options)


def silent(line: object) -> None:
    """Hear nothing."""


def test_what_touches_nothing_is_not_run(git: Git, pipeline: dict[str, Any]) -> None:
    """A change of the documentation: no pipeline, a pass that says why."""
    (git.root / "README.md").write_text("words")
    commit(git, "docs")
    found = judge_project(change(git), ".", silent)
    assert pipeline["ran"] == []
    assert found.exit_code is ExitCode.PASS
    assert found.checked is None
    assert "nothing to weigh" in found.report.headline
    assert judge_project(change(git, everything=True), ".", silent).checked is not None


@pytest.mark.parametrize(
    ("module", "heavy"),
    [("weighbridge.ci.change_gate", "scipy"), ("weighbridge.gate.weighing.locked", "scipy.stats")],
)
def test_what_is_not_needed_is_not_loaded(module: str, heavy: str) -> None:
    """Deciding that there is nothing to weigh needs no scipy, nor does weighing all of it."""
    script = f"import sys, {module}; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("name", ["params.yaml", "nets/model.py", "waivers/a.yaml", "requirements.txt"])
def test_what_touches_something_is_judged_by_the_merge_base(git: Git, pipeline: dict[str, Any], name: str) -> None:
    """The judge is given the base's params.yaml as it stood, and today's date."""
    path = git.root / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(path.read_text().replace("10kB", "99kB") or "words" if path.exists() else "words")
    commit(git, "change")
    judge_project(change(git), ".", silent)
    assert pipeline["ran"] == [git.root / "."]
    assert pipeline["base"].text.strip() == PARAMS.strip()
    assert pipeline["today"] == TODAY


@pytest.mark.parametrize("name", [".dvc/config", "models/a/.dvc/config", ".dvc/plugins.py"])
def test_a_change_that_brings_its_own_remote_continues_no_measurement_from_it(
    git: Git, pipeline: dict[str, Any], name: str
) -> None:
    """Whoever says which store is asked could have put anything there; what was merged is what everybody uses."""
    (git.root / "nets/model.py").write_text("words")
    commit(git, "change")
    judge_project(change(git), ".", silent)
    assert pipeline["shared"] is True
    path = git.root / name
    path.parent.mkdir(parents=True)
    path.write_text("[core]\n    remote = mine\n")
    commit(git, "another remote")
    judge_project(change(git), ".", silent)
    assert pipeline["shared"] is False
    judge_project(change(git, base=None), ".", silent)
    assert pipeline["shared"] is True


def test_prepared_data_is_made_anew_where_the_change_brought_its_lock(git: Git, pipeline: dict[str, Any]) -> None:
    """Only there: what the merge base's lock says of it was checked then."""
    (git.root / "dvc.yaml").write_text(STAGE + "  prepare: {cmd: weighbridge stage prepare, deps: [nets/data.py]}\n")
    prepared = "  prepare: {deps: [{path: nets/data.py, md5: %s, hash: md5}]}\n"
    (git.root / "nets/data.py").write_text("")
    (git.root / "dvc.lock").write_text(LOCK + prepared % EMPTY)
    commit(git, "data")
    git.run("branch", "--force", "base")
    (git.root / "params.yaml").write_text(PARAMS.replace("10kB", "9kB"))
    commit(git, "a lower limit")
    judge_project(change(git), ".", silent)
    assert pipeline["anew"] == ()
    (git.root / "nets/data.py").write_text("\n")
    (git.root / "dvc.lock").write_text(LOCK + prepared % "68b329da9893e34099c7d8ad5cb9c940")
    commit(git, "other data, and its lock")
    judge_project(change(git), ".", silent)
    assert pipeline["anew"] == ("prepare",)


def test_what_was_merged_and_never_served_is_gated_whole(git: Git, pipeline: dict[str, Any]) -> None:
    """Nothing is compared with, so nothing can slip past."""
    commit(git, "empty")
    judge_project(change(git, base=None), ".", silent)
    assert pipeline["ran"]
    assert pipeline["base"] is None


def test_a_first_pull_request_without_a_base_is_judged(git: Git, pipeline: dict[str, Any]) -> None:
    """The merge base has no pipeline yet: the limits are new, which is no failure."""
    git.run("rm", "--quiet", "params.yaml", "dvc.yaml", "dvc.lock")
    commit(git, "before")
    git.run("branch", "--force", "base")
    git.run("revert", "--no-edit", "HEAD")
    found = judge_project(change(git), ".", silent)
    assert found.exit_code is ExitCode.PASS
    assert pipeline["base"].text is None


def test_a_failed_stage_is_an_error_on_its_recipe(git: Git, pipeline: dict[str, Any]) -> None:
    """What the stage said stands on the line of the recipe; nothing is judged."""
    (git.root / "params.yaml").write_text(PARAMS.replace("10kB", "11kB"))
    commit(git, "change")
    pipeline["done"] = Reproduced(("compress@int8",), "compress@int8", "it did nothing ``` @all", ExitCode.UNJUDGED)
    found = judge_project(change(git), ".", silent)
    assert found.exit_code is ExitCode.UNJUDGED
    assert [(mark.line, mark.level) for mark in found.marks] == [(4, "error")]
    assert "it did nothing" in found.report.sections[0].text
    assert found.checked is None


def test_invalid_params_are_marked_and_nothing_runs(git: Git, pipeline: dict[str, Any]) -> None:
    """Exit code 2, on the line of the key."""
    (git.root / "params.yaml").write_text(PARAMS.replace("max: 10kB", "maxi: 10kB"))
    commit(git, "typo")
    found = judge_project(change(git), ".", silent)
    assert found.exit_code is ExitCode.USAGE
    assert found.marks[0].line == 9
    assert pipeline["ran"] == []


def test_marks_stand_on_recipes_and_say_where_the_limit_is(git: Git) -> None:
    """Required failures are errors, advisory ones warnings, waived ones nothing."""
    found = marks(
        verdict(
            int8=[budget(), budget("accuracy.top1", Verdict.INCONCLUSIVE), budget("accuracy.top1", Verdict.PASS)],
            extreme=[budget(), budget("accuracy.top1", Verdict.FAIL, waived_by="waivers/a.yaml")],
        ),
        Params.read(git.root / "params.yaml"), "params.yaml", PARAMS,
    )  # fmt: skip
    assert [(mark.level, mark.line, mark.title) for mark in found] == [
        ("error", 4, "int8: size.bytes fail"),
        ("error", 4, "int8: accuracy.top1 inconclusive"),
        ("warning", 5, "extreme: size.bytes fail"),
    ]
    assert "line 9" in found[0].message
    assert "line 10" in found[1].message


def test_policy_changes_stand_on_their_budget(git: Git) -> None:
    """A loosened budget on its line, a removed one on the list, a recipe on its own; waived is a notice."""
    changes = [
        PolicyChange(kind="loosened", budget="accuracy.top1 max_drop against baseline", base="1 %", head="2 %"),
        PolicyChange(kind="removed", budget="latency.p50 max", base="5 ms", head="not there"),
        PolicyChange(kind="recipe advisory", budget="recipe extreme", base="counts", head="advisory: true"),
        PolicyChange(kind="loosened", budget="size.bytes max", base="1", head="2", waived_by="waivers/a.yaml"),
    ]
    found = marks(
        verdict(changes, int8=[budget(verdict=Verdict.PASS)]), Params.read(git.root / "params.yaml"), "p", PARAMS
    )
    assert [(mark.level, mark.line) for mark in found] == [("error", 10), ("error", 8), ("error", 5), ("notice", 9)]


def test_the_worst_project_decides_and_none_is_no_pass(git: Git) -> None:
    """A certain failure first, then what the author must mend, then what could not be judged."""

    def judged(*codes: ExitCode) -> list[JudgedProject]:
        return [JudgedProject(str(code), code, ProjectReport(headline="")) for code in codes]

    assert exit_code(judged(ExitCode.PASS, ExitCode.UNJUDGED)) is ExitCode.UNJUDGED
    assert exit_code(judged(ExitCode.UNJUDGED, ExitCode.USAGE)) is ExitCode.USAGE
    assert exit_code(judged(ExitCode.USAGE, ExitCode.FAIL, ExitCode.PASS)) is ExitCode.FAIL
    assert exit_code(judged(ExitCode.PASS)) is ExitCode.PASS
    assert exit_code([]) is ExitCode.UNJUDGED


def test_a_repository_without_a_pipeline_is_an_error(git: Git) -> None:
    """Not an empty pass."""
    git.run("rm", "--quiet", "dvc.yaml")
    commit(git, "gone")
    git.run("branch", "--force", "base")
    for base in ("base", None):
        with pytest.raises(InputError, match="weighbridge init"):
            judge_all(change(git, base=base), silent)


GONE = {
    "deleted": lambda root: [path.unlink() for path in (root / "dvc.yaml", root / "params.yaml")],
    "another command": lambda root: (root / "dvc.yaml").write_text("stages: {judge: {cmd: sh judge.sh}}\n"),
    "no params": lambda root: (root / "params.yaml").unlink(),
}


@pytest.mark.parametrize("way", GONE)
def test_a_project_that_is_gated_no_more_needs_a_waiver(git: Git, pipeline: dict[str, Any], way: str) -> None:
    """Whatever took it from the gate: red, until a waiver by its name says why."""
    GONE[way](git.root)
    commit(git, "gone")
    found = judge_all(change(git), silent)
    assert exit_code(found) is ExitCode.FAIL
    assert "gates it nowhere" in found[0].report.lead
    assert [mark.level for mark in found[0].marks] == ["error"]
    write_waiver(git, "project m", "not gated")
    found = judge_all(change(git), silent)
    assert exit_code(found) is ExitCode.PASS
    assert [mark.level for mark in found[0].marks] == ["notice"]
    assert pipeline["ran"] == []


def write_waiver(git: Git, budget: str, to: str) -> None:
    (git.root / "waivers").mkdir(exist_ok=True)
    text = f"budget: {budget}\npolicy: true\nto: {to}\nwho: a\nwhy: b\nexpires: 2026-11-30\n"
    (git.root / "waivers/a.yaml").write_text(text)
    commit(git, "waive")


def test_two_spaces_hide_no_project(git: Git, pipeline: dict[str, Any]) -> None:
    """The command is read as a shell reads it."""
    (git.root / "dvc.yaml").write_text(STAGE.replace("weighbridge stage", "weighbridge  stage"))
    commit(git, "spaces")
    judge_all(change(git), silent)
    assert pipeline["ran"]


def move(git: Git, folder: str) -> None:
    (git.root / folder).mkdir(parents=True)
    git.run("mv", "params.yaml", "dvc.yaml", "dvc.lock", "nets", folder)


def test_a_project_that_moves_is_judged_by_the_limits_it_had(git: Git, pipeline: dict[str, Any]) -> None:
    """The policy goes by the model's name; the folder is another one."""
    move(git, "models/m")
    commit(git, "move")
    judge_all(change(git), silent)
    assert pipeline["ran"] == [git.root / "models/m"]
    assert pipeline["base"].text.strip() == PARAMS.strip()
    assert [item.kind for item in pipeline["base"].changes] == ["project moved"]


def test_a_model_that_is_renamed_is_judged_by_the_limits_it_had(git: Git, pipeline: dict[str, Any]) -> None:
    """The folder says which it was; the new name is a change of policy."""
    (git.root / "params.yaml").write_text(PARAMS.replace("name: m,", "name: other,"))
    commit(git, "rename")
    found = judge_all(change(git), silent)
    assert len(found) == 1
    assert pipeline["base"].text.strip() == PARAMS.strip()
    assert [(item.kind, item.base, item.head) for item in pipeline["base"].changes] == [("model renamed", "m", "other")]


def test_a_project_that_moves_and_is_renamed_is_gone(git: Git, pipeline: dict[str, Any]) -> None:
    """Neither name nor folder is left: the new one has new limits, and the old one needs a waiver."""
    move(git, "models/m")
    path = git.root / "models/m/params.yaml"
    path.write_text(PARAMS.replace("name: m,", "name: other,"))
    commit(git, "both")
    found = judge_all(change(git), silent)
    assert exit_code(found) is ExitCode.FAIL
    assert "gates it nowhere" in found[-1].report.lead


def test_two_projects_with_one_models_name_are_refused(git: Git, pipeline: dict[str, Any]) -> None:
    """Split in two, neither is the whole of what the limits are about."""
    for name in ("params.yaml", "dvc.yaml", "dvc.lock", "nets/model.py"):
        path = git.root / "second" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((git.root / name).read_bytes())
    commit(git, "split")
    with pytest.raises(InputError, match="already uses the model name 'm'"):
        judge_all(change(git), silent)


@pytest.mark.parametrize("path", [".weighbridge/training/recipes/w8/0.safetensors", "nets/.weighbridge/plan/0.json"])
def test_state_that_a_commit_brings_is_refused(git: Git, pipeline: dict[str, Any], path: str) -> None:
    """A training would go on from the weights in it, and their origin would be recorded as this code and data."""
    (git.root / path).parent.mkdir(parents=True, exist_ok=True)
    (git.root / path).write_bytes(b"weights")
    git.run("add", "--force", path)
    commit(git, "state")
    with pytest.raises(InputError, match="tracked by Git") as refused:
        judge_all(change(git), silent)
    assert refused.value.where == path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "canary: {budgets: [{metric: latency, threshold: 0.05, max: 0.05}]}",
            "threshold needs a unit",
        ),
        ("canary: {min_time: 600}", "canary.min_time: min_time needs a unit: write `min_time: 600s` for seconds"),
        ("promoter: [a]", "did you mean 'promoters'"),
    ],
)
def test_a_policy_of_the_registry_that_a_pull_request_brings_must_be_one(
    git: Git, pipeline: dict[str, Any], text: str, said: str
) -> None:
    """Merged, it would stop every promotion, or be read in another unit than was meant; one that stands is read."""
    (git.root / "registry.policy.yaml").write_text(f"{text}\n")
    commit(git, "policy")
    with pytest.raises(InputError, match=re.escape(said)):
        judge_all(change(git), silent)
    git.run("branch", "--force", "base")
    (git.root / "README.md").write_text("words")
    commit(git, "words")
    assert exit_code(judge_all(change(git), silent)) is ExitCode.PASS


def test_params_behind_a_link_are_refused(git: Git, pipeline: dict[str, Any]) -> None:
    """Exit code 2, before anything is read or run."""
    (git.root / "params.yaml").rename(git.root / "other.yaml")
    (git.root / "params.yaml").symlink_to("other.yaml")
    commit(git, "link")
    found = judge_all(change(git), silent)
    assert exit_code(found) is ExitCode.USAGE
    assert "symbolic link" in found[0].report.sections[0].text
    assert pipeline["ran"] == []


def test_what_is_not_committed_is_gated(git: Git, pipeline: dict[str, Any]) -> None:
    """The commits are alike and the working tree, which would be weighed, is not: nothing can be told."""
    commit(git, "empty")
    assert judge_all(change(git), silent)[0].report.headline.endswith("nothing to weigh")
    (git.root / "nets/model.py").write_text("a = 1\n")
    judge_all(change(git), silent)
    assert pipeline["ran"]


def test_a_changed_file_that_no_stage_depends_on_is_named(git: Git, pipeline: dict[str, Any]) -> None:
    """A module that a dependency imports: DVC would not run the stage again, so nothing is judged."""
    (git.root / "nets/model.py").write_text("import helper\n")
    (git.root / "helper.py").write_text("a = 1\n")
    commit(git, "import")
    found = judge_all(change(git), silent)
    assert exit_code(found) is ExitCode.USAGE
    assert "`- helper.py` under the deps of judge" in found[0].report.sections[0].text
    assert pipeline["ran"] == []


def test_only_what_passed_is_handed_over(git: Git, pipeline: dict[str, Any]) -> None:
    """A failed project leaves a report and no evidence; an older run's files are gone."""
    stale = git.root / FOLDER / "evidence/dvc.lock"
    stale.parent.mkdir(parents=True)
    stale.write_text("old")
    (git.root / "params.yaml").write_text(PARAMS.replace("10kB", "11kB"))
    commit(git, "change")
    pipeline["verdict"] = verdict(int8=[budget()])
    write_out([judge_project(change(git), ".", silent)], git)
    assert (git.root / FOLDER / "report/gate.md").read_text().startswith("## fail; not measured in this run: ")
    assert (
        ChangeReport.read(git.root / FOLDER / "report/report.json")
        .projects[0]
        .headline.startswith("## fail; not measured in this run: int8, extreme (dvc.lock as of ")
    )
    assert EvidenceBundle.read(git.root / FOLDER / "evidence").weighed == ()
    assert not stale.exists()
    pipeline["verdict"] = verdict(int8=[budget(verdict=Verdict.PASS)])
    write_out([judge_project(change(git), ".", silent)], git)
    assert EvidenceBundle.read(git.root / FOLDER / "evidence") == EvidenceBundle(git.head(), (".",))
    assert stale.read_text() == LOCK
