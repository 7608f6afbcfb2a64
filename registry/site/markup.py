"""HTML elements as values. Text is escaped where it enters, so no page can forget it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9-]*")
_VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})


class Markup(str):
    """HTML that is safe to put into a page."""

    __slots__ = ()


Child = str | Markup | None | Iterable["Child"]


def tag(name: str, /, *children: Child, **attributes: str | float | bool | None) -> Markup:
    """One element. Children that are plain text are escaped; lists are joined; None is nothing.

    Attributes: `class_` is `class`, other underscores are hyphens; None and False leave one out, True has no value.
    """
    given = "".join(_attribute(key, value) for key, value in attributes.items())
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of an element")
    if name in _VOID:
        return Markup(f"<{name}{given}>")
    return Markup(f"<{name}{given}>{text(*children)}</{name}>")


def text(*children: Child) -> Markup:
    """Children without an element around them."""
    return Markup("".join(_render(child) for child in children))


def _render(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, str):
        return html.escape(child, quote=False)
    return "".join(_render(item) for item in child)


def _attribute(key: str, value: str | float | bool | None) -> str:  # noqa: FBT001  # HTML has such attributes
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of an attribute")
    return f" {name}" if value is True else f' {name}="{html.escape(str(value))}"'
