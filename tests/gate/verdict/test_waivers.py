"""Waivers: what they accept, what they never accept, and what is wrong with them."""

import datetime as dt
from pathlib import Path

import pytest

from tests.documents import gate_verdict
from tests.gate.evidence import BUDGETS, budget, comparison, digest, launches, measurement
from weighbridge.core.documents import Budget, GateVerdict, PolicyChange, Verdict
from weighbridge.core.errors import InputError
from weighbridge.gate.verdict.judge import judge
from weighbridge.gate.verdict.waivers import FiledWaiver, Terms, Waiver, identity_in, read_waivers
from weighbridge.gate.verdict.waiving import apply_waivers

TODAY = dt.date(2026, 11, 23)
LATENCY = "latency.p50 max_ratio against baseline"
CHANGE = PolicyChange(kind="loosened", budget=LATENCY, base="0.9×", head="1.5×", to="1.5")
TEST_SET = PolicyChange(kind="test examples removed", budget="test set", base="2,000", head="1,688", to=digest("data"))


def gate(
    ratio: float = 1.3, *, budgets: list[Budget] = BUDGETS, advisory: bool = False, **fields: str | list[str]
) -> GateVerdict:
    """A gate verdict over one recipe whose latency ratio is the given one."""
    found = measurement(comparison(latency_p50=launches(ratio)), recipe="int8", **fields)
    recipe = judge(found, budgets, advisory=advisory)
    return gate_verdict({"int8": recipe}, recipe.verdict, device="ci")


def filed(
    budget: str = "latency.p50",
    *,
    file: str = "waivers/a.yaml",
    expires: str = "2026-12-31",
    to: str | float = 1.4,
    **subject: bool | str,
) -> FiledWaiver:
    """A waiver by a person, for the recipe's artifact unless told otherwise."""
    chosen = subject if subject.get("policy") else {"recipe": "int8", "digest": digest("candidate"), **subject}
    return FiledWaiver(file, Waiver(budget=budget, to=to, who="A. Person", why="A reason.", expires=expires, **chosen))


def policy(to: str | float = 1.5, budget: str = LATENCY, **fields: str) -> FiledWaiver:
    """A waiver for a policy change."""
    return filed(budget, to=to, policy=True, **fields)


def test_without_waivers_nothing_changes() -> None:
    """Verdicts pass through as they were."""
    assert apply_waivers(gate(), [], [], TODAY) == gate()


@pytest.mark.parametrize("name", ["latency.p50", LATENCY])
def test_a_waiver_accepts_a_failed_budget(name: str) -> None:
    """The budget still says fail, the whole passes, and the use is recorded with the limit that was accepted."""
    verdict = apply_waivers(gate(), [filed(name)], [], TODAY)
    item = next(item for item in verdict.recipes["int8"].budgets if item.metric == "latency.p50")
    assert (item.verdict, item.standing, item.waived_by) == (Verdict.FAIL, Verdict.PASS, "waivers/a.yaml")
    assert verdict.recipes["int8"].verdict is verdict.verdict is Verdict.PASS
    (use,) = verdict.waivers
    assert (use.who, use.why, use.expires, use.days_left) == ("A. Person", "A reason.", "2026-12-31", 38)
    assert use.accepts == [f"int8: {LATENCY} (fail), up to 1.4×"]


def test_a_waiver_accepts_no_more_than_it_names() -> None:
    """The whole interval has to lie within `to`: beyond it the failure stands, and the note says how far it went."""
    verdict = apply_waivers(gate(), [filed(to=1.29)], [], TODAY)
    assert verdict.verdict is Verdict.FAIL
    assert verdict.waivers == []
    assert any("up to 1.29×; the measured interval reaches 1.3" in note for note in verdict.notes)


def test_a_limit_of_bytes_is_accepted_with_its_unit_alone() -> None:
    """`to: 450` could be anything: bytes, kilobytes; it accepts nothing and the note says so."""
    failing = gate(0.8, budgets=[budget("size.bytes", max="300B")])
    assert apply_waivers(failing, [filed("size.bytes", to="450B")], [], TODAY).verdict is Verdict.PASS
    for to in (450, "450", "450ms", "much"):
        verdict = apply_waivers(failing, [filed("size.bytes", to=to)], [], TODAY)
        assert verdict.verdict is Verdict.FAIL
        assert any("accepts nothing" in note for note in verdict.notes)


def test_a_metric_alone_names_one_budget_or_none() -> None:
    """Where two budgets limit one metric, the metric alone would be a wildcard: it matches nothing."""
    failing = gate(budgets=[budget("latency.p50", max_ratio=0.9), budget("latency.p50", max_ratio=1.0)])
    assert any("matches nothing" in note for note in apply_waivers(failing, [filed()], [], TODAY).notes)
    assert apply_waivers(failing, [filed(LATENCY)], [], TODAY).verdict is Verdict.PASS


def test_a_waiver_accepts_an_inconclusive_budget_with_an_estimate() -> None:
    """What was measured and lies at the limit can be accepted."""
    assert apply_waivers(gate(0.9), [filed()], [], TODAY).verdict is Verdict.PASS


def test_a_waiver_never_accepts_an_error() -> None:
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
        filed(device="pi5"),
        policy(budget="throughput min"),
    ],
)
def test_a_waiver_that_matches_nothing_is_an_error(waiver: FiledWaiver) -> None:
    """A misspelt budget, another recipe or another artifact: said, and never silently ignored."""
    verdict = apply_waivers(gate(0.8), [waiver], [], TODAY)
    assert verdict.verdict is Verdict.ERROR
    assert any("matches nothing" in note for note in verdict.notes)
    assert apply_waivers(gate(), [waiver], [], TODAY).verdict is Verdict.FAIL


@pytest.mark.parametrize(("day", "expected"), [("2026-11-23", Verdict.PASS), ("2026-11-22", Verdict.FAIL)])
def test_a_waiver_holds_through_its_last_day(day: str, expected: Verdict) -> None:
    """On the day of expiry it holds; a day later the failure stands and the waiver is an error."""
    verdict = apply_waivers(gate(), [filed(expires=day)], [], TODAY)
    assert verdict.verdict is expected
    assert any("expired" in note for note in verdict.notes) == (expected is Verdict.FAIL)


def test_an_expired_waiver_is_an_error_even_where_nothing_failed() -> None:
    """Old paper is cleared away, not carried along."""
    assert apply_waivers(gate(0.8), [filed(expires="2026-01-01")], [], TODAY).verdict is Verdict.ERROR


def test_a_waiver_that_is_not_needed_is_noted() -> None:
    """The budget passes: no error, and a hint to delete the file."""
    verdict = apply_waivers(gate(0.8), [filed()], [], TODAY)
    assert verdict.verdict is Verdict.PASS
    assert any("not needed" in note for note in verdict.notes)
    assert verdict.waivers == []


def test_loosening_without_a_waiver_fails() -> None:
    """Every budget holds, and still the change may not pass."""
    verdict = apply_waivers(gate(0.8), [], [CHANGE], TODAY)
    assert verdict.recipes["int8"].verdict is Verdict.PASS
    assert verdict.verdict is Verdict.FAIL
    assert verdict.policy_changes == [CHANGE]


def test_a_change_that_needs_no_waiver_is_told() -> None:
    """The merge base's policy says tell: shown, and the verdict stands."""
    told = CHANGE.model_copy(update={"needs_waiver": False})
    verdict = apply_waivers(gate(0.8), [], [told], TODAY)
    assert verdict.verdict is Verdict.PASS
    assert verdict.policy_changes == [told]


def test_loosening_with_a_waiver_is_recorded() -> None:
    """A policy waiver accepts the change and appears in the document; a recipe's waiver does not."""
    verdict = apply_waivers(gate(0.8), [policy()], [CHANGE], TODAY)
    assert verdict.verdict is Verdict.PASS
    assert verdict.policy_changes[0].waived_by == "waivers/a.yaml"
    assert "policy: latency.p50" in verdict.waivers[0].accepts[0]
    assert apply_waivers(gate(0.8), [filed()], [CHANGE], TODAY).verdict is Verdict.FAIL


SIZE = CHANGE.model_copy(update={"budget": "size.bytes max", "to": "7kB"})
GONE = CHANGE.model_copy(update={"kind": "removed", "to": "removed"})


@pytest.mark.parametrize(
    ("change", "waiver", "accepts"),
    [
        (CHANGE, policy("1.50"), True),
        (CHANGE, policy(1.6), False),
        (CHANGE, policy(1.4), False),
        (CHANGE, policy(budget="latency.p50"), True),
        (SIZE, policy("7kB", "size.bytes max"), True),
        (SIZE, policy("7000B", "size.bytes max"), True),
        (SIZE, policy("999GB", "size.bytes max"), False),
        (SIZE, policy("7", "size.bytes max"), False),
        (GONE, policy("removed"), True),
        (GONE, policy(1.5), False),
        (TEST_SET, policy(digest("data"), "test set"), True),
        (TEST_SET, policy(digest("other data"), "test set"), False),
    ],
)
def test_a_policy_waiver_accepts_one_value(change: PolicyChange, waiver: FiledWaiver, accepts: bool) -> None:
    """The limit that it names, no looser and no stricter one; the digest that it names, and no later one."""
    verdict = apply_waivers(gate(0.8), [waiver], [change], TODAY)
    assert (verdict.verdict is Verdict.PASS) == accepts
    assert any("it went to" in note for note in verdict.notes) != accepts


def test_one_waiver_accepts_one_change() -> None:
    """Two limits of one name were removed: one waiver leaves the other standing, two waivers accept both."""
    changed = [GONE.model_copy(update={"base": base}) for base in ("0.9×", "1×")]
    assert apply_waivers(gate(0.8), [policy("removed")], changed, TODAY).verdict is Verdict.FAIL
    both = [policy("removed"), policy("removed", file="waivers/b.yaml")]
    assert apply_waivers(gate(0.8), both, changed, TODAY).verdict is Verdict.PASS


def test_a_policy_waiver_is_spent_once_merged() -> None:
    """The merge base has it already: it accepts no second change, under another file name neither, and is a note."""
    renamed = policy(file="waivers/b.yaml")
    terms = Terms(merged=frozenset({policy().waiver.identity()}))
    verdict = apply_waivers(gate(0.8), [renamed], [CHANGE], TODAY, terms)
    assert verdict.verdict is Verdict.FAIL
    assert any("waivers/b.yaml is spent" in note for note in verdict.notes)
    assert apply_waivers(gate(0.8), [renamed], [], TODAY, terms).verdict is Verdict.PASS


def test_a_merged_waiver_accepts_the_same_bytes_and_no_others() -> None:
    """A failed budget stays accepted for the digest that was merged; another artifact needs another waiver."""
    terms = Terms(merged=frozenset({filed().waiver.identity()}))
    assert apply_waivers(gate(), [filed()], [], TODAY, terms).verdict is Verdict.PASS
    verdict = apply_waivers(gate(candidate="another file"), [filed()], [], TODAY, terms)
    assert verdict.verdict is Verdict.FAIL
    assert any("is spent" in note for note in verdict.notes)


def test_without_a_merge_base_policy_waivers_are_not_used() -> None:
    """The stage that judges without one cannot know whether they match."""
    verdict = apply_waivers(gate(0.8), [policy()], [], TODAY, Terms(compared=False))
    assert verdict.verdict is Verdict.PASS
    assert verdict.notes == []


@pytest.mark.parametrize(
    ("expires", "days", "holds"), [("2027-02-21", 90, True), ("2027-02-22", 90, False), ("2027-02-22", 91, True)]
)
def test_a_waiver_runs_as_long_as_the_policy_allows(expires: str, days: int, holds: bool) -> None:
    """Ninety days unless the merge base says otherwise: a longer one accepts nothing and is an error."""
    verdict = apply_waivers(gate(), [filed(expires=expires)], [], TODAY, Terms(days))
    assert (verdict.verdict is Verdict.PASS) == holds
    assert any(f"a waiver runs {days} days at most" in note for note in verdict.notes) != holds


@pytest.mark.parametrize(("expires", "warned"), [("2026-12-07", True), ("2026-12-08", False)])
def test_a_waiver_in_use_is_warned_of_two_weeks_before_it_expires(expires: str, warned: bool) -> None:
    """In the notes and in the document, while there is time to act."""
    verdict = apply_waivers(gate(), [filed(expires=expires)], [], TODAY)
    assert verdict.verdict is Verdict.PASS
    assert any("expires on" in note for note in verdict.notes) == warned == verdict.waivers[0].expires_soon


def test_a_waivers_identity_is_what_it_says() -> None:
    """Formatting, comments and key order do not make a second waiver of it; a text that is none has no identity."""
    other = "# again\n" + "\n".join(reversed(FILE.strip().splitlines()))
    assert identity_in(FILE, "a.yaml") == identity_in(other, "b.yaml") is not None
    assert identity_in(FILE.replace("spring", "autumn"), "a.yaml") != identity_in(FILE, "a.yaml")
    assert identity_in("budget: size.bytes\npolicy: true\n", "a.yaml") is None


def test_advisory_recipes_do_not_count_and_none_left_is_an_error() -> None:
    """Only advisory recipes: nothing was shown of what counts."""
    assert apply_waivers(gate(advisory=True), [], [], TODAY).verdict is Verdict.ERROR


def test_one_waiver_leaves_other_failures_standing() -> None:
    """Accepting latency does not accept size."""
    failing = gate(budgets=[*BUDGETS, budget("size.bytes", max="10B")])
    assert apply_waivers(failing, [filed()], [], TODAY).verdict is Verdict.FAIL


FILE = f"""
budget: latency.p50
recipe: int8
digest: {digest("candidate")}
to: 1.4
who: A. Person
why: The old device goes away in spring.
expires: 2026-12-31
"""


def test_waiver_files_are_read_in_order(tmp_path: Path) -> None:
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
        (FILE.replace("recipe: int8", ""), "'recipe' and 'digest'"),
        ("\n".join(line for line in FILE.splitlines() if "digest" not in line), "'recipe' and 'digest'"),
        (FILE.replace("recipe: int8", "recipe: int8\npolicy: true"), "not both"),
        (FILE.replace("to: 1.4\n", ""), "missing.*to$|to.*missing"),
        (FILE.replace("to: 1.4", "to: true"), "to: .*true"),
        (FILE.replace("to: 1.4", "to: ' '"), "expected 'to' to be the limit"),
        (FILE.replace("latency.p50", "'*'"), "cannot contain wildcards"),
        (FILE.replace("int8", "int*"), "cannot contain wildcards"),
        (FILE.replace("who: A. Person", "who: ''"), "who"),
        (FILE.replace("why:", "reason:"), "unknown key 'reason'"),
        (FILE.replace("2026-12-31", "never"), "expires"),
        ("[]", "not a mapping"),
        ("budget: [", "YAML"),
    ],
)
def test_a_bad_waiver_file_is_one_clear_error(tmp_path: Path, text: str, problem: str) -> None:
    """File, key and what is wrong; a waiver without a person or a reason is none."""
    (tmp_path / "waivers").mkdir()
    (tmp_path / "waivers" / "a.yaml").write_text(text)
    with pytest.raises(InputError, match=problem):
        read_waivers(tmp_path)


def test_a_waiver_in_another_format_is_refused(tmp_path: Path) -> None:
    """A .json beside the waivers would be ignored silently: it is an error instead."""
    (tmp_path / "waivers").mkdir()
    (tmp_path / "waivers" / "a.json").write_text("{}")
    with pytest.raises(InputError, match=r"a\.json"):
        read_waivers(tmp_path)
