"""Two people, two models, one repository: pull requests merged in random order while canaries are open.

Real Git (a bare remote, a clone for each person and each run of CI), real DVC with a remote, and the commands that the
workflows call (`ci gate`, `ci promote`; no emulator of other processors, as on a hosted runner), or with `--act` the
workflow files themselves. A pull request changes one
recipe of one model to bytes that were never there; authors commit `params.yaml` alone. What is counted:

- arrived: merges whose bytes are a version of the registry afterwards (bar: all)
- conflicts: merges that a person had to settle by hand (bar: 0)
- weighed beyond: recipes that a gate weighed although the change did not touch their model (bar: 0)
- verified: fresh clones that `dvc pull` and `registry verify --deep` after each merge (bar: all)

    python benchmarks/team.py --merges 20 --json figures.json
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import yaml

from tests.pipeline.act_bench import Bench, Finished, make_two, prepared_python

MODELS = ("a", "b")
_WEIGHED = re.compile(r"Running stage '(?:.*:)?weigh@")


@dataclass
class Figures:
    """What was counted."""

    merged: int = 0
    arrived: int = 0
    conflicts: int = 0
    weighed_beyond: int = 0
    verified: int = 0
    recorded_during_a_canary: int = 0
    gate_seconds: list[float] = field(default_factory=list)
    promote_seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Team:
    """The repository, the people, and how CI is run."""

    home: Path
    figures: Figures
    act: bool

    def clone(self, name: str) -> Bench:
        """A fresh clone."""
        shutil.rmtree(self.home / name, ignore_errors=True)
        return Bench(self.home).clone(name)

    def gate(self, bench: Bench) -> Finished:
        """The gate on a branch, as a pull request."""
        begin = time.perf_counter()
        done = bench.pull_request() if self.act else self._run(bench, "gate", "--no-portable", "--base", "origin/main")
        self.figures.gate_seconds.append(time.perf_counter() - begin)
        return done

    def promote(self) -> Finished:
        """What a push to main starts: the gate, then promotion."""
        begin = time.perf_counter()
        bench = self.clone("ci")
        if self.act:
            done = bench.act("push", "promote", bench.pushed())
        else:
            done = self._run(bench, "gate", "--no-portable")
            if done.code == 0:
                evidence = self.home / "evidence"
                shutil.rmtree(evidence, ignore_errors=True)
                shutil.copytree(bench.work / ".weighbridge/ci/evidence", evidence)
                other = self.clone("promoting")
                promoted = self._run(other, "promote", "--evidence", str(evidence))
                done = Finished(promoted.code, done.log + promoted.log, "")
        self.figures.promote_seconds.append(time.perf_counter() - begin)
        return done

    def _run(self, bench: Bench, *arguments: str) -> Finished:
        done = subprocess.run(
            ["weighbridge", "ci", *arguments], cwd=bench.work, env=bench.environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        return Finished(done.returncode, done.stdout + done.stderr, "")


def open_pull_request(team: Team, model: str, number: int) -> Bench:
    """A branch of one of two people with one recipe changed to bytes that were never there; gated."""
    bench = team.clone(f"person-{model}")
    bench.branch(f"change-{number}")
    path = bench.work / f"models/{model}/params.yaml"
    content = yaml.safe_load(path.read_text())
    sparsity = round(0.05 + 0.02 * number, 3)
    content["recipes"]["small"]["steps"] = [
        {"prune": {"method": "magnitude", "sparsity": sparsity}}, {"quantize": {"scheme": "fp16"}}
    ]  # fmt: skip
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    bench.commit(f"{model}: prune {sparsity:g} (#{number})")
    done = team.gate(bench)
    if done.code != 0:
        raise SystemExit(f"the gate refused pull request {number}:\n{done.log[-4000:]}")
    other = next(name for name in MODELS if name != model)
    team.figures.weighed_beyond += len(re.findall(rf"clouds-{other} is gated", done.log))
    team.figures.weighed_beyond += max(0, len(_WEIGHED.findall(done.log)) - 1)
    bench.run("git", "checkout", "--quiet", "--", ".")
    return bench


def merge(team: Team, bench: Bench) -> None:
    """Merge on top of whatever main is now; what does not merge cleanly is a conflict."""
    bench.run("git", "fetch", "--quiet", "origin")
    branch = bench.run("git", "branch", "--show-current").strip()
    bench.run("git", "switch", "--quiet", "--detach", "origin/main")
    try:
        bench.run("git", "merge", "--quiet", "--no-ff", "-m", f"Merge {branch}", branch)
    except AssertionError:
        team.figures.conflicts += 1
        raise SystemExit(f"{branch} does not merge by itself") from None
    bench.run("git", "push", "--quiet", "origin", "HEAD:main")
    team.figures.merged += 1


def look(team: Team, model: str, before: int) -> None:
    """A fresh clone: the version is there, its bytes can be pulled, and everything verifies."""
    fresh = team.clone("fresh")
    channels = yaml.safe_load((fresh.work / f"registry/models/clouds-{model}/channels.yaml").read_text())
    team.figures.arrived += channels["versions"] == before + 1
    event = json.loads(fresh.run("weighbridge", "registry", "history", f"clouds-{model}", "-n", "1", "--json"))[0]
    team.figures.recorded_during_a_canary += event["kind"] == "recorded"
    fresh.run("dvc", "pull", "--quiet")
    fresh.run("weighbridge", "registry", "verify", "--deep")
    team.figures.verified += 1


def versions(team: Team, model: str) -> int:
    """How many versions a model has."""
    path = team.clone("looking").work / f"registry/models/clouds-{model}/channels.yaml"
    return int(yaml.safe_load(path.read_text())["versions"]) if path.exists() else 0


def end_a_canary(team: Team, model: str) -> None:
    """Somebody advances the canary of a model to its end, if there is one."""
    bench = team.clone("operator")
    while "canary" in yaml.safe_load((bench.work / f"registry/models/clouds-{model}/channels.yaml").read_text()):
        bench.run("weighbridge", "registry", "canary", "advance", f"clouds-{model}", "--reason", "seen enough")


def play(team: Team, options: argparse.Namespace, generator: random.Random) -> None:
    """All pull requests: two are open at a time, one a model; which is merged first is chance. The figures are written
    after each pair, so that a run that is stopped leaves what it counted.
    """
    pull_requests = options.pull_requests
    first = team.promote()
    if first.code != 0:
        raise SystemExit(f"the first promotion failed:\n{first.log[-4000:]}")
    for number in range(1, pull_requests + 1, 2):
        models = list(MODELS[: pull_requests - number + 1])
        opened = {model: open_pull_request(team, model, number + index) for index, model in enumerate(models)}
        generator.shuffle(models)
        for model in models:
            before = versions(team, model)
            merge(team, opened[model])
            done = team.promote()
            if done.code != 0:
                raise SystemExit(f"promotion failed:\n{done.log[-4000:]}")
            look(team, model, before)
            if generator.random() < 0.5:
                end_a_canary(team, model)
        print(f"{team.figures.merged} of {pull_requests} merged, {team.figures.arrived} arrived", flush=True)
        if options.json:
            content = {"pull_requests": pull_requests, "act": options.act, "seed": options.seed,
                       "rows": [asdict(team.figures)], "minutes": minutes_of(team.figures),
                       "bars": bars_of(team.figures)}  # fmt: skip
            options.json.write_text(json.dumps(content, indent=2) + "\n")


def main() -> None:
    """Print the table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--merges", type=int, default=20, dest="pull_requests", help="pull requests to merge")
    parser.add_argument("--act", action="store_true", help="run the workflow files by act instead of their commands")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        prepared_python(Path(folder) / "python")
        make_two(Path(folder) / "project")
        team = Team(Path(folder) / "project", Figures(), options.act)
        play(team, options, random.Random(options.seed))
    bars = bars_of(team.figures)
    print("\n| what | value | bar | met |\n|---|---|---|---|")
    for name, bar in bars.items():
        print(f"| {name} | {bar['value']} | {bar['target']} | {'yes' if bar['met'] else 'no'} |")
    minutes = minutes_of(team.figures)
    print(f"\nminutes a pull request, median: gate {minutes['gate']:.1f}, promotion {minutes['promote']:.1f}")
    if not all(bar["met"] for bar in bars.values()):
        raise SystemExit(1)


def bars_of(figures: Figures) -> dict[str, dict[str, object]]:
    """Each bar with its value and whether it is met."""
    found = {
        "arrived": (figures.arrived, figures.merged),
        "conflicts": (figures.conflicts, 0),
        "weighed_beyond": (figures.weighed_beyond, 0),
        "verified": (figures.verified, figures.merged),
    }
    return {name: {"value": value, "target": target, "met": value == target} for name, (value, target) in found.items()}


def minutes_of(figures: Figures) -> dict[str, float]:
    """What CI takes for one pull request, and for what is merged."""
    return {
        "gate": statistics.median(figures.gate_seconds) / 60, "promote": statistics.median(figures.promote_seconds) / 60
    }  # fmt: skip


if __name__ == "__main__":
    main()
