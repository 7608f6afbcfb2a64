"""Whether a working tree shows the registry that its commit has: what was not seen is never taken for "no models yet".

A sparse checkout leaves folders out without a word, and a command that is started in another folder sees none either.
"""

from __future__ import annotations

from pathlib import Path

from weighbridge.core.errors import StateError
from weighbridge.core.git import Git
from weighbridge.core.project import PARAMS, PIPELINE
from weighbridge.registry.state.layout import MODEL_NAME, MODELS, home

_PROJECT = ("registry", ".dvc", PARAMS, PIPELINE)


def require_whole(root: Path, seen: list[str]) -> None:
    """A `StateError` where HEAD has models that the working tree of `root` does not show; `seen` are those it does.

    Outside of a Git repository, and before its first commit, there is nothing to compare with.
    """
    git = Git(root)
    if git.attempt("rev-parse", "--verify", "--quiet", "HEAD^{commit}").returncode != 0:
        return
    hidden = sorted(set(_committed(git)) - set(seen))
    if hidden:
        sparse = git.attempt("config", "--type=bool", "--get", "core.sparseCheckout").stdout.strip() == "true"
        raise StateError(
            f"HEAD has the model {hidden[0]!r}, and this working tree does not show it"
            + (": it is a sparse checkout" if sparse else ""),
            where=MODELS,
            fix="`git sparse-checkout add registry`" if sparse else "`git restore registry`",
        )


def require_place(root: Path, seen: list[str]) -> None:
    """As `require_whole`, and a `StateError` where `root` is not a folder that carries a registry at all."""
    require_whole(root, seen)
    if seen:
        return
    top = home(root)
    if top.resolve() != root.resolve() and (top / MODELS).is_dir():
        raise StateError(f"the registry of this repository is in {top}", where=str(root), fix=f"--root {top}")
    if not any((root / name).exists() for name in _PROJECT):
        raise StateError(
            "this folder has neither a registry nor a Weighbridge project",
            where=str(root.resolve()),
            fix="name the project's folder with --root",
        )


def _committed(git: Git) -> list[str]:
    """Models in HEAD, as seen from the folder that git runs in."""
    listing = git.run("ls-tree", "-z", "--name-only", "-d", "HEAD", f"{MODELS}/")
    names = (name.rpartition("/")[2] for name in listing.split("\0") if name)
    return [name for name in names if MODEL_NAME.fullmatch(name)]
