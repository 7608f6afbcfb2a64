"""The one reader of `dvc.lock`: what each stage has, and every digest that must be kept."""

import hashlib
import json
from pathlib import Path

import pytest

from weighbridge.core.dvc_files import Lock, file_md5, folder_md5, md5s
from weighbridge.core.errors import InputError

STAGES = {
    "weigh@int8": {
        "deps": [{"path": "artifacts/int8", "md5": "aa.dir"}],
        "outs": [{"path": "m/int8", "md5": "bb.dir"}],
    },
    "train": {"cmd": "train", "outs": [{"path": "model.pt", "md5": "cc"}, {"path": "log", "hash": "md5"}]},
}


def test_a_stage_says_what_it_read_and_what_it_made() -> None:
    """Dependencies and outputs are told apart; what a stage does not name has no digest."""
    lock = Lock.of({"schema": "2.0", "stages": STAGES})
    assert lock.md5("weigh@int8", "deps", "artifacts/int8") == "aa.dir"
    assert lock.md5("weigh@int8", "outs", "artifacts/int8") is None
    assert lock.md5("prepare", "outs", "artifacts/int8") is None
    assert lock.outs() == {"m/int8": "bb.dir", "model.pt": "cc"}


@pytest.mark.parametrize("content", [None, [], {}, {"stages": ["train"]}, {"stages": {"train": "nothing"}}])
def test_a_lock_without_stages_is_refused(content: dict[str, list[str] | dict[str, str]] | None) -> None:
    """The file is named, and what to do."""
    with pytest.raises(InputError, match="contains no stages") as caught:
        Lock.of(content)
    assert caught.value.where == "dvc.lock"
    assert "dvc repro" in caught.value.fix


@pytest.mark.parametrize("outs", ["model.pt", {"path": "model.pt"}, ["model.pt"]])
def test_a_list_that_dvc_would_not_write_is_refused(outs: str | dict[str, str] | list[str]) -> None:
    """Never read as a stage without outputs."""
    with pytest.raises(InputError, match=r"expected a list of files under stages\.train\.outs"):
        Lock.of({"stages": {"train": {"outs": outs}}}).outs()


def test_every_digest_of_any_version_of_the_file_is_found() -> None:
    """Garbage collection keeps what it finds: stages at the top (DVC 1) and directories in lists count too."""
    assert sorted(md5s({"stages": STAGES})) == ["aa.dir", "bb.dir", "cc"]
    assert list(md5s({"train": STAGES["train"]})) == ["cc"]
    assert list(md5s(None)) == []


def test_digests_are_those_of_dvc(tmp_path: Path) -> None:
    """A file's is md5 over its bytes, a folder's md5 over the sorted list of its files."""
    (tmp_path / "b").write_bytes(b"bytes")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "c").write_bytes(b"more")
    one, other = (hashlib.md5(data, usedforsecurity=False).hexdigest() for data in (b"more", b"bytes"))
    assert file_md5(tmp_path / "b") == other
    listing = json.dumps([{"md5": one, "relpath": "a/c"}, {"md5": other, "relpath": "b"}])
    assert folder_md5(tmp_path) == hashlib.md5(listing.encode(), usedforsecurity=False).hexdigest() + ".dir"
