"""Budgets of one recipe: they take the place of common ones, and loosening them costs what loosening those costs."""

from collections.abc import Sequence
from typing import Any

import pytest

from tests.gate.evidence import measurement
from weighbridge.core.documents import Params, parse
from weighbridge.core.errors import InputError
from weighbridge.gate.verdict.budget_changes import under_base
from weighbridge.gate.verdict.policy import Policy, policy_changes

SIZE = {"metric": "size.bytes", "max": "200kB"}
DROP = {"metric": "accuracy.top1", "max_drop": 0.01}


def params(common: Sequence[dict[str, Any]] = (SIZE, DROP), **own: list[Any] | None) -> Params:
    """Recipes by name with their own budgets; None stands for none."""
    steps = [{"quantize": {"scheme": "fp16"}}]
    recipes = {
        name: {"steps": steps, **({} if budgets is None else {"budgets": budgets})} for name, budgets in own.items()
    }
    content = {
        "model": {"name": "m", "factory": "a:b"},
        "data": {"factory": "a:c"},
        "recipes": recipes,
        "budgets": list(common),
    }
    return parse(Params, content, "params.yaml")


def loosened(base: Params, head: Params) -> list[tuple[str, str, str]]:
    """What a change of params asks less for: budget, from, to."""
    return [(item.kind, item.budget, item.accepts) for item in policy_changes(Policy.of(base), Policy.of(head))]


def test_an_own_budget_replaces_its_like_and_others_are_added() -> None:
    """By metric, rule and reference; the other recipes keep the common ones."""
    found = params(small=[{"metric": "size.bytes", "max": "50kB"}, {"metric": "macs", "max": 10}], big=None)
    assert [(item.metric, item.limit) for item in found.budgets_of("small")] == [
        ("accuracy.top1", 0.01), ("size.bytes", 50_000), ("macs", 10),
    ]  # fmt: skip
    assert found.budgets_of("big") == found.budgets
    device = params(pi=[{**SIZE, "max": "1MB", "device": "pi"}])
    assert [item.limit for item in device.budgets_of("pi")] == [200_000, 0.01, 1_000_000]


def test_a_wrong_own_budget_is_named_by_its_place() -> None:
    """As a common one is."""
    with pytest.raises(InputError, match=r"recipes\.small\.budgets\[0\]") as found:
        params(small=[{"metric": "size.byte", "max": "50kB"}])
    assert "size.bytes" in str(found.value)


@pytest.mark.parametrize(
    ("base", "head", "expected"),
    [
        ({"a": None}, {"a": [{**SIZE, "max": "300kB"}]}, [("loosened", "size.bytes max of recipe a", "300kB")]),
        ({"a": [{**SIZE, "max": "50kB"}]}, {"a": None}, [("loosened", "size.bytes max of recipe a", "200kB")]),
        ({"a": [{**SIZE, "max": "50kB"}]}, {"a": [{**SIZE, "max": "60kB"}]},
         [("loosened", "size.bytes max of recipe a", "60kB")]),
        ({"a": [{"metric": "macs", "max": 10}]}, {"a": None}, [("removed", "macs max of recipe a", "removed")]),
        ({"a": None}, {"a": None, "b": [{**SIZE, "max": "1MB"}]}, [("loosened", "size.bytes max of recipe b", "1MB")]),
        ({"a": None}, {"a": [{**SIZE, "required": False}]},
         [("advisory", "size.bytes max of recipe a", "not required")]),
        ({"a": None}, {"a": [{**SIZE, "max": "50kB"}, {"metric": "macs", "max": 10}]}, []),
        ({"a": [{**SIZE, "max": "300kB"}]}, {"a": [{**SIZE, "max": "300kB"}]}, []),
        ({"a": [{**SIZE, "max": "300kB"}]}, {"a": None}, []),
    ],
)  # fmt: skip
def test_what_a_recipe_was_held_to_may_not_get_less(
    base: dict[str, list[dict[str, Any]] | None],
    head: dict[str, list[Any] | None],
    expected: list[tuple[str, str, str]],
) -> None:
    """Against its own budgets in the merge base, or the common ones where it had none or is new."""
    assert loosened(params(**base), params(**head)) == expected


def test_a_common_budget_that_is_loosened_is_named_once() -> None:
    """Also where a recipe with budgets of its own is held to it."""
    own = [{"metric": "macs", "max": 10}]
    looser = ({**SIZE, "max": "300kB"}, DROP)
    assert loosened(params(a=own), params(looser, a=own)) == [("loosened", "size.bytes max", "300kB")]


def test_an_advisory_recipe_that_counts_now_is_held_to_the_common_budgets() -> None:
    """What it had of its own bound nothing."""
    lax = params(a=[{**SIZE, "max": "1MB"}], b=None)
    before = lax.model_copy(
        update={"recipes": {**lax.recipes, "a": lax.recipes["a"].model_copy(update={"advisory": True})}}
    )
    assert loosened(before, lax) == [("loosened", "size.bytes max of recipe a", "1MB")]


def test_the_digest_covers_own_budgets_and_is_what_it_was_without_them() -> None:
    """A verdict that was made under other budgets does not follow from these."""
    bare, own = Policy.of(params(a=None)), Policy.of(params(a=[{**SIZE, "max": "50kB"}]))
    assert bare.digest() != own.digest()
    assert Policy(bare.budgets, {}).digest() == bare.digest()


def test_the_report_says_what_the_old_limit_of_the_recipe_makes_of_todays_bytes() -> None:
    """The recipe's own, on its own measurement alone."""
    before, after = params(a=[{**SIZE, "max": "1B"}], b=None), params(a=None, b=None)
    changes = policy_changes(Policy.of(before), Policy.of(after))
    weighed = {name: measurement().model_copy(update={"recipe": name}) for name in ("a", "b")}
    (change,) = under_base(changes, before.budgets, weighed, {"a": before.budgets_of("a")})
    assert change.recipe == "a"
    assert {name: verdict.value for name, verdict in change.under_base.items()} == {"a": "fail"}
