"""The registry that this repository keeps of its own quickstart: what the README shows works in a fresh clone."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).parents[2]
PROGRAM = Path(sys.executable).with_name("weighbridge")
VERSIONS = "registry/models/fashion-cnn/versions"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is committed here, elsewhere."""
    folder = tmp_path_factory.mktemp("fresh") / "clone"
    subprocess.run(["git", "clone", "--quiet", PROJECT, folder], check=True)
    return folder


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, "registry", *words], cwd=folder, capture_output=True, text=True, check=False)


def test_stable_is_the_version_that_its_record_names(clone: Path) -> None:
    record = yaml.safe_load((clone / VERSIONS / "v1.yaml").read_text())
    found = run(clone, "resolve", "fashion-cnn@stable")
    assert (found.returncode, found.stdout.split()) == (0, ["fashion-cnn@v1", record["artifacts"][0]["digest"]])


def test_the_history_has_a_promotion_a_canary_and_a_roll_back_and_is_whole(clone: Path) -> None:
    said = run(clone, "history", "fashion-cnn").stdout
    for kind in ("promoted", "canary-started", "canary-advanced", "rolled-back"):
        assert kind in said
    assert run(clone, "verify").returncode == 0


def test_a_record_that_was_edited_is_caught(clone: Path) -> None:
    path = clone / VERSIONS / "v1.yaml"
    before = path.read_text()
    path.write_text(before.replace("recipe_name: slim", "recipe_name: fp16", 1))
    git = ["git", "-C", clone, "-c", "user.name=A", "-c", "user.email=a@example.invalid"]
    subprocess.run([*git, "commit", "--quiet", "-am", "Another recipe"], check=True)
    done = run(clone, "verify")
    subprocess.run([*git, "reset", "--quiet", "--hard", "HEAD~1"], check=True)
    assert done.returncode != 0
    assert "v1.yaml" in done.stderr
