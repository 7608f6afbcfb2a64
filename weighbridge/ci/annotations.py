"""Marks on the lines of `params.yaml` that a verdict is about, as GitHub's workflow commands.

Source: "Workflow commands for GitHub Actions", and the escaping of actions/toolkit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import yaml

from weighbridge.core.errors import InputError
from weighbridge.core.strict_yaml import compose

Level = Literal["error", "warning", "notice"]


@dataclass(frozen=True)
class Annotation:
    """One message, on one line of one file or, where `file` is None, on the run as a whole."""

    level: Level
    file: str | None
    line: int
    title: str
    message: str

    def command(self) -> str:
        """The workflow command, every part escaped, so that no value can end it or start another."""
        place = f"file={_property(self.file)},line={self.line}," if self.file is not None else ""
        return f"::{self.level} {place}title={_property(self.title)}::{_data(self.message)}"


def line_of(text: str, *path: str | int) -> int:
    """The line (from 1) where a key or list item of a YAML text stands; the closest parent's where it does not."""
    try:
        node = compose(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        return mark.line + 1 if mark else 1
    line = 1
    for part in path:
        found = _child(node, part)
        if found is None:
            return line
        line, node = found
    return line


def _child(node: yaml.Node | None, part: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if getattr(key, "value", None) == str(part):
                return key.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and 0 <= part < len(node.value):
        item: yaml.Node = node.value[part]
        return item.start_mark.line + 1, item
    return None


def for_input_error(error: InputError, file: str, text: str) -> Annotation:
    """An error in `params.yaml` on the line of its key: `where` is `path: recipes.int8.steps[0].bits`."""
    _, _, keys = (error.where or "").partition(": ")
    return Annotation("error", file, line_of(text, *_parts(keys)), "invalid params.yaml", str(error))


def _parts(keys: str) -> Sequence[str | int]:
    parts: list[str | int] = []
    for piece in keys.replace("[", ".[").split("."):
        if piece.startswith("[") and piece.endswith("]") and piece[1:-1].isdigit():
            parts.append(int(piece[1:-1]))
        elif piece:
            parts.append(piece)
    return parts


def _data(value: str) -> str:
    return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: str) -> str:
    return _data(value).replace(":", "%3A").replace(",", "%2C")
