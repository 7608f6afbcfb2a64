"""The report as markdown: whole strings and hostile text."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gate.evidence import BUDGETS, comparison, controls, digest, launches, measurement
from tests.gate.project import PARAMS, evidence
from weighbridge.core.documents import BasisItem, Budget, PolicyChange, Verdict, WaiverUse
from weighbridge.core.escaping import escape
from weighbridge.gate.report.blocks import Bullets, Code, Document, Mark, Paragraph, Section, Shell, Strong, Table
from weighbridge.gate.report.content import document
from weighbridge.gate.report.edits import Edit, Edits
from weighbridge.gate.report.facts import Entry
from weighbridge.gate.report.single import render as render_single
from weighbridge.gate.report.subject import Report
from weighbridge.gate.report.to_markdown import render
from weighbridge.gate.verdict.judge import judge

LIMITS = [Budget(**budget) for budget in PARAMS["budgets"]]  # type: ignore[attr-defined]


def entries(**ratios: float) -> list[Entry]:
    """The project's two recipes, judged."""
    found = []
    for name in ("int8", "share"):
        weighed = evidence(name, ratio=ratios.get(name, 0.85))
        found.append(Entry(name, judge(weighed, LIMITS, advisory=name == "share"), weighed))
    return found


def report(
    verdict: Verdict = Verdict.PASS, found: list[Entry] | None = None, **fields: bool | Edits | list[Any]
) -> Report:
    """A pipeline's report."""
    return Report(verdict, found if found is not None else entries(), model="net", **fields)


def test_a_passing_pipeline(golden: Callable[[str, str], None]) -> None:
    """Verdict first, one line per recipe, one table of limits, then what it rests on."""
    text = render(document(report(pictures=True, reproduce=["make repro", "weighbridge gate"])))
    golden("passing.md", text)


def test_a_failing_pipeline_with_policy_and_waivers(golden: Callable[[str, str], None]) -> None:
    """What was loosened and who accepted it stand between the reasons and the samples."""
    changes = [
        PolicyChange(
            kind="loosened",
            budget="latency.p50 max_ratio against baseline",
            base="0.8×",
            head="0.9×",
            under_base={"int8": "fail", "share": "pass"},
        ),
        PolicyChange(kind="removed", budget="params max", base="100", head="removed", waived_by="waivers/a.yaml"),
        PolicyChange(
            kind="library upgraded",
            budget="requirements.txt",
            base="0123456789ab",
            head="ba9876543210",
            effect="numpy ==2.0 → ==2.1",
            needs_waiver=False,
        ),
    ]
    basis = [
        BasisItem(subject="test set", digest=digest("data"), base=digest("data"), state="same"),
        BasisItem(
            subject="libraries", digest=digest("new"), base=digest("old"), state="changed", effect="numpy ==2.0 → ==2.1"
        ),
        BasisItem(subject="baseline onnxruntime", digest=digest("baseline"), state="new"),
    ]
    waivers = [
        WaiverUse(
            file="waivers/a.yaml", who="A. Person", why="No longer needed.", expires="2026-12-31",
            accepts=["policy: params max removed (100 → removed)"],
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
                basis=basis,
                edits=Edits(
                    (Edit("budgets[1].max_ratio", "0.8", "0.9"),),
                    {"int8": ("- prune(magnitude, 0.8)", "+ prune(magnitude, 0.95)")},
                ),
                calibration=["This machine resolves 3% of latency."],
                notes=["waivers/b.yaml is not needed any more: delete it."],
            )
        )
    )
    golden("failing.md", text)


def test_a_single_weighing(golden: Callable[[str, str], None]) -> None:
    """Two files and no pipeline: the same report for one candidate."""
    found = measurement(comparison(pairs=16, latency_p50=launches(0.9, pairs=16), controls=controls(16)))
    done = render_single(judge(found, BUDGETS), found, name="small.onnx", reproduce=["weighbridge weigh a b"])
    golden("single.md", done.markdown)
    assert "<svg" in done.html


def test_a_weighing_that_broke(golden: Callable[[str, str], None]) -> None:
    """A fault: no numbers are made up, and the reader is told what happened."""
    found = measurement(comparison(latency_p50=None), faults=["the candidate crashed (signal 11)"])
    golden("broken.md", render_single(judge(found, BUDGETS), found).markdown)


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (Verdict.PASS, "Pass: the compressed model is within every limit"),
        (Verdict.ERROR, "Error: the evidence for this verdict is not valid"),
        (Verdict.INCONCLUSIVE, "Error: the evidence for this verdict"),
    ],
)
def test_the_headline_says_the_whole_verdict(verdict: Verdict, words: str) -> None:
    """The first line is the verdict over all, in words."""
    assert render(document(report(verdict))).splitlines()[0].split(" ", 2)[2].startswith(words)


LOOSENED = PolicyChange(kind="loosened", budget="latency.p50 max_ratio against baseline", base="0.8×", head="0.9×")
LOOSE = "latency.p50 max_ratio against baseline was loosened (0.8× → 0.9×)"
LOST = PolicyChange(
    kind="test examples removed", budget="test set", base="2,000", head="1,688",
    effect="the test set lost 312 of 2,000 examples",
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([LOOSENED], f"Fail: {LOOSE} without a waiver"),
        ([LOOSENED, LOOSENED], f"Fail: {LOOSE} without a waiver, and 1 more"),
        ([LOST], "Fail: the test set lost 312 of 2,000 examples, without a waiver"),
        ([LOST, LOOSENED], "Fail: the test set lost 312 of 2,000 examples, without a waiver, and 1 more"),
    ],
)
def test_the_headline_names_what_no_waiver_accepts(changes: list[PolicyChange], words: str) -> None:
    """Every model is within its limits, and the first line says why the change still fails."""
    first = render(document(report(Verdict.FAIL, policy_changes=changes))).splitlines()[0]
    assert first.replace("\\", "") == f"## ❌ {words}"


def test_a_failed_recipe_does_not_hide_a_loosened_limit() -> None:
    """Both are in the first line."""
    text = render(document(report(Verdict.FAIL, entries(int8=1.4), policy_changes=[LOOSENED])))
    first = text.splitlines()[0].replace("\\", "")
    assert first == f"## ❌ Fail: int8: latency.p50 1.395×, at most 0.9×; {LOOSE} without a waiver"


def test_a_pass_by_a_gate_that_the_change_edits_says_so() -> None:
    """What says pass is part of what was changed."""
    edited = PolicyChange(kind="gate code", budget="gate", base="a", head="b", needs_waiver=False)
    text = render(document(report(Verdict.PASS, policy_changes=[edited])))
    assert text.splitlines()[0].endswith("within every limit that counts; this change edits the gate itself")


def test_a_loosened_row_is_never_a_bare_pass() -> None:
    """In both tables, also where a waiver accepts it; other rows keep their plain mark."""
    for waived in (None, "waivers/a.yaml"):
        changes = [LOOSENED.model_copy(update={"waived_by": waived})]
        text = render(document(report(Verdict.FAIL, policy_changes=changes)))
        rows = [line for line in text.splitlines() if line.startswith("| `int8` |")]
        assert [line for line in rows if "✅ pass (a limit was loosened)" in line]
        latency = [line for line in rows if "`latency.p50`" in line]
        assert latency
        assert all("✅ pass (loosened) |" in line for line in latency)
        assert all("loosened" not in line for line in rows if "`size.bytes`" in line)


def test_a_removed_limit_marks_every_model() -> None:
    """It has no row any more: the model's own row says that it is gone."""
    removed = LOOSENED.model_copy(update={"kind": "removed", "budget": "params max"})
    text = render(document(report(Verdict.FAIL, policy_changes=[removed])))
    assert "| ✅ pass (a limit was removed) |" in text


def test_nothing_weighed_reads_as_an_error() -> None:
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
def test_untrusted_text_stays_text(text: str) -> None:
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
def test_any_text_stays_in_its_cell(text: str) -> None:
    """A table keeps its columns and its rows, as text and as code."""
    table = Table(("a", "b"), [([text], [Code(text)])])
    lines = (
        render(Document(Verdict.PASS, "x", [], [Section("recipes", "t", [table])])).split("### t\n\n")[1].split("\n")
    )
    cells = lines[2].replace("\\\\", "").replace("\\|", "").count("|")
    assert cells == 3
    assert lines[3] == ""


def test_blocks_render_as_markdown() -> None:
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
        "## ❔ H\n\n<details><summary>N</summary>\n\na **b** ❌ fail: c\n\n- x\n- `` y`z ``\n\n"
        "```sh\necho ; rm\n```\n\n</details>\n"
    )
