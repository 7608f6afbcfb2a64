"""The style sheet: every text has enough contrast in both schemes."""

import re
from importlib import resources
from typing import Any

import pytest

STYLE = resources.files("weighbridge.registry.site").joinpath("assets", "style.css").read_text()
LIGHT, DARK = (dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block)) for block in re.findall(
    r":root \{(.*?)\}", STYLE, re.DOTALL))  # fmt: skip
PAIRS = [
    ("ink", "paper"), ("ink", "surface"), ("soft", "paper"), ("soft", "surface"), ("accent", "paper"),
    ("accent", "surface"), ("stable", "surface"), ("canary", "surface"), ("baseline", "surface"), ("good", "surface"),
    ("bad", "surface"), ("stable", "stable-wash"), ("canary", "canary-wash"), ("baseline", "baseline-wash"),
    ("bad", "bad-wash"), ("ink", "bad-wash"),
]  # fmt: skip


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize(("front", "back"), PAIRS)
def test_text_has_the_contrast_that_wcag_asks_for(scheme: dict[str, Any], front: str, back: str) -> None:
    """At least 4.5 to 1 for text of ordinary size."""
    low, high = sorted((luminance(scheme[front]), luminance(scheme[back])))
    assert (high + 0.05) / (low + 0.05) >= 4.5
