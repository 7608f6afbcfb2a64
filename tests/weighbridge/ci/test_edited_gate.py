"""Which changed files are the gate itself."""

import pytest

from weighbridge.ci.edited_gate import MOST_FILES, edited_gate
from weighbridge.ci.github import ChangedFile


@pytest.mark.parametrize(
    "file",
    [
        ChangedFile(".github/workflows/gate.yml", None, ""),
        ChangedFile(".github/actions/setup/action.yml", None, ""),
        ChangedFile("models/net/dvc.yaml", None, ""),
        ChangedFile("registry.policy.yaml", None, ""),
        ChangedFile("weighbridge/ci/change_gate.py", None, ""),
        ChangedFile("requirements-weighbridge.txt", None, "-weighbridge==1\n+weighbridge==2"),
        ChangedFile("requirements.txt", None, "+--extra-index-url https://example.org"),
        ChangedFile("uv.lock", None, None),
        ChangedFile("old/gate.yml", ".github/workflows/gate.yml", ""),
    ],
)
def test_the_gates_own_files_are_found(file: ChangedFile) -> None:
    """Workflows, pipelines, policy, code, this program's own version; renamed away counts too."""
    assert edited_gate([ChangedFile("README.md", None, ""), file]) == [file.before or file.name]


def test_other_files_are_not() -> None:
    """Data, parameters, code and other libraries: the gate judges these."""
    names = ("params.yaml", "net.py", "docs/gate.md", "requirements.txt", "pyproject.toml", "my/weighbridge/notes.py")
    assert edited_gate([ChangedFile(name, None, " weighbridge\n+numpy==2") for name in names]) == []


def test_a_change_that_is_too_large_to_list_cannot_be_told() -> None:
    """GitHub stops naming files: what comes after could be the gate."""
    files = [ChangedFile(f"data/{number}.png", None, None) for number in range(MOST_FILES)]
    assert edited_gate(files) == ["more than 2,999 files"]
    assert edited_gate(files[1:]) == []
