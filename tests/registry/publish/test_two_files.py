"""A model whose weights are a file of their own, from the pipeline's folder to a consumer's."""

import shutil
from pathlib import Path

import pytest

from tests.registry.project import MODEL, commit_all, edit_json, git, lock
from weighbridge.core.documents import Manifest
from weighbridge.core.dvc_files import file_md5
from weighbridge.core.errors import IntegrityError, StateError
from weighbridge.core.files import sha256_bytes
from weighbridge.core.formats import compressed
from weighbridge.registry.lifecycle.gc import plan
from weighbridge.registry.lifecycle.promote import PromotionRequest, promote
from weighbridge.registry.lookup.resolve import resolve
from weighbridge.registry.lookup.stable import write_stable
from weighbridge.registry.publish import oci
from weighbridge.registry.publish.pull import packaged, pull, want
from weighbridge.registry.state.layout import WorkTree, read_record

WEIGHTS = b"weights " * 500
FOLDER = "artifacts/recipes/int8/onnxruntime"
DATA = "model.onnx.data"


@pytest.fixture
def large(pipeline_run: Path) -> Path:
    """A run whose artifact is two files, with a DVC remote that is a folder."""
    (pipeline_run / FOLDER / DATA).write_bytes(WEIGHTS)

    def add(manifest: Manifest) -> None:
        manifest["artifact"]["weights"] = {"path": DATA, "digest": sha256_bytes(WEIGHTS), "bytes": len(WEIGHTS)}

    edit_json(pipeline_run / FOLDER / "manifest.json", add)
    (pipeline_run / ".dvc").mkdir(exist_ok=True)
    (pipeline_run / ".dvc/config").write_text("[core]\n    remote = far\n['remote \"far\"']\n    url = ../../far\n")
    (pipeline_run.parent / "far").mkdir()
    lock(pipeline_run, ("int8", "fp16"))
    commit_all(pipeline_run)
    return pipeline_run


def test_both_files_travel(large: Path, tmp_path: Path) -> None:
    """Promoted, pushed to the remote, resolved, pulled where nothing else has them, and laid out for the gate."""
    promote(large, PromotionRequest("int8"))
    found = resolve(large, f"{MODEL}@stable")
    assert found.to_json()["weights"] == {
        "path": f"{FOLDER}/{DATA}", "digest": sha256_bytes(WEIGHTS), "bytes": len(WEIGHTS),
        "md5": file_md5(large / FOLDER / DATA),
    }  # fmt: skip
    shutil.rmtree(large / "artifacts")
    shutil.rmtree(large / ".dvc/cache")
    pulled = pull(large, want(large, f"{MODEL}@stable"), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["model.onnx", DATA, "record.yaml"]
    assert (tmp_path / "out" / DATA).read_bytes() == WEIGHTS
    assert pull(large, want(large, f"{MODEL}@stable"), tmp_path / "out") == pulled
    write_stable(large, large / "artifacts/stable")
    (tmp_path / "out" / DATA).write_bytes(b"other")
    with pytest.raises(StateError, match="other contents"):
        pull(large, want(large, f"{MODEL}@stable"), tmp_path / "out")


def test_a_large_version_has_no_compressed_size(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take minutes, and nothing asked for it; its record is read back all the same."""
    monkeypatch.setattr(compressed, "UNASKED", 0)
    promote(large, PromotionRequest("int8"))
    (artifact,) = read_record(WorkTree(large), MODEL, "v1")["artifacts"]
    assert (artifact.get("gzip"), artifact["zstd"]) == (None, 10)
    assert resolve(large, f"{MODEL}@stable").version == "v1"


def test_weights_are_kept_by_garbage_collection(large: Path) -> None:
    """What a version names is no garbage, the second file no less than the first."""
    promote(large, PromotionRequest("int8"))
    md5 = file_md5(large / FOLDER / DATA)
    assert [row.keep for row in plan(large) if row.md5 == md5] == [True]


def test_weights_that_were_replaced_are_refused(large: Path) -> None:
    """Promotion hashes the second file too."""
    (large / FOLDER / DATA).write_bytes(b"other " * 500)
    lock(large, ("int8", "fp16"))
    commit_all(large)
    with pytest.raises(IntegrityError, match="another digest than its manifest says"):
        promote(large, PromotionRequest("int8"))
    assert not git(large, "ls-files", "registry")


def test_weights_that_cannot_be_had_stop_a_pull(large: Path, tmp_path: Path) -> None:
    """Half an artifact is none: nothing is left in the folder."""
    promote(large, PromotionRequest("int8"))
    shutil.rmtree(large / ".dvc/cache")
    (large / FOLDER / DATA).unlink()
    md5 = resolve(large, f"{MODEL}@stable").weights["md5"]
    (large.parent / "far/files/md5" / md5[:2] / md5[2:]).unlink()
    with pytest.raises(StateError, match="cannot be had"):
        pull(large, want(large, f"{MODEL}@stable"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_image_takes_one_file(large: Path) -> None:
    """What would lose the weights refuses and says what to do."""
    promote(large, PromotionRequest("int8"))
    with packaged(large, want(large, f"{MODEL}@stable")) as package, pytest.raises(StateError, match="takes one"):
        oci.model_manifest(package)


def test_a_record_of_one_file_says_nothing_of_weights(promoted: Path) -> None:
    """Records of the usual artifact keep their form."""
    record = next((promoted / "registry/models").rglob("v1.yaml")).read_text()
    assert "weights" not in record
