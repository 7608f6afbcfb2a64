"""Levers at what goes into the stages: data, models, code, and every way to keep them somewhere else."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import onnx

from levers_cases.case import (
    Edit,
    Lever,
    both,
    delete,
    depends,
    document,
    gated,
    link,
    refused,
    relock,
    replace,
    stage,
    write,
)
from levers_cases.repository import EVALUATION, commit, run


def flipped(path: str) -> Edit:
    """Change one byte of a file."""

    def edit(root: Path) -> None:
        data = bytearray((root / path).read_bytes())
        data[len(data) // 2] ^= 1
        (root / path).write_bytes(bytes(data))

    return edit


def pointer(path: str, content: str, *more: str) -> Edit:
    """What `dvc add` writes for a file, and Git no longer tracks it."""

    def edit(root: Path) -> None:
        subprocess.run(["git", "rm", "-rq", "--cached", "--ignore-unmatch", path], cwd=root, check=True)
        md5 = hashlib.md5(content.encode(), usedforsecurity=False).hexdigest()
        lines = ["outs:", f"- md5: {md5}", "  hash: md5", f"  path: {Path(path).name}", *more]
        place = root / f"{path}.dvc"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("\n".join(lines) + "\n")
        ignored = root / ".gitignore"
        if f"/{path}\n" not in ignored.read_text():
            ignored.write_text(f"{ignored.read_text()}/{path}\n")

    return edit


def submodule(root: Path) -> None:
    """A submodule with one module, on which `prepare` depends."""
    inner = root.parent / f"{root.name}-sub"
    inner.mkdir()
    run(inner, "git", "init", "--quiet")
    (inner / "helper.py").write_text("SHIFT = 0\n")
    commit(inner, "a")
    run(root, "git", "submodule", "--quiet", "add", str(inner), "sub")
    depends("prepare", "sub/helper.py")(root)


def moved_submodule(root: Path) -> None:
    """Another commit of it."""
    (root / "sub/helper.py").write_text("SHIFT = 7\n")
    commit(root / "sub", "b")


def external(root: Path) -> None:
    """The model's weights lie in a file beside it."""
    model = onnx.load(root / "net.onnx")
    (root / "net.onnx").unlink()
    onnx.save(model, root / "net.onnx", save_as_external_data=True, location="net.weights", size_threshold=0)
    relock(root)


IMPORTING = both(
    replace("evaluation.py", "from pathlib", "import helper\nfrom pathlib"), write("helper.py", "SHIFT = 0\n"), relock
)
PACKAGED = both(
    write("parts/__init__.py", ""),
    write("parts/shift.py", "SHIFT = 0\n"),
    replace("evaluation.py", "    every =", "    from parts.shift import SHIFT  # noqa\n\n    every ="),
    relock,
)
UPSTREAM = both(
    write("raw/dvc.yaml", "stages:\n  raw: {cmd: python make.py, deps: [make.py], outs: [raw.npz]}\n"),
    write("raw/dvc.lock", "schema: '2.0'\nstages:\n  raw: {cmd: python make.py, outs: [{path: raw.npz, md5: a}]}\n"),
    write("raw/make.py", "a = 0\n"),
    depends("prepare", "raw/raw.npz"),
)

LEVERS: tuple[Lever, ...] = (
    gated("a source that a stage depends on", replace("evaluation.py", "// 2", "// 3"), r"evaluation\.py differs"),
    gated("the data", flipped("eval.npz"), r"eval\.npz differs"),
    gated("the model", flipped("net.onnx"), r"net\.onnx differs"),
    gated("data that dvc add tracks", pointer("eval.npz", "b"), r"eval\.npz differs", pointer("eval.npz", "a")),
    gated("a model that dvc add tracks", pointer("net.onnx", "b"), r"net\.onnx differs", pointer("net.onnx", "a")),
    gated(
        "a folder that dvc add tracks",
        pointer("images", "b"),
        "images/one.png differs",
        both(pointer("images", "a"), depends("prepare", "images/one.png")),
    ),
    gated(
        "data that dvc import tracks",
        pointer("eval.npz", "a", "deps:", "- path: eval.npz", "  repo: {url: u, rev_lock: bbbb}"),
        r"eval\.npz differs",
        pointer("eval.npz", "a", "deps:", "- path: eval.npz", "  repo: {url: u, rev_lock: aaaa}"),
    ),
    gated("a submodule", moved_submodule, r"sub/helper\.py differs", submodule),
    refused(
        "a module that the factory imports",
        write("helper.py", "SHIFT = 7\n"),
        r"- helper\.py` under the deps of prepare",
        IMPORTING,
    ),
    refused(
        "a module imported within a function", write("parts/shift.py", "SHIFT = 7\n"), r"- parts/shift\.py`", PACKAGED
    ),
    refused("the package around it", write("parts/__init__.py", "import os\n"), r"- parts/__init__\.py`", PACKAGED),
    refused(
        "a file with a library's name",
        write("numpy.py", "x = 1\n"),
        r"- numpy\.py`",
        both(replace("evaluation.py", "from pathlib", "import numpy  # noqa\nfrom pathlib"), relock),
    ),
    gated(
        "a declared module that the factory imports",
        write("helper.py", "SHIFT = 7\n"),
        r"helper\.py differs",
        both(IMPORTING, depends("prepare", "helper.py")),
    ),
    gated(
        "what a link names",
        write("store/a.npz", "b"),
        "current differs",
        both(write("store/a.npz", "a"), link("current", "store/a.npz"), depends("prepare", "current")),
    ),
    gated(
        "a link that names another file",
        link("current", "store/b.npz"),
        "current differs",
        both(
            write("store/a.npz", "a"),
            write("store/b.npz", "b"),
            link("current", "store/a.npz"),
            depends("prepare", "current"),
        ),
    ),
    gated(
        "a file in a folder behind a link",
        write("store/a.npz", "b"),
        "folder/a.npz differs",
        both(write("store/a.npz", "a"), link("folder", "store"), depends("prepare", "folder/a.npz")),
    ),
    gated(
        "a link out of the repository",
        write("notes.md", "a"),
        "outside cannot be compared",
        both(link("outside", "/etc/hostname"), depends("prepare", "outside")),
    ),
    gated(
        "a link to itself",
        write("notes.md", "a"),
        "loop cannot be compared",
        both(link("loop", "loop"), depends("prepare", "loop")),
    ),
    gated(
        "a dependency that nothing tracks",
        write("notes.md", "a"),
        "secret.npz cannot be compared",
        both(document("dvc.yaml", lambda c: c["stages"]["prepare"]["deps"].append("../secret.npz")), relock),
    ),
    gated("external weights of the model", flipped("net.weights"), r"net\.onnx differs", external),
    gated("what another pipeline is made from", write("raw/make.py", "a = 1\n"), "raw/raw.npz differs", UPSTREAM),
    gated(
        "a source whose lock was not brought along",
        write("notes.md", "a"),
        r"evaluation\.py is not the file that dvc\.lock has",
        replace("evaluation.py", "// 2", "// 3"),
    ),
    gated(
        "a lock without a stage",
        document("dvc.lock", lambda c: c["stages"].pop("compress@w8") and None),
        "compress@w8 differs",
    ),
    gated("a lock that is deleted", delete("dvc.lock"), r"dvc\.lock is not in"),
    gated("a lock that names other bytes", replace("dvc.lock", "md5: ", "md5: 0"), r"dvc\.lock: stages: .* differs"),
    gated(
        "the command of a stage",
        stage("prepare", lambda b: b.update(cmd="weighbridge stage prepare || true")),
        "stages: prepare differs",
    ),
    gated(
        "a stage that depends on less",
        stage("prepare", lambda b: b["deps"].remove("eval.npz")),
        "stages: prepare differs",
    ),
    refused(
        "a script that a command runs",
        write("tools/before.sh", "true && true\n"),
        r"- tools/before\.sh`",
        both(
            write("tools/before.sh", "true\n"),
            stage("prepare", lambda b: b.update(cmd="sh tools/before.sh && weighbridge stage prepare")),
        ),
    ),
    refused("a stage that is frozen", stage("prepare", lambda b: b.update(frozen=True)), "frozen"),
    gated(
        "variables of the pipeline",
        write("vars.yaml", "a: 2\n"),
        r"vars\.yaml differs",
        both(write("vars.yaml", "a: 1\n"), document("dvc.yaml", lambda c: {"vars": ["vars.yaml"], **c})),
    ),
    refused(
        "the code of a metric of one's own",
        write("own.py", "def score(a, b):\n    return 1.0\n"),
        r"- own\.py` under the deps of weigh",
        both(
            write("own.py", "def score(a, b):\n    return 0.0\n"),
            document("params.yaml", lambda c: c["budgets"].append({"metric": "own:score", "min": 0.5})),
        ),
    ),
    gated(
        "another factory in the same file",
        document("params.yaml", lambda c: c["data"].update(factory="evaluation:other")),
        "data differs",
        both(write("evaluation.py", EVALUATION + "\n\nother = load\n"), relock),
    ),
)
