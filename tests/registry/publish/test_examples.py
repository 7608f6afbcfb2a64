"""The example for Kargo: each document fits its published definition, and the judge's script decides as it says."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.registry.publish.schemas import FIXTURES, validate

EXAMPLE = Path(__file__).parents[3] / "docs/examples/kubernetes/kargo.yaml"
STEPS = json.loads((FIXTURES / "kargo-steps.json").read_text())


def documents() -> list[Any]:
    return list(yaml.safe_load_all(EXAMPLE.read_text()))


def check(document: dict[str, Any]) -> None:
    """Against the definition, and what the definition leaves open: steps and subscriptions."""
    validate(document, document["kind"].lower())
    spec = document["spec"]
    for step in spec.get("promotionTemplate", {}).get("spec", {}).get("steps", ()):
        jsonschema.validate(step["config"], STEPS[step["uses"]])
    for subscription in spec.get("subscriptions", ()):
        jsonschema.validate(subscription["git"], STEPS["subscription.git"])


def test_the_example_for_kargo_fits_the_published_definitions() -> None:
    found = documents()
    assert [document["kind"] for document in found] == ["Warehouse", "Stage", "Stage", "AnalysisTemplate"]
    for document in found:
        check(document)
    (named,) = found[1]["spec"]["verification"]["analysisTemplates"]
    assert named["name"] == found[3]["metadata"]["name"]
    given = {argument["name"] for argument in found[1]["spec"]["verification"]["args"]}
    declared = {argument["name"]: argument.get("value") for argument in found[3]["spec"]["args"]}
    assert given == {name for name, value in declared.items() if value is None}
    asked = set(re.findall(r"\{\{args\.(\w+)\}\}", json.dumps(found[3])))
    assert asked == set(declared)


@pytest.mark.parametrize(
    ("number", "place", "key", "value"),
    [
        (0, ("spec",), "interval", "soon"),
        (0, ("spec", "subscriptions", 0, "git"), "repoURL", "not a repository"),
        (1, ("spec",), "requestedFreight", []),
        (1, ("spec", "requestedFreight", 0, "origin"), "kind", "Registry"),
        (1, ("spec", "verification", "analysisTemplates", 0), "names", "x"),
        (1, ("spec", "promotionTemplate", "spec", "steps", 0, "config"), "repo", "x"),
        (1, ("spec", "promotionTemplate", "spec", "steps", 2, "config"), "inPath", ""),
        (3, ("spec", "metrics", 0, "provider", "job"), "specs", {}),
        (3, ("spec", "metrics", 0, "provider", "job", "spec", "template", "spec", "containers", 0), "command", "sh"),
        (3, ("spec", "metrics", 0, "provider", "job", "spec"), "backoffLimit", "0"),
    ],
)
def test_a_broken_example_is_caught(number: int, place: tuple[str | int, ...], key: str, value: str) -> None:
    document = documents()[number]
    check(document)
    found = document
    for step in place:
        found = found[step]
    found[key] = value
    with pytest.raises(jsonschema.ValidationError):
        check(document)


STANDIN = """\
#!/bin/sh
echo "$0 $*" >> "$STATE/asked"
case "$(basename "$0") $*" in
  "git clone"*)
    mkdir -p "$STATE/../registry/deploy/m"
    [ -e "$STATE/none" ] || : > "$STATE/../registry/deploy/m/canary.yaml" ;;
  *"registry verify"*) exit "$(cat "$STATE/verify")" ;;
  *"@canary") echo "m@v8 sha256:aa" ;;
  *"@stable") cat "$STATE/stable" ;;
  *"canary judge"*) code=$(head -1 "$STATE/codes"); sed -i 1d "$STATE/codes"; exit "$code" ;;
esac
"""


@pytest.mark.parametrize(
    ("codes", "stable", "verify", "absent", "ends"),
    [
        ("0", "m@v7 sha256:bb", "0", False, 0),
        ("3 3 0", "m@v7 sha256:bb", "0", False, 0),
        ("3 1", "m@v7 sha256:bb", "0", False, 1),
        ("3 2", "m@v8 sha256:aa", "0", False, 0),
        ("2", "m@v7 sha256:bb", "0", False, 1),
        ("", "m@v7 sha256:bb", "2", False, 2),
        ("", "m@v7 sha256:bb", "0", True, 0),
    ],
    ids=["advances", "waits", "aborts", "is stable meanwhile", "cannot judge", "history does not hold", "no canary"],
)
def test_the_job_verifies_what_the_judge_lets_pass_and_nothing_else(
    tmp_path: Path, codes: str, stable: str, verify: str, absent: bool, ends: int
) -> None:
    """With stand-ins for git and weighbridge: the script of the example, as it stands."""
    state, tools = tmp_path / "state", tmp_path / "bin"
    state.mkdir()
    tools.mkdir()
    for name in ("git", "weighbridge", "sleep"):
        (tools / name).write_text(STANDIN)
        (tools / name).chmod(0o755)
    (state / "codes").write_text("".join(f"{code}\n" for code in codes.split()))
    (state / "stable").write_text(stable)
    (state / "verify").write_text(verify)
    if absent:
        (state / "none").touch()
    pod = documents()[3]["spec"]["metrics"][0]["provider"]["job"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    script = container["args"][0].replace("/tmp/registry", str(tmp_path / "registry"))
    told = {"PATH": f"{tools}:{os.environ['PATH']}", "STATE": str(state), "MODEL": "m", "REGISTRY": "r", "METRICS": "p"}
    done = subprocess.run([*container["command"], script], check=False, env=told, timeout=60)
    assert done.returncode == ends
    assert (state / "codes").read_text() == ""
