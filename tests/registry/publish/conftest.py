"""A project with a history, made once, and servers on loopback."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.registry.publish import servers
from tests.registry.publish.project import Project


@pytest.fixture(scope="session")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Self:
    return Project(tmp_path_factory.mktemp("made") / "project").history()


@pytest.fixture
def project(_made: Self, tmp_path: Path) -> Project:
    """A project whose registry has v1 stable, v2 quarantined and v3 on canary; a copy, so that it may be broken."""
    root = tmp_path / "project"
    shutil.copytree(_made.root, root)
    copy = object.__new__(Project)
    copy.__dict__.update(_made.__dict__, root=root)
    return copy


@pytest.fixture
def key() -> Ed25519PrivateKey:
    """A fresh signing key."""
    return Ed25519PrivateKey.generate()


@pytest.fixture(scope="module")
def oci(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """`host:port` of a real OCI registry, and the folder where it keeps its blobs."""
    with servers.docker_registry(tmp_path_factory.mktemp("oci")) as found:
        yield found


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Path]]:
    """Port and private key of a real SSH server."""
    with servers.sshd(tmp_path_factory.mktemp("ssh")) as found:
        yield found
