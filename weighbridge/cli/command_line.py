"""The commands by name, each imported when it is called or its own help is asked for.

Importing all of them takes longer than everything else that `--help` does.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from weighbridge.cli.usage import Application, CommandGroup

COMMANDS: Mapping[str, str] = {
    "weigh": "Weigh a candidate against a baseline and exit with the verdict: 0 pass, 1 fail, 3 could not judge.",
    "gate": "Print the verdict of the last pipeline run and exit with its code.",
    "explain": "Show what each step of a recipe does to each layer: shape, parameters, MACs, bytes, before and after.",
    "advise": "Rank recipes for params.yaml by what their files will be, without training, in about a minute.",
    "plan": "List what is to make, weigh and judge, each with a key over what it depends on; or do it.",
    "search": "Search recipes that meet the budgets of params.yaml; print those that hold on examples it did not see.",
    "calibrate": "Weigh a model against itself and slower copies; print and store what the gate can resolve here.",
    "init": "Put the gate into a repository: params.yaml, dvc.yaml, workflows, a registry.",
    "deps": "List files of the repository that stages import and that dvc.yaml does not name as their dependencies.",
    "targets": "Show each target: whether artifacts can be built and weighed here, versions, and what it can quantize.",
    "devices": "Reach every device of params.yaml and show what it is: class, fingerprint, instruction sets, runtimes.",
    "serve": "Serve a model's stable version, and its canary's share, as the registry moves them.",
    "ci": "What the workflows call; the same in any CI system.",
    "registry": "Versions, channels and their history, in plain Git.",
    "stage": "One stage of the pipeline in dvc.yaml, run by hand.",
    "data": "What production teaches the next test set.",
    "transport": "Pack an artifact under zstd for its way over a network; unpack it, verified by its digest.",
}  # fmt: skip
"""Command → the first line of its help."""


class CommandLine(CommandGroup):
    """The group of `COMMANDS`."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  # the signature is the library's
        """Names, in the order of help."""
        return [*COMMANDS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """One command, imported; None for another name."""
        if cmd_name in COMMANDS and cmd_name not in self.commands:
            self.commands[cmd_name] = load(cmd_name)
        return super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command of a command line; for a misspelt one all are imported, to suggest another."""
        if args[0] not in COMMANDS:
            for name in COMMANDS:
                self.get_command(ctx, name)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list in `--help`."""
        TyperGroup(
            name="", commands={name: TyperCommand(name, help=summary) for name, summary in COMMANDS.items()}
        ).format_commands(ctx, formatter)


def load(name: str) -> Any:
    """Import a command from `weighbridge.cli.NAME_command`: its `app`, or its function of that name."""
    module = importlib.import_module(f"weighbridge.cli.{'registry' if name == 'registry' else f'{name}_command'}")
    if hasattr(module, "app"):
        group = typer.main.get_group(module.app)
        group.name = name
        return group
    single = Application(add_completion=False)
    single.command(name)(getattr(module, name))
    return typer.main.get_command(single)
