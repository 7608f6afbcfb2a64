"""Writes this repository's own workflows from the templates that `weighbridge init` uses.

Only how Weighbridge is installed differs: from the checkout, not from a release.
"""

from __future__ import annotations

from pathlib import Path

from weighbridge.ci.scaffold import Pipeline, workflows

ROOT = Path(__file__).parents[1]
INSTALL = "python -m pip install --constraint constraints.txt"
PROMOTE = "python -m pip install --constraint constraints-promote.txt"
SETUP = Pipeline(
    promote_lock="constraints-promote.txt",
    install_gate=f"{INSTALL} --editable '.[compress,pipeline]'",
    install_promote=f"{PROMOTE} --editable '.[judge,keyless,pipeline]'",
    install_report=f"{PROMOTE} --editable .",
    install_watch=f"{INSTALL} --editable '.[watch]'",
)


def files() -> dict[str, str]:
    """Path → content."""
    return workflows(SETUP)


if __name__ == "__main__":
    for name, text in files().items():
        (ROOT / name).write_text(text, encoding="utf-8")
