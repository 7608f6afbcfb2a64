"""What a stage imports while it runs is held to its dependencies; `weighbridge deps` adds the lines."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from weighbridge.ci import setup
from weighbridge.ci.declared import add, declared, missing, require_limits
from weighbridge.core.errors import InputError
from weighbridge.core.git import Git

from . import repositories as made
from .repositories import STAGES, commit, write

DATA = """\
import numpy as np

from weighbridge.data import Data, Split
%s

def load():
    every = Split({"x": np.zeros((8, 2), "float32")}, np.arange(8) %% 2)
    %s
    return Data(train=every, test=every)
"""
WAYS = {
    "import": ("import helper", "pass"),
    "inside a function": ("", "import helper"),
    "by a made-up name": ("import importlib", "importlib.import_module('hel' + 'per')"),
    "removed again": ("import sys, helper; del sys.modules['helper']", "pass"),
    "executed from its file": ("", "exec(open('helper.py').read())"),
    "from another folder": ("import sys; sys.path.insert(0, 'deeper')", "import helper2"),
}


@pytest.fixture
def git(tmp_path: Path) -> Git:
    return made.make(tmp_path / "repo")


BODY = """\
import sys
from pathlib import Path
from weighbridge.ci.declared import declared
from weighbridge.core.errors import InputError
from weighbridge.data import load_data

try:
    with declared(Path(), "prepare"):
        load_data("nets.data:load")
except InputError as error:
    sys.exit(f"{error}")
"""


def prepare(git: Git, expect: int, command: Sequence[Path | str] = (sys.executable, "-c", BODY)) -> str:
    """What the stage does that concerns imports, in a process of its own; what it said."""
    done = subprocess.run(command, cwd=git.root, capture_output=True, text=True, check=False)
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stderr.strip()


def test_the_real_command_stops_with_one_line(git: Git) -> None:
    """Exit code 2, by way of `weighbridge stage prepare`."""
    write(git.root, "nets/data.py", DATA % ("import helper", "pass"))
    write(git.root, "helper.py", "SHIFT = 0\n")
    commit(git)
    command = (Path(sys.executable).parent / "weighbridge", "stage", "prepare", "--quiet")
    said = prepare(git, 2, command)
    assert "`- helper.py`: `weighbridge deps --write` does" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_stage_stops_where_it_imports_what_it_does_not_depend_on(git: Git, way: str) -> None:
    """Whichever way the file is loaded, the line to add is named; once it is there, the stage runs."""
    write(git.root, "nets/data.py", DATA % WAYS[way])
    write(git.root, "helper.py", "SHIFT = 0\n")
    write(git.root, "deeper/helper2.py", "SHIFT = 0\n")
    commit(git)
    said = prepare(git, 1)
    assert "`- deeper/helper2.py`" in said if "another folder" in way else "`- helper.py`" in said
    assert len(said.splitlines()) == 1
    add(git.root, missing(git.root))
    assert missing(git.root) == []
    prepare(git, 0)


def test_a_stage_whose_imports_are_dependencies_runs(git: Git) -> None:
    """A file, and a folder around another."""
    write(git.root, "nets/data.py", DATA % ("from lib.deep import shift", "pass"))
    write(git.root, "lib/deep/shift.py", "a = 0\n")
    stages = {**STAGES, "prepare": {**STAGES["prepare"], "deps": ["nets", "lib"]}}
    write(git.root, "dvc.yaml", yaml.safe_dump({"stages": stages}))
    commit(git)
    prepare(git, 0)


def test_a_package_that_does_nothing_is_no_dependency(git: Git) -> None:
    """An empty `__init__.py` is loaded and need not be named; one with code is."""
    write(git.root, "nets/data.py", DATA % ("from lib.shift import a", "pass"))
    write(git.root, "lib/__init__.py", '"""Parts."""\n')
    write(git.root, "lib/shift.py", "a = 0\n")
    stages = {**STAGES, "prepare": {**STAGES["prepare"], "deps": ["nets/data.py", "lib/shift.py"]}}
    write(git.root, "dvc.yaml", yaml.safe_dump({"stages": stages}))
    commit(git)
    prepare(git, 0)
    write(git.root, "lib/__init__.py", "a = 1\n")
    assert "`- lib/__init__.py`" in prepare(git, 1)


def test_without_a_pipeline_there_is_nothing_to_hold_a_stage_to(git: Git) -> None:
    """A stage that is run by hand in a folder without dvc.yaml."""
    write(git.root, "nets/data.py", DATA % ("import helper", "pass"))
    write(git.root, "helper.py", "SHIFT = 0\n")
    (git.root / "dvc.yaml").unlink()
    prepare(git, 0)


def test_lines_are_added_to_a_pipeline_and_its_comments_stay(git: Git) -> None:
    """By the sources alone, before anything has run; files that are not committed count."""
    write(git.root, "nets/data.py", "import helper\n")
    write(git.root, "helper.py", "from nets.deep import a\n")
    write(git.root, "nets/deep.py", "a = 0\n")
    path = git.root / "dvc.yaml"
    path.write_text("# ours\n" + path.read_text())
    found = missing(git.root)
    assert {(item.stage, item.line) for item in found} == {("prepare", "helper.py"), ("prepare", "nets/deep.py")}
    add(git.root, found)
    assert path.read_text().startswith("# ours\n")
    assert yaml.safe_load(path.read_text())["stages"]["prepare"]["deps"][-2:] == ["helper.py", "nets/deep.py"]
    assert missing(git.root) == []


def test_a_project_below_the_top_names_files_from_its_folder(tmp_path: Path) -> None:
    """A module at the repository's top is `../../` of the project."""
    git = made.make(tmp_path / "repo", folder="models/a")
    write(git.root, "models/a/nets/data.py", "import shared\n")
    write(git.root, "shared.py", "a = 0\n")
    commit(git)
    assert [item.line for item in missing(git.root / "models/a")] == ["../../shared.py"]


def test_init_finds_what_factories_import(git: Git) -> None:
    """The factory's own file, and those of the repository that it imports."""
    write(git.root, "nets/data.py", "import numpy\nimport helper\n")
    write(git.root, "helper.py", "a = 0\n")
    assert setup.factory_files(git.root, "nets.data:load") == ("nets/data.py", "helper.py", "nets/__init__.py")
    assert setup.factory_files(git.root, "numpy:load") == ()


def test_a_stage_follows_the_task_that_it_reads(git: Git) -> None:
    """Without the parameter DVC would keep what was made for another task."""
    params = yaml.safe_load((git.root / "params.yaml").read_text())
    write(git.root, "params.yaml", yaml.safe_dump({**params, "task": "embedding"}))
    entered = []
    problem = r"dvc\.yaml: stages\.train\.params: the stage train follows `task`"
    with pytest.raises(InputError, match=problem), declared(git.root, "train"):
        entered.append("train")
    pipeline = yaml.safe_load((git.root / "dvc.yaml").read_text())
    pipeline["stages"]["train"]["params"] = ["model", "task", "train"]
    write(git.root, "dvc.yaml", yaml.safe_dump(pipeline))
    with declared(git.root, "prepare"):  # does not read it
        entered.append("prepare")
    assert entered == ["prepare"]


def test_a_stage_follows_a_recipes_own_budgets(git: Git) -> None:
    """Without the parameter DVC would not weigh what they ask for."""
    params = yaml.safe_load((git.root / "params.yaml").read_text())
    params["recipes"]["w8"]["budgets"] = [{"metric": "macs", "max": 10}]
    write(git.root, "params.yaml", yaml.safe_dump(params))
    pipeline = yaml.safe_load((git.root / "dvc.yaml").read_text())
    followed = ["budgets"]
    weigh = {"cmd": "weighbridge stage weigh ${key}", "params": followed, "outs": ["measurements/${key}"]}
    pipeline["stages"]["weigh"] = {"foreach": "${recipes}", "do": weigh}
    write(git.root, "dvc.yaml", yaml.safe_dump(pipeline))
    with pytest.raises(InputError, match=r"add `- recipes\.\$\{key\}`"), declared(git.root, "weigh"):
        pass
    followed.append("recipes.${key}")
    write(git.root, "dvc.yaml", yaml.safe_dump(pipeline))
    with declared(git.root, "weigh"):
        pass


def test_shared_budgets_are_a_dependency_of_who_reads_them(git: Git) -> None:
    """And of the project: a change of the file alone is a change of what is demanded."""
    params = yaml.safe_load((git.root / "params.yaml").read_text())
    params["budgets"] = {"from": "budgets.yaml", "override": [{"metric": "nets.own:score", "max": 1}]}
    write(git.root, "params.yaml", yaml.safe_dump(params))
    write(git.root, "budgets.yaml", "budgets: [{metric: 'nets.common:score', max: 1}]\n")
    with pytest.raises(InputError, match=r"`- budgets\.yaml`"):
        require_limits(git.root)
    assert [(item.stage, item.line) for item in missing(git.root)] == [("judge", "budgets.yaml")]
    add(git.root, missing(git.root))
    require_limits(git.root)
    commit(git)
    side = made.side(git)
    assert "budgets.yaml" in side.dependencies
    assert {item["metric"] for item in side._budgets()} == {"nets.own:score", "nets.common:score"}
