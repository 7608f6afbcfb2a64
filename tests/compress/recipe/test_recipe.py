"""A recipe that cannot work is refused before anything runs, with file, key and what to do."""

from pathlib import Path
from typing import Any

import pytest

from weighbridge.compress.recipe.recipe import TECHNIQUES, phases, read_recipe, read_steps
from weighbridge.core.documents import Params, RecipeSection, parse
from weighbridge.core.errors import InputError

AT = "params.yaml: recipes.r.steps"
BASE = {
    "model": {"name": "tiny", "factory": "tests.compress.nets:MLP"},
    "data": {"factory": "tests.compress.nets:features"},
    "budgets": [{"metric": "size.bytes", "max": "1MB"}],
}


def params(steps: list[Any], **model: str) -> Params:
    """A whole params document with one recipe, `r`."""
    content = {**BASE, "recipes": {"r": {"steps": steps}}}
    if model:
        content["model"] = {"name": "tiny", **model}
    return parse(Params, content, "params.yaml")


def refusal(steps: list[Any], **model: str) -> str:
    """The one line that a recipe is refused with."""
    with pytest.raises(InputError) as caught:
        read_recipe(params(steps, **model), "r")
    return str(caught.value)


def test_steps_come_back_validated_and_in_order() -> None:
    """Defaults are filled in, and each step knows its place in the file."""
    steps = read_recipe(params([{"prune": {"sparsity": 0.5}}, {"quantize": {"scheme": "static-int8"}}]), "r")
    assert [step.name for step in steps] == ["prune", "quantize"]
    assert [phases(step) for step in steps] == [("module",), ("lower",)]
    assert steps[0].config.scope is None  # type: ignore[attr-defined]
    assert steps[1].where == AT + "[1].quantize"


def test_a_technique_needs_no_parameters() -> None:
    """`- pack:` is `- pack: {}`."""
    assert read_recipe(params([{"pack": None}]), "r")[0].name == "pack"


def test_a_recipe_that_is_not_there_gets_a_suggestion() -> None:
    """The nearest name is offered."""
    content = {**BASE, "recipes": {"int8-static": {"steps": [{"pack": {}}]}}}
    with pytest.raises(InputError) as caught:
        read_recipe(parse(Params, content, "params.yaml"), "int8-statc")
    assert str(caught.value) == ("params.yaml: recipes: there is no recipe 'int8-statc' (did you mean 'int8-static'?)")


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (
            [{"prun": {"sparsity": 0.5}}],
            AT + "[0]: unknown technique 'prun' (did you mean 'prune'?)",
        ),
        (
            [{"prune": {"sparsty": 0.5}}],
            AT + "[0].prune: sparsty: unknown key 'sparsty' (did you mean 'sparsity'?)",
        ),
        (
            [{"prune": {"sparsity": 1}}],
            AT + "[0].prune: sparsity: input should be less than 1; found 1",
        ),
        (
            [{"share": {"bits": 99}}],
            AT + "[0].share: bits: input should be less than or equal to 8; found 99",
        ),
        (
            [{"prune": {"sparsity": 0.5}, "share": {"bits": 2}}],
            (
                AT + "[0]: expected one technique with its parameters; found prune, share "
                "(write each technique as its own list item: '- technique: {parameters}')"
            ),
        ),
        (
            [{}],
            (
                AT + "[0]: expected one technique with its parameters; found an empty mapping "
                "(write each technique as its own list item: '- technique: {parameters}')"
            ),
        ),
        (
            [{"quantize": {"scheme": "static-int8"}}, {"prune": {"sparsity": 0.5}}],
            (
                AT + "[1].prune: prune changes the PyTorch module, but quantize (steps[0]) before "
                "it already gives a file for the runtime (put prune before quantize)"
            ),
        ),
        (
            [{"pack": {}}, {"quantize": {"scheme": "qat-int8"}}],
            (
                AT + "[1].quantize: quantize changes the PyTorch module, but pack (steps[0]) before "
                "it already gives a file for the runtime (put quantize before pack)"
            ),
        ),
        (
            [{"quantize": {"scheme": "qat-int8"}}, {"prune": {"sparsity": 0.5}}],
            (
                AT + "[1].prune: prune changes the PyTorch module, but quantize (steps[0]) before "
                "it already gives a file for the runtime (put prune before quantize)"
            ),
        ),
        (
            [{"quantize": {"scheme": "qat-int8"}}, {"quantize": {"scheme": "qat-int8"}}],
            AT + "[1].quantize: quantize acts on module and file; a recipe takes one such step",
        ),
        (
            [{"prune": {"sparsity": 0.5}}, {"prune": {"method": "structured", "ratio": 0.5}}],
            (AT + "[1].prune: structured pruning would remove channels from under the result of prune; put it first"),
        ),
        (
            [{"share": {"bits": 4}}, {"prune": {"sparsity": 0.5}}],
            (
                AT + "[1].prune: pruning would give shared weights a value outside of their "
                "codebook; put it before share"
            ),
        ),
    ],
)
def test_refusals_say_where_what_and_how_to_mend(steps: list[Any], said: str) -> None:
    """Each wrong recipe is one whole line."""
    assert refusal(steps) == said


def test_an_onnx_model_takes_only_steps_on_files() -> None:
    """A module step on a finished file is refused by name; lowering steps are not."""
    assert refusal([{"prune": {"sparsity": 0.5}}], onnx="m.onnx").startswith(
        AT + "[0].prune: prune needs the PyTorch module, but the model is an ONNX file"
    )
    assert refusal([{"quantize": {"scheme": "qat-int8"}}], onnx="m.onnx").startswith(
        AT + "[0].quantize: quantize needs the PyTorch module"
    )
    assert read_recipe(params([{"quantize": {"scheme": "static-int8"}}], onnx="m.onnx"), "r")


def test_every_row_of_the_table_acts_in_a_phase_and_documents_its_config() -> None:
    """A technique without function or a field without a docstring would be found out late."""
    for name, technique in TECHNIQUES.items():
        assert technique.module or technique.lower, name
        assert technique.config.__doc__, name
        for field, info in technique.config.model_fields.items():
            assert info.description, f"{name}.{field}"


def test_order_is_by_phase_not_by_name() -> None:
    """Module steps, trained quantization, steps on the file: any number of each but one trained quantization."""
    section = RecipeSection(
        steps=[
            {"prune": {"method": "structured", "ratio": 0.5}},
            {"prune": {"sparsity": 0.5}},
            {"quantize": {"scheme": "qat-int8"}},
            {"pack": {}},
        ]
    )
    assert len(read_steps(section, "params.yaml: recipes.r")) == 4


def test_on_file_is_read_from_the_text_of_params(tmp_path: Path) -> None:
    """As documented, without quotes: YAML 1.1 would have made `true` of the key."""
    text = "model: {name: net, onnx: net.onnx, licence: MIT}\ndata: {factory: evaluation:load}\nrecipes:\n"
    text += "  shared:\n    steps:\n      - share: {on: file, bits: 3}\n      - pack:\n"
    text += "devices: {local: {}}\nbudgets: [{metric: size.bytes, max: 1MB}]\n"
    (tmp_path / "params.yaml").write_text(text)
    steps = read_recipe(Params.read(tmp_path / "params.yaml"), "shared")
    assert (steps[0].config.on, steps[0].config.bits) == ("file", 3)  # type: ignore[attr-defined]
