"""Model cards: the Hub's metadata, and text that cannot break out."""

import re
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tests.registry.project import MODEL, commit_all, write_run
from tests.registry.publish.project import Project
from tests.registry.publish.richproject import UNTRUSTED, metrics
from weighbridge.core.escaping import CONTROL, WORD_JOINER, code, escape, fenced
from weighbridge.registry.lifecycle.promote import PromotionRequest, promote
from weighbridge.registry.site.version import version_page
from weighbridge.registry.state.layout import WorkTree
from weighbridge.registry.state.records import VersionRecord
from weighbridge.registry.state.snapshot import read_model
from weighbridge.registry.views.card import CardContext, card

MARKDOWN = MarkdownIt("commonmark").enable("table").enable("strikethrough")


def test_every_target_is_described(pipeline_run: Path) -> None:
    """Files, digests and verdicts of all targets, in the card and on the site's page; not the first one's alone."""
    write_run(pipeline_run, targets=("litert", "onnxruntime"))
    commit_all(pipeline_run)
    promote(pipeline_run, PromotionRequest("int8"))
    state = read_model(WorkTree(pipeline_run), MODEL)
    record = state.records["v1"]
    text = card(record)
    front = yaml.safe_load(text.split("---")[1])
    assert (front["library_name"], front["tags"][:3]) == ("litert", ["litert", "onnx", "onnxruntime"])
    page = version_page(state, "v1")
    for item in record.artifacts:
        assert f"artifact for {item.target}" in text
        assert item.digest in text
        assert item.digest in page
    assert text.count("**pass**, judged on test") == 2
    assert "int8/onnxruntime, judged on test" in page
    assert " B for litert, " in page


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with one version that has metrics and notes."""
    made = Project(tmp_path_factory.mktemp("card") / "project")
    made.add("int8", b"weights", baseline=b"fp32", metrics=metrics(123_120, 0.8935, 131e-6), notes=UNTRUSTED)
    return made


@pytest.fixture
def record(project: Project) -> VersionRecord:
    """Its record."""
    from weighbridge.registry.state.layout import WorkTree
    from weighbridge.registry.state.snapshot import read_model

    return read_model(WorkTree(project.root), project.model).records["v1"]


def test_the_hubs_own_library_reads_every_figure(record: VersionRecord) -> None:
    """What huggingface_hub parses out of the card is what the record says."""
    parsed = ModelCard(card(record, CardContext(task="image-classification", dataset="fashion_mnist")))
    assert parsed.data.license == "apache-2.0"  # type: ignore[attr-defined]
    assert parsed.data.library_name == "onnx"  # type: ignore[attr-defined]
    assert parsed.data.pipeline_tag == "image-classification"  # type: ignore[attr-defined]
    assert parsed.data.tags == ["onnx", "onnxruntime", "compressed", "quantize"]  # type: ignore[attr-defined]
    found = {result.metric_type: result for result in parsed.data.eval_results}  # type: ignore[attr-defined]
    assert found["accuracy"].metric_value == 0.8935
    assert found["accuracy"].metric_args["lower"] < 0.8935 < found["accuracy"].metric_args["upper"]
    assert found["size.bytes"].metric_value == 123_120
    assert found["size.bytes"].metric_args is None
    assert {result.dataset_name for result in found.values()} == {"fashion_mnist"}
    assert {result.dataset_revision for result in found.values()} == {record.data}


@pytest.mark.parametrize(
    ("licence", "said"),
    [
        ("MIT", {"license": "mit"}),
        ("Acme Internal", {"license": "other", "license_name": "Acme Internal"}),
        (None, {}),
    ],
)
def test_licences_are_said_in_the_hubs_words(record: VersionRecord, licence: str | None, said: dict[str, str]) -> None:
    """A licence that the Hub does not know is `other`, with its name."""
    front = yaml.safe_load(card(record.model_copy(update={"licence": licence})).split("---\n")[1])
    assert {key: front[key] for key in front if key.startswith("license")} == said


def test_the_card_shows_every_metric_with_interval_and_change(record: VersionRecord) -> None:
    """One row a metric: value, interval, baseline, change."""
    html = MARKDOWN.render(card(record).split("---\n", 2)[2])
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)]
    assert ["file size", "123.1 kB", "exact", "472 kB", "−73.9%"] in rows
    assert ["top-1 accuracy", "89.35%", "88.99 to 89.71%", "89.39%", "−0.04 points"] in rows
    assert ["size.bytes", "pass", "max 250 kB", "123.1 kB"] in rows


def test_notes_cannot_become_markup(record: VersionRecord) -> None:
    """A script, a link and a table cell in the notes stay text."""
    html = MARKDOWN.render(card(record).split("---\n", 2)[2])
    assert "<script" not in html
    assert "<a " not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; | [x](javascript:alert(1)) `a` **b**" in html


def test_a_quarantined_version_says_so_first(record: VersionRecord) -> None:
    """Whoever opens the card of a bad version sees that before any figure."""
    text = card(record, CardContext(status=("quarantined",)))
    assert text.index("Quarantined") < text.index("Measured")
    assert "It is on stable." in card(record, CardContext(status=("stable",)))


def test_a_baselines_card_has_no_verdict_and_no_recipe(project: Project) -> None:
    """What others are judged against was not judged itself, and the card does not pretend."""
    from weighbridge.registry.state.layout import WorkTree
    from weighbridge.registry.state.snapshot import read_model

    text = card(read_model(WorkTree(project.root), project.model).records["b1"])
    assert "## Verdict" not in text
    assert "## Recipe" not in text
    assert "the uncompressed baseline" in text


def shown(html: str) -> str:
    """What a browser shows of HTML without elements inside."""
    from html import unescape

    # A word joiner, which shows nothing, keeps mentions and addresses from becoming links.
    return unescape(re.sub(r"<(?!/?(p|code|td|tr|th|thead|tbody|table)\b)[^>]*>", "ELEMENT", html)).replace(
        WORD_JOINER, ""
    )


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp", "Zs"], include_characters=" \n"), max_size=40))
def test_escaped_text_reads_as_it_was_written(text: str) -> None:
    """Whatever somebody writes, markdown shows it letter by letter and makes no element of it."""
    plain = " ".join(CONTROL.sub(" ", text).replace(WORD_JOINER, "").split())
    html = MARKDOWN.render(escape(text)).strip()
    assert shown(html).removeprefix("<p>").removesuffix("</p>") == plain
    row = MARKDOWN.render(f"| a | b |\n|---|---|\n| {escape(text)} | end |\n")
    assert "<td>end</td>" in row


@given(st.text(st.sampled_from("a`| \n\\<>&~"), min_size=1, max_size=20))
def test_code_spans_and_blocks_cannot_be_closed_from_within(text: str) -> None:
    """However many backticks a name or a recipe holds."""
    plain = " ".join(text.split())
    if plain:
        html = MARKDOWN.renderInline(code(text))
        assert html.count("<code>") == 1
        assert html.endswith("</code>")
    assert MARKDOWN.render(fenced(text, "yaml")).count("<pre>") == 1
    assert MARKDOWN.render(fenced(text, "yaml")).rstrip().endswith("</code></pre>")
