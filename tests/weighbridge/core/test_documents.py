"""Documents: strict with people, tolerant with programs, one clear line for each mistake."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.documents import device
from weighbridge.core.documents import (
    Budget,
    BudgetFile,
    Params,
    RecipeVerdict,
    Verdict,
    load,
    parse,
    parse_quantity,
    worst,
)
from weighbridge.core.documents.params import read_budgets
from weighbridge.core.errors import ExitCode, InputError
from weighbridge.core.files import dump_yaml
from weighbridge.core.strict_yaml import parse_yaml

PARAMS = {
    "model": {"name": "net", "factory": "nets:Net"},
    "data": {"factory": "nets:load"},
    "train": {"epochs": 2},
    "recipes": {"int8": {"target": "onnxruntime", "steps": [{"quantize": {"scheme": "static-int8"}}]}},
    "budgets": [{"metric": "size.bytes", "max": "200kB"}, {"metric": "latency.p50", "max_ratio": 0.9}],
}


def edited(path: list[Any], value: str | float | list[str] | dict[str, Any]) -> dict[str, Any]:
    """PARAMS with one value set; the path's last key may be new."""
    content = copy.deepcopy(PARAMS)
    place = content
    *parents, last = path
    for key in parents:
        place = place[key]
    place[last] = value
    return content


def test_a_whole_params_file_is_read(tmp_path: Path) -> None:
    """Defaults fill what was left out, and units are numbers afterwards."""
    path = tmp_path / "params.yaml"
    path.write_text("x-presets: {a: &a 1}\n" + dump_yaml(PARAMS))
    params = Params.read(path)
    assert params.train.epochs == 2
    assert params.train.batch_size == 128
    assert [budget.limit for budget in params.budgets] == [200_000, 0.9]
    assert params.budgets[0].relative is False
    assert params.budgets[1].against == "baseline"
    assert [budget.limit for budget in read_budgets(path)] == [200_000, 0.9]


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        (["train", "epoch"], 3, "p.yaml: train.epoch: unknown key 'epoch' (did you mean 'epochs'?)"),
        (["recipe"], {}, "p.yaml: recipe: unknown key 'recipe' (did you mean 'recipes'?)"),
        (
            ["recipes", "int8", "step"],
            [],
            "p.yaml: recipes.int8.step: unknown key 'step' (did you mean 'steps'?)",
        ),
        (["budgets", 1, "max_ration"], 1, "p.yaml: budgets[1].max_ration: unknown key 'max_ration'"),
        (["train", "epochs"], -1, "p.yaml: train.epochs: input should be greater than or equal to 0; found -1"),
        (["train", "epochs"], "many", "p.yaml: train.epochs: input should be a valid integer"),
        (["train", "epochs"], True, "p.yaml: train.epochs: expected a number or text, got a boolean (true)"),
        (["budgets", 0, "max"], True, "p.yaml: budgets[0].max: expected a number or text, got a boolean (true)"),
        (["model", "factory"], "no colon", "p.yaml: model.factory: expected 'package.module:callable'"),
        (["model", "onnx"], "a.onnx", "p.yaml: model: expected exactly one of 'factory' and 'onnx'"),
        (["model", "name"], "../up", "p.yaml: model.name: expected letters, digits, '-' and '_'"),
        (["budgets", 0, "max"], "200ms", "p.yaml: budgets[0]: the unit 'ms' does not measure bytes"),
        (["budgets", 0, "max"], float("nan"), "p.yaml: budgets[0]"),
        (["budgets", 0, "max"], "-1B", "p.yaml: budgets[0]: max cannot be negative"),
        (["budgets", 0, "max"], 5, "p.yaml: budgets[0]: expected a number with its unit (such as 1B, 1kB"),
        (["budgets", 0, "max"], "5", "p.yaml: budgets[0]: expected a number with its unit"),
        (["budgets", 1], {"metric": "latency.p50", "max": 5}, "p.yaml: budgets[1]: expected a number with its unit"),
        (["weighing"], {"time_limit": 60}, "p.yaml: weighing: time_limit needs a unit: write `time_limit: 60s`"),
        (["weighing"], {"time_limit": "1.5"}, "p.yaml: weighing: time_limit needs a unit: write `time_limit: 1.5s`"),
        (["budgets", 0, "min"], 1, "p.yaml: budgets[0]: expected exactly one of max, min"),
        (["budgets", 0, "metric"], "size.byte", "unknown metric 'size.byte' (did you mean 'size.bytes'?)"),
        (["budgets", 0, "against"], "stable", "p.yaml: budgets[0]: 'against: stable' needs a relative limit"),
        (["budgets", 1], {"metric": "latency.p50", "max_drop": "1s"}, "max_drop needs a metric where higher is better"),
        (["budgets", 1], {"metric": "accuracy.top1", "max_drop": 2}, "is a fraction from 0 to 1"),
        (["budgets"], [], "p.yaml: budgets: list should have at least 1 item"),
        (["schema_version"], 9, "p.yaml: has schema_version 9; this program reads up to 1"),
    ],
)
def test_each_mistake_is_one_line_with_file_key_and_advice(
    path: list[Any], value: str | float | dict[str, Any], line: str
) -> None:
    """A person who reads the line knows what to change and where."""
    with pytest.raises(InputError) as caught:
        parse(Params, edited(path, value), "p.yaml")
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize(
    "name", ["team/net", "nét", "net:1", "..", "net@2", "net name", "網", "-net", "net.v2", "", "n" * 65]
)
def test_a_model_s_name_is_one_folder_and_one_word_everywhere(name: str) -> None:
    """It stands in paths, in references and in labels: what one of them cannot hold is refused where it is written."""
    with pytest.raises(InputError, match=r"p\.yaml: model\.name: "):
        parse(Params, edited(["model", "name"], name), "p.yaml")


@pytest.mark.parametrize("content", [None, [], "text", {}])
def test_an_empty_file_is_no_document(content: str | None) -> None:
    """Nothing where a mapping should be is an error."""
    with pytest.raises(InputError, match=r"p\.yaml"):
        parse(Params, content, "p.yaml")


def test_what_a_newer_program_recorded_survives_an_older_one() -> None:
    """A recorded document keeps the keys that it does not know."""
    digest = "sha256:" + "0" * 64
    content = {
        "verdict": "pass", "baseline": {"digest": digest}, "candidate": {"digest": digest, "new": 1}, "device": "d",
        "device_fingerprint": digest, "measurement": digest, "budgets": [], "from_the_future": [1],
    }  # fmt: skip
    written = parse(RecipeVerdict, content, "v.json").to_json()
    assert written["from_the_future"] == [1]
    assert written["candidate"]["new"] == 1


def test_a_document_is_read_back_as_written(tmp_path: Path) -> None:
    """Writing and reading a recorded document is the identity, and so is its digest."""
    digest = "sha256:" + "1" * 64
    verdict = RecipeVerdict.model_validate(
        {
            "verdict": "fail",
            "baseline": {"digest": digest},
            "candidate": {"digest": digest},
            "device": "d",
            "device_fingerprint": digest,
            "measurement": digest,
            "budgets": [],
        }
    )
    verdict.write(tmp_path / "verdict.json")
    assert load(RecipeVerdict, tmp_path / "verdict.json") == verdict
    assert RecipeVerdict.read(tmp_path / "verdict.json").content_digest() == verdict.content_digest()


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("200kB", "bytes", 200_000), ("1KiB", "bytes", 1024), (" 1.5 MB ", "bytes", 1.5e6), (7, "bytes", 7),
        ("5ms", "seconds", 0.005), ("2 min", "seconds", 120), (".5s", "seconds", 0.5), ("1%", "fraction", 0.01),
        ("3µs", "seconds", 3e-6), ("6h", "seconds", 21_600), ("2M", "count", 2e6), ("1e-3", "score", 1e-3),
    ],
)  # fmt: skip
def test_quantities_are_read_in_either_form(text: str | int, unit: str, value: float) -> None:
    """With a unit or as a plain number in base units."""
    assert parse_quantity(text, unit) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "kB", "1 apple", "--1B", "1e999B", "nan", float("inf"), True, "1s 2s"])
def test_quantities_that_are_none_are_refused(text: str | float | bool) -> None:
    """NaN, infinity, truth values and unknown units never become a limit."""
    with pytest.raises(ValueError, match=r"expected|unit"):
        parse_quantity(text, "bytes")


@given(st.floats(0, 1e15), st.sampled_from(["B", "kB", "MB", "GiB"]))
def test_a_unit_only_scales(number: float, unit: str) -> None:
    """A quantity with a unit is the number times the unit's scale."""
    scale = {"B": 1, "kB": 1e3, "MB": 1e6, "GiB": 2**30}[unit]
    assert parse_quantity(f"{number!r}{unit}", "bytes") == pytest.approx(number * scale)


def test_the_worst_verdict_decides_and_nothing_is_an_error() -> None:
    """A failure outranks what could not be judged; an empty list never passes."""
    good, bad, open_, broken = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.ERROR
    assert worst([good, open_, bad, broken]) is bad
    assert worst([good, open_, broken]) is broken
    assert worst([good, open_]) is open_
    assert worst([good, good]) is good
    assert worst([]) is broken
    assert [verdict.exit_code for verdict in (good, bad, open_, broken)] == [0, 1, 3, 3]


def test_budget_files_need_no_params_file(tmp_path: Path) -> None:
    """A list under `budgets:`, or a bare list, is enough for the stand-alone gate."""
    for text in ("budgets:\n- {metric: params, max: 10k}\n", "- {metric: params, max: 10k}\n"):
        (tmp_path / "b.yaml").write_text(text)
        assert read_budgets(tmp_path / "b.yaml")[0].limit == 10_000
    with pytest.raises(InputError, match="unknown key 'metrik'"):
        parse(BudgetFile, {"budgets": [{"metrik": "params", "max": 1}]}, "b.yaml")


def with_targets(
    target: str | list[str], targets: Sequence[str] = ("onnxruntime", "litert"), **devices: dict[str, Any]
) -> dict[str, Any]:
    """PARAMS with a recipe's target, the declared targets and devices."""
    content = edited(["recipes", "int8", "target"], target)
    return {**content, "targets": list(targets), **({"devices": devices} if devices else {})}


def test_one_target_here_needs_no_name_but_the_recipe_s() -> None:
    """What people had before there were targets and devices stays as it was."""
    (candidate,) = parse(Params, PARAMS, "p.yaml").candidates()
    assert (candidate.name, candidate.target, candidate.device) == ("int8", "onnxruntime", "local")
    assert candidate.folder == "artifacts/recipes/int8/onnxruntime"
    assert candidate.measurement == "measurements/int8/onnxruntime@local.json"


def test_targets_and_devices_make_candidates() -> None:
    """Each target on each device that takes it; names tell them apart."""
    pi = {"address": "ssh://pi@board.local:2222", "targets": ["litert"]}
    params = parse(Params, with_targets(["onnxruntime", "litert"], local={}, pi=pi), "p.yaml")
    assert [candidate.name for candidate in params.candidates()] == [
        "int8/onnxruntime",
        "int8/litert",
        "int8/litert@pi",
    ]
    assert params.candidates("int8") == params.candidates()
    assert params.candidates("none") == []


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (with_targets("tensorrt"), "recipes.int8.target"),
        (with_targets([]), "recipes.int8.target"),
        (with_targets(["litert", "litert"]), "'target' names one runtime twice"),
        (with_targets("executorch"), "'executorch' of recipe 'int8' is not among 'targets'"),
        (with_targets("litert", targets=["litert", "litert"]), "'targets' names one runtime twice"),
        (with_targets("litert", pi={"address": "ssh://pi", "targets": ["onnxruntime"]}), "no device weighs recipe"),
        (with_targets("litert", local={"address": "ssh://pi"}), "the device 'local' is this machine"),
        (with_targets("litert", pi={"address": "pi"}), "devices.pi.address: expected ssh://[user@]host[:port]"),
        (with_targets("litert", pi={"address": "ssh://-oProxyCommand=x"}), "expected ssh://"),
        (with_targets("litert", pi={"address": "ssh://a;b"}), "expected ssh://"),
        (with_targets("litert", pi={"address": "ssh://a:0"}), "expected ssh://"),
        (with_targets("litert", pi={"address": "ssh://a", "command": ["b"]}), "at most one of 'address' and 'command'"),
        (with_targets("litert", pi={"address": "ssh://a", "folder": "tmp"}), "expected an absolute path"),
        (with_targets("litert", pi={"address": "ssh://a", "python": "-c"}), "devices.pi.python"),
        (with_targets("litert", pi={"python": "python3"}), "'python' needs an 'address'"),
        (with_targets("litert", pi={"computes_here": True}), "'computes_here' needs a 'command'"),
        (with_targets("litert", pi={"cores": [1, 1]}), "'cores' are different numbers"),
        (with_targets("litert", pi={"command": []}), "devices.pi.command"),
        ({**with_targets("litert"), "model": {"name": "n", "onnx": "m.onnx"}}, "has onnxruntime as its only target"),
    ],
)
def test_targets_and_devices_that_make_no_sense_are_refused(content: dict[str, Any], line: str) -> None:
    """One line each, before anything is built or contacted."""
    with pytest.raises(InputError) as caught:
        parse(Params, content, "p.yaml")
    assert line in str(caught.value)


def test_off_and_no_are_names() -> None:
    """They are words to people, and to YAML 1.2; only `true` and `false` are truth values."""
    content = with_targets("litert")
    content["devices"] = parse_yaml("local: {}\noff: {address: ssh://pi}", "p.yaml")
    assert "off" in parse(Params, content, "p.yaml").devices


@pytest.mark.parametrize(("key", "found"), [("true", "True"), ("7", "7")])
def test_a_name_that_yaml_takes_for_something_else_is_named(key: str, found: str) -> None:
    """A name is text, and YAML reads some bare words as other things."""
    content = with_targets("litert")
    content["devices"] = parse_yaml(f"local: {{}}\n{key}: {{address: ssh://pi}}", "p.yaml")
    with pytest.raises(InputError, match=rf"p\.yaml: devices: a name is {found} to YAML, not text \(put it in quotes"):
        parse(Params, content, "p.yaml")


def test_a_budget_names_a_device_by_class_or_by_name() -> None:
    """And one that names neither applies everywhere."""
    found = device(device_class="pi5", name="pi")
    budgets = [Budget(metric="latency.p50", max="1ms", device=name) for name in (None, "pi", "pi5", "local")]
    assert [budget.applies_to(found) for budget in budgets] == [True, True, True, False]
