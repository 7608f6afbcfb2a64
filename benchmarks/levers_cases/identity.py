"""Levers at which project is judged: move it, rename it, split it, hide it, delete it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from levers_cases.case import Edit, Lever, both, delete, document, link, refused, replace

_FILES = (
    "params.yaml",
    "dvc.yaml",
    "dvc.lock",
    "net.onnx",
    "eval.npz",
    "evaluation.py",
    "requirements-weighbridge.txt",
    "waivers",
)
_MADE = ("artifacts", "measurements", "reports")
_GONE = "gates it nowhere"


def moved(folder: str) -> Edit:
    """The whole project, with what was made."""

    def edit(root: Path) -> None:
        (root / folder).mkdir(parents=True)
        subprocess.run(["git", "mv", *_FILES, folder], cwd=root, check=True)
        for name in _MADE:
            (root / name).rename(root / folder / name)
        (root / folder / ".gitignore").write_text((root / ".gitignore").read_text())

    return edit


def copied(root: Path) -> None:
    """A second root with the same model name and half of the recipes."""
    (root / "second").mkdir()
    for name in _FILES[:-1]:
        (root / "second" / name).write_bytes((root / name).read_bytes())


def gone(name: str, change: Edit) -> Lever:
    """Not green without a waiver that says why."""
    return Lever(name, change, _GONE, (1,))


loosened = both(
    replace("params.yaml", "max: 0.1", "max: 0.5"), replace("params.yaml", "max_drop: 0.1", "max_drop: 0.5")
)
named = document("params.yaml", lambda content: content["model"].update(name="other"))

LEVERS: tuple[Lever, ...] = (
    Lever(
        "a project that moves, its limits loosened", both(loosened, moved("models/net")), "loosened", (1,), judged=True
    ),
    Lever(
        "a model that is renamed, its limits loosened",
        both(loosened, named),
        "loosened|renamed",
        (1, 2, 3),
        judged=True,
    ),
    Lever("a project that moves", moved("models/net"), "has moved from"),
    gone("a pipeline that is deleted", delete("dvc.yaml")),
    gone("params that are deleted", delete("params.yaml")),
    gone("a project that is deleted", delete("dvc.yaml", "params.yaml", "dvc.lock")),
    gone("a pipeline that runs something else", replace("dvc.yaml", "weighbridge stage", "wb stage")),
    gone("a project that moves and is renamed", both(named, moved("models/net"))),
    Lever(
        "a pipeline with two spaces in its commands",
        replace("dvc.yaml", "weighbridge stage", "weighbridge  stage"),
        "is gated: .*dvc.yaml",
    ),
    refused("two projects with one model's name", copied, "the project in . already uses the model name .net."),
    refused(
        "params behind a link",
        both(lambda root: (root / "params.yaml").rename(root / "p.yaml") and None, link("params.yaml", "p.yaml")),
        "params.yaml: is a symbolic link",
    ),
    refused(
        "a pipeline behind a link",
        both(lambda root: (root / "dvc.yaml").rename(root / "d.yaml") and None, link("dvc.yaml", "d.yaml")),
        "dvc.yaml: is a symbolic link",
    ),
    refused(
        "a lock behind a link",
        both(lambda root: (root / "dvc.lock").rename(root / "l.yaml") and None, link("dvc.lock", "l.yaml")),
        "dvc.lock: is a symbolic link",
    ),
    refused(
        "waivers behind a link",
        both(lambda root: (root / "waivers").rename(root / "w") and None, link("waivers", "w")),
        "waivers: is a symbolic link",
    ),
    refused(
        "the registry's policy behind a link",
        both(
            lambda root: (root / "p.yaml").write_text("schema_version: 1\n") and None,
            link("registry.policy.yaml", "p.yaml"),
        ),
        "registry.policy.yaml: is a symbolic link",
    ),
)
