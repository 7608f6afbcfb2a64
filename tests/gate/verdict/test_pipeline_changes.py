"""Settings, stages and files that decide how a verdict is made: each weakening has a name, harmless edits have none."""

import pytest

from weighbridge.core.documents import Weighing
from weighbridge.core.errors import InputError
from weighbridge.gate.verdict.pipeline_changes import file_change, setting_changes, stage_changes

PIPELINE = """
stages:
  prepare:
    cmd: weighbridge stage prepare
    params: [data]
    deps: [data.py, net.py]
    outs: [artifacts/data]
  weigh:
    foreach: ${recipes}
    do:
      cmd: weighbridge stage weigh ${key}
      deps: [artifacts/data]
      outs: [{measurements/a: {persist: true}}]
"""


def test_as_long_as_it_takes_is_longer_than_any_limit() -> None:
    """From seconds to `auto` nothing is lost; back again is a change of the settings."""
    seconds, auto = Weighing(time_limit=86_400), Weighing(time_limit="auto")
    (longer,), (shorter,) = setting_changes(seconds, auto), setting_changes(auto, seconds)
    assert (longer.kind, longer.accepts) == ("measured longer", "auto")
    assert (shorter.kind, shorter.base, shorter.accepts) == ("settings", "auto", "86400")


@pytest.mark.parametrize(
    ("setting", "value", "kind"),
    [
        ("threads", 4, "settings"),
        ("batch_size", 8, "settings"),
        ("throughput_batch_size", 8, "settings"),
        ("seed", 12, "settings"),
        ("launches", 10, "settings"),
        ("launches", 100, "measured longer"),
        ("time_limit", 1.0, "settings"),
        ("time_limit", 600.0, "measured longer"),
    ],
)
def test_a_setting_that_differs_is_a_change(setting: str, value: float, kind: str) -> None:
    """Each by its name with both values; only more time and more launches are harmless by default."""
    (change,) = setting_changes(Weighing(), Weighing(**{setting: value}))
    assert (change.kind, change.budget, change.accepts) == (kind, f"weighing.{setting}", f"{value:g}")
    assert setting_changes(Weighing(), Weighing()) == []


@pytest.mark.parametrize(
    ("old", "new", "effect"),
    [
        ("stage prepare", "stage prepare --quick", "the stage prepare runs another command"),
        ("deps: [data.py, net.py]", "deps: [net.py]", "the stage prepare no longer depends on data.py"),
        ("params: [data]", "params: []", "the stage prepare no longer follows the parameters data"),
        ("persist: true", "persist: false", "the stage weigh has another `outs`"),
        ("foreach: ${recipes}", "foreach: [a]", "the stage weigh has another `foreach`"),
        ("stages:", "stages:\n  extra: {cmd: 'true'}", "the pipeline has a new stage extra"),
        ("    params: [data]", "    frozen: true\n    params: [data]", "the stage prepare has another `frozen`"),
        ("  prepare:", "  prepared:", "the pipeline has no stage prepare any more"),
    ],
)
def test_a_stage_that_does_another_thing_is_a_change(old: str, new: str, effect: str) -> None:
    """Commands, dependencies that are gone, frozen stages, stages added and removed."""
    assert old in PIPELINE
    found = stage_changes(PIPELINE, PIPELINE.replace(old, new), "dvc.yaml")
    assert effect in [change.effect for change in found]
    assert all(change.kind == "command" and change.blocks for change in found)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("deps: [data.py, net.py]", "deps: [net.py, data.py, more.py]"),
        ("    params: [data]", "    desc: words\n    # a comment\n    params: [data]"),
        (
            "    params: [data]\n    deps: [data.py, net.py]",
            "    deps:\n      - data.py\n      - net.py\n    params: [data]",
        ),
    ],
)
def test_what_asks_for_no_less_is_none(old: str, new: str) -> None:
    """More dependencies, descriptions, comments, order and formatting."""
    assert old in PIPELINE
    assert stage_changes(PIPELINE, PIPELINE.replace(old, new), "dvc.yaml") == []


def test_a_pipeline_without_stages_is_one_clear_error() -> None:
    """A file that DVC would refuse too."""
    with pytest.raises(InputError, match="no stages"):
        stage_changes(PIPELINE, "stages: []", "dvc.yaml")


def test_files_are_compared_by_content() -> None:
    """YAML by its values, others by their bytes; new, gone and different files are named, with what a waiver says."""
    assert file_change("workflow", "a.yml", b"on: push # now\njobs: {}", b"jobs: {}\non:   push\n") is None
    for base, head, effect in ((b"a: 1", b"a: 2", "differs"), (None, b"a: 1", "is new"), (b"a: 1", None, "is gone")):
        change = file_change("workflow", "a.yml", base, head)
        assert change.effect == f"a.yml {effect}"
        assert change.accepts == ("absent" if head is None else change.to)
    assert file_change("workflow", "a.yml", b"a: [", b"a: [ ") is not None
    assert file_change("workflow", "Jenkinsfile", b"a", b"a ") is not None
