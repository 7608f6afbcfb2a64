"""Kubernetes manifests say what the channels say, in the form that the published schemas ask for."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.registry.publish.project import Project
from tests.registry.publish.schemas import closed, shrink, validate
from weighbridge.core.errors import InputError, StateError
from weighbridge.registry.publish.argo import rollout
from weighbridge.registry.publish.kserve import inference_service
from weighbridge.registry.publish.manifests import Options, Traffic, manifests
from weighbridge.registry.state.events import EventKind
from weighbridge.registry.state.layout import WorkTree
from weighbridge.registry.state.snapshot import ModelState, read_model

OPTIONS = Options("s3://models/{model}/{version}/{sha256}", namespace="ml", image="registry.example.org/serve:1")
FORMS = [(inference_service, "inferenceservice"), (rollout, "rollout")]


def state(project: Project) -> ModelState:
    return read_model(WorkTree(project.root), project.model)


def rendered(
    project: Project, render: Callable[[Traffic, Options], dict[str, Any]], options: Options = OPTIONS
) -> dict[str, Any]:
    return {name: yaml.safe_load(text) for name, text in manifests(state(project), options, render).items()}


@pytest.mark.parametrize(("render", "schema"), FORMS, ids=["kserve", "argo"])
def test_manifests_fit_the_published_definitions(
    project: Project, render: Callable[[Traffic, Options], dict[str, Any]], schema: str
) -> None:
    """Every key is one that the custom resource definition has, with the type that it wants, canary or not."""
    for document in rendered(project, render).values():
        validate(document, schema)


CANARY = ("spec", "strategy", "canary")
CONTAINER = ("spec", "template", "spec", "containers", 0)


@pytest.mark.parametrize(
    ("render", "schema", "place", "key", "value"),
    [
        (inference_service, "inferenceservice", ("spec",), "canaryTrafficPercent", 5),
        (inference_service, "inferenceservice", ("spec", "predictor"), "canaryTrafficPercents", 5),
        (inference_service, "inferenceservice", ("spec", "predictor"), "canaryTrafficPercent", "5"),
        (inference_service, "inferenceservice", ("spec", "predictor", "model"), "storageURI", "s3://a"),
        (inference_service, "inferenceservice", ("spec", "predictor", "model"), "storageUri", ["s3://a"]),
        (inference_service, "inferenceservice", ("spec", "predictor", "model", "modelFormat"), "name", None),
        (inference_service, "inferenceservice", ("metadata", "labels"), "weighbridge", "no label value!"),
        (rollout, "rollout", ("spec",), "replicas", 2**31),
        (rollout, "rollout", ("spec",), "selectors", {}),
        (rollout, "rollout", CANARY, "steps", {"setWeight": 5}),
        (rollout, "rollout", (*CANARY, "steps", 0), "setWeight", "5"),
        (rollout, "rollout", (*CANARY, "steps", 0), "setWeights", 5),
        (rollout, "rollout", CONTAINER, "images", "x"),
        (rollout, "rollout", CONTAINER, "name", None),
        (rollout, "rollout", (*CONTAINER, "ports", 0), "containerPort", "http"),
        (rollout, "rollout", ("metadata", "annotations"), "weighbridge/event", 8),
    ],
)
def test_the_definitions_catch_what_a_cluster_would_drop_or_refuse(
    project: Project,
    render: Callable[[Traffic, Options], dict[str, Any]],
    schema: str,
    place: tuple[str | int, ...],
    key: str,
    value: object,
) -> None:
    """A misspelt key, a wrong type, a key at the wrong level: each is seen, at every depth."""
    document = rendered(project, render)["canary.yaml"]
    validate(document, schema)
    found = document
    for step in place:
        found = found[step]
    found[key] = value
    with pytest.raises(jsonschema.ValidationError):
        validate(document, schema)


def test_sharing_parts_of_a_definition_loses_no_rule() -> None:
    """What is stored says the same as the definition, written shorter."""
    part = {
        "type": "object", "required": ["a"], "properties": {
            "a": {"type": "string", "pattern": 400 * "x"}, "description": {"type": "string", "description": "prose"},
        },
    }  # fmt: skip
    top = {"type": "object", "properties": {"one": part, "two": {"type": "array", "items": part}}}
    crd = {"spec": {"group": "g", "names": {"kind": "K"}, "versions": [
        {"name": "v0", "storage": False}, {"name": "v1", "storage": True, "schema": {"openAPIV3Schema": top}},
    ]}}  # fmt: skip
    stored = shrink(crd)
    assert (stored["apiVersion"], stored["kind"], len(stored["$defs"])) == ("g/v1", "K", 1)
    schema = {**closed(stored["schema"]), "$defs": {key: closed(value) for key, value in stored["$defs"].items()}}
    jsonschema.validate({"one": {"a": 400 * "x", "description": ""}, "two": []}, schema)
    for wrong in ({"one": {}}, {"two": [{"a": "y"}]}, {"two": [{"a": 400 * "x", "b": 1}]}, {"three": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


@pytest.mark.parametrize(("render", "schema"), FORMS, ids=["kserve", "argo"])
def test_the_stable_manifest_comes_first_and_knows_no_canary(
    project: Project, render: Callable[[Traffic, Options], dict[str, Any]], schema: object
) -> None:
    """A cluster that has never seen the model must meet the stable version first."""
    files = rendered(project, render)
    assert list(files) == ["stable.yaml", "canary.yaml"]
    assert "v3" not in str(files["stable.yaml"])
    notes = files["canary.yaml"]["metadata"]["annotations"]
    assert (notes["weighbridge/stable"], notes["weighbridge/canary"]) == ("v1", "v3")
    assert notes["weighbridge/event"] == "8"


def test_kserve_gets_the_canarys_place_and_share(project: Project) -> None:
    """`storageUri` is the canary's, `canaryTrafficPercent` its weight; without a canary neither is there."""
    files = rendered(project, inference_service)
    digest = state(project).channels.canary.digest.removeprefix("sha256:")
    predictor = files["canary.yaml"]["spec"]["predictor"]
    assert predictor["canaryTrafficPercent"] == 5
    assert predictor["model"]["storageUri"] == f"s3://models/fashion-cnn/v3/{digest}"
    assert "canaryTrafficPercent" not in files["stable.yaml"]["spec"]["predictor"]


def test_argo_waits_at_the_present_share_until_the_registry_moves_on(project: Project) -> None:
    """One step sets the weight, the next waits without end; advancing renders another weight."""
    steps = rendered(project, rollout)["canary.yaml"]["spec"]["strategy"]["canary"]["steps"]
    assert steps == [{"setWeight": 5}, {"pause": {}}]
    project.move(EventKind.CANARY_ADVANCED, "v3", step=1)
    steps = rendered(project, rollout)["canary.yaml"]["spec"]["strategy"]["canary"]["steps"]
    assert steps == [{"setWeight": 25}, {"pause": {}}]


@pytest.mark.parametrize(("render", "schema"), FORMS, ids=["kserve", "argo"])
def test_after_a_roll_back_only_the_version_rolled_back_to_is_named(
    project: Project, render: Callable[[Traffic, Options], dict[str, Any]], schema: object
) -> None:
    """The way back is a manifest without steps and without a canary."""
    project.move(EventKind.ROLLED_BACK, "b1", quarantine=True, reason="wrong")
    files = rendered(project, render)
    assert list(files) == ["stable.yaml"]
    assert "/b1/" in str(files["stable.yaml"])
    assert "/v1/" not in str(files["stable.yaml"])


def test_manifests_are_a_function_of_the_state(project: Project) -> None:
    """Rendered twice, the same bytes, and no YAML anchors that people stumble over."""
    first, second = (manifests(state(project), OPTIONS, rollout) for _ in range(2))
    assert first == second
    assert "&id" not in str(first)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"storage_uri": "s3://models/{nmae}"}, r"unknown field \{nmae\}"),
        ({"storage_uri": "s3://models/{version!r}"}, "unknown field"),
        ({"storage_uri": "s3://models/{version.__class__}"}, "unknown field"),
        ({"storage_uri": "s3://models/{version"}, "is not a valid template"),
        ({"storage_uri": "models/{version}"}, "is no URI"),
        ({"name": "Fashion_CNN"}, "not a name that Kubernetes takes"),
        ({"namespace": "a" * 64}, "not a name that Kubernetes takes"),
        ({"image": None}, "needs the image"),
        ({"replicas": 0}, "serve nothing"),
    ],
)
def test_bad_options_are_one_clear_line(project: Project, change: dict[str, Any], said: str) -> None:
    """What cannot become a manifest is refused with what to do."""
    with pytest.raises(InputError, match=said):
        rendered(project, rollout, dataclasses.replace(OPTIONS, **change))


def test_no_stable_version_is_no_manifest(tmp_path: Path) -> None:
    """A model that was only recorded serves nothing, and no manifest pretends otherwise."""
    project = Project(tmp_path / "p")
    project.add("int8", b"weights", channel=False)
    with pytest.raises(StateError, match="no stable version"):
        rendered(project, inference_service)


def test_a_share_that_is_no_whole_per_cent_is_refused(project: Project) -> None:
    """Rounding would send traffic that nobody decided."""
    found = state(project)
    canary = found.channels.canary.model_copy(update={"weight": 2.5})
    changed = dataclasses.replace(found, channels=found.channels.model_copy(update={"canary": canary}))
    with pytest.raises(InputError, match="is not a whole percentage"):
        manifests(changed, OPTIONS, inference_service)


def test_of_a_version_for_several_targets_one_is_served(project: Project) -> None:
    """Which one is said, or the error lists them; KServe is told of none that it cannot serve."""
    found = state(project)
    records = {}
    for name, record in found.records.items():
        first = record.artifacts[0]
        second = first.model_copy(update={"target": "litert", "digest": "sha256:" + 64 * "e"})
        records[name] = record.model_copy(update={"artifacts": [first, second]})
    both = dataclasses.replace(found, records=records)
    with pytest.raises(InputError, match=r"was built for onnxruntime, litert \(say which: --target NAME\)"):
        manifests(both, OPTIONS, rollout)
    chosen = dataclasses.replace(OPTIONS, target="litert")
    document = yaml.safe_load(manifests(both, chosen, rollout)["stable.yaml"])
    assert document["metadata"]["annotations"]["weighbridge/stable-digest"] == "sha256:" + 64 * "e"
    assert str(document).count(64 * "e") == 3
    with pytest.raises(InputError, match="KServe has no model format for litert"):
        manifests(both, chosen, inference_service)
    onnx = manifests(both, dataclasses.replace(OPTIONS, target="onnxruntime"), inference_service)
    assert onnx == manifests(found, OPTIONS, inference_service)
