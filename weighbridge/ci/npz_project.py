"""`weighbridge init --data FILE.npz`: a data factory is written that reads the file; from then on it is the user's."""

from __future__ import annotations

MODULE = "npz_examples.py"
FACTORY = "npz_examples:load"


def meant(data: str) -> bool:
    """Whether `--data` names a file instead of a callable."""
    return data.endswith(".npz")
