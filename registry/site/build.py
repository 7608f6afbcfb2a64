"""Write the site's folder from the registry's state, whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from weighbridge.core.errors import StateError
from weighbridge.core.files import pretty_json
from weighbridge.registry.site.operators_page import FILE, operations_page
from weighbridge.registry.site.pages import index_page, model_page
from weighbridge.registry.site.version import version_page
from weighbridge.registry.state.snapshot import ModelState, read_models
from weighbridge.registry.views.bom import bom
from weighbridge.registry.views.card import CardContext, card

MARK = ".weighbridge-site"
ASSETS = ("style.css", "script.js", "live.js")
Report = Callable[[str, int, int, str], None]


@dataclass(frozen=True)
class BuiltSite:
    """A site that was written."""

    folder: Path
    models: int
    versions: int
    pages: int


def build(root: Path, out: Path, *, report: Report | None = None, metrics: str | None = None) -> BuiltSite:
    """Read the registry of `root` and write its site to `out`. `metrics`: a Prometheus's address, for live figures.

    An earlier site at `out` is replaced once the new one is complete; a folder that holds anything else is a
    `StateError`. A registry whose history does not hold is an `IntegrityError`, and no site.
    """
    if out.exists() and not (out / MARK).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise StateError(
            "already exists and was not written by this command", where=str(out), fix="name another folder"
        )
    states = read_models(root)
    try:
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".tmp", dir=out.absolute().parent))
        try:
            built = _write(states, folder, out, report, metrics)
            _replace(folder, out)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise StateError(f"cannot be written: {error.strerror or error}", where=str(out)) from error
    return built


def _write(
    states: Sequence[ModelState], folder: Path, out: Path, report: Report | None, metrics: str | None
) -> BuiltSite:
    (folder / MARK).write_text("A site of `weighbridge registry site`: the next one replaces it.\n")
    (folder / "_").mkdir()
    for name in ASSETS:
        (folder / "_" / name).write_bytes(
            resources.files("weighbridge.registry.site").joinpath("assets", name).read_bytes()
        )
    (folder / "index.html").write_text(index_page(states), encoding="utf-8")
    versions = 0
    for done, state in enumerate(states):
        (folder / state.name).mkdir()
        for name, content in _model_files(state, metrics).items():
            (folder / state.name / name).write_text(content, encoding="utf-8")
        versions += len(state.records)
        if report:
            report("site", done + 1, len(states), state.name)
    folder.chmod(0o755)
    return BuiltSite(out, len(states), versions, 1 + 2 * len(states) + versions)


def _model_files(state: ModelState, metrics: str | None) -> Mapping[str, str]:
    """Every file of one model, by name."""
    files = {"index.html": model_page(state), FILE: operations_page(state, metrics)}
    for version, record in state.records.items():
        files[f"{version}.html"] = version_page(state, version)
        files[f"{version}.card.md"] = card(record, CardContext(status=state.status(version)))
        files[f"{version}.cdx.json"] = pretty_json(bom(record, state.entries[version].record))
    return files


def _replace(folder: Path, out: Path) -> None:
    """Put the new site where the old one was; the old one stays until the new one is there."""
    if not out.exists():
        folder.rename(out)
        return
    aside = out.absolute().with_name(f".{out.name}.old.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    out.rename(aside)
    try:
        folder.rename(out)
    except OSError:
        aside.rename(out)
        raise
    shutil.rmtree(aside, ignore_errors=True)
