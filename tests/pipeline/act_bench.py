"""A small project made by `weighbridge init`, and `act` to run its real workflow files on this machine."""

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STAND_INS = Path(__file__).parent / "act"
BIN = Path(sys.executable).parent

DATA = '''\
"""Four clouds of points, drawn from a seed."""

import numpy as np

from weighbridge.data import Data, Split


def load():
    random = np.random.default_rng(5)
    centres = random.normal(0, 2.0, (4, 32))

    def draw(count):
        labels = np.arange(count) % 4
        points = centres[labels] + random.normal(0, 1.0, (count, 32))
        return Split({"x": points.astype(np.float32)}, labels.astype(np.int64))

    return Data(train=draw(400), test=draw(1200))
'''

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

PARAMS = """\
model: {name: clouds, factory: "nets.model:Net"}
data: {factory: "nets.data:load"}
train: {epochs: 3, lr: 0.01, seed: 7}
targets: [onnxruntime]

recipes:
  small:
    target: onnxruntime
    steps:
      - quantize: {scheme: fp16}
devices: {local: {}}

weighing: {time_limit: 30s}
budgets:
  - {metric: size.bytes, max_ratio: 0.6, against: baseline}
  - {metric: accuracy.top1, max_drop: 0.05, against: baseline}
  - {metric: accuracy.flips, max: 0.05}
"""


@dataclass
class Finished:
    """What `act` did."""

    code: int
    log: str
    summary: str

    @property
    def stages(self) -> list[Any]:
        """Stages of the pipeline that ran."""
        return re.findall(r"Running stage '(\S+)'", self.log)


@dataclass
class Bench:
    """`work` is a clone of the bare `origin.git`; `remote` is the DVC remote; `store` is what the stand-ins keep."""

    home: Path
    secrets: dict = field(default_factory=dict)
    work: Path = None

    def __post_init__(self) -> None:
        self.work = self.work or self.home / "work"
        self.store = self.home / "store"
        self.python = self.home.parent / "python"

    @property
    def environment(self) -> dict[str, Any]:
        """Of a person at this clone: the tests' programs first, nobody's own settings."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "GITHUB_", "DVC_"))}
        return kept | {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            "XDG_CACHE_HOME": str(self.home / "cache"),
            # Nothing here is timed, so nobody who times something on this machine is waited for.
            "XDG_RUNTIME_DIR": str(self.home / "run"),
            **self.secrets,
        }

    def run(self, *command: str, expect: int = 0) -> str:
        """Run a command in the clone; what it printed."""
        done = subprocess.run(command, cwd=self.work, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == expect, f"{command} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def write(self, name: str, text: str) -> None:
        """Write a file of the clone."""
        path = self.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a text that stands once in a file."""
        text = (self.work / name).read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {name}"
        self.write(name, text.replace(old, new))

    def commit(self, message: str) -> None:
        """Commit every change."""
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", message)

    def branch(self, name: str = "feature") -> None:
        """Start a branch, as a pull request's."""
        self.run("git", "switch", "--quiet", "--create", name)

    def start_act(
        self, event: str, workflow: str, content: dict[str, Any], **environment: Any
    ) -> subprocess.Popen[str]:
        """Start `act` on one workflow file."""
        path = self.home / f"event-{workflow}.json"
        path.write_text(json.dumps(content))
        names = {**environment, "STAND_IN_STORE": self.store, "STAND_IN_PYTHON": self.python / "bin"}
        names.setdefault("GITHUB_REPOSITORY", "octocat/clouds")
        names |= {name: self.environment[name] for name in ("OMP_NUM_THREADS", "XDG_RUNTIME_DIR")}
        variables = names.pop("variables", {})
        command = [BIN / "act", event, "--workflows", f".github/workflows/{workflow}.yml", "--eventpath", path]
        command += ["--platform", "ubuntu-latest=-self-hosted", "--no-cache-server", "--quiet=false"]
        for name, value in names.items():
            command += ["--env", f"{name}={value}"]
        for name, value in variables.items():
            command += ["--var", f"{name}={value}"]
        for secret in self.secrets:
            command += ["--secret", secret]
        command += ["--secret", f"GITHUB_TOKEN={environment.get('TOKEN', 'none')}"]
        command += [f"--local-repository={reference}={folder}" for reference, folder in stand_ins(self.work).items()]
        return subprocess.Popen(
            command, cwd=self.work, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def act(self, event: str, workflow: str, content: dict[str, Any], **environment: Any) -> Finished:
        """Run one workflow to its end."""
        return self.finish(self.start_act(event, workflow, content, **environment))

    def finish(self, process: subprocess.Popen[str]) -> Finished:
        """Wait for an `act` that was started."""
        log = process.communicate(timeout=1200)[0]
        summary = re.search(r"Summary - (.*?)(?=^\[|\Z)", log, re.DOTALL | re.MULTILINE)
        return Finished(process.returncode, log, summary[1] if summary else "")

    def pull_request(self, **head: Any) -> Finished:
        """The gate on the checked-out branch, as a pull request to main."""
        content = {
            "action": "synchronize",
            "pull_request": {
                "number": 12,
                "base": {"ref": "main"},
                "head": {"ref": "feature", "sha": self.run("git", "rev-parse", "HEAD").strip(), **head},
            },
        }
        return self.act("pull_request", "gate", content)

    def pushed(self) -> dict[str, str]:
        """The event of a push to main."""
        return {"ref": "refs/heads/main", "after": self.run("git", "rev-parse", "HEAD").strip()}

    def clone(self, name: str) -> "Bench":
        """Another clone of origin, with the same DVC remote; store and Python are its own, as jobs share neither."""
        other = Bench(self.home, self.secrets, work=self.home / name / "work")
        other.store = self.home / name / "store"
        other.store.mkdir(parents=True)
        other.python = prepared_python(self.home / name / "python")
        subprocess.run(["git", "clone", "--quiet", self.home / "origin.git", other.work], check=True)
        identify(other)
        return other


def make_two(home: Path) -> Bench:
    """Two models in folders of one repository, each by its own `init`; nothing is reproduced before CI does it."""
    for name in ("remote", "store"):
        (home / name).mkdir(parents=True)
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", home / "origin.git"], check=True)
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main", home / "work"], check=True)
    bench = Bench(home)
    identify(bench)
    bench.run("git", "remote", "add", "origin", str(home / "origin.git"))
    wheel = built_wheel(home / "wheels")
    for name in ("a", "b"):
        bench.write(f"models/{name}/nets/__init__.py", "")
        bench.write(f"models/{name}/nets/data.py", DATA.replace("default_rng(5)", f"default_rng({ord(name)})"))
        bench.write(f"models/{name}/nets/model.py", MODEL)
        options = () if name == "b" else ("--dvc-remote", str(home / "remote"), "--install-from", wheel)
        bench.run("weighbridge", "init", f"models/{name}", "--name", f"clouds-{name}", "--model", "nets.model:Net",
                  "--data", "nets.data:load", "--yes", *options)  # fmt: skip
        bench.write(
            f"models/{name}/params.yaml", PARAMS.replace("name: clouds", f"name: clouds-{name}").replace("30s", "10s")
        )
    bench.write("registry.policy.yaml", json.dumps(CANARY_POLICY))
    bench.commit("Two models and their gates")
    bench.run("git", "push", "--quiet", "--set-upstream", "origin", "main")
    return bench


CANARY_POLICY = {
    "on_merge": "canary",
    "canary": {
        "steps": [50, 100],
        "min_samples": 50,
        "min_time": "0s",
        "budgets": [{"metric": "error_rate", "max": 0.5}],
    },
}


def stand_ins(work: Path) -> dict[str, Any]:
    """From each foreign action that the workflows name to the folder that stands in for it."""
    found = {}
    for path in [*work.glob(".github/workflows/*.yml"), *work.glob("action.yml")]:
        for name, commit in re.findall(r"uses: actions/([\w-]+)(?:/\w+)?@([0-9a-f]{40})", path.read_text()):
            if name != "checkout":
                found[f"actions/{name}@{commit}"] = STAND_INS / name
    return found


def identify(bench: Bench) -> None:
    """Git needs to know who commits."""
    bench.run("git", "config", "user.name", "Test Bench")
    bench.run("git", "config", "user.email", "bench@example.invalid")


def prepared_python(folder: Path) -> Path:
    """An environment of its own that sees the tests' packages: what a workflow installs goes there and nowhere else."""
    venv.create(folder, with_pip=False, symlinks=True)
    site = next(folder.glob("lib/python*/site-packages"))
    places = [
        place for place in sys.path if place.endswith("site-packages")
    ]  # several, where one environment adds others
    (site / "tests.pth").write_text("\n".join([*places, ""]))
    for path in Path(sys.prefix).glob("lib/python*/site-packages/*.pth"):
        if "weighbridge" in path.name:
            shutil.copy(path, site)
    (folder / "bin/gh").write_text('#!/bin/sh\necho "asked GitHub: $*"\n')
    (folder / "bin/gh").chmod(0o755)
    for name in ("weighbridge", "dvc"):
        program = folder / "bin" / name
        program.write_text(f'#!/bin/sh\nexec "{folder}/bin/python" -m {name} "$@"\n')
        program.chmod(0o755)
    return folder


def built_wheel(folder: Path) -> str:
    """The address of this checkout's wheel. Where the same version is installed already, pip leaves it as it is."""
    if folder.exists():
        return next(folder.glob("*.whl")).as_uri()
    here = Path(__file__).parents[2]
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, here]
    subprocess.run(command, check=True)
    return next(folder.glob("*.whl")).as_uri()


def make(home: Path, public_key: str, private_key: str) -> Bench:
    """From an empty Git repository with a foreign model to a gate that passes: pushed, its bytes in the remote."""
    for name in ("remote", "store"):
        (home / name).mkdir(parents=True)
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", home / "origin.git"], check=True)
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main", home / "work"], check=True)
    bench = Bench(home, {"WEIGHBRIDGE_SIGNING_KEY_PEM": private_key})
    identify(bench)
    bench.run("git", "remote", "add", "origin", str(home / "origin.git"))
    bench.write("nets/__init__.py", "")
    bench.write("nets/data.py", DATA)
    bench.write("nets/model.py", MODEL)
    bench.write("README.md", "# Clouds\n")
    bench.run("weighbridge", "init", "--name", "clouds", "--model", "nets.model:Net", "--data", "nets.data:load",
              "--dvc-remote", str(home / "remote"), "--install-from", built_wheel(home / "wheels"))  # fmt: skip
    bench.write("params.yaml", PARAMS)
    bench.write("registry.policy.yaml", json.dumps({"require_signature": True, "keys": {"ci": public_key}}))
    bench.commit("A model and its gate")
    bench.run("dvc", "repro")
    bench.commit("Reproduce")
    bench.run("dvc", "push", "--run-cache", "--quiet")
    bench.run("git", "push", "--quiet", "--set-upstream", "origin", "main")
    return bench
