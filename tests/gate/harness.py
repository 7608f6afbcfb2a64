"""A user's harness as one might write it: onnxruntime in this process, told on its command line how to misbehave."""

import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray


def digest(path: Path) -> str:
    with Path(path).open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def describe(_: object) -> dict[str, Any]:
    return {
        "cpu": "Test board", "isa": ["neon"], "cores": 4, "memory_bytes": 2**30, "system": "Zephyr 4",
        "runtimes": {"onnxruntime": onnxruntime.__version__}, "clock_ns": 40,
    }  # fmt: skip


def inputs_of(request: dict[str, Any]) -> Any:
    with np.load(request["inputs"]) as inputs:
        return inputs[inputs.files[0]]


def answer(request: dict[str, Any]) -> dict[str, str]:
    path = request["model"]["files"][0][0]
    session = onnxruntime.InferenceSession(path)
    with np.load(request["inputs"]) as inputs:
        outputs = session.run(None, dict(inputs))
    np.savez(request["write"], **{str(index): outputs[index] for index in request["outputs"]})
    return {"digest": digest(path)}


def launch(request: dict[str, Any]) -> dict[str, list[dict[str, str]]]:
    with np.load(request["inputs"]) as inputs:
        arrays = dict(inputs)
    roles, sessions = {}, {}
    for role, model in request["models"].items():
        path = model["files"][0][0]
        begin = time.perf_counter_ns()
        sessions[role] = onnxruntime.InferenceSession(path)
        loaded = time.perf_counter_ns()
        run(sessions[role], arrays, 0)
        first = time.perf_counter_ns() - loaded
        roles[role] = {
            "digest": digest(path),
            "load_ns": loaded - begin,
            "first_ns": first,
            "memory": 9_000_000,
            "empty": 8_000_000,
        }
    rng = np.random.default_rng(request["seed"])
    rounds = []
    for _ in range(request["protocol"]["fewest_rounds"]):
        bursts = {}
        for role in rng.permutation(list(sessions)).tolist():
            begin, times = time.perf_counter_ns(), []
            for index in range(10):
                before = time.perf_counter_ns()
                run(sessions[role], arrays, index)
                times.append(time.perf_counter_ns() - before)
            bursts[role] = {"ns": times, "elapsed_ns": time.perf_counter_ns() - begin}
        rounds.append({"bursts": bursts})
    return {"roles": roles, "phases": [{"name": "latency", "rounds": rounds}]}


def run(session: Any, arrays: dict[str, Any], index: int) -> list[NDArray[Any]]:
    return session.run(None, {name: array[index % len(array)][None] for name, array in arrays.items()})


def main() -> None:
    request = json.load(sys.stdin)
    said = {"describe": describe, "answer": answer, "launch": launch}[request["operation"]](request)
    exec(sys.argv[1] if len(sys.argv) > 1 else "", {**globals(), "said": said, "request": request})
    json.dump(said, sys.stdout)


main()
