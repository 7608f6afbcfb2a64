"""Every how-to page is checked by the program itself: its commands by the real parser, its documents, its Python.

Many are run besides. `RUN` says which and where; `PARSED` says of the others why their commands are only parsed.
"""

import ast
import builtins
import importlib
import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer
import yaml
from typer.exceptions import TyperException

from tests.howto import Block, blocks, commands, pages
from weighbridge.cli import app
from weighbridge.cli.usage import usage_line
from weighbridge.compress.recipe.recipe import read_steps
from weighbridge.core.documents import Params
from weighbridge.core.documents.params import read_budgets
from weighbridge.core.errors import InputError, WeighbridgeError
from weighbridge.gate.verdict.waivers import Waiver
from weighbridge.registry.trust.registry_policy import RegistryPolicy, check_written

PROJECT = Path(__file__).parents[2]
IN_REGISTRY = "tests/registry/test_howto_registry.py"
IN_PIPELINE = "tests/pipeline/test_howto_pipeline.py"
TASKS = "tests/pipeline/test_tasks.py"
RUN = {
    "canary": IN_REGISTRY,
    "choose": "tests/search/test_advise.py",
    "inputs": "tests/pipeline/test_inputs.py",
    "onnx-only": IN_PIPELINE,
    "own-training": "tests/compress/training/test_user_loop.py",
    "publishing": IN_REGISTRY,
    "remotes": IN_PIPELINE,
    "rollback": IN_REGISTRY,
    "signing": IN_REGISTRY,
    "task-classification": TASKS,
    "task-custom": TASKS,
    "task-detection": TASKS,
    "task-embedding": TASKS,
    "task-language-model": "tests/pipeline/test_language_model.py",
    "task-multilabel": TASKS,
    "task-regression": TASKS,
    "task-segmentation": TASKS,
    "task-token": TASKS,
    "try-recipes": "tests/pipeline/test_first_version.py",
    "waivers": IN_PIPELINE,
    "watch": IN_REGISTRY,
}
PARSED = {
    "devices": "needs a board or a phone; tests/gate/devices weigh over a real sshd",
    "own-model": "installs from Git and trains; the road is tests/pipeline/test_first_version.py",
    "runner": "needs a runner of GitHub's; the workflows are run by tests/pipeline/test_act.py",
    "search": "takes minutes; tests/search run searches",
    "serve": "serves until it is stopped, or speaks to a cluster; tests/serve run the server",
    "targets": "installs converters of a gigabyte; tests/compress/export build for each",
    "team": "installs from Git, takes minutes; tests/pipeline/test_monorepo.py runs two models under act",
}
OURS = [(page, words) for page in pages() for words in commands(page, "weighbridge")]
LANGUAGES = {"yaml", "python", "json", "text", "", "sh", "console", "bash"}


def test_every_page_is_accounted_for() -> None:
    """A new page is run, or says why it is not; the tests that are named exist."""
    assert {*RUN, *PARSED} == set(pages())
    assert not set(RUN) & set(PARSED)
    for where in RUN.values():
        assert (PROJECT / where).is_file(), where
    assert {block.kind for page in pages() for block in blocks(page)} <= LANGUAGES


def parse(words: list[str]) -> str | None:
    """Parse a command line as typing it would, without running it; a usage line where that fails."""
    command, context = typer.main.get_command(app), None
    words, name = words[1:], words[0]
    while True:
        try:
            context = command.make_context(name, list(words), parent=context)
            if not hasattr(command, "resolve_command"):
                return None
            name, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
        except TyperException as error:
            return usage_line(error)
        except WeighbridgeError as error:
            return str(error)


@pytest.mark.parametrize(("page", "words"), OURS, ids=[f"{page}: {' '.join(words[1:4])}" for page, words in OURS])
def test_every_command_is_one_that_the_parser_takes(page: str, words: list[str]) -> None:
    """Command, options, values of options, arguments: nothing missing, nothing unknown."""
    assert parse(words) is None, f"docs/howto/{page}.md: {shlex.join(words)}"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("weighbridge registry pul my-net", "pul"),
        ("weighbridge registry pull my-net --ouT model", "--ouT"),
        ("weighbridge registry rollback", "MODEL"),
        ("weighbridge registry manifests my-net --for kserv --storage-uri s3://a", "kserv"),
        ("weighbridge registry history my-net --limit many", "integer"),
        ("weighbridge registry tags my-net extra", "extra"),
    ],
)
def test_a_command_that_is_wrong_on_a_page_is_caught(line: str, said: str) -> None:
    """A misspelt command, option or value, one argument too few or too many."""
    assert said in str(parse(shlex.split(line)))


def test_extras_on_the_pages_exist() -> None:
    """`pip install 'weighbridge[search] …'` names extras of pyproject.toml."""
    known = set(tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    named = {
        extra
        for page in pages()
        for words in commands(page, "pip")
        for found in re.findall(r"weighbridge\[([\w,]+)\]", " ".join(words))
        for extra in found.split(",")
    }
    assert {"search", "serve", "keyless"} <= named <= known


DOCUMENTS = [block for page in pages() for block in blocks(page) if block.kind == "yaml"]
LEAST = {
    "model": {"name": "net", "factory": "nets:Net"},
    "data": {"factory": "nets:load"},
    "train": {"epochs": 1, "lr": 0.1},
    "recipes": {"fp16": {"steps": [{"quantize": {"scheme": "fp16"}}]}},
    "budgets": [{"metric": "size.bytes", "max": "1MB"}],
}


def check(block: Block, folder: Path) -> None:
    """Read a YAML block as the document that it is."""
    content = yaml.safe_load(block.text)
    if isinstance(content, list):
        known = yaml.safe_load((PROJECT / "action.yml").read_text())["inputs"]
        given = content[0]["with"]
        assert set(given) <= set(known), block.text
        assert {name for name, entry in known.items() if entry.get("required")} <= set(given)
    elif str(block.title).startswith("waivers/"):
        Waiver.model_validate({**content, **({"digest": "sha256:" + 64 * "5"} if "digest" in content else {})})
    elif set(content) <= {"schema_version", *RegistryPolicy.model_fields, "canary"}:
        check_written(block.text.encode(), block.page)
    else:
        path = folder / (block.title or "params.yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.name != "params.yaml":
            path.write_text(block.text)
            read_budgets(path)
            return
        path.write_text(yaml.safe_dump({**LEAST, **content}))
        for name, section in Params.read(path).recipes.items():
            read_steps(section, f"recipes.{name}")


@pytest.mark.parametrize("page", sorted({block.page for block in DOCUMENTS}))
def test_every_document_on_a_page_is_valid(page: str, tmp_path: Path) -> None:
    """Params with their steps, shared budgets, waivers, the registry's policy, the inputs of the action."""
    for block in blocks(page):
        if block.kind == "yaml":
            check(block, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "budgets:\n  - {metric: size.byte, max: 1MB}\n",
        "recipes:\n  a:\n    steps:\n      - quantize: {shceme: fp16}\n",
        "require_freshh: true\nkeys: {}\n",
        "watch:\n  on_alarm: panic\n",
        "# waivers/a.yaml\nbudget: size.bytes max\nto: 260kB\n",
        "- uses: a/b@c\n  with: {baseline: a, candidate: b}\n",
    ],
)
def test_a_document_that_is_wrong_on_a_page_is_caught(text: str, tmp_path: Path) -> None:
    """A misspelt metric, technique's key, policy's key or value; a waiver or an action with something missing."""
    with pytest.raises((InputError, ValueError, AssertionError)):
        check(Block("page", "yaml", text), tmp_path)


def undefined(text: str) -> set[str]:
    """Compile a block, import what it imports, and give the names that it uses and nothing defines."""
    tree = ast.parse(text)
    known = set(dir(builtins))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            for item in node.names:
                getattr(module, item.name)
                known.add(item.asname or item.name)
        elif isinstance(node, ast.Import):
            for item in node.names:
                importlib.import_module(item.name)
                known.add((item.asname or item.name).partition(".")[0])
        elif isinstance(node, ast.ClassDef):
            known.add(node.name)
        elif isinstance(node, ast.FunctionDef):
            known |= {node.name, *(argument.arg for argument in node.args.args)}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            known.add(node.id)
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - known


THEIRS = {"own-model": {"torch", "x_train", "y_train", "x_test", "y_test", "is_night"}}
"""Names that stand for the reader's own, or that the page's text says to import."""


@pytest.mark.parametrize("page", sorted(page for page in pages() if any(b.kind == "python" for b in blocks(page))))
def test_python_on_a_page_compiles_and_its_imports_exist(page: str) -> None:
    """Names come from somewhere, too: what a block uses, it imports or defines."""
    unknown = {name for block in blocks(page) if block.kind == "python" for name in undefined(block.text)}
    assert unknown <= THEIRS.get(page, set())


def test_python_that_is_wrong_on_a_page_is_caught() -> None:
    """An import that fails, a name from nowhere, a syntax error."""
    with pytest.raises(AttributeError):
        undefined("from weighbridge.data import Dta")
    assert undefined("def load():\n    return Data()\n") == {"Data"}
    with pytest.raises(SyntaxError):
        undefined("def load(:\n")


def test_the_unit_for_systemd_starts_a_command_that_exists() -> None:
    """ExecStart of the unit that the page on serving names is a command line of ours."""
    text = (PROJECT / "docs/examples/serve/weighbridge@.service").read_text()
    [started] = re.findall(r"^ExecStart=(.+)$", text, re.MULTILINE)
    program, *words = shlex.split(started.removesuffix(" $OPTIONS"))
    assert parse([Path(program).name, *words]) is None


def test_json_on_a_page_is_json() -> None:
    """The line of a log, which the page breaks in two."""
    found = [block for page in pages() for block in blocks(page) if block.kind == "json"]
    assert found
    for block in found:
        assert isinstance(json.loads(" ".join(block.text.splitlines())), dict)
