"""Where a version's bytes can be had: the project's artifacts, DVC's cache, its remote. Verified, always."""

from __future__ import annotations

import configparser
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from weighbridge.core.errors import InputError, IntegrityError, StateError
from weighbridge.core.files import atomic_path, atomic_write, sha256_file
from weighbridge.registry.lookup.asking import CannotAskError
from weighbridge.registry.lookup.resolved import Resolved


def locate(root: Path, resolved: Resolved, *, remote: bool = True) -> Path:
    """A file that holds the version's bytes: the first whose SHA-256 is right, of the project's artifact, DVC's cache
    and, if `remote`, the DVC remote (then kept under `.weighbridge/bytes/`).

    Where a place holds other bytes under that name it is passed over; if none has the right ones, the error says
    what each place said: a `CannotAskError` where the remote could not be asked, another `StateError` where it does
    not have them. Bytes that a remote gives and that hash wrong are an `IntegrityError`.
    """
    said: list[str] = []
    wanted = f"the bytes of {resolved.model}@{resolved.version} ({resolved.digest[:19]}…)"
    for place, path in _local_places(root, resolved):
        if not path.is_file():
            said.append(f"not in {place}")
        elif sha256_file(path) == resolved.digest:
            return path
        else:
            said.append(f"other bytes in {place}")
    if remote:
        try:
            return from_remote(root, resolved)
        except CannotAskError as error:
            raise CannotAskError(
                f"{wanted} are not on this machine ({'; '.join(said)}), and {error}",
                fix="whether the remote has them is not known; `rollback --unproven` goes back all the same",
            ) from error
        except StateError as error:
            said.append(str(error))
    raise StateError(f"{wanted} cannot be had: {'; '.join(said)}", fix="`dvc push` them from where they were made")


def _local_places(root: Path, resolved: Resolved) -> Iterator[tuple[str, Path]]:
    yield "the project", root / resolved.path
    if len(resolved.md5) == 32 and resolved.md5.isalnum():
        yield "DVC's cache", cache_folder(root) / "files" / "md5" / resolved.md5[:2] / resolved.md5[2:]
    yield "the pulled bytes", _kept(root, resolved)


def _kept(root: Path, resolved: Resolved) -> Path:
    return root / ".weighbridge" / "bytes" / resolved.digest.removeprefix("sha256:")


def from_remote(root: Path, resolved: Resolved, name: str | None = None) -> Path:
    """A file with the version's bytes, verified, that a DVC remote gave: the default one, or `name`.

    It is kept under `.weighbridge/bytes/`. A remote that does not have them is a `StateError`; one that gives others
    an `IntegrityError`.
    """
    kept = _kept(root, resolved)
    with tempfile.TemporaryDirectory() as folder:
        arrived = Path(folder) / "bytes"
        local = local_remote(root, name)
        if local is not None:
            source = local / "files" / "md5" / resolved.md5[:2] / resolved.md5[2:]
            if not local.is_dir():
                raise CannotAskError(f"the DVC remote {str(local)!r} could not be asked: folder not found")
            try:
                if not source.is_file():
                    raise StateError(f"the DVC remote {local.name!r} does not have them")
                shutil.copyfile(source, arrived)
            except OSError as error:
                raise CannotAskError(f"the DVC remote {str(local)!r} could not be read: {error.strerror}") from error
        else:
            from weighbridge.registry.lookup import dvc_remotes  # noqa: PLC0415  # needed only where nothing local has the bytes

            dvc_remotes.fetch(root, resolved.md5, arrived, remote=name)
        if sha256_file(arrived) != resolved.digest:
            raise IntegrityError(
                "what the DVC remote gave hashes wrong: it is not what was promoted",
                where=f"{resolved.model}@{resolved.version}",
            )
        with atomic_path(kept) as temporary:
            shutil.copyfile(arrived, temporary)
        # A project that does not ignore the folder must not look dirty because of it.
        atomic_write(kept.parent / ".gitignore", b"*\n")
    return kept


def _config(root: Path) -> tuple[configparser.ConfigParser, Path]:
    """DVC's configuration of the project, local settings last, and the folder of the file that paths refer to."""
    folder = root / ".dvc"
    config = configparser.ConfigParser(interpolation=None)
    try:
        config.read([folder / "config", folder / "config.local"], encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {str(error).splitlines()[0]}", where=".dvc/config") from error
    return config, folder


def cache_folder(root: Path) -> Path:
    """Where DVC's cache of the project is."""
    config, folder = _config(root)
    named = config.get("cache", "dir", fallback="")
    return Path(os.path.normpath(folder / named)) if named else folder / "cache"


def local_remote(root: Path, name: str | None = None) -> Path | None:
    """The folder of the project's default DVC remote, or of `name`; None where it is no local folder, or there is
    none.
    """
    config, folder = _config(root)
    name = name or config.get("core", "remote", fallback="")
    for section in config.sections():
        if section.strip("'").replace('"', "") == f"remote {name}":
            url = config.get(section, "url", fallback="")
            if url and not urlsplit(url).scheme:
                return Path(os.path.normpath(folder / url))
    return None


def has_remote(root: Path) -> bool:
    """Whether the project has a default DVC remote."""
    return bool(_config(root)[0].get("core", "remote", fallback=""))


def publish(root: Path, artifacts: Sequence[tuple[str, str]]) -> None:
    """See to it that the default DVC remote, if there is one, has the bytes that a version will name.

    `artifacts`: path of each file within the project, and its md5. A local remote is written to directly, any other
    by `dvc push`. What cannot be brought there is a `StateError`: nobody else could pull that version.
    """
    if not has_remote(root):
        return
    remote = local_remote(root)
    if remote is None:
        from weighbridge.registry.lookup import dvc_remotes  # noqa: PLC0415  # needed only for remotes that are not folders

        dvc_remotes.push(root, [os.path.dirname(path) for path, _ in artifacts])  # noqa: PTH120  # text as DVC wants it
        return
    for path, md5 in artifacts:
        target = remote / "files" / "md5" / md5[:2] / md5[2:]
        if not target.is_file() or target.stat().st_size != (root / path).stat().st_size:
            with atomic_path(target) as temporary:
                shutil.copyfile(root / path, temporary)
            target.chmod(0o444)
