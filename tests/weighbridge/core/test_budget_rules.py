"""The table of budget rules: direction, scale and units, and that budgets can be written by every row."""

import pytest

from weighbridge.core.documents import Budget
from weighbridge.core.errors import InputError
from weighbridge.core.facts.budget_rules import BUDGET_RULES, find_rule

WRITTEN = {"max": "90%", "min": "90%", "max_ratio": 1.1, "min_ratio": 0.9, "max_drop": "1%"}


@pytest.mark.parametrize("name", BUDGET_RULES)
def test_every_row_is_a_key_of_a_budget(name: str) -> None:
    """The budget finds the rule by the key that it was written with, and reads its limit in the rule's unit."""
    budget = Budget.model_validate({"metric": "accuracy.top1", name: WRITTEN[name]})
    assert budget.rule is BUDGET_RULES[name]
    assert budget.limit == {"max": 0.9, "min": 0.9, "max_ratio": 1.1, "min_ratio": 0.9, "max_drop": 0.01}[name]


@pytest.mark.parametrize(
    ("name", "measured", "allowed", "unchanged"),
    [
        ("max", 8.0, (4.0, 5.0), None),
        ("min", 8.0, (5.0, 6.0), None),
        ("max_ratio", 0.8, (4.0, 5.0), 1.0),
        ("min_ratio", 0.8, (5.0, 6.0), 1.0),
        ("max_drop", 2.0, (4.0, 5.0), 0.0),
    ],
)
def test_a_rule_measures_on_its_scale_and_bounds_in_its_direction(
    name: str, measured: float, allowed: tuple[float, float], unchanged: float | None
) -> None:
    """Candidate 8 and reference 10; a limit of 5 allows itself and what lies on its good side, not the other."""
    rule = BUDGET_RULES[name]
    assert rule.measure(8.0, 10.0) == pytest.approx(measured)
    assert all(rule.allows(value, 5.0) for value in allowed)
    assert not rule.allows(5.1 if rule.upper else 4.9, 5.0)
    if unchanged is not None:
        assert rule.relative
        assert rule.measure(7.0, 7.0) == rule.unchanged == unchanged


def test_a_ratio_to_nothing_has_no_value() -> None:
    """Dividing by zero is no measurement."""
    assert BUDGET_RULES["max_ratio"].measure(8.0, 0.0) is None


def test_units_follow_the_scale() -> None:
    """A ratio is a plain number, a drop in a share is shown in points, all else in the metric's unit."""
    ratio, drop, value = BUDGET_RULES["max_ratio"], BUDGET_RULES["max_drop"], BUDGET_RULES["max"]
    assert (ratio.written_unit("bytes"), ratio.unit("bytes")) == ("score", "ratio")
    assert [rule.shown_unit("fraction") for rule in (drop, value)] == ["points", "fraction"]
    assert drop.shown_unit("score") == "score"


def test_an_unknown_rule_is_refused_with_the_known_ones() -> None:
    """A verdict that names another rule is not read as if it were one of these."""
    with pytest.raises(InputError, match=r"no budget rule 'max_rise'.*max_ratio"):
        find_rule("max_rise")
