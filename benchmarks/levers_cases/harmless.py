"""Changes that alter nothing that is built, weighed or demanded: neither gated nor annotated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from levers_cases.case import Edit, Lever, both, replace, stage, write
from levers_cases.repository import WORKFLOW


def harmless(name: str, change: Edit, base: Edit = lambda _: None) -> Lever:
    """Passes with "nothing to weigh"."""
    return Lever(name, change, "nothing to weigh", (0,), base)


def turned(path: str) -> Edit:
    """The same YAML with every mapping's keys the other way round, as JSON."""

    def back(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: back(item) for key, item in reversed(value.items())}
        return [back(item) for item in value] if isinstance(value, list) else value

    def edit(root: Path) -> None:
        (root / path).write_text(json.dumps(back(yaml.safe_load((root / path).read_text())), indent=3) + "\n")

    return edit


def commented(path: str) -> Edit:
    """A comment on the first line."""
    return lambda root: (root / path).write_text(f"# words\n{(root / path).read_text()}") and None


LEVERS: tuple[Lever, ...] = (
    harmless("the readme", write("README.md", "# Net\n\nWords.\n")),
    harmless("a guide", write("docs/guide.md", "Words.\n")),
    harmless(
        "a new test",
        write("tests/test_more.py", "import evaluation\n\n\ndef test() -> None:\n    assert evaluation.load\n"),
    ),
    harmless("an old test", write("tests/test_net.py", "def test() -> None:\n    assert 1\n")),
    harmless("a comment in params.yaml", commented("params.yaml")),
    harmless("order of keys and layout of params.yaml", turned("params.yaml")),
    harmless("a comment in dvc.yaml", commented("dvc.yaml")),
    harmless("order of keys in dvc.yaml", turned("dvc.yaml")),
    harmless("a description of a stage", stage("prepare", lambda body: body.update(desc="Get it ready"))),
    harmless("layout of dvc.lock", turned("dvc.lock")),
    harmless("a comment in DVC's settings", commented(".dvc/config")),
    harmless("a comment in the workflow of the gate", commented(".github/workflows/gate.yml")),
    harmless(
        "another workflow",
        write(".github/workflows/docs.yml", WORKFLOW.format(name="docs", run="mkdocs build --strict")),
    ),
    harmless("words about waivers", write("waivers/README.md", "Words.\n")),
    harmless(
        "what Git ignores",
        lambda root: (root / ".gitignore").write_text((root / ".gitignore").read_text() + "*.log\n") and None,
    ),
    harmless(
        "line ends of pictures",
        lambda root: (
            (root / ".gitattributes").write_text((root / ".gitattributes").read_text() + "*.png binary\n") and None
        ),
    ),
    harmless("a tool that no stage imports", write("tools/plot.py", "import evaluation\n")),
    harmless("params of somebody else", write("other/params.yaml", "lr: 0.1\n")),
    harmless(
        "settings of a linter",
        replace("pyproject.toml", "88", "100"),
        write("pyproject.toml", "[tool.ruff]\nline-length = 88\n"),
    ),
    harmless("a notebook and a licence", both(write("notes/a.ipynb", "{}\n"), write("LICENSE", "MIT\n"))),
)
