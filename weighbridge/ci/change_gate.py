"""The gate of a change: every project that the change touches is reproduced, weighed, and judged by its merge base.

What comes of it is written for others to pick up: annotations, a job summary, a folder to upload as the report and
one as the evidence that promotion rests on.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from weighbridge.ci import history
from weighbridge.ci.annotations import Annotation, Level, for_input_error, line_of
from weighbridge.ci.committed_content import Contents
from weighbridge.ci.committed_pipeline import Side
from weighbridge.ci.governing import check_policies
from weighbridge.ci.held_back import held_back
from weighbridge.ci.judged import JudgedProject
from weighbridge.ci.marks import marks, stage_line
from weighbridge.ci.measured_by import continued, elsewhere, with_origin
from weighbridge.ci.reproducing import Echo, Reproduced, reproduce
from weighbridge.ci.touch import Touch, refusal, touch, undeclared_error
from weighbridge.core.documents import Params, PolicyChange, Portability, Verdict
from weighbridge.core.documents.keyed_report import ProjectReport, ReportSection
from weighbridge.core.errors import ExitCode, InputError
from weighbridge.core.files import read_bytes
from weighbridge.core.git import Git
from weighbridge.core.git_tree import Tree
from weighbridge.core.project import PARAMS, PIPELINE
from weighbridge.gate.stages.identity import Before, before, gone, projects, refuse_twins
from weighbridge.registry.lookup.resolve import stable_or_none

if TYPE_CHECKING:
    from weighbridge.gate.stages import summary
    from weighbridge.gate.stages.inventory import Inventory

_WRONG = (Verdict.FAIL, Verdict.ERROR)


@dataclass(frozen=True)
class Change:
    """What is gated, and when."""

    git: Git
    base: str | None
    """What a pull request is compared with; None for what was merged, which is compared with what the registry serves:
    a run that was dropped or overtaken must not let anything slip past the next one.
    """
    today: dt.date
    everything: bool = False
    """Weigh also what the change does not touch."""
    portable: bool | None = False
    """Also compare answers with those on other processors; None: where an emulator is there."""
    _commits: dict[str, Contents] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def head(self) -> Contents:
        """What is gated."""
        return Contents(Tree(self.git, self.git.head()))

    @cached_property
    def uncommitted(self) -> list[str]:
        """Tracked files, submodules among them, that the working tree has otherwise than HEAD."""
        listing = self.git.run("status", "--porcelain", "-z", "--no-renames", "--untracked-files=no")
        return [line[3:] for line in listing.split("\0") if line]

    def contents(self, commit: str | None) -> Contents | None:
        """What a commit contains, read once."""
        if commit is None:
            return None
        if commit not in self._commits:
            self._commits[commit] = Contents(Tree(self.git, commit))
        return self._commits[commit]

    def base_of(self, model: str) -> history.Base:
        """What one model's project is compared with."""
        if self.base is not None:
            return history.find_base(self.git, self.base)
        served = stable_or_none(self.git.root, model)
        return history.find_base(self.git, served.commit if served else None)


def judge_all(change: Change, echo: Echo) -> list[JudgedProject]:
    """Gate every project of the repository; a repository without one is an `InputError`."""
    head = projects(change.head.tree)
    refuse_twins(head)
    _refuse_state(change.head)
    base = change.contents(history.find_base(change.git, change.base).commit) if change.base is not None else None
    check_policies(change.head, base)
    missing = {} if base is None else gone(projects(base.tree), head)
    if not head and not missing:
        raise InputError("has no Weighbridge pipeline", where=str(change.git.root), fix="weighbridge init")
    judged = [judge_project(change, project, echo) for project in head]
    if base is not None:
        judged += [_judge_gone(change, base.tree.commit, folder, item) for folder, item in missing.items()]
    return judged


def _refuse_state(head: Contents) -> None:
    """What this program keeps for itself goes on where it stopped, and must be of this checkout: an `InputError` where
    a commit brings it along, such as weights that an interrupted training would go on from.
    """
    paths = (path for path in head.tree.entries if ".weighbridge" in PurePosixPath(path).parts)
    if (found := next(paths, None)) is not None:
        raise InputError(
            "is tracked by Git; what Weighbridge keeps there must come from this checkout alone",
            where=found,
            fix="git rm -r --cached .weighbridge, and ignore it as `weighbridge init` does",
        )


def judge_project(change: Change, project: str, echo: Echo) -> JudgedProject:
    """Gate one project."""
    root = change.git.root / project
    file = _in(project, PARAMS)
    head = Side(change.head, project)
    wrong = refusal(head)
    if wrong is not None:
        return _refused(project, file, wrong)
    text = read_bytes(root / PARAMS).decode("utf-8", errors="replace")
    try:
        params = Params.read(root / PARAMS)
    except InputError as error:
        note = for_input_error(error, file, text)
        return JudgedProject(
            project, error.exit_code, _failed(project, file, "params.yaml is not valid", str(error)), (note,)
        )
    base = change.base_of(params.model.name)
    earlier = change.contents(base.commit)
    found = Before(None) if earlier is None else before(earlier.tree, project, params.model.name)
    side = None if earlier is None or found.folder is None else Side(earlier, found.folder)
    if not change.everything:
        touched = _touch(side, head, base, change.uncommitted)
        if touched.undeclared:
            return _refused(project, _in(project, PIPELINE), undeclared_error(touched.undeclared, project))
        if not touched.reasons:
            return JudgedProject(project, ExitCode.PASS, _untouched(project, params, base.commit))
        echo(f"{params.model.name} is gated: {', '.join(touched.reasons[:5])}")
    run = partial(reproduce, root, echo, anew=_brought(side, head))
    return _gated(change, project, params, _policy_base(change.git, base, found, project), run)


def _brought(before: Side | None, head: Side) -> tuple[str, ...]:
    """Stages that prepare data whose lock the change brought along.

    An artifact's manifest says what it was made from, and is compared with the checkout. Prepared data has nothing
    of the kind: a lock edited by hand could pass old data off as what another data factory made.
    """
    known = {} if before is None else before.prepared()
    return tuple(name for name, entry in head.prepared().items() if entry != known.get(name))


def _gated(
    change: Change, project: str, params: Params, base: summary.Base | None, run: Callable[..., Reproduced]
) -> JudgedProject:
    """A project that the change touches: reproduced, weighed, judged by the merge base's policy."""
    root, file = change.git.root / project, _in(project, PARAMS)
    text = read_bytes(root / PARAMS).decode("utf-8", errors="replace")
    done = run(shared=_same_remote(change, base))
    if done.failed is not None:
        note = Annotation("error", file, stage_line(text, done.failed), f"stage {done.failed} failed", done.message)
        report = _failed(project, params.model.name, f"the stage {done.failed} failed", done.message)
        return JudgedProject(project, done.exit_code, report, (note,), ran=done.ran)
    from weighbridge.ci.acted_on import acted_on  # noqa: PLC0415  # as the judge
    from weighbridge.gate.stages import summary  # noqa: PLC0415  # scipy and the report, where something was weighed

    checked = summary.check(root, base=base, today=change.today, elsewhere=_elsewhere(change, root))
    checked = acted_on(checked, root, base, _again(change, base), change.today)
    verdict = checked.verdict
    noted = (*marks(verdict, params, file, text), *held_back(verdict, file, line_of(text, "recipes")))
    given = elsewhere(change.git, project, params.recipes, done.ran)
    whose = [clause for clause in (given, continued(root, params, done.ran, done.run)) if clause]
    report = with_origin(checked.sections(project), "; ".join(whose))
    return JudgedProject(project, verdict.verdict.exit_code, report, noted, checked, done.ran)


def _touch(before: Side | None, head: Side, base: history.Base, uncommitted: list[str]) -> Touch:
    """What of the change concerns a project; without anything to compare with, all of it. What is compared are
    commits, and what would be weighed is the working tree: where they differ, that cannot be told.
    """
    if uncommitted:
        return Touch((f"{uncommitted[0]} is not committed",))
    if base.commit is None:
        return Touch(("there is nothing to compare with",))
    if before is None:
        return Touch((f"{base.commit[:12]} has no such project",))
    return touch(before, head)


def _elsewhere(change: Change, root: Path) -> Callable[[Inventory], list[Portability]] | None:
    """What compares answers with those on other processors, where that is asked for."""
    from weighbridge.gate.stages.portable import available, portability  # noqa: PLC0415  # as the judge

    wanted = available() if change.portable is None else change.portable
    return partial(portability, root) if wanted else None


def _same_remote(change: Change, base: summary.Base | None) -> bool:
    """Whether the change leaves DVC's configuration as it is: one that brought its own remote along would bring the
    measurements too. What was merged is not asked.
    """
    if change.base is None:
        return True
    if base is None or base.tree is None:
        return False
    before, after = base.tree.tree, change.head.tree
    paths = {path for tree in (before, after) for path in tree.entries if path.startswith(".dvc/") or "/.dvc/" in path}
    return all(before.entries.get(path) == after.entries.get(path) for path in paths)


def _again(change: Change, base: summary.Base | None) -> str:
    """The command that gives this verdict again, from any folder of the repository."""
    words = ["git", "checkout", change.git.head()[:12], "&&", "weighbridge", "ci", "gate"]
    words += ["--base", base.revision] if base is not None else []
    words += ["--everything"] if change.everything else []
    return " ".join([*words, *(["--portable"] if change.portable else [])])


def _policy_base(git: Git, base: history.Base, found: Before, project: str) -> summary.Base | None:
    """The budgets that the change's are compared with; None where there is nothing to compare with."""
    if base.commit is None:
        return None
    from weighbridge.gate.stages.merge_base import base_at  # noqa: PLC0415  # as the judge

    return base_at(git, base.commit, found.folder or project, found.changes)


def _untouched(project: str, params: Params, base: str | None) -> ProjectReport:
    return ProjectReport(
        project=project,
        headline=f"# {params.model.name}: nothing to weigh",
        lead=(
            f"Nothing that the pipeline in `{project}` builds, weighs or demands differs from the merge base "
            f"({(base or '')[:12]}): no recipe, no budget, no file that a stage depends on. "
            "Nothing was compressed or measured, and the verdict on the base stands."
        ),
    )


def _refused(project: str, file: str, error: InputError) -> JudgedProject:
    note = Annotation("error", file, 1, "not gated", str(error))
    return JudgedProject(
        project, error.exit_code, _failed(project, file, "the project cannot be gated", str(error)), (note,)
    )


def _judge_gone(change: Change, commit: str, folder: str, item: PolicyChange) -> JudgedProject:
    """A project of the merge base that is gated no more: green only where a waiver says why.

    The waiver lies where its own would, in the folder that is left, or at the top.
    """
    from weighbridge.gate.stages.merge_base import base_at  # noqa: PLC0415  # as the judge
    from weighbridge.gate.verdict.policy import Policy, under_rules  # noqa: PLC0415
    from weighbridge.gate.verdict.waivers import Terms, read_waivers  # noqa: PLC0415
    from weighbridge.gate.verdict.waiving import waive_changes  # noqa: PLC0415

    home, top = (base_at(change.git, commit, place) for place in (folder, "."))
    rules = Policy.parse(home.text or "", f"{_in(folder, PARAMS)} at {commit[:12]}").rules
    places = dict.fromkeys([change.git.root / folder, change.git.root])
    waivers = [filed for place in places for filed in read_waivers(place)]
    terms = Terms(rules.waiver_days, home.waivers | top.waivers)
    found = waive_changes(under_rules([item], rules), waivers, change.today, terms)[0]
    name = item.budget.partition(" ")[2]
    code = ExitCode.FAIL if found.blocks else ExitCode.PASS
    said = f"accepted by `{found.waived_by}`" if found.waived_by else "it needs a waiver in `waivers/`"
    report = ProjectReport(
        project=folder,
        headline=f"# `{name}`: {'fail' if found.blocks else 'gated no more'}",
        lead=(
            f"The merge base gates this model in `{folder}`, and this change gates it nowhere: {said} "
            f"(`budget: {item.budget}`, `policy: true`, `to: {item.accepts}`)."
        ),
    )
    level: Level = "error" if found.blocks else "notice"
    note = Annotation(level, _in(folder, PARAMS), 1, "project gone", f"{name} is gated no more; {said}")
    return JudgedProject(folder, code, report, (note,))


def _failed(project: str, name: str, what: str, message: str) -> ProjectReport:
    fence = "````"
    quoted = message.replace(fence, "` ` ` `")
    return ProjectReport(
        project=project,
        headline=f"# `{name}`: error",
        lead=f"Nothing was judged: {what}.",
        sections=[ReportSection(key="failure", title="The error", text=f"{fence}text\n{quoted}\n{fence}")],
    )


def _in(project: str, name: str) -> str:
    return name if project == "." else f"{project}/{name}"
