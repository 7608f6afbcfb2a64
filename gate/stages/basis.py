"""What a verdict rests on: each thing by its digest, and what of it differs from the merge base, in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import weighbridge
from weighbridge.core.documents import BasisItem, Params, PolicyChange
from weighbridge.core.facts.governing_files import REGISTRY_POLICY
from weighbridge.core.files import canonical_json, sha256_bytes, sha256_file
from weighbridge.core.git_tree import Tree
from weighbridge.core.project import PIPELINE
from weighbridge.gate.stages import built_basis
from weighbridge.gate.stages.inventory import Inventory
from weighbridge.gate.stages.sides import CommittedSide, Side, WorkingSide, library_files, workflows
from weighbridge.gate.verdict.library_changes import library_change
from weighbridge.gate.verdict.pipeline_changes import content_digest, file_change, pipeline_digest, short, stage_changes
from weighbridge.gate.verdict.policy import Policy
from weighbridge.gate.verdict.waivers import FOLDER

_GATE_FOLDERS = ("gate", "weighbridge")


@dataclass
class Basis:
    """What was found, both for the document and for the judge."""

    items: list[BasisItem] = field(default_factory=list)
    changes: list[PolicyChange] = field(default_factory=list)

    def add(
        self, subject: str, digest: str | None, base: str | None, changes: Sequence[PolicyChange] = (), effect: str = ""
    ) -> None:
        """One thing with its digest on both sides, and the policy changes that it makes."""
        self.changes += changes
        said = effect or "; ".join(dict.fromkeys(change.effect or change.budget for change in changes))
        state = "changed" if changes or digest != base else "same"
        self.items.append(BasisItem(subject=subject, digest=digest, base=base, state=state, effect=said))


def take_basis(root: Path, params: Params, before: Policy, base: CommittedSide) -> Basis:
    """Compare what a project's verdict rests on here with what it was at the merge base.

    `before` is the policy there. Digests of what DVC made come from its lock there, its bytes from DVC's cache.
    """
    top = base.tree.git.root.resolve()
    here = WorkingSide(top, root.resolve().relative_to(top).as_posix())
    basis = Basis()
    for built in built_basis.compare(root, params, base):
        basis.changes += built.changes
        basis.items.append(built.item)
    _pipeline(basis, base, here)
    after = Policy.of(params)
    basis.add("limits", after.digest(), before.digest(), effect=_differ(after.digest(), before.digest()))
    settings = [sha256_bytes(canonical_json(side.weighing.model_dump(mode="json"))) for side in (after, before)]
    # The changes themselves are among those of the policy, which needs no repository to compare.
    basis.add("weighing settings", settings[0], settings[1], effect=_differ(*settings))
    _files(basis, "libraries", _both(library_files(base), library_files(here)), base, here)
    _files(basis, "workflows", _both(workflows(base), workflows(here)), base, here)
    _files(basis, "registry policy", [REGISTRY_POLICY], base, here)
    _waivers(basis, base, here)
    _gate(basis, base, top)
    return basis


RECORDED = "recorded"


def recorded_basis(inventory: Inventory) -> list[BasisItem]:
    """What a verdict without a merge base rests on, by the documents that it was judged from."""
    params, found = inventory.params, dict[str, str]()
    for item in inventory.weighed:
        target = item.candidate.target
        found.setdefault("test set", item.measurement.data)
        found.setdefault("prepared data", item.manifest.data)
        found.setdefault(f"baseline {target}", item.measurement.baseline.digest)
        found[f"measurement {item.candidate.name}"] = item.measurement.content_digest()
    found["limits"] = Policy.of(params).digest()
    found["weighing settings"] = sha256_bytes(canonical_json(params.weighing.model_dump(mode="json")))
    found[f"gate (weighbridge {weighbridge.__version__})"] = _own_digest()
    return [BasisItem(subject=subject, digest=digest, state=RECORDED) for subject, digest in found.items()]


def _own_digest() -> str:
    """Over the files of this program."""
    package = Path(weighbridge.__file__).resolve().parent
    lines = [f"{path.relative_to(package).as_posix()} {sha256_file(path)}" for path in sorted(package.rglob("*.py"))]
    return sha256_bytes("\n".join(lines).encode())


def _both(base: Iterable[str], head: Iterable[str]) -> list[str]:
    return sorted({*base, *head})


def _differ(head: str, base: str) -> str:
    return "" if head == base else "differ: see what changed in params.yaml"


def _pipeline(basis: Basis, base: CommittedSide, here: WorkingSide) -> None:
    texts = [_text(side, side.project(PIPELINE)) for side in (here, base)]
    digests = [None if text is None else pipeline_digest(text, PIPELINE) for text in texts]
    basis.add("pipeline commands", digests[0], digests[1], stage_changes(texts[1], texts[0], PIPELINE))


def _files(basis: Basis, subject: str, paths: Sequence[str], base: CommittedSide, here: WorkingSide) -> None:
    """Files that are compared one by one and shown as one."""
    changes = []
    for path in paths:
        sides = path, base.read(path), here.read(path)
        change = library_change(*sides) if subject == "libraries" else file_change(_KIND[subject], *sides)
        if change is not None and subject == "registry policy" and base.read(path) is None:
            # Without the file anybody may promote, unsigned: whatever it says asks for no less.
            change = change.model_copy(update={"kind": "policy added"})
        changes += [] if change is None else [change]
    head_digest, base_digest = (_together(side, paths) for side in (here, base))
    if not changes:
        base_digest = head_digest  # comments and formatting are no difference
    basis.add(subject, head_digest, base_digest, changes)


_KIND = {"workflows": "workflow", "registry policy": "policy"}


def _together(side: Side, paths: Sequence[str]) -> str | None:
    """One digest over some files; None where there is none of them."""
    lines = [f"{path} {content_digest(path, data)}" for path in paths if (data := side.read(path)) is not None]
    return sha256_bytes("\n".join(lines).encode()) if lines else None


def _waivers(basis: Basis, base: CommittedSide, here: WorkingSide) -> None:
    """Which waivers came and went. No policy change: accepting one is what they are for."""
    before, after = _contents(base), _contents(here)
    said = [
        f"{name} {'is new' if name not in before else 'is gone' if name not in after else 'differs'}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
    digests = [sha256_bytes(canonical_json(side)) if side else None for side in (after, before)]
    basis.add("waivers", digests[0], digests[1], effect="; ".join(said))


def _contents(side: Side) -> dict[str, str | None]:
    """Waiver files by name, each with the digest of what it says."""
    folder = side.project(FOLDER)
    names = [name for name in side.names([folder]) if name.endswith((".yaml", ".yml"))]
    return {name.removeprefix(f"{folder}/"): content_digest(name, side.read(name)) for name in names}


def _gate(basis: Basis, base: CommittedSide, top: Path) -> None:
    """The gate's own files; compared where the repository itself holds them."""
    package = Path(weighbridge.__file__).resolve().parent
    digest = _own_digest()
    changes = []
    if package.is_relative_to(top):
        before, after = _own_code(base.tree), _own_code(Tree(base.tree.git, base.tree.git.head()))
        count = len({path for path, _ in before.items() ^ after.items()})
        if count:
            effect = f"{count} files of the gate's own code differ"
            old, new = (sha256_bytes(canonical_json(side)) for side in (before, after))
            changes = [
                PolicyChange(kind="gate code", budget="gate", base=short(old), head=short(new), to=new, effect=effect)
            ]
    subject = f"gate (weighbridge {weighbridge.__version__})"
    basis.add(subject, digest, None if changes else digest, changes)


def _text(side: Side, path: str) -> str | None:
    data = side.read(path)
    return None if data is None else data.decode("utf-8", errors="replace")


def _own_code(tree: Tree) -> dict[str, str]:
    """The gate's files in a commit of its own repository, each with its blob."""
    return {path: tree.entries[path].object for folder in _GATE_FOLDERS for path in tree.under(folder)}
