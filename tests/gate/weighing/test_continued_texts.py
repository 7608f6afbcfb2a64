"""Texts in a weighing and in its report: beginnings of the test set, both continuations, nothing that decides."""

import re
from pathlib import Path
from typing import Any, NoReturn

import pytest
from onnx import numpy_helper

from tests.gate.measure.test_tokens import CACHED, language, texts, told
from weighbridge.core.documents import Budget, Measurement, TaskSection, Verdict, Weighing
from weighbridge.core.documents.text_sample import TextSample
from weighbridge.core.errors import InputError
from weighbridge.core.formats.onnx_file import load_model
from weighbridge.gate.measure.fingerprint import describe
from weighbridge.gate.report.content import document
from weighbridge.gate.report.facts import Entry
from weighbridge.gate.report.page import render as page
from weighbridge.gate.report.subject import Report
from weighbridge.gate.report.to_markdown import render
from weighbridge.gate.verdict.judge import judge
from weighbridge.gate.verdict.pipeline_changes import setting_changes
from weighbridge.gate.weighing.continued_texts import decoder
from weighbridge.gate.weighing.job import Job, JobOptions, Source, read_job
from weighbridge.gate.weighing.weigh import weigh

LETTERS = "tests.gate.weighing.test_continued_texts:letters"
HOSTILE = "<img src=x> @all | `a` ![b](http://c)\n# d"


def letters(tokens: Any) -> str:
    """A letter for each token, and what a model might write to hurt a reader."""
    return HOSTILE + "".join("abcdefghijk"[token] for token in tokens)


def broken(tokens: object) -> NoReturn:
    raise RuntimeError("no tokenizer")


def numbers(tokens: list[int]) -> list[int]:
    return tokens


def sample(**more: str) -> TextSample:
    return TextSample.model_validate({"prompts": 2, "prompt_tokens": 5, "tokens": 7, "decode": LETTERS, **more})


def job(
    folder: Path, *, task: str = "language-model", asked: Any = None, inputs: dict[str, dict[str, str | bool]] = CACHED
) -> Job:
    """A model beside one whose likeliest tokens are others."""
    path = language(folder / "baseline.onnx")
    model = load_model(path)
    out = next(item for item in model.graph.initializer if item.name == "out")
    out.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(out), "out"))
    candidate = folder / "candidate.onnx"
    candidate.write_bytes(model.SerializeToString())
    return read_job(
        Source(path, candidate, texts(), "data", inputs=told(**inputs)),
        [Budget(metric="lm.kld", max=100.0)],
        describe({}),
        Weighing(time_limit=20.0, sample=asked if asked is not None else sample()),
        JobOptions(task=TaskSection(kind=task)),
    )


@pytest.fixture(scope="module")
def weighed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, Measurement]:
    """A job and its measurement."""
    made = job(tmp_path_factory.mktemp("texts"))
    return made, weigh(made)


def test_both_models_continue_the_same_beginnings(weighed: tuple[Job, Measurement]) -> None:
    """The first and the last text; how long they are one is counted; the budget alone decides."""
    made, measurement = weighed
    assert measurement.faults == []
    (comparison,) = measurement.comparisons
    assert [text.prompt.removeprefix(HOSTILE) for text in comparison.texts] == [
        letters(texts().inputs["tokens"][index, :5]).removeprefix(HOSTILE) for index in (0, 7)
    ]
    for text in comparison.texts:
        ours, theirs = text.reference.removeprefix(HOSTILE), text.candidate.removeprefix(HOSTILE)
        assert (len(ours), len(theirs), text.tokens) == (7, 7, 7)
        assert text.same == next((place for place in range(7) if ours[place] != theirs[place]), 7)
    assert any(text.same < 7 for text in comparison.texts)
    assert judge(measurement, made.budgets).verdict is Verdict.PASS


def test_the_report_shows_them_side_by_side_and_no_markup_of_theirs(weighed: tuple[Job, Measurement]) -> None:
    """Folded; a model's text is hostile text."""
    made, measurement = weighed
    report = Report(Verdict.PASS, [Entry("int4", judge(measurement, made.budgets), measurement)], model="lm")
    text = render(document(report))
    (section,) = re.findall(r"<details><summary>Texts, continued by both</summary>.*?</details>", text, re.DOTALL)
    rows = [line for line in section.splitlines() if line.startswith("| `int4`")]
    assert len(rows) == 2
    for row, found in zip(rows, measurement.comparisons[0].texts, strict=True):
        assert found.reference[-7:] in row
        assert found.candidate[-7:] in row
        assert f"{found.same} of 7" in row
        assert len(re.findall(r"(?<!\\)\|", row)) == 6  # five cells
        assert "<img" not in row
        assert not re.search(r"(?<!\\)\]\(", row)
    html = page(document(report), {}, "t")
    assert "<img" not in html
    assert "&lt;img" in html


def test_a_model_that_takes_no_other_number_of_tokens_is_weighed_without(tmp_path: Path) -> None:
    """The note says why."""
    made = job(tmp_path, inputs={"past": {"carry": "present"}, "tokens": {"constant": False}})
    fixed = language(tmp_path / "baseline.onnx", tokens=24)
    (tmp_path / "candidate.onnx").write_bytes(fixed.read_bytes())
    source = Source(fixed, tmp_path / "candidate.onnx", texts(), "data", inputs=told(**CACHED))
    made = read_job(source, made.budgets, made.device, made.weighing, made.options)
    measurement = weigh(made)
    (comparison,) = measurement.comparisons
    assert comparison.texts == []
    assert any("No text is shown: the input 'tokens' takes 24 tokens" in note for note in comparison.controls.notes)
    assert measurement.faults == []


def test_texts_belong_to_language_models(tmp_path: Path) -> None:
    """A classifier's likeliest class is no token."""
    with pytest.raises(InputError, match=r"weighing.sample: texts belong to the task language-model"):
        job(tmp_path, task="token")


@pytest.mark.parametrize(
    ("function", "words"),
    [("broken", "failed: RuntimeError('no tokenizer')"), ("numbers", "gave list, not text"), ("missing", "missing")],
)
def test_a_function_that_gives_no_text_is_named(function: str, words: str) -> None:
    """With the key in the file."""
    with pytest.raises(InputError, match=re.escape(words)) as caught:
        decoder(sample(decode=LETTERS.replace("letters", function)))([1])
    assert str(caught.value).startswith("weighing.sample.decode")


def test_bytes_are_text_and_larger_tokens_are_not() -> None:
    """What is no UTF-8 is replaced."""
    decode = decoder(sample(decode="bytes"))
    assert decode([104, 195, 164, 255]) == "hä\ufffd"
    with pytest.raises(InputError, match="token 256 is no byte"):
        decode([256])


def test_a_sample_is_no_setting_that_decides() -> None:
    """Asking for one needs no waiver; asking for more launches is told as ever."""
    assert setting_changes(Weighing(), Weighing(sample=sample())) == []
    assert len(setting_changes(Weighing(), Weighing(sample=sample(), launches=60))) == 1
