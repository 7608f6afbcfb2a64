"""Figures of the merge base and of `stable`, from whatever is at hand."""

import shutil
from pathlib import Path

import pytest
import yaml

from tests.registry.project import MODEL, candidate_bytes, commit_all, make_repository, write_run
from weighbridge.ci.compared import reference_points
from weighbridge.core.git import Git
from weighbridge.core.git_tree import Tree
from weighbridge.gate.report.reference_points import ReferencePoint
from weighbridge.gate.stages.sides import CommittedSide
from weighbridge.registry.lifecycle.promote import PromotionRequest, promote
from weighbridge.registry.state.tip import Settings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A committed pipeline run; its measurements are not in Git."""
    made = make_repository(tmp_path / "project")
    write_run(made)
    commit_all(made)
    return made


def points(root: Path) -> list[ReferencePoint]:
    git = Git.discover(root)
    return reference_points(root, CommittedSide(Tree(git, git.head()), "."))


def test_nothing_at_hand_is_said(root: Path) -> None:
    """No figure is made up, and each side says why it has none."""
    shutil.rmtree(root / ".dvc/cache")
    base, stable = points(root)
    assert (base.figures, stable.figures) == ({}, {})
    assert base.said.endswith(": no measurement of it is here")
    assert stable.said == "stable: nothing is served yet"
    assert [point.name for point in reference_points(root, None)] == ["stable"]


def test_measurements_that_git_has_come_first(root: Path) -> None:
    """As where a project commits them."""
    (root / ".gitignore").write_text("")
    commit_all(root)
    base, _ = points(root)
    assert base.said.endswith("(by its own measurements)")
    found = base.figures["int8"]
    assert (found.size, round(found.latency, 3), round(found.accuracy, 3)) == (
        len(candidate_bytes("int8")),
        0.497,
        0.915,
    )


def test_measurements_are_found_in_the_cache_by_the_merge_bases_lock(root: Path) -> None:
    """Though nothing lies in the folder any more; bytes that are not what the lock names are none."""
    shutil.rmtree(root / "measurements")
    base, _ = points(root)
    assert set(base.figures) == {"int8", "fp16"}
    for file in (root / ".dvc/cache/files/md5").rglob("*"):
        if file.is_file():
            file.write_bytes(b"rotten")
    assert points(root)[0].figures == {}


def promoted(root: Path, recipe: str = "int8") -> Path:
    promote(root, PromotionRequest(recipe), settings=Settings(push=False))
    shutil.rmtree(root / ".dvc/cache")
    return root


def test_what_was_promoted_is_both_the_merge_base_and_stable(root: Path) -> None:
    """Of the promoted recipe its measurement, of the others what the kept verdict says."""
    promoted(root)
    base, stable = points(root)
    assert base.said.endswith("(by those kept with v1)")
    assert base.figures["int8"].latency == pytest.approx(0.4966, abs=1e-3)
    assert base.figures["fp16"].size == len(candidate_bytes("fp16"))
    assert stable.said == "stable v1 (int8)"
    assert stable.figures["fp16"] == stable.figures["int8"] == base.figures["int8"]


def test_a_recipe_that_was_another_one_then_has_no_figures(root: Path) -> None:
    """By what it is, not by its name."""
    promoted(root)
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["recipes"]["int8"]["steps"] = [{"quantize": {"scheme": "fp16"}}]
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    commit_all(root)
    assert set(points(root)[0].figures) == {"fp16"}


def test_a_damaged_registry_is_said_and_stops_nothing(root: Path) -> None:
    """The figures decide nothing; what does decide refuses it."""
    promoted(root)
    record = root / f"registry/models/{MODEL}/versions/v1.yaml"
    record.write_text(record.read_text().replace("int8", "int9"))
    _, stable = points(root)
    assert stable.figures == {}
    assert "its figures cannot be read" in stable.said
