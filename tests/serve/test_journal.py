"""What late labels are matched with: the newest requests, in little memory, through restarts."""

import json
from pathlib import Path

import pytest

from weighbridge.serve.observability.journal import DoubledError, Journal, UnknownRequestError


def test_an_answer_is_the_line_that_json_makes_of_it(tmp_path: Path) -> None:
    """A journal is read by other versions of the program, whatever an id contains."""
    journal = Journal(tmp_path / "journal.jsonl")
    journal.answered('a"\\ü\n', "v1", ["3", "4"], ["dark"])
    journal.answered("b", "v1", ["3"], [])
    first, second = (tmp_path / "journal.jsonl").read_bytes().splitlines()
    assert json.loads(first) == {"id": 'a"\\ü\n', "v": "v1", "p": ["3", "4"], "s": ["dark"]}
    assert second == b'{"id":"b","v":"v1","p":["3"]}'


def test_requests_that_were_answered_alike_share_what_is_kept_of_them(tmp_path: Path) -> None:
    """A label for one of them is no label for the others."""
    journal = Journal(tmp_path / "journal.jsonl")
    for identity in ("a", "b"):
        journal.answered(identity, "v1", ["3"], [])
    assert journal._entries["a"] is journal._entries["b"]
    journal.label("a", ["3"])
    with pytest.raises(DoubledError):
        journal.label("a", ["3"])
    journal.label("b", ["4"])
    assert journal.totals["labelled", "v1", ""] == 2
    assert journal.totals["correct", "v1", ""] == 1


def test_the_newest_requests_are_kept(tmp_path: Path) -> None:
    """Those that are older than so many others are forgotten; one that is answered again is new again."""
    journal = Journal(tmp_path / "journal.jsonl", keep=3)
    for identity in ("a", "b", "c", "a", "d"):
        journal.answered(identity, "v1", ["3"], [])
    with pytest.raises(UnknownRequestError):
        journal.label("b", ["3"])
    for identity in ("a", "c", "d"):
        journal.label(identity, ["3"])


def test_an_id_that_comes_again_and_again_pushes_no_other_out(tmp_path: Path) -> None:
    """What is kept of the order stays bounded too."""
    journal = Journal(tmp_path / "journal.jsonl", keep=3)
    journal.answered("first", "v1", ["3"], [])
    for _ in range(20):
        journal.answered("again", "v1", ["4"], [])
    assert len(journal._order) <= 7
    journal.label("first", ["3"])
    for identity in ("b", "c"):
        journal.answered(identity, "v1", ["3"], [])
    with pytest.raises(UnknownRequestError):
        journal.label("first", ["3"])
    journal.label("again", ["4"])


@pytest.mark.parametrize("rotate_bytes", [200, 10_000])
def test_a_label_that_comes_before_the_canarys_answer_counts_the_pair_once(tmp_path: Path, rotate_bytes: int) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, rotate_bytes=rotate_bytes)
    for identity, mine, theirs in (("a", "3", "4"), ("b", "4", "3"), ("c", "3", "3")):
        journal.answered(identity, "v1", [mine], [])
        journal.label(identity, ["3"])
        journal.shadowed(identity, "v2", [theirs])
        journal.shadowed(identity, "v2", ["5"])
    assert [journal.totals[name, "v2", ""] for name in ("paired", "paired_only_stable", "paired_only_canary")] == [
        3,
        1,
        1,
    ]
    journal.close()
    assert Journal(path).totals == journal.totals


def test_a_restart_knows_answers_shadows_labels_and_totals(tmp_path: Path) -> None:
    """Also where the last line was cut off by a kill, and where the file was changed for a new one in between."""
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, rotate_bytes=60)
    journal.answered("a", "v1", ["3"], ["dark"])
    journal.shadowed("a", "v2", ["4"])
    journal.answered("b", "v1", ["3"], [])
    journal.label("a", ["3"])
    journal.close()
    with path.open("ab") as file:
        file.write(b'{"id":"b","y"')
    again = Journal(path)
    assert again.totals == journal.totals
    assert again.totals["paired_only_stable", "v2", ""] == 1
    again.label("b", ["3"])
    with pytest.raises(DoubledError):
        Journal(path).label("b", ["3"])
