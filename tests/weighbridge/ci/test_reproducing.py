"""What `dvc repro` said, and what the gate makes of it."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from weighbridge.ci.reproducing import read_output, reproduce
from weighbridge.core.errors import ExitCode, StateError

FAILED = """\
Stage 'prepare' didn't change, skipping
Running stage 'compress@int8':
> weighbridge stage compress int8
weighbridge: error: pruning changed nothing (sparsity 0)
ERROR: failed to reproduce 'compress@int8': failed to run: weighbridge stage compress int8, exited with 2
"""


def test_a_failed_stage_is_named_with_its_own_words() -> None:
    """The stage's line is what a reader needs, not DVC's about it."""
    done = read_output(FAILED.splitlines(), 255)
    assert (done.failed, done.message) == ("compress@int8", "pruning changed nothing (sparsity 0)")
    assert done.exit_code is ExitCode.USAGE
    assert done.compressed == ["compress@int8"]


def test_a_failure_without_words_is_still_a_failure() -> None:
    """DVC killed without a line: could not judge, never a pass."""
    done = read_output([], -9)
    assert done.failed == "dvc"
    assert done.exit_code is ExitCode.UNJUDGED
    assert read_output(["ERROR: unable to acquire lock"], 255).message == "unable to acquire lock"


def test_a_recipe_that_names_no_target_is_told_what_to_add() -> None:
    """DVC follows it by name, and says only that it is missing."""
    said = "ERROR: failed to reproduce 'compress@x': Parameters 'recipes.x.target' are missing from 'params.yaml'."
    done = read_output([said], 255)
    assert done.message == "params.yaml: recipes.x names no target (add `target: onnxruntime`)"
    assert done.exit_code is ExitCode.USAGE


def test_success_names_what_ran() -> None:
    """Restored stages are not among them; measuring is not building."""
    lines = ["Stage 'train' is cached - skipping run, checking out outputs", "Running stage 'device':"]
    lines += ["Running stage 'models/a/dvc.yaml:weigh@int8':"]
    done = read_output(lines, 0)
    assert done.ran == ("device", "weigh@int8")
    assert done.compressed == []
    assert done.failed is None


def script(folder: Path, text: str) -> None:
    path = folder / "dvc"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_output_comes_line_by_line_and_the_exit_code_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was printed before a failure is shown; success in words does not hide a failure in the exit code."""
    script(tmp_path, "echo \"Running stage 'train':\"; echo fine; exit 3")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    lines = []
    done = reproduce(tmp_path, lines.append)
    assert lines == ["Running stage 'train':", "fine"]
    assert done.failed == "dvc"


def test_no_dvc_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StateError, match="weighbridge\\[pipeline\\]"):
        reproduce(tmp_path, print)


def test_every_recipe_that_failed_is_named() -> None:
    """With `--keep-going` DVC goes on behind a failure, and names all of them at its end."""
    lines = [
        "Running stage 'compress@a':",
        "weighbridge: error: params.yaml: recipes.a.steps[0]: too many bits",
        "WARNING: failed to run: weighbridge stage compress a, exited with 2",
        "Running stage 'compress@b':",
        "weighbridge: error: params.yaml: recipes.b.steps[0]: lost a mask",
        "WARNING: failed to run: weighbridge stage compress b, exited with 3",
        "Running stage 'weigh@c':",
        "ERROR: failed to reproduce 'compress@a', 'sub/dvc.yaml:compress@b'",
    ]
    done = read_output(lines, 255)
    assert done.failed == "compress@a, compress@b"
    assert "too many bits" in done.message
    assert "lost a mask" in done.message
    assert done.exit_code is ExitCode.UNJUDGED
    assert "weigh@c" in done.ran


def test_one_recipe_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    """The gate's own way to run DVC: the others are built and weighed, and the run has failed."""
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n"
        "  compress:\n    foreach: [a, b, c]\n    do:\n      cmd: test ${item} != b && touch made-${item}\n"
        "      outs: ['made-${item}']\n"
        "  weigh:\n    foreach: [a, b, c]\n    do:\n      cmd: touch weighed-${item}\n"
        "      deps: ['made-${item}']\n      outs: ['weighed-${item}']\n"
    )
    subprocess.run(["git", "init", "-q", "."], cwd=tmp_path, check=True)
    subprocess.run(["dvc", "init", "-q"], cwd=tmp_path, check=True)
    done = reproduce(tmp_path, lambda _: None)
    assert done.failed == "compress@b"
    assert done.exit_code is ExitCode.UNJUDGED
    assert sorted(path.name for path in tmp_path.glob("weighed-*")) == ["weighed-a", "weighed-c"]


def test_data_whose_lock_was_edited_is_prepared_anew(tmp_path: Path) -> None:
    """A lock that calls old data what the new source makes: DVC believes it, the gate does not."""
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n"
        "  prepare: {cmd: cp source.txt data.txt, deps: [source.txt], outs: [data.txt]}\n"
        "  weigh: {cmd: cp data.txt weighed.txt, deps: [data.txt], outs: [weighed.txt]}\n"
    )
    (tmp_path / "source.txt").write_text("old")
    subprocess.run(["git", "init", "-q", "."], cwd=tmp_path, check=True)
    subprocess.run(["dvc", "init", "-q"], cwd=tmp_path, check=True)
    assert reproduce(tmp_path, lambda _: None).ran == ("prepare", "weigh")
    old, new = (hashlib.md5(text, usedforsecurity=False).hexdigest() for text in (b"old", b"new"))
    (tmp_path / "source.txt").write_text("new")
    lock = yaml.safe_load((tmp_path / "dvc.lock").read_text())
    (source,) = lock["stages"]["prepare"]["deps"]
    assert source["md5"] == old
    source["md5"] = new
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump(lock))
    assert reproduce(tmp_path, lambda _: None).ran == ()
    assert (tmp_path / "weighed.txt").read_text() == "old"
    assert reproduce(tmp_path, lambda _: None, anew=["prepare"]).ran == ("prepare", "weigh")
    assert (tmp_path / "weighed.txt").read_text() == "new"


def test_data_that_cannot_be_prepared_anew_is_a_failure(tmp_path: Path) -> None:
    """The stage that fails is named; what the lock said of it counts no more."""
    (tmp_path / "dvc.yaml").write_text("stages:\n  prepare: {cmd: cp source.txt data.txt, outs: [data.txt]}\n")
    (tmp_path / "source.txt").write_text("old")
    subprocess.run(["git", "init", "-q", "."], cwd=tmp_path, check=True)
    subprocess.run(["dvc", "init", "-q"], cwd=tmp_path, check=True)
    assert reproduce(tmp_path, lambda _: None).failed is None
    (tmp_path / "source.txt").unlink()
    assert reproduce(tmp_path, lambda _: None).failed is None
    assert reproduce(tmp_path, lambda _: None, anew=["prepare"]).failed == "prepare"
