"""What `compress` says of one artifact: digest, recipe, sizes after each step, lineage, environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from weighbridge.core.documents.base import SCHEMA_VERSION, Digest, Recorded
from weighbridge.core.documents.params import Params
from weighbridge.core.facts.targets import DEFAULT_TARGET
from weighbridge.core.files import sha256_file


class Sizes(Recorded):
    """Bytes of one artifact as stored and compressed; parameters and multiply-accumulates per example."""

    bytes: int = Field(ge=0)
    gzip: int | None = Field(default=None, ge=0)
    """None of a large file, where no step had to lower it."""
    zstd: int | None = Field(default=None, ge=0)
    params: int = Field(ge=0)
    macs: int = Field(ge=0)


class WeightsFile(Recorded):
    """Weights of a model that one file cannot hold, in a file of their own."""

    path: str
    """File name, beside the model's file, which names it and its digest."""
    digest: Digest
    bytes: int = Field(ge=1)


def without_absent_weights(content: dict[str, Any]) -> dict[str, Any]:
    """A document without the key `weights` where it says nothing: most artifacts are one file."""
    return {key: value for key, value in content.items() if key != "weights" or value is not None}


def _same(folder: Path, file: ArtifactFile | WeightsFile) -> bool:
    return sha256_file(folder / Path(file.path).name) == file.digest


class ArtifactFile(Recorded):
    """The file itself."""

    path: str
    """File name, beside the manifest."""
    digest: Digest
    bytes: int = Field(ge=1)
    weights: WeightsFile | None = None
    """Of a model over 2 GiB. The model's file has this file's digest in its metadata: `digest` stands for both."""

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_absent_weights(handler(self))

    def differing(self, folder: Path) -> str | None:
        """The name of the first file in a folder whose bytes are not the recorded ones; None where all are."""
        files: list[ArtifactFile | WeightsFile] = [self, *([self.weights] if self.weights is not None else [])]
        return next((Path(file.path).name for file in files if not _same(folder, file)), None)


class StepRecord(Recorded):
    """What one step did, as measured on its own output."""

    technique: str
    config: dict[str, Any]
    """The validated configuration, defaults included."""
    facts: dict[str, Any]
    """What the step proved of itself: sparsity, distinct values, channels, ranks, integer tensors …"""
    sizes: Sizes | None = None
    """Of the model exported after this step, where that was computed."""


class Manifest(Recorded):
    """One artifact for one target. Holds no clock time and no path: its bytes are a function of its inputs."""

    schema_version: int = SCHEMA_VERSION
    model: str
    recipe_name: str
    """`baseline` for the uncompressed artifact."""
    recipe: dict[str, Any]
    """The section of `params.yaml`, verbatim; empty for the baseline."""
    target: str
    artifact: ArtifactFile
    requires: list[str] = []
    """What a processor must have to answer as the artifact was made to: `vnni`; empty for one that answers alike on
    every processor of its target."""
    sizes: Sizes
    steps: list[StepRecord] = []
    baseline: Digest | None = None
    """The artifact that this one was compressed from; None for the baseline itself."""
    teacher: Digest | None = None
    data: Digest
    code: Digest
    """Over the source files of the compress room and the user's factories."""
    sources: dict[str, Digest] | None = None
    """The user's files that it was made by: every module of theirs that was imported, and the model's own file. Path
    from the project's folder → digest. None in a manifest of a version that did not record it."""
    settings: dict[str, Any] | None = None
    """What else of `params.yaml` decides about it; see `made_by`. None as above."""
    seed: int
    environment: dict[str, str]
    """Versions of Python and libraries, and the ISA."""
    training: dict[str, str] = {}
    """Device and precision of the training of the `baseline` and of the `recipe`, each where it was not the CPU in
    float32: then the bytes are not a function of the inputs on every machine."""
    ports: dict[str, list[str]] = {}
    """Names of the model's `inputs` and `outputs`, in the file's order, for formats that hold none (ExecuTorch)."""
    parity: dict[str, Any] = {}
    """Torch module against artifact on real inputs: largest difference, agreement, tolerance, examples."""


def made_by(params: Params, *, baseline: bool) -> dict[str, Any]:
    """What an artifact's bytes depend on in `params.yaml` besides its recipe, defaults left out.

    The training is part of what a recipe may fine-tune by; of the baseline it has made the checkpoint, whose bytes
    decide.
    """
    model = params.model.model_dump(mode="json", exclude_defaults=True, exclude={"name", "licence"})
    trained = params.model.factory is not None and not baseline
    return {
        "model": model,
        **(
            {"train": params.train.model_dump(mode="json", exclude_defaults=True, exclude={"checkpoint_seconds"})}
            if trained
            else {}
        ),
    }


def recipe_core(section: Mapping[str, Any]) -> dict[str, Any]:
    """What an artifact's bytes depend on in a recipe: whether its verdict is advisory changes none of them."""
    return {"target": section.get("target", DEFAULT_TARGET), "steps": section.get("steps")}
