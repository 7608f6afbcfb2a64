"""Bills of materials that the official CycloneDX schema accepts."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator, JsonValidationError

from tests.registry.publish.project import Project, digest_of
from tests.registry.publish.richproject import UNTRUSTED, metrics
from weighbridge.core.files import pretty_json
from weighbridge.registry.state.layout import WorkTree
from weighbridge.registry.state.records import VersionRecord
from weighbridge.registry.state.snapshot import read_model
from weighbridge.registry.views.bom import bom

DIGEST = digest_of("record")


def problem(document: dict[str, Any]) -> JsonValidationError | None:
    """What the official schema says against a document; None where it accepts it."""
    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document))


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, VersionRecord]:
    """A baseline and a compressed version with metrics and notes."""
    made = Project(tmp_path_factory.mktemp("bom") / "project")
    made.add("int8", b"weights", baseline=b"fp32", metrics=metrics(123_120, 0.8935, 131e-6), notes=UNTRUSTED)
    return read_model(WorkTree(made.root), made.model).records


@pytest.mark.parametrize("version", ["v1", "b1"])
def test_the_official_schema_accepts_it(records: Mapping[str, VersionRecord], version: str) -> None:
    """Compressed versions and baselines alike."""
    assert problem(bom(records[version], DIGEST)) is None


def test_the_schema_would_see_a_wrong_key(records: Mapping[str, VersionRecord]) -> None:
    """The check can fail: a key that CycloneDX does not have is refused."""
    document = bom(records["v1"], DIGEST)
    document["metadata"]["component"]["modelCard"]["bogus"] = 1
    assert problem(document) is not None


def test_it_names_bytes_ancestors_data_and_figures(records: Mapping[str, VersionRecord]) -> None:
    """Hash, baseline, commit, data set and every metric with its interval are there."""
    record = records["v1"]
    component = bom(record, DIGEST)["metadata"]["component"]
    assert component["type"] == "machine-learning-model"
    [digest] = component["hashes"]
    assert digest == {"alg": "SHA-256", "content": record.artifacts[0].digest.removeprefix("sha256:")}
    [ancestor] = component["pedigree"]["ancestors"]
    assert ancestor["version"] == "b1"
    assert component["pedigree"]["commits"] == [{"uid": record.commit}]
    assert component["licenses"] == [{"expression": "Apache-2.0"}]
    figures = {item["type"]: item for item in component["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]}
    assert figures["size.bytes (bytes)"] == {"type": "size.bytes (bytes)", "value": "123120"}
    bounds = figures["accuracy.top1 (fraction)"]["confidenceInterval"]
    assert float(bounds["lowerBound"]) < 0.8935 < float(bounds["upperBound"])
    properties = {item["name"]: item["value"] for item in component["properties"]}
    assert properties["weighbridge:record"] == DIGEST
    assert properties["weighbridge:verdict"] == "pass"


def test_libraries_are_packages_with_a_purl(records: Mapping[str, VersionRecord]) -> None:
    """Scanners match what made the artifact by package URL; the local version's plus sign is quoted."""
    found = {item.get("purl") for item in bom(records["v1"], DIGEST)["components"]}
    assert {"pkg:generic/python@3.11.9", "pkg:pypi/torch@2.13.0%2Bcpu"} <= found


def test_exporting_twice_gives_the_same_bytes(records: Mapping[str, VersionRecord]) -> None:
    """Serial number and time come from the record."""
    first, second = (pretty_json(bom(records["v1"], DIGEST)) for _ in range(2))
    assert first == second
    assert bom(records["v1"], digest_of("other"))["serialNumber"] != bom(records["v1"], DIGEST)["serialNumber"]


@pytest.mark.parametrize("licence", ["Acme Internal (do not share)", "MIT OR Apache-2.0", None])
def test_any_licence_text_is_accepted(records: Mapping[str, VersionRecord], licence: str | None) -> None:
    """An SPDX expression is one; anything else goes by its name."""
    assert problem(bom(records["v1"].model_copy(update={"licence": licence}), DIGEST)) is None


def test_several_targets_are_files_of_one_component(records: Mapping[str, VersionRecord]) -> None:
    """Each target's file has its own hash."""
    record = records["v1"]
    other = record.artifacts[0].model_copy(update={"target": "litert", "path": "a/model.tflite"})
    document = bom(record.model_copy(update={"artifacts": [record.artifacts[0], other]}), DIGEST)
    assert problem(document) is None
    names = [item["name"] for item in document["metadata"]["component"]["components"]]
    assert names == ["model.onnx", "model.tflite"]
