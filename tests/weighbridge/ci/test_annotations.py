"""Marks on lines of params.yaml."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.ci.annotations import Annotation, for_input_error, line_of
from weighbridge.core.errors import InputError

PARAMS = """\
model: {name: m}
recipes:
  int8:
    steps:
      - quantize: {scheme: x}
      - prune:
          ratio: 2
budgets:
  - {metric: size.bytes, max: 1kB}
  - metric: latency.p50
    max: 1ms
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("recipes", "int8"), 3),
        (("recipes", "int8", "steps", 1, "prune", "ratio"), 7),
        (("budgets", 0), 9),
        (("budgets", 1), 10),
        (("budgets", 7), 8),
        (("gone",), 1),
        ((), 1),
    ],
)
def test_the_line_of_a_key_or_its_closest_parent(path: tuple[str | int, ...], line: int) -> None:
    """Recipes and budgets are found where they stand; what is missing points at what would hold it."""
    assert line_of(PARAMS, *path) == line


def test_bad_yaml_points_at_the_line_of_the_problem() -> None:
    """A file that does not parse still gets its mark on the right line."""
    assert line_of("a: 1\nb: [\nc: {", "b") >= 2
    assert line_of("", "b") == 1


def test_an_input_error_is_marked_on_its_key() -> None:
    """The path in the error's place leads to the line."""
    error = InputError("must be below 1", where="params.yaml: recipes.int8.steps[1].prune.ratio", fix="use 0.5")
    made = for_input_error(error, "params.yaml", PARAMS)
    assert (made.file, made.line) == ("params.yaml", 7)
    assert "must be below 1 (use 0.5)" in made.message


@given(st.text(), st.text())
def test_no_value_can_end_a_command_or_start_another(title: str, message: str) -> None:
    """Whatever stands in it, a command is one line and its message cannot reach into its properties."""
    made = Annotation("error", "params.yaml", 3, title, message).command()
    assert len(made.splitlines()) <= 1 + sum(made.count(odd) for odd in "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029")
    assert "\n" not in made
    assert "\r" not in made
    properties = made.removeprefix("::error ").partition("::")[0]
    assert properties.count(",") == 2
