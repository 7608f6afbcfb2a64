"""A whole report of many recipes, as the gate prints it."""

from tests.gate.evidence import proportions
from tests.gate.project import PARAMS, evidence
from weighbridge.core.documents import BasisItem, Budget, Flip, PolicyChange, Verdict, WaiverUse
from weighbridge.core.documents.keyed_report import ProjectReport
from weighbridge.gate.report.content import document
from weighbridge.gate.report.edits import Edit, Edits
from weighbridge.gate.report.facts import Entry
from weighbridge.gate.report.subject import Report
from weighbridge.gate.report.to_markdown import sections
from weighbridge.gate.verdict.judge import judge

LIMITS = [Budget(**budget) for budget in PARAMS["budgets"]]  # type: ignore[attr-defined]


def printed(
    recipes: int, *, ratio: float = 1.4, project: str = ".", model: str = "net", notes: tuple[str, ...] = ("A note.",)
) -> ProjectReport:
    """A whole report of `recipes` recipes, as the gate prints it; every section is in it."""
    weighed = evidence("int8", ratio=ratio)
    first = weighed.comparisons[0]
    parts = {f"slice-{index:04}": proportions(225, 3, 2, 20) for index in range(10)}
    samples = [Flip(index=index, label=1, candidate=2, slices=["slice-0000"]) for index in range(12)]
    weighed = weighed.model_copy(update={"comparisons": [first.model_copy(update={"slices": parts, "flips": samples})]})
    verdict = judge(weighed, LIMITS)
    targets = ("onnxruntime", "litert")
    found = [Entry(f"recipe-{index:04}@{targets[index % 2]}", verdict, weighed) for index in range(recipes)]
    whole = Report(
        Verdict.FAIL if ratio > 1 else Verdict.PASS,
        found,
        model=model,
        notes=notes,
        policy_changes=[PolicyChange(kind="removed", budget="params max", base="100", head="not there")],
        waivers=[WaiverUse(file="waivers/a.yaml", who="A", why="B", expires="2026-12-31", accepts=["c"])],
        basis=[BasisItem(subject="test set", digest=None, state="new")],
        edits=Edits(
            (Edit("budgets[1].max_ratio", "0.8", "0.9"),),
            {"int8": ("- prune(magnitude, 0.8)", "+ prune(magnitude, 0.95)")},
        ),
        calibration=["This machine resolves 3% of latency."],
        reproduce=["make repro"],
    )
    return sections(document(whole), project)
