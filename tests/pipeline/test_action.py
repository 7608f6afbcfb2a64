"""The action's own step, with a stand-in for the command."""

import os
import subprocess
from pathlib import Path

import yaml

ACTION = Path(__file__).parents[2] / "action.yml"
STAND_IN = """\
#!/bin/bash
echo "$@" >> "$LOG"
while [ $# -gt 0 ]; do [ "$1" = --out ] && out=$2; shift; done
[ -z "$(ls -A "$out" 2>/dev/null)" ] || { echo "not empty: $(ls "$out")" >> "$LOG"; exit 0; }
echo made > "$out/measurement.json"; echo made > "$out/verdict.json"; echo made > "$out/gate.md"
exit 1
"""


def test_the_action_continues_nothing_that_a_change_brings(tmp_path: Path) -> None:
    """A measurement under `out` is neither read nor left there; the verdict's exit code is the step's."""
    step = next(item for item in yaml.safe_load(ACTION.read_text())["runs"]["steps"] if item.get("id") == "weigh")
    out, binaries = tmp_path / "out", tmp_path / "bin"
    for folder in (out, binaries, tmp_path / "runner"):
        folder.mkdir()
    for name in ("measurement.json", "verdict.json", "gate.md"):
        (out / name).write_text("brought\n")
    (binaries / "weighbridge").write_text(STAND_IN)
    (binaries / "weighbridge").chmod(0o755)
    environment = {
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "LOG": str(tmp_path / "log"),
        "RUNNER_TEMP": str(tmp_path / "runner"), "BASELINE": "a.onnx", "CANDIDATE": "b.onnx", "DATA": "eval.npz",
        "BUDGETS": "", "OUT": str(out), "TIME_LIMIT": "60", "SEED": "11",
    }  # fmt: skip
    done = subprocess.run(["bash", "-e", "-c", step["run"]], env=environment, cwd=tmp_path, check=False)
    log = (tmp_path / "log").read_text()
    assert done.returncode == 1, log
    assert "--code 1" in log
    assert {path.name: path.read_text() for path in out.iterdir()} == {
        "measurement.json": "made\n", "verdict.json": "made\n", "gate.md": "made\n",
    }  # fmt: skip
