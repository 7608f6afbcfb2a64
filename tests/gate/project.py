"""A whole pipeline's files, made of numbers: what the stage `judge` reads."""

from pathlib import Path
from typing import Any

import yaml

from tests.gate.evidence import comparison, controls, digest, launches, measurement, proportions
from weighbridge.core.documents import ArtifactFile, Exact, Manifest, Measurement, Params, Proportions, Sizes, Weighed
from weighbridge.core.documents.manifest import made_by
from weighbridge.core.files import sha256_bytes

PARAMS = {
    "model": {"name": "net", "factory": "some.model:Net"},
    "data": {"factory": "some.data:load"},
    "recipes": {
        "int8": {"steps": [{"quantize": {"scheme": "static-int8"}}]},
        "share": {"steps": [{"share": {"bits": 2}}], "advisory": True},
    },
    "budgets": [
        {"metric": "size.bytes", "max": "500B"},
        {"metric": "latency.p50", "max_ratio": 0.9},
        {"metric": "accuracy.top1", "max_drop": 0.02},
        {"metric": "accuracy.worst_slice", "max_drop": 0.1},
        {"metric": "accuracy.flips", "max": 0.05},
        {"metric": "memory.peak", "max": "200MB", "required": False},
    ],
}
BASELINE = b"b" * 1000
CANDIDATES = {"int8": b"i" * 400, "share": b"s" * 100}
WORSE = proportions(700, 212, 8, 80)


def evidence(name: str, *, ratio: float = 0.85, counts: Proportions | None = None) -> Measurement:
    """The measurement of one recipe."""
    data = CANDIDATES[name]
    found = comparison(
        pairs=16,
        candidate_bytes=len(data),
        size_bytes=Exact(candidate=len(data), reference=1000),
        size_gzip=Exact(candidate=len(data) - 20, reference=900),
        params=Exact(candidate=100, reference=100),
        latency_p50=launches(ratio, pairs=16, seed=len(name)),
        accuracy_top1=counts or (WORSE if name == "share" else proportions()),
        controls=controls(16),
    )
    reference = Weighed(name="baseline", digest=sha256_bytes(BASELINE), bytes=1000)
    return measurement(
        found.model_copy(update={"reference": reference}),
        recipe=name,
        model="net",
        baseline=reference,
        candidate_bytes=len(data),
    ).model_copy(update={"candidate": Weighed(name=name, digest=sha256_bytes(data), bytes=len(data))})


def manifest(name: str, data: bytes) -> Manifest:
    """The manifest of one artifact."""
    return Manifest(
        model="net",
        recipe_name=name,
        recipe=PARAMS["recipes"].get(name, {}),  # type: ignore[attr-defined]
        baseline=None if name == "baseline" else sha256_bytes(BASELINE),
        target="onnxruntime",
        artifact=ArtifactFile(path="model.onnx", digest=sha256_bytes(data), bytes=len(data)),
        sizes=Sizes(bytes=len(data), gzip=10, zstd=10, params=100, macs=1000),
        data=digest("data"),
        code=digest("code"),
        sources={},
        settings=made_by(Params.model_validate(PARAMS), baseline=name == "baseline"),
        seed=7,
        environment={},
    )


def write_artifact(folder: Path, name: str, data: bytes) -> None:
    """A file and its manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(data)
    manifest(name, data).write(folder / "manifest.json")


def write_project(root: Path, params: dict[str, Any] = PARAMS, **ratios: float) -> Path:
    """Everything that `judge` reads; keywords give a recipe's true latency ratio."""
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    write_artifact(root / "artifacts/baseline/onnxruntime", "baseline", BASELINE)
    for name in params["recipes"]:
        write_artifact(root / "artifacts/recipes" / name / "onnxruntime", name, CANDIDATES[name])
        evidence(name, ratio=ratios.get(name, 0.85)).write(root / "measurements" / name / "onnxruntime@local.json")
    return root
