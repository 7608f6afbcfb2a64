"""What the registry serves is laid out for the gate: verified bytes, or the reason why there are none."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.registry.project import commit_all, make_repository, write_run
from weighbridge.core.errors import WeighbridgeError
from weighbridge.core.files import read_json, sha256_file
from weighbridge.registry.lifecycle.promote import PromotionRequest
from weighbridge.registry.lifecycle.promote import promote as promote_recipe
from weighbridge.registry.lookup.stable import write_stable
from weighbridge.registry.state.tip import Settings


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A run whose params compare with stable, committed; nothing promoted yet."""
    root = make_repository(tmp_path / "project")
    write_run(root)
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["budgets"].append({"metric": "size.bytes", "max_ratio": 1.1, "against": "stable"})
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    commit_all(root)
    return root


def promote(root: Path, recipe: str) -> None:
    """Record a version; what was judged by other budgets than those above is not the question here."""
    promote_recipe(root, PromotionRequest(recipe), settings=Settings(push=False))


def stable(root: Path) -> Any:
    """What is laid out for the gate."""
    write_stable(root, root / "artifacts/stable")
    return read_json(root / "artifacts/stable/stable.json")


def test_without_a_stable_version_the_reason_is_written(project: Path) -> None:
    """The first pull request has nothing to compare with, and says so by name."""
    written = stable(project)
    assert (written["version"], written["artifacts"]) == (None, {})
    assert written["reason"] == "tiny-cnn has no stable version yet"
    assert [path.name for path in (project / "artifacts/stable").rglob("*")] == ["stable.json"]


def test_the_bytes_that_are_served_lie_beside_their_digest(project: Path) -> None:
    """After a promotion the gate finds the version's verified bytes."""
    promote(project, "int8")
    written = stable(project)
    assert written["version"] == "v1"
    file = written["artifacts"]["onnxruntime"]
    assert file["path"] == "onnxruntime/model.onnx"
    assert sha256_file(project / "artifacts/stable" / file["path"]) == file["digest"]


def test_bytes_that_cannot_be_had_leave_none_lying_about(project: Path) -> None:
    """Where artifact and cache are gone, the reason is written and an earlier copy is removed."""
    promote(project, "int8")
    stable(project)
    for path in [
        *project.glob("artifacts/recipes/*/onnxruntime/model.onnx"),
        *project.glob(".dvc/cache/files/md5/*/*"),
    ]:
        path.unlink()
    written = stable(project)
    assert written["artifacts"] == {}
    assert "cannot be had" in written["reason"]
    assert [path.name for path in (project / "artifacts/stable").rglob("*")] == ["stable.json"]


def test_a_damaged_registry_is_an_error_not_an_absence(project: Path) -> None:
    """Channels that were edited by hand never read as "nothing is stable"."""
    promote(project, "int8")
    path = project / "registry/models/tiny-cnn/channels.yaml"
    path.write_text(path.read_text().replace("v1", "v9"))
    with pytest.raises(WeighbridgeError):
        stable(project)


def test_nothing_is_fetched_where_no_budget_compares_with_stable(project: Path) -> None:
    """A pipeline without such a budget does not depend on the registry at all."""
    promote(project, "int8")
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["budgets"].pop()
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    assert stable(project)["reason"] == "no budget compares with stable"
