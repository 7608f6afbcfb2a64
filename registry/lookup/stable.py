"""What the registry serves now, laid out for the gate: `stable.json` and the bytes beside it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from weighbridge.core.documents import STABLE, Params, Stable, StableFile
from weighbridge.core.errors import StateError
from weighbridge.core.files import atomic_path
from weighbridge.core.project import PARAMS
from weighbridge.registry.lookup.location import locate
from weighbridge.registry.lookup.resolve import stable_artifacts
from weighbridge.registry.lookup.resolved import Resolved
from weighbridge.registry.state.layout import home


def write_stable(root: Path, folder: Path) -> None:
    """Write what `stable` is into `folder`, with its verified bytes where a budget compares with it.

    A model that serves nothing yet, or whose bytes cannot be had, is written down with the reason: the gate turns it
    into an error of the budgets that need it. A damaged registry is an error here and now.
    """
    params = Params.read(root / PARAMS)
    wanted = any(budget.relative and budget.against == "stable" for budget in params.every_budget)
    top = home(root)
    served = stable_artifacts(top, params.model.name) if wanted else ()
    if not served:
        reason = f"{params.model.name} has no stable version yet" if wanted else "no budget compares with stable"
        _write(folder, Stable(version=None, reason=reason), {})
        return
    version = served[0].version
    try:
        sources = {artifact.target: _files(top, artifact) for artifact in served}
    except StateError as error:
        _write(folder, Stable(version=version, reason=str(error)), {})
        return
    files = {
        artifact.target: StableFile(
            path=f"{artifact.target}/{PurePosixPath(artifact.path).name}", digest=artifact.digest
        )
        for artifact in served
    }
    _write(folder, Stable(version=version, artifacts=files), sources)


def _files(top: Path, artifact: Resolved) -> dict[str, Path]:
    """By name: the artifact's file, and that of its weights where they are one of their own."""
    return {PurePosixPath(part.path).name: locate(top, part) for part in artifact.parts}


def _write(folder: Path, stable: Stable, sources: Mapping[str, Mapping[str, Path]]) -> None:
    """Write the document and the files that it is about; those of an earlier stable must not linger."""
    shutil.rmtree(folder, ignore_errors=True)
    for target, files in sources.items():
        for name, source in files.items():
            path = folder / target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary:
                shutil.copyfile(source, temporary)
    stable.write(folder / STABLE)
