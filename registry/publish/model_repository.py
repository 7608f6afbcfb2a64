"""A version in the layout of a model repository, `NAME/1/model.onnx`, in a folder or under a prefix in S3.

Source: NVIDIA Triton, "Model Repository"; KServe's runtime for `modelFormat: onnx` is Triton, whose `--model-store` is
what `storageUri` was copied to. Record and statement lie beside the version's folder, where Triton reads nothing.
The model file is written last: what a server can load is whole. A place that has other bytes already is left as it is.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from weighbridge.core.errors import InputError, IntegrityError, StateError
from weighbridge.core.facts.targets import TARGETS
from weighbridge.core.files import atomic_path, sha256_file
from weighbridge.registry.publish.package import RECORD, STATEMENT, Package

SCHEMES = ("s3", "file")


@dataclass(frozen=True)
class Published:
    """Where a version is now."""

    uri: str
    """What `storageUri` is to be."""
    files: tuple[str, ...]
    """Paths below it."""
    created: bool
    """False where all of it was there already."""


Put = Callable[[str, Path | bytes], bool]
"""Write a file at a path, unless it is there with these bytes; whether it was written."""


def model_path(model: str, target: str) -> str:
    """Where a model's file lies below `storageUri`."""
    known = TARGETS.get(target)
    return f"{model}/1/{known.file if known else 'model'}"


def publish(package: Package, uri: str) -> Published:
    """Copy a version to `uri`. Other bytes at one of its paths are a `StateError`, and stay."""
    parts = urlsplit(uri)
    if parts.scheme not in SCHEMES or (parts.scheme == "s3") != bool(parts.netloc) or parts.query or parts.fragment:
        raise InputError(
            f"{uri!r} is not a place for a version", fix="oci://host/repository:tag, s3://bucket/path or file:///folder"
        )
    if sha256_file(package.file) != package.artifact.digest:
        raise IntegrityError("does not have the digest that the record names", where=str(package.file))
    name = package.record.model
    files: dict[str, Path | bytes] = {f"{name}/{RECORD}": package.record_bytes}
    if package.statement is not None:
        files[f"{name}/{STATEMENT}"] = package.statement
    files[model_path(name, package.artifact.target)] = package.file
    put = _folder(Path(unquote(parts.path))) if parts.scheme == "file" else _bucket(parts.netloc, parts.path.strip("/"))
    created = [put(path, content) for path, content in files.items()]
    return Published(uri.rstrip("/"), tuple(files), any(created))


def _digest(content: Path | bytes) -> str:
    return sha256_file(content) if isinstance(content, Path) else f"sha256:{hashlib.sha256(content).hexdigest()}"


def _require_same(found: str, content: Path | bytes, where: str) -> None:
    if found != _digest(content):
        raise StateError("exists with other contents", where=where, fix="name a place that has {version} or {sha256}")


def _folder(root: Path) -> Put:
    def put(path: str, content: Path | bytes) -> bool:
        target = root / path
        if target.exists():
            _require_same(sha256_file(target), content, str(target))
            return False
        with atomic_path(target) as temporary:
            if isinstance(content, Path):
                shutil.copyfile(content, temporary)
            else:
                temporary.write_bytes(content)
            if sha256_file(temporary) != _digest(content):
                raise IntegrityError("changed while it was copied", where=str(target))
        return True

    return put


def _bucket(bucket: str, prefix: str) -> Put:
    """A place in S3, or in what speaks its protocol (`AWS_ENDPOINT_URL`); credentials as boto3 finds them."""
    import boto3  # noqa: PLC0415  # needed here alone
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    client = boto3.client("s3")

    def put(path: str, content: Path | bytes) -> bool:
        key = str(PurePosixPath(prefix, path))
        where = f"s3://{bucket}/{key}"
        checksum = base64.b64encode(bytes.fromhex(_digest(content).removeprefix("sha256:"))).decode()
        try:
            try:
                _put_object(client, {"Bucket": bucket, "Key": key, "ChecksumSHA256": checksum}, content)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") != "PreconditionFailed":
                    raise
                body = client.get_object(Bucket=bucket, Key=key)["Body"]
                _require_same(f"sha256:{hashlib.file_digest(_Reader(body), 'sha256').hexdigest()}", content, where)
                return False
        except (BotoCoreError, ClientError) as error:
            raise StateError(f"cannot be written: {' '.join(str(error).split())[:200]}", where=where) from error
        return True

    return put


def _put_object(client: Any, place: Mapping[str, str], content: Path | bytes) -> None:
    """One request: S3 compares the checksum, and refuses a key that is taken."""
    if isinstance(content, bytes):
        client.put_object(**place, Body=content, IfNoneMatch="*")
        return
    with content.open("rb") as file:
        client.put_object(**place, Body=file, IfNoneMatch="*")


class _Reader:
    """A stream as `hashlib.file_digest` wants it."""

    def __init__(self, body: Any) -> None:
        self.body = body

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: bytearray) -> int:
        """Fill the buffer as far as the stream goes."""
        data: bytes = self.body.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
