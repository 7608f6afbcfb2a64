"""Where the registry's state lies, and the guarded way to read it: names, paths, links, sizes.

Nothing here imports pydantic, so that resolving a channel starts fast.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from weighbridge.core.errors import InputError, IntegrityError, StateError
from weighbridge.core.facts.governing_files import REGISTRY_POLICY
from weighbridge.core.files import DIGEST, canonical_json, sha256_bytes
from weighbridge.core.strict_yaml import parse_yaml

MODELS = "registry/models"
POLICY = REGISTRY_POLICY
CHANNELS = "channels.yaml"
ATTRIBUTES = f"{MODELS}/.gitattributes"
AS_STORED = b"# Digests are taken over these bytes: git must not change line ends (core.autocrlf).\n* -text\n"
"""What `ATTRIBUTES` says; its own folder has it, so that no line of anybody else can come first."""

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
VERSION_NAME = re.compile(r"[vb][1-9][0-9]{0,8}")
EVENT_NAME = re.compile(r"[0-9]{6}\.yaml|[1-9][0-9]{6,8}\.yaml")

FILE_LIMIT = 1_000_000
"""Bytes: no file of the registry's state is larger; one that is was not written by this program."""


class View(Protocol):
    """Read access to the registry's state: of the working tree, or of one commit."""

    def read(self, path: str) -> bytes | None:
        """Bytes of the file at a path relative to the project's root; None where there is none."""
        ...


class WorkTree:
    """The state as the files of the working tree say."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._plain: set[str] = set()

    def read(self, path: str) -> bytes | None:
        """See `View.read`. Links, oversized and irregular files are an `IntegrityError`.

        That a folder is reached without links is looked at once in the life of the view.
        """
        folder = path.rpartition("/")[0]
        if folder not in self._plain:
            refuse_links(self.root, folder)
            self._plain.add(folder)
        return read_guarded(self.root, path)


def home(root: Path) -> Path:
    """Where the registry of the project in `root` lies: one registry serves all projects of one DVC repository.

    The closest folder from `root` up to the Git repository's top that has `.dvc` or a registry; `root` itself where
    there is none, or no Git repository around it.
    """
    start = root.resolve()
    found = None
    for folder in (start, *start.parents):
        if found is None and ((folder / ".dvc").is_dir() or (folder / MODELS).is_dir()):
            found = folder
        if (folder / ".git").exists():
            return root if found is None or found == start else found
    return root


def model_folder(model: str) -> str:
    """`registry/models/<model>`; a name that could leave the folder is an `InputError`."""
    if not MODEL_NAME.fullmatch(model):
        raise InputError(
            f"{model!r} is not a model's name", fix="letters, digits, '-' and '_', starting with a letter or digit"
        )
    return f"{MODELS}/{model}"


def channels_path(model: str) -> str:
    """The file of a model's channels."""
    return f"{model_folder(model)}/{CHANNELS}"


def version_path(model: str, version: str) -> str:
    """The file of one version's record; a name that is no version is an `InputError`."""
    if not VERSION_NAME.fullmatch(version):
        raise InputError(f"{version!r} is not a version", fix="versions are v1, v2 …; baselines b1, b2 …")
    return f"{model_folder(model)}/versions/{version}.yaml"


def event_path(model: str, number: int) -> str:
    """The file of one event."""
    return f"{model_folder(model)}/events/{number:06d}.yaml"


def signature_path(model: str, version: str) -> str:
    """The file of one version's signed statement."""
    version_path(model, version)
    return f"{model_folder(model)}/signatures/{version}.json"


def evidence_path(model: str, version: str, name: str) -> str:
    """A file that is kept beside a version's record: its verdict, or one of its measurements."""
    version_path(model, version)
    if not safe_relative(name):
        raise InputError(f"{name!r} is not the name of a kept file")
    return f"{model_folder(model)}/evidence/{version}/{name}"


def safe_relative(path: str) -> bool:
    """Whether a recorded path stays within the folder that it is relative to."""
    pure = PurePosixPath(path)
    return bool(path) and not pure.is_absolute() and ".." not in pure.parts and "\\" not in path and "\0" not in path


def refuse_links(root: Path, folder: str) -> None:
    """An `IntegrityError` where a folder below `root` is, or is reached through, a symbolic link."""
    if folder and os.path.realpath(root / folder) != os.path.join(os.path.realpath(root), folder):  # noqa: PTH118
        raise IntegrityError("is behind a symbolic link", where=folder, fix="the registry contains plain files only")


def read_guarded(root: Path, path: str) -> bytes | None:
    """Bytes of a regular file of bounded size below `root`, itself no link; None where there is none."""
    try:
        handle = os.open(f"{root}/{path}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        problem = "is a symbolic link" if (root / path).is_symlink() else f"cannot be read: {error.strerror}"
        raise IntegrityError(problem, where=path) from error
    facts = os.fstat(handle)
    if not stat.S_ISREG(facts.st_mode):
        os.close(handle)
        raise IntegrityError("is not a regular file", where=path)
    with os.fdopen(handle, "rb") as file:
        if facts.st_size > FILE_LIMIT:
            raise IntegrityError(f"has {facts.st_size} bytes; at most {FILE_LIMIT} are allowed", where=path)
        return file.read(FILE_LIMIT + 1)


def parse_mapping(data: bytes, where: str) -> dict[str, Any]:
    """One YAML file of the registry as a mapping; anything else is an `IntegrityError` that names it."""
    try:
        content = parse_yaml(data.decode("utf-8"), where)
    except UnicodeDecodeError as error:
        raise IntegrityError("is not UTF-8 text", where=where) from error
    except InputError as error:
        raise IntegrityError(error.what, where=error.where, fix=HAND_EDITED) from error
    if not isinstance(content, dict):
        raise IntegrityError("is not a mapping of keys to values", where=where, fix=HAND_EDITED)
    return content


HAND_EDITED = "the registry's files are never edited by hand; restore them with git"


def state_digest(channels: dict[str, Any]) -> str:
    """Digest of what channels say, without the pointer to the last event."""
    return sha256_bytes(canonical_json({key: value for key, value in channels.items() if key != "head"}))


def read_channels(view: View, model: str) -> dict[str, Any] | None:
    """A model's channels as plain values, checked against the model's last event; None where there is no such model.

    The check costs two small files however long the history: the channels name the digest of the last event,
    and the last event the digest of the channels. One that was edited by hand is an `IntegrityError`.
    """
    where = channels_path(model)
    data = view.read(where)
    if data is None:
        return None
    channels = parse_mapping(data, where)
    try:
        number, digest = channels["head"]["event"], channels["head"]["digest"]
        last_path = event_path(model, int(number))
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError("does not name the last event", where=where, fix=HAND_EDITED) from error
    last = view.read(last_path)
    if last is None:
        raise IntegrityError("is missing: the channels name it as the last event", where=last_path, fix=HAND_EDITED)
    if sha256_bytes(last) != digest:
        raise IntegrityError("is not the event whose digest the channels name", where=last_path, fix=HAND_EDITED)
    event = parse_mapping(last, last_path)
    if channels.get("model") != model or event.get("model") != model:
        raise IntegrityError(f"describes another model than {model}", where=where, fix=HAND_EDITED)
    if event.get("state") != state_digest(channels):
        raise IntegrityError("does not match the last event", where=where, fix=HAND_EDITED)
    return channels


def require_channels(view: View, model: str) -> dict[str, Any]:
    """As `read_channels`; a model that is missing is a `StateError`."""
    channels = read_channels(view, model)
    if channels is None:
        raise StateError(f"the registry has no model {model!r}", where=MODELS, fix="see `weighbridge registry list`")
    return channels


def read_record(view: View, model: str, version: str, expected: str | None = None) -> dict[str, Any]:
    """One version's record as plain values. Its bytes must have the digest `expected`, or else the one
    that the event which recorded it names.
    """
    where = version_path(model, version)
    data = view.read(where)
    if data is None:
        raise StateError(f"{model} has no version {version}", where=where)
    record = parse_mapping(data, where)
    if expected is None:
        expected = _digest_by_event(view, model, version, record.get("event"))
    if sha256_bytes(data) != expected:
        raise IntegrityError("is not the record whose digest the history names", where=where, fix=HAND_EDITED)
    return record


def _digest_by_event(view: View, model: str, version: str, number: Any) -> str:
    where = version_path(model, version)
    data = view.read(event_path(model, number)) if isinstance(number, int) and number > 0 else None
    if data is None:
        raise IntegrityError("does not say which event recorded it", where=where, fix=HAND_EDITED)
    for entry in parse_mapping(data, event_path(model, number)).get("records") or []:
        if isinstance(entry, dict) and entry.get("version") == version and DIGEST.fullmatch(str(entry.get("record"))):
            return str(entry["record"])
    raise IntegrityError(f"event {number} did not record it", where=where, fix=HAND_EDITED)


def model_names(root: Path) -> list[str]:
    """Models that the working tree's registry holds, sorted. Links and names that collide on a file system
    without case are an `IntegrityError`; hidden files and loose files are none of ours.
    """
    names: list[str] = []
    try:
        with os.scandir(root / MODELS) as entries:
            for entry in entries:
                if entry.is_symlink():
                    raise IntegrityError("is a symbolic link", where=f"{MODELS}/{entry.name}")
                if entry.is_dir() and MODEL_NAME.fullmatch(entry.name):
                    names.append(entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    refuse_case_collisions(names)
    return sorted(names)


def refuse_case_collisions(names: list[str]) -> None:
    """Two names that differ only in case are an `IntegrityError`: they are one file on some file systems."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            raise IntegrityError(f"{other!r} and {name!r} differ only in case", where=MODELS)
