"""A command whose extra is not installed says how to install it."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from weighbridge.cli import main
from weighbridge.cli.extras import EXTRAS, missing_extra

WITHOUT = """
import sys
from importlib.abc import MetaPathFinder

class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
from weighbridge.entry import main
sys.argv = ["weighbridge", *{words!r}]
main()
"""
PARAMS = """\
model: {name: m, factory: nets:net}
data: {factory: nets:load}
recipes: {half: {target: onnxruntime, steps: [{quantize: {scheme: fp16}}]}}
budgets: [{metric: size.bytes, max: 1MB}]
"""


def run(folder: Path, names: list[str], *words: str) -> subprocess.CompletedProcess[str]:
    """The command line where these modules cannot be imported."""
    code = WITHOUT.format(names=tuple(names), words=words)
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["weigh", "a.onnx", "b.onnx", "--data", "e.npz"], "gate"),
        (["calibrate"], "gate"),
        (["gate"], "gate"),
        (["transport", "pack", "a.onnx"], "gate"),
        (["stage", "weigh", "half"], "gate"),
        (["stage", "judge"], "gate"),
        (["explain", "half"], "compress"),
        (["stage", "prepare"], "compress"),
        (["stage", "train"], "compress"),
        (["stage", "baseline"], "compress"),
        (["stage", "compress", "half"], "compress"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_a_missing_extra_is_named(tmp_path: Path, words: list[str], extra: str) -> None:
    """One line, exit code 2, no internal error."""
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "a.onnx").write_bytes(b"x")
    done = run(tmp_path, [name for names in EXTRAS.values() for name in names], *words)
    assert done.returncode == 2, done.stderr
    assert done.stderr.endswith(f"(pip install 'weighbridge[{extra}]')\n")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / ".weighbridge/internal-error.txt").exists()


def test_a_module_that_no_extra_brings_is_a_defect() -> None:
    """It is not explained away."""
    error = ModuleNotFoundError("No module named 'nets'", name="nets")
    assert missing_extra(error) is None


def test_a_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Of whatever command meets it: exit code 2, what to do, and nothing about a defect; another error stays one."""
    for number, said in (
        (errno.ENOSPC, "cannot be written: No space left on device (free some space"),
        (errno.EIO, "internal error"),
    ):

        def fail(number: int = number, **_: object) -> NoReturn:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr("weighbridge.cli.app", fail)
        with pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code == (2 if number == errno.ENOSPC else 3)
        assert said in capsys.readouterr().err
