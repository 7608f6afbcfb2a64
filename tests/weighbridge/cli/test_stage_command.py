"""`weighbridge stage`: what one recipe cannot do is recorded under DVC, and an error by hand."""

import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

from weighbridge.cli.stage_command import app
from weighbridge.compress import stages
from weighbridge.core.documents import Refusal
from weighbridge.gate.stages import pipeline


@pytest.mark.parametrize("under_dvc", [True, False])
@pytest.mark.parametrize(("command", "room"), [("compress", stages), ("weigh", pipeline)])
def test_a_stage_goes_on_behind_a_refusal_under_dvc_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, under_dvc: bool, command: str, room: ModuleType
) -> None:
    """And says on standard error that the gate will fail."""
    refusal = Refusal(recipe="bad", stage=command, what="prunes nothing", where="params.yaml: recipes.bad")
    asked = []

    def body(*_: object, keep_going: Any, **_more: object) -> Any:
        asked.append(keep_going)
        return {"compress": refusal, "weigh": [refusal]}[command]

    monkeypatch.setattr(room, command, body)
    monkeypatch.setenv("DVC_STAGE", "compress@bad") if under_dvc else monkeypatch.delenv("DVC_STAGE", raising=False)
    result = CliRunner().invoke(app, [command, "bad", "--root", str(tmp_path), "--quiet"])
    assert asked == [under_dvc]
    assert result.exit_code == 0
    assert "the gate will fail: params.yaml: recipes.bad: prunes nothing" in result.stderr


def test_dvc_tells_a_stage_that_it_runs_it(tmp_path: Path) -> None:
    """By `DVC_STAGE`, on which the exit code of a refused recipe rests."""
    (tmp_path / "dvc.yaml").write_text("stages:\n  one:\n    cmd: echo $DVC_STAGE > out\n    outs: [out]\n")
    for command in (["dvc", "init", "-q", "--no-scm"], ["dvc", "repro", "-q"]):
        subprocess.run(command, cwd=tmp_path, check=True, timeout=120)
    assert (tmp_path / "out").read_text() == "one\n"
