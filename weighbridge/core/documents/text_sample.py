"""The key `weighing.sample` of params.yaml: texts that both models continue, for people to read."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from weighbridge.core.documents.base import Factory, Written


class TextSample(Written):
    """Texts of the test set whose beginnings the baseline and the candidate continue, each with its likeliest tokens.

    They stand in the report and decide nothing.
    """

    prompts: int = Field(default=2, ge=1, le=5)
    """How many texts."""
    prompt_tokens: int = Field(default=48, ge=1, le=1024)
    """How much of an example is given."""
    tokens: int = Field(default=80, ge=1, le=256)
    """How many tokens follow, at most; ten seconds for a model and a text end them earlier."""
    decode: Literal["bytes"] | Factory
    """From tokens to text: `bytes` where tokens are bytes of UTF-8, else `module:callable`, a function of a list of
    integers that gives text."""
