"""YAML that somebody else wrote: plain values or one error with file and line, whatever it costs to make."""

import datetime as dt

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from weighbridge.ci.annotations import line_of
from weighbridge.core import strict_yaml
from weighbridge.core.errors import InputError
from weighbridge.core.strict_yaml import DEEPEST, parse_yaml

DEEP = f"nested more than {DEEPEST} levels"
LAUGHS = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 9)
)


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a: 1\na: 2\n", 2, "'a' occurs twice"),
        ("a: [1,\n", 2, "is not valid YAML"),
        ("a: !!python/object:os.system {}\n", 1, "could not determine a constructor"),
        ("a:\n  b: 2026-13-45\n", 2, "'2026-13-45' is not a valid timestamp"),
        ("a: " + "1" * 5000, 1, "is not a valid int"),
        ("a: !!int x", 1, "'x' is not a valid int"),
        ("a: !!float x", 1, "'x' is not a valid float"),
        ("a: !!bool x", 1, "'x' is not a valid bool"),
        ("a: !!timestamp x", 1, "'x' is not a valid timestamp"),
        ("a: !!map x", 1, "expected a mapping node"),
        ("b: 1\na: !!set {x}", 2, "the type !!set is not supported"),
        ("a: !!omap [x: 1]", 1, "the type !!omap is not supported"),
        ("a: !!binary aGk=", 1, "the type !!binary is not supported"),
        ("? [a]\n: 1", 1, "unhashable key"),
        ("a: &b [*b]", 1, "refers to a value that contains it"),
        ("x: 1\na: " + "[" * 30_000, 2, DEEP),
        ("- " * 30_000 + "x", 1, DEEP),
        ("\n".join(" " * level + "k:" for level in range(200)), DEEPEST + 1, DEEP),
        ("{a: " * 200, 1, DEEP),
        (LAUGHS, 7, "more than 1,000,000 values"),
    ],
)
def test_yaml_that_hides_something_is_one_error_with_its_line(text: str, line: int, problem: str) -> None:
    """Duplicate keys, broken syntax, foreign types, odd scalars, depth and bulk: never a traceback, never a crash."""
    with pytest.raises(InputError, match=problem) as caught:
        parse_yaml(text, "params.yaml")
    assert caught.value.where == f"params.yaml:{line}"


def test_a_text_without_end_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Size comes before syntax."""
    monkeypatch.setattr(strict_yaml, "LARGEST", 10)
    with pytest.raises(InputError, match="has 11 characters; at most 10 are read"):
        parse_yaml("a: 12345678", "p")


def test_marking_the_line_of_an_untrusted_text_survives_it() -> None:
    """Annotations look for keys in the text that was just refused."""
    assert line_of("x: 1\na: " + "[" * 30_000, "a") == 2


def test_what_people_write_is_read() -> None:
    """Presets by anchors, dates, a hundred levels."""
    text = "base: &b {epochs: 3, lr: 1}\nmine:\n  <<: *b\n  lr: 2\nuntil: 2026-12-01\n"
    assert parse_yaml(text, "p") == {
        "base": {"epochs": 3, "lr": 1},
        "mine": {"epochs": 3, "lr": 2},
        "until": dt.date(2026, 12, 1),
    }
    assert parse_yaml("[" * DEEPEST + "]" * DEEPEST, "p")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.dates(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES, st.booleans())
def test_every_plain_value_comes_back(value: object, flow: bool) -> None:
    """In block and in flow style: no guard refuses an honest document."""
    assert parse_yaml(yaml.safe_dump(value, default_flow_style=flow), "p") == value


PIECES = st.sampled_from(
    ["a", "1", "-", "?", ":", " ", "\n", "[", "]", "{", "}", ",", "&x", "*x", "!!int", "!!set", "!!map", "!!bool", "<<",
     "2026-13-45", "'", '"', "|", ">", "#", "---", "...", "%", "\t", "0x", "1e9", "=", "~", "\\ud800"]
)  # fmt: skip


@settings(max_examples=400)
@given(st.lists(PIECES, max_size=60).map("".join) | st.text(max_size=60))
def test_any_text_is_a_value_or_an_input_error(text: str) -> None:
    """Whatever is in the file, the answer is one of two."""
    try:
        parse_yaml(text, "p.yaml")
    except InputError as error:
        assert str(error.where).startswith("p.yaml")  # noqa: PT017  # both outcomes are right


def test_booleans_are_true_and_false_alone() -> None:
    """As in YAML 1.2 and in DVC: `on` is a key, `no` a country; the core's other scalars stay what they are."""
    text = "share: {on: file}\nno: [yes, off, y]\nreal: [true, False, TRUE, null, 1, 1.5]\n"
    assert parse_yaml(text, "p") == {
        "share": {"on": "file"},
        "no": ["yes", "off", "y"],
        "real": [True, False, True, None, 1, 1.5],
    }
