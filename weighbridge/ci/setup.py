"""The half of `weighbridge init` that looks at a repository and writes to it.

First a plan is made of every file that would change, with its old text; nothing is written before the caller has
shown the plan's diffs and agreed to them.
"""

from __future__ import annotations

import difflib
import io
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from weighbridge.ci import adopting, scaffold
from weighbridge.ci.checkout import Checkout
from weighbridge.ci.earlier import with_source
from weighbridge.ci.history import projects
from weighbridge.ci.imports import Search
from weighbridge.ci.init_files import existing_folder, old_text, text_or_empty, top_of
from weighbridge.ci.locking import LOCKED, PROMOTE_LOCKED, constraints, promote_constraints
from weighbridge.ci.npz_project import MODULE
from weighbridge.ci.scaffold import InitAnswers, Pipeline
from weighbridge.core.documents import Params
from weighbridge.core.errors import InputError, StateError
from weighbridge.core.files import atomic_write
from weighbridge.core.git import Git
from weighbridge.core.project import LOCK, PARAMS, PIPELINE
from weighbridge.core.strict_yaml import parse_yaml

_PATTERNS = (".dvcignore", ".gitattributes", ".gitignore")
_REGISTRY_README = """\
# The registry

`models/` holds every version of every model of this repository, and which one is `stable`, as plain files in Git.
Commands write it (`weighbridge registry --help`); by hand it is read only.
"""
_WAIVERS_README = """\
# Waivers

One YAML file for each failed budget or policy change that somebody accepts, for a time:

```yaml
budget: latency.p50 max_ratio against baseline   # as the report prints it
recipe: int8               # recipe and digest of the artifact that failed; or `policy: true` for a policy change
digest: sha256:...
to: 1.15                   # exactly what is accepted: the limit, with its unit
who: Name <name@example.org>
why: The new sensor needs the larger head; back below the limit with the next data set.
expires: 2027-01-31        # 90 days away at most
```
"""


@dataclass(frozen=True)
class FileChange:
    """One file that `init` would write."""

    path: Path
    old: str | None
    """None where there is no such file yet."""
    new: str

    @property
    def adds_patterns(self) -> bool:
        """Whether it only adds lines to the end of what git or DVC ignores, or how git stores files."""
        return self.path.name in _PATTERNS and self.new.startswith((self.old or "").rstrip("\n"))

    def diff(self, root: Path) -> str:
        """The change as a unified diff."""
        name = os.path.relpath(self.path, root)
        lines = difflib.unified_diff(
            (self.old or "").splitlines(keepends=True),
            self.new.splitlines(keepends=True),
            "/dev/null" if self.old is None else f"a/{name}",
            f"b/{name}",
        )
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


@dataclass(frozen=True)
class InitPlan:
    """What `init` would do."""

    top: Path
    """The repository's top."""
    folder: Path
    """The project's folder."""
    changes: tuple[FileChange, ...]
    remote: str | None

    @property
    def overwrites(self) -> list[FileChange]:
        """Changes to files that are there already, which somebody has to agree to; lines that are added to a list of
        patterns take nothing away.
        """
        return [change for change in self.changes if change.old is not None and not change.adds_patterns]


def plan(folder: Path, answers: InitAnswers, setup: Pipeline | None, remote: str | None = None) -> InitPlan:
    """Every file that a project in `folder` needs and that is not as it should be.

    Where the folder has a pipeline or parameters of somebody else, the project goes below it; see `adopting`. `setup`
    is None where no workflows are wanted. Raises `StateError` outside of a Git repository and `InputError`
    where a file that is there already cannot carry a pipeline.
    """
    git = Git.discover(existing_folder(folder))
    project = adopting.home_of(folder, answers.name)
    answers = adopting.seen_from(answers, folder, project)
    top, folder = git.root.resolve(), project.resolve()
    home = folder.relative_to(top).as_posix()
    schema = os.path.relpath(top / scaffold.SCHEMA, folder)
    shared = top / scaffold.REQUIREMENTS
    answers = replace(answers, requirements=Path(os.path.relpath(shared, folder)).as_posix())
    files = scaffold.project_files(answers, schema)
    wanted = {Path(os.path.normpath(folder / name)): text for name, text in files.items()}
    wanted[shared] = with_source(text_or_empty(shared), answers.install_from, wanted[shared])
    wanted[top / scaffold.SCHEMA] = scaffold.params_schema()
    wanted[top / "registry" / "README.md"] = _REGISTRY_README
    wanted[folder / "waivers" / "README.md"] = _WAIVERS_README
    wanted[top / ".gitignore"] = scaffold.with_lines(text_or_empty(top / ".gitignore"), scaffold.IGNORED_AT_TOP)
    own = wanted[top / ".gitignore"] if folder == top else text_or_empty(folder / ".gitignore")
    wanted[folder / ".gitignore"] = scaffold.with_lines(own, scaffold.IGNORED)
    wanted[top / ".dvcignore"] = scaffold.with_lines(text_or_empty(top / ".dvcignore"), scaffold.DVC_IGNORED)
    lines = scaffold.attributes(answers, home)
    wanted[top / ".gitattributes"] = scaffold.with_lines(text_or_empty(top / ".gitattributes"), lines)
    wanted[folder / PIPELINE] = _with_stages(folder / PIPELINE, wanted[folder / PIPELINE])
    _refuse_foreign_params(folder / PARAMS)
    if text_or_empty(folder / PARAMS).strip():
        del wanted[folder / PARAMS]  # ours, and edited since
    wanted |= _first_model(top, folder, wanted[shared], answers)
    if setup is not None:
        folders = tuple(sorted({*projects(git, untracked=True), home}))
        wanted |= {top / name: text for name, text in scaffold.workflows(setup, folders).items()}
        wanted[top / PROMOTE_LOCKED] = old_text(top / PROMOTE_LOCKED) or promote_constraints()
    changes = [FileChange(path, old_text(path), text) for path, text in sorted(wanted.items())]
    return InitPlan(top, folder, tuple(change for change in changes if change.old != change.new), remote)


def _first_model(top: Path, folder: Path, requirements: str, answers: InitAnswers) -> dict[Path, str]:
    """What only a first `init` writes: a file that is there is the user's, or a command's."""
    files = {top / ".dvc" / "plots" / name: text for name, text in scaffold.plot_templates().items()}
    files[folder / LOCK] = "schema: '2.0'\nstages: {}\n"  # so that `git commit -a` takes what `dvc repro` writes
    if answers.npz is not None:
        files[folder / MODULE] = scaffold.project_files(answers)[MODULE]
    if LOCKED in requirements:
        files[top / LOCKED] = constraints()
    return {path: old_text(path) or text for path, text in files.items()}


def apply(plan: InitPlan) -> list[str]:
    """Write the plan's files, each in one step, and start DVC at the repository's top where it is not yet there.

    One DVC project and one registry serve all models of a repository. New files are staged, as `dvc init` does with its
    own; returned are those that the repository's own patterns have git ignore.
    """
    inside = [change for change in plan.changes if change.path.is_relative_to(plan.top / ".dvc")]
    _write([change for change in plan.changes if change not in inside])
    if not (plan.top / ".dvc").is_dir():
        _dvc(plan.top, "init", "--quiet")
        _dvc(plan.top, "config", "core.analytics", "false")
    _write(inside)  # DVC refuses to start in a folder of that name
    if plan.remote is not None:
        _dvc(plan.top, "remote", "add", "--quiet", "--force", "--default", "storage", plan.remote)
    new = [os.path.relpath(change.path, plan.top) for change in plan.changes if change.old is None]
    git = Git(plan.top)
    said = git.attempt("check-ignore", "-z", "--stdin", stdin="".join(f"{name}\0" for name in new)).stdout
    ignored = [name for name in said.split("\0") if name]
    staged = [name for name in new if name not in ignored]
    if staged:
        git.run("add", "--", *staged)
    return ignored


def _write(changes: list[FileChange]) -> None:
    for change in changes:
        if old_text(change.path) != change.old:
            raise StateError("changed while the question was open; nothing more is written", where=str(change.path))
        atomic_write(change.path, change.new.encode())


def factory_files(folder: Path, factory: str) -> tuple[str, ...]:
    """The source file of `package.module:callable` below `folder`, or else below the repository's top, and the files
    of the repository that it imports; empty where it is in neither. Relative to `folder`.
    """
    module = factory.partition(":")[0]
    place = module.replace(".", "/")
    git = Git(top_of(folder))
    names = (f"{place}.py", f"{place}/__init__.py")
    found = [file for start in (folder, git.root) for name in names if (file := start / name).is_file()]
    if not found:
        return ()
    own = [Path(os.path.relpath(found[0].resolve(), folder.resolve())).as_posix()]
    home = folder.resolve().relative_to(git.root).as_posix()
    imported = Search(Checkout(git, "the working tree"), home).closure([], [module])
    others = (Path(os.path.relpath(git.root / path, folder.resolve())).as_posix() for path in sorted(imported))
    return tuple(dict.fromkeys([*own, *others]))


def _with_stages(path: Path, ours: str) -> str:
    """Our pipeline; or the one that is there, its comments kept, with our stages added."""
    there = old_text(path)
    if there is None or there == ours or not there.strip():
        return ours
    from ruamel.yaml import YAML  # noqa: PLC0415  # keeps comments; an extra
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415

    yaml = YAML()
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    try:
        content, addition = yaml.load(there), yaml.load(ours)
    except YAMLError as error:
        raise InputError("is not valid YAML", where=str(path), fix="fix it first") from error
    stages = content.setdefault("stages", {}) if isinstance(content, dict) else None
    if not isinstance(stages, dict):
        raise InputError("has no mapping under 'stages'", where=str(path), fix="fix it first")
    taken = [name for name in addition["stages"] if name in stages]
    if _is_ours(stages):
        return there
    if taken:
        raise InputError(
            f"has stages of the same name already: {', '.join(taken)}",
            where=str(path),
            fix="give the model a folder of its own: weighbridge init DIR",
        )
    stages.update(addition["stages"])
    plots = content.setdefault("plots", addition["plots"])
    if isinstance(plots, list) and plots is not addition["plots"]:
        plots.extend(addition["plots"])
    elif isinstance(plots, dict):
        plots.update({name: how for plot in addition["plots"] for name, how in plot.items()})
    text = io.StringIO()
    yaml.dump(content, text)
    return text.getvalue()


def _is_ours(stages: dict[str, object]) -> bool:
    """Whether the pipeline has Weighbridge's stages already; whoever has changed them keeps the changes."""
    return {"prepare", "compress", "weigh", "judge"} <= set(stages) and "weighbridge stage" in str(stages["judge"])


def _refuse_foreign_params(path: Path) -> None:
    text = old_text(path)
    if text is None or not text.strip():
        return
    parse_yaml(text, str(path))
    try:
        Params.read(path)
    except InputError as error:
        raise InputError(
            "has other contents than Weighbridge's parameters",
            where=str(path),
            fix="give the model a folder of its own: weighbridge init DIR",
        ) from error


def _dvc(folder: Path, *arguments: str) -> None:
    try:
        done = subprocess.run(["dvc", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise StateError("dvc not found", fix="pip install 'weighbridge[pipeline]'") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or "no message").splitlines()[-1]
        raise StateError(f"dvc {arguments[0]} failed: {said}", where=str(folder))


def describe(plan: InitPlan) -> Iterator[str]:
    """One line for each file: what would happen to it."""
    for change in plan.changes:
        yield f"{'write ' if change.old is None else 'change'} {os.path.relpath(change.path, plan.top)}"


def next_lines(plan: InitPlan, here: Path) -> Iterator[str]:
    """What to do next, by commands that work in the folder that `init` was started in."""
    project = Path(os.path.relpath(plan.folder, here.resolve())).as_posix()
    inside = "" if project == "." else f"{project}/"
    target = f" {inside}{PIPELINE}" if inside else ""
    if adopting.FOLDER in Path(inside).parts:
        yield f"{plan.top.name} has a pipeline of its own, which stays as it is: the gate's is in {project}"
    yield f"next: edit {inside}{PARAMS}, then `dvc repro{target}` and `weighbridge gate`; commit when it passes"
