"""The lock of libraries: what the installed packages ask for, and never two that contradict each other."""

from importlib import metadata
from types import SimpleNamespace

import pytest

from weighbridge.ci import locking
from weighbridge.core.errors import StateError

PACKAGES = {
    "weighbridge": ("0.1", ["numpy>=2", 'torch>=2; extra == "compress"', 'sphinx; extra == "docs"']),
    "numpy": ("2.4.6", []),
    "torch": ("2.13.0+cpu", ["setuptools>=77", "Typing_Extensions"]),
    "setuptools": ("65.5.0", []),
    "typing-extensions": ("4.15", []),
}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """These packages and no others."""

    def distribution(name: str) -> SimpleNamespace:
        found = next((item for item in PACKAGES if item == name.lower().replace("_", "-")), None)
        if found is None:
            raise metadata.PackageNotFoundError(name)
        version, requires = PACKAGES[found]
        return SimpleNamespace(version=version, requires=requires)

    monkeypatch.setattr(metadata, "distribution", distribution)
    monkeypatch.setattr(metadata, "version", lambda name: distribution(name).version)
    return monkeypatch


def test_a_build_is_its_version_and_a_contradiction_is_left_out(installed: pytest.MonkeyPatch) -> None:
    """Pip would refuse the whole file for a version that another package does not accept."""
    lines = locking.constraints().splitlines()
    assert [line for line in lines if "==" in line] == ["numpy==2.4.6", "torch==2.13.0", "typing-extensions==4.15"]
    assert any("setuptools" in line and "torch asks for" in line for line in lines)


def test_what_is_not_installed_is_named(installed: pytest.MonkeyPatch) -> None:
    """The user sees that the lock has a gap."""
    installed.delitem(PACKAGES, "numpy")
    assert "# Not locked: numpy, which is not installed there" in locking.constraints()


def test_without_an_installed_package_there_is_nothing_to_lock(installed: pytest.MonkeyPatch) -> None:
    """A checkout on the path alone says nothing about what it needs."""
    installed.delitem(PACKAGES, "weighbridge")
    with pytest.raises(StateError, match="not installed as a package"):
        locking.constraints()


def test_the_lock_of_promotion_has_every_package_that_it_brings_in() -> None:
    """All that can be seen from here: what sigstore brings in is not installed beside the LiteRT converter."""
    locked = [line for line in locking.promote_constraints().splitlines() if not line.startswith("#")]
    versions = dict(line.split("==") for line in locked)
    found = locking._closure("weighbridge", ("judge", "keyless", "pipeline"))
    assert {"dvc", "sigstore", "scipy"} <= versions.keys()
    assert (found.versions.keys() | found.left_out.keys()) - versions.keys() == set()
