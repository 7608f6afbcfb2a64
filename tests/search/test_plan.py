"""The plan: keys by content, shards that add up, and work that is done once whatever dies."""

import threading
import time

import pytest

from tests.search.project import BUDGETS, project
from weighbridge.core.documents import Params
from weighbridge.core.errors import InputError, StateError
from weighbridge.search.plan import Stamps, execute, plan, shard
from weighbridge.search.project_plan import planned

INT8, FP16 = ({"steps": [{"quantize": {"scheme": scheme}}]} for scheme in ("static-int8", "fp16"))


def params(recipes=None, **sections):
    """A project's params."""
    return Params.model_validate(
        {
            "model": {"name": "net", "factory": "some.model:Net"},
            "data": {"factory": "some.data:load"},
            "recipes": recipes or {"int8": INT8, "half": FP16},
            "budgets": BUDGETS,
            **sections,
        }
    )


def keys(given, inputs="sha256:1"):
    """(kind, name) → key."""
    return {(item.kind, item.name): item.key for item in plan(given, inputs)}


def test_an_item_changes_with_what_it_depends_on_and_nothing_else():
    """A budget changes no file; another recipe changes no key but its own and the judgement's."""
    first = keys(params())
    budget = keys(params(budgets=[{"metric": "size.bytes", "max": "1kB"}]))
    assert {name for name, key in first.items() if budget[name] != key} == {
        ("weigh", "int8"),
        ("weigh", "half"),
        ("judge", "net"),
    }
    other = keys(params({"int8": INT8, "half": {"steps": [{"quantize": {"scheme": "weight-fp16"}}]}}))
    assert {name for name, key in first.items() if other[name] != key} == {
        ("make", "half"),
        ("weigh", "half"),
        ("judge", "net"),
    }
    assert set(first.values()).isdisjoint(keys(params(), "sha256:2").values())


def test_ten_thousand_items_are_planned_and_shards_add_up():
    """Each item is in one part, and in the same one when others are added."""
    many = {f"r{number}": {"steps": [{"share": {"bits": 1 + number % 8}}]} for number in range(5000)}
    items = plan(params(many), "sha256:1")
    assert len(items) == 10_001
    parts = [shard(items, f"{part}/7") for part in range(1, 8)]
    assert sorted(item.name for part in parts for item in part) == sorted(item.name for item in items)
    few = plan(params(dict(list(many.items())[:100])), "sha256:1")
    makes = [{item.name for item in shard(given, "3/7") if item.kind == "make"} for given in (few, items)]
    assert makes[0] <= makes[1]


@pytest.mark.parametrize("which", ["0/2", "3/2", "1", "a/b", "1/0"])
def test_a_shard_that_is_none_is_refused(which):
    """With what is expected."""
    with pytest.raises(InputError, match="expected I/N"):
        shard([], which)


def test_a_device_is_held_by_one_at_a_time(tmp_path):
    """Two recipes on one device are weighed in turn, while others are made; judging comes last."""
    holds, order, lock = {"local": 0}, [], threading.Lock()

    def run(item):
        for device in item.devices:
            with lock:
                holds[device] += 1
                assert holds[device] == 1
        time.sleep(0.01)
        for device in item.devices:
            holds[device] -= 1
        order.append(item)
        return 0

    items = plan(params(), "sha256:1")
    assert len(list(execute(items, run, Stamps(tmp_path), workers=4))) == 5
    assert order[-1].kind == "judge"
    for item in order:
        assert all(need in {other.key for other in order[: order.index(item)]} for need in item.needs)


def test_a_worker_that_dies_is_begun_again_and_nothing_is_done_twice(tmp_path):
    """Killed once, each item is done once; a second run finds all done, but for what was deleted."""
    begun = []

    def run(item):
        begun.append(item)
        (tmp_path / item.output).mkdir(parents=True, exist_ok=True)
        return -9 if begun.count(item) == 1 else 0

    items = plan(params(), "sha256:1")
    assert [code for _, code in execute(items, run, Stamps(tmp_path), workers=2)] == [0] * 5
    assert len(begun) == 10
    assert list(execute(items, run, Stamps(tmp_path), workers=2)) == []
    (tmp_path / "measurements/half").rmdir()
    assert [item.name for item, _ in execute(items, run, Stamps(tmp_path))] == ["half"]


def test_a_plan_needs_what_it_starts_from(tmp_path):
    """Before the baseline is made there is nothing to take keys from."""
    with pytest.raises(StateError, match="file not found") as caught:
        planned(project(tmp_path))
    assert caught.value.fix == "dvc repro baseline"


def test_a_worker_that_always_dies_is_an_error(tmp_path):
    """It names the item."""
    with pytest.raises(StateError, match="died 3 times") as caught:
        list(execute(plan(params(), "sha256:1"), lambda _: -9, Stamps(tmp_path)))
    assert caught.value.where.startswith("make ")


def test_what_needs_a_failed_item_is_left_out(tmp_path):
    """The other recipe is weighed; judging waits for a plan that is whole."""
    items = plan(params(), "sha256:1")
    ended = dict.fromkeys(items)
    ended.update(execute(items, lambda item: int((item.kind, item.name) == ("make", "half")), Stamps(tmp_path)))
    assert {(item.kind, item.name): code for item, code in ended.items()} == {
        ("make", "int8"): 0,
        ("make", "half"): 1,
        ("weigh", "int8"): 0,
        ("weigh", "half"): None,
        ("judge", "net"): None,
    }
