"""One name, one version, or an error that says why not."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.registry.project import BASELINE, MODEL, candidate_bytes, commit_all, write_run
from weighbridge.core.errors import InputError, IntegrityError, StateError
from weighbridge.core.files import dump_yaml, sha256_bytes
from weighbridge.registry.lifecycle.operate import Operator
from weighbridge.registry.lifecycle.promote import PromotionRequest, promote
from weighbridge.registry.lookup.location import locate
from weighbridge.registry.lookup.resolve import resolve, stable_artifacts, stable_or_none
from weighbridge.registry.state.tip import Settings

START = datetime(2026, 11, 1, 12, tzinfo=UTC)


def at(hours: int) -> Settings:
    """Settings whose clock stands `hours` after the start."""
    return Settings(clock=lambda: START + timedelta(hours=hours))


@pytest.fixture
def history(project: Path) -> Path:
    """v1 stable at 0 h, v2 at 10 h, back to v1 at 20 h, the baseline at 30 h."""
    promote(project, PromotionRequest("int8"), settings=at(0))
    write_run(project, 2)
    commit_all(project)
    promote(project, PromotionRequest("int8"), settings=at(10))
    Operator(project, MODEL, at(20)).roll_back(reason="slow")
    Operator(project, MODEL, at(30)).roll_back(reason="slow too", to="baseline")
    return project


def test_every_form_of_a_name(promoted: Path) -> None:
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
        (f"{MODEL}@newest", InputError, "is not a version"),
        (f"{MODEL}@sha256:zz", InputError, "not a digest"),
        (f"{MODEL}@sha256:{'0' * 64}", StateError, "no version with"),
        (f"{MODEL}@2001-01-01", StateError, "no version of tiny-cnn was stable at"),
    ],
)
def test_what_is_not_there_is_an_error_and_never_a_default(
    promoted: Path, form: str, kind: type[StateError] | type[InputError], message: str
) -> None:
    """Nothing falls back to the newest or the stable version."""
    with pytest.raises(kind, match=message):
        resolve(promoted, form)


@pytest.mark.parametrize(
    ("hours", "version"),
    [(0, "v1"), (5, "v1"), (10, "v2"), (19.9, "v2"), (20, "v1"), (29, "v1"), (30, "b1"), (99, "b1")],
)
def test_what_was_stable_then_has_one_answer(history: Path, hours: float, version: str) -> None:
    """The channel at any time in the past, computed from the events alone."""
    moment = (START + timedelta(hours=hours)).isoformat()
    assert resolve(history, f"{MODEL}@{moment}").version == version


def test_a_clock_that_runs_back_does_not_turn_history_around(project: Path) -> None:
    """An event is never earlier than the one before it, whatever the clock of the machine says."""
    promote(project, PromotionRequest("int8"), settings=at(10))
    committed = Operator(project, MODEL, at(-500)).roll_back(reason="drill", to="baseline")
    assert committed.event.at == "2026-11-01T22:00:00Z"


def test_edited_channels_are_refused(promoted: Path) -> None:
    """A channel pointed elsewhere by hand does not resolve."""
    path = promoted / f"registry/models/{MODEL}/channels.yaml"
    path.write_text(path.read_text().replace("version: v2", "version: v1"))
    with pytest.raises(IntegrityError, match="does not match the last event"):
        resolve(promoted, MODEL)


@pytest.mark.parametrize("name", ["versions/v2.yaml", "events/000002.yaml"])
def test_an_edited_record_or_last_event_is_refused(promoted: Path, name: str) -> None:
    """A record or event with another byte does not resolve, by channel or by version."""
    path = promoted / f"registry/models/{MODEL}/{name}"
    path.write_bytes(path.read_bytes().replace(b"int8", b"int9").replace(b"Test", b"Best"))
    for form in (MODEL, f"{MODEL}@v2"):
        with pytest.raises(IntegrityError):
            resolve(promoted, form)


def test_nothing_stable_is_told_from_damage(project: Path) -> None:
    """`stable_or_none` is None before the first promotion only; a damaged registry is an error."""
    assert stable_or_none(project, MODEL) is None
    promote(project, PromotionRequest("int8", channel="none"))
    assert stable_or_none(project, MODEL) is None
    Operator(project, MODEL).release("v1")
    assert stable_or_none(project, MODEL).version == "v1"
    (project / f"registry/models/{MODEL}/channels.yaml").write_text("{}")
    with pytest.raises(IntegrityError):
        stable_or_none(project, MODEL)


def test_quarantine_and_deprecation_are_shown(promoted: Path) -> None:
    """Whoever resolves a version by name learns that it should not be taken."""
    Operator(promoted, MODEL).roll_back(reason="wrong")
    Operator(promoted, MODEL).deprecate("b1", reason="too large")
    assert resolve(promoted, f"{MODEL}@v2").quarantined
    assert resolve(promoted, f"{MODEL}@baseline").deprecated == "too large"


def test_bytes_come_from_wherever_they_hash_right(promoted: Path, tmp_path: Path) -> None:
    """The project's file, then DVC's cache, then the remote; other bytes under the right name are passed over."""
    content = candidate_bytes("int8", 2)
    found = resolve(promoted, MODEL)
    assert locate(promoted, found) == promoted / found.path
    (promoted / found.path).write_bytes(b"another build")
    cached = promoted / ".dvc/cache/files/md5" / found.md5[:2] / found.md5[2:]
    assert locate(promoted, found) == cached
    stored = tmp_path / "dvc/files/md5" / found.md5[:2] / found.md5[2:]
    stored.parent.mkdir(parents=True)
    cached.rename(stored)
    with pytest.raises(StateError, match="cannot be had: other bytes in the project; not in DVC's cache"):
        locate(promoted, found)
    (promoted / ".dvc/config").write_text(f"[core]\nremote = s\n['remote \"s\"']\nurl = {tmp_path}/dvc\n")
    assert locate(promoted, found).read_bytes() == content
    stored.write_bytes(b"swapped")
    (locate(promoted, found)).unlink()
    with pytest.raises(IntegrityError, match="hashes wrong"):
        locate(promoted, found)


def test_resolving_imports_little(promoted: Path) -> None:
    """No pydantic, DVC or numpy on the way from a name to a version: that is what keeps it fast."""
    code = (
        "import sys; from pathlib import Path; from weighbridge.registry.lookup.resolve import resolve;"
        f"resolve(Path({str(promoted)!r}), {MODEL!r});"
        "print(sorted({'pydantic', 'dvc', 'numpy', 'cryptography', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def two_targets(project: Path) -> Path:
    """One version that was built for two runtimes."""
    write_run(project, targets=("onnxruntime", "litert"))
    commit_all(project)
    promote(project, PromotionRequest("int8"))
    return project


def test_a_version_for_two_targets_needs_one_named(two_targets: Path) -> None:
    """The error lists them; a digest names one of them by itself."""
    with pytest.raises(InputError, match=r"v1 was built for onnxruntime, litert \(say which: --target NAME\)"):
        resolve(two_targets, MODEL)
    with pytest.raises(InputError, match=r"not built for 'executorch' \(built for: onnxruntime, litert\)"):
        resolve(two_targets, MODEL, target="executorch")
    for target in ("onnxruntime", "litert"):
        found = resolve(two_targets, f"{MODEL}@v1", target=target)
        assert found.digest == sha256_bytes(candidate_bytes("int8", 1, target))
        assert resolve(two_targets, f"{MODEL}@{found.digest}") == found
        assert locate(two_targets, found).read_bytes() == candidate_bytes("int8", 1, target)
    assert [found.target for found in stable_artifacts(two_targets, MODEL)] == ["onnxruntime", "litert"]
    assert stable_or_none(two_targets, MODEL).target == "onnxruntime"


def test_what_serves_has_its_bytes_for_every_target(two_targets: Path) -> None:
    """Half of a version is none: a roll-back to it is refused while the bytes of one target cannot be had."""
    write_run(two_targets, 2, targets=("onnxruntime", "litert"))
    commit_all(two_targets)
    promote(two_targets, PromotionRequest("int8"))
    missing = resolve(two_targets, f"{MODEL}@v1", target="litert")
    cached = two_targets / ".dvc/cache/files/md5" / missing.md5[:2] / missing.md5[2:]
    content = cached.read_bytes()
    cached.unlink()
    with pytest.raises(StateError, match=r"bytes of tiny-cnn@v1 .* cannot be had"):
        Operator(two_targets, MODEL).roll_back(reason="x")
    cached.write_bytes(content)
    assert Operator(two_targets, MODEL).roll_back(reason="x").channels.stable.version == "v1"


def test_bytes_are_known_by_every_target(two_targets: Path) -> None:
    """The same bytes are no second version, quarantined ones do not come back beside others, more targets are more."""
    with pytest.raises(StateError, match="are tiny-cnn@v1 already"):
        promote(two_targets, PromotionRequest("int8"))
    write_run(two_targets)
    commit_all(two_targets)
    with pytest.raises(StateError, match="are tiny-cnn@v1 already"):
        promote(two_targets, PromotionRequest("int8"))
    promote(two_targets, PromotionRequest("fp16"))
    Operator(two_targets, MODEL).quarantine("v1", reason="x")
    write_run(two_targets, targets=("litert",))
    commit_all(two_targets)
    with pytest.raises(StateError, match="v1, which is quarantined"):
        promote(two_targets, PromotionRequest("int8"))
    write_run(two_targets, targets=("onnxruntime", "litert"))
    commit_all(two_targets)
    assert promote(two_targets, PromotionRequest("fp16")).channels.stable.version == "v3"


def test_two_artifacts_for_one_target_are_damage() -> None:
    """A record that leaves open which one is meant is no record."""
    from weighbridge.registry.lookup.resolve import _resolved

    item = {"digest": "sha256:" + 64 * "a", "path": "a", "bytes": 1, "target": "litert", "md5": 32 * "a"}

    class Records:
        def read(self, path: object) -> bytes:
            return data

    channels = {"model": MODEL, "quarantined": {}, "deprecated": {}}
    for items in ([], [item, item]):
        data = dump_yaml({"model": MODEL, "version": "v1", "commit": "c", "artifacts": items}).encode()
        with pytest.raises(IntegrityError, match="no artifact, or two for one target"):
            _resolved(Records(), channels, "v1", record=sha256_bytes(data))
