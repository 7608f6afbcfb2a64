"""The plan of a project on disk: what its items depend on besides `params.yaml`."""

from __future__ import annotations

import os
from pathlib import Path

from weighbridge.compress.recipe import lineage
from weighbridge.compress.recipe.project_folder import Project
from weighbridge.core.documents import STABLE, Params, baseline_folder
from weighbridge.core.errors import StateError
from weighbridge.core.files import sha256_file, sha256_named
from weighbridge.core.formats.onnx_skim import external_files
from weighbridge.search.plan import Item, plan


def planned(root: Path) -> list[Item]:
    """The project's items; a `StateError` where the data or a baseline is not made yet."""
    project = Project(root)
    params = project.params
    files = {"data": project.data_folder / "data.json"}
    files |= {"checkpoint": project.checkpoint} if params.model.factory is not None else {}
    files |= {target: root / baseline_folder(target) / "manifest.json" for target in params.targets}
    for path in files.values():
        if not path.is_file():
            raise StateError("file not found", where=str(path), fix="dvc repro baseline")
    named = {name: sha256_file(path) for name, path in files.items()} | _replacing(root, params)
    factories = [params.model.factory] if params.model.factory is not None else []
    served = root / "artifacts" / "stable" / STABLE
    stable = sha256_file(served) if served.is_file() else ""
    return plan(params, sha256_named({**named, "code": lineage.code_digest(factories)}), stable)


def _replacing(root: Path, params: Params) -> dict[str, str]:
    """Digests of the finished models that steps put in the model's place, and of their weights beside them."""
    steps = [step["replace"] for section in params.recipes.values() for step in section.steps if "replace" in step]
    paths = [root / str(step.get("onnx")) for step in steps if isinstance(step, dict)]
    found = dict[str, str]()
    for path in paths:
        if not path.is_file():
            raise StateError("file not found", where=str(path), fix="`dvc pull`, or correct the recipe's `replace`")
        found |= {f"replace {os.path.relpath(file, root)}": sha256_file(file) for file in (path, *external_files(path))}
    return found


__all__ = ["planned"]
