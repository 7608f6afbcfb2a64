"""Canaries that really serve: `weighbridge serve`, requests whose labels come back, Prometheus, and the judge."""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from benchmarks.serving.clients import Connection, rendered, rendered_json
from benchmarks.serving.moving import status
from benchmarks.serving.networks import registry_of, session_of
from benchmarks.serving.processes import PATH, free_port, ours
from benchmarks.watching.canary_rollouts import PLAN
from benchmarks.watching.drawn_traffic import BAD, CLASSES, GOOD, SLICE, WITHIN, Generator, Traffic, row
from tests.registry.project import MODEL
from weighbridge.core.errors import StateError
from weighbridge.registry.canary.canary_judge import Action, Decision, judge
from weighbridge.registry.lifecycle.operate import Operator
from weighbridge.registry.state.records import CanaryPlan

COLUMNS = ("label", "dark", "chance", "age", "broken", "late")
"""Of a request: the class that is right, whether it is in the slice, how far the canary has come, and draws that decide
whether its answer is wrong, missing or late.
"""
DARK, AGE = COLUMNS.index("dark"), COLUMNS.index("age")
SIDE = 256
SLOW, LATE = 0.02, 0.03
"""Seconds: the limit of the plan here, and what a late answer takes. The documented 50 ms would take the canary's
thread longer than it has.
"""
WEIGHT, SHADOW = 25, 33
"""Per cent of the requests that the canary answers, and of the others that are shadowed: about as many."""
PACE, CLIENTS = 400.0, 4
"""Requests a second, of all clients together."""
BEHIND = 10
"""Requests of a client that are answered before the first of them is labelled."""
EVERY = 1.0
"""Seconds between two scrapes, and between two looks."""
PATIENCE = 120.0


def slices(feed: Any) -> list[str]:
    """The slice of a request, as `--slices` takes it."""
    return ["dark" if feed["image"][0, DARK] > 0 else "bright"]


def plan() -> CanaryPlan:
    """The documented budgets, on one step that is never complete."""
    budgets = [{**budget, "threshold": SLOW} if "threshold" in budget else budget for budget in PLAN["budgets"]]
    return CanaryPlan(steps=[WEIGHT, 100], min_samples=10 * WITHIN, min_seconds=0, budgets=budgets)


def network(traffic: Traffic, name: str, busy: int, *, slowly: bool = False) -> bytes:
    """A network that is wrong, fails and is late as often as `traffic` says, or comes to be `slowly`. Other names are
    other files. A late answer multiplies `busy` rows.
    """
    nodes, weights = list[Any](), list[Any]()

    def number(value: Any, dtype: Any = np.float32) -> str:
        weights.append(numpy_helper.from_array(np.asarray(value, dtype), f"w{len(weights)}"))
        return f"w{len(weights) - 1}"

    def node(kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, list(inputs), [output or f"n{len(nodes)}"], **attributes))
        return output or f"n{len(nodes) - 1}"

    column = {key: node("Gather", "image", number([k], np.int64), axis=1) for k, key in enumerate(COLUMNS)}
    less = node("Mul", column["dark"], number(traffic.dark - traffic.right))
    if slowly:
        less = node("Mul", column["age"], number(traffic.right - GOOD.right))
    right = node("Add", less, number(GOOD.right if slowly else traffic.right))
    wrong = node("Cast", node("Greater", column["chance"], right), to=TensorProto.FLOAT)
    answer = node("Mod", node("Add", column["label"], wrong), number(CLASSES), fmod=1)
    scores = node("Neg", node("Abs", node("Sub", answer, number(np.arange(CLASSES)))))
    failing = node("Log", node("Sub", column["broken"], number(traffic.errors)))  # NaN below zero
    late = node("Less", column["late"], number(traffic.slow if traffic.slow > GOOD.slow else 0.0))
    rows = node(
        "Mul", node("ReduceMax", node("Cast", late, to=TensorProto.INT64), keepdims=0), number([busy], np.int64)
    )
    block = node("ConstantOfShape", node("Concat", rows, number([SIDE], np.int64), axis=0))
    worked = node("ReduceSum", node("MatMul", block, number(np.zeros((SIDE, SIDE)))), keepdims=0)
    scores = node("Add", scores, node("Mul", failing, number(0.0)))
    node("Add", scores, worked, output="scores")
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", len(COLUMNS)])]
    outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", CLASSES])]
    graph = helper.make_graph(nodes, name, inputs, outputs, weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = made.SerializeToString()
    return data


def rows_for(seconds: float) -> int:
    """How many rows take so long here."""
    tried = 2000
    session = session_of(network(replace(GOOD, slow=1.0), "timed", tried))
    feed, spent = {"image": np.zeros((1, len(COLUMNS)), np.float32)}, []
    for _ in range(10):
        begin = time.perf_counter()
        session.run(None, feed)
        spent.append(time.perf_counter() - begin)
    return round(tried * seconds / min(spent))


@dataclass
class Clients:
    """Ask at an even pace, and label every answer."""

    port: int
    random: Generator
    until: int = WITHIN
    """Answers of the canary after which one that drifts has come to its worst."""
    asked: int = 0
    canary: int = 0
    """Answers of the canary: `v1` is stable."""
    labels: dict[str, str] = field(default_factory=dict)
    """Of the requests that were labelled, by id."""
    problems: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        draws = [np.random.default_rng(seed) for seed in self.random.integers(1 << 32, size=CLIENTS)]
        self.threads = [threading.Thread(target=self._ask, args=(random,)) for random in draws]
        for thread in self.threads:
            thread.start()

    def end(self) -> None:
        """Wait until the last answer is labelled."""
        self._stop.set()
        for thread in self.threads:
            thread.join()

    def _ask(self, random: Generator) -> None:
        connection, due, answered = Connection(self.port), time.monotonic(), deque[tuple[str, int]]()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due += CLIENTS / PACE
            request = random.random((1, len(COLUMNS))).astype(np.float32)
            label = int(random.integers(CLASSES))
            request[0, 0], request[0, DARK] = label, request[0, DARK] < SLICE
            request[0, AGE] = min(1.0, self.canary / self.until)
            identity = random.bytes(12).hex()
            code, body = connection.ask(rendered(PATH, request, identity))
            self.asked += 1
            self.canary += code == 200 and b'"model_version":"v1"' not in body
            if code == 200:  # not so: stable's own failures, two in a thousand
                answered.append((identity, label))
            if len(answered) > BEHIND:
                self._label(connection, *answered.popleft())

    def _label(self, connection: Connection, identity: str, label: int) -> None:
        code, body = connection.ask(rendered_json("/v2/feedback", {"id": identity, "label": str(label)}))
        self.labels[identity] = str(label)
        if code != 200:
            self.problems.append(f"{code} {body[:100]!r}")


@contextmanager
def prometheus(folder: Path, target: int) -> Iterator[str]:
    """A Prometheus that scrapes a port; its address for `judge`."""
    port, config = free_port(), folder / "prometheus.yml"
    config.write_text(
        f"global: {{scrape_interval: {EVERY:g}s}}\nscrape_configs:\n- job_name: serve\n  static_configs:\n"
        f"  - targets: ['127.0.0.1:{target}']\n"
    )
    where = [f"--storage.tsdb.path={folder}/tsdb", f"--web.listen-address=127.0.0.1:{port}"]
    command = ["prometheus", f"--config.file={config}", *where]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"prometheus=http://127.0.0.1:{port}"
    finally:
        child.kill()
        child.wait()


def awaited(port: int, version: str) -> None:
    """Wait until a canary has its share."""
    until = time.monotonic() + PATIENCE
    while status(port)["canary"] != version:
        if time.monotonic() > until:
            raise SystemExit(f"{version} does not serve: {status(port)}")
        time.sleep(0.1)


def judged(registry: Path, port: int, metrics: str, version: str, random: Generator) -> tuple[int, Decision]:
    """One canary from its start until it is aborted, or has answered `WITHIN` requests; how many it had."""
    operator = Operator(registry, MODEL)
    operator.start_canary(version, plan())
    awaited(port, version)
    clients, until = Clients(port, random), time.monotonic() + PATIENCE
    try:
        while True:
            time.sleep(EVERY)
            answered = clients.canary
            try:
                decision = judge(registry, MODEL, metrics)
            except StateError:
                if time.monotonic() > until:
                    raise
                continue  # Prometheus is still starting
            if decision.action is Action.ABORT or answered >= WITHIN:
                break
    finally:
        clients.end()
    if clients.problems:
        raise SystemExit(f"labels were refused: {clients.problems[:3]}")
    if decision.action is not Action.ABORT:
        operator.abort_canary(reason="enough was seen")
    return answered, decision


def live(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Each kind of bad canary, and good ones."""
    random, busy = np.random.default_rng(9), rows_for(LATE)
    kinds = [*(kind for kind in BAD for _ in range(options.live_bad)), *["good"] * options.live_good]
    models = [
        network(BAD.get(kind, GOOD), f"net-{number}", busy, slowly=kind == "slowly drifting")
        for number, kind in enumerate(["stable", *kinds])
    ]
    ends: dict[str, list[tuple[int, Decision]]] = {}
    with tempfile.TemporaryDirectory(prefix="live-") as folder:
        registry, cache = Path(folder) / "registry", Path(folder) / "cache"
        registry_of(registry, models)
        told = ["--shadow", str(SHADOW), "--sample", "0", "--slices", "benchmarks.watching.live_canaries:slices"]
        with ours(registry, cache, *told) as server, prometheus(Path(folder), server.port) as metrics:
            for number, kind in enumerate(kinds, 2):
                ends.setdefault(kind, []).append(judged(registry, server.port, metrics, f"v{number}", random))
    for kind, found in ends.items():
        caught = [answered for answered, decision in found if decision.action is Action.ABORT]
        name = "good canary" if kind == "good" else f"bad canary, {kind}"
        share = len(caught) / len(found)
        bar = {"target": 0.01, "least": False} if kind == "good" else {"target": 0.95}
        yield row(f"live, {name} ({len(found)}): aborted", share, "share", **bar)
        if caught:
            yield row(f"live, {name}: requests until then, median", float(np.median(caught)), "requests")
