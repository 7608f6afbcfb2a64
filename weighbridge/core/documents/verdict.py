"""What the budgets say of a measurement."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from weighbridge.core.documents.base import SCHEMA_VERSION, Digest, Recorded
from weighbridge.core.documents.devices import LOCAL
from weighbridge.core.errors import ExitCode
from weighbridge.core.facts.targets import DEFAULT_TARGET


class Verdict(StrEnum):
    """`pass`: the interval lies inside the limit. `fail`: it lies beyond. `inconclusive`: neither could be shown.
    `error`: it could not be measured or computed.
    """

    PASS = "pass"  # noqa: S105  # a verdict, not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"

    @property
    def exit_code(self) -> ExitCode:
        """0 pass, 1 fail, 3 could not judge."""
        return _EXIT.get(self, ExitCode.UNJUDGED)


_EXIT = {Verdict.PASS: ExitCode.PASS, Verdict.FAIL: ExitCode.FAIL}
# A certain failure outranks what could not be judged: more samples would not fix it.
_WORST_FIRST = (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.PASS)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst verdict; `error` where there is none, because nothing missing ever passes."""
    found = set(verdicts)
    return next((verdict for verdict in _WORST_FIRST if verdict in found), Verdict.ERROR)


class Named(Recorded):
    """An artifact by its digest."""

    digest: Digest


class BudgetVerdict(Recorded):
    """One budget, judged."""

    metric: str
    against: str | None
    """`baseline` or `stable` for relative limits; None for absolute ones."""
    rule: str
    """The name of a rule of `core.facts.budget_rules`."""
    limit: float
    unit: str
    """Of limit, estimate and bounds: `bytes`, `seconds`, `ratio`, `fraction` …"""
    estimate: float | None
    """None where there is none; `reason` says why."""
    lower: float | None
    upper: float | None
    verdict: Verdict
    reason: str
    required: bool
    mode: str = "population"
    """`exact` where the budget is about this very data set, or the metric is a fact of the file."""
    resolution: float | None = None
    """Smallest relative excess that the gate promises to find; None where nothing is estimated."""
    candidate: float | None = None
    """The metric's value for the candidate, in `metric_unit`."""
    reference: float | None = None
    metric_unit: str | None = None
    pairs: int | None = None
    """Launch pairs that the verdict rests on: the look at which it fell."""
    next_look: int | None = None
    """Launch pairs at which the gate would look next; None where more launches cannot decide this budget."""
    waived_by: str | None = None
    """The waiver that accepts this budget's verdict."""

    @property
    def standing(self) -> Verdict:
        """What the verdict counts as: a waived failure blocks nothing; an error cannot be waived."""
        return Verdict.PASS if self.waived_by and self.verdict is not Verdict.ERROR else self.verdict


OF_RECIPE = " of recipe "
"""Between the name of a budget and of the one recipe that it is for."""


class PolicyChange(Recorded):
    """One way in which this change alters the rules that it is judged by, or what they are measured on."""

    kind: str
    """One of `weighbridge.core.facts.policy_changes.CHANGE_KINDS`."""
    budget: str
    """What changed: a budget's name, e.g. `latency.p50 max_ratio against baseline`, `recipe <name>`, `device <name>`,
    `test set`, `stage <name>`, `weighing.<setting>`, a file's path.
    """
    base: str
    """How it stands in the merge base."""
    head: str
    """How it stands in this change."""
    to: str = ""
    """What a waiver has to write under `to:` to accept this change and no other; empty: the same as `head`."""
    effect: str = ""
    """What the change does, in words: `the test set lost 312 of 2,000 examples`; empty where base and head say it."""
    needs_waiver: bool = True
    """Whether the merge base's policy asks for a waiver; where it does not, the change is only told."""
    under_base: dict[str, Verdict] = {}
    """By recipe, what the merge base's budget says of the same measurement: what the change of the rules hides."""
    waived_by: str | None = None

    @property
    def recipe(self) -> str | None:
        """The recipe whose own budget it is about; None for everything else."""
        return self.budget.rpartition(OF_RECIPE)[2] if OF_RECIPE in self.budget else None

    @property
    def accepts(self) -> str:
        """What a waiver's `to:` has to say."""
        return self.to or self.head

    @property
    def blocks(self) -> bool:
        """Whether the gate may not pass because of it."""
        return self.needs_waiver and self.waived_by is None


class BasisItem(Recorded):
    """One thing that a verdict rests on, beside what it was at the merge base."""

    subject: str
    """`test set`, `labels`, `slices`, `calibration data`, `baseline <target>`, `pipeline commands`, `limits`, `weighing
    settings`, `libraries`, `workflows`, `registry policy`, `waivers` or `gate (<version>)`.
    """
    digest: str | None
    """`sha256:…` over its content here; None where there is none of it."""
    base: str | None = None
    """The same at the merge base, or `md5:…` as DVC's lock names it there; None where it is not known or absent."""
    state: str
    """`same`, `changed`, `unknown` (differs, and could not be compared), `new` (the merge base measured nothing) or
    `recorded` (judged without a merge base to compare with).
    """
    effect: str = ""
    """What differs, in words."""


WARNING_DAYS = 14
"""Days before its last day from which a waiver in use is warned of."""


class WaiverUse(Recorded):
    """One waiver and what it was used for."""

    file: str
    who: str
    why: str
    expires: str
    """Last day on which it holds, as YYYY-MM-DD."""
    days_left: int | None = None
    """Days from the day of the verdict to that day; None in verdicts of older versions."""
    accepts: list[str]
    """What it accepted: failed budgets by recipe, and policy changes."""

    @property
    def expires_soon(self) -> bool:
        """Whether its last day is near enough to warn of."""
        return self.days_left is not None and self.days_left <= WARNING_DAYS


class RecipeVerdict(Recorded):
    """One candidate, judged: what `verdict.json` of a stand-alone weighing holds."""

    schema_version: int = SCHEMA_VERSION
    verdict: Verdict
    """The worst of the required budgets."""
    model: str | None = None
    recipe: str | None = None
    target: str = DEFAULT_TARGET
    baseline: Named
    candidate: Named
    device: str
    """Device class."""
    device_name: str = LOCAL
    """Its name under `devices:` in `params.yaml`."""
    device_fingerprint: Digest
    measurement: Digest
    """Of the measurement that was judged."""
    budgets: list[BudgetVerdict]
    advisory: bool = False
    notes: list[str] = []


class Portability(Recorded):
    """One artifact on another processor than the one that weighed it, as an emulator shows it."""

    artifact: str
    """The candidate: a recipe, with its target where there are several."""
    processor: str
    tool: str
    verdict: Verdict | None
    """`pass`: it answers alike. `fail`: it does not. `error`: it does not run there. None: not compared."""
    reason: str
    examples: int = 0
    """Compared."""
    differing: int = 0
    """Answered otherwise, beyond what rounding explains."""
    advisory: bool = False


class Refused(Recorded):
    """A recipe that could not be built or weighed: an error, which fails the gate unless the recipe is advisory."""

    verdict: Verdict = Verdict.ERROR
    recipe: str
    stage: str
    """`compress` or `weigh`."""
    reason: str
    """One line: where, what, and what to do."""
    advisory: bool = False

    @property
    def standing(self) -> Verdict:
        """What it counts as in the whole: a certain failure, because running it again gives the same refusal."""
        return Verdict.PASS if self.advisory else Verdict.FAIL


class GateVerdict(Recorded):
    """All recipes of one pipeline: what `reports/verdict.json` holds."""

    schema_version: int = SCHEMA_VERSION
    verdict: Verdict
    """The worst of the recipes that are not advisory."""
    model: str
    device: str
    policy: Digest
    """Over the budgets as they were judged."""
    recipes: dict[str, RecipeVerdict]
    """By candidate: a recipe, with its target and device where there are several."""
    refused: dict[str, Refused] = {}
    """By candidate, or by recipe where none of its candidates was built: what has no measurement to judge, and why."""
    notes: list[str] = []
    portability: list[Portability] = []
    """Answers on other processors, where they were asked for."""
    policy_changes: list[PolicyChange] = []
    """Against the merge base, where one was given; any that needs a waiver and has none fails the gate."""
    waivers: list[WaiverUse] = []
    basis: list[BasisItem] = []
    """What the verdict rests on, where there was a merge base to compare it with."""
