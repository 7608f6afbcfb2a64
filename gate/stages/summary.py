"""Body of the DVC stage `judge`, and the check that a verdict still follows from what lies on disk.

Reads `params.yaml`, manifests, artifacts, measurements and waivers; judges; writes `reports/`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from weighbridge.core.documents import GateVerdict, PolicyChange, Portability, RecipeVerdict, worst
from weighbridge.core.documents.keyed_report import ProjectReport
from weighbridge.core.documents.shared_budgets import content_of
from weighbridge.core.errors import IntegrityError
from weighbridge.core.files import atomic_write
from weighbridge.core.project import PARAMS
from weighbridge.core.strict_yaml import parse_yaml
from weighbridge.gate.calibrate.calibration import sentences
from weighbridge.gate.report import terminal, to_markdown
from weighbridge.gate.report.content import document
from weighbridge.gate.report.edits import changed_recipes, edits
from weighbridge.gate.report.facts import Entry
from weighbridge.gate.report.report_files import html_page, report_files
from weighbridge.gate.report.subject import Report
from weighbridge.gate.stages.basis import RECORDED, Basis, recorded_basis, take_basis
from weighbridge.gate.stages.inventory import Inventory, take_inventory
from weighbridge.gate.stages.sides import CommittedSide
from weighbridge.gate.verdict.budget_changes import under_base
from weighbridge.gate.verdict.judge import judge as judge_one
from weighbridge.gate.verdict.judge import unanswered_by
from weighbridge.gate.verdict.policy import Policy, policy_changes, under_rules
from weighbridge.gate.verdict.waivers import Terms, read_waivers
from weighbridge.gate.verdict.waiving import apply_waivers

REPRODUCE = ("dvc repro", "weighbridge gate")


@dataclass(frozen=True)
class Base:
    """The merge base that budgets are compared with."""

    revision: str
    text: str | None
    """Its `params.yaml`; None where it has none."""
    changes: tuple[PolicyChange, ...] = ()
    """Policy changes that the caller found besides: a project that was moved, renamed or split."""
    waivers: frozenset[str] = frozenset()
    """Identities of the waivers that it has already: those that accepted a policy change are spent."""
    tree: CommittedSide | None = None
    """The commit itself, to compare what the verdict rests on; None where only its `params.yaml` is at hand."""


@dataclass(frozen=True)
class CheckedGate:
    """A verdict that follows from the evidence, as a document, a table for terminals, and reports."""

    verdict: GateVerdict
    report: Report

    def table(self, width: int | None = None) -> str:
        """The verdict for a terminal of so many columns; None: as wide as it takes."""
        return terminal.table(self.verdict, self.report, width)

    @property
    def markdown(self) -> str:
        """The report for a comment or a job's summary."""
        return to_markdown.render(document(self.report))

    def sections(self, project: str) -> ProjectReport:
        """The report by sections; `project` is its folder, relative to the repository's top."""
        return to_markdown.sections(document(self.report), project)

    def told(self, **fields: Any) -> CheckedGate:
        """The same verdict, with more in its report: fields of `Report`."""
        return replace(self, report=replace(self.report, **fields))

    @property
    def html(self) -> str:
        """The report as one self-contained page."""
        return html_page(self.report)

    def write(self, folder: Path) -> None:
        """Write `verdict.json`, `gate.md` and `gate.html` to a folder, e.g. for a comment on a pull request."""
        self.verdict.write(folder / "verdict.json")
        atomic_write(folder / "gate.md", self.markdown.encode())
        atomic_write(folder / "gate.html", self.html.encode())


def judge(root: Path, *, base: Base | None = None, today: dt.date | None = None) -> GateVerdict:
    """Judge every recipe of `params.yaml` and write `reports/`; see DESIGN, stage `judge`.

    Raises `InputError` where a document is missing or malformed; digests that disagree become `error` verdicts.
    """
    inventory = take_inventory(root)
    verdict = _gate_verdict(inventory, root, base, today or _today())
    report = _report(inventory, verdict, root, base)
    files = report_files(report)
    folder = root / "reports"
    for name, data in files.items():
        atomic_write(folder / name, data)
    # The verdict last: it is never about a report that could not be written.
    verdict.write(folder / "verdict.json")
    return verdict


def check(
    root: Path,
    *,
    base: Base | None = None,
    today: dt.date | None = None,
    elsewhere: Callable[[Inventory], list[Portability]] | None = None,
) -> CheckedGate:
    """Judge again, and refuse a `reports/verdict.json` that does not follow from the evidence as it is now.

    With `base`, the budgets are compared with the merge base's as well; with `elsewhere`, which compares answers on
    other processors, an artifact that answers otherwise there does not pass. Raises `IntegrityError` where the stored
    verdict differs from the one that the evidence gives.
    """
    inventory = take_inventory(root)
    stored = GateVerdict.read(root / "reports" / "verdict.json")
    bare = _judge_all(inventory)
    differing = [name for name, found in bare.recipes.items() if not _same(stored.recipes.get(name), found)]
    differing += [name for name in stored.recipes if name not in bare.recipes]
    differing += [
        name for name in {**stored.refused, **bare.refused} if stored.refused.get(name) != bare.refused.get(name)
    ]
    if differing or stored.policy != bare.policy or stored.model != bare.model:
        about = f"on {', '.join(sorted(differing))} " if differing else ""
        raise IntegrityError(
            f"the verdict {about}does not follow from params.yaml and the measurements as they are now",
            where=str(root / "reports" / "verdict.json"),
            fix="run `dvc repro`",
        )
    verdict = _gate_verdict(inventory, root, base, today or _today())
    if elsewhere is not None:
        verdict = _with_portability(verdict, elsewhere(inventory))
    return CheckedGate(verdict, _report(inventory, verdict, root, base))


def _with_portability(verdict: GateVerdict, found: list[Portability]) -> GateVerdict:
    counting = [item.verdict for item in found if item.verdict is not None and not item.advisory]
    return verdict.model_copy(update={"portability": found, "verdict": worst([verdict.verdict, *counting])})


def _judge_all(inventory: Inventory) -> GateVerdict:
    """The verdict that the evidence gives, before waivers and policy."""
    params = inventory.params
    devices = [item.measurement.device for item in inventory.weighed]
    asked = {name: params.budgets_of(name) for name in params.recipes}
    recipes = {
        item.candidate.name: judge_one(
            item.measurement,
            asked[item.candidate.recipe],
            advisory=params.recipes[item.candidate.recipe].advisory,
            problems=item.problems,
            unanswered=unanswered_by(asked[item.candidate.recipe], devices),
        )
        for item in inventory.weighed
    }
    counting = [recipe.verdict for recipe in recipes.values() if not recipe.advisory]
    counting += [refused.standing for refused in inventory.refused.values() if not refused.advisory]
    told = dict.fromkeys(note for item in inventory.weighed for note in item.notes)
    return GateVerdict(
        verdict=worst(counting),
        model=params.model.name,
        device=", ".join(sorted({recipe.device for recipe in recipes.values()})),
        policy=Policy.of(params).digest(),
        recipes=recipes,
        refused=dict(inventory.refused),
        notes=[*told, *([] if counting else ["Every recipe is advisory, and missing evidence never passes."])],
    )


def _gate_verdict(inventory: Inventory, root: Path, base: Base | None, today: dt.date) -> GateVerdict:
    changes: list[PolicyChange] = []
    basis = Basis()
    notes = []
    rules = inventory.params.policy
    if base is not None and base.text is not None:
        before = Policy.parse(base.text, f"{PARAMS} at {base.revision}")
        rules = before.rules
        basis = take_basis(root, inventory.params, before, base.tree) if base.tree is not None else basis
        found = [*base.changes, *basis.changes]
        changes = policy_changes(before, Policy.of(inventory.params)) + under_rules(found, before.rules)
        sound = {item.candidate.name: item.measurement for item in inventory.weighed if not item.problems}
        named = [change.recipe for change in changes if change.recipe is not None]
        changes = under_base(changes, before.budgets, sound, {name: before.budgets_of(name) for name in named})
    elif base is not None:
        changes = list(base.changes)
        notes = [f"{base.revision} has no {PARAMS}: the limits are new and were compared with nothing."]
    verdict = _judge_all(inventory)
    rests = basis.items or recorded_basis(inventory)
    verdict = verdict.model_copy(update={"notes": [*verdict.notes, *notes], "basis": rests})
    compared = base is not None and base.text is not None
    terms = Terms(rules.waiver_days, base.waivers if base is not None else frozenset(), compared)
    return apply_waivers(verdict, read_waivers(root), changes, today, terms)


def _same(stored: RecipeVerdict | None, found: RecipeVerdict) -> bool:
    """Whether two verdicts are one, waivers aside: those depend on the day."""
    return stored is not None and _bare(stored) == _bare(found)


def _bare(verdict: RecipeVerdict) -> dict[str, Any]:
    content = verdict.to_json()
    content.pop("verdict")
    for item in content["budgets"]:
        item.pop("waived_by", None)
    return content


def _report(inventory: Inventory, verdict: GateVerdict, root: Path, base: Base | None) -> Report:
    entries = tuple(
        Entry(item.candidate.name, verdict.recipes[item.candidate.name], item.measurement, item.manifest.parity)
        for item in inventory.weighed
    )
    differing, changed = None, None
    if base is not None and base.text is not None:
        before, after = parse_yaml(base.text, f"{PARAMS} at {base.revision}"), content_of(root / PARAMS)
        differing, changed = edits(before, after), changed_recipes(before, after)
    fingerprint = entries[0].measurement.device.fingerprint if entries else ""
    return Report(
        verdict.verdict,
        entries,
        model=verdict.model,
        notes=verdict.notes,
        policy_changes=verdict.policy_changes,
        waivers=verdict.waivers,
        refused=verdict.refused,
        basis=[item for item in verdict.basis if item.state != RECORDED],
        portability=verdict.portability,
        edits=differing,
        changed=changed,
        calibration=sentences(root, fingerprint),
        reproduce=REPRODUCE,
        pictures=True,
    )


def _today() -> dt.date:
    return dt.datetime.now(tz=dt.UTC).date()
