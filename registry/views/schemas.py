"""JSON Schemas of all documents, for editors and for other people's programs."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from weighbridge.core.documents import BudgetFile, Device, GateVerdict, Manifest, Measurement, Params, RecipeVerdict
from weighbridge.core.documents.harness import Answered, Described, Launched
from weighbridge.core.files import write_json
from weighbridge.registry.state.events import Event
from weighbridge.registry.state.records import Channels, VersionRecord
from weighbridge.registry.trust.registry_policy import RegistryPolicy

DOCUMENTS: dict[str, type[BaseModel]] = {
    "params": Params,
    "budgets": BudgetFile,
    "manifest": Manifest,
    "device": Device,
    "measurement": Measurement,
    "recipe-verdict": RecipeVerdict,
    "gate-verdict": GateVerdict,
    "harness-describe": Described,
    "harness-answer": Answered,
    "harness-launch": Launched,
    "version-record": VersionRecord,
    "channels": Channels,
    "event": Event,
    "registry-policy": RegistryPolicy,
}


def write(folder: Path) -> list[Path]:
    """Write `<name>.schema.json` for every document; the paths, in order. Dialect: JSON Schema 2020-12."""
    paths = []
    for name, document in DOCUMENTS.items():
        schema = document.model_json_schema(by_alias=True)
        path = folder / f"{name}.schema.json"
        write_json(path, {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
        paths.append(path)
    return paths
