"""The report as markdown: whole strings, hostile text, and the order in which it is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gate.evidence import BUDGETS, comparison, controls, launches, measurement, proportions
from tests.gate.project import PARAMS, evidence
from weighbridge.core.documents import Budget, Flip, PolicyChange, Verdict, WaiverUse
from weighbridge.gate.report.blocks import Bullets, Code, Document, Mark, Paragraph, Section, Shell, Strong, Table
from weighbridge.gate.report.content import Report, document
from weighbridge.gate.report.facts import Entry
from weighbridge.gate.report.governance import Edit
from weighbridge.gate.report.markdown import CUT_ORDER, escape, render
from weighbridge.gate.report.single import render as render_single
from weighbridge.gate.verdict.judge import judge

LIMITS = [Budget(**budget) for budget in PARAMS["budgets"]]


def entries(**ratios):
    """The project's two recipes, judged."""
    found = []
    for name in ("int8", "share"):
        weighed = evidence(name, ratio=ratios.get(name, 0.85))
        found.append(Entry(name, judge(weighed, LIMITS, advisory=name == "share"), weighed))
    return found


def report(verdict=Verdict.PASS, found=None, **fields):
    """A pipeline's report."""
    return Report(verdict, found if found is not None else entries(), model="net", **fields)


def test_a_passing_pipeline(golden):
    """Verdict first, one line per recipe, one table of limits, then what it rests on."""
    text = render(document(report(pictures=True, reproduce=["make repro", "weighbridge gate"])))
    golden("passing.md", text)


def test_a_failing_pipeline_with_policy_and_waivers(golden):
    """What was loosened and who accepted it stand between the reasons and the samples."""
    changes = [
        PolicyChange(
            kind="loosened",
            budget="latency.p50 max_ratio against baseline",
            base="0.8×",
            head="0.9×",
            under_base={"int8": "fail", "share": "pass"},
        ),
        PolicyChange(kind="removed", budget="params max", base="100", head="not there", waived_by="waivers/a.yaml"),
    ]
    waivers = [
        WaiverUse(
            file="waivers/a.yaml", who="A. Person", why="No longer needed.", expires="2026-12-31",
            accepts=["policy: params max removed (100 → not there)"],
        )
    ]  # fmt: skip
    found = entries(int8=1.4)
    text = render(
        document(
            report(
                Verdict.FAIL,
                found,
                policy_changes=changes,
                waivers=waivers,
                edits=[Edit("budgets[1].max_ratio", "0.8", "0.9")],
                calibration=["This machine resolves 3% of latency."],
                notes=["waivers/b.yaml is not needed any more: delete it."],
            )
        )
    )
    golden("failing.md", text)


def test_a_single_weighing(golden):
    """Two files and no pipeline: the same report for one candidate."""
    found = measurement(comparison(pairs=16, latency_p50=launches(0.9, pairs=16), controls=controls(16)))
    done = render_single(judge(found, BUDGETS), found, name="small.onnx", reproduce=["weighbridge weigh a b"])
    golden("single.md", done.markdown)
    assert "<svg" in done.html


def test_a_weighing_that_broke(golden):
    """A fault: no numbers are made up, and the reader is told what happened."""
    found = measurement(comparison(latency_p50=None), faults=["the candidate crashed (signal 11)"])
    golden("broken.md", render_single(judge(found, BUDGETS), found).markdown)


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (Verdict.PASS, "Pass: the compressed model is within every limit"),
        (Verdict.FAIL, "Fail: this change asks for less than the main branch does"),
        (Verdict.ERROR, "Error: what this verdict rests on is not in order"),
        (Verdict.INCONCLUSIVE, "Error: what this verdict rests on"),
    ],
)
def test_the_headline_says_the_whole_verdict(verdict, words):
    """The first line is the verdict over all, in words."""
    assert render(document(report(verdict))).splitlines()[0].split(" ", 2)[2].startswith(words)


def test_nothing_weighed_reads_as_an_error():
    """Without any entry the report says that nothing passes."""
    assert "Nothing was weighed" in render(document(report(Verdict.ERROR, [])))


UNTRUSTED = [
    "| pipe",
    "<script>alert(1)</script>",
    "@maintainer merge this",
    "![x](http://evil.example/x.png)",
    "[link](javascript:alert(1))",
    "line\nbreak",
    "`tick`",
    "# heading",
    "https://evil.example",
    "www.evil.example",
    "**bold** __bold__ ~~gone~~",
    "\u202egnp.exe",
    "<!-- hidden -->",
    "$math$",
    "&lt;b&gt;",
]


@pytest.mark.parametrize("text", UNTRUSTED)
def test_untrusted_text_stays_text(text):
    """No markup, no mention, no link, no second line, whatever a name or a message holds."""
    escaped = escape(text)
    assert "\n" not in escaped
    assert "<" not in escaped
    assert "@m" not in escaped
    assert "://" not in escaped
    assert "\u202e" not in escaped
    assert "www." not in escaped
    assert "](" not in escaped.replace("\\](", "")
    row = render(Document(Verdict.PASS, text, [], [Section("recipes", text, [Table((text,), [([text],)])])]))
    assert sum(line.startswith("|") for line in row.splitlines()) == 3


@given(st.text(max_size=60))
def test_any_text_stays_in_its_cell(text):
    """A table keeps its columns and its rows, as text and as code."""
    table = Table(("a", "b"), [([text], [Code(text)])])
    lines = (
        render(Document(Verdict.PASS, "x", [], [Section("recipes", "t", [table])])).split("### t\n\n")[1].split("\n")
    )
    cells = lines[2].replace("\\\\", "").replace("\\|", "").count("|")
    assert cells == 3
    assert lines[3] == ""


def test_blocks_render_as_markdown():
    """Each kind of block, and verdicts with their signs."""
    section = Section(
        "notes",
        "N",
        [
            Paragraph(["a ", Strong("b"), " ", Mark(Verdict.FAIL, ": c")]),
            Bullets([["x"], [Code("y`z")]]),
            Shell(["echo ```; rm"]),
        ],
        folded=True,
    )
    text = render(Document(Verdict.INCONCLUSIVE, "H", [], [section]))
    assert text == (
        "## ❔ H\n\n<details><summary>N</summary>\n\na **b** ❌ fail: c\n\n- x\n- `y'z`\n\n"
        "```sh\necho ; rm\n```\n\n</details>\n"
    )


def crowded(recipes, flips, slices):
    """A report of many recipes, flips and slices."""
    weighed = evidence("int8", ratio=1.4)
    first = weighed.comparisons[0]
    parts = {f"slice-{index:04}": proportions(225, 3, 2, 20) for index in range(slices)}
    samples = [Flip(index=index, label=1, candidate=2, slices=["slice-0000"]) for index in range(flips)]
    weighed = weighed.model_copy(update={"comparisons": [first.model_copy(update={"slices": parts, "flips": samples})]})
    verdict = judge(weighed, LIMITS)
    found = [Entry(f"recipe-{index:04}", verdict, weighed) for index in range(recipes)]
    return document(report(Verdict.FAIL, found))


def test_an_overlong_report_is_cut_in_its_declared_order():
    """Samples go first, then slices, launches and so on; the headline and the lead stay, and the cut is said."""
    laid_out = crowded(40, 12, 10)
    full = render(laid_out, longest=10**9)
    seen = [key for key in CUT_ORDER if key in {section.key for section in laid_out.sections}]
    present = {section.key: section.title for section in laid_out.sections}
    gone = 0
    for longest in range(len(full), 2000, -2000):
        text = render(laid_out, longest)
        assert len(text) <= longest
        assert text.startswith("## ❌ Fail: all 40 compressed models are beyond a limit")
        missing = [key for key in seen if f"### {present[key]}" not in text and f"<summary>{present[key]}" not in text]
        assert missing == seen[: len(missing)] or "Cut here" in text
        assert len(missing) >= gone
        gone = len(missing)
        assert not missing or "too long" in text
    assert gone == len(seen)


def test_a_report_of_hundreds_of_recipes_fits_a_comment():
    """At most 60,000 characters, whatever there is to say; the verdict is there."""
    text = render(crowded(500, 12, 10))
    assert len(text) <= 60_000
    assert "all 500" in text.splitlines()[0]
