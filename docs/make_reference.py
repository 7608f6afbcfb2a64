"""Writes docs/reference/ from the program itself: schemas, tables of techniques and metrics, the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import typer

from weighbridge.cli import app
from weighbridge.compress.recipe.recipe import TECHNIQUES
from weighbridge.core.documents import METRICS, Params
from weighbridge.core.facts.targets import TARGETS
from weighbridge.core.facts.tasks import TASKS

FOLDER = Path(__file__).parent / "reference"
NOTE = "<!-- written by docs/make_reference.py -->\n"


def pages() -> dict[str, str]:
    """File name → content."""
    return {
        "params.md": params_page(),
        "techniques.md": techniques_page(),
        "metrics.md": metrics_page(),
        "supported.md": supported_page(),
        "cli.md": cli_page(),
    }


def params_page() -> str:
    """Every section of `params.yaml` with its keys."""
    schema = Params.model_json_schema()
    text = [
        NOTE,
        "# params.yaml\n\nThe one file that people edit. A key that is not listed here is an error, with a suggestion.\n"
        "Keys at top level that start with `x-` are left out, for YAML anchors.\n",
        table(schema, schema),
    ]
    titles = {
        "ModelSection": "model", "DataSection": "data", "TrainSection": "train", "RecipeSection": "recipes.NAME",
        "DeviceSection": "devices.NAME",
        "Weighing": "weighing", "PolicySection": "policy", "SearchSection": "search", "Budget": "budgets[]",
        "TaskSection": "task", "InputSection": "inputs.NAME",
    }  # fmt: skip
    for name, title in titles.items():
        section = schema["$defs"][name]
        text.append(f"\n## {title}\n\n{section.get('description', '')}\n\n{table(section, schema)}")
    text.append(
        "\nA budget has exactly one of `max`, `min`, `max_ratio`, `min_ratio` and `max_drop`. The steps of a recipe are "
        "on [their own page](techniques.md), what can be limited on [another](metrics.md). Instead of a list, `budgets` may be "
        "`{from: FILE, override: [...]}`: the list of a file that several projects share, see "
        "[a team's repository](../howto/team.md).\n"
    )
    return "\n".join(text)


def techniques_page() -> str:
    """Every technique with its configuration."""
    text = [NOTE, "# Techniques\n\nThe steps of a recipe, in the order in which they shall act:\n"]
    text.append(
        "```yaml\nsteps:\n  - prune: {method: magnitude, sparsity: 0.8}\n  - quantize: {scheme: static-int8}\n```\n"
    )
    text.append(
        "*Module* steps change the network, *lowering* steps the exported graph; all of the former come first.\n"
    )
    for name, technique in TECHNIQUES.items():
        phases = [kind for kind, function in (("module", technique.module), ("lowering", technique.lower)) if function]
        schema = technique.config.model_json_schema()
        text.append(
            f"\n## {name}\n\n{first_paragraph(schema)}\n\nActs as: {' and '.join(phases)} step.\n\n{table(schema, schema)}"
        )
        for part, section in schema.get("$defs", {}).items():
            if "properties" in section:
                text.append(f"\n### {part}\n\n{first_paragraph(section)}\n\n{table(section, schema)}")
    return "\n".join(text)


def metrics_page() -> str:
    """Every metric with its unit and direction."""
    kinds = {
        "exact": "a fact of the file",
        "launches": "noisy: pairs of fresh processes",
        "examples": "over the test set, paired",
    }
    rows = [
        f"| `{metric.name}` | {metric.title} | {metric.unit.replace('_', ' ')} | {metric.better} | {kinds[metric.kind]} |"
        for metric in METRICS.values()
    ]
    return (
        f"{NOTE}\n# Metrics\n\nWhat a budget can limit. Quantities are read with a unit (`200kB`, `5ms`, `1%`, `10MiB`) or "
        "as plain numbers in base units (bytes, seconds, fractions).\n\n| metric | what it is | unit | better | how it is "
        "measured |\n|---|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def supported_page() -> str:
    """What works together: tasks with training and labels, techniques with targets; and what does not."""
    tasks = [
        f"| `{row.name}` | {row.title} | {row.labels} | {row.answers}: at least {row.least:g} | "
        f"{f'`{row.loss}`' if row.loss else 'give `train.loss`'} | {', '.join(f'`{name}`' for name in row.limits)} |"
        for row in TASKS.values()
    ]
    techniques = [
        f"| `{name}` | {' and '.join(acts(technique))} | "
        + " | ".join(cell(form(name, technique, target)) for target in TARGETS.values())
        + " |"
        for name, technique in TECHNIQUES.items()
    ]
    heads = " | ".join(f"`{name}`" for name in TARGETS)
    return (
        f"{NOTE}\n# What is supported\n\n## Tasks\n\nA task does not depend on technique or target; the tests take each one from params to "
        "the report, on onnxruntime. A lossy step is "
        "held to the model before it by the task's own agreement, and every output that does not answer the task by its "
        "cosine. Steps that fine-tune need a loss.\n\n| task | what the model gives | labels | agreement | loss | limits "
        "of `init` and `weigh --task` |\n|---|---|---|---|---|---|\n"
        + "\n".join(tasks)
        + "\n\n## Techniques and targets"
        f"\n\n| technique | acts on | {heads} |\n|---|---|{'---|' * len(TARGETS)}\n" + "\n".join(techniques) + "\n\n"
        "A model that is an ONNX file (`model.onnx`) takes the steps that act on a file, for `onnxruntime`.\n\n"
        "## Not supported\n\n"
        "- Detectors whose non-maximum suppression is outside the graph: their agreement and mAP would be of candidates.\n"
        "- A teacher's soft targets for anything but classes `(n, classes)`: the teacher's outputs are learnt by their "
        "squared distance.\n"
        "- Streams whose steps differ in length; examples that differ in length, and libraries of custom operators, on a device with a harness of\n"
        "  its own; libraries of custom operators on any other machine and in `serve`.\n"
        "- Backpropagation through time in the built-in training: a carried state is what a stream begins with (`train.loop` has the rest).\n"
        "- The worst slice where examples belong to groups; budgets on the worst slice of a metric of your own.\n"
    )


def acts(technique: Any) -> list[str]:
    """What a technique works on."""
    return [
        word
        for word, function in (("the module", technique.module), ("the file", technique.lower))
        if function is not None
    ]


def form(name: str, technique: Any, target: Any) -> str:
    """How a technique comes to a target's file."""
    if technique.lower is None:
        return "yes"
    if name not in target.steps:
        return "on the module alone" if technique.module is not None and name != "quantize" else "no"
    return ", ".join(target.schemes) if name == "quantize" else "yes"


def cli_page() -> str:
    """Every command with its arguments and options."""
    root = typer.main.get_command(app)
    text = [NOTE, "# Commands\n\nExit codes: 0 pass · 1 fail · 2 usage or invalid input · 3 could not judge.\n"]
    for path, command in commands("weighbridge", root):
        context = click.Context(command, info_name=path)  # type: ignore[arg-type]
        pieces = command.collect_usage_pieces(context)
        usage = " ".join([path, *pieces])
        text.append(
            f"\n## {path.removeprefix('weighbridge ')}\n\n```text\n{usage}\n```\n\n{paragraphs(command.help or '')}\n"
        )
        rows = [row for row in map(option_row, command.params) if row]
        if rows:
            text.append("| argument or option | default | meaning |\n|---|---|---|\n" + "\n".join(rows) + "\n")
    return "\n".join(text)


def commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    """All commands that do something, in the order of `--help`."""
    if not hasattr(command, "list_commands"):
        yield path, command
        return
    for name in command.list_commands(None):
        child = command.get_command(None, name)
        if not child.hidden:
            yield from commands(f"{path} {name}", child)


def option_row(parameter: Any) -> str | None:
    """One argument or option as a row."""
    if parameter.name == "help":
        return None
    is_option = parameter.param_type_name == "option"
    value = f" {parameter.metavar}".replace("|", "\\|") if is_option and parameter.metavar else ""
    names = (
        ", ".join(f"`{name}{value}`" for name in [*parameter.opts, *parameter.secondary_opts])
        if is_option
        else f"`{parameter.metavar}`"
    )
    default = "required" if parameter.required else shown(parameter.default)
    return f"| {names} | {default} | {cell(getattr(parameter, 'help', '') or '')} |"


def shown(default: Any) -> str:
    """A default in a table."""
    if (
        default in (None, "", [], ())
        or callable(default)
        or str(default) == "."
        or "Sentinel" in type(default).__name__
    ):
        return ""
    return "no" if default is False else "yes" if default is True else f"`{cell(default)}`"


def table(section: dict[str, Any], root: dict[str, Any]) -> str:
    """The keys of one object of a schema."""
    required = section.get("required", [])
    rows = []
    for key, value in section.get("properties", {}).items():
        default = (
            "required"
            if key in required
            else f"`{json.dumps(value['default'])}`"
            if "default" in value and value["default"] is not None
            else ""
        )
        if "$ref" in str(value.get("default", "")) or len(default) > 40:
            default = ""
        rows.append(f"| `{key}` | {kind(value, root)} | {default} | {cell(value.get('description', ''))} |")
    return "| key | type | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n" if rows else ""


def kind(value: dict[str, Any], root: dict[str, Any]) -> str:
    """A schema's type in words, with its range."""
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        target = root.get("$defs", {}).get(name, {})
        return name if "properties" in target else kind(target, root)
    if "enum" in value:
        return ", ".join(f"`{item}`" for item in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    for union in ("anyOf", "oneOf"):
        if union in value:
            return " or ".join(dict.fromkeys(kind(item, root) for item in value[union] if item.get("type") != "null"))
    if value.get("type") == "array":
        return f"list of {kind(value.get('items', {}), root)}"
    if value.get("type") == "object":
        inner = value.get("additionalProperties")
        return f"name → {kind(inner, root)}" if isinstance(inner, dict) and inner else "mapping"
    words = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
    limits = [f"{sign} {value[key]:g}" for key, sign in words.items() if key in value]
    return ", ".join([value.get("type", "any"), *limits])


def cell(text: Any) -> str:
    """Text that can stand in a table."""
    return " ".join(str(text).split()).replace("|", "\\|")


def first_paragraph(schema: dict[str, Any]) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join(schema.get("description", "").split("\n\n")[0].split())


def paragraphs(text: str) -> str:
    """A docstring's paragraphs, each on one line."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
