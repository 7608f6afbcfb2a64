"""`weighbridge init`: what a user's repository needs, as file contents. Pure: nothing here reads or writes a file.

Templates lie in `templates/`; `%%name%%` is replaced, on a line of its own by a block of lines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

import yaml

from weighbridge.ci.known_techniques import steps_schema
from weighbridge.ci.locking import LOCKED, PROMOTE_LOCKED
from weighbridge.ci.npz_project import MODULE
from weighbridge.ci.scaffold_source import SOURCE, requirements
from weighbridge.core.documents import Params
from weighbridge.core.documents.shared_budgets import SharedBudgets
from weighbridge.core.errors import InputError
from weighbridge.core.facts.budget_rules import BUDGET_RULES
from weighbridge.core.facts.tasks import TASKS
from weighbridge.core.project import LOCK, PARAMS, PIPELINE

REQUIREMENTS = "requirements-weighbridge.txt"
SCHEMA = ".vscode/weighbridge-params.schema.json"
PYTHON = "3.11"
STAGES = ("prepare", "train", "baseline", "compress", "device", "weigh", "judge")
_LOCKED_INSTALL = f"python -m pip install --constraint {PROMOTE_LOCKED}"
_PLACE = re.compile(r"%%([a-z_]+)%%")
_STEPS = {
    "fp16": "quantize: {scheme: fp16}",
    "int8-static": "quantize: {scheme: static-int8}",
    "pruned-int8": None,
}

IGNORED_AT_TOP = (".weighbridge/", "*@[vb][0-9]*/")
"""What commands write at the repository's top, and the folders that `registry pull` makes."""
IGNORED = ("/artifacts/", "/measurements/", "/reports/", ".weighbridge/", "__pycache__/")
ATTRIBUTES = ("registry/models/** -text", "registry.policy.yaml text eol=lf")
"""At the repository's top: digests are taken over bytes, which `core.autocrlf` would change."""
DVC_IGNORED = (".git", ".venv", "__pycache__", "*.pyc", "registry/models")


@dataclass(frozen=True)
class InitAnswers:
    """What `init` was told about one model."""

    name: str
    data: str
    """The data factory, `package.module:callable`."""
    data_files: tuple[str, ...]
    """Files that the data factory's result depends on, its own source among them, relative to the project."""
    model: str | None = None
    """The model factory; None where `onnx` is given."""
    model_files: tuple[str, ...] = ()
    """The sources of the model factory, or the files in which the ONNX file keeps weights."""
    weights: str | None = None
    """Path of trained weights for `model`, relative to the project: they are the baseline, nothing is trained."""
    onnx: str | None = None
    """Path of a finished ONNX file, relative to the project."""
    licence: str | None = None
    epochs: int = 8
    install_from: str = SOURCE
    task: str | None = None
    """What quality means for the model; None: a classifier."""
    requirements: str = REQUIREMENTS
    """Path of the requirements, relative to the project: one file at the repository's top, for all its models."""
    npz: str | None = None
    """Path of the examples, relative to the project, where `data` is to be written to read them."""
    recipes: tuple[str, ...] | None = None
    """The recipes to start with; None: all that the model's form allows."""

    @property
    def test_share(self) -> float:
        """The share of an evaluation set to judge by: a finished model needs few others, to calibrate with."""
        return 0.75 if self.model is None or self.weights is not None else 0.25

    @property
    def locked(self) -> str:
        """Path of the exact versions, relative to the project."""
        return f"{self.requirements.removesuffix(REQUIREMENTS)}{LOCKED}"


@dataclass(frozen=True)
class Pipeline:
    """How the workflows of one repository are set up; one for all its models."""

    branch: str = "main"
    runner: str = "ubuntu-latest"
    device_class: str = "github-ubuntu-latest"
    select: str = "smallest"
    install_gate: str = f"python -m pip install --requirement {REQUIREMENTS}"
    promote_lock: str = PROMOTE_LOCKED
    install_promote: str = f'{_LOCKED_INSTALL} "weighbridge[judge,keyless,pipeline] @ {SOURCE}"'
    install_report: str = f'{_LOCKED_INSTALL} "weighbridge @ {SOURCE}"'
    install_watch: str = f'python -m pip install "weighbridge[watch] @ {SOURCE}"'

    @classmethod
    def installing(cls, source: str, branch: str, runner: str, device_class: str, select: str) -> Pipeline:
        """Workflows that install Weighbridge from `source`."""
        return cls(
            branch=branch,
            runner=runner,
            device_class=device_class,
            select=select,
            install_promote=f'{_LOCKED_INSTALL} "weighbridge[judge,keyless,pipeline] @ {source}"',
            install_report=f'{_LOCKED_INSTALL} "weighbridge @ {source}"',
            install_watch=f'python -m pip install "weighbridge[watch] @ {source}"',
        )


def template(name: str) -> str:
    """The text of a template."""
    return files("weighbridge.ci").joinpath("templates", name).read_text(encoding="utf-8")


def fill(text: str, values: Mapping[str, str]) -> str:
    """Replace every `%%name%%`; one that is not known is a `KeyError`, so that none is ever left in a file."""
    return _PLACE.sub(lambda match: values[match[1]], text)


def workflows(setup: Pipeline, folders: tuple[str, ...] = (".",)) -> dict[str, str]:
    """Path → content of the workflows, for pipelines in these folders of one repository."""
    for value in (setup.branch, setup.runner, setup.device_class):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/, \[\]-]*", value):
            raise InputError(f"{value!r} cannot stand in a workflow")
    names = [".dvc/cache", *("measurements" if folder == "." else f"{folder}/measurements" for folder in folders)]
    kept = [f"            {name}" for name in names]
    runner = json.dumps(yaml.safe_load(setup.runner))
    values = {**vars(setup), "python": PYTHON, "kept": "\n".join(kept), "runner_as_json": runner}
    return {
        f".github/workflows/{name}.yml": fill(template(f"{name}.yml"), values)
        for name in ("gate", "report", "promote", "canary", "watch", "matrix")
    }


def project_files(answers: InitAnswers, schema: str = SCHEMA) -> dict[str, str]:
    """Path within the project → content of `params.yaml`, `dvc.yaml` and the requirements.

    `schema` is the path of the editor's schema as `params.yaml` sees it.
    """
    files = {
        PARAMS: params(answers, schema),
        PIPELINE: pipeline(answers),
        answers.requirements: requirements(answers.install_from),
    }
    return files if answers.npz is None else {**files, MODULE: _examples(answers)}


def _examples(answers: InitAnswers) -> str:
    """The data factory of an evaluation set."""
    return fill(template("project-examples.txt"), {"npz": str(answers.npz), "share": f"{answers.test_share}"})


def plot_templates() -> dict[str, str]:
    """Name → text of the templates that `plots:` of the pipeline names; DVC looks for them in `.dvc/plots`."""
    return {f"{name}.json": template(f"plots-{name}.json") for name in ("pareto", "limits", "launches")}


def params(answers: InitAnswers, schema: str) -> str:
    """`params.yaml` with a few recipes and budgets to start from."""
    source = f"factory: {answers.model}" if answers.model else f"onnx: {_scalar(str(answers.onnx))}"
    if answers.weights:
        source += f"\n  weights: {_scalar(answers.weights)}"
    if answers.licence:
        source += f"\n  licence: {json.dumps(answers.licence)}"
    offered = _STEPS if answers.recipes is None else answers.recipes
    # Pruning acts on a module, and an ONNX file is none.
    recipes = {name: _STEPS[name] for name in offered if answers.model is not None or name != "pruned-int8"}
    blocks = []
    for name, step in recipes.items():
        steps = (
            [step]
            if step
            else [
                "prune: {method: magnitude, sparsity: 0.5, scope: layer, finetune: {epochs: 1}}",
                _STEPS["int8-static"],
            ]
        )
        blocks.append(
            "\n".join([f"  {name}:", "    target: onnxruntime", "    steps:", *(f"      - {s}" for s in steps), ""])
        )
    trained = "none" if answers.weights else f"{{epochs: {answers.epochs}, lr: 0.001, seed: 7}}"
    train = f"\ntrain: {trained}\n" if answers.model else ""
    if answers.task is not None:
        train += f"\ntask: {answers.task}\n"
    values = {"schema": schema, "name": answers.name, "source": source, "data": answers.data, "train": train}
    values |= {"recipes": "\n".join(blocks), "limits": _limits(answers.task)}
    return fill(template("project-params.yaml"), values)


def _limits(task: str | None) -> str:
    """The budgets of a task, one a line."""
    lines = []
    for metric, limit in TASKS[task or "classification"].limits.items():
        ((rule, value),) = limit.items()
        against = ", against: baseline" if BUDGET_RULES[rule].relative else ""
        lines.append(f"  - {{metric: {metric}, {rule}: {value:.2f}{against}}}")
    return "\n".join(lines)


def pipeline(answers: InitAnswers) -> str:
    """`dvc.yaml`; a finished ONNX file has no training stage."""
    trained = answers.model is not None
    sources = answers.model_files if trained else (str(answers.onnx), *answers.model_files)
    packages = (answers.requirements, answers.locked)
    weights = (answers.weights,) if answers.weights else ()
    model = _items(6, *sources, *weights, *packages)
    given = {"model_deps": model, "train_params": "[model, train]" if answers.task is None else "[model, task, train]"}
    train = fill(template("project-train.yaml"), given) if trained else ""
    checkpoint = ["artifacts/trained/checkpoint.safetensors"] if trained else []
    return fill(
        template("project-pipeline.yaml"),
        {
            "data_deps": _items(6, *answers.data_files, *packages),
            "train": train,
            "baseline_deps": _items(8, *checkpoint, "artifacts/data", *sources, *packages),
            "compress_params": "".join(f"        - {name}\n" for name in _compress_params(answers)),
            "baseline_params": "[model]" if answers.task is None else "[model, task]",
            "weigh_params": "[budgets, devices, weighing, 'recipes.${key}']"
            if answers.task is None
            else "[budgets, devices, task, weighing, 'recipes.${key}']",
            "compress_deps": _items(8, *checkpoint, "artifacts/baseline", "artifacts/data", *sources, *packages),
            "requirements": answers.requirements,
        },
    )


def _compress_params(answers: InitAnswers) -> list[str]:
    return [*(["train"] if answers.model is not None else []), *(["task"] if answers.task is not None else [])]


def attributes(answers: InitAnswers, home: str) -> tuple[str, ...]:
    """Lines of `.gitattributes`: what DVC and the registry take digests of has the same bytes in every clone.

    `home` is the project's folder, relative to the repository's top. A path that git would read as a pattern is left
    out.
    """
    sources = (path for path in (*answers.data_files, *answers.model_files) if path.endswith(".py"))
    names = (PARAMS, PIPELINE, LOCK, *sources)
    own = (f"/{name}" if home == "." else f"/{home}/{name}" for name in names)
    paths = dict.fromkeys((*own, f"/{REQUIREMENTS}", f"/{LOCKED}"))
    plain = (path for path in paths if re.fullmatch(r"[A-Za-z0-9_./-]+", path))
    return (*ATTRIBUTES, *(f"{path} text eol=lf" for path in plain))


def params_schema() -> str:
    """The JSON Schema of `params.yaml`, for editors: techniques and their parameters included."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Params.model_json_schema()}
    steps, definitions = steps_schema()
    schema["$defs"] = {**schema["$defs"], **definitions}
    schema["$defs"]["RecipeSection"]["properties"]["steps"] |= steps
    properties = schema["properties"]
    properties["task"]["anyOf"].insert(0, {"enum": list(TASKS)})  # `task: embedding` is short for its kind
    train = properties["train"]
    train["anyOf"] = [{"const": "none"}, {"$ref": train.pop("$ref")}]
    shared = SharedBudgets.model_json_schema()
    schema["$defs"] = {**shared.pop("$defs"), **schema["$defs"]}
    budgets = schema["properties"]["budgets"]
    own = {key: budgets.pop(key) for key in ("type", "items", "minItems")}
    budgets["anyOf"] = [own, shared]
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def with_lines(text: str, lines: tuple[str, ...]) -> str:
    """A list of patterns with those that it lacks added at its end."""
    have = {line.strip() for line in text.splitlines()}
    missing = [line for line in lines if line not in have]
    if not missing:
        return text
    start = text if not text or text.endswith("\n") else text + "\n"
    return start + "".join(f"{line}\n" for line in missing)


def _items(indent: int, *paths: str) -> str:
    unique = dict.fromkeys(paths)
    return "\n".join(f"{' ' * indent}- {_scalar(path)}" for path in unique)


def _scalar(value: str) -> str:
    """A path as a YAML scalar, quoted where it would mean something else."""
    return value if re.fullmatch(r"[A-Za-z0-9_.][A-Za-z0-9_./-]*", value) else json.dumps(value)
