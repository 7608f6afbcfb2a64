"""The first lines of a report: what a reviewer acts on, on one screen."""

import math
from typing import Any

import pytest

from tests.gate.evidence import BUDGETS, comparison, controls, launches, measurement, proportions
from tests.gate.report.test_to_markdown import LOOSENED, entries, report
from weighbridge.core.documents import Verdict
from weighbridge.gate.report.content import document
from weighbridge.gate.report.facts import Entry
from weighbridge.gate.report.reference_points import (
    ABSENT,
    Figures,
    ReferencePoint,
    accuracy_change,
    figures_of,
    latency_change,
    size_change,
)
from weighbridge.gate.report.to_markdown import render
from weighbridge.gate.verdict.judge import judge

COMMAND = "git checkout 0123456789ab && weighbridge ci gate --base ba9876543210"
STANZA = "budget: latency.p50 max_ratio against baseline\nto: 1.43\n"


def acted_on(recipes: int = 9, **fields: Any) -> str:
    """A report on a change of many failing recipes, with everything that can stand in front."""
    failing, _ = entries(int8=1.4)
    names = [f"int8-{index}" for index in range(recipes)]
    found = [Entry(name, failing.verdict.model_copy(update={"recipe": name}), failing.measurement) for name in names]
    there = {name: Figures(None, 500, 1.2, 0.9, failing.measurement.baseline.digest) for name in names}
    content = {
        "changed": frozenset(names),
        "points": [
            ReferencePoint("base", "the merge base ba9876543210", there),
            ReferencePoint("stable", "stable: nothing is served yet"),
        ],
        "next_steps": [["take fp16 instead."]],
        "stanzas": [STANZA],
        "command": COMMAND,
    }
    return render(document(report(Verdict.FAIL, found, **{**content, **fields})))


def test_the_first_twelve_lines_are_what_a_reviewer_acts_on() -> None:
    """Failing budget, one table with its changes, what it was compared with, what to do, the command; then folded."""
    lines = acted_on(recipes=3).replace("\\", "").splitlines()
    assert lines[0] == "## ❌ Fail: int8-0: latency.p50 1.395×, at most 0.9×, and 2 more"
    assert lines[2] == "| recipe | verdict | size | latency | accuracy | why |"
    assert lines[4].startswith(
        "| `int8-0` | ❌ fail | 400 B (0.4×); base −20% | 209.5 µs (1.4×); base +16.8% | "
        "90.8% (−0.4 points); base +0.8 points | latency.p50 1.395×, at most 0.9×"
    )
    assert lines[8:11] == [
        "- **Compared with** the merge base ba9876543210; stable: nothing is served yet.",
        "- **Next**: take fp16 instead.",
        f"- **Again**: `{COMMAND}`",
    ]
    rest = "\n".join(lines[11:])
    assert rest.strip().startswith("<details><summary>A waiver, ready to be signed</summary>")
    assert STANZA.strip() in rest
    assert rest.count("<details>") == rest.count("</details>") == rest.count("<summary>")
    outside = [part.partition("<details>")[0] for part in rest.split("</details>")]
    assert not "".join(outside).strip()


def test_many_failing_recipes_do_not_push_the_rest_away() -> None:
    """Four rows, how many more there are, and a folded table of all."""
    lines = acted_on().splitlines()
    assert sum(line.startswith("| `int8-") for line in lines[:9]) == 4
    assert lines[9].endswith("nothing is served yet; 5 more that changed or do not pass are under all recipes.")
    assert lines[11] == f"- **Again**: `{COMMAND}`"
    assert "<details><summary>All recipes</summary>" in lines


def test_what_neither_changed_nor_fails_is_folded() -> None:
    """A budget that was tightened: no row, and a sentence that says so."""
    found = entries()[:1]
    lines = render(document(report(Verdict.PASS, found, changed=frozenset()))).splitlines()
    assert lines[2] == "No recipe differs from the merge base, and none fails."
    assert "<details><summary>All recipes</summary>" in lines
    loose = render(document(report(Verdict.FAIL, found, changed=frozenset(), policy_changes=[LOOSENED])))
    assert loose.splitlines()[4].startswith("| `int8` | ✅ pass (a limit was loosened) |")


@pytest.mark.parametrize("verdict", [Verdict.INCONCLUSIVE, Verdict.ERROR])
def test_the_headline_names_the_budget_that_could_not_be_judged(verdict: Verdict) -> None:
    """Which it is, and for which recipe."""
    evidence = None if verdict is Verdict.ERROR else launches(0.9, pairs=16, sd=0.05)
    weighed = measurement(comparison(pairs=16, latency_p50=evidence, controls=controls(16)))
    found = judge(weighed, BUDGETS)
    assert found.verdict is verdict
    first = render(document(report(verdict, [Entry("int8", found, weighed)]))).splitlines()[0]
    assert first.split(" ", 2)[2].startswith(f"{verdict.value.capitalize()}: int8: latency.p50 ")


def one(ratio: float = 0.85, against_stable: float | None = None, **fields: str | int) -> Entry:
    """A weighed artifact, beside the stable one too where that is given."""
    found = [comparison(latency_p50=launches(ratio, sd=0.001))]
    if against_stable is not None:
        found.append(comparison("stable", latency_p50=launches(against_stable, sd=0.001)))
    weighed = measurement(*found, **fields)
    return Entry("int8", judge(weighed, BUDGETS), weighed)


def point(figures: Figures, name: str = "base") -> ReferencePoint:
    return ReferencePoint(name, name, {"int8": figures})


def test_changes_are_taken_from_ratios_to_one_baseline() -> None:
    """Times of two runs do not compare; a file that is the same is the same, whatever was measured."""
    before, after = one(0.8), one(0.88, candidate="other", candidate_bytes=300)
    figures = figures_of(before.measurement)
    assert latency_change(after, point(figures)) == "+10%"
    assert size_change(after, point(figures)) == "−25%"
    assert accuracy_change(after, point(figures)) == "same"
    assert latency_change(one(0.88), point(figures)) == "same"
    foreign = Figures(None, 400, 0.8, 0.9, "sha256:" + "0" * 64)
    assert latency_change(after, point(foreign)) == ABSENT
    assert size_change(after, ReferencePoint("base", "none", {})) == ABSENT
    assert accuracy_change(after, point(Figures(None))) == ABSENT


def test_a_measurement_beside_stable_beats_two_ratios() -> None:
    """Both files ran within milliseconds of each other."""
    figures = Figures("sha256:" + "1" * 64, 400, 0.5, 0.9, None)
    assert latency_change(one(0.85, against_stable=1.1), point(figures, "stable")) == "+10%"
    assert latency_change(one(0.85, against_stable=1.1), point(figures)) == ABSENT


def test_a_measurement_without_numbers_has_no_figures() -> None:
    """Infinite ratios and counts of nothing are not known, rather than zero."""
    broken = launches().model_copy(update={"log_ratio": [math.inf] * 54})
    found = figures_of(measurement(comparison(latency_p50=broken, accuracy_top1=proportions(0, 0, 0, 0))))
    assert (found.latency, found.accuracy) == (None, None)
