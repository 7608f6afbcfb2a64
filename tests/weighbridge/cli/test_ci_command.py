"""The commands of `weighbridge ci` and the hooks for pre-commit, as a shell sees them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from typer.testing import CliRunner

from weighbridge.ci.evidence_bundle import EvidenceBundle
from weighbridge.cli.ci_command import app
from weighbridge.core.git import Git
from weighbridge.registry.watch.scraped_traffic import Scraped
from weighbridge.registry.watch.seen_requests import Source
from weighbridge.registry.watch.watching import Alarm, Look

PROJECT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent
DIGEST = "sha256:" + "0" * 64
VERDICT = {
    "verdict": "fail", "baseline": {"digest": DIGEST}, "candidate": {"digest": DIGEST}, "device": "d",
    "device_fingerprint": DIGEST, "measurement": DIGEST,
    "budgets": [{"metric": "size.bytes", "against": None, "rule": "max", "limit": 1, "unit": "bytes", "estimate": 2,
                 "lower": 2, "upper": 2, "verdict": "fail", "reason": "twice\nthe limit", "required": True}],
}  # fmt: skip


def ci(*arguments: str, cwd: Path, expect: int = 0, **environment: str) -> str:
    """Run the real command."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "CI"))}
    done = subprocess.run(
        [BIN / "weighbridge", "ci", *arguments],
        cwd=cwd, env={**kept, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_params_names_every_file_that_is_wrong(tmp_path: Path) -> None:
    """For pre-commit: good files are silent, every fault of a bad one is one line, exit code 2."""
    good, bad = PROJECT / "params.yaml", tmp_path / "params.yaml"
    assert ci("params", str(good), cwd=tmp_path) == ""
    bad.write_text("model: {name: m}\n")
    said = ci("params", str(bad), str(good), str(tmp_path / "gone.yaml"), cwd=tmp_path, expect=2)
    *faults, last = said.splitlines()
    assert len(faults) == 4
    assert all(line.startswith(f"{bad}:1: ") for line in faults), said
    assert "gone.yaml" in last


def test_summary_says_what_a_weighing_found(tmp_path: Path) -> None:
    """Annotations are escaped, the report goes to the summary, the verdict to the outputs."""
    (tmp_path / "verdict.json").write_text(json.dumps(VERDICT))
    (tmp_path / "gate.md").write_text("# fail @everyone\n")
    files = {"GITHUB_STEP_SUMMARY": str(tmp_path / "s"), "GITHUB_OUTPUT": str(tmp_path / "o")}
    said = ci("summary", "--out", ".", "--code", "1", cwd=tmp_path, GITHUB_ACTIONS="true", **files)
    assert said == "::error title=size.bytes fail::twice%0Athe limit\n"
    assert "@\u200beveryone" in (tmp_path / "s").read_text()
    assert (tmp_path / "o").read_text() == "verdict=fail\nreport=gate.md\n"


@pytest.mark.parametrize(("code", "written"), [("2", False), ("3", False), ("2", True)])
def test_summary_of_a_weighing_that_broke_is_an_error(tmp_path: Path, code: str, written: bool) -> None:
    """No verdict, or one left by an earlier run: never a pass."""
    if written:
        (tmp_path / "verdict.json").write_text(json.dumps({**VERDICT, "verdict": "pass"}))
    ci("summary", "--out", ".", "--code", code, cwd=tmp_path, GITHUB_ACTIONS="true", GITHUB_OUTPUT=str(tmp_path / "o"))
    assert "verdict=error" in (tmp_path / "o").read_text()


def test_summary_refuses_a_verdict_that_is_not_the_exit_codes(tmp_path: Path) -> None:
    """A file from another run next to this run's exit code."""
    (tmp_path / "verdict.json").write_text(json.dumps(VERDICT))
    assert "exit code was 0" in ci("summary", "--out", ".", "--code", "0", cwd=tmp_path, expect=2)


@pytest.fixture
def git(tmp_path: Path) -> Git:
    made = Git(tmp_path / "repo")
    made.root.mkdir()
    made.run("init", "--quiet", "--initial-branch=main")
    made.run("config", "user.name", "test")
    made.run("config", "user.email", "test@example.invalid")
    (made.root / "a").write_text("1")
    made.run("add", "a")
    made.run("commit", "--quiet", "--message", "a")
    return made


def promote(git: Git, evidence: Path, expect: int, **environment: str) -> str:
    return ci("promote", "--evidence", str(evidence), cwd=git.root, expect=expect, **environment)


def test_nothing_weighed_is_nothing_promoted(git: Git, tmp_path: Path) -> None:
    """A change of the documentation was merged: no version, no push, no error."""
    EvidenceBundle(git.head(), ()).write(tmp_path / "evidence")
    assert "nothing is promoted" in promote(git, tmp_path / "evidence", 0)


def test_evidence_of_another_commit_is_refused(git: Git, tmp_path: Path) -> None:
    """What was weighed is what is promoted."""
    EvidenceBundle("f" * 40, (".",)).write(tmp_path / "evidence")
    assert "is for commit ffffffffffff, not for" in promote(git, tmp_path / "evidence", 2)


def test_a_dirty_tree_is_refused(git: Git, tmp_path: Path) -> None:
    """A promotion names a commit, so there must be nothing beside it."""
    EvidenceBundle(git.head(), (".",)).write(tmp_path / "evidence")
    (git.root / "b").write_text("1")
    assert "dirty" in promote(git, tmp_path / "evidence", 2)


def test_no_evidence_is_one_error(git: Git, tmp_path: Path) -> None:
    """The folder is empty, or names a project that is not in it."""
    assert "cannot be read" in promote(git, tmp_path / "gone", 2)
    EvidenceBundle(git.head(), (".",)).write(tmp_path / "evidence")
    assert "file not found" in promote(git, tmp_path / "evidence", 2)
    EvidenceBundle(git.head(), ("../..",)).write(tmp_path / "evidence")
    assert "outside the repository" in promote(git, tmp_path / "evidence", 2)


def test_a_secret_that_is_no_key_is_refused_without_being_shown(git: Git, tmp_path: Path) -> None:
    """The error names the variable, not its content."""
    EvidenceBundle(git.head(), ()).write(tmp_path / "evidence")
    said = promote(git, tmp_path / "evidence", 2, WEIGHBRIDGE_SIGNING_KEY_PEM="hunter2")
    assert "WEIGHBRIDGE_SIGNING_KEY_PEM" in said
    assert "hunter2" not in said


def test_the_hooks_are_what_pre_commit_accepts_and_name_our_commands() -> None:
    """The manifest and our own configuration validate; every entry of ours is a command that exists."""
    for kind, name in (("manifest", ".pre-commit-hooks.yaml"), ("config", ".pre-commit-config.yaml")):
        subprocess.run([BIN / "pre-commit", f"validate-{kind}", PROJECT / name], check=True)
    hooks = yaml.safe_load((PROJECT / ".pre-commit-hooks.yaml").read_text())
    for hook in hooks:
        program, *words = hook["entry"].split()
        assert program == "weighbridge"
        subprocess.run([BIN / program, *words, "--help"], check=True, capture_output=True)


@pytest.mark.parametrize(("actions", "code"), [((), 0), (("advance", "hold"), 0), (("hold", "abort", "advance"), 1)])
def test_canary_judges_every_canary_and_is_loud_about_an_abort(
    monkeypatch: pytest.MonkeyPatch, actions: tuple[str, ...], code: int
) -> None:
    """One that holds is no failure of the schedule; one that was aborted is, and the others are judged all the same."""
    from weighbridge.registry.canary.canary_judge import Action

    rows = [SimpleNamespace(model=f"m{number}", canary="v2") for number in range(len(actions))]
    everything = [SimpleNamespace(model="calm", canary=None), *rows]
    monkeypatch.setattr("weighbridge.registry.views.overview.models", lambda root: everything)
    asked = []

    def judge(root: object, model: str, metrics: str, *, settings: object) -> SimpleNamespace:
        action = Action(actions[len(asked)])
        asked.append((model, metrics))
        return SimpleNamespace(text=lambda: f"{model}: {action}\n", exit_code=action.exit_code)

    monkeypatch.setattr("weighbridge.registry.canary.canary_judge.judge", judge)
    done = CliRunner().invoke(app, ["canary", "--metrics", "prometheus=http://127.0.0.1:9090"])
    assert done.exit_code == code
    assert [model for model, _ in asked] == [row.model for row in rows]


@pytest.mark.parametrize(
    ("looks", "code"),
    [
        ([], 0),
        ([{}, {"alarms": (Alarm("drift", "predictions", "", "tell"),)}], 0),
        ([{"written": ("new",)}, {"problems": ("partial",)}], 1),
        ([{"rolled_back_to": "v1"}], 1),
        ([{"problems": ("partial",)}, {}], 3),
    ],
)
def test_watch_looks_at_every_stable_version_and_is_loud_about_what_is_new(
    monkeypatch: pytest.MonkeyPatch, looks: list[dict[str, str | tuple[Alarm | str]]], code: int
) -> None:
    """An alarm that stands was told before; data that cannot be used is no quiet look."""
    rows = [SimpleNamespace(model=f"m{number}", stable="v2") for number in range(len(looks))]
    everything = [SimpleNamespace(model="new", stable=None), *rows]
    monkeypatch.setattr("weighbridge.registry.views.overview.models", lambda root: everything)
    asked, posted = [], []

    def watch(root: object, source: Source | Scraped, *, settings: object) -> Look:
        asked.append((source.model, source.address))
        return Look(source.model, "v2", "", **looks[len(asked) - 1])

    monkeypatch.setattr("weighbridge.registry.watch.watching.watch", watch)
    monkeypatch.setattr(
        "weighbridge.registry.watch.webhook.Webhook.post", lambda self, content, at: posted.append(content)
    )
    monkeypatch.setenv("WEIGHBRIDGE_WEBHOOK_SECRET", "0123456789abcdef")
    done = CliRunner().invoke(
        app, ["watch", "--metrics", "prometheus=http://127.0.0.1:9090/{model}", "--notify", "http://127.0.0.1:9/"]
    )
    assert done.exit_code == code
    assert asked == [(row.model, f"http://127.0.0.1:9090/{row.model}") for row in rows]
    assert len(posted) == sum("written" in look for look in looks)
