"""What was written down is not believed: promotion judges the measurements again."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.registry.project import commit_all, edit_json, lock, make_repository, write_run
from weighbridge import cli
from weighbridge.ci.judging_again import judge_again
from weighbridge.core.documents import GateVerdict
from weighbridge.core.errors import IntegrityError, StateError
from weighbridge.core.git import Git
from weighbridge.registry.lifecycle.promote import PromotionRequest, promote

RECIPES = ("int8", "fp16")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A committed pipeline run."""
    root = make_repository(tmp_path / "project")
    write_run(root)
    commit_all(root)
    return root


def again(root: Path, recipe: str = "int8") -> GateVerdict:
    return judge_again(Git.discover(root), root, recipe)


def edit_params(root: Path, change: Callable[[Any], object]) -> None:
    params = yaml.safe_load((root / "params.yaml").read_text())
    change(params)
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))


def test_what_the_measurements_give_is_believed(project: Path) -> None:
    """The same verdict; it passes."""
    assert again(project).recipes["int8"].verdict == "pass"


def raised_to_pass(root: Path) -> None:
    edit_json(root / "reports/verdict.json", lambda content: content["recipes"]["int8"].update(verdict="pass"))
    edit_json(
        root / "reports/verdict.json",
        lambda content: [item.update(verdict="pass", estimate=1.0) for item in content["recipes"]["int8"]["budgets"]],
    )


def without_its_limit(root: Path) -> None:
    edit_json(root / "reports/verdict.json", lambda content: content["recipes"]["int8"].update(budgets=[]))


@pytest.mark.parametrize("edit", [raised_to_pass, without_its_limit])
def test_an_edited_verdict_is_caught(
    project: Path, edit: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Though the lock file was edited to name it; by the command too, before anything is written."""
    edit_params(project, lambda params: params["budgets"][0].update(max="50B"))
    edit(project)
    lock(project, RECIPES)
    commit_all(project)
    with pytest.raises(IntegrityError, match=r"the verdict on .*int8 does not follow from params\.yaml"):
        again(project)
    monkeypatch.setattr(sys, "argv", ["weighbridge", "registry", "promote", "int8", "--root", str(project)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert not (project / "registry").exists()


def test_old_bytes_under_another_recipe_are_caught(project: Path) -> None:
    """The lock file is resolved by hand, and the verdict with it; the manifest tells."""
    edit_params(project, lambda params: params["recipes"]["int8"].update(steps=[{"share": {"bits": 2}}]))
    lock(project, RECIPES)
    with pytest.raises(IntegrityError, match="does not follow"):
        again(project)


def test_a_lock_file_that_names_other_bytes_is_caught(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`dvc.lock` says what the pipeline made."""
    content = (project / "dvc.lock").read_text()
    first = yaml.safe_load(content)["stages"]["all"]["outs"][1]["md5"]
    (project / "dvc.lock").write_text(content.replace(first, "0" * 32 + ".dir"))
    commit_all(project)
    monkeypatch.setattr(sys, "argv", ["weighbridge", "registry", "promote", "int8", "--root", str(project)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert "is not what dvc.lock says the pipeline made" in capsys.readouterr().err


def test_a_limit_loosened_since_the_stable_version_needs_its_waiver(project: Path) -> None:
    """The policy is that of the commit that is served from."""
    promote(project, PromotionRequest("int8"))
    write_run(project, 2)
    commit_all(project)
    assert again(project).policy_changes == []
    write_run(project, 3, budgets=[{"metric": "size.bytes", "max": "9MB"}])
    commit_all(project)
    with pytest.raises(StateError, match=r"size\.bytes .* no waiver accepts it \(max 1 MB"):
        again(project)


def test_without_the_libraries_of_judging_it_says_what_to_install(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that cannot be judged is promoted."""
    monkeypatch.setitem(sys.modules, "weighbridge.gate.stages.summary", None)
    monkeypatch.delattr("weighbridge.gate.stages.summary", raising=False)
    with pytest.raises(StateError, match="judges the measurements again"):
        again(project)
