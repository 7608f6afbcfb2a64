"""Who we are to an OCI registry: the file that `docker login`, `oras login` and `podman login` write."""

from __future__ import annotations

import base64
import binascii
import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weighbridge.core.errors import InputError, StateError
from weighbridge.core.files import read_json


@dataclass(frozen=True)
class Credentials:
    """A user and a password or token. Never shown, never written."""

    user: str
    secret: str

    def __repr__(self) -> str:
        return f"Credentials(user={self.user!r})"

    def basic(self) -> str:
        """Value of an `Authorization` header (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.secret}".encode()).decode()


def config_path(environment: Mapping[str, str]) -> Path:
    """Where the logins are kept: `$DOCKER_CONFIG/config.json`, or `~/.docker/config.json`."""
    folder = environment.get("DOCKER_CONFIG")
    return Path(folder) / "config.json" if folder else Path(environment.get("HOME", "/")) / ".docker" / "config.json"


def find(host: str, path: Path) -> Credentials | None:
    """The login for a registry host; None where there is none, which means anonymous.

    A login that is there and cannot be used is an error: silently anonymous would only fail later, and vaguely.
    """
    if not path.exists():
        return None
    config = read_json(path)
    if not isinstance(config, dict):
        raise InputError("is not a mapping of keys to values", where=str(path))
    helper = _table(config, "credHelpers").get(host) or config.get("credsStore")
    entry = _table(config, "auths").get(host)
    if isinstance(entry, dict) and entry.get("auth"):
        return _decode(str(entry["auth"]), f"{path}: auths.{host}.auth")
    return _ask(str(helper), host) if helper else None


def _table(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = config.get(key)
    return value if isinstance(value, dict) else {}


def _decode(text: str, where: str) -> Credentials:
    try:
        user, colon, secret = base64.b64decode(text, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise InputError("is not base64 text", where=where, fix="log in again") from error
    if not colon:
        raise InputError("is not `user:password` in base64", where=where, fix="log in again")
    return Credentials(user, secret)


def _ask(helper: str, host: str) -> Credentials | None:
    """Ask a credential helper, by the protocol of docker-credential-helpers."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", helper):
        raise InputError(f"{helper!r} is not the name of a credential helper")
    command = f"docker-credential-{helper}"
    try:
        done = subprocess.run([command, "get"], input=host, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StateError(f"the credential helper {command} cannot be used: {error}") from error
    if done.returncode != 0:
        if "credentials not found" in done.stdout + done.stderr:
            return None
        raise StateError(f"the credential helper {command} failed: {(done.stderr or done.stdout).strip()[:200]}")
    try:
        answer = json.loads(done.stdout)
        return Credentials(str(answer["Username"]), str(answer["Secret"]))
    except (ValueError, KeyError, TypeError) as error:
        raise StateError(f"the credential helper {command} gave no user and secret") from error
