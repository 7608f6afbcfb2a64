"""`gate --portable`: every artifact on every other processor, named in the report, and its effect on the verdict."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.gate import project
from tests.gate.models import adapter, examples, linear
from weighbridge.cli import app
from weighbridge.core.documents import Manifest, Verdict
from weighbridge.data import write_npz
from weighbridge.gate.measure.emulation import Emulator
from weighbridge.gate.report import plots
from weighbridge.gate.stages import portable
from weighbridge.gate.stages.inventory import take_inventory
from weighbridge.gate.stages.summary import CheckedGate, check, judge

ELSEWHERE = Emulator("another", "env", ("env", "ELSEWHERE=1", sys.executable))
ABSENT = Emulator("a third", "qemu-user", (), "qemu-user is not installed")
OTHERWISE = "return [-x[:, :3] if 'ELSEWHERE' in os.environ else x[:, :3]]"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A judged project of real files; `int8` counts, `share` is advisory. Nothing is drawn."""
    monkeypatch.setattr(plots, "PLOTS", {})
    for name, padding in (("int8", 100), ("share", 10)):
        data = linear(tmp_path / "net.onnx", padding=padding).read_bytes()
        monkeypatch.setitem(project.CANDIDATES, name, data)
    project.write_project(tmp_path)
    (tmp_path / "artifacts/data").mkdir()
    write_npz(tmp_path / "artifacts/data/test.npz", examples(40))
    judge(tmp_path)
    return tmp_path


def judged(
    root: Path, monkeypatch: pytest.MonkeyPatch, run: str | None = None, shown: Sequence[Emulator] = (ELSEWHERE,)
) -> CheckedGate:
    """The gate's verdict with a comparison on these processors, by a runtime with that body."""
    if run is not None:
        monkeypatch.setattr(portable, "ADAPTERS", {"onnxruntime": adapter(root, run)})
    return check(root, elsewhere=lambda inventory: portable.portability(root, inventory, shown=shown))


def test_artifacts_that_answer_alike_leave_the_verdict(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real runtime, the same processor."""
    found = judged(root, monkeypatch)
    assert found.verdict.verdict is Verdict.PASS
    assert [(row.artifact, row.verdict, row.examples) for row in found.verdict.portability] == [
        ("int8", Verdict.PASS, 40),
        ("share", Verdict.PASS, 40),
    ]


def test_one_that_answers_otherwise_fails_and_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the headline, in a row of the report, in the terminal's table and in the document."""
    found = judged(root, monkeypatch, OTHERWISE)
    assert found.verdict.verdict is Verdict.FAIL
    assert "Fail: answers differ on another processor (int8)" in found.markdown
    assert "40 of 40 examples are answered otherwise" in found.markdown
    assert "int8 on another: fail: 40 of 40 examples are answered otherwise" in found.table()
    assert {section.key for section in found.sections(".").sections} >= {"portability"}


def test_one_that_does_not_run_there_is_an_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing missing ever passes."""
    body = "if 'ELSEWHERE' in os.environ:\n    os.kill(os.getpid(), signal.SIGILL)\nreturn [x[:, :3]]"
    found = judged(root, monkeypatch, body)
    assert found.verdict.verdict is Verdict.ERROR
    assert "Error: does not run on another processor (int8)" in found.markdown


def test_an_advisory_recipe_is_shown_and_decides_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only `share` answers otherwise: its file is the shorter one."""
    size = len(project.CANDIDATES["share"])
    load = f"self_size = os.path.getsize(path)\nModel.other = self_size == {size} and 'ELSEWHERE' in os.environ"
    runtime = adapter(root, "return [-x[:, :3] if self.other else x[:, :3]]", load=load)
    monkeypatch.setattr(portable, "ADAPTERS", {"onnxruntime": runtime})
    found = judged(root, monkeypatch)
    assert [row.verdict for row in found.verdict.portability] == [Verdict.PASS, Verdict.FAIL]
    assert found.verdict.verdict is Verdict.PASS


def test_an_absent_tool_is_said(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row for each artifact, no verdict, no effect."""
    found = judged(root, monkeypatch, shown=(ABSENT,))
    assert found.verdict.verdict is Verdict.PASS
    assert [row.verdict for row in found.verdict.portability] == [None, None]
    assert "qemu-user is not installed" in found.markdown


def test_what_requires_a_processor_is_not_compared_without_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused elsewhere, so that its answers there are no one's."""
    path = root / "artifacts/recipes/int8/onnxruntime/manifest.json"
    Manifest.read(path).model_copy(update={"requires": ["future"]}).write(path)
    rows = portable.portability(root, take_inventory(root), shown=(ELSEWHERE,))
    assert rows[0].verdict is None
    assert "requires future" in rows[0].reason
    assert rows[1].verdict is Verdict.PASS


def test_the_command_asks_only_where_it_is_told_to(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --portable nothing is emulated; with it the exit code is the verdict's."""
    monkeypatch.setattr(portable, "emulators", lambda: [ELSEWHERE])
    monkeypatch.setattr(portable, "ADAPTERS", {"onnxruntime": adapter(root, OTHERWISE)})
    plain = CliRunner().invoke(app, ["gate", "--root", str(root), "--json"])
    assert (plain.exit_code, json.loads(plain.stdout)["portability"]) == (0, [])
    asked = CliRunner().invoke(app, ["gate", "--root", str(root), "--portable"])
    assert asked.exit_code == 1
    assert "int8 on another: fail" in asked.stdout
