"""A store that could not be asked, and one that answered that it does not have something: two different nights."""

from __future__ import annotations

from weighbridge.core.errors import StateError


class CannotAskError(StateError):
    """A store did not answer: whether it has the bytes is not known."""
