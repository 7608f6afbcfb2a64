"""YAML as plain values: a safe subset whose nesting and size are known before anything is built from it.

libyaml builds nested nodes by recursion in C: some ten thousand brackets end the process without a message. Its events
come one at a time, so that they are counted first where a text could be nested deeply or repeats itself by aliases.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

import yaml

try:  # libyaml reads ten times faster; the pure parser understands the same files
    from yaml import CSafeLoader as _SafeLoader
except ImportError:
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]

from weighbridge.core.errors import InputError

DEEPEST = 100
"""Levels of lists and mappings inside each other at most."""
MOST_VALUES = 1_000_000
"""Values at most, counting what an alias repeats as often as it is repeated."""
LARGEST = 1 << 26
"""Characters at most."""

_INDENT = re.compile(r"^[ \t?:-]+", re.MULTILINE)
_BOOLEAN = re.compile(r"(?:true|True|TRUE|false|False|FALSE)$")
_BAD_SCALAR = (ValueError, LookupError, AttributeError, TypeError, OverflowError)
"""What PyYAML's constructors raise for scalars that look like a date or a number and are none, or are tagged so."""
_OTHER_TYPES = ("set", "omap", "pairs", "binary")
"""YAML types that no document of ours has: JSON knows lists, mappings, texts, numbers, booleans and null."""


def _without_words_for_booleans() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """PyYAML's rules for plain scalars, by first letter, with `true` and `false` as the only booleans."""
    boolean = "tag:yaml.org,2002:bool"
    kept = {
        first: [(tag, pattern) for tag, pattern in rules if tag != boolean]
        for first, rules in _SafeLoader.yaml_implicit_resolvers.items()
    }
    for first in "tTfF":
        kept[first] = [*kept.get(first, []), (boolean, _BOOLEAN)]
    return kept


class _StrictLoader(_SafeLoader):
    """Safe YAML that refuses a key written twice, where the last one would win silently.

    Booleans are those of YAML 1.2, by which DVC reads params.yaml too: `on`, `off`, `yes` and `no` are text, so that
    `share: {on: file}` has the key that it shows.
    """

    yaml_implicit_resolvers = _without_words_for_booleans()

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002
        try:
            return super().construct_object(node, deep)
        except _BAD_SCALAR as error:
            if not isinstance(node, yaml.ScalarNode):
                raise
            kind = str(node.tag).rpartition(":")[2]
            raise yaml.constructor.ConstructorError(
                None, None, f"{node.value[:40]!r} is not a valid {kind}", node.start_mark
            ) from error

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        if not isinstance(node, yaml.MappingNode):  # as `!!map text`
            return super().construct_mapping(node, deep)  # type: ignore[arg-type]  # raises
        if all(_plain_text(key_node) for key_node, _ in node.value):
            return self._construct_plain(node, deep=deep)
        seen: set[str] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = str(self.construct_object(key_node, deep=True))
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} occurs twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)

    def _construct_plain(self, node: yaml.MappingNode, *, deep: bool) -> dict[Any, Any]:
        """A mapping whose keys are plain texts, as nearly all are: the same result in half the time."""
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            if key_node.value in mapping:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key_node.value!r} occurs twice", key_node.start_mark
                )
            plain = _plain_text(value_node)
            mapping[key_node.value] = value_node.value if plain else self.construct_object(value_node, deep=deep)
        return mapping


def _refuse_type(_: Any, node: yaml.Node) -> NoReturn:
    kind = str(node.tag).rpartition(":")[2]
    raise yaml.constructor.ConstructorError(None, None, f"the type !!{kind} is not supported", node.start_mark)


for _kind in _OTHER_TYPES:
    _StrictLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _refuse_type)


def _plain_text(node: yaml.Node) -> bool:
    return node.tag == "tag:yaml.org,2002:str" and isinstance(node, yaml.ScalarNode)


def parse_yaml(text: str, where: str) -> Any:
    """Parse YAML: a safe subset without duplicate keys.

    Raises `InputError` with the line for bad syntax, scalars that are no valid date or number, YAML types that JSON
    does not know, more than `DEEPEST` levels, and more than `MOST_VALUES` values once aliases are expanded.
    """
    if len(text) > LARGEST:
        raise InputError(f"has {len(text)} characters; at most {LARGEST} are read", where=where)
    try:
        _check_size(text)
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506  # a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise InputError(f"is not valid YAML: {problem}", where=f"{where}{line}") from error


def compose(text: str) -> yaml.Node | None:
    """The nodes of a text, with their lines; raises `yaml.YAMLError` where `parse_yaml` would refuse its syntax."""
    _check_size(text)
    return yaml.compose(text, Loader=yaml.SafeLoader)


def _check_size(text: str) -> None:
    """Raise `yaml.MarkedYAMLError` where a text is nested too deeply, or too large once its aliases are expanded."""
    indent = max(map(len, _INDENT.findall(text)), default=0)
    # No text is nested deeper than its flow brackets and, in block style, twice its indentation.
    if text.count("[") + text.count("{") + 2 * indent < DEEPEST and "*" not in text:
        return
    counter = _Counter()
    for event in yaml.parse(text, Loader=_SafeLoader):
        problem = counter.take(event)
        if problem is not None:
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)  # type: ignore[arg-type]  # C's


class _Counter:
    """How deep and how large a document is, by its events."""

    def __init__(self) -> None:
        self.open: list[tuple[str | None, int]] = []
        """The anchor of each collection that has not ended, and the values before it."""
        self.sizes: dict[str | None, int] = {}
        """Values under each anchor, once it is whole."""
        self.size = 0

    def take(self, event: yaml.Event) -> str | None:
        """Count one event; what is wrong with the document by now, if anything."""
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.sizes and event.anchor in (anchor for anchor, _ in self.open):
                return f"the alias *{event.anchor} refers to a value that contains it"
            self.size += self.sizes.get(event.anchor, 0)
        elif isinstance(event, yaml.CollectionStartEvent):
            self.open.append((event.anchor, self.size))
            self.sizes.pop(event.anchor, None)
            self.size += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = self.open.pop()
            self._note(anchor, self.size - before)
        elif isinstance(event, yaml.ScalarEvent):
            self.size += 1
            self._note(event.anchor, 1)
        if len(self.open) > DEEPEST:
            return f"is nested more than {DEEPEST} levels deep"
        return f"has more than {MOST_VALUES:,} values" if self.size > MOST_VALUES else None

    def _note(self, anchor: str | None, size: int) -> None:
        if anchor is not None:
            self.sizes[anchor] = size
