"""Writes docs/tutorial.md: one pull request from the edit to the rollback, every output taken from a real run.

It works in a temporary folder with a small model, needs the extras `compress` and `pipeline`, and takes a minute or two.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).parent / "tutorial.md"

MODEL = '''\
"""A net with one hidden layer."""

from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(32, 256)
        self.classes = nn.Linear(256, 4)

    def forward(self, x):
        return self.classes(self.hidden(x).relu())
'''

DATA = '''\
"""Four clouds of points, drawn from a seed; a slice for those far from their centre."""

import numpy as np

from weighbridge.data import Data, Split


def load():
    random = np.random.default_rng(5)
    centres = random.normal(0, 0.7, (4, 32))

    def draw(count):
        labels = np.arange(count) % 4
        noise = random.normal(0, 1.0, (count, 32))
        far = np.linalg.norm(noise, axis=1) > 6.0
        return Split({"x": (centres[labels] + noise).astype(np.float32)}, labels.astype(np.int64), {"far": far})

    return Data(train=draw(2000), test=draw(4000))
'''

PARAMS = """\
# yaml-language-server: $schema=.vscode/weighbridge-params.schema.json
model:
  name: clouds
  factory: nets.model:Net

data:
  factory: nets.data:load

train: {epochs: 4, lr: 0.01, seed: 7}

targets: [onnxruntime]

recipes:
  compact:
    target: onnxruntime
    steps:
      - quantize: {scheme: fp16}

devices: {local: {}}

weighing: {time_limit: 60s}

budgets:
  - {metric: size.bytes, max_ratio: 0.60, against: baseline}
  - {metric: accuracy.top1, max_drop: 0.02, against: baseline}
  - {metric: accuracy.flips, max: 0.03}
"""


class Walk:
    """A person at a terminal: runs commands, and writes down what was typed and what came back."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.root = home / "clouds"
        self.root.mkdir()
        self.page: list[str] = []
        self.comment = ""
        """What the gate said of the pull request that goes too far."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "GITHUB_", "DVC_", "CI"))}
        self.environment = kept | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "WEIGHBRIDGE_DEVICE_CLASS": "laptop",
            "COLUMNS": "110",
            "OMP_NUM_THREADS": "1",
            "XDG_RUNTIME_DIR": str(home),
        }

    def say(self, text: str) -> None:
        """Words between the commands."""
        self.page.append(text.strip() + "\n")

    def file(self, name: str, text: str) -> None:
        """Write a file and show it."""
        self.write(name, text)
        language = "python" if name.endswith(".py") else "yaml"
        self.page.append(f'```{language} title="{name}"\n{text}```\n')

    def write(self, name: str, text: str) -> None:
        """Write a file."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a text that stands once, and show it as a difference."""
        text = (self.root / name).read_text(encoding="utf-8")
        if text.count(old) != 1:
            raise ValueError(f"{old!r} stands {text.count(old)} times in {name}")
        self.write(name, text.replace(old, new))
        minus = "".join(f"-{line}\n" for line in old.splitlines())
        plus = "".join(f"+{line}\n" for line in new.splitlines())
        self.page.append(f'```diff title="{name}"\n{minus}{plus}```\n')

    def run(self, *commands: str, expect: int = 0, keep: str = "") -> str:
        """Run commands in one shell each, all of them shown; `keep` is a pattern of the lines that are worth showing."""
        block = []
        printed = ""
        for command in commands:
            done = subprocess.run(
                ["bash", "-c", command], cwd=self.root, env=self.environment, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, encoding="utf-8", check=False,
            )  # fmt: skip
            wanted = expect if command == commands[-1] else 0
            if done.returncode != wanted:
                raise RuntimeError(f"{command} exited {done.returncode}, not {wanted}:\n{done.stdout}")
            printed = done.stdout.replace(str(self.home), "~")
            lines = [line.rstrip() for line in printed.splitlines() if re.search(keep, line)]
            block += [f"$ {command}", *lines]
        if expect:
            block += ["$ echo $?", str(expect)]
        self.page.append("```console\n" + "\n".join(block) + "\n```\n")
        return printed

    def quote(self, printed: str) -> None:
        """Show what stands open in a report, as it looks in the pull request."""
        report = printed[printed.index("\n## ") :].partition("\n<details>")[0]
        lines = [re.sub(r"^## (.*)", r"**\1**", line) for line in report.strip("\n").splitlines()]
        self.page.append("\n".join(f"> {line}".rstrip() for line in lines) + "\n")


def walk(home: Path) -> Walk:
    """Walk the whole way; the page is what it wrote down."""
    me = Walk(home)
    me.page.append("<!-- written by docs/make_tutorial.py -->\n\n# Tutorial: one pull request\n")
    me.say(
        "You have a model, and a repository on a Git server. At the end of this page a compressed version of the model is "
        "served by name, a pull request that would have broken it was stopped, and you have rolled back once. The whole "
        "takes a quarter of an hour. Every output below is from a real run; this one used a small net on made-up data. "
        "Typed as they stand here, the commands do the same for you: start in an empty folder, with "
        "`weighbridge[compress,pipeline]` installed. (Digests and accuracies differ between processors.)"
    )
    start(me)
    first_verdict(me)
    broken(me)
    loosened(me)
    promoted(me)
    rolled_back(me)
    return me


def start(me: Walk) -> None:
    """From an empty repository to a pipeline."""
    me.say("## A repository\n\nThe server is a bare repository beside it; for you it is GitHub, or any other.")
    me.run(
        "git init --quiet --bare --initial-branch=main ../server.git",
        "git init --quiet --initial-branch=main",
        "git config user.name You",
        "git config user.email you@example.org",
        "git remote add origin ../server.git",
    )
    me.say(
        "## Two callables\n\nA factory for the model and one for the data are all that Weighbridge asks of your code."
    )
    me.file("nets/model.py", MODEL)
    me.file("nets/data.py", DATA)
    me.say(f"## Put the gate into the repository\n\n`init` asks for what no option says. {BYTES}")
    me.run("weighbridge init --name clouds --model nets.model:Net --data nets.data:load --dvc-remote ../storage")
    me.say(
        "The workflows are ready for GitHub. What matters from now on is `params.yaml`: how the model is trained, which "
        "recipes compress it, and which limits every result must hold. Make it short to begin with:"
    )
    me.file("params.yaml", PARAMS)


BYTES = "The bytes of models go to a DVC remote; here that is a folder, for you it is a bucket."


def first_verdict(me: Walk) -> None:
    """Reproduce, judge, push."""
    me.say("## The first verdict\n\n`dvc repro` runs what is not up to date: at first, everything.")
    me.run("dvc repro", keep="^Running stage")
    me.run("weighbridge gate")
    me.say(
        "Half the size, and not one answer worse than the limit allows. Commit it; from here on, changes are pull requests."
    )
    me.run(
        "git add --all && git commit --quiet -m 'Gate the model'", "dvc push --quiet", "git push --quiet -u origin main"
    )


def broken(me: Walk) -> None:
    """A pull request that the gate stops."""
    me.say("## A pull request that goes too far\n\nCould it be smaller still? Prune nearly all weights away:")
    me.run("git switch --quiet -c smaller")
    me.edit(
        "params.yaml",
        "      - quantize: {scheme: fp16}\n",
        "      - prune: {method: magnitude, sparsity: 0.95, scope: layer}\n      - quantize: {scheme: fp16}\n",
    )
    me.run("git commit --quiet -am 'Prune 95 % of the weights'")
    me.say("On GitHub, `gate.yml` now runs one command. You can run the same here, before you push:")
    report = me.run("weighbridge ci gate --base origin/main", expect=1, keep="^Running stage")
    me.comment = report
    me.say(
        "It restored what the change does not touch, built the one recipe, weighed it, and failed. This is what the comment "
        "in the pull request says (it is longer; [what a verdict means](verdicts.md) explains it):"
    )
    me.quote(report)
    me.say("On GitHub the line of the recipe in `params.yaml` carries the reason as an annotation, too.")


def loosened(me: Walk) -> None:
    """Lowering the bar does not help; a better recipe does."""
    me.say("## Lowering the bar\n\nThe tempting way out is the other end of the comparison:")
    me.edit("params.yaml", "max_drop: 0.02", "max_drop: 0.50")
    me.run("git commit --quiet -m 'Allow more' -- params.yaml")
    report = me.run("weighbridge ci gate --base origin/main", expect=1, keep="^Running stage")
    me.say(
        "Budgets are compared with those of the merge base. What asks for less needs a [waiver](howto/waivers.md), a file "
        "with a name, a reason and a last day:"
    )
    me.quote(report)
    me.say("So go the honest way: back to the old limit, and eight bits instead of pruning.")
    me.run("git restore dvc.lock", "git revert --no-edit HEAD >/dev/null")
    me.edit(
        "params.yaml",
        "      - prune: {method: magnitude, sparsity: 0.95, scope: layer}\n      - quantize: {scheme: fp16}\n",
        "      - quantize: {scheme: static-int8}\n",
    )
    me.run("git commit --quiet -m 'Quantize to eight bits' -- params.yaml")
    report = me.run("weighbridge ci gate --base origin/main", keep="^Running stage")
    me.quote(report)


def promoted(me: Walk) -> None:
    """Merge, promote, resolve."""
    me.say(
        "## Merge and promote\n\nThe reviewer reads the verdict and merges. On the main branch `promote.yml` gates the merge "
        "result once more and promotes what passed. Here that is you; merge first:"
    )
    me.run("git restore .", "git switch --quiet main", "git merge --quiet --no-edit smaller", "git push --quiet")
    me.say("And the two commands:")
    me.run("weighbridge ci gate", keep="^Running stage")
    me.run("git restore dvc.lock")
    me.run("weighbridge ci promote --select smallest")
    me.say("`stable` is a name that programs resolve; the record behind it holds recipe, metrics, verdict and lineage.")
    me.run("weighbridge registry resolve clouds@stable", "git log --oneline -2")


def rolled_back(me: Walk) -> None:
    """Roll back and look at the history."""
    me.say(
        "## Roll back\n\nIt is three in the morning and something is wrong. Going back needs no measurement: the bytes of the "
        "target are proven, `stable` moves, and the version that is left is quarantined."
    )
    me.run("weighbridge registry rollback clouds --to baseline --reason 'wrong answers since 02:40'")
    me.run(
        "weighbridge registry resolve clouds@stable",
        "weighbridge registry history clouds",
        "weighbridge registry verify",
    )
    me.say(
        "The next merge does not promote the quarantined bytes again. What was stable at any time in the past has one answer, "
        "and it is in Git.\n\n## Where to go from here\n\n- [Your own model](howto/own-model.md), or [an ONNX file]"
        "(howto/onnx-only.md)\n- [Keep the bytes](howto/remotes.md)\n- [A runner of your own as the device](howto/runner.md)"
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        PAGE.write_text("\n".join(walk(Path(folder)).page), encoding="utf-8")
