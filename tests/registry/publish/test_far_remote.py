"""The whole road over a DVC remote that is no folder: promote pushes the bytes, a fresh clone pulls them."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.registry import project as made
from tests.registry.publish.test_dvc import stored
from weighbridge.core.errors import StateError
from weighbridge.registry.lifecycle.gc import plan
from weighbridge.registry.lifecycle.promote import PromotionRequest, promote
from weighbridge.registry.lookup.asking import CannotAskError
from weighbridge.registry.lookup.measurements import fetch_measurement, push_measurements
from weighbridge.registry.lookup.resolve import resolve
from weighbridge.registry.publish import pull

FOLDERS = ("artifacts", "measurements")


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A pipeline run for two targets, a bare git remote of it, and a function that sets the DVC remote."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    root = made.make_repository(tmp_path / "project")
    made.write_run(root, targets=("onnxruntime", "litert"))
    stages = yaml.safe_load((root / "dvc.lock").read_text())["stages"]
    outs = [out["path"] for out in stages["all"]["outs"] if not out["path"].startswith("reports")]
    outs.append({"reports/verdict.json": {"cache": False}})
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"all": {"cmd": "x", "outs": outs}}}))

    def configure(url: str, **settings: Path | str) -> Path:
        lines = ["[core]", "    analytics = false", "    remote = far", "['remote \"far\"']", f"    url = {url}"]
        lines += [f"    {name} = {value}" for name, value in settings.items()]
        (root / ".dvc/config").write_text("\n".join(lines) + "\n")
        made.git(root, "add", "-f", ".dvc/config")
        made.commit_all(root)
        made.git(tmp_path, "clone", "-q", "--bare", str(root), str(tmp_path / "remote.git"))
        made.git(root, "remote", "add", "origin", str(tmp_path / "remote.git"))
        return root

    return configure


def test_promotion_pushes_the_bytes_over_ssh_and_a_clone_pulls_them(
    far: Callable[..., Path], ssh: tuple[Any, Path], tmp_path: Path
) -> None:
    """Of each target, candidate and baseline: all of them are in the remote when the version is."""
    port, key = ssh
    root = far(f"ssh://127.0.0.1:{port}{tmp_path / 'far'}", keyfile=key, allow_agent="false")
    promote(root, PromotionRequest("int8"))
    made.git(tmp_path, "clone", "-q", str(tmp_path / "remote.git"), str(tmp_path / "clone"))
    shutil.rmtree(root)
    for target in ("onnxruntime", "litert"):
        content = made.candidate_bytes("int8", 1, target)
        assert stored(tmp_path / "far", content).is_file()
        assert stored(tmp_path / "far", made.for_target(made.BASELINE, target)).is_file()
        wanted = pull.want(tmp_path / "clone", made.MODEL, target=target)
        file = pull.pull(tmp_path / "clone", wanted, tmp_path / f"out-{target}").file
        assert Path(file).read_bytes() == content


def test_a_remote_that_does_not_take_the_bytes_stops_the_promotion(far: Callable[..., Path], tmp_path: Path) -> None:
    """Nobody else could pull that version: nothing is recorded, nothing pushed."""
    root = far(f"ssh://127.0.0.1:1{tmp_path / 'far'}", allow_agent="false")
    before = made.git(root, "ls-remote", "origin")
    with pytest.raises(StateError, match="DVC remote far"):
        promote(root, PromotionRequest("int8"))
    assert made.git(root, "ls-remote", "origin") == before
    with pytest.raises(StateError, match="no model"):
        resolve(root, made.MODEL)


def test_what_a_remote_over_ssh_holds_is_planned_and_carries_measurements(
    far: Callable[..., Path], ssh: tuple[Any, Path], tmp_path: Path
) -> None:
    """`gc` keeps what a version needs there and names what nothing needs; measurements come back by their names."""
    port, key = ssh
    root = far(f"ssh://127.0.0.1:{port}{tmp_path / 'far'}", keyfile=key, allow_agent="false")
    promote(root, PromotionRequest("int8"))
    assert fetch_measurement(root, "weighbridge/measurements/a.json") is None
    stray = stored(tmp_path / "far", b"nothing names this")
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.write_bytes(b"nothing names this")
    rows = {row.md5: row for row in plan(root, remote=True)}
    assert not rows[f"{stray.parent.name}{stray.name}"].keep
    needed = stored(tmp_path / "far", made.candidate_bytes("int8", 1, "onnxruntime"))
    assert rows[f"{needed.parent.name}{needed.name}"].keep
    push_measurements(root, [("weighbridge/measurements/a.json", b"{}")])
    assert fetch_measurement(root, "weighbridge/measurements/a.json") == b"{}"


def test_a_remote_that_cannot_be_asked_is_no_empty_one(far: Callable[..., Path], tmp_path: Path) -> None:
    """Nothing there can be called unneeded, and nothing unknown."""
    root = far(f"ssh://127.0.0.1:1{tmp_path / 'far'}", allow_agent="false")
    for ask in (lambda: plan(root, remote=True), lambda: fetch_measurement(root, "weighbridge/measurements/a.json")):
        with pytest.raises(CannotAskError, match="could not be asked"):
            ask()
