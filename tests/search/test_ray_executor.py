"""Items on a real cluster of two nodes on this machine; one of them is killed in the middle."""

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.search.project import project
from tests.search.test_plan import FP16, params
from weighbridge.core.errors import InputError, StateError
from weighbridge.search.carrying_out import execute
from weighbridge.search.done_items import Stamps
from weighbridge.search.plan import Item, plan
from weighbridge.search.ray_executor import archive, connected

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # as there: a driver finds its cluster on 127.0.0.1
cluster_utils = pytest.importorskip("ray.cluster_utils")
QUICKLY = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}
SMALL = {"include_dashboard": False, "object_store_memory": 80 * 2**20}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that reaches the phone, and a second node that can be lost."""
    head = {"num_cpus": 1, "resources": {"device_phone": 1}, "_system_config": QUICKLY, **SMALL}
    made = cluster_utils.Cluster(initialize_head=True, head_node_args={"node_ip_address": "127.0.0.1", **head})
    yield made
    made.shutdown()


def work_that_says_when(log: Path) -> Callable[..., Any]:
    """What does an item: writes when it begins and ends, and where; takes a little."""

    def work(folder: Path) -> Callable[..., Any]:
        def run(item: Item) -> int:
            import ray

            def say(what: str) -> None:
                row = {"what": what, "key": item.key, "device": item.device, "at": time.time(), "folder": str(folder),
                       "node": ray.get_runtime_context().get_node_id()}  # fmt: skip
                with log.open("a") as file:
                    file.write(json.dumps(row) + "\n")

            say("begin")
            time.sleep(2.0)  # longer than a worker outlives its node
            path = folder / item.patterns[0].replace("**/*", "model.onnx").replace("*", "onnxruntime")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(item.key)
            Stamps(folder).do(item, lambda: 0)
            say("end")
            return 0

        return run

    return work


def rows_of(log: Path) -> list[Any]:
    """What was said so far."""
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


@pytest.fixture(scope="module")
def carried_out(
    cluster: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Item], list[tuple[Item, int]], list[Any], list[Any]]:
    """Eight items on two nodes, of which the second is killed as soon as it has begun one."""
    root = project(tmp_path_factory.mktemp("here"))
    log = root.parent / f"{root.name}.log"
    second = cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1", **SMALL)
    killed = []

    def kill() -> None:
        while not any(row["what"] == "begin" and row["node"] == second.node_id for row in rows_of(log)):
            time.sleep(0.05)
        cluster.remove_node(second, allow_graceful=False)
        killed.append(second.node_id)

    recipes = {f"r{bits}": {"steps": [{"share": {"bits": bits}}]} for bits in range(2, 6)}
    given = params(recipes, devices={"phone": {"command": ["x"]}})
    items = [item for item in plan(given, "sha256:1") if item.kind != "judge"]
    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    with connected(root, items, items, cluster.address, work_that_says_when(log)) as found:
        ended = list(execute(items, found.run, Stamps(root), workers=3, here=()))
    killer.join(10)
    return root, items, ended, rows_of(log), killed


def test_nothing_is_lost_or_doubled_when_a_node_dies(
    carried_out: tuple[Path, list[Item], list[tuple[Item, int]], list[Any], list[Any]],
) -> None:
    """Each item ends once, well, and its files are here; what the dead node had begun was begun once more."""
    root, items, ended, rows, killed = carried_out
    assert sorted(item.key for item, _ in ended) == sorted(item.key for item in items)
    assert {code for _, code in ended} == {0}
    assert all(Stamps(root).done(item) for item in items)
    ends = [row["key"] for row in rows if row["what"] == "end"]
    begun = [row["key"] for row in rows if row["what"] == "begin"]
    cut = [row["key"] for row in rows if row["what"] == "begin" and row["node"] in killed and row["key"] not in [
        other["key"] for other in rows if other["what"] == "end" and other["node"] in killed]]  # fmt: skip
    assert cut
    assert sorted(ends) == sorted(item.key for item in items)
    assert sorted(begun) == sorted([item.key for item in items] + cut)


def test_no_node_keeps_the_project(
    carried_out: tuple[Path, list[Item], list[tuple[Item, int]], list[Any], list[Any]],
) -> None:
    """Its folder is removed at the end, also what was begun beside it."""
    *_, rows, _ = carried_out
    (folder,) = {Path(row["folder"]) for row in rows}
    assert list(folder.parent.glob(f"{folder.name}*")) == []


def test_a_device_is_weighed_on_by_one_at_a_time(
    carried_out: tuple[Path, list[Item], list[tuple[Item, int]], list[Any], list[Any]],
) -> None:
    """The node that reaches it has two items at most: one made, one weighed."""
    *_, rows, _ = carried_out
    held = sorted((row["at"], 1 if row["what"] == "begin" else -1) for row in rows if row["device"] == "phone")
    level = 0
    for _, step in held:
        level += step
        assert 0 <= level <= 1


def test_a_device_that_no_node_reaches_is_said_before_anything_runs(cluster: Any, tmp_path: Path) -> None:
    """With what makes a node offer it."""
    root = project(tmp_path)
    items = plan(params(), "sha256:1")
    with (
        pytest.raises(InputError, match="no node offers device_local") as caught,
        connected(root, items, items, cluster.address),
    ):
        pass
    assert "ray start" in caught.value.fix


def test_a_device_that_goes_away_is_waited_for_and_then_given_up(cluster: Any, tmp_path: Path) -> None:
    """Its item ends with 3, could not be judged; the others are done."""
    root = project(tmp_path)
    gone = cluster.add_node(num_cpus=0, resources={"device_local": 1}, node_ip_address="127.0.0.1", **SMALL)
    items = [item for item in plan(params({"half": FP16}), "sha256:3") if item.kind != "judge"]
    with connected(root, items, items, cluster.address, work_that_says_when(tmp_path / "log")) as found:
        cluster.remove_node(gone, allow_graceful=False)
        short = replace(found, gone=3.0)
        assert [(item.kind, code) for item, code in execute(items, short.run, Stamps(root), 2, here=())] == [
            ("make", 0), ("weigh", 3),
        ]  # fmt: skip


def test_a_cluster_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    """No traceback of Ray's."""
    with pytest.raises(StateError, match="no Ray cluster"), connected(tmp_path, [], [], "127.0.0.1:9"):
        pass


def test_what_travels_is_the_project_without_what_is_made_there(tmp_path: Path) -> None:
    """Sources, data and baselines; not the recipes' artifacts, nor what Git ignores."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    names = ("params.yaml", "nets/model.py", "artifacts/data/test.npz", "artifacts/recipes/a/model.onnx", "secret.env")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / ".gitignore").write_text("/artifacts\nsecret.env\n")
    data = archive(tmp_path)
    assert [name.encode() in data for name in names] == [True, True, True, False, True]
    assert b"secret.env\n" in data  # in .gitignore alone
