"""`weighbridge init`: files that are right at once, and nothing overwritten unseen."""

import datetime as dt
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import yaml
from onnx import TensorProto, helper

from weighbridge.ci import scaffold, scaffold_source, setup
from weighbridge.ci.earlier import with_source
from weighbridge.ci.locking import PROMOTE_LOCKED, promote_constraints
from weighbridge.ci.preflight import preflight
from weighbridge.ci.scaffold import InitAnswers, Pipeline
from weighbridge.core.documents import Params, parse
from weighbridge.core.errors import InputError, StateError
from weighbridge.core.git import Git

TORCH = InitAnswers("digits", "nets.data:load", ("nets/data.py",), "nets.model:Net", ("nets/model.py",), licence="MIT")
ONNX = InitAnswers("digits", "evaluation:load", ("evaluation.py", "eval.npz"), onnx="model.onnx")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    root = tmp_path / "repo"
    root.mkdir()
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main", root], check=True)
    return root


def model(weights: str | None = None) -> bytes:
    """An ONNX file that adds a weight, which lies in a file beside it where that is named."""
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [4], b"\0" * 16, raw=True)
    if weights is not None:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=weights)
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("x", "y")]
    node = helper.make_node("Add", ["x", "w"], ["y"])
    return helper.make_model(helper.make_graph([node], "g", ports[:1], ports[1:], [tensor])).SerializeToString()


def run(root: Path, *options: str, expect: int = 0, stdin: int = subprocess.DEVNULL) -> str:
    """The real command."""
    binaries = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [binaries / "weighbridge", "init", *options, *(() if "--upgrade" in options else ("--no-try",))],
        cwd=root, env=environment, stdin=stdin, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("answers", [TORCH, ONNX])
def test_the_files_are_valid_at_once(answers: InitAnswers) -> None:
    """params.yaml is one that the program accepts, and so does the editor's schema."""
    files = scaffold.project_files(answers, "schema.json")
    content = yaml.safe_load(files["params.yaml"])
    parse(Params, content, "params.yaml")
    jsonschema.validate(content, json.loads(scaffold.params_schema()))
    stages = yaml.safe_load(files["dvc.yaml"])["stages"]
    assert ("train" in stages) == (answers.model is not None)
    assert set(stages) <= set(scaffold.STAGES)
    assert "%%" not in "".join(files.values())


def test_an_onnx_file_gets_no_recipe_that_needs_a_module() -> None:
    """Pruning acts on a torch module; there is none."""
    recipes = yaml.safe_load(scaffold.params(ONNX, "s"))["recipes"]
    assert all("quantize" in step for recipe in recipes.values() for step in recipe["steps"])
    assert "pruned-int8" in yaml.safe_load(scaffold.params(TORCH, "s"))["recipes"]


def test_every_output_of_a_stage_is_made_and_every_dependency_exists() -> None:
    """What a stage depends on is a file of the user's, the requirements, or what an earlier stage makes."""
    for answers in (TORCH, ONNX):
        stages = yaml.safe_load(scaffold.pipeline(answers))["stages"]
        made, needed = set(), set()
        for stage in stages.values():
            body = stage.get("do", stage)
            made |= {next(iter(out)) if isinstance(out, dict) else out for out in body["outs"]}
            needed |= set(body["deps"]) if "deps" in body else set()
        sources = {*answers.data_files, *answers.model_files, answers.onnx, scaffold.REQUIREMENTS, answers.locked}
        for path in needed - sources:
            assert any(path == out or path.startswith(f"{out}/") or out.startswith(f"{path}/") for out in made), path


def test_odd_paths_are_quoted() -> None:
    """A file with a colon or a space is still one file."""
    answers = InitAnswers("m", "a:b", ("my data: v2.npz",), "c:d", ("nets/it's.py",))
    stages = yaml.safe_load(scaffold.pipeline(answers))["stages"]
    assert "my data: v2.npz" in stages["prepare"]["deps"]
    assert "nets/it's.py" in stages["train"]["deps"]


def test_workflows_refuse_values_that_would_change_their_meaning() -> None:
    """A branch is a name, not a piece of YAML."""
    with pytest.raises(InputError):
        scaffold.workflows(Pipeline(branch="main]\npermissions: write-all"))


def test_a_first_init_writes_everything_and_a_second_nothing(repository: Path) -> None:
    """The result is as good as finished, and running it again is no change."""
    (repository / "nets").mkdir()
    for name in ("data", "model"):
        (repository / f"nets/{name}.py").write_text("")
    plan = setup.plan(repository, TORCH, Pipeline(), "../remote")
    setup.apply(plan)
    for name in ("params.yaml", "dvc.yaml", "registry/README.md", ".gitignore", ".dvcignore", ".dvc/config",
                 ".vscode/weighbridge-params.schema.json", ".github/workflows/gate.yml",
                 "waivers/README.md"):  # fmt: skip
        assert (repository / name).is_file(), name
    assert "remote" in (repository / ".dvc/config").read_text()
    assert "analytics = false" in (repository / ".dvc/config").read_text()
    assert setup.plan(repository, TORCH, Pipeline(), "../remote").changes == ()


def test_a_task_gives_its_own_budgets_and_every_stage_follows_it() -> None:
    """The params are valid, with the task's limits; a stage that reads the task has it among its parameters."""
    answers = replace(TORCH, task="embedding")
    content = yaml.safe_load(scaffold.params(answers, "schema.json"))
    limits = {item["metric"]: item for item in content["budgets"]}
    assert limits["agreement.cosine"]["min"] == 0.98
    assert "accuracy.top1" not in limits
    assert parse(Params, content, "params.yaml").train.loss == "cosine"
    stages = yaml.safe_load(scaffold.pipeline(answers))["stages"]
    for name in ("train", "baseline", "compress", "weigh"):
        assert "task" in stages[name].get("do", stages[name])["params"], name
    assert "task" not in scaffold.pipeline(TORCH)


def test_what_is_there_is_changed_by_addition_and_shown_first(repository: Path) -> None:
    """.gitignore keeps its lines; a changed workflow shows both sides."""
    (repository / ".gitignore").write_text("*.log")
    (repository / ".github/workflows").mkdir(parents=True)
    (repository / ".github/workflows/gate.yml").write_text("name: mine\n")
    plan = setup.plan(repository, TORCH, Pipeline())
    changed = {change.path.name: change for change in plan.overwrites}
    assert set(changed) == {"gate.yml"}
    lists = {change.path.name: change for change in plan.changes if change.adds_patterns}
    assert lists[".gitignore"].new.startswith("*.log\n")
    diff = changed["gate.yml"].diff(plan.top)
    assert "-name: mine" in diff
    assert "+name: gate" in diff


def test_a_file_that_changes_meanwhile_is_not_overwritten(repository: Path) -> None:
    """Between the diff and the answer somebody else saved the file."""
    plan = setup.plan(repository, TORCH, None)
    (repository / "params.yaml").write_text("mine\n")
    with pytest.raises(StateError, match="changed while"):
        setup.apply(plan)
    assert (repository / "params.yaml").read_text() == "mine\n"


def test_stages_are_added_to_a_pipeline_that_is_there(repository: Path) -> None:
    """The other stages stay, comments included."""
    (repository / "dvc.yaml").write_text("# ours\nstages:\n  # keep me\n  clean:\n    cmd: python clean.py # fast\n")
    plan = setup.plan(repository, TORCH, None)
    text = next(change.new for change in plan.changes if change.path.name == "dvc.yaml")
    assert "# ours" in text
    assert "# keep me" in text
    assert "# fast" in text
    stages = yaml.safe_load(text)["stages"]
    assert stages["clean"] == {"cmd": "python clean.py"}
    assert stages["judge"] == yaml.safe_load(scaffold.pipeline(TORCH))["stages"]["judge"]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("dvc.yaml", "stages: [1]\n", "no mapping"),
        ("dvc.yaml", "a: [\n", "not valid YAML"),
        ("params.yaml", "recipes: {a: {}}\n", "folder of its own"),
    ],
)
def test_what_cannot_carry_a_pipeline_is_refused_whole(repository: Path, name: str, text: str, words: str) -> None:
    """One error that says what to do, and not one file written."""
    (repository / name).write_text(text)
    with pytest.raises(InputError, match=words):
        setup.plan(repository, TORCH, Pipeline())
    assert sorted(path.name for path in repository.iterdir()) == sorted([".git", name])


def test_a_second_model_has_its_own_folder_and_the_same_registry(repository: Path) -> None:
    """One registry, one set of workflows; the workflows keep the measurements of both."""
    setup.apply(setup.plan(repository, TORCH, Pipeline()))
    subprocess.run(["git", "add", "--all"], cwd=repository, check=True)
    plan = setup.plan(repository / "models/second", TORCH, Pipeline())
    names = {str(change.path.relative_to(repository)) for change in plan.changes}
    assert "models/second/params.yaml" in names
    assert "models/second/registry/README.md" not in names
    gate = next(change for change in plan.changes if change.path.name == "gate.yml")
    assert "models/second/measurements" in gate.new
    params = next(change.new for change in plan.changes if change.path.name == "params.yaml")
    assert "$schema=../../.vscode/weighbridge-params.schema.json" in params


def test_outside_of_git_nothing_is_written(tmp_path: Path) -> None:
    """The registry is Git: without it there is nothing to put a gate into."""
    assert "not a git repository" in run(tmp_path, "--name", "m", "--model", "a:b", "--data", "c:d",
                                         "--data-file", ".", expect=2)  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_the_command_takes_all_from_options(repository: Path) -> None:
    """No question where there is nobody to ask; what is missing is named."""
    (repository / "evaluation.py").write_text("load = None\n")
    (repository / "model.onnx").write_bytes(model())
    assert "--data" in run(repository, "--name", "m", "--onnx", "model.onnx", expect=2)
    assert "file not found" in run(
        repository, "--name", "m", "--onnx", "gone.onnx", "--data", "evaluation:load", expect=2
    )
    options = ("--name", "m", "--onnx", "model.onnx", "--data", "evaluation:load")
    diff = run(repository, *options, "--dry-run")
    assert "+++ b/params.yaml" in diff
    assert not (repository / "params.yaml").exists()
    assert "write  params.yaml" in run(repository, *options)
    assert "onnx: model.onnx" in (repository / "params.yaml").read_text()
    (repository / "requirements-weighbridge.txt").write_text("weighbridge==0.0.1\n")
    assert "--yes" in run(repository, *options, expect=2)
    assert (repository / "requirements-weighbridge.txt").read_text() == "weighbridge==0.0.1\n"
    shown = run(repository, *options, "--yes")
    assert "-weighbridge==0.0.1" in shown
    assert (repository / "requirements-weighbridge.txt").read_text() == scaffold_source.requirements()


def test_weights_beside_an_onnx_file_are_dependencies(repository: Path) -> None:
    """Of the stages that read the model: DVC sees that they are others. Without them there is no model."""
    (repository / "evaluation.py").write_text("load = None\n")
    (repository / "model.onnx").write_bytes(model(weights="model.bin"))
    options = ("--name", "m", "--onnx", "model.onnx", "--data", "evaluation:load")
    assert "model.bin: file not found" in run(repository, *options, expect=2)
    (repository / "model.bin").write_bytes(b"\0" * 16)
    run(repository, *options)
    stages = yaml.safe_load((repository / "dvc.yaml").read_text())["stages"]
    following = {name for name, stage in stages.items() if "model.bin" in stage.get("do", stage).get("deps", ())}
    assert following == {"baseline", "compress"}


def test_a_file_that_is_no_model_is_refused(repository: Path) -> None:
    """Before anything is written."""
    (repository / "evaluation.py").write_text("load = None\n")
    (repository / "model.onnx").write_bytes(b"x")
    said = run(repository, "--name", "m", "--onnx", "model.onnx", "--data", "evaluation:load", expect=2)
    assert "model.onnx: is not a readable ONNX model" in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--name", "a b", "--model", "a:b", "--data", "c:d"), "letters, digits"),
        (("--name", "m", "--model", "a", "--data", "c:d"), "package.module:callable"),
        (("--name", "m", "--model", "a:b", "--onnx", "model.onnx", "--data", "c:d"), "exactly one"),
        (("--name", "m", "--model", "a:b", "--data", "c:d"), "no such package is installed"),
        (("--name", "m", "--model", "os:b", "--data", "c:d"), "c:d is not in a file of this folder"),
        (("--name", "m", "--model", "nets:Net", "--data", "c:d"), "nets.py defines no 'Net'"),
        (("--name", "m", "--onnx", "model.onnx", "--data", "broken:load"), "broken.py is not valid Python"),
        (("--name", "m", "--onnx", "model.onnx", "--weights", "gone.pt", "--data", "c:d"), "file not found"),
        (("--name", "m", "--model", "a:b", "--data", "c:d", "--select", "cheapest"), "cheapest"),
    ],
)
def test_wrong_answers_are_one_line(repository: Path, options: tuple[str, ...], words: str) -> None:
    """Exit code 2, one line, nothing written."""
    (repository / "model.onnx").write_bytes(model())
    (repository / "nets.py").write_text("def other(): pass\n")
    (repository / "broken.py").write_text("def load(:\n")
    said = run(repository, *options, expect=2)
    assert words in said
    assert len(said.strip().splitlines()) == 1
    assert not (repository / "params.yaml").exists()


def test_a_person_is_asked_for_what_no_option_says(repository: Path) -> None:
    """At a terminal: name, model, data; then the diff of what is there already, and nothing changes on a no."""
    (repository / "nets").mkdir()
    for name in ("data", "model"):
        (repository / f"nets/{name}.py").write_text("load = Net = None\n")
    (repository / ".gitignore").write_text("*.log\n")
    (repository / "requirements-weighbridge.txt").write_text("numpy\n")
    for agreed in ("n", "y"):
        master, slave = os.openpty()
        os.write(master, f"digits\nnets.model:Net\nnets.data:load\n{agreed}\n".encode())
        said = run(repository, "--no-workflows", stdin=slave, expect=0 if agreed == "y" else 2)
        os.close(master)
        os.close(slave)
        assert "name in the registry" in said
        assert "-numpy" in said
        assert (repository / "params.yaml").exists() is (agreed == "y")
    assert "name: digits" in (repository / "params.yaml").read_text()
    assert (repository / ".gitignore").read_text().startswith("*.log\n.weighbridge/\n")


def test_git_keeps_the_bytes_that_digests_are_taken_of(repository: Path) -> None:
    """`core.autocrlf` changes neither the registry nor what DVC hashes; a second model adds its own lines."""
    (repository / ".gitattributes").write_text("*.png binary\n")
    setup.apply(setup.plan(repository, TORCH, Pipeline()))
    setup.apply(setup.plan(repository / "models/second", ONNX, Pipeline()))

    def attribute(name: str, path: str) -> str:
        done = subprocess.run(
            ["git", "check-attr", name, path], cwd=repository, capture_output=True, text=True, check=True
        )
        return done.stdout.strip().rpartition(": ")[2]

    assert attribute("text", "registry/models/digits/channels.yaml") == "unset"
    for path in ("dvc.lock", "nets/data.py", "models/second/params.yaml", "models/second/evaluation.py"):
        assert attribute("eol", path) == "lf"
    assert attribute("text", "models/second/eval.npz") == "unspecified"
    assert (repository / ".gitattributes").read_text().startswith("*.png binary\n")


def test_what_init_writes_never_installs_from_an_index(repository: Path) -> None:
    """A git reference, or the URL that was given; a bare version is refused."""
    (repository / "evaluation.py").write_text("load = None\n")
    (repository / "model.onnx").write_bytes(model())
    options = ("--name", "m", "--onnx", "model.onnx", "--data", "evaluation:load")
    said = run(repository, *options, "--install-from", "weighbridge==0.1.0", expect=2)
    assert "--install-from" in said
    assert len(said.splitlines()) == 1
    missing = run(repository, *options, "--install-from", "dist/none.whl", "--dry-run", expect=2)
    assert "dist/none.whl: file not found" in missing
    wheel = repository / "weighbridge-0.1.0-py3-none-any.whl"
    wheel.write_bytes(b"x")
    assert f" @ {wheel.as_uri()}" in run(repository, *options, "--install-from", wheel.name, "--dry-run")
    wheel.unlink()
    for source in (None, "file:///wheels/weighbridge-0.1.0-py3-none-any.whl"):
        diff = run(repository, *options, "--dry-run", *(("--install-from", source) if source else ()))
        lines = [line for line in diff.splitlines() if "pip install" in line or line.startswith("+weighbridge[")]
        installs = [line for line in lines if "--requirement" not in line]
        assert len(installs) == 5
        assert all(f" @ {source or scaffold_source.SOURCE}" in line for line in installs)


def test_upgrade_shows_and_writes_what_an_earlier_init_left(repository: Path) -> None:
    """Installs from an index become installs from a git reference; a second run has nothing to do."""
    requirements = repository / "requirements-weighbridge.txt"
    requirements.write_text("# pinned\nweighbridge[compress,pipeline]==0.1.0\n")
    workflow = repository / ".github/workflows/promote.yml"
    workflow.parent.mkdir(parents=True)
    workflow.write_text('run: python -m pip install "weighbridge[keyless,pipeline]==0.1.0"\n')
    old = requirements.read_text()
    assert "3 file(s) would change" in run(repository, "--upgrade", "--dry-run")
    assert requirements.read_text() == old
    shown = run(repository, "--upgrade")
    assert "-weighbridge[compress,pipeline]==0.1.0" in shown
    assert requirements.read_text() == f"# pinned\nweighbridge[compress,pipeline] @ {scaffold_source.SOURCE}\n"
    assert f"weighbridge[judge,keyless,pipeline] @ {scaffold_source.SOURCE}" in workflow.read_text()
    assert f"--constraint {PROMOTE_LOCKED}" in workflow.read_text()
    staged = subprocess.run(["git", "ls-files"], cwd=repository, capture_output=True, text=True, check=True).stdout
    assert PROMOTE_LOCKED in staged.split()
    assert (repository / PROMOTE_LOCKED).read_text() == promote_constraints()
    assert "nothing to upgrade" in run(repository, "--upgrade")


def test_a_project_of_version_0_1_is_brought_to_today(repository: Path) -> None:
    """All that its `init` wrote: what would be refused is named before, and DVC reads the stages after."""
    earlier = Path(__file__).parents[2] / "fixtures" / "init-0.1.0"
    shutil.copytree(earlier / "github", repository / ".github")
    for name in ("params.yaml", "requirements-weighbridge.txt"):
        shutil.copy(earlier / name, repository)
    # Under its own name it would be a pipeline of this repository.
    shutil.copy(earlier / "pipeline.yaml", repository / "dvc.yaml")
    told = {check.name: check.problem for check in preflight(Git.discover(repository), None, dt.date(2026, 11, 28))}
    assert "weighbridge init --upgrade" in told["files of init"]
    shown = run(repository, "--upgrade", "--install-from", "git+https://example.invalid/weighbridge@v1")
    assert "5 file(s) changed" in shown
    left = [path for path in repository.rglob("*") if path.is_file() and b"==0.1.0" in path.read_bytes()]
    assert not [path for path in left if ".git/" not in path.as_posix()]
    told = {check.name: check.problem for check in preflight(Git.discover(repository), None, dt.date(2026, 11, 28))}
    assert told["files of init"] is None
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], cwd=repository, check=True)
    listed = subprocess.run(
        [sys.executable, "-m", "dvc", "stage", "list", "--all", "--name-only"],
        cwd=repository, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert {"prepare", "train", "compress@fp16", "weigh@fp16", "judge"} <= set(listed.stdout.split())


def two_models(repository: Path) -> tuple[str, str, str, str]:
    """Sources of two models in folders of their own."""
    for name in ("a", "b"):
        folder = repository / "models" / name
        folder.mkdir(parents=True)
        (folder / "evaluation.py").write_text("load = None\n")
        (folder / "model.onnx").write_bytes(model())
    return ("--onnx", "model.onnx", "--data", "evaluation:load")


def test_a_second_model_keeps_what_the_first_was_told(repository: Path) -> None:
    """Branch, runner, device class, selection and where Weighbridge comes from are said once for a repository."""
    options = two_models(repository)
    told = ("--branch", "trunk", "--runner", "big-box", "--device-class", "rack", "--select", "fastest",
            "--install-from", "git+https://git.example/weighbridge@v1")  # fmt: skip
    run(repository, "models/a", "--name", "a", *options, *told)
    run(repository, "models/b", "--name", "b", *options, "--yes")
    names = ("gate", "promote", "canary", "watch")
    texts = {name: (repository / f".github/workflows/{name}.yml").read_text() for name in names}
    assert "runs-on: big-box" in texts["gate"]
    assert "WEIGHBRIDGE_DEVICE_CLASS: rack" in texts["gate"]
    assert "branches: [trunk]" in texts["promote"]
    assert "--select fastest" in texts["promote"]
    for folder in ("models/a", "models/b"):
        assert f"            {folder}/measurements\n" in texts["gate"]
    assert all("git+https://git.example/weighbridge@v1" in texts[name] for name in names[1:])
    assert "weighbridge[watch] @" in texts["watch"]
    requirements = (repository / "requirements-weighbridge.txt").read_text()
    assert "weighbridge[compress,pipeline] @ git+https://git.example/weighbridge@v1" in requirements


def test_what_the_workflow_installs_is_there_and_every_stage_depends_on_it(repository: Path) -> None:
    """One file at the top for all models; a model's stages name it from where they are."""
    options = two_models(repository)
    for name in ("a", "b"):
        run(repository, f"models/{name}", "--name", name, *options, "--yes")
        stages = yaml.safe_load((repository / f"models/{name}/dvc.yaml").read_text())["stages"]
        assert "../../requirements-weighbridge.txt" in stages["prepare"]["deps"]
        assert not (repository / f"models/{name}/requirements-weighbridge.txt").exists()
    gate = (repository / ".github/workflows/gate.yml").read_text()
    assert "pip install --requirement requirements-weighbridge.txt" in gate
    assert (repository / "requirements-weighbridge.txt").is_file()


def test_the_same_init_again_changes_nothing_and_asks_nothing(repository: Path) -> None:
    """Params that were edited since, requirements with more lines: all of it stays, without an option or a question."""
    options = two_models(repository)
    run(repository, "models/a", "--name", "a", *options)
    params = repository / "models/a/params.yaml"
    params.write_text(params.read_text().replace("max_drop: 0.02", "max_drop: 0.01"))
    requirements = repository / "requirements-weighbridge.txt"
    requirements.write_text(requirements.read_text() + "numpy==2.3.0\n")
    before = {path: path.read_bytes() for path in repository.rglob("*") if path.is_file() and ".git/" not in str(path)}
    assert "nothing to change" in run(repository, "models/a")
    assert "nothing to change" in run(repository, "models/a", "--name", "a", *options)
    assert before == {path: path.read_bytes() for path in before}
    said = run(repository, "models/a", "--name", "other", expect=2)
    assert "says 'a'" in said
    assert "edit it there" in said


def test_what_commands_write_is_ignored_by_git_from_the_start(repository: Path) -> None:
    """`.weighbridge/` at the top and in the project, and the folders that `registry pull` makes."""
    options = two_models(repository)
    run(repository, "models/a", "--name", "a", *options)
    for name in (".weighbridge/ci/x", "models/a/.weighbridge/x", "a@v12/model.onnx", "models/a/a@b1/model.onnx"):
        done = subprocess.run(["git", "check-ignore", "--quiet", name], cwd=repository, check=False)
        assert done.returncode == 0, name


def test_every_package_is_locked_to_its_version(repository: Path) -> None:
    """Direct and indirect ones, also for a repository whose requirements an earlier `init` wrote."""
    options = two_models(repository)
    run(repository, "models/a", "--name", "a", *options)
    assert "--constraint constraints-weighbridge.txt" in (repository / "requirements-weighbridge.txt").read_text()
    locked = (repository / "constraints-weighbridge.txt").read_text().splitlines()
    versions = dict(line.split("==") for line in locked if not line.startswith("#"))
    assert {"torch", "onnxruntime", "numpy", "dvc", "dvc-data"} <= versions.keys()
    assert versions["numpy"] == metadata.version("numpy")
    assert "weighbridge" not in versions
    stages = yaml.safe_load((repository / "models/a/dvc.yaml").read_text())["stages"]
    assert "../../constraints-weighbridge.txt" in stages["baseline"]["do"]["deps"]
    earlier = "weighbridge[compress,pipeline] @ git+https://git.example/w@v1\nnumpy==2.3.0\n"
    brought = with_source(earlier, "git+https://git.example/w@v2", "ours")
    assert brought.splitlines()[1:] == ["numpy==2.3.0", "--constraint constraints-weighbridge.txt"]
    assert with_source(brought, "git+https://git.example/w@v2", "ours") == brought


def install(repository: Path, workflow: str, job: str) -> tuple[int, str]:
    """Run the step of a workflow that installs, as a runner's shell does; what it said, and what it ran pip with."""
    steps = yaml.safe_load((repository / f".github/workflows/{workflow}.yml").read_text())["jobs"][job]["steps"]
    (repository / "bin").mkdir(exist_ok=True)
    (repository / "bin/python").write_text('#!/bin/sh\necho "$@"\n')
    (repository / "bin/python").chmod(0o755)
    script = next(step["run"] for step in steps if step.get("name") == "Install")
    done = subprocess.run(
        ["bash", "-e", "-c", script], cwd=repository, capture_output=True, text=True, check=False,
        env={"PATH": f"{repository}/bin:/usr/bin:/bin"},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_the_promote_job_has_a_lock_of_its_own(repository: Path) -> None:
    """Written once and kept, installed from, and one line where it is missing."""
    options = two_models(repository)
    run(repository, "models/a", "--name", "a", *options)
    lock = repository / PROMOTE_LOCKED
    assert lock.read_text() == promote_constraints()
    for workflow, job in (("promote", "promote"), ("canary", "judge"), ("report", "comment")):
        code, said = install(repository, workflow, job)
        assert code == 0
        assert f"pip install --constraint {PROMOTE_LOCKED} weighbridge" in said
    lock.write_text("sigstore==4.3.0\n")
    run(repository, "models/b", "--name", "b", *options, "--yes")
    assert lock.read_text() == "sigstore==4.3.0\n"
    lock.unlink()
    code, said = install(repository, "promote", "promote")
    assert code == 1
    assert said.startswith("::error title=No lock of libraries::constraints-weighbridge-promote.txt not found")
    assert said.count("\n") == 1
    assert "1 file(s) would change" in run(repository, "--upgrade", "--dry-run")
    run(repository, "models/a")
    assert lock.read_text() == promote_constraints()


def test_an_evaluation_set_gets_a_factory_and_a_checkpoint_is_the_baseline(repository: Path) -> None:
    """No code to write: `--data FILE.npz`; with `--weights` nothing is trained."""
    (repository / "nets.py").write_text("def Net(): ...\n")
    (repository / "trained.pt").write_bytes(b"x")
    np.savez(repository / "eval.npz", x=np.zeros((8, 2), np.float32), labels=np.arange(8))
    options = ("--name", "m", "--model", "nets:Net", "--weights", "trained.pt", "--data", "eval.npz")
    run(repository, *options)
    params = Params.read(repository / "params.yaml")
    assert (params.model.weights, params.train.epochs, params.data.factory) == ("trained.pt", 0, "npz_examples:load")
    stages = yaml.safe_load((repository / "dvc.yaml").read_text())["stages"]
    assert {"npz_examples.py", "eval.npz"} <= set(stages["prepare"]["deps"])
    assert "trained.pt" in stages["train"]["deps"]
    (repository / "npz_examples.py").write_text("# mine\nload = None\n")
    assert "nothing to change" in run(repository, *options)
    assert (repository / "npz_examples.py").read_text().startswith("# mine")


def test_what_is_new_is_staged_and_the_plots_have_their_templates(repository: Path) -> None:
    """`git commit -a` takes the project, and later what `dvc repro` writes; `dvc plots` finds every template."""
    options = two_models(repository)
    run(repository, "models/a", "--name", "a", *options)
    staged = subprocess.run(
        ["git", "diff", "--cached", "--name-only"], cwd=repository, capture_output=True, text=True, check=True
    ).stdout.split()
    assert {"models/a/params.yaml", "models/a/dvc.lock", ".dvc/config", "registry/README.md"} <= set(staged)
    assert "models/a/model.onnx" not in staged
    plots = yaml.safe_load((repository / "models/a/dvc.yaml").read_text())["plots"]
    for options in (options for plot in plots for options in plot.values()):
        json.loads((repository / f".dvc/plots/{options['template']}.json").read_text())


def test_what_the_users_patterns_ignore_is_written_and_said(repository: Path) -> None:
    """`.vscode/` is ignored in many repositories; everything else is staged all the same."""
    options = two_models(repository)
    (repository / ".gitignore").write_text(".vscode/\n")
    said = run(repository, "models/a", "--name", "a", *options)
    assert "git ignores, by a pattern of yours: .vscode/weighbridge-params.schema.json" in said
    staged = subprocess.run(
        ["git", "diff", "--cached", "--name-only"], cwd=repository, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "models/a/params.yaml" in staged
