"""What a verdict rests on: every lever of a real repository is seen, and harmless edits are none."""

import datetime as dt
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from tests.gate.project import PARAMS, write_artifact, write_project
from weighbridge.core.documents import GateVerdict, Verdict
from weighbridge.core.dvc_files import file_md5, folder_md5
from weighbridge.core.git import Git
from weighbridge.data import Split, write_npz
from weighbridge.gate.report import plots
from weighbridge.gate.stages.merge_base import merge_base
from weighbridge.gate.stages.summary import CheckedGate, check, judge

TODAY = dt.date(2026, 11, 23)
N = 2000
WORKFLOW = "on: push\njobs: {gate: {steps: [{run: weighbridge ci gate}]}}\n"
PIPELINE = """
stages:
  prepare: {cmd: weighbridge stage prepare, deps: [data.py], outs: [artifacts/data]}
  train: {cmd: weighbridge stage train, deps: [artifacts/data], outs: [artifacts/trained]}
  weigh: {cmd: weighbridge stage weigh int8, deps: [artifacts/data/test.npz, gate.py]}
"""


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take seconds and show nothing of this."""
    monkeypatch.setattr(plots, "PLOTS", {})


def examples(keep: int = N, **changed: NDArray[np.int32]) -> Split:
    """A test split of the first examples."""
    labels = np.arange(N) % 10
    fields = {"inputs": np.arange(2.0 * N).reshape(N, 2), "labels": labels, "slices": {"low": np.arange(N) < 40}}
    fields |= changed
    return Split({"x": fields["inputs"]}, fields["labels"], fields["slices"]).take(slice(keep))


def write_lock(root: Path) -> None:
    """`dvc.lock` as DVC would write it, and what it names in DVC's cache."""
    data, baseline = root / "artifacts/data", root / "artifacts/baseline/onnxruntime"
    entries = [{"md5": file_md5(path), "relpath": path.name} for path in sorted(data.iterdir())]
    cached = {folder_md5(data): json.dumps(entries, sort_keys=True).encode()}
    cached |= {file_md5(path): path.read_bytes() for path in [*data.iterdir(), *baseline.iterdir()]}
    for md5, content in cached.items():
        path = root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    test = {"path": "artifacts/data/test.npz", "md5": file_md5(data / "test.npz"), "size": 1}
    stages = {
        "prepare": {
            "cmd": "weighbridge stage prepare",
            "deps": [{"path": "data.py", "md5": "a"}],
            "outs": [{"path": "artifacts/data", "md5": folder_md5(data)}],
        },
        "baseline@onnxruntime": {"outs": [{"path": "artifacts/baseline/onnxruntime", "md5": folder_md5(baseline)}]},
        "weigh@int8": {"deps": [test]},
    }
    (root / "dvc.lock").write_text(yaml.safe_dump({"stages": stages}))


def write_splits(root: Path, test: Split, calibration: Split | None = None) -> None:
    """The splits that the stage prepare would have written."""
    write_npz(root / "artifacts/data/test.npz", test)
    write_npz(root / "artifacts/data/calibration.npz", calibration or examples(10))


def commit(root: Path, message: str = "change") -> None:
    """Commit everything that is not ignored."""
    git = Git(root)
    git.run("add", "--all")
    git.run("commit", "--quiet", "--allow-empty", "--message", message)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A gated repository on a branch that has changed nothing yet."""
    git = Git(tmp_path)
    git.run("init", "--quiet", "--initial-branch=main")
    git.run("config", "user.name", "test")
    git.run("config", "user.email", "test@example.invalid")
    write_project(tmp_path)
    (tmp_path / "artifacts/data").mkdir()
    write_splits(tmp_path, examples())
    (tmp_path / ".dvc").mkdir()
    write_lock(tmp_path)
    for name, text in {
        ".gitignore": "artifacts\nmeasurements\nreports\n.dvc/cache\n",
        "dvc.yaml": PIPELINE,
        "requirements.txt": "numpy==2.0\n",
        "registry.policy.yaml": "rules: strict\n",
        ".github/workflows/gate.yml": WORKFLOW,
        ".github/workflows/docs.yml": "on: push\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    commit(tmp_path, "base")
    git.run("switch", "--quiet", "--create", "change")
    return tmp_path


def gate(root: Path) -> CheckedGate:
    """The verdict on the branch."""
    commit(root)
    judge(root, today=TODAY)
    return check(root, base=merge_base(root, "main"), today=TODAY)


def edit(root: Path, name: str, old: str, new: str) -> None:
    """Replace text of a file."""
    path = root / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def new_test_set(split: Split) -> Callable[..., Any]:
    """The pipeline ran and made another test set."""

    def change(root: Path) -> None:
        write_splits(root, split)
        write_lock(root)

    return change


def relabel(root: Path) -> None:
    labels = np.arange(N) % 10
    labels[:12] = 3
    new_test_set(examples(labels=labels))(root)


def other_baseline(root: Path) -> None:
    """Another file of the same size, compressed and measured as the old one was."""
    manifest = root / "artifacts/baseline/onnxruntime/manifest.json"
    old = json.loads(manifest.read_text())["artifact"]["digest"]
    write_artifact(manifest.parent, "baseline", b"w" * 1000)
    for path in [*root.glob("measurements/*/*.json"), *root.glob("artifacts/recipes/*/*/manifest.json")]:
        edit(root, path, old, json.loads(manifest.read_text())["artifact"]["digest"])
    write_lock(root)


def params(**sections: dict[str, int | str]) -> Callable[..., Any]:
    def change(root: Path) -> None:
        (root / "params.yaml").write_text(yaml.safe_dump({**PARAMS, **sections}, sort_keys=False))

    return change


def text(name: str, old: str, new: str) -> Callable[..., Any]:
    return lambda root: edit(root, name, old, new)


def lose(name: str) -> Callable[..., Any]:
    return lambda root: (root / name).unlink()


LEVERS = {
    "test set": (new_test_set(examples(1688)), "the test set lost 312 of 2,000 examples"),
    "labels": (relabel, "of 2,000 examples of the test set have other labels"),
    "slices": (new_test_set(examples(slices={})), "the slice low is gone"),
    "baseline onnxruntime": (other_baseline, "the baseline for onnxruntime differs"),
    "stage weigh": (text("dvc.yaml", "weigh int8", "weigh int8 || true"), "the stage weigh runs another command"),
    "stage prepare": (text("dvc.yaml", "deps: [data.py], ", ""), "no longer depends on data.py"),
    "weighing.threads": (params(weighing={"threads": 8}), "8"),
    "weighing.batch_size": (params(weighing={"batch_size": 8}), "8"),
    "weighing.launches": (params(weighing={"launches": 5}), "5"),
    "requirements.txt": (text("requirements.txt", "==2.0", "==1.0"), "numpy ==2.0 → ==1.0"),
    ".github/workflows/gate.yml": (text(".github/workflows/gate.yml", "ci gate", "--version"), "differs"),
    "registry.policy.yaml": (lose("registry.policy.yaml"), "registry.policy.yaml is gone"),
    "policy.waiver_days": (params(policy={"waiver_days": 900}), "900 days"),
}


@pytest.mark.parametrize("lever", LEVERS)
def test_every_lever_is_seen_and_needs_a_waiver(root: Path, lever: str) -> None:
    """Named with its effect in report and document; not green, and green with a waiver by name and value."""
    pull, effect = LEVERS[lever]
    pull(root)
    checked = gate(root)
    change = next(item for item in checked.verdict.policy_changes if item.budget == lever)
    assert change.blocks
    assert effect in f"{change.effect} {change.head}"
    assert checked.verdict.verdict is Verdict.FAIL
    assert (change.effect or lever) in checked.markdown.replace("`", "").replace("\\", "")
    (root / "waivers").mkdir()
    for index, item in enumerate(checked.verdict.policy_changes):
        said = {"budget": item.budget, "policy": True, "to": item.accepts, "who": "A", "why": "B"}
        (root / f"waivers/{index}.yaml").write_text(yaml.safe_dump({**said, "expires": dt.date(2026, 12, 24)}))
    waived = gate(root).verdict
    assert waived.verdict is Verdict.PASS
    assert all(item.waived_by for item in waived.policy_changes)


TOLD = {
    "requirements.txt": (text("requirements.txt", "==2.0", "==2.1"), "numpy ==2.0 → ==2.1"),
    "calibration data": (lambda root: (write_splits(root, examples(), examples(20)), write_lock(root)), "differs"),
    "weighing.time_limit": (params(weighing={"time_limit": "5min"}), "300"),
}


@pytest.mark.parametrize("lever", TOLD)
def test_what_is_only_told_is_seen_too(root: Path, lever: str) -> None:
    """Upgraded libraries, calibration data, more time: shown, and the verdict stands."""
    pull, effect = TOLD[lever]
    pull(root)
    verdict = gate(root).verdict
    change = next(item for item in verdict.policy_changes if item.budget == lever)
    assert not change.blocks
    assert effect in f"{change.effect} {change.head}"
    assert verdict.verdict is Verdict.PASS


def test_a_policy_of_the_registry_where_there_was_none_is_told(root: Path) -> None:
    """Without one anybody may promote, unsigned: it asks for more. Editing or removing it later needs a waiver."""
    git = Git(root)
    git.run("switch", "--quiet", "main")
    lose("registry.policy.yaml")(root)
    commit(root)
    git.run("switch", "--quiet", "--create", "adding")
    (root / "registry.policy.yaml").write_text("promoters: ['*@example.org']\n")
    verdict = gate(root).verdict
    change = next(item for item in verdict.policy_changes if item.budget == "registry.policy.yaml")
    assert (change.kind, change.blocks, change.effect) == ("policy added", False, "registry.policy.yaml is new")
    assert verdict.verdict is Verdict.PASS
    git.run("branch", "--quiet", "--force", "main")
    (root / "registry.policy.yaml").write_text("promoters: ['*']\n")
    assert gate(root).verdict.verdict is Verdict.FAIL


def test_examples_that_were_added_are_told(root: Path) -> None:
    """The merge base's examples are all there."""
    Git(root).run("switch", "--quiet", "main")
    new_test_set(examples(1900))(root)
    commit(root)
    Git(root).run("switch", "--quiet", "--create", "more")
    new_test_set(examples())(root)
    verdict = gate(root).verdict
    assert [item.effect for item in verdict.policy_changes] == ["the test set gained 100 examples"]
    assert verdict.verdict is Verdict.PASS


@pytest.mark.parametrize(
    "edited",
    [
        lambda root: (root / "README.md").write_text("words"),
        text("dvc.yaml", "stages:", "# why\nstages:"),
        text("requirements.txt", "numpy", "# why\nnumpy"),
        text(".github/workflows/gate.yml", "on: push", "# why\non:   push"),
        text(".github/workflows/docs.yml", "push", "pull_request"),
        text("registry.policy.yaml", "rules", "# why\nrules"),
        lambda root: (root / "params.yaml").write_text(yaml.safe_dump(PARAMS, sort_keys=True)),
    ],
)
def test_harmless_edits_change_nothing(root: Path, edited: Callable[[Path], object]) -> None:
    """Docs, comments, formatting, the order of keys, and workflows that do not run the gate."""
    edited(root)
    verdict = gate(root).verdict
    assert verdict.policy_changes == []
    assert {item.state for item in verdict.basis} == {"same"}
    assert verdict.verdict is Verdict.PASS


def test_everything_that_a_verdict_rests_on_has_a_digest(root: Path) -> None:
    """By name, in the document as it is written and in the report."""
    checked = gate(root)
    checked.write(root / "out")
    names = [item.subject for item in GateVerdict.read(root / "out/verdict.json").basis]
    assert names[:-1] == [
        "test set", "labels", "slices", "calibration data", "baseline onnxruntime", "pipeline commands", "limits",
        "weighing settings", "libraries", "workflows", "registry policy", "waivers",
    ]  # fmt: skip
    assert names[-1].startswith("gate (weighbridge ")
    assert all(item.digest for item in checked.verdict.basis if item.subject != "waivers")
    assert "<summary>What this verdict rests on</summary>" in checked.markdown


def test_a_test_set_that_is_not_in_the_cache_counts_as_changed(root: Path) -> None:
    """Its examples cannot be counted: said with the sizes, and a waiver is needed."""
    shutil.rmtree(root / ".dvc/cache")
    write_splits(root, examples(1688))
    verdict = gate(root).verdict
    (change,) = [item for item in verdict.policy_changes if item.kind == "test set"]
    assert "could not be compared" in change.effect
    assert change.blocks
    assert verdict.verdict is Verdict.FAIL
    assert {item.state for item in verdict.basis if item.subject in ("test set", "labels", "slices")} == {"unknown"}


def test_damaged_bytes_in_the_cache_are_not_compared_with(root: Path) -> None:
    """A cached file whose bytes are not what its name says could hide what was lost."""
    md5 = file_md5(root / "artifacts/data/test.npz")
    write_npz(root / ".dvc/cache/files/md5" / md5[:2] / md5[2:], examples(1688))
    write_splits(root, examples(1688))
    assert "could not be compared" in next(
        item.effect for item in gate(root).verdict.basis if item.subject == "test set"
    )


def test_a_baseline_built_again_from_unchanged_inputs_is_told(root: Path) -> None:
    """Another processor trains other weights: the change did nothing, unless its own lock names other bytes."""
    lock = (root / "dvc.lock").read_text()
    other_baseline(root)
    made = (root / "dvc.lock").read_text()
    (root / "dvc.lock").write_text(lock)
    commit(root)
    (root / "dvc.lock").write_text(made)
    judge(root, today=TODAY)
    verdict = check(root, base=merge_base(root, "main"), today=TODAY).verdict
    assert [item.kind for item in verdict.policy_changes] == ["baseline rebuilt"]
    assert verdict.verdict is Verdict.PASS
    assert [item.kind for item in gate(root).verdict.policy_changes] == ["baseline"]


def with_libraries(root: Path, version: str, weights: str = "w") -> None:
    """The lock of an exporting stage that depends on the requirements, and on trained weights."""
    content = yaml.safe_load((root / "dvc.lock").read_text())
    stage = content["stages"]["baseline@onnxruntime"]
    stage["deps"] = [
        {"path": "artifacts/trained/checkpoint.safetensors", "md5": weights},
        {"path": "requirements.txt", "md5": version},
    ]
    content["stages"]["train"] = {"outs": [{"path": "artifacts/trained/checkpoint.safetensors", "md5": weights}]}
    (root / "dvc.lock").write_text(yaml.safe_dump(content))


@pytest.mark.parametrize(("weights", "kind"), [("w", "baseline rebuilt"), ("v", "baseline")])
def test_a_baseline_that_other_libraries_exported_says_why(root: Path, weights: str, kind: str) -> None:
    """Of the same weights it is told; trained again it is another baseline."""
    with_libraries(root, "1")
    commit(root)
    Git(root).run("branch", "--force", "main")
    committed = (root / "dvc.lock").read_text()
    (root / "requirements.txt").write_text("numpy==2.1\n")
    commit(root)
    other_baseline(root)
    with_libraries(root, "2", weights)
    judge(root, today=TODAY)
    verdict = check(root, base=merge_base(root, "main"), today=TODAY).verdict
    assert committed != (root / "dvc.lock").read_text()
    (change,) = [item for item in verdict.policy_changes if item.budget == "baseline onnxruntime"]
    assert change.kind == kind
    said = "was exported again from the same weights, because requirements.txt differs"
    assert (said in change.effect) == (kind == "baseline rebuilt")
    assert change.blocks == (kind == "baseline")


def test_a_merge_base_that_measured_nothing_is_compared_with_nothing(root: Path) -> None:
    """Without a lock there, no verdict was ever better: what DVC made is new."""
    Git(root).run("switch", "--quiet", "main")
    (root / "dvc.lock").unlink()
    commit(root)
    Git(root).run("switch", "--quiet", "--create", "first")
    write_lock(root)
    verdict = gate(root).verdict
    assert verdict.policy_changes == []
    assert {item.state for item in verdict.basis} == {"same", "new"}
