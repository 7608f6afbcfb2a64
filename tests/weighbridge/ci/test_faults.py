"""A params.yaml is checked where one types: all faults at once, with lines, techniques included, without torch."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from weighbridge.ci import scaffold
from weighbridge.ci.faults import faults
from weighbridge.ci.known_techniques import check_steps
from weighbridge.core.strict_yaml import parse_yaml

ROOT = Path(__file__).parents[3]
HEAD = """\
model: {name: m, factory: "a:b"}
data: {factory: "c:d"}
budgets:
  - {metric: size.bytes, max: 10kB}
recipes:
"""


def lines(tmp_path: Path, text: str) -> list[tuple[int, str]]:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    return [(fault.line, fault.what) for fault in faults(path)]


def test_what_is_known_without_torch_is_what_the_techniques_say() -> None:
    """The file is written by docs/make_techniques.py, from the table itself."""
    spec = importlib.util.spec_from_file_location("make_techniques", ROOT / "docs/make_techniques.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.FILE.read_text() == module.content(), "run docs/make_techniques.py"


def test_every_fault_is_named_with_its_line(tmp_path: Path) -> None:
    """Of the document and of the steps, at once, in the order of the file."""
    text = HEAD.replace("10kB", "10xB") + (
        "  a:\n    steps:\n      - quantise: {scheme: fp16}\n      - prune: {method: magnitude, sparsity: 1.5}\n"
        "  b:\n    stepps: []\n    steps:\n      - quantize: {scheme: static-int9}\n"
    )
    found = lines(tmp_path, text)
    assert [line for line, _ in found] == [4, 8, 9, 11, 13]
    said = " | ".join(what for _, what in found)
    for words in ("recipes.a.steps[0].quantise: unknown technique 'quantise' (did you mean 'quantize'?)", "sparsity",
                  "unknown key 'stepps'", "static-int8", "budgets[0]: the unit"):  # fmt: skip
        assert words in said, said


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("share: {bits: 99}", "share.bits: expected at most"),
        ("share: {bit: 4}", "did you mean 'bits'"),
        ("factorize: {energy: x}", "expected a number"),
        ("prune: []", "expected object"),
        ("prune", "expected one technique"),
    ],
)
def test_values_and_ranges_are_those_of_the_technique(step: str, words: str) -> None:
    """With the key's path."""
    [first, *_] = check_steps(parse_yaml(f"- {step}", "x"))
    assert words in f"{'.'.join(map(str, first.path[1:]))}: {first.what}"


def test_the_order_of_steps_is_checked() -> None:
    """What acts on the network comes before what acts on the graph."""
    wrong = [item.what for item in check_steps(parse_yaml("- pack:\n- prune: {sparsity: 0.5}", "x"))]
    assert any("cannot follow pack" in what for what in wrong), wrong


def test_what_is_right_has_no_fault_and_the_editor_agrees(tmp_path: Path) -> None:
    """The recipes of this repository, those of the benchmarks, and what `init` writes."""
    schema = json.loads(scaffold.params_schema())
    for path in (ROOT / "params.yaml", *ROOT.glob("examples/*/params.yaml")):
        assert faults(path) == [], path
        content = parse_yaml(path.read_text(), str(path))
        jsonschema.validate({key: value for key, value in content.items() if not key.startswith("x-")}, schema)
    for short in ({"task": "embedding"}, {"train": "none"}):
        jsonschema.validate({**content, **short}, schema)
    for wrong in ({"task": "embeding"}, {"train": "nothing"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**content, **wrong}, schema)
    content["recipes"]["bad"] = {"steps": [{"quantize": {"scheme": "static-int9"}}]}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({key: value for key, value in content.items() if not key.startswith("x-")}, schema)


def test_a_file_that_is_not_yaml_has_one_fault(tmp_path: Path) -> None:
    """On the line where reading stops."""
    assert lines(tmp_path, "a: 1\nb: [\n")[0][0] >= 2
    assert lines(tmp_path, "") == [(1, "is empty or not a mapping of keys to values")]


def test_the_hook_needs_no_torch(tmp_path: Path) -> None:
    """It runs in the environment of a pre-commit hook."""
    path = tmp_path / "params.yaml"
    path.write_text(HEAD + "  a: {steps: [{share: {bits: 99}}]}\n")
    code = (
        "import sys; sys.modules['torch'] = None; from weighbridge.cli import app; "
        f"app(['ci', 'params', {str(path)!r}], standalone_mode=False)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"{path}:6: recipes.a.steps[0].share.bits: expected at most" in done.stderr, done.stderr


def test_shared_budgets_are_checked_where_they_are_named(tmp_path: Path) -> None:
    """The line of `budgets`, and the other faults of the file too; the editor knows both forms."""
    (tmp_path / "budgets.yaml").write_text("budgets: [{metric: size.byte, max: 1kB}]\n")
    text = HEAD.replace("budgets:\n  - {metric: size.bytes, max: 10kB}\n", "budgets: {from: budgets.yaml}\n")
    found = lines(tmp_path, text + "  a:\n    steps:\n      - quantise: {scheme: fp16}\n")
    said = " | ".join(what for _, what in found)
    assert [line for line, _ in found] == [3, 7]
    assert "budgets.yaml: budgets[0]" in said
    assert "quantise" in said
    schema = json.loads(scaffold.params_schema())
    content = parse_yaml(text + "  a: {steps: [{quantize: {scheme: fp16}}]}\n", "x")
    jsonschema.validate(content, schema)
    content["recipes"]["a"]["budgets"] = [{"metric": "size.bytes", "max": "1kB"}]
    jsonschema.validate(content, schema)
    content["budgets"] = {"from": "budgets.yaml", "overide": []}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, schema)
