"""Logins of the OCI registry: those that other tools wrote, never shown."""

import base64
import json
from pathlib import Path

import pytest

from weighbridge.core.errors import InputError, StateError
from weighbridge.registry.publish.credentials import Credentials, config_path, find


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def config(folder: Path, content: dict[str, str | dict[str, str | dict[str, str]]]) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(content))
    return path


def test_the_login_of_docker_is_found_by_host(tmp_path: Path) -> None:
    """`docker login` leaves user and password in base64; a password may hold a colon."""
    path = config(tmp_path, {"auths": {"ghcr.io": {"auth": encoded("me:pass:word")}}})
    assert find("ghcr.io", path) == Credentials("me", "pass:word")
    assert find("other.io", path) is None
    assert find("ghcr.io", tmp_path / "none.json") is None


def test_a_secret_is_never_shown() -> None:
    """Neither in a message nor in a traceback's locals."""
    assert "hunter2" not in repr(Credentials("me", "hunter2"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"auths": {"ghcr.io": {"auth": "%%%"}}}, r"config\.json: auths\.ghcr\.io\.auth: is not base64"),
        ({"auths": {"ghcr.io": {"auth": encoded("nocolon")}}}, "is not `user:password`"),
        ([], "is not a mapping of keys to values"),
        ({"credsStore": "../../bin/sh"}, "is not the name of a credential helper"),
    ],
)
def test_a_login_that_cannot_be_used_is_an_error_not_anonymity(
    tmp_path: Path, content: dict[str, str | dict[str, dict[str, str]]], said: str
) -> None:
    """Going on as nobody would fail later, and vaguely."""
    with pytest.raises(InputError, match=said):
        find("ghcr.io", config(tmp_path, content))


def test_where_logins_are_kept(tmp_path: Path) -> None:
    """`$DOCKER_CONFIG` wins over the home folder."""
    assert config_path({"DOCKER_CONFIG": "/x", "HOME": "/h"}).as_posix() == "/x/config.json"
    assert config_path({"HOME": "/h"}).as_posix() == "/h/.docker/config.json"


def helper(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    program = folder / "docker-credential-vault"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return config(folder, {"credHelpers": {"ghcr.io": "vault"}})


def test_a_credential_helper_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The protocol of docker-credential-helpers: the host in, user and secret out."""
    path = helper(tmp_path, monkeypatch, """read host; printf '{"Username": "%s", "Secret": "s"}' "$host" """)
    assert find("ghcr.io", path) == Credentials("ghcr.io", "s")
    assert find("quay.io", path) is None


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo locked >&2; exit 1", "failed: locked"),
        ("echo nonsense", "gave no user and secret"),
    ],
)
def test_a_helper_that_fails_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str) -> None:
    """A locked key ring is an error."""
    with pytest.raises(StateError, match=said):
        find("ghcr.io", helper(tmp_path, monkeypatch, script))


def test_a_helper_that_has_no_login_means_anonymous(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its protocol says so in words."""
    script = "echo 'credentials not found in native keychain'; exit 1"
    assert find("ghcr.io", helper(tmp_path, monkeypatch, script)) is None


def test_a_helper_that_is_not_installed_is_named(tmp_path: Path) -> None:
    """Which program is missing."""
    with pytest.raises(StateError, match="docker-credential-nowhere cannot be used"):
        find("ghcr.io", config(tmp_path, {"credsStore": "nowhere"}))
