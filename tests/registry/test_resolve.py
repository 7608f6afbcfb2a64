"""One name, one version, or an error that says why not."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from registry.operate import Operator
from registry.promote import Request, promote
from registry.resolve import locate_bytes, resolve, stable_or_none
from registry.store import Settings
from weighbridge.errors import InputError, IntegrityError, StateError
from weighbridge.files import sha256_bytes

from .project import BASELINE, MODEL, candidate_bytes, commit_all, write_run

START = datetime(2026, 11, 1, 12, tzinfo=UTC)


def at(hours):
    """Settings whose clock stands `hours` after the start."""
    return Settings(clock=lambda: START + timedelta(hours=hours))


@pytest.fixture
def history(project):
    """v1 stable at 0 h, v2 at 10 h, back to v1 at 20 h, the baseline at 30 h."""
    promote(project, Request("int8"), settings=at(0))
    write_run(project, 2)
    commit_all(project)
    promote(project, Request("int8"), settings=at(10))
    Operator(project, MODEL, at(20)).roll_back(reason="slow")
    Operator(project, MODEL, at(30)).roll_back(reason="slow too", to="baseline")
    return project


def test_every_form_of_a_name(promoted):
    """A channel, a version, a digest or its beginning, and the bare model name the same version."""
    digest = sha256_bytes(candidate_bytes("int8", 2))
    for form in ("", "@stable", "@v2", f"@{digest}", f"@{digest[:20]}"):
        assert resolve(promoted, f"{MODEL}{form}").version == "v2"
    assert resolve(promoted, f"{MODEL}@{sha256_bytes(BASELINE)}").version == "b1"


@pytest.mark.parametrize(
    ("form", "kind", "message"),
    [
        ("other@stable", StateError, "no model 'other'"),
        ("../x@stable", InputError, "not a model's name"),
        (f"{MODEL}@canary", StateError, "no canary version"),
        (f"{MODEL}@v9", StateError, "no version v9"),
        (f"{MODEL}@newest", InputError, "names no version"),
        (f"{MODEL}@sha256:zz", InputError, "not a digest"),
        (f"{MODEL}@sha256:{'0' * 64}", StateError, "no version with"),
        (f"{MODEL}@2001-01-01", StateError, "no version of tiny-cnn was stable at"),
    ],
)
def test_what_is_not_there_is_an_error_and_never_a_default(promoted, form, kind, message):
    """Nothing falls back to the newest or the stable version."""
    with pytest.raises(kind, match=message):
        resolve(promoted, form)


@pytest.mark.parametrize(
    ("hours", "version"),
    [(0, "v1"), (5, "v1"), (10, "v2"), (19.9, "v2"), (20, "v1"), (29, "v1"), (30, "b1"), (99, "b1")],
)
def test_what_was_stable_then_has_one_answer(history, hours, version):
    """The channel at any time in the past, computed from the events alone."""
    moment = (START + timedelta(hours=hours)).isoformat()
    assert resolve(history, f"{MODEL}@{moment}").version == version


def test_a_clock_that_runs_back_does_not_turn_history_around(project):
    """An event is never earlier than the one before it, whatever the clock of the machine says."""
    promote(project, Request("int8"), settings=at(10))
    outcome = Operator(project, MODEL, at(-500)).roll_back(reason="drill", to="baseline")
    assert outcome.event.at == "2026-11-01T22:00:00Z"


def test_edited_channels_are_refused(promoted):
    """A channel pointed elsewhere by hand does not resolve."""
    path = promoted / f"registry/models/{MODEL}/channels.yaml"
    path.write_text(path.read_text().replace("version: v2", "version: v1"))
    with pytest.raises(IntegrityError, match="is not what the last event left"):
        resolve(promoted, MODEL)


@pytest.mark.parametrize("name", ["versions/v2.yaml", "events/000002.yaml"])
def test_an_edited_record_or_last_event_is_refused(promoted, name):
    """A record or event with another byte does not resolve, by channel or by version."""
    path = promoted / f"registry/models/{MODEL}/{name}"
    path.write_bytes(path.read_bytes().replace(b"int8", b"int9").replace(b"Test", b"Best"))
    for form in (MODEL, f"{MODEL}@v2"):
        with pytest.raises(IntegrityError):
            resolve(promoted, form)


def test_nothing_stable_is_told_from_damage(project):
    """`stable_or_none` is None before the first promotion only; a damaged registry is an error."""
    assert stable_or_none(project, MODEL) is None
    promote(project, Request("int8", channel="none"))
    assert stable_or_none(project, MODEL) is None
    Operator(project, MODEL).release("v1")
    assert stable_or_none(project, MODEL).version == "v1"
    (project / f"registry/models/{MODEL}/channels.yaml").write_text("{}")
    with pytest.raises(IntegrityError):
        stable_or_none(project, MODEL)


def test_quarantine_and_deprecation_are_shown(promoted):
    """Whoever resolves a version by name learns that it should not be taken."""
    Operator(promoted, MODEL).roll_back(reason="wrong")
    Operator(promoted, MODEL).deprecate("b1", reason="too large")
    assert resolve(promoted, f"{MODEL}@v2").quarantined
    assert resolve(promoted, f"{MODEL}@baseline").deprecated == "too large"


def test_bytes_come_from_wherever_they_hash_right(promoted, tmp_path):
    """The project's file, then DVC's cache, then the remote; other bytes under the right name are passed over."""
    content = candidate_bytes("int8", 2)
    found = resolve(promoted, MODEL)
    assert locate_bytes(promoted, found) == promoted / found.path
    (promoted / found.path).write_bytes(b"another build")
    cached = promoted / ".dvc/cache/files/md5" / found.md5[:2] / found.md5[2:]
    assert locate_bytes(promoted, found) == cached
    stored = tmp_path / "dvc/files/md5" / found.md5[:2] / found.md5[2:]
    stored.parent.mkdir(parents=True)
    cached.rename(stored)
    with pytest.raises(StateError, match="cannot be had: other bytes in the project; not in DVC's cache"):
        locate_bytes(promoted, found)
    (promoted / ".dvc/config").write_text(f"[core]\nremote = s\n['remote \"s\"']\nurl = {tmp_path}/dvc\n")
    assert locate_bytes(promoted, found).read_bytes() == content
    stored.write_bytes(b"swapped")
    (locate_bytes(promoted, found)).unlink()
    with pytest.raises(IntegrityError, match="hashes wrong"):
        locate_bytes(promoted, found)


def test_resolving_imports_little(promoted):
    """No pydantic, DVC or numpy on the way from a name to a version: that is what keeps it fast."""
    code = (
        "import sys; from pathlib import Path; from registry.resolve import resolve;"
        f"resolve(Path({str(promoted)!r}), {MODEL!r});"
        "print(sorted({'pydantic', 'dvc', 'numpy', 'cryptography', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
