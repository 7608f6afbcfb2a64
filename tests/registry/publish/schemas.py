"""The published schemas of KServe and Argo Rollouts, and how documents are held against them.

`tests/fixtures/crds/*.json` are the `openAPIV3Schema` of the custom resource definitions, whole: written by

    python -m tests.registry.publish.schemas CRD.yaml OUT.json

which keeps every rule, leaves the prose (`description`) out, and writes a part that occurs more than once one time
only, under `$defs`. See the README beside them for where the definitions are from.
"""

import functools
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import yaml

FIXTURES = Path(__file__).parents[2] / "fixtures/crds"
WORTH_SHARING = 300
"""Characters of JSON: a smaller part is written where it stands."""
INT32 = {"minimum": -(2**31), "maximum": 2**31 - 1}

# What Kubernetes itself asks of `metadata`, of which a definition only says that it is an object.
LABEL_VALUE = {"type": "string", "maxLength": 63, "pattern": r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"}
LABEL = {"type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}
METADATA = {
    "type": "object",
    "properties": {
        "name": LABEL,
        "namespace": LABEL,
        "labels": {"type": "object", "additionalProperties": LABEL_VALUE},
        "annotations": {
            "type": "object",
            "propertyNames": {
                "pattern": "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
            },
            "additionalProperties": {"type": "string"},
        },
    },
    "required": ["name"],
    "additionalProperties": False,
}


def validate(document: dict[str, Any], name: str) -> None:
    """Hold a document against the definition of a fixture: a `jsonschema.ValidationError` where it does not fit.

    A cluster drops a key that the schema lacks without a word; here that is an error too.
    """
    stored, validator = _validator(name)
    assert document["apiVersion"] == stored["apiVersion"]
    assert document["kind"] == stored["kind"]
    validator.validate(document)
    jsonschema.validate(document["metadata"], METADATA)


@functools.cache
def _validator(name: str) -> tuple[Any, Any]:
    """What is stored of a definition, and its validator: read and checked once."""
    stored = json.loads((FIXTURES / f"{name}.json").read_text())
    schema = {**closed(stored["schema"]), "$defs": {key: closed(part) for key, part in stored["$defs"].items()}}
    jsonschema.Draft202012Validator.check_schema(schema)
    return stored, jsonschema.Draft202012Validator(schema)


def closed(schema: Any) -> Any:
    """A schema that refuses keys that it does not name, and integers that their format has no room for."""
    if not isinstance(schema, dict):
        return schema
    found = {key: _closed_value(key, value) for key, value in schema.items()}
    if "properties" in found and not found.get("x-kubernetes-preserve-unknown-fields"):
        found.setdefault("additionalProperties", False)
    if found.get("format") == "int32":
        found = {**INT32, **found}
    return found


def _closed_value(key: Any, value: Any) -> Any:
    if key in ("properties", "$defs"):
        return {name: closed(part) for name, part in value.items()}
    if key in ("items", "additionalProperties"):
        return closed(value)
    return [closed(part) for part in value] if key in ("anyOf", "oneOf", "allOf") else value


def shrink(crd: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """From a custom resource definition to what is stored: the schema of its stored version, without loss of rules."""
    (version,) = [version for version in crd["spec"]["versions"] if version["storage"]]
    schema = _without_prose(version["schema"]["openAPIV3Schema"])
    counts = Counter()
    _count(schema, counts)
    parts = {}
    shared = _share(schema, counts, parts, at_top=True)
    group = crd["spec"]["group"]
    return {"apiVersion": f"{group}/{version['name']}", "kind": crd["spec"]["names"]["kind"],
            "schema": shared, "$defs": dict(sorted(parts.items()))}  # fmt: skip


def _without_prose(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_prose(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: _without_prose(part) for name, part in value.items()}
        if key == "properties"
        else _without_prose(value)
        for key, value in schema.items()
        if key != "description" or not isinstance(value, str)
    }


def _text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, sort_keys=True, separators=(",", ":"))


def _children(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Name → schema, of the schemas directly within one."""
    yield from (schema.get("properties") or {}).values()
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield schema[key]


def _count(schema: dict[str, Any], counts: Counter[Any]) -> None:
    text = _text(schema)
    if len(text) < WORTH_SHARING:
        return
    counts[text] += 1
    if counts[text] == 1:
        for child in _children(schema):
            _count(child, counts)


def _share(schema: Any, counts: Counter[Any], parts: dict[str, Any], *, at_top: bool = False) -> Any:
    text = _text(schema)
    if len(text) < WORTH_SHARING:
        return schema
    name = hashlib.sha256(text.encode()).hexdigest()[:12]
    if counts[text] > 1 and not at_top and name in parts:
        return {"$ref": f"#/$defs/{name}"}
    found = dict(schema)
    if "properties" in schema:
        found["properties"] = {key: _share(part, counts, parts) for key, part in schema["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            found[key] = _share(schema[key], counts, parts)
    if counts[text] > 1 and not at_top:
        parts[name] = found
        return {"$ref": f"#/$defs/{name}"}
    return found


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    content = shrink(yaml.load(source.read_text(), Loader=yaml.CSafeLoader))
    target.write_text(json.dumps(content, separators=(",", ":")) + "\n")
