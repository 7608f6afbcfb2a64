# ruff: noqa: E402  # imports follow the line that makes the right package importable
"""The server over the loopback: what it adds, what it carries, beside MLServer; moves and kills under load.

    python benchmarks/serve.py --json serve.json             # all of it: about ten minutes on an idle machine
    python benchmarks/serve.py --only latency throughput     # some sections

1. *latency*: one client, one request after the other, against the same inferences without a server, in turn; and
   against servers that only parse and answer, at once or after as long as the model takes: no server goes below that.
2. *throughput*: many clients that ask again at once, against the runtime alone at its best batch size, one thread each,
   in turn. Client and server share the machine's processors.
3. *mlserver*: MLServer with the same model, runtime and thread, same client, in a virtual environment made for it
   (`--environments`); the better of its modes with and without a process for the model.
4. *memory*: the server's after the load, with a journal that is full, over a process that only has the runtime and
   the model.
5. *moves*: `stable` moves under load; `--requests` in all. 6. *kills*: kill -9 under load, labels before and after.
7. *clients*: KServe's published clients (REST and gRPC), in a virtual environment made for them.

Exits 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

# This file has the name of the package that it measures: its own folder must not come first.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.serving import moving, networks
from benchmarks.serving.clients import Connection, latencies, rendered, rendered_json, saturate
from benchmarks.serving.processes import (
    PATH,
    Ours,
    bare_memory,
    bare_server,
    free_port,
    full_journal,
    installed,
    memory_of,
    mlserver,
    ours,
)
from tests.registry.project import MODEL

Row = dict[str, Any]
SECTIONS = ("latency", "throughput", "mlserver", "memory", "moves", "kills", "clients")
VERDICT = {True: "met", False: "MISSED", None: ""}
CLIENTS = (8, 32, 64)
ROWS = (1, 8, 32)
"""Examples in one run of the runtime alone."""
ROUNDS = 4
"""In which served and alone take turns; a median of them counts: a machine's speed is not the same from second to
second.
"""
NETWORKS = {"ResNet-20": 3, "ResNet-8": 1}
"""Name → residual blocks of each width: 41 and 12 million multiplications an example."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what was asked and print a table."""
    options = read_options(arguments)
    os.environ.update(GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_SYSTEM="/dev/null", PYTHONPATH=str(ROOT))
    begin, rows = time.perf_counter(), list[Row]()
    with tempfile.TemporaryDirectory(prefix="serve-") as folder:
        for found in parts(Path(folder), options):
            rows += tell(found)
    rows += tell([row("the whole benchmark", time.perf_counter() - begin, "s")])
    if options.json:
        bars = {
            item["name"]: {"value": item["value"], "target": item["bar"], "met": item["met"]}
            for item in rows
            if item["bar"]
        }
        options.json.write_text(json.dumps({"rows": rows, "bars": bars}, indent=2) + "\n")
    raise SystemExit(0 if all(item["met"] is not False for item in rows) else 1)


def parts(work: Path, options: argparse.Namespace) -> Iterator[list[Row]]:
    """What was asked, part by part: what was measured is printed before the next part begins."""
    if set(options.only) & set(SECTIONS[:4]):
        yield from speed(work, options)
    if set(options.only) & {"moves", "kills"}:
        yield faults(work, options)
    if "clients" in options.only:
        yield published(work, options)


def tell(rows: list[Row]) -> list[Row]:
    """Print rows of the table."""
    for item in rows:
        text = f"{item['name']:70} {item['value']:>12,.4g} {item['unit']:12} {item['bar']:10} {VERDICT[item['met']]}"
        print(text, flush=True)
    return rows


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load")
    parser.add_argument("--requests", type=int, default=100_000, help="under moves")
    parser.add_argument("--moves", type=int, default=50)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--environments", type=Path, default=Path(tempfile.gettempdir()) / "weighbridge-benchmarks")
    parser.add_argument("--json", type=Path)
    return parser.parse_args(arguments)


def row(name: str, value: float, unit: str, bar: str = "", *, met: bool | None = None) -> Row:
    """One figure."""
    return {"name": name, "value": value, "unit": unit, "bar": bar, "met": met}


def speed(work: Path, options: argparse.Namespace) -> Iterator[list[Row]]:
    """Latency, throughput, MLServer and memory, on two networks."""
    for name, blocks in NETWORKS.items():
        here = work / name
        here.mkdir()
        found = of_network(here, options, networks.residual_network(1, blocks))
        yield [{**item, "name": f"{name}: {item['name']}"} for item in found]


def of_network(work: Path, options: argparse.Namespace, model: bytes) -> list[Row]:
    """The sections for one network."""
    rows: list[Row] = []
    networks.registry_of(work / "registry", [model])
    request = rendered(PATH, networks.images(1))
    full_journal(work / "cache")
    with ours(work / "registry", work / "cache") as server:
        latencies(server.port, request, 200)
        if "latency" in options.only:
            rows += latency(server, model, request)
        loaded = {"throughput", "mlserver", "memory"} & set(options.only)  # memory is that after a load
        rates, best = saturated(server.port, request, model, options.seconds) if loaded else ({}, 0.0)
        if "throughput" in options.only:
            rows += [row("the runtime alone, at its best batch size", best, "examples/s")]
            rows += [row(f"served, {n} clients", rate, "examples/s") for n, rate in rates.items()]
            share = max(rates.values()) / best
            rows.append(row("served over the runtime alone", share, "times", ">= 0.9", met=share >= 0.9))
        if "memory" in options.only:
            (work / "net.onnx").write_bytes(model)
            over = memory_of(server.child.pid) - bare_memory(work / "net.onnx")
            rows.append(row("memory over the runtime and the model", over, "MB", "<= 60", met=over <= 60))
    if "mlserver" in options.only:
        rows += beside(work, options, model, max(rates.values()))
    return rows


def saturated(port: int, request: bytes, model: bytes, seconds: float) -> tuple[dict[int, float], float]:
    """Examples a second: of so many clients, and of the runtime alone at its best."""
    served: dict[int, list[float]] = {n: [] for n in CLIENTS}
    bare: dict[int, list[float]] = {rows: [] for rows in ROWS}
    for _ in range(ROUNDS):
        for clients, rates in served.items():
            rates.append(saturate(port, request, clients, seconds / ROUNDS).rate)
        for rows, rates in bare.items():
            rates.append(networks.bare_rate(model, rows, seconds / 2 / ROUNDS))
    best = max(statistics.median(rates) for rates in bare.values())
    return {clients: statistics.median(rates) for clients, rates in served.items()}, best


def latency(server: Ours, model: bytes, request: bytes) -> list[Row]:
    """One client; blocks of requests, of bare inferences and of requests to servers that only answer, in turn."""
    session, feed = networks.session_of(model), {"image": networks.images(1)}
    served, bare, looped, threaded, floor = [], [], [], [], []
    usual = statistics.median(alone(session, feed))
    with bare_server("loop") as loop, bare_server("thread") as thread, bare_server("loop", usual) as busy:
        for _ in range(10):
            served += latencies(server.port, request, 200)
            looped += latencies(loop, request, 200)
            threaded += latencies(thread, request, 200)
            floor += [seconds - usual for seconds in latencies(busy, request, 200)]
            bare += alone(session, feed)
    one, other = statistics.median(served) * 1e6, statistics.median(bare) * 1e6
    return [
        row("p50 of the runtime alone", other, "us"),
        row("p50 served, one client", one, "us"),
        row("p99 served, one client", statistics.quantiles(served, n=100)[98] * 1e6, "us"),
        row("p50 of a server that only answers, in its loop", statistics.median(looped) * 1e6, "us"),
        row("p50 of a server that only answers, from a thread", statistics.median(threaded) * 1e6, "us"),
        row("p50 added by a server that only waits as long as the model", statistics.median(floor) * 1e6, "us"),
        row("p50 added by the server", one - other, "us", "<= 150", met=one - other <= 150),
    ]


def alone(session: Any, feed: dict[str, Any]) -> list[float]:
    """Seconds of 200 inferences without a server."""
    found = []
    for _ in range(200):
        begin = time.perf_counter()
        session.run(None, feed)
        found.append(time.perf_counter() - begin)
    return found


def beside(work: Path, options: argparse.Namespace, model: bytes, rate: float) -> list[Row]:
    """MLServer on the same model; its client's requests are JSON, as its own codec for arrays takes them."""
    python = installed(options.environments / "mlserver", ["mlserver==1.7.1", "onnxruntime"])
    image = networks.images(1)
    tensor = {"name": "image", "shape": list(image.shape), "datatype": "FP32", "data": image.ravel().tolist()}
    said = {"inputs": [tensor]}
    rates = []
    for workers in (0, 1):
        with mlserver(python, work / f"mlserver-{workers}", model, workers) as port:
            for request in (rendered(PATH, image), rendered_json(PATH, said)):
                if Connection(port).ask(request)[0] != 200:
                    continue
                saturate(port, request, 8, 1)
                rates += [saturate(port, request, n, options.seconds).rate for n in (8, 32)]
    if not rates:
        raise SystemExit("MLServer answers neither binary tensors nor JSON")
    times = rate / max(rates)
    return [
        row("MLServer, the best of its modes and of 8 and 32 clients", max(rates), "examples/s"),
        row("served over MLServer", times, "times", ">= 2", met=times >= 2),
    ]


def published(work: Path, options: argparse.Namespace) -> list[Row]:
    """KServe's clients; each check that they make is one row where it failed."""
    python = installed(options.environments / "kserve", ["kserve==0.21.0"])
    networks.registry_of(work / "published", [networks.tiny_network(1)])
    remote = free_port()
    with ours(work / "published", work / "published-cache", "--grpc-port", str(remote)) as server:
        script = Path(__file__).with_name("serving") / "kserve_client.py"
        command = [str(python), str(script), MODEL, str(server.port), str(remote)]
        said = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=work, timeout=120).stdout
    found: dict[str, bool] = json.loads(said.splitlines()[-1])
    rows = [row(f"KServe client, {name}", 0, "passed", "1", met=False) for name, passed in found.items() if not passed]
    passed, every = sum(found.values()), len(found)
    return [*rows, row(f"KServe 0.21.0's clients: checks passed of {every}", passed, "", "all", met=passed == every)]


def faults(work: Path, options: argparse.Namespace) -> list[Row]:
    """Moves and kills, on a tiny network whose answers say which version they are of."""
    rows, registry = [], work / "moving"
    digests = networks.registry_of(registry, [networks.tiny_network(n) for n in (1, 2, 3)])
    with ours(registry, work / "moving-cache") as server:
        if "moves" in options.only:
            seen, seconds = moving.moves(registry, digests, server, options.moves, options.requests)
            rows += [
                row(f"slowest of {options.moves} moves, commit to served", max(seconds), "s", "<= 2",
                    met=max(seconds) <= 2),
                row("median move", statistics.median(seconds), "s"),
                row(f"failed of {seen.asked} requests", seen.failed, "requests", "0", met=seen.failed == 0),
                row("answers by another version than they say", seen.wrong_version, "requests", "0",
                    met=seen.wrong_version == 0),
            ]  # fmt: skip
        if "kills" in options.only:
            seen, sent, counted = moving.kills(registry, digests, server, options.kills)
            wrong = seen.wrong_version + seen.failed
            rows += [
                row(f"wrong version, digest or answer, {options.kills} kills", wrong, "requests", "0", met=wrong == 0),
                row(f"feedback lost of {sent}", sent - counted + len(seen.problems), "labels", "0",
                    met=sent == counted and not seen.problems),
            ]  # fmt: skip
            print("\n".join(seen.problems[:5]), file=sys.stderr)
    return rows


if __name__ == "__main__":
    main()
