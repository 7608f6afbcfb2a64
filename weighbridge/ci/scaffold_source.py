"""Where what init writes installs Weighbridge from."""

from __future__ import annotations

import re
from pathlib import Path

from weighbridge import __version__
from weighbridge.ci.locking import LOCKED
from weighbridge.core.errors import InputError

SOURCE = f"git+https://weighbridge.invalid/weighbridge@v{__version__}"
"""Where `--install-from` says nothing: an address that nobody can own (RFC 2606), for a person to replace. There is no
release yet, and a guessed address would install what somebody else put there."""


def checked_source(given: str | None) -> str:
    """What pip installs from: `git+https://…@REF`, or a wheel's URL or path; the runner must have the path too.

    Raises `InputError` for anything else, and for a path without a file.
    """
    if given is None:
        return SOURCE
    if given.endswith(".whl") and "://" not in given:
        wheel = Path(given).absolute()
        if not wheel.is_file():
            raise InputError("file not found", where=f"--install-from {given}", fix="the path or URL of a wheel")
        return wheel.as_uri()
    if re.fullmatch(r"(git\+)?(https|ssh|file)://[^\s\"'`$\\]+", given):
        return given
    raise InputError(
        f"{given!r} is neither a git reference nor the URL of a wheel",
        where="--install-from",
        fix="git+https://HOST/OWNER/REPOSITORY@REF, https://…/weighbridge-….whl or file:///…/weighbridge-….whl",
    )


def requirements(source: str = SOURCE) -> str:
    """What the gate installs; its change rebuilds and weighs everything again."""
    return (
        "# What the pipeline runs on. A stage's result depends on this file: a new version builds and weighs afresh.\n"
        f"weighbridge[compress,pipeline] @ {source}\n"
        f"--constraint {LOCKED}\n"
    )
