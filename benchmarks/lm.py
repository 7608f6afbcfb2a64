"""Does the gate rank a language model's formats rightly, and does it find a small divergence that was planted?

    python benchmarks/lm.py --json lm.json [--project FOLDER]

The model of `examples/lm` is trained (or taken from a copy of that example in which `prepare`, `train` and `baseline`
have run), and lowered to half precision and to eight, four and three bits. Every number goes through the gate's own
metrics, intervals and judge.

- *Ladder*: 20 resamples of test documents, drawn with replacement; in each, `lm.kld` must rank fp16 < int8 < int4 <
  int3. Beside it: in how many the gate's bounds lie apart from each other too.
- *Planted*: noise on the logits of int4 adds 0.01 nats to its mean divergence over all documents. The limit is what
  int4 has without it; resamples must fail for the planted file, and not for the one that lies at the limit exactly.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.compress import stages
from weighbridge.compress.export.onnxruntime import export
from weighbridge.compress.graph.feeds import fed_as
from weighbridge.compress.graph.sessions import session
from weighbridge.compress.recipe.project_folder import Project
from weighbridge.compress.recipe.teachers import Teachers
from weighbridge.compress.steps import Context, Graph
from weighbridge.compress.techniques.quantize import Quantize, lower
from weighbridge.core.documents import (
    Budget,
    BudgetVerdict,
    Comparison,
    Device,
    Measurement,
    Protocol,
    Resampled,
    TaskSection,
    Verdict,
    Weighed,
)
from weighbridge.core.files import sha256_bytes, write_json
from weighbridge.core.progress import silent
from weighbridge.data import Split
from weighbridge.gate.measure.fingerprint import describe
from weighbridge.gate.verdict.judge import judge
from weighbridge.gate.weighing.accuracy import measure
from weighbridge.gate.weighing.paired_answers import Answers

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "lm"
TASK = TaskSection(kind="language-model")
BLOCKS = {"kernel": "matmulnbits", "block_size": 32, "keep": ("embedding",), "agreement": 0}
FORMS: Mapping[str, Mapping[str, Any]] = {
    "fp16": {"scheme": "fp16"},
    "int8": {"scheme": "weight-int8"},
    "int4": {"scheme": "weight-int4", **BLOCKS},
    "int3": {"scheme": "weight-int4", "levels": 8, **BLOCKS},
    "int8, blocks": {"scheme": "weight-int8", **BLOCKS},
    "int4, zero points": {"scheme": "weight-int4", "symmetric": False, **BLOCKS},
    "int4, GPTQ": {"scheme": "weight-int4", "rounding": "gptq", **BLOCKS},
    "int4, GPTQ, zero points": {"scheme": "weight-int4", "rounding": "gptq", "symmetric": False, **BLOCKS},
    "int3, GPTQ": {"scheme": "weight-int4", "levels": 8, "rounding": "gptq", **BLOCKS},
}
LADDER = ("fp16", "int8", "int4", "int3")
RESAMPLES, TRIALS, DOCUMENTS = 20, 100, 60
"""Resamples of the ladder; those of the planted divergence, and the documents that each of these has."""
PLANTED = 0.01
Array = NDArray[Any]


@dataclass(frozen=True)
class Texts:
    """Whole documents (n, tokens) with their next tokens."""

    tokens: Array
    labels: Array
    past: Array


def whole(split: Split, pieces: int = 2) -> Texts:
    """The example's documents, each read at once."""
    tokens, labels = split.inputs["tokens"], split.labels
    rows = len(tokens) // pieces
    return Texts(tokens.reshape(rows, -1), labels.reshape(rows, -1), split.inputs["past"][:1])


def logits(graph: Graph, texts: Texts) -> Array:
    """What a file gives at each position, (n, tokens, vocabulary)."""
    runner = session(graph.proto, "benchmark")
    rows = [runner.run(None, {"tokens": row[None], "past": texts.past})[0][0] for row in texts.tokens]
    return np.stack(rows).astype(np.float32)


def lowered(folder: Path) -> Iterator[tuple[str, int, float, Array, Array]]:
    """By form: bytes, seconds of the step, and the logits; the baseline's labels come with each."""
    project = Project(folder)
    data, _ = project.data()
    with fed_as(project.params.inputs):
        module = project.trained_module()
        assert data.calibration is not None  # `prepare` wrote it
        graph = export(module, data.calibration)
        teachers = Teachers(project, "onnxruntime")
        context = Context(data, project.params.train, 7, lambda: module, teachers, silent, TASK)
        texts = whole(data.test)
        yield "baseline", graph.proto.ByteSize(), 0.0, logits(graph, texts), texts.labels
        for name, form in FORMS.items():
            begin = time.perf_counter()
            made, _ = lower(Quantize.model_validate(form), graph, context)
            seconds = time.perf_counter() - begin
            yield name, made.proto.ByteSize(), seconds, logits(made, texts), texts.labels


def judged(budget: Budget, answers: Answers, device: Device, seed: int) -> BudgetVerdict:
    """One budget on one set of documents, by the gate's metric, bounds and judge."""
    digest = sha256_bytes(b"lm")
    weighed = {name: Weighed(name=name, digest=digest, bytes=1) for name in ("baseline", "candidate")}
    evidence = measure(budget.metric, answers, seed=seed)
    measurement = Measurement(
        **weighed,
        device=device,
        data=digest,
        examples=len(answers.labels),
        protocol=Protocol(
            seed=seed, threads=1, batch_size=1, looks=[], elapsed_seconds=0, time_limit_seconds=1, complete=True
        ),
        comparisons=[Comparison(against="baseline", reference=weighed["baseline"], metrics={budget.metric: evidence})],
    )
    return judge(measurement, [budget]).budgets[0]


def drawn(ours: Array, theirs: Array, labels: Array, chosen: Array) -> Answers:
    """Answers of both models to the chosen documents."""
    return Answers([ours[chosen]], [theirs[chosen]], labels[chosen], task=TASK)


def value(metric: str, answers: Answers) -> float:
    """The candidate's value of a metric over all documents."""
    evidence = measure(metric, answers, seed=1)
    assert isinstance(evidence, Resampled), evidence
    return evidence.candidate


def ladder(found: Mapping[str, Array], labels: Array, device: Device) -> list[dict[str, Any]]:
    """For each resample the divergence of each form with its bounds."""
    rows = []
    for seed in range(RESAMPLES):
        chosen = np.random.default_rng(seed).integers(0, len(labels), len(labels))
        row = {}
        for name in LADDER:
            answers = drawn(found["baseline"], found[name], labels, chosen)
            item = judged(Budget(metric="lm.kld", max=1.0), answers, device, seed)
            row[name] = [item.estimate, item.lower, item.upper]
        rows.append(row)
        print("ladder", seed, {name: f"{value[0]:.6f}" for name, value in row.items()}, flush=True)
    return rows


def planted(ours: Array, theirs: Array, labels: Array) -> Array:
    """The candidate's logits with as much noise as adds `PLANTED` to its mean divergence over all documents."""
    noise = np.random.default_rng(5).standard_normal(theirs.shape).astype(np.float32)
    everything = np.arange(len(labels))

    def mean(logits_of: Array) -> float:
        return value("lm.kld", drawn(ours, logits_of, labels, everything))

    wanted, low, high = mean(theirs) + PLANTED, 0.0, 1.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if mean(theirs + middle * noise) < wanted else (low, middle)
    return np.asarray(theirs + high * noise)


def trials(found: Mapping[str, Array], labels: Array, device: Device) -> dict[str, float]:
    """The share of resamples in which the planted file fails, and in which the file at the limit does."""
    ours, theirs = found["baseline"], found["int4"]
    everything = drawn(ours, theirs, labels, np.arange(len(labels)))
    limit = value("lm.kld", everything)
    files = {"planted": planted(ours, theirs, labels), "at the limit": theirs}
    counts = dict.fromkeys(files, 0)
    for seed in range(TRIALS):
        chosen = np.random.default_rng([seed, 1]).integers(0, len(labels), DOCUMENTS)
        for name, file in files.items():
            item = judged(Budget(metric="lm.kld", max=limit), drawn(ours, file, labels, chosen), device, seed)
            counts[name] += item.verdict is Verdict.FAIL
    return {"limit": limit, **{name: count / TRIALS for name, count in counts.items()}}


def bars(steps: list[dict[str, Any]], shares: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """What was reached beside what is asked."""
    right = sum(all(row[a][0] < row[b][0] for a, b in pairwise(LADDER)) for row in steps)
    apart = sum(all(row[a][2] < row[b][1] for a, b in pairwise(LADDER)) for row in steps)
    return {
        "ladder": {"value": right, "target": RESAMPLES, "met": right == RESAMPLES, "bounds_apart": apart},
        "planted": {"value": shares["planted"], "target": 0.95, "met": shares["planted"] >= 0.95},
        "at_the_limit": {"value": shares["at the limit"], "target": 0.05, "met": shares["at the limit"] <= 0.05},
    }


def main() -> int:
    """Run, print, write; exit code 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--project", type=Path, help="a copy of examples/lm with prepare, train and baseline run")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = (given.project or Path(scratch) / "lm").resolve()
        if given.project is None:
            shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__*"))
        os.chdir(folder)
        if given.project is None:
            stages.prepare(folder)
            stages.train(folder)
            stages.baseline(folder)
        device = describe({})
        rows, found = [], {}
        for name, size, seconds, values, labels in lowered(folder):
            found[name] = values
            answers = drawn(found["baseline"], values, labels, np.arange(len(labels)))
            numbers = {
                metric: measure(metric, answers, seed=1).candidate for metric in ("lm.nll", "lm.kld", "lm.same_top")
            }  # type: ignore[union-attr]
            rows.append({"form": name, "bytes": size, "seconds": round(seconds, 1), **numbers})
            print(rows[-1], flush=True)
        steps = ladder(found, labels, device)
        shares = trials(found, labels, device)
    result = {"rows": rows, "ladder": steps, "trials": shares, "bars": bars(steps, shares)}
    write_json(given.json, result)
    for name, item in result["bars"].items():
        print(f"{name}: {item['value']} (target {item['target']}) {'met' if item['met'] else 'MISSED'}")
    return 0 if all(item["met"] for item in result["bars"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
