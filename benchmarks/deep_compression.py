"""Deep Compression on Fashion-MNIST: how small LeNet-300-100 and LeNet-5 become as stock ONNX files.

Prune with a cubic schedule, share by k-means with trained centroids, pack: three steps of an ordinary recipe, run as
the pipeline runs them. Bytes are those of the stored `.onnx` file, decoder and codebooks included, against the stored
fp32 `.onnx` file; accuracy is that of onnxruntime on the file, on all 10,000 test images. The reference is Deep
Compression (Han et al., 2016, arXiv:1510.00149): 40x and 39x without loss, on MNIST, which is easier, and in a format
that only its own runtime reads. The recipes train for 24 and 7 epochs, the baselines for 12 and 5.

    apt-get install dataset-fashion-mnist
    python benchmarks/deep_compression.py --json figures.json --plot curve.png
"""

from __future__ import annotations

import argparse
import copy
import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.plots import deep_compression as curve
from benchmarks.plots import save
from weighbridge.compress.export.onnxruntime import ONNXRUNTIME
from weighbridge.compress.recipe.compose import compose, export_baseline
from weighbridge.compress.recipe.recipe import read_steps
from weighbridge.compress.recipe.recipe_run import BuiltArtifact
from weighbridge.compress.steps import Context, Subject
from weighbridge.compress.training.loop import fit
from weighbridge.compress.training.objective import deterministic
from weighbridge.compress.training.splits import calibration
from weighbridge.core.documents import RecipeSection, TrainSection
from weighbridge.core.errors import InputError, WeighbridgeError
from weighbridge.data import Data, Split

PACKAGE = "dataset-fashion-mnist"
SEED = 7
MARGIN = 0.005
"""Half a point of accuracy."""


class LeNet300(nn.Module):
    """LeNet-300-100: images (n, 1, 28, 28) in [0, 1] → logits (n, 10); 266,610 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.classes = nn.Linear(784, 300), nn.Linear(300, 100), nn.Linear(100, 10)

    def forward(self, image: Tensor) -> Tensor:
        """Classify a batch."""
        return self.classes(torch.relu(self.two(torch.relu(self.one(image.flatten(1))))))


class LeNet5(nn.Module):
    """LeNet-5 in the form of Caffe, as Deep Compression takes it: 431,080 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 20, 5), nn.Conv2d(20, 50, 5)
        self.hidden, self.classes = nn.Linear(800, 500), nn.Linear(500, 10)

    def forward(self, image: Tensor) -> Tensor:
        """Classify a batch."""
        found = torch.max_pool2d(self.two(torch.max_pool2d(self.one(image), 2)), 2)
        return self.classes(torch.relu(self.hidden(found.flatten(1))))


@dataclass(frozen=True)
class Point:
    """One point of the curve: how much is pruned, and how many bits the shared values have."""

    sparsity: float
    bits: int


@dataclass(frozen=True)
class Case:
    """One network: how it is trained, the recipe's training, and the points of its curve."""

    factory: Callable[[], nn.Module]
    reference: float
    """What Deep Compression reports for this network on MNIST."""
    train: TrainSection
    prune: dict[str, Any]
    share: dict[str, Any]
    points: tuple[Point, ...]
    headline: Point


CASES = {
    "LeNet-300-100": Case(
        LeNet300,
        40.0,
        TrainSection(epochs=12, batch_size=128, lr=0.002, seed=SEED),
        {"epochs": 20, "lr": 0.003},
        {"epochs": 4, "lr": 0.001},
        (Point(0.85, 4), Point(0.92, 4), Point(0.95, 3), Point(0.96, 3), Point(0.97, 3)),
        Point(0.95, 3),
    ),
    "LeNet-5": Case(
        LeNet5,
        39.0,
        TrainSection(epochs=5, batch_size=128, lr=0.002, seed=SEED),
        {"epochs": 5, "lr": 0.002},
        {"epochs": 2, "lr": 0.0005},
        (Point(0.9, 4), Point(0.94, 3), Point(0.96, 3), Point(0.97, 3)),
        Point(0.94, 3),
    ),
}


def data_folder() -> Path:
    """Where the Debian package put its files."""
    listed = subprocess.run(["dpkg-query", "-L", PACKAGE], capture_output=True, text=True, check=False).stdout
    for line in listed.splitlines():
        if line.endswith("train-images-idx3-ubyte.gz"):
            return Path(line).parent
    raise InputError(f"the Debian package {PACKAGE} is not installed", where="data", fix=f"apt-get install {PACKAGE}")


def read_idx(path: Path) -> np.ndarray:
    """A gzipped IDX file of unsigned bytes as an array of its shape."""
    try:
        raw = gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise InputError(f"cannot be read: {error}", where=str(path)) from error
    axes = raw[3] if len(raw) > 4 and raw[:3] == b"\0\0\x08" else 0
    shape = [int.from_bytes(raw[4 + 4 * axis : 8 + 4 * axis]) for axis in range(axes)]
    body = np.frombuffer(raw, dtype=np.uint8, offset=4 + 4 * axes)
    if not axes or body.size != np.prod(shape):
        raise InputError("is no IDX file of unsigned bytes, or is cut off", where=str(path))
    return body.reshape(shape)


def load(folder: Path) -> Data:
    """All 60,000 train and 10,000 test images."""

    def split(name: str) -> Split:
        images = read_idx(folder / f"{name}-images-idx3-ubyte.gz")
        labels = read_idx(folder / f"{name}-labels-idx1-ubyte.gz")
        return Split({"image": (images[:, None] / 255).astype(np.float32)}, labels.astype(np.int64))

    train = split("train")
    return Data(train=train, test=split("t10k"), calibration=calibration(train, None, SEED, "data"))


def accuracy(artifact: bytes, test: Split) -> float:
    """Share of the test images that onnxruntime classifies right with the file."""
    found = ONNXRUNTIME.run(artifact, test.inputs)[0]
    return float((found.argmax(1) == test.labels).mean())


def run_case(name: str, case: Case, data: Data, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Train the baseline, then run the recipe of every point; one row each."""
    with deterministic(SEED):
        module = case.factory()
    clock = Clock()
    fit(module, data.train, case.train, seed=SEED, stage=name)
    context = Context(
        data=data,
        train=case.train,
        seed=SEED,
        baseline=lambda: copy.deepcopy(module),
        teacher=lambda _: (copy.deepcopy(module), ""),
        progress=lambda *_, **__: None,
    )
    baseline = export_baseline(Subject(copy.deepcopy(module)), context, ONNXRUNTIME)
    base = {"net": name, "sparsity": 0.0, "bits": 32, "headline": False, **figures(baseline, baseline, data.test)}
    rows = [{**base, "cpu_seconds": clock.seconds()}]
    say(f"{name}: baseline {rows[0]['top1']:.4f}, {rows[0]['bytes']} B, {rows[0]['cpu_seconds']:.0f} s")
    for point in case.points:
        clock = Clock()
        steps = [
            {"prune": {"sparsity": point.sparsity, "schedule": "cubic", "finetune": case.prune}},
            {"share": {"bits": point.bits, "biases": 4, "finetune": case.share}},
            {"pack": {}},
        ]
        validated = read_steps(RecipeSection(steps=steps), name)
        artifact = compose(validated, Subject(copy.deepcopy(module)), context, ONNXRUNTIME)
        own = {"net": name, "sparsity": point.sparsity, "bits": point.bits, "headline": point == case.headline}
        rows.append({**own, **figures(artifact, baseline, data.test), "cpu_seconds": clock.seconds()})
        say(f"{name}: {point} {rows[-1]['top1']:.4f}, {rows[-1]['bytes']} B, {rows[-1]['ratio']:.1f}x")
    return rows


class Clock:
    """CPU seconds of this process since it was made."""

    def __init__(self) -> None:
        self._began = time.process_time()

    def seconds(self) -> float:
        """CPU seconds."""
        return round(time.process_time() - self._began, 1)


def figures(artifact: BuiltArtifact, baseline: BuiltArtifact, test: Split) -> dict[str, Any]:
    """Bytes and accuracy of one file."""
    return {
        "bytes": len(artifact.data),
        "ratio": len(baseline.data) / len(artifact.data),
        "zstd": artifact.sizes.zstd,
        "top1": accuracy(artifact.data, test),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The curve as a markdown table."""
    lines = [
        "| net | pruned | bits | bytes | ratio | top-1 | change, points | CPU, s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    base = {item["net"]: item["top1"] for item in rows if item["bits"] == 32}
    for item in rows:
        cells = [
            item["net"],
            f"{item['sparsity']:.1%}" if item["sparsity"] else "fp32",
            str(item["bits"]),
            f"{item['bytes']:,}",
            f"**{item['ratio']:.1f}**" if item["headline"] else f"{item['ratio']:.1f}",
            f"{item['top1']:.2%}",
            f"{100 * (item['top1'] - base[item['net']]):+.2f}",
            f"{item['cpu_seconds']:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def bars(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The headline points against Deep Compression's ratios; one beyond the margin of accuracy counts as not met."""
    base = {item["net"]: item["top1"] for item in rows if item["bits"] == 32}
    found = {}
    for item in rows:
        if item["headline"]:
            within = base[item["net"]] - item["top1"] <= MARGIN
            target = CASES[item["net"]].reference
            found[f"{item['net']} stored ratio at {100 * MARGIN:.1f} point"] = {
                "value": round(item["ratio"], 2),
                "target": target,
                "drop_points": round(100 * (base[item["net"]] - item["top1"]), 2),
                "met": bool(within and item["ratio"] >= target),
            }
    return found


def main() -> int:
    """Run the cases asked for, print the table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with the four IDX files; the Debian package's by default")
    parser.add_argument("--net", choices=sorted(CASES), action="append", help="only this network (repeatable)")
    parser.add_argument("--json", type=Path, help="write rows and bars to this file")
    parser.add_argument("--plot", type=Path, help="draw the curves into this file")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    try:
        data = load(chosen.data or data_folder())
        rows = [
            item
            for name, case in CASES.items()
            if not chosen.net or name in chosen.net
            for item in run_case(name, case, data, lambda text: print(text, file=sys.stderr, flush=True))
        ]
    except WeighbridgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return int(error.exit_code)
    if chosen.plot:
        save(curve(rows, {name: case.reference for name, case in CASES.items()}, 100 * MARGIN), chosen.plot)
    print(table(rows))
    found = bars(rows)
    for name, bar in found.items():
        print(f"\n{name}: {bar['value']}x (reference {bar['target']:.0f}x): {'met' if bar['met'] else 'not met'}")
    if chosen.json:
        chosen.json.write_text(json.dumps({"rows": rows, "bars": found}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
