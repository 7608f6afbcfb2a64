"""Time that the gate adds to a pull request beyond weighing itself: start-up, restore, report.

A small project is made by `weighbridge init`, and `weighbridge ci gate` is run on it as `gate.yml` does, from a fresh
clone with the DVC remote at hand. Stages of the pipeline are timed by running `dvc repro` on the same change alone;
what the gate takes beyond that is overhead. `--project DIR` takes a repository of your own instead (clean, pushed).

    python benchmarks/ci.py --json figures.json

The bar: a change to the documentation is through in under 30 s after installation.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

BAR_SECONDS = 30.0
PARAMS = "params.yaml"


@dataclass(frozen=True)
class Row:
    """One kind of change."""

    change: str
    gate_seconds: float
    """`weighbridge ci gate`, median over the repetitions."""
    pipeline_seconds: float
    """`dvc repro --pull` alone on the same change, median."""
    repetitions: int
    gate_processor_seconds: float
    """What the gate spends of a processor, its children included, median: a busy machine alters it least."""

    @property
    def overhead_seconds(self) -> float:
        """What the gate adds."""
        return max(0.0, self.gate_seconds - self.pipeline_seconds)


def timed(folder: Path, command: list[str], accepted: tuple[int, ...] = (0,)) -> tuple[float, float]:
    """Seconds that a command takes, and of a processor; another exit code than those accepted is an error."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    begin, spent = time.perf_counter(), _spent()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begin, _spent() - spent
    if done.returncode not in accepted:
        raise SystemExit(f"{command} exited {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return seconds


def _spent() -> float:
    return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def clone(origin: Path, folder: Path) -> Path:
    """A fresh clone, as a runner has it, on a branch of its own."""
    subprocess.run(["git", "clone", "--quiet", str(origin), str(folder)], check=True)
    for key, value in (("user.name", "benchmark"), ("user.email", "benchmark@example.invalid")):
        subprocess.run(["git", "config", key, value], cwd=folder, check=True)
    subprocess.run(["git", "switch", "--quiet", "--create", "change"], cwd=folder, check=True)
    return folder


def commit(folder: Path) -> None:
    """Commit every change."""
    subprocess.run(["git", "commit", "--quiet", "--all", "--message", "change"], cwd=folder, check=True)


def documentation(folder: Path) -> None:
    """A change that no stage depends on."""
    readme = folder / "README.md"
    readme.write_text(readme.read_text() + "\nMore words.\n")


def budget(folder: Path) -> None:
    """A change that is judged and weighed, and builds nothing."""
    path = folder / PARAMS
    path.write_text(path.read_text().replace("budgets:\n", "budgets:\n  - {metric: size.gzip, max: 10MB}\n"))


CHANGES: dict[str, Callable[[Path], None]] = {"documentation only": documentation, "one more budget": budget}


def measure(origin: Path, home: Path, repetitions: int, *options: str) -> list[Row]:
    """Time each kind of change in fresh clones, the gate and the pipeline alone taking turns."""
    rows = []
    for name, change in CHANGES.items():
        gate: list[tuple[float, float]] = []
        pipeline: list[tuple[float, float]] = []
        for number in range(repetitions):
            for kind, seconds in (("gate", gate), ("pipeline", pipeline)):
                folder = clone(origin, home / f"{name.split()[0]}-{kind}-{number}")
                change(folder)
                commit(folder)
                if kind == "gate":
                    seconds.append(
                        timed(folder, ["weighbridge", "ci", "gate", "--base", "origin/main", *options], (0, 1, 3))
                    )
                else:
                    # A change that touches nothing runs no pipeline at all.
                    idle = change is documentation
                    seconds.append((0.0, 0.0) if idle else timed(folder, ["dvc", "repro", "--pull"]))
                shutil.rmtree(folder)
        wall, of_pipeline = (statistics.median(seconds for seconds, _ in taken) for taken in (gate, pipeline))
        processor = statistics.median(seconds for _, seconds in gate)
        rows.append(Row(name, wall, of_pipeline, repetitions, processor))
    return rows


def small_project(home: Path) -> Path:
    """The project that the tests run under `act`; returns its bare repository."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from tests.pipeline.act_bench import make

    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )  # fmt: skip
    make(home / "project", public.decode(), "")
    return home / "project" / "origin.git"


def main() -> None:
    """Print the table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write rows and bars to this file")
    parser.add_argument("--project", type=Path, help="a repository of your own, cloned from where it is pushed to")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--gate-option", action="append", default=[], help="for `ci gate`, such as --no-portable")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        origin = options.project.resolve() if options.project else small_project(home)
        start = statistics.median(timed(home, ["weighbridge", "--version"])[0] for _ in range(5))
        rows = measure(origin, home, options.repetitions, *options.gate_option)
    print(f"start-up of the command: {start:.2f} s\n")
    print(
        "| change | gate, s | of which pipeline, s | added by the gate, s | of a processor, s |\n|---|---|---|---|---|"
    )
    for row in rows:
        walls = f"{row.gate_seconds:.1f} | {row.pipeline_seconds:.1f} | {row.overhead_seconds:.1f}"
        print(f"| {row.change} | {walls} | {row.gate_processor_seconds:.1f} |")
    docs = next(row for row in rows if row.change == "documentation only")
    met = docs.gate_seconds < BAR_SECONDS
    bars = {"documentation_only_gate_seconds": {"value": docs.gate_seconds, "target": BAR_SECONDS, "met": met}}
    print(f"\ndocumentation only: {docs.gate_seconds:.1f} s (bar: under {BAR_SECONDS:.0f} s)")
    if options.json:
        figures = [{**asdict(row), "overhead_seconds": row.overhead_seconds} for row in rows]
        options.json.write_text(json.dumps({"startup_seconds": start, "rows": figures, "bars": bars}, indent=2) + "\n")
    if not met:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
