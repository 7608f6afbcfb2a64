"""What help and usage errors look like, for every command."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from weighbridge import __version__
from weighbridge.cli import app, command_line
from weighbridge.cli.usage import RENAMED, renamed

CHOICES = "'smallest', 'fastest', 'most-accurate'"
PROGRAM = Path(sys.executable).parent / "weighbridge"


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with its words."""
    if not hasattr(command, "list_commands"):
        yield path, command
        return
    for name in command.list_commands(None):
        yield from leaves(command.get_command(None, name), (*path, name))


def test_the_list_of_commands_says_what_each_says_of_itself() -> None:
    """Help lists commands without importing them: name and summary are the command's own, and none is left out."""
    for name, summary in command_line.COMMANDS.items():
        command = command_line.load(name)
        assert (command.name, command.help.splitlines()[0]) == (name, summary)
    modules = {path.stem for path in Path(command_line.__file__).parent.glob("*_command.py")}
    assert modules == {f"{name}_command" for name in command_line.COMMANDS.keys() - {"registry"}}


def test_help_imports_no_command() -> None:
    """What help takes is Python and typer."""
    script = "import sys; from weighbridge.cli import app; app(['--help'], standalone_mode=False); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "weighbridge.cli.command_line" in done.stdout.splitlines()[-1].split()
    assert "weighbridge.cli.weigh_command" not in done.stdout.splitlines()[-1].split()


COMMANDS = dict(leaves(typer.main.get_command(app)))


def run(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, *words], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_names_values_by_placeholders_that_people_know(words: tuple[str, ...]) -> None:
    """No Python types, no braces, no lower-case argument names."""
    command = COMMANDS[words]
    context = command.make_context(" ".join(words), [], resilient_parsing=True)
    text = command.get_help(context)
    usage = text.splitlines()[0]
    assert re.fullmatch(r"Usage: [a-z -]+ \[OPTIONS\]( \[?[A-Z_]+(\.\.\.)?\]?)*", usage), usage
    assert not re.search(r"<\w|list\[|\bstr\b|int range", text)
    for parameter in command.params:
        assert parameter.metavar or parameter.is_flag, parameter.name


def test_choices_are_shown_and_checked() -> None:
    """`--select` is the same word with the same choices wherever a recipe is chosen."""
    found = [item.metavar for command in COMMANDS.values() for item in command.params if "--select" in item.opts]
    assert found == ["smallest|fastest|most-accurate"] * 3


def test_remote_is_the_git_remote_everywhere() -> None:
    """DVC's has another name."""
    for words, command in COMMANDS.items():
        for item in command.params:
            if "--remote" in item.opts:
                assert item.metavar == "GIT_REMOTE", words


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["weigh", "--budgts"], "no such option: --budgts; did you mean --budgets? (see weighbridge weigh --help)"),
        (["regstry"], "no such command 'regstry'. Did you mean 'registry'? (see weighbridge --help)"),
        (["registry", "canary", "judgs"],
         "no such command 'judgs'. Did you mean 'judge'? (see weighbridge registry canary --help)"),
        (["weigh"], "missing argument 'BASELINE' (see weighbridge weigh --help)"),
        (["init", "--select", "cheap"],
         f"invalid value for '--select': 'cheap' is not one of {CHOICES} (see weighbridge init --help)"),
        (["weigh", "a", "b", "--data", "d", "--threads", "0"],
         "invalid value for '--threads': Input should be greater than or equal to 1 (see weighbridge weigh --help)"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_line(words: list[str], line: str) -> None:
    """What is wrong, the closest spelling, where help is; exit code 2."""
    done = run(*words)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"weighbridge: error: {line}\n")


def test_no_command_prints_help_as_a_usage_error() -> None:
    """On standard error, so that a script's pipe stays empty."""
    done = run()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: weighbridge [OPTIONS] COMMAND")


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_the_version(option: str) -> None:
    """Long and short."""
    done = run(option)
    assert (done.returncode, done.stdout) == (0, f"weighbridge {__version__}\n")


def test_exit_codes_of_commands_reach_the_shell(tmp_path: Path) -> None:
    """`ci params` ends with 2 through `typer.Exit`."""
    (tmp_path / "params.yaml").write_text("model: 1\n")
    assert run("ci", "params", "params.yaml", cwd=tmp_path).returncode == 2


def test_old_spellings_still_work_with_a_note(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Each becomes what it is now; a value that looks like one behind `--` stays."""
    assert renamed("registry promote", ["--smallest", "--no-push"]) == ["--select", "smallest", "--no-push"]
    assert renamed("init", ["--remote=s3://b", "--", "--remote"]) == ["--dvc-remote=s3://b", "--", "--remote"]
    assert renamed("registry gc", ["--dry-run", "--json"]) == ["--json"]
    assert renamed("registry promote", ["--remote", "origin"]) == ["--remote", "origin"]
    assert "registry gc: --dry-run is no longer needed" in capsys.readouterr().err
    done = run("registry", "promote", "--fastest", cwd=tmp_path)
    assert "note: registry promote: --fastest is now --select fastest" in done.stderr
    assert "no params.yaml in this folder" in done.stderr


def test_what_a_renamed_option_is_now_exists() -> None:
    """And the old spelling is no option of today."""
    for command, table in RENAMED.items():
        known = {name for item in COMMANDS[tuple(command.split())].params for name in item.opts}
        for old, new in table.items():
            assert old not in known
            assert not new or new[0] in known
