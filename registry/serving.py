"""What the registry serves now, laid out for the gate: `stable.json` and the bytes beside it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from registry.layout import home
from registry.resolve import Resolved, locate_bytes, stable_or_none
from weighbridge.documents import Params
from weighbridge.errors import StateError
from weighbridge.files import atomic_path, write_json

RECORD = "stable.json"
MODEL = "model.onnx"


def write_stable(root: Path, folder: Path) -> None:
    """Write what `stable` is into `folder`, with its verified bytes where a budget compares with it.

    A model that serves nothing yet, or whose bytes cannot be had, is written down with the reason: the gate turns it
    into an error of the budgets that need it. A damaged registry is an error here and now.
    """
    params = Params.read(root / "params.yaml")
    wanted = any(budget.relative and budget.against == "stable" for budget in params.budgets)
    top = home(root)
    served = stable_or_none(top, params.model.name) if wanted else None
    folder.mkdir(parents=True, exist_ok=True)
    if served is None:
        unasked = "no budget compares with stable"
        _write(folder, {"reason": f"{params.model.name} has no stable version yet" if wanted else unasked})
        return
    try:
        source = locate_bytes(top, served)
    except StateError as error:
        _write(folder, {"reason": str(error), **_named(served)})
        return
    with atomic_path(folder / MODEL) as temporary:
        shutil.copyfile(source, temporary)
    write_json(folder / RECORD, {"digest": served.digest, "reason": None, **_named(served)})


def _named(served: Resolved) -> dict[str, Any]:
    return {"version": served.version}


def _write(folder: Path, content: dict[str, Any]) -> None:
    """Say why there is nothing to compare with; bytes of an earlier stable must not linger."""
    (folder / MODEL).unlink(missing_ok=True)
    write_json(folder / RECORD, {"digest": None, "version": None, **content})
