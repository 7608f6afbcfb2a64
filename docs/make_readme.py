"""Put the report of the last pipeline run into the README: `python docs/make_readme.py`.

What stands open in it before the limits one by one, to the letter, with smaller headings; the rest is longer than a README.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"(<!-- report: begin .*? -->\n).*?(<!-- report: end -->)", re.DOTALL)


def shown(report: str) -> str:
    """The report up to its first folding or its list of limits, headings two levels down."""
    text = re.split(r"\n<details>|\n### Limits", report, maxsplit=1)[0].rstrip()
    return re.sub(r"^(#+ )", r"##\1", text, flags=re.MULTILINE)


def main() -> None:
    """Rewrite the block between the markers."""
    readme = ROOT / "README.md"
    report = shown((ROOT / "reports" / "gate.md").read_text())
    readme.write_text(BLOCK.sub(lambda match: f"{match[1]}\n{report}\n\n{match[2]}", readme.read_text()))


if __name__ == "__main__":
    main()
