"""Every target × {float, int8, QAT int8} of one network, built by the pipeline's own stages."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from weighbridge.core.documents import Manifest, baseline_folder, recipe_folder
from weighbridge.gate.measure.model_files import Model, read_model

TARGETS = ("onnxruntime", "litert", "executorch")
SCHEMES = {"int8": "static-int8", "qat-int8": "qat-int8"}
OPENVINO = "openvino"
"""No target of the project's (docs/adr/0073-no-openvino.md): timed to see whether it should be one."""
NETWORKS = {
    "quickstart": "examples.fashion.model:FashionCNN",
    "residual": "benchmarks.targeting.models:Residual",
    "separable": "benchmarks.targeting.models:Separable",
}


@dataclass(frozen=True)
class Built:
    """One file."""

    target: str
    form: str
    """`float`, `int8` or `qat-int8`."""
    model: Model
    parity: dict[str, object]
    """Torch against the file, as the manifest has it."""

    @property
    def name(self) -> str:
        """As a role of a launch; the uncompressed ONNX file is the baseline."""
        return "baseline" if (self.target, self.form) == ("onnxruntime", "float") else f"{self.target}/{self.form}"


def build(folder: Path, network: str, epochs: int, say: Callable[[str], None]) -> list[Built]:
    """Train a network for `epochs` and export it to every target; quantize it there, after training and within it."""
    from weighbridge.compress import stages

    params = {
        "model": {"name": network, "factory": NETWORKS[network]},
        "data": {"factory": "examples.fashion.data:load"},
        "train": {"epochs": epochs, "lr": 0.002, "seed": 7},
        "targets": list(TARGETS),
        "recipes": {
            name: {"target": list(TARGETS), "steps": [{"quantize": _step(scheme)}]} for name, scheme in SCHEMES.items()
        },
        "budgets": [{"metric": "size.bytes", "max": "1GB"}],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    root = Path(__file__).resolve().parents[2]
    sys.path.insert(0, str(root))
    say(f"{network}: train")
    stages.prepare(folder)
    stages.train(folder)
    for target in TARGETS:
        say(f"{network}: float for {target}")
        stages.baseline(folder, target)
    for name in SCHEMES:
        say(f"{network}: {name} for every target")
        stages.compress(folder, name)
    found = [_built(folder, target, "float", baseline_folder(target)) for target in TARGETS]
    return found + [_built(folder, target, name, recipe_folder(name, target)) for target in TARGETS for name in SCHEMES]


def through_openvino(built: list[Built]) -> list[Built]:
    """The ONNX files once more, for OpenVINO to read."""
    return [
        replace(item, target=OPENVINO, model=replace(item.model, name=f"{OPENVINO}/{item.form}"), parity={})
        for item in built
        if item.target == "onnxruntime"
    ]


def _step(scheme: str) -> dict[str, object]:
    return {"scheme": scheme, "finetune": {"epochs": 1}} if scheme.startswith("qat") else {"scheme": scheme}


def _built(root: Path, target: str, form: str, folder: str) -> Built:
    manifest = Manifest.read(root / folder / "manifest.json")
    name = "baseline" if (target, form) == ("onnxruntime", "float") else f"{target}/{form}"
    return Built(target, form, read_model(root / folder / manifest.artifact.path, name), manifest.parity)
