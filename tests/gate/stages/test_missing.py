"""Deleting a measurement is seen: the lock file in Git remembers it."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from weighbridge.core.errors import InputError
from weighbridge.gate.stages.missing import missing_measurement

DEVICE = b'{"device_class": "test"}\n'


def md5(data: bytes) -> str:
    """As DVC hashes a file."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Path]:
    """A project whose lock file names a measurement; keywords change what it was taken of."""

    def make(
        *,
        device: bytes = DEVICE,
        weighed: str = "a.dir",
        made: str = "a.dir",
        stages: tuple[str, ...] = ("compress@int8", "weigh@int8"),
    ) -> Path:
        (tmp_path / "artifacts").mkdir(exist_ok=True)
        (tmp_path / "artifacts" / "device.json").write_bytes(DEVICE)
        content = {
            "compress@int8": {"cmd": "c", "outs": [{"path": "artifacts/recipes/int8", "md5": made}]},
            "weigh@int8": {
                "cmd": "w",
                "deps": [
                    {"path": "artifacts/device.json", "hash": "md5", "md5": md5(device)},
                    {"path": "artifacts/recipes/int8", "hash": "md5", "md5": weighed},
                ],
                "outs": [{"path": "measurements/int8", "md5": "m.dir"}],
            },
        }
        lock = {"schema": "2.0", "stages": {name: content[name] for name in stages}}
        (tmp_path / "dvc.lock").write_text(yaml.safe_dump(lock))
        return tmp_path

    return make


def test_a_measurement_of_the_same_files_and_device_is_missed(project: Callable[..., Path]) -> None:
    """The sentence names the way back."""
    said = missing_measurement(project(), "int8")
    assert "dvc pull measurements/int8" in said
    assert "started afresh" in said


@pytest.mark.parametrize(
    "change",
    [
        {"device": b"another"},
        {"weighed": "other.dir"},
        {"stages": ("compress@int8",)},
        {"stages": ("weigh@int8",)},
        {"stages": ()},
    ],
)
def test_other_files_or_devices_start_afresh_without_a_word(
    project: Callable[..., Path], change: dict[str, Any]
) -> None:
    """A new artifact, another machine, or a recipe that was never weighed owes nothing to an earlier measurement."""
    assert missing_measurement(project(**change), "int8") is None


def test_no_lock_file_and_no_device_remember_nothing(project: Callable[..., Path], tmp_path: Path) -> None:
    """A project that never ran, or whose machine was not described."""
    assert missing_measurement(tmp_path, "int8") is None
    root = project()
    (root / "artifacts" / "device.json").unlink()
    assert missing_measurement(root, "int8") is None


@pytest.mark.parametrize("text", ["- a", "stages: 3", "stages: {weigh@int8: 3}", "stages: {weigh@int8: {deps: 3}}"])
def test_a_lock_file_that_is_none_is_an_error(project: Callable[..., Path], text: str) -> None:
    """What DVC did not write is not taken for an empty memory."""
    root = project()
    (root / "dvc.lock").write_text(text)
    with pytest.raises(InputError, match=r"dvc\.lock"):
        missing_measurement(root, "int8")


PIPELINE = """
stages:
  compress:
    foreach: [int8]
    do:
      cmd: mkdir -p artifacts/recipes/${item} && echo a > artifacts/recipes/${item}/m
      outs:
        - artifacts/recipes/${item}
  weigh:
    foreach: [int8]
    do:
      cmd: mkdir -p measurements/${item} && date +%N > measurements/${item}/m.json
      deps:
        - artifacts/device.json
        - artifacts/recipes/${item}
      outs:
        - measurements/${item}:
            persist: true
"""


def test_the_lock_file_is_the_one_that_dvc_writes(tmp_path: Path) -> None:
    """A real pipeline, run once: what DVC noted is what is read, and another machine's description is told apart."""
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / "device.json").write_bytes(DEVICE)
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    for words in (["init", "--no-scm", "-q"], ["repro", "-q"]):
        subprocess.run([sys.executable, "-m", "dvc", *words], cwd=tmp_path, check=True, capture_output=True)
    assert "measurements/int8" in missing_measurement(tmp_path, "int8")
    (tmp_path / "artifacts" / "device.json").write_bytes(b"another machine")
    assert missing_measurement(tmp_path, "int8") is None
