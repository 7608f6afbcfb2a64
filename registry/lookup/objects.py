"""The bytes of one object of DVC's by its md5: from the cache, or from the default remote."""

from __future__ import annotations

import tempfile
from pathlib import Path

from weighbridge.core.dvc_files import file_md5
from weighbridge.core.errors import IntegrityError, StateError
from weighbridge.core.files import read_bytes
from weighbridge.registry.lookup import dvc_remotes
from weighbridge.registry.lookup.location import cache_folder, has_remote, local_remote


def object_bytes(root: Path, md5: str) -> bytes:
    """An object's bytes, their md5 checked (that of a folder's listing ends in `.dir`).

    What neither has, or a remote that cannot be asked, is a `StateError`. The md5 only finds the bytes: the caller
    compares them with what the registry's record names.
    """
    if not dvc_remotes.MD5.fullmatch(md5.removesuffix(".dir")):
        raise StateError(f"{md5 or 'nothing'} is not the name of an object of DVC's")
    for place in (cache_folder(root), local_remote(root)):
        path = None if place is None else place / "files" / "md5" / md5[:2] / md5[2:]
        if path is not None and path.is_file() and file_md5(path) == md5.removesuffix(".dir"):
            return read_bytes(path)
    if local_remote(root) is not None or not has_remote(root):
        raise StateError(f"{md5} is neither in DVC's cache nor in its remote")
    with tempfile.TemporaryDirectory() as folder:
        arrived = Path(folder) / "object"
        dvc_remotes.fetch(root, md5, arrived)
        if file_md5(arrived) != md5.removesuffix(".dir"):
            raise IntegrityError("what the DVC remote gave hashes wrong", where=md5)
        return read_bytes(arrived)
