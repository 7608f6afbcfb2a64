"""The shape of the code: sizes of modules and functions, circles, contracts, words, and what the wheel installs.

    python benchmarks/house.py --json house.json

Everything is read from the source, in seconds; nothing of it is imported. Two rows run something: the wheel is built
and listed, and `weighbridge --help` is timed beside `dvc --version`, whole processes in turns, medians of seven.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
import tokenize
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grimp
from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("compress", "gate", "registry", "search", "serve")
BEFORE = 33_767
"""Product lines before everything moved under one import name: commit 40de5d3."""
PRIVATE_WORDS = (
    "noisy", "turn", "lost", "questions", "tally", "alone", "outcomes", "hostile", "handover", "wording",
)  # fmt: skip
NAMES_OF_OTHERS = {"connection_lost"}
"""Methods that a library calls by this name: asyncio's."""
SINGLE_FACTS = {
    "direction of a budget rule": (r"startswith\(\"(max|min)", ()),
    "scale of a budget rule": (r"\"ratio\" in", ()),
    "suffixes of targets": (r"\"\.(tflite|pte)\"", ("core/facts/targets.py",)),
    "file name of the lock": (r"\"dvc\.lock\"", ("core/",)),
    "file name of the parameters": (r"= \"params\.yaml\"", ("core/",)),
    "merge base": (r"\"merge-base\"", ("core/git.py", "ci/")),
    "Pareto front": (r"def _?pareto", ("core/",)),
    "markdown escaper": (r"def _?escape", ("core/",)),
    "progress": (r"class Progress\(", ("core/progress.py",)),
}
"""What must be written in one place: a pattern in the source, and where it may stand beside its first place."""


def sources() -> list[Path]:
    """The product's modules, each once: the rooms at the top, and the rest of the package without its links."""
    package = [path for path in (ROOT / "weighbridge").iterdir() if not path.is_symlink()]
    folders = [ROOT / room for room in ROOMS] + [path for path in package if path.is_dir()]
    found = [file for folder in folders for file in folder.rglob("*.py")]
    return sorted(found + [path for path in package if path.suffix == ".py"])


def functions(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Name and lines of each function."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, int(node.end_lineno or node.lineno) - node.lineno + 1


def circles() -> list[list[str]]:
    """Sets of modules that import each other in a loop (Tarjan's strongly connected components, by rounds).

    A module is in a circle exactly if it imports itself over others.
    """
    graph = grimp.build_graph("weighbridge")
    reach = {name: graph.find_upstream_modules(name) for name in graph.modules}
    tied = {name for name, above in reach.items() if any(name in reach.get(other, ()) for other in above)}
    found: list[list[str]] = []
    while tied:
        name = min(tied)
        circle = sorted(other for other in tied if other in reach[name] and name in reach[other]) or [name]
        found.append(circle)
        tied -= {*circle, name}
    return found


def broken_contracts() -> int:
    """Contracts of import-linter that do not hold."""
    command = [str(Path(sys.executable).with_name("lint-imports"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    counted = re.search(r"Contracts: \d+ kept, (\d+) broken", done.stdout)
    if counted is None:
        sys.exit(f"lint-imports gave no count: {done.stdout[-400:]}{done.stderr[-400:]}")
    return int(counted[1])


def private_words(paths: list[Path]) -> list[str]:
    """Identifiers and file names that contain a word of the rename list."""
    found = []
    for path in paths:
        names = {path.stem} | {
            token.string
            for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
            if token.type == tokenize.NAME
        }
        for name in sorted(names - NAMES_OF_OTHERS):
            words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
            if set(words) & set(PRIVATE_WORDS):
                found.append(f"{path.relative_to(ROOT)}: {name}")
    return found


def repeated_facts(paths: list[Path]) -> list[str]:
    """Places of a fact beyond those where it belongs."""
    found = []
    for fact, (pattern, homes) in SINGLE_FACTS.items():
        places = [path for path in paths if re.search(pattern, path.read_text())]
        beyond = [path for path in places if not any(home in path.as_posix() for home in homes)]
        found += [f"{fact}: {path.relative_to(ROOT)}" for path in (beyond if homes else beyond[1:])]
    return found


def in_the_wheel() -> list[str]:
    """Top-level names that the wheel installs, beside its metadata."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, str(ROOT)]
        subprocess.run(command, check=True)
        (wheel,) = Path(folder).glob("*.whl")
        names = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    return sorted(name for name in names if not name.endswith((".dist-info", ".data")))


def start_ratio(times: int = 7) -> float:
    """Median time of `weighbridge --help` over that of `dvc --version`, processes in turns, after one of each."""
    bench = Path(sys.executable)
    commands = ([str(bench.with_name("weighbridge")), "--help"], [str(bench.with_name("dvc")), "--version"])
    seen: tuple[list[float], list[float]] = ([], [])
    for machine_lock in range(times + 1):
        for kind, command in enumerate(commands):
            begin = time.perf_counter()
            subprocess.run(command, capture_output=True, check=True, cwd=ROOT)
            if machine_lock:
                seen[kind].append(time.perf_counter() - begin)
    return statistics.median(seen[0]) / statistics.median(seen[1])


def entries(room: str) -> int:
    """Modules and packages at a room's root, without its `__init__`."""
    inside = (ROOT / room).iterdir()
    return sum(path.suffix == ".py" or (path / "__init__.py").exists() for path in inside if path.name != "__init__.py")


def figures() -> list[tuple[str, Any, str, bool, list[str]]]:
    """Name, value, target, whether it is met, and the places that a miss names."""
    paths = sources()
    lines = {path: len(path.read_text().splitlines()) for path in paths}
    long = {
        f"{path.relative_to(ROOT)}: {name}": size
        for path in paths
        for name, size in functions(ast.parse(path.read_text()))
    }
    median, longest, total = statistics.median(lines.values()), max(lines.values()), sum(lines.values())
    words, facts, loops, wheel = private_words(paths), repeated_facts(paths), circles(), in_the_wheel()
    roots = {room: entries(room) for room in ROOMS}
    broken, ratio = broken_contracts(), start_ratio()
    over = [f"{path.relative_to(ROOT)}: {size}" for path, size in lines.items() if size > 300]
    return [
        ("modules, median lines", median, "<= 100", median <= 100, []),
        ("modules, longest", longest, "<= 300", longest <= 300, over),
        ("functions, longest", max(long.values()), "<= 45", max(long.values()) <= 45,
         [f"{name}: {size}" for name, size in long.items() if size > 45]),
        ("circles", len(loops), "0", not loops, [" <-> ".join(loop) for loop in loops]),
        ("broken contracts", broken, "0", broken == 0, []),
        ("top-level names in the wheel", len(wheel), "1", wheel == ["weighbridge"], wheel),
        ("facts in more than one place", len(facts), "0", not facts, facts),
        ("entries at a room's root, most", max(roots.values()), "<= 12", max(roots.values()) <= 12, [str(roots)]),
        ("private words in identifiers", len(words), "0", not words, words),
        ("product lines", total, f"< {BEFORE}", total < BEFORE, []),
        ("--help over dvc --version", round(ratio, 2), "<= 0.75", ratio <= 0.75, []),
    ]  # fmt: skip


def main() -> None:
    """Print the table; name what misses a bar."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--json", type=Path, help="write rows and bars to this file")
    chosen = parser.parse_args()
    found = figures()
    print(tabulate([(name, value, target, "yes" if met else "NO") for name, value, target, met, _ in found],
                   headers=["figure", "value", "target", "met"]))  # fmt: skip
    for name, _, _, met, places in found:
        if not met and places:
            print(f"\n{name}:", *places, sep="\n  ")
    if chosen.json:
        rows = [{"figure": name, "value": value, "places": places} for name, value, _, _, places in found]
        bars = {name: {"value": value, "target": target, "met": met} for name, value, target, met, _ in found}
        chosen.json.write_text(json.dumps({"rows": rows, "bars": bars}, indent=2) + "\n")


if __name__ == "__main__":
    main()
