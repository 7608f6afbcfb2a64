"""Whether the artifacts of a project answer alike on other processors, for `weighbridge gate --portable`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from weighbridge.core.documents import Manifest, Portability, Verdict
from weighbridge.core.formatting import percent
from weighbridge.data import Split, read_npz
from weighbridge.gate.measure.emulation import Emulator, emulators
from weighbridge.gate.measure.feeding import feeding
from weighbridge.gate.measure.model_files import read_model
from weighbridge.gate.measure.portability import Compared, EmulatedArtifact, compare
from weighbridge.gate.measure.runtimes import ADAPTERS
from weighbridge.gate.measure.staged_artifact import StagedArtifact
from weighbridge.gate.stages.inventory import Inventory

SECONDS = 60.0
"""For all artifacts on all processors."""


@dataclass(frozen=True)
class _Built:
    """One artifact, whatever devices it was weighed on."""

    name: str
    folder: Path
    manifest: Manifest
    advisory: bool


def available(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether any other processor can be shown on this machine."""
    return any(emulator.command for emulator in emulators(environment))


def portability(
    root: Path,
    inventory: Inventory,
    seconds: float = SECONDS,
    shown: Sequence[Emulator] | None = None,
) -> list[Portability]:
    """Each artifact on each other processor; what was not compared is among them, with the reason."""
    built = _artifacts(root, inventory)
    found = list(emulators() if shown is None else shown)
    usable = sum(bool(emulator.command) for emulator in found)
    split = read_npz(root / "artifacts" / "data" / "test.npz") if usable else None
    rows: list[Portability] = []
    for emulator in found:
        if split is None or not emulator.command:
            rows += [_row(item, emulator, Compared(reason=emulator.absent)) for item in built]
        else:
            rows += _on(emulator, built, split, seconds / usable)
    return rows


def _artifacts(root: Path, inventory: Inventory) -> list[_Built]:
    found = {}
    for item in inventory.weighed:
        recipe = inventory.params.recipes[item.candidate.recipe]
        name = recipe_name(item.candidate.recipe, item.candidate.target, len(recipe.targets))
        found[name] = _Built(name, root / item.candidate.folder, item.manifest, recipe.advisory)
    return list(found.values())


def recipe_name(recipe: str, target: str, targets: int) -> str:
    """How rows name an artifact: by its recipe, and by its target where there are several."""
    return recipe if targets == 1 else f"{recipe}/{target}"


def _on(emulator: Emulator, built: Sequence[_Built], split: Split, seconds: float) -> list[Portability]:
    asked = [item for item in built if not item.manifest.requires]
    with tempfile.TemporaryDirectory(prefix="weighbridge-") as folder:
        subjects = [_subject(item, Path(folder) / f"{index}", split) for index, item in enumerate(asked)]
        compared = dict(zip((item.name for item in asked), compare(subjects, split, emulator, seconds), strict=True))
    return [_row(item, emulator, compared.get(item.name, _required(item))) for item in built]


def _required(item: _Built) -> Compared:
    return Compared(reason=f"it requires {', '.join(item.manifest.requires)} and is refused elsewhere")


def _subject(item: _Built, folder: Path, split: Split) -> EmulatedArtifact:
    model = read_model(item.folder / Path(item.manifest.artifact.path).name, item.name, tuple(split.inputs))
    names = tuple(port.name for port in model.signature.inputs)
    adapter = ADAPTERS[item.manifest.target]
    artifact = StagedArtifact(item.name, model.stage(folder), adapter, names)
    return EmulatedArtifact(
        artifact, 0, feeding(model.signature, split, "artifacts/data/test.npz"), roundoff=model.roundoff
    )


def _row(item: _Built, emulator: Emulator, found: Compared) -> Portability:
    verdict, reason = _verdict(found)
    return Portability(
        artifact=item.name,
        processor=emulator.processor,
        tool=emulator.tool,
        verdict=verdict,
        reason=reason,
        examples=found.examples,
        differing=found.differing,
        advisory=item.advisory,
    )


def _verdict(found: Compared) -> tuple[Verdict | None, str]:
    if found.crashed:
        return Verdict.ERROR, f"It does not run there: {found.reason}."
    if not found.examples:
        return None, f"Not compared: {found.reason}."
    apart = f"answers are at most {percent(found.largest, 2)} of the largest one apart"
    if found.alike:
        return Verdict.PASS, f"All {found.examples:,} examples are answered alike: {apart}."
    decided = f", {found.decisions:,} with another class" if found.decisions else ""
    return Verdict.FAIL, (
        f"{found.differing:,} of {found.examples:,} examples are answered otherwise{decided}: {apart}, "
        f"and rounding explains {percent(found.tolerance, 2)}."
    )
