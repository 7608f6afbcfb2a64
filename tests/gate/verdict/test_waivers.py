"""Waivers: what they accept, what they never accept, and what is wrong with them."""

import datetime as dt

import pytest

from tests.gate.evidence import BUDGETS, budget, comparison, digest, launches, measurement
from weighbridge.core.documents import GateVerdict, PolicyChange, Verdict
from weighbridge.core.errors import InputError
from weighbridge.gate.verdict.judge import judge
from weighbridge.gate.verdict.waivers import FiledWaiver, Waiver, apply_waivers, read_waivers

TODAY = dt.date(2026, 11, 23)
CHANGE = PolicyChange(kind="loosened", budget="latency.p50 max_ratio against baseline", base="0.9×", head="1.5×")


def gate(ratio=1.3, *, budgets=BUDGETS, advisory=False, **fields):
    """A gate verdict over one recipe whose latency ratio is the given one."""
    found = measurement(comparison(latency_p50=launches(ratio)), recipe="int8", **fields)
    recipe = judge(found, budgets, advisory=advisory)
    return GateVerdict(
        verdict=recipe.verdict, model="net", device="ci", policy=digest("policy"), recipes={"int8": recipe}
    )


def filed(budget="latency.p50", *, file="waivers/a.yaml", expires="2026-12-31", **subject):
    """A waiver by a person, for a recipe unless told otherwise."""
    chosen = subject or {"recipe": "int8"}
    return FiledWaiver(file, Waiver(budget=budget, who="A. Person", why="A reason.", expires=expires, **chosen))


def test_without_waivers_nothing_changes():
    """Verdicts pass through as they were."""
    assert apply_waivers(gate(), [], [], TODAY) == gate()


@pytest.mark.parametrize("name", ["latency.p50", "latency.p50 max_ratio against baseline"])
@pytest.mark.parametrize("subject", [{"recipe": "int8"}, {"digest": digest("candidate")}])
def test_a_waiver_accepts_a_failed_budget(name, subject):
    """By recipe or by digest: the budget still says fail, the whole passes, and the use is recorded."""
    verdict = apply_waivers(gate(), [filed(name, **subject)], [], TODAY)
    item = next(item for item in verdict.recipes["int8"].budgets if item.metric == "latency.p50")
    assert (item.verdict, item.standing, item.waived_by) == (Verdict.FAIL, Verdict.PASS, "waivers/a.yaml")
    assert verdict.recipes["int8"].verdict is verdict.verdict is Verdict.PASS
    (use,) = verdict.waivers
    assert (use.who, use.why, use.expires) == ("A. Person", "A reason.", "2026-12-31")
    assert use.accepts == ["int8: latency.p50 max_ratio against baseline (fail)"]


def test_a_waiver_accepts_an_inconclusive_budget_with_an_estimate():
    """What was measured and lies at the limit can be accepted."""
    assert apply_waivers(gate(0.9), [filed()], [], TODAY).verdict is Verdict.PASS


def test_a_waiver_never_accepts_an_error():
    """What could not be measured cannot be accepted, even by name."""
    broken = gate(faults=["the candidate crashed"])
    assert broken.verdict is Verdict.ERROR
    verdict = apply_waivers(broken, [filed()], [], TODAY)
    assert verdict.verdict is Verdict.ERROR
    assert verdict.waivers == []


@pytest.mark.parametrize(
    "waiver",
    [
        filed(budget="latency.p99"),
        filed(recipe="fp16"),
        filed(digest=digest("another file")),
    ],
)
def test_a_waiver_that_matches_nothing_is_an_error(waiver):
    """A misspelt budget, another recipe or another artifact: said, and never silently ignored."""
    verdict = apply_waivers(gate(0.8), [waiver], [], TODAY)
    assert verdict.verdict is Verdict.ERROR
    assert any("matches nothing" in note for note in verdict.notes)
    assert apply_waivers(gate(), [waiver], [], TODAY).verdict is Verdict.FAIL


@pytest.mark.parametrize(("day", "expected"), [("2026-11-23", Verdict.PASS), ("2026-11-22", Verdict.FAIL)])
def test_a_waiver_holds_through_its_last_day(day, expected):
    """On the day of expiry it holds; a day later the failure stands and the waiver is an error."""
    verdict = apply_waivers(gate(), [filed(expires=day)], [], TODAY)
    assert verdict.verdict is expected
    assert any("expired" in note for note in verdict.notes) == (expected is Verdict.FAIL)


def test_an_expired_waiver_is_an_error_even_where_nothing_failed():
    """Old paper is cleared away, not carried along."""
    assert apply_waivers(gate(0.8), [filed(expires="2026-01-01")], [], TODAY).verdict is Verdict.ERROR


def test_a_waiver_that_is_not_needed_is_noted():
    """The budget passes: no error, and a hint to delete the file."""
    verdict = apply_waivers(gate(0.8), [filed()], [], TODAY)
    assert verdict.verdict is Verdict.PASS
    assert any("not needed" in note for note in verdict.notes)
    assert verdict.waivers == []


def test_loosening_without_a_waiver_fails():
    """Every budget holds, and still the change may not pass."""
    verdict = apply_waivers(gate(0.8), [], [CHANGE], TODAY)
    assert verdict.recipes["int8"].verdict is Verdict.PASS
    assert verdict.verdict is Verdict.FAIL
    assert verdict.policy_changes == [CHANGE]


def test_a_change_that_needs_no_waiver_is_told():
    """The merge base's policy says tell: shown, and the verdict stands."""
    told = CHANGE.model_copy(update={"needs_waiver": False})
    verdict = apply_waivers(gate(0.8), [], [told], TODAY)
    assert verdict.verdict is Verdict.PASS
    assert verdict.policy_changes == [told]


def test_loosening_with_a_waiver_is_recorded():
    """A policy waiver accepts the change and appears in the document; a recipe's waiver does not."""
    verdict = apply_waivers(gate(0.8), [filed(policy=True)], [CHANGE], TODAY)
    assert verdict.verdict is Verdict.PASS
    assert verdict.policy_changes[0].waived_by == "waivers/a.yaml"
    assert "policy: latency.p50" in verdict.waivers[0].accepts[0]
    assert apply_waivers(gate(0.8), [filed(recipe="int8")], [CHANGE], TODAY).verdict is Verdict.FAIL


def test_a_policy_waiver_outlives_its_merge_until_it_expires():
    """After merging, the change is gone: the waiver is idle, no error."""
    verdict = apply_waivers(gate(0.8), [filed(policy=True)], [], TODAY)
    assert verdict.verdict is Verdict.PASS
    assert any("not needed" in note for note in verdict.notes)


def test_advisory_recipes_do_not_count_and_none_left_is_an_error():
    """Only advisory recipes: nothing was shown of what counts."""
    assert apply_waivers(gate(advisory=True), [], [], TODAY).verdict is Verdict.ERROR


def test_one_waiver_leaves_other_failures_standing():
    """Accepting latency does not accept size."""
    failing = gate(budgets=[*BUDGETS, budget("size.bytes", max=10)])
    assert apply_waivers(failing, [filed()], [], TODAY).verdict is Verdict.FAIL


FILE = """
budget: latency.p50
recipe: int8
who: A. Person
why: The old device goes away in spring.
expires: 2026-12-31
"""


def test_waiver_files_are_read_in_order(tmp_path):
    """All YAML files of the folder; other files, such as a README, are left alone; no folder is no waiver."""
    assert read_waivers(tmp_path) == []
    folder = tmp_path / "waivers"
    folder.mkdir()
    (folder / "README.md").write_text("how to")
    (folder / "b.yaml").write_text(FILE)
    (folder / "a.yml").write_text(FILE)
    assert [item.file for item in read_waivers(tmp_path)] == ["waivers/a.yml", "waivers/b.yaml"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (FILE.replace("recipe: int8", ""), "exactly one of"),
        (FILE.replace("recipe: int8", "recipe: int8\npolicy: true"), "exactly one of"),
        (FILE.replace("who: A. Person", "who: ''"), "who"),
        (FILE.replace("why:", "reason:"), "unknown key 'reason'"),
        (FILE.replace("2026-12-31", "never"), "expires"),
        ("[]", "not a mapping"),
        ("budget: [", "YAML"),
    ],
)
def test_a_bad_waiver_file_is_one_clear_error(tmp_path, text, problem):
    """File, key and what is wrong; a waiver without a person or a reason is none."""
    (tmp_path / "waivers").mkdir()
    (tmp_path / "waivers" / "a.yaml").write_text(text)
    with pytest.raises(InputError, match=problem):
        read_waivers(tmp_path)


def test_a_waiver_in_another_format_is_refused(tmp_path):
    """A .json beside the waivers would be ignored silently: it is an error instead."""
    (tmp_path / "waivers").mkdir()
    (tmp_path / "waivers" / "a.json").write_text("{}")
    with pytest.raises(InputError, match=r"a\.json"):
        read_waivers(tmp_path)
