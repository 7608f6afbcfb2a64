"""Small real Git repositories with a gated project, for tests of what a change touches. Nothing is built or run."""

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

from weighbridge.ci.committed_content import Contents
from weighbridge.ci.committed_pipeline import Side
from weighbridge.core.git import Git
from weighbridge.core.git_tree import Tree

PARAMS = {
    "model": {"name": "net", "factory": "nets.model:Net", "licence": "MIT"},
    "data": {"factory": "nets.data:load"},
    "recipes": {"w8": {"steps": [{"quantize": {"scheme": "weight-int8"}}]}},
    "budgets": [{"metric": "size.bytes", "max": "10kB"}, {"metric": "accuracy.top1", "max_drop": 0.01}],
}
STAGES = {
    "prepare": {
        "cmd": "weighbridge stage prepare",
        "params": ["data"],
        "deps": ["nets/__init__.py", "nets/data.py", "data.npz", "requirements-weighbridge.txt"],
        "outs": ["artifacts/data"],
    },
    "train": {
        "cmd": "weighbridge stage train",
        "deps": ["artifacts/data", "nets/__init__.py", "nets/model.py"],
        "outs": ["artifacts/trained"],
    },
    "compress": {
        "foreach": "${recipes}",
        "do": {
            "cmd": "weighbridge stage compress ${key}",
            "deps": ["artifacts/trained", "nets/__init__.py", "nets/model.py"],
            "outs": ["artifacts/recipes/${key}"],
        },
    },
    "judge": {"cmd": "weighbridge stage judge", "deps": ["artifacts/recipes"], "outs": ["reports/verdict.json"]},
}
FILES = {
    "nets/__init__.py": "",
    "nets/data.py": "import numpy\n\n\ndef load():\n    return numpy.load('data.npz')\n",
    "nets/model.py": "class Net:\n    pass\n",
    "data.npz": "examples",
    "requirements-weighbridge.txt": "weighbridge==1\n",
    "README.md": "# Net\n",
    "tests/test_net.py": "def test():\n    pass\n",
    ".github/workflows/gate.yml": "name: gate\non: pull_request\njobs: {gate: {steps: [{run: weighbridge ci gate}]}}\n",
    ".github/workflows/docs.yml": "name: docs\non: push\n",
    "registry.policy.yaml": "schema_version: 1\n",
}


def write(root: Path, name: str, text: str | bytes) -> None:
    """One file, its folders made."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def commit(git: Git, message: str = "change") -> str:
    """Commit everything; the commit."""
    git.run("add", "--all")
    git.run("commit", "--quiet", "--allow-empty", "--message", message)
    return git.head()


def lock(root: Path, stages: dict[str, Any] | None = None, recipes: tuple[str, ...] = ("w8",)) -> None:
    """Write the `dvc.lock` that a run on the files as they are would leave."""
    made = {}
    for name, stage in (stages or STAGES).items():
        body = stage.get("do", stage)
        for key in recipes if "foreach" in stage else (None,):
            deps = [{"path": dep, "hash": "md5", "md5": _md5(root / dep)} for dep in body["deps"]]
            outs = [{"path": out.replace("${key}", str(key)), "md5": "0" * 32} for out in body["outs"]]
            made[name if key is None else f"{name}@{key}"] = {"cmd": body["cmd"], "deps": deps, "outs": outs}
    write(root, "dvc.lock", yaml.safe_dump({"schema": "2.0", "stages": made}, sort_keys=False))


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest() if path.is_file() else "0" * 32


def make(root: Path, files: Any = None, folder: str = ".") -> Git:
    """A repository with one gated project in a folder, committed."""
    git = Git(root)
    root.mkdir(parents=True, exist_ok=True)
    for arguments in (
        ("init", "--quiet", "--initial-branch=main"),
        ("config", "user.name", "test"),
        ("config", "user.email", "test@example.invalid"),
        ("config", "protocol.file.allow", "always"),
    ):
        git.run(*arguments)
    project = root / folder
    for name, text in {**FILES, **(files or {})}.items():
        write(project, name, text)
    write(project, "params.yaml", yaml.safe_dump(PARAMS, sort_keys=False))
    write(project, "dvc.yaml", yaml.safe_dump({"stages": STAGES}, sort_keys=False))
    lock(project)
    commit(git, "base")
    return git


def side(git: Git, revision: str = "HEAD", folder: str = ".") -> Side:
    """The project at a commit."""
    return Side(Contents(Tree(git, git.run("rev-parse", revision))), folder)


def pointer(data: bytes, name: str) -> tuple[str, str]:
    """A `.dvc` file as `dvc add` writes it."""
    digest = hashlib.md5(data).hexdigest()
    return yaml.safe_dump({"outs": [{"md5": digest, "size": len(data), "hash": "md5", "path": name}]}), digest


def reformatted(text: str) -> str:
    """The same YAML, every mapping's keys the other way round, with a comment."""

    def turned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: turned(item) for key, item in reversed(value.items())}
        return [turned(item) for item in value] if isinstance(value, list) else value

    return "# words\n" + json.dumps(turned(yaml.safe_load(text)), indent=8) + "\n"
