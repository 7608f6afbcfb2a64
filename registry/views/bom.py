"""A bill of materials of a version: CycloneDX 1.6 JSON with a `machine-learning-model` component.

Source: the CycloneDX 1.6 specification (ECMA-424). The document is a function of the record, its serial number too:
exporting twice gives the same bytes.
"""

from __future__ import annotations

import re
import uuid
from typing import Any
from urllib.parse import quote

from weighbridge import __version__
from weighbridge.registry.state.records import StoredArtifact, VersionOf, VersionRecord
from weighbridge.registry.views.figures import in_order, title

SPECIFICATION = "1.6"
_NAMESPACE = uuid.UUID("6f1d3c86-64b5-5b5e-9d0b-0f6a6d0f9b7a")
# What a record's environment names that is no Python package.
_PLATFORM = ("python", "machine", "isa")
_SPDX = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*(?: (?:AND|OR|WITH) [A-Za-z0-9][A-Za-z0-9.+-]*)*")


def bom(record: VersionRecord, record_digest: str) -> dict[str, Any]:
    """The bill of materials as JSON values. `record_digest`: of the record's file, which names the version for good."""
    model = _model(record, record_digest)
    libraries = _libraries(record)
    data = _data(record)
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPECIFICATION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPECIFICATION,
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, record_digest)}",
        "version": 1,
        "metadata": {
            "timestamp": record.at,
            "tools": {"components": [{"type": "application", "name": "weighbridge", "version": __version__}]},
            "component": model,
        },
        "components": [data, *libraries],
        "dependencies": [
            {"ref": model["bom-ref"], "dependsOn": [data["bom-ref"], *(item["bom-ref"] for item in libraries)]},
            *({"ref": item["bom-ref"]} for item in (data, *libraries)),
        ],
    }


def _model(record: VersionRecord, record_digest: str) -> dict[str, Any]:
    artifact = record.artifacts[0]
    component: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": f"model:{record.model}@{record.version}",
        "name": record.model,
        "version": record.version,
        "description": f"{record.recipe_name} for {artifact.target}",
        "hashes": [_sha256(artifact.digest)],
    }
    if record.licence:
        component["licenses"] = [_licence(record.licence)]
    component["pedigree"] = _pedigree(record)
    component["modelCard"] = _card(record)
    component["properties"] = _properties(record, record_digest)
    if len(record.artifacts) > 1:
        component["components"] = [_file(record, item) for item in record.artifacts]
    return component


def _licence(licence: str) -> dict[str, Any]:
    """As an SPDX expression where it reads as one, as a name otherwise."""
    if _SPDX.fullmatch(licence):
        return {"expression": licence}
    return {"license": {"name": licence}}


def _pedigree(record: VersionRecord) -> dict[str, Any]:
    """Where it comes from: baseline and teacher as ancestors, the commit that made it."""
    ancestors = [
        _ancestor(record, name, origin)
        for name, origin in (("baseline", record.baseline), ("teacher", record.teacher))
        if origin is not None
    ]
    pedigree: dict[str, Any] = {"commits": [{"uid": record.commit}]}
    if ancestors:
        pedigree["ancestors"] = ancestors
    steps = [name for step in record.recipe.get("steps", []) if isinstance(step, dict) for name in step]
    if steps:
        pedigree["notes"] = f"compressed from the baseline: {', '.join(map(str, steps))}"
    return pedigree


def _ancestor(record: VersionRecord, name: str, origin: VersionOf) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": f"{name}:{record.model}@{origin.version or origin.digest}",
        "name": record.model,
        "hashes": [_sha256(origin.digest)],
        "description": name,
    }
    if origin.version:
        found["version"] = origin.version
    return found


def _card(record: VersionRecord) -> dict[str, Any]:
    """CycloneDX's own model card: data, figures with intervals, and where they hold."""
    metrics = []
    for name, estimate in in_order(record.metrics):
        entry: dict[str, Any] = {"type": f"{name} ({estimate.unit})", "value": _number(estimate.value)}
        if estimate.lower != estimate.upper:
            bounds = {"lowerBound": _number(estimate.lower), "upperBound": _number(estimate.upper)}
            entry["confidenceInterval"] = bounds
        metrics.append(entry)
    found: dict[str, Any] = {"modelParameters": {"datasets": [{"ref": _data(record)["bom-ref"]}]}}
    if metrics:
        found["quantitativeAnalysis"] = {"performanceMetrics": metrics}
    if record.device is not None:
        limits = f"latency and memory were measured on {record.device.device_class} ({record.device.cpu}) alone"
        found["considerations"] = {"technicalLimitations": [limits], "performanceTradeoffs": _tradeoffs(record)}
    return found


def _tradeoffs(record: VersionRecord) -> list[str]:
    return [
        f"{title(name)}: {_number(estimate.value)}, baseline {_number(estimate.baseline)} ({estimate.unit})"
        for name, estimate in in_order(record.metrics)
        if estimate.baseline is not None and estimate.baseline != estimate.value
    ]


def _properties(record: VersionRecord, record_digest: str) -> list[dict[str, str]]:
    artifact = record.artifacts[0]
    values = {
        "record": record_digest,
        "recipe": record.recipe_name,
        "target": artifact.target,
        "bytes": str(artifact.bytes),
        "parameters": str(artifact.params),
        "macs": str(artifact.macs),
        "code": record.code,
        "params": record.params,
        "dvc-lock": record.dvc_lock,
        "seed": str(record.seed),
    }
    if record.verdict is not None:
        judged = record.verdict
        values |= {"verdict": judged.verdict.value, "verdict-digest": judged.digest, "policy": judged.policy}
        values |= {"measurement": judged.measurement, "device-class": judged.device}
    values |= {name: record.environment[name] for name in ("isa", "machine") if record.environment.get(name)}
    return [{"name": f"weighbridge:{name}", "value": value} for name, value in values.items()]


def _file(record: VersionRecord, artifact: StoredArtifact) -> dict[str, Any]:
    return {
        "type": "file",
        "bom-ref": f"file:{record.model}@{record.version}:{artifact.target}",
        "name": artifact.path.rpartition("/")[2],
        "description": artifact.target,
        "hashes": [_sha256(artifact.digest)],
    }


def _data(record: VersionRecord) -> dict[str, Any]:
    return {
        "type": "data",
        "bom-ref": f"data:{record.data}",
        "name": "prepared training, calibration and test splits",
        "hashes": [_sha256(record.data)],
        "data": [{"type": "dataset"}],
    }


def _libraries(record: VersionRecord) -> list[dict[str, Any]]:
    """What made the artifact: Python itself and the packages that the record names."""
    found = []
    for name, version in record.environment.items():
        if name == "python":
            found.append(_library("platform", name, version, f"pkg:generic/python@{quote(version)}"))
        elif name not in _PLATFORM:
            purl = f"pkg:pypi/{quote(name.lower().replace('_', '-'))}@{quote(version)}"
            found.append(_library("library", name, version, purl))
    return found


def _library(kind: str, name: str, version: str, purl: str) -> dict[str, Any]:
    return {"type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _sha256(digest: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": digest.removeprefix("sha256:")}


def _number(value: float) -> str:
    """The shortest text that reads back as the same number."""
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(value)
