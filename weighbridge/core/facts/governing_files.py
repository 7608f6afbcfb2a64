"""The table of files that govern a project from beside its pipeline: libraries, workflows, the registry's policy."""

from __future__ import annotations

from fnmatch import fnmatchcase

LIBRARY_FILES = (
    "requirements*.txt", "requirements*.in", "constraints*.txt", "constraints*.in", "pyproject.toml", "setup.py",
    "setup.cfg", "uv.lock", "poetry.lock", "pdm.lock", "pixi.lock", "pylock*.toml", "Pipfile", "Pipfile.lock",
    "environment*.yml", "environment*.yaml", "conda-lock.yml", ".python-version",
)  # fmt: skip
"""Names of files that decide which libraries run: in the project's folder, at the repository's top, and between."""
REGISTRY_POLICY = "registry.policy.yaml"
ACTIONS = ".github/actions/"
"""The folder of a repository's own actions: what lies in it counts whatever it says."""
WORKFLOW_FOLDERS = (".github/workflows", ".github/actions", ".gitlab", ".circleci")
WORKFLOWS = (
    ".github/workflows/*", f"{ACTIONS}*", "action.yml", "action.yaml", ".gitlab-ci.yml", ".gitlab/*", "Jenkinsfile",
    ".circleci/*", "azure-pipelines.yml", "bitbucket-pipelines.yml", ".woodpecker.yml", ".drone.yml",
)  # fmt: skip
"""Paths from the repository's top that tell a CI system what to run; `*` stands for folders too."""


def decides_libraries(name: str) -> bool:
    """Whether a file of that name, without its folder, decides which libraries run."""
    return any(fnmatchcase(name, pattern) for pattern in LIBRARY_FILES)


def may_run_gate(path: str) -> bool:
    """Whether a path from the repository's top is one at which CI systems look for what to run."""
    return any(fnmatchcase(path, pattern) for pattern in WORKFLOWS)


def runs_gate(path: str, data: bytes | None) -> bool:
    """Whether a file tells a CI system how to run the gate: an action of the repository, or a file that names us."""
    return may_run_gate(path) and (path.startswith(ACTIONS) or b"weighbridge" in (data or b"").lower())
