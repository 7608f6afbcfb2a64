"""Rows for people: models, versions, history, differences, what the cache still needs, schemas."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.registry.project import BASELINE, MODEL, candidate_bytes, lock
from weighbridge.core.errors import InputError, IntegrityError, StateError
from weighbridge.registry.lifecycle import gc
from weighbridge.registry.lifecycle.operate import Operator
from weighbridge.registry.lifecycle.promote import PromotionRequest, promote
from weighbridge.registry.lookup.resolve import resolve
from weighbridge.registry.state.events import Event
from weighbridge.registry.state.layout import WorkTree, model_names, read_channels
from weighbridge.registry.state.records import Channels, VersionRecord
from weighbridge.registry.trust.verify import verify_models
from weighbridge.registry.views import overview, schemas
from weighbridge.registry.views.compare import compare

RELEASED = Path(__file__).parents[2] / "fixtures/registry"


def test_models_versions_and_history_as_rows(promoted: Path) -> None:
    """One row each, newest first, with what a person looks for."""
    Operator(promoted, MODEL).roll_back(reason="wrong")
    (model,) = overview.models(promoted)
    assert (model.stable, model.baseline, model.versions, model.quarantined, model.events) == ("v1", "b1", 2, 1, 3)
    rows = [(row.version, row.channel) for row in overview.versions(promoted, MODEL)]
    assert rows == [("v2", "quarantined"), ("v1", "stable"), ("b1", "baseline")]
    events = [(row.event, row.kind, row.version, row.reason) for row in overview.history(promoted, MODEL)]
    assert events == [(3, "rolled-back", "v1", "wrong"), (2, "promoted", "v2", ""), (1, "promoted", "v1", "")]
    assert len(overview.history(promoted, MODEL, limit=2)) == 2
    assert overview.record(promoted, f"{MODEL}@v2")["version"] == "v2"


def test_history_checks_its_chain_on_the_way_back(promoted: Path) -> None:
    """An old event that was changed does not appear in a table as if nothing was."""
    path = promoted / f"registry/models/{MODEL}/events/000001.yaml"
    path.write_text(path.read_text().replace("int8", "int9") + "#")
    with pytest.raises(IntegrityError, match=r"000001.yaml"):
        overview.history(promoted, MODEL)


def test_an_empty_registry_has_no_rows(project: Path) -> None:
    """No models is an answer; an unknown model is an error."""
    assert overview.models(project) == []
    with pytest.raises(StateError, match="no model"):
        overview.history(project, MODEL)
    with pytest.raises(StateError, match="no model"):
        overview.canary(project, MODEL)


def test_what_differs_between_two_versions(promoted: Path) -> None:
    """Sizes with their change, digests, lineage; what is the same has no row."""
    rows = {row.field: row for row in compare(promoted, f"{MODEL}@v1", f"{MODEL}@v2")}
    size = rows["artifacts[0].bytes"]
    assert (size.old, size.new, size.change) == ("77", "84", "+9.09%")
    assert "commit" in rows
    assert "recipe_name" not in rows
    assert compare(promoted, f"{MODEL}@v2", f"{MODEL}@stable") == []


def test_the_cache_keeps_what_may_serve_again(promoted: Path) -> None:
    """Quarantined bytes that no lock file names may go; stable, baseline and the current run's may not."""
    Operator(promoted, MODEL).roll_back(reason="wrong")
    promote(promoted, PromotionRequest("fp16", channel="none"))
    bytes_of = {resolve(promoted, f"{MODEL}@{name}").md5: name for name in ("v1", "v2", "v3", "b1")}
    kept = {bytes_of[row.md5]: row.keep for row in gc.plan(promoted) if row.md5 in bytes_of}
    assert kept == {"v1": True, "v2": True, "v3": True, "b1": True}, "v2 is in dvc.lock still"
    (promoted / "artifacts/recipes/int8/onnxruntime/model.onnx").write_bytes(b"next run")
    lock(promoted, ("int8", "fp16"))
    from tests.registry.project import commit_all

    commit_all(promoted)
    rows = gc.plan(promoted)
    kept = {bytes_of[row.md5]: row.keep for row in rows if row.md5 in bytes_of}
    assert kept == {"v1": True, "v2": False, "v3": True, "b1": True}
    assert not rows[0].keep
    needed = next(row.md5 for row in rows if row.keep and row.md5.endswith(".dir"))
    (promoted / ".dvc/cache/files/md5" / needed[:2] / needed[2:]).unlink()
    assert all(row.keep for row in gc.plan(promoted)), "a folder that cannot be listed may hold anything"


def test_a_damaged_registry_stops_collecting(promoted: Path) -> None:
    """Nothing is unneeded because a record could not be read."""
    path = promoted / f"registry/models/{MODEL}/versions/v1.yaml"
    path.write_text("{}")
    with pytest.raises(IntegrityError):
        gc.plan(promoted)


def test_schemas_describe_what_is_written(promoted: Path, tmp_path: Path) -> None:
    """Every document has a valid schema, and the registry's own files satisfy theirs."""
    paths = {path.name.removesuffix(".schema.json"): path for path in schemas.write(tmp_path / "out")}
    found = {name: json.loads(path.read_text()) for name, path in paths.items()}
    for schema in found.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    folder = promoted / f"registry/models/{MODEL}"
    for kind, files in {"version-record": "versions/*", "event": "events/*", "channels": "channels.yaml"}.items():
        for path in folder.glob(files):
            jsonschema.validate(yaml.safe_load(path.read_text()), found[kind])
    jsonschema.validate(yaml.safe_load((promoted / "params.yaml").read_text()), found["params"])


@pytest.mark.parametrize("release", sorted(path.name for path in RELEASED.iterdir()))
def test_every_released_format_is_read_forever(release: str) -> None:
    """A registry that an earlier release wrote verifies, resolves and lists with this one, byte for byte."""
    root = RELEASED / release
    checked = verify_models(root)
    assert checked
    for row in checked:
        assert resolve(root, row.model).version == row.stable
        assert overview.history(root, row.model)
        view = WorkTree(root)
        Channels.model_validate(read_channels(view, row.model))
        folder = root / "registry/models" / row.model
        for kind, files in ((VersionRecord, "versions/*"), (Event, "events/*")):
            for path in folder.glob(files):
                kind.model_validate(yaml.safe_load(path.read_text()))


def test_newer_formats_are_refused(promoted: Path) -> None:
    """A file of a later schema is not half understood."""
    path = promoted / f"registry/models/{MODEL}/channels.yaml"
    path.write_text(path.read_text().replace("schema_version: 1", "schema_version: 3", 1))
    with pytest.raises(IntegrityError, match="schema_version 3; this program reads up to 2"):
        verify_models(promoted)


def test_names_of_models_are_read_from_folders(tmp_path: Path) -> None:
    """Loose files are no models; a link is refused."""
    folder = tmp_path / "registry/models"
    assert model_names(tmp_path) == []
    (folder / "a").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    (folder / "README.md").write_text("x")
    assert model_names(tmp_path) == ["a"]
    (folder / "b").symlink_to(folder / "a")
    with pytest.raises(IntegrityError, match="symbolic link"):
        model_names(tmp_path)


@pytest.mark.parametrize("name", ["..", "a/b", "", "-x", "a" * 65, "ä"])
def test_names_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    """A model's name is a plain word."""
    with pytest.raises(InputError, match="not a model's name"):
        resolve(tmp_path, f"{name}@stable")


def test_contents_of_the_fixture_project_differ() -> None:
    """The tests' artifacts are told apart by their bytes."""
    assert len({BASELINE, candidate_bytes("int8"), candidate_bytes("fp16"), candidate_bytes("int8", 2)}) == 4
