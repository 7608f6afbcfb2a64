"""A project as the pipeline leaves it, made in the test: params, artifacts, measurements, verdict, lock file."""

import hashlib
import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.documents import device, gate_verdict, recipe_verdict
from weighbridge.core.documents import Manifest, Measurement, Params, RecipeVerdict
from weighbridge.core.documents.devices import baseline_folder, recipe_folder
from weighbridge.core.files import sha256_bytes, write_json
from weighbridge.gate.verdict.judge import judge
from weighbridge.gate.verdict.policy import Policy

MODEL = "tiny-cnn"
SOME = "sha256:" + 64 * "a"
STEPS = {"int8": [{"quantize": {"scheme": "static-int8"}}], "fp16": [{"quantize": {"scheme": "fp16"}}]}
BASELINE = b"baseline bytes " * 40


def git(root: Path, *arguments: str, **more: Any) -> str:
    """Run git; what it printed."""
    done = subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True, **more)
    return done.stdout.strip()


def make_repository(root: Path) -> Path:
    """An empty repository with an identity."""
    root.mkdir(parents=True, exist_ok=True)
    git(root, "init", "-q", "-b", "main", "--template=")
    identify(root)
    (root / ".gitignore").write_text("/artifacts/\n/measurements/\n.weighbridge/\n/.dvc/cache/\n")
    return root


def identify(root: Path, name: str = "Test", email: str = "test@example.org") -> None:
    """Give a clone an identity."""
    git(root, "config", "user.name", name)
    git(root, "config", "user.email", email)


def candidate_bytes(recipe: str, generation: int = 1, target: str = "onnxruntime") -> bytes:
    """What a recipe's artifact holds; no model file: the registry does not look inside."""
    return for_target(f"{recipe} {generation} ".encode() * (10 + generation % 7 + 5 * (recipe == "fp16")), target)


def for_target(data: bytes, target: str) -> bytes:
    """Bytes of the same model for another runtime."""
    return data if target == "onnxruntime" else data + target.encode()


def write_run(
    root: Path,
    generation: int = 1,
    verdicts: dict[str, str] | None = None,
    stable: str | None = None,
    recipes: Sequence[str] = ("int8", "fp16"),
    targets: Sequence[str] = ("onnxruntime",),
    budgets: list[dict[str, Any]] | None = None,
) -> None:
    """Write what one run of the pipeline leaves. `verdicts`: recipe → pass, fail …; default: all pass."""
    named = list(targets) if len(targets) > 1 else targets[0]
    several = {} if named == "onnxruntime" else {"target": named}
    params = {
        "model": {"name": MODEL, "factory": "a.b:c", "licence": "Apache-2.0"},
        "data": {"factory": "a.b:d"},
        "targets": list(targets),
        "recipes": {name: {**several, "steps": STEPS[name]} for name in recipes},
        "budgets": budgets or [{"metric": "size.bytes", "max": "1MB"}],
        "train": {"seed": 7, "epochs": generation},
    }
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    judged = {}
    baselines = {target: _write_artifact(root, "baseline", for_target(BASELINE, target), target) for target in targets}
    read = Params.read(root / "params.yaml")
    for candidate in read.candidates():
        name, target = candidate.recipe, candidate.target
        data = candidate_bytes(name, generation, target)
        built = {"baseline": baselines[target], name: _write_artifact(root, name, data, target, baselines[target])}
        if several:
            built[name].recipe.update(several)
            built[name].write(root / _folder(name, target) / "manifest.json")
        measurement = _measurement(name, built, stable, target)
        measurement.write(root / candidate.measurement)
        said = (verdicts or {}).get(candidate.name, "pass")
        judged[candidate.name] = (
            judge(measurement, read.budgets) if said == "pass" else _verdict(name, built, measurement, said)
        )
    policy = Policy.of(read).digest()
    gate = gate_verdict(judged, model=MODEL, policy=policy)
    gate.write(root / "reports/verdict.json")
    lock(root, recipes, targets)


def commit_all(root: Path, message: str = "Run the pipeline") -> str:
    """Commit everything; the commit."""
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", message)
    return git(root, "rev-parse", "HEAD")


def _folder(recipe: str, target: str) -> str:
    return baseline_folder(target) if recipe == "baseline" else recipe_folder(recipe, target)


def _write_artifact(root: Path, recipe: str, data: bytes, target: str, baseline: Manifest | None = None) -> Manifest:
    folder = root / _folder(recipe, target)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(data)
    manifest = Manifest(
        model=MODEL,
        recipe_name=recipe,
        recipe={} if recipe == "baseline" else {"steps": STEPS[recipe]},
        target=target,
        artifact={"path": "model.onnx", "digest": sha256_bytes(data), "bytes": len(data)},
        sizes={"bytes": len(data), "gzip": 10, "zstd": 10, "params": 100, "macs": 1000},
        baseline=baseline and baseline.artifact.digest,
        data=SOME,
        code=SOME,
        seed=7,
        environment={"python": "3.11"},
    )
    manifest.write(folder / "manifest.json")
    return manifest


def _measurement(recipe: str, built: dict[str, Manifest], stable: str | None, target: str) -> Measurement:
    def weighed(name: str, manifest: Manifest) -> dict[str, Any]:
        return {"name": name, "digest": manifest.artifact.digest, "bytes": manifest.artifact.bytes}

    metrics = {
        "size.bytes": {
            "kind": "exact",
            "candidate": built[recipe].artifact.bytes,
            "reference": built["baseline"].artifact.bytes,
        },
        "latency.p50": {
            "kind": "launches",
            "candidate": [0.001 * k for k in range(1, 11)],
            "reference": [0.002 * k for k in range(1, 11)],
            "log_ratio": [-0.7] * 10,
        },
        "accuracy.top1": {
            "kind": "proportions",
            "both": 900,
            "only_reference": 5,
            "only_candidate": 10 if recipe == "int8" else 15,
            "neither": 80,
        },
    }
    comparisons = [{"against": "baseline", "reference": weighed("baseline", built["baseline"]), "metrics": metrics}]
    if stable:
        reference = {"name": "stable", "digest": stable, "bytes": 1}
        comparisons.append({"against": "stable", "reference": reference, "metrics": {}})
    return Measurement(
        model=MODEL,
        recipe=recipe,
        target=target,
        baseline=weighed("baseline", built["baseline"]),
        candidate=weighed("candidate", built[recipe]),
        device=device(fingerprint=SOME),
        data=SOME,
        examples=1000,
        protocol={
            "seed": 1,
            "threads": 1,
            "batch_size": 1,
            "looks": [10],
            "elapsed_seconds": 1,
            "time_limit_seconds": 60,
            "complete": True,
        },
        comparisons=comparisons,
    )


def _verdict(recipe: str, built: dict[str, Manifest], measurement: Measurement, verdict: str) -> RecipeVerdict:
    budget = {
        "metric": "size.bytes",
        "against": None,
        "rule": "max",
        "limit": 1e6,
        "unit": "bytes",
        "estimate": 1.0,
        "lower": 1.0,
        "upper": 1.0,
        "verdict": verdict,
        "reason": "because",
        "required": True,
    }
    return recipe_verdict(
        verdict,
        [budget],
        model=MODEL,
        recipe=recipe,
        baseline={"digest": built["baseline"].artifact.digest},
        candidate={"digest": built[recipe].artifact.digest},
        device_fingerprint=SOME,
        measurement=measurement.content_digest(),
    )


def _md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def lock(root: Path, recipes: Sequence[str], targets: Sequence[str] = ("onnxruntime",)) -> None:
    """Write dvc.lock for what lies there, and put the bytes into DVC's cache, as DVC does."""
    outs = {}
    folders = [f"{kind}/{name}" for kind in ("artifacts/recipes", "measurements") for name in recipes]
    for folder in (*(baseline_folder(target) for target in targets), *folders):
        entries = []
        for path in sorted(path for path in (root / folder).rglob("*") if path.is_file()):
            data = path.read_bytes()
            entries.append({"md5": _md5(data), "relpath": path.relative_to(root / folder).as_posix()})
            cache(root, _md5(data), data)
        listing = json.dumps(entries, sort_keys=True).encode()
        outs[folder] = _md5(listing) + ".dir"
        cache(root, outs[folder], listing)
    verdict = (root / "reports/verdict.json").read_bytes()
    outs["reports/verdict.json"] = _md5(verdict)
    cache(root, _md5(verdict), verdict)
    stages = {"all": {"cmd": "x", "outs": [{"path": path, "hash": "md5", "md5": md5} for path, md5 in outs.items()]}}
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))


def cache(root: Path, md5: str, data: bytes) -> None:
    """Put bytes into DVC's cache."""
    path = root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def edit_json(path: Path, change: Callable[[Any], object]) -> None:
    """Read a JSON file, let `change` alter it, write it back."""
    content = json.loads(path.read_text())
    change(content)
    write_json(path, content)
