"""The plan: keys by content, shards that add up, and work that is done once whatever dies."""

import io
import json
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.pipeline.conftest import PROJECT
from tests.search.project import BUDGETS, project
from weighbridge.cli import app
from weighbridge.compress import stages
from weighbridge.core.documents import Params
from weighbridge.core.errors import InputError, IntegrityError, StateError
from weighbridge.core.files import sha256_bytes
from weighbridge.gate.stages import pipeline
from weighbridge.search.carrying_out import execute
from weighbridge.search.done_items import Stamps
from weighbridge.search.plan import Item, matrix, plan, shard
from weighbridge.search.project_plan import planned

INT8, FP16 = ({"steps": [{"quantize": {"scheme": scheme}}]} for scheme in ("static-int8", "fp16"))


def params(
    recipes: dict[str, dict[str, list[dict[str, dict[str, str | int]]]]] | None = None,
    **sections: list[dict[str, str]] | dict[str, dict[str, list[str]]],
) -> Params:
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


def keys(given: Params, inputs: str = "sha256:1") -> dict[str, Any]:
    """(kind, name) → key."""
    return {(item.kind, item.name): item.key for item in plan(given, inputs)}


def test_an_item_changes_with_what_it_depends_on_and_nothing_else() -> None:
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


def test_two_recipes_of_the_same_steps_are_two_items(tmp_path: Path) -> None:
    """Each has files and a stamp of its own: neither stands for the other."""
    items = plan(params({"one": INT8, "other": INT8}), "sha256:1")
    assert len({item.key for item in items}) == 5
    assert [code for _, code in execute(items, lambda item: worked(tmp_path, item), Stamps(tmp_path))] == [0] * 5
    assert [item.name for item in items if Stamps(tmp_path).done(item)] == ["one", "other"] * 2


def test_ten_thousand_items_are_planned_and_shards_add_up() -> None:
    """Each item is in one part, and in the same one when others are added."""
    many = {f"r{number}": {"steps": [{"share": {"bits": 1 + number % 8}}]} for number in range(5000)}
    items = plan(params(many), "sha256:1")
    assert len(items) == 10_001
    parts = [shard(items, f"{part}/7") for part in range(1, 8)]
    assert sorted(item.name for part in parts for item in part) == sorted(item.name for item in items)
    few = plan(params(dict(list(many.items())[:100])), "sha256:1")
    makes = [{item.name for item in shard(given, "3/7") if item.kind == "make"} for given in (few, items)]
    assert makes[0] <= makes[1]


def test_a_matrix_has_a_row_for_each_recipe_and_each_device() -> None:
    """A device's class, by default its name, says which runner it needs; GitHub's most jobs are the most."""
    given = params(devices={"local": {}, "phone": {"command": ["./harness"], "device_class": "pixel-8"}})
    rows = dict(line.split("=", 1) for line in matrix(plan(given, "sha256:1"), given).splitlines())
    assert json.loads(rows["recipes"]) == ["int8", "half"]
    assert json.loads(rows["devices"]) == [
        {"device": "local", "class": "local"},
        {"device": "phone", "class": "pixel-8"},
    ]
    many = params({f"r{number}": INT8 for number in range(257)})
    with pytest.raises(InputError, match="257 jobs, and GitHub runs at most 256"):
        matrix(plan(many, "sha256:1"), many)


@pytest.mark.parametrize("which", ["0/2", "3/2", "1", "a/b", "1/0"])
def test_a_shard_that_is_none_is_refused(which: str) -> None:
    """With what is expected."""
    with pytest.raises(InputError, match="expected I/N"):
        shard([], which)


def worked(root: Path, item: Item, code: int = 0) -> int:
    """Do what a worker does: write the item's files and stamp it."""
    path = root / item.patterns[0].replace("**/*", "model.onnx").replace("*", "onnxruntime")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(item.key)
    return Stamps(root).do(item, lambda: code)


ELSEWHERE = {"local": {}, "phone": {"command": ["./harness"]}}


def test_a_device_is_held_by_one_at_a_time_and_this_machine_is_quiet_meanwhile(tmp_path: Path) -> None:
    """Two recipes on one device are weighed one after the other; nothing is made while this machine weighs."""
    running, order, lock, together = [], [], threading.Lock(), set()

    def run(item: Item) -> int:
        with lock:
            running.append(item)
            assert sum(other.device == item.device for other in running) == 1 or item.device is None
            if any(other.device == "local" for other in running):
                assert not any(other.kind == "make" for other in running)
            together.update(other.device for other in running if len(running) > 1)
        time.sleep(0.02)
        with lock:
            running.remove(item)
            order.append(item)
        return worked(tmp_path, item)

    items = plan(params(devices=ELSEWHERE), "sha256:1")
    assert len(list(execute(items, run, Stamps(tmp_path), workers=4))) == 7
    assert {"local", "phone"} <= together
    assert order[-1].kind == "judge"
    for item in order:
        assert all(need in {other.key for other in order[: order.index(item)]} for need in item.needs)


def test_what_computes_on_one_machine_is_weighed_by_itself(tmp_path: Path) -> None:
    """An emulator and this machine take their times one after the other, with nothing made meanwhile; a phone does not
    wait for them.
    """
    lock, running, together = threading.Lock(), [], set()

    def run(item: Item) -> int:
        with lock:
            running.append(item)
            together.add(frozenset(other.device or "made" for other in running))
        time.sleep(0.02)
        with lock:
            running.remove(item)
        return worked(tmp_path, item)

    emulator = {"command": ["./emulate"], "computes_here": True}
    given = params(devices={**ELSEWHERE, "emulator": emulator})
    assert [name for name, section in given.devices.items() if section.occupies_here] == ["local", "emulator"]
    items = plan(given, "sha256:1")
    assert len(list(execute(items, run, Stamps(tmp_path), workers=4, here=("local", "emulator")))) == 9
    for machine in ("local", "emulator"):
        allowed = {frozenset({machine}), frozenset({machine, "phone"})}
        assert {names for names in together if machine in names} <= allowed
    assert any({"phone"} < names for names in together)


def test_a_worker_that_dies_is_begun_again_and_nothing_is_done_twice(tmp_path: Path) -> None:
    """Killed once, each item is done once; a second run judges alone, but for what was deleted or changed."""
    begun = []

    def run(item: Item) -> int:
        begun.append(item)
        return -9 if begun.count(item) == 1 else worked(tmp_path, item)

    items = plan(params(), "sha256:1")
    assert [code for _, code in execute(items, run, Stamps(tmp_path), workers=2)] == [0] * 5
    assert len(begun) == 10
    assert [item.kind for item, _ in execute(items, run, Stamps(tmp_path), workers=2)] == ["judge"]
    (tmp_path / "measurements/half/onnxruntime@local.json").unlink()
    (tmp_path / "artifacts/recipes/int8/model.onnx").write_text("other bytes")
    again = [(item.kind, item.name) for item, _ in execute(items, run, Stamps(tmp_path))]
    assert again == [("make", "int8"), ("weigh", "half"), ("judge", "net")]


@pytest.mark.parametrize("left", [b"", b'{"files":{"artifacts/rec', b"[]", b"\0\0\0\0"])
def test_a_stamp_that_was_torn_is_none(tmp_path: Path, left: bytes) -> None:
    """Its item is done again, and then stamped."""
    item = plan(params(), "sha256:1")[0]
    stamps, begun = Stamps(tmp_path), []
    worked(tmp_path, item)
    (stamp,) = stamps.folder.glob("make-*")
    assert stamps.done(item)
    stamp.write_bytes(left)
    assert not stamps.done(item)
    assert stamps.do(item, lambda: begun.append(item) or 0) == 0
    assert begun == [item]
    assert stamps.done(item)


def test_two_workers_never_do_one_item_at_once(tmp_path: Path) -> None:
    """The second waits for the first, and finds the item done."""
    item, begun = plan(params(), "sha256:1")[0], []

    def work() -> int:
        begun.append(item)
        time.sleep(0.05)
        return worked_files(item)

    def worked_files(item: object) -> int:
        (tmp_path / "artifacts/recipes/int8").mkdir(parents=True, exist_ok=True)
        (tmp_path / "artifacts/recipes/int8/model.onnx").write_text("bytes")
        return 0

    threads = [threading.Thread(target=Stamps(tmp_path).do, args=(item, work)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert begun == [item]


def test_a_claim_goes_with_its_process(tmp_path: Path) -> None:
    """A worker that is killed while it holds an item does not keep it."""
    item = plan(params(), "sha256:1")[0]
    claim = (
        "import json, sys, time\n"
        "from pathlib import Path\n"
        "from weighbridge.search.done_items import Stamps\n"
        "from weighbridge.search.plan import Item\n"
        "with Stamps(Path(sys.argv[1])).claimed(Item.of_json(json.loads(sys.argv[2]))):\n"
        "    print('claimed', flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", claim, str(tmp_path), json.dumps(item.to_json())]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"claimed\n"
        child.kill()
    with Stamps(tmp_path).claimed(item):
        assert not Stamps(tmp_path).done(item)


def test_an_item_done_elsewhere_is_taken_by_content(tmp_path: Path) -> None:
    """Its files are there as they were; a bundle that was altered, or is about another item, is refused."""
    there, here = Stamps(tmp_path / "there"), Stamps(tmp_path / "here")
    item, other, *_ = plan(params(), "sha256:1")
    for each in (item, other):
        worked(there.root, each)
    data = there.bundle(item)
    with pytest.raises(IntegrityError, match="not those of make int8"):
        here.take(item, data.replace(item.key.encode(), other.key.encode()), "bundle")
    with pytest.raises(IntegrityError, match="not those of make half"):
        here.take(other, data, "bundle")
    with pytest.raises(IntegrityError, match="not a bundle"):
        here.take(item, b"noise" * 200, "bundle")
    assert not here.done(item)
    here.take(item, data, "bundle")
    assert here.done(item)
    assert (here.root / "artifacts/recipes/int8/model.onnx").read_text() == item.key


def test_a_bundle_writes_nothing_outside_its_item(tmp_path: Path) -> None:
    """A path that climbs out of the item's folder is refused, and nothing is written."""
    item, *_ = plan(params(), "sha256:1")
    out = io.BytesIO()
    name = "artifacts/recipes/int8/../../../../evil.sh"
    stamp = json.dumps({"item": item.to_json(), "files": {name: sha256_bytes(b"evil")}}).encode()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for path, data in (("stamp", stamp), (name, b"evil")):
            header = tarfile.TarInfo(path)
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))
    with pytest.raises(IntegrityError, match="not those of make int8"):
        Stamps(tmp_path / "a/b/here").take(item, out.getvalue(), "bundle")
    assert list(tmp_path.rglob("evil*")) == []


def test_weighing_waits_for_what_was_not_made(tmp_path: Path) -> None:
    """A machine that only weighs is told what it lacks."""
    items = plan(params(), "sha256:1")
    weighings = [item for item in items if item.kind == "weigh"]
    with pytest.raises(StateError, match="what it needs is not done here") as caught:
        list(execute(weighings, lambda _: 0, Stamps(tmp_path), known=items))
    assert caught.value.where == "weigh int8"


def test_ten_thousand_items_are_kept_in_order(tmp_path: Path) -> None:
    """Each begins once, after what it needs."""
    items = [Item("make", f"r{number}", f"sha256:{number:064x}") for number in range(5000)]
    items += [Item("weigh", item.name, "sha256:f" + item.key[8:], (item.key,), "local") for item in items]
    begun = []
    ended = list(execute(items, lambda item: begun.append(item.key) or 0, Stamps(tmp_path), workers=2))
    assert len(ended) == len(set(begun)) == len(begun) == 10_000


def test_a_plan_needs_what_it_starts_from(tmp_path: Path) -> None:
    """Before the baseline is made there is nothing to take keys from."""
    with pytest.raises(StateError, match="file not found") as caught:
        planned(project(tmp_path))
    assert caught.value.fix == "dvc repro baseline"


def test_a_worker_that_always_dies_fails_its_item_and_no_other(tmp_path: Path) -> None:
    """After three attempts; the other recipe goes on."""
    dying = lambda item: -9 if item.name == "half" else worked(tmp_path, item)  # noqa: E731
    ended = {
        (item.kind, item.name): code for item, code in execute(plan(params(), "sha256:1"), dying, Stamps(tmp_path))
    }
    assert ended == {("make", "int8"): 0, ("make", "half"): -9, ("weigh", "int8"): 0}


def test_what_needs_a_failed_item_is_left_out(tmp_path: Path) -> None:
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


def test_machines_make_weigh_and_judge_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One makes, one weighs what it was given, one judges what both give; the other machines compute nothing again."""
    budgets = [{"metric": "size.bytes", "max_ratio": 0.9}]
    first = project(tmp_path / "first", recipes={"half": FP16}, budgets=budgets)
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for body in (stages.prepare, stages.train, stages.baseline):
        body(first)
    pipeline.device(first)
    subprocess.run(["git", "init", "-q", first], check=True)
    subprocess.run(["git", "-C", first, "config", "user.name", "somebody at the lab"], check=True)
    second, third = (shutil.copytree(first, tmp_path / name) for name in ("second", "third"))
    out = tmp_path / "out"
    words = {
        first: ["make", "--out", out],
        second: ["weigh", "--from", out, "--out", out],
        third: ["judge", "--from", out],
    }
    for root, rest in words.items():
        done = CliRunner().invoke(app, ["plan", *map(str, rest), "--root", str(root)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
    assert "taken: weigh half, measured by somebody at the lab, 20" in done.output
    listed = CliRunner().invoke(app, ["plan", "--json", "--root", str(third)], catch_exceptions=False)
    assert [(item["kind"], item["done"]) for item in json.loads(listed.stdout)] == [
        ("make", True), ("weigh", True), ("judge", False),
    ]  # fmt: skip
    assert json.loads((third / "reports/verdict.json").read_text())["verdict"] == "pass"
    rows = CliRunner().invoke(app, ["plan", "--matrix", "--root", str(third)], catch_exceptions=False).stdout
    assert rows == 'recipes=["half"]\ndevices=[{"device": "local", "class": "local"}]\n'
    one = CliRunner().invoke(app, ["plan", "make", "--recipe", "halve", "--root", str(third)])
    assert isinstance(one.exception, InputError)
    assert one.exception.where == "--recipe"
    built = [(root / "artifacts/recipes/half/onnxruntime/model.onnx").read_bytes() for root in words]
    assert len(set(built)) == 1
