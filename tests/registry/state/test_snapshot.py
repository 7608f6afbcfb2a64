"""The whole state, read once: the chain is followed, and nothing that was changed gets through."""

import shutil
from pathlib import Path
from typing import Self

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.registry.publish.project import Project, estimate
from tests.registry.publish.richproject import metrics
from weighbridge.core.errors import IntegrityError, StateError
from weighbridge.core.files import sha256_file
from weighbridge.registry.state.layout import WorkTree
from weighbridge.registry.state.snapshot import read_model, read_models


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Self:
    """A project with a history."""
    return Project(tmp_path_factory.mktemp("made") / "project").history()


@pytest.fixture
def root(made: Self, tmp_path: Path) -> Path:
    """A copy of it, to be broken."""
    shutil.copytree(made.root, tmp_path / "project")
    return tmp_path / "project"


def test_records_and_events_come_in_order(root: Path) -> None:
    """Versions in the order they were recorded, events from the first to the last."""
    state = read_model(WorkTree(root), "fashion-cnn")
    assert list(state.records) == ["b1", "v1", "v2", "v3"]
    assert [event.number for event in state.events] == list(range(1, 9))
    assert state.status("v1") == ("stable",)
    assert state.status("v2") == ("quarantined",)
    assert state.status("v3") == ("canary",)
    assert state.status("b1") == ("baseline",)


@pytest.mark.parametrize("path", ["events/000001.yaml", "events/000005.yaml", "versions/v2.yaml", "versions/b1.yaml"])
@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_any_file_that_was_changed_or_is_gone_is_named(root: Path, path: str, damage: str) -> None:
    """Every event and every record is under a digest."""
    file = root / "registry/models/fashion-cnn" / path
    if damage == "gone":
        file.unlink()
    else:
        file.write_text(file.read_text() + "note: added\n")
    with pytest.raises((IntegrityError, StateError), match=path):
        read_model(WorkTree(root), "fashion-cnn")


def test_a_model_that_is_not_there_is_named(root: Path) -> None:
    """No empty answer for a misspelt name."""
    with pytest.raises(StateError, match="no model 'fashion'"):
        read_models(root, ["fashion"])
    assert [state.name for state in read_models(root)] == ["fashion-cnn"]


def test_a_baselines_figures_come_from_what_was_weighed_against_it(tmp_path: Path) -> None:
    """The newest comparison counts; it has no interval of its own, and nothing is made up where there is none."""
    project = Project(tmp_path / "project")
    project.add("a", b"a", baseline=b"fp32", metrics=metrics(10, 0.8, 1e-3, baseline=(20, 0.90, 2e-3)))
    project.add("b", b"b", metrics=metrics(10, 0.8, 1e-3, baseline=(20, 0.91, 2e-3)))
    project.add("c", b"c", metrics={"size.bytes": estimate(1, "bytes")})
    state = read_model(WorkTree(project.root), "fashion-cnn")
    found = state.estimate("b1", "accuracy.top1")
    assert (found.value, found.lower, found.upper) == (0.91, 0.91, 0.91)
    assert state.estimate("b1", "energy") is None
    assert state.estimate("v3", "accuracy.top1") is None


def test_a_signed_version_names_its_statement(tmp_path: Path) -> None:
    """The digest is the one of the file; an unsigned version has none."""
    project = Project(tmp_path / "project", key=Ed25519PrivateKey.generate())
    project.add("a", b"a", baseline=b"fp32")
    state = read_model(WorkTree(project.root), "fashion-cnn")
    statement = project.root / "registry/models/fashion-cnn/signatures/v1.json"
    assert state.entries["v1"].signature == sha256_file(statement)
    assert state.entries["b1"].signature is None
