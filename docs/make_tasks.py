"""Writes docs/howto/task-*.md: for each task its params and a report, by running a whole project (about two minutes).

The page of language models shows the report of `examples/lm`, of a copy in which its pipeline has run:

    python docs/make_tasks.py language-model --built FOLDER
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from weighbridge.compress import stages
from weighbridge.core.facts.tasks import TASKS
from weighbridge.gate.report import plots
from weighbridge.gate.stages import pipeline
from weighbridge.gate.stages.summary import judge

FOLDER = Path(__file__).resolve().parent / "howto"
NETS = Path(__file__).resolve().parents[1] / "tests/pipeline/task_nets.py"
NOTE = "<!-- written by docs/make_tasks.py -->\n"


@dataclass(frozen=True)
class Page:
    """One task's page."""

    task: str
    net: str
    data: str
    says: str
    """What a user must know beside the table."""
    section: str = ""
    """The section `task` where its name alone is not enough."""
    scheme: str = "static-int8"
    train: str = "{epochs: 15, batch_size: 32, lr: 0.01, seed: 3}"


PAGES = (
    Page("classification", "YesNo", "yes_no", "One score for each example means yes and no: probabilities are cut at 0.5, logits at 0 (`scores:`\nsays which they are, `threshold:` cuts elsewhere). Several scores `(n, classes)` are classes, as without a task."),
    Page("multilabel", "Topics", "topics", "Each label has a score of its own. `accuracy.f1` and `accuracy.auc` are averages over labels; agreement is the F1 of the set of\nlabels, so that rare ones do not drown in the many that neither model gives."),
    Page("token", "Tagger", "tagged", "Labels of -100 do not count; without labels, the input named by `mask` says where padding is. Whole sentences are\ndrawn for intervals, not tokens.", section="{kind: token, mask: attention_mask}"),
    Page("regression", "Numbers", "measured", "Agreement is 1 minus the root mean square difference, on the scale of the spread of the baseline's answers."),
    Page("embedding", "Encoder", "sentences", "No labels are needed: what counts is whether searches and comparisons come out as before. `agreement.cosine` is the cosine to the\nbaseline's vectors, `agreement.recall` how many of its ten nearest neighbours are found again, `agreement.rank` Spearman's\ncorrelation of the similarity of pairs. Steps that fine-tune learn from the baseline's vectors where train has no labels.", scheme="weight-int4", train="none"),
    Page("detection", "Detector", "boxed", "Outputs are boxes `(n, k, 4)` as x1, y1, x2, y2, scores `(n, k)` and classes `(n, k)`, in this order or by name (`boxes:`,\n`detection_scores:`, `classes:`), or one output `(n, k, 6)`; non-maximum suppression is in the graph. `accuracy.map` is COCO's, by\npycocotools: `pip install 'weighbridge[detection]'`. Training needs `train.loss`.", scheme="weight-int8", train="none"),
    Page("segmentation", "Segmenter", "bright", "Pixels labelled -100 do not count, in training, `accuracy.miou` and agreement alike."),
    Page("custom", "Two", "plain", "`agreement` gets the outputs of both models, each a list of arrays `(n, …)`, and gives one number from 0 to 1 for each example;\n`metric` gets outputs and labels, and `loss` is what training minimizes. A metric of your own says in its budget which way is\nbetter (`better: lower`); one that gives a number for each example shows those that lost most.", section="{kind: custom, agreement: nets:near, metric: nets:spread}", train="none"),
)  # fmt: skip


def params(page: Page) -> str:
    """`params.yaml` of one page, with the task's own budgets."""
    limits = [
        f"  - {{metric: {metric}, {rule}: {value:g}}}"
        for metric, limit in TASKS[page.task].limits.items()
        for rule, value in limit.items()
    ]
    return "\n".join([
        f"model: {{name: {page.task}, factory: nets:{page.net}}}",
        f"data: {{factory: nets:{page.data}}}",
        f"train: {page.train}",
        f"task: {page.section or page.task}",
        "recipes:",
        f"  small: {{steps: [quantize: {{scheme: {page.scheme}}}]}}",
        "budgets:",
        *limits,
    ]) + "\n"  # fmt: skip


def report(page: Page, root: Path) -> str:
    """The report of that project; its stages run here, in one folder for all pages, as Python imports `nets` once."""
    for made in ("artifacts", "measurements", "reports"):
        shutil.rmtree(root / made, ignore_errors=True)
    (root / "params.yaml").write_text(params(page))
    stages.prepare(root)
    stages.train(root)
    stages.baseline(root)
    stages.compress(root, "small")
    pipeline.device(root)
    pipeline.weigh(root, "small")
    judge(root)
    return (root / "reports/gate.md").read_text()


def head_of(text: str) -> str:
    """The headline, the limits and the reasons: what does not depend on the machine."""
    parts = text.split("\n<details><summary>")
    folded = (part.partition("</summary>") for part in parts[1:])
    sections = {title: content.rpartition("</details>")[0].strip() for title, _, content in folded}
    headline = parts[0].strip().splitlines()[0].lstrip("# ")
    kept = [sections[name] for name in ("Limits", "Why") if name in sections]
    lines = "\n\n".join([f"> {headline}", *kept]).splitlines()
    return "\n".join(line for line in lines if not line.startswith("![")).strip()  # its pictures stay in the report


LANGUAGE = (
    "`lm.nll` is in bits per token (per byte for a model of bytes), `lm.kld` the divergence from the baseline in nats per token, with "
    "`lm.kld.p99` and `lm.kld.max` for its tail,\n`lm.same_top` the share of positions with the same likeliest token; none of the last three needs "
    "labels. Intervals draw whole documents: give the pieces of one text a group\n(`Split(…, groups=…)`). A cache is an input that is fed back "
    "([inputs](inputs.md)); then `latency.first_token`, `latency.next_token` and `tokens_per_second` are timed too, and\n`weighing.sample` shows how "
    "both models go on with a few texts. For weights in few bits: `quantize` with `kernel: matmulnbits`, blocks, `rounding: gptq` and zero points\n"
    "([techniques](../reference/techniques.md)); figures: [formats of a language model](../figures.md#formats-of-a-language-model)."
)


def language_page(built: Path) -> str:
    """The page of language models, from a copy of `examples/lm` whose pipeline has run."""
    row = TASKS["language-model"]
    report_text = (built / "reports/gate.md").read_text()
    texts = report_text.partition("<summary>Texts, continued by both</summary>")[2].partition("</details>")[0].strip()
    return (
        f"{NOTE}\n# Task: language-model\n\n{row.title[0].upper()}{row.title[1:]}. Labels: {row.labels}. A lossy step must keep an "
        f"agreement of {row.least:g} with the model before it ({row.answers}); `least:` in the task, or `agreement:` in a "
        f"step, says otherwise.\n\n{LANGUAGE}\n\n```yaml\n{(built / 'params.yaml').read_text()}```\n\nThe report of this project "
        f"(`examples/lm` of Weighbridge's repository: a byte-level Llama of 1.27 million parameters):\n\n{head_of(report_text)}\n\n"
        f"{texts}\n\nTwo finished files are weighed by the same limits: `weighbridge weigh old.onnx new.onnx --data eval.npz --task "
        f"language-model`. All tasks: [what is supported](../reference/supported.md).\n"
    )


def text(page: Page, root: Path) -> str:
    """The page."""
    row = TASKS[page.task]
    return (
        f"{NOTE}\n# Task: {page.task}\n\n{row.title[0].upper()}{row.title[1:]}. Labels: {row.labels}. A lossy step must keep an "
        f"agreement of {row.least:g} with the model before it ({row.answers}); `least:` in the task, or `agreement:` in a "
        f"step, says otherwise.\n\n{page.says}\n\n```yaml\n{params(page)}```\n\nThe report of this project "
        f"(`nets.py` is `tests/pipeline/task_nets.py` of Weighbridge's repository):\n\n{head_of(report(page, root))}\n\n"
        f"Two finished files are weighed by the same limits: `weighbridge weigh old.onnx new.onnx --data eval.npz --task "
        f"{page.task}`. All tasks: [what is supported](../reference/supported.md).\n"
    )


if __name__ == "__main__":
    if "--built" in sys.argv:
        (FOLDER / "task-language-model.md").write_text(language_page(Path(sys.argv[-1])), encoding="utf-8")
        sys.exit()
    plots.PLOTS.clear()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(NETS, Path(folder) / "nets.py")
        os.chdir(folder)
        for item in PAGES:
            if len(sys.argv) == 1 or item.task in sys.argv[1:]:
                (FOLDER / f"task-{item.task}.md").write_text(text(item, Path(folder)), encoding="utf-8")
                print(item.task, flush=True)
