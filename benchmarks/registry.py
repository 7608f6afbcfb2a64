# ruff: noqa: E402  # imports follow the line that makes the right package importable
"""The registry at scale, beside GTO on a history of the same size; races; kill -9; a full disk.

    python benchmarks/registry.py --json registry.json      # all of it: about ten minutes on an idle machine
    python benchmarks/registry.py --quick                   # the same on small numbers: about a minute

1. *Commands*: whole processes of `weighbridge registry`, at each size over 20 models, the sizes in turn: resolve, list,
   verify, promote (with a bare remote on the same disk). GTO on a repository with as many commits, one version tag
   each and one stage tag for each model, up to `--gto-limit` versions. Medians.
2. *Races*: promoters in as many clones against one bare remote, all at once.
3. *Kills*: promotions, each killed with signal 9: half at a random moment, half before a random effect.
4. *Full disk*: promotions on a small file system that has less and less space: a tmpfs that is mounted for it (root
   only), or `--full-disk FOLDER`, an empty folder on one.

Exits 1 if a bar is missed. What is left out (`--promoters 0`, `--kills 0`, `--gto ""`, `--full-disk none`) is no bar.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

# This file has the name of the package that it measures: its own folder must not come first.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.registry import project as made
from weighbridge.core.errors import StateError
from weighbridge.core.files import dump_yaml, sha256_bytes
from weighbridge.core.git import Git
from weighbridge.core.strict_yaml import parse_yaml
from weighbridge.registry.lifecycle.promote import PromotionRequest, promote
from weighbridge.registry.lookup.resolve import stable_or_none
from weighbridge.registry.state import rollout
from weighbridge.registry.state.events import Event, NewRecord
from weighbridge.registry.state.layout import MODELS, channels_path, event_path, version_path
from weighbridge.registry.state.records import NO_EVENT, Channels, Head, VersionRecord
from weighbridge.registry.state.store import Store, render
from weighbridge.registry.state.tip import Settings
from weighbridge.registry.trust.verify import verify_models

MODEL_COUNT = 20
COMMAND = (sys.executable, "-m", "weighbridge", "registry")
Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what was asked and print a table."""
    options = read_options(arguments)
    os.environ.update(GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_SYSTEM="/dev/null", PYTHONPATH=str(ROOT))
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="registry-") as folder:
        work = Path(folder)
        rows = commands(work, options.sizes, options.repeats, Gto(options.gto, options.gto_limit))
        rows += races(work / "races", options.promoters) if options.promoters else []
        rows += kills(work / "kills", options.kills) if options.kills else []
    if options.full_disk != "none":
        with small_disk(options.full_disk) as mount:
            rows += full_disk(mount, options.refusals)
    rows.append(row("the whole benchmark", time.perf_counter() - begin, "s"))
    print(table(rows))
    met = all(item["met"] is not False for item in rows)
    if options.json:
        judged = [item for item in rows if item["bar"]]
        bars = {item["name"]: {"value": item["value"], "target": item["bar"], "met": item["met"]} for item in judged}
        options.json.write_text(json.dumps({"rows": rows, "bars": bars}, indent=2) + "\n")
    raise SystemExit(0 if met else 1)


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; `--quick` sets what was not given."""
    beside = Path(sys.executable).with_name("gto")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small numbers, to see that it runs")
    parser.add_argument("--sizes", type=int, nargs="+", help="versions; default: 100 1000 2000 10000")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--gto", default=str(beside) if beside.exists() else "gto", help="empty: leave it out")
    parser.add_argument("--gto-limit", type=int, default=2000, help="no GTO beyond that many versions")
    parser.add_argument("--promoters", type=int, help="default: 20")
    parser.add_argument("--kills", type=int, help="default: 200")
    parser.add_argument("--full-disk", default="mount", help="an empty folder on a small file system, mount, or none")
    parser.add_argument("--refusals", type=int, help="promotions on the full disk; default: 60")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    usual = {"sizes": [20, 100], "promoters": 4, "kills": 10, "refusals": 10} if options.quick else FULL
    for name, value in usual.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


FULL = {"sizes": [100, 1000, 2000, 10_000], "promoters": 20, "kills": 200, "refusals": 60}
PROMOTED = [f"new{number}" for number in range(5)]
"""Recipes whose promotion is timed."""


class Gto(NamedTuple):
    """GTO's program (empty: it is left out), and the number of versions beyond which it takes minutes."""

    program: str
    limit: int

    def takes(self, size: int) -> bool:
        """Whether it is run at that size."""
        return bool(self.program) and size <= self.limit


def commands(work: Path, sizes: Sequence[int], repeats: int, gto: Gto) -> list[Row]:
    """Time whole processes on registries of these sizes over 20 models."""
    roots = {size: prepare(work / str(size), size) for size in sizes}
    resolves: dict[int, list[Seconds]] = {size: [] for size in sizes}
    lists: dict[int, list[Seconds]] = {size: [] for size in sizes}
    for _ in range(repeats):
        for size, root in roots.items():
            resolves[size].append(timed([*COMMAND, "resolve", f"{made.MODEL}@stable"], root))
            lists[size].append(timed([*COMMAND, "list"], root))
    rows: list[Row] = []
    for size, root in roots.items():
        resolve = median(resolves[size])
        rows += [
            row(f"resolve, {size} versions", resolve, "s", "<= 0.3", met=resolve <= 0.3),
            row(f"list, {size} versions", median(lists[size]), "s"),
            *changing(root, size),
            *(beside(work / f"gto-{size}", size, gto.program, resolve) if gto.takes(size) else []),
        ]
    if len(sizes) > 1:
        small, large = min(sizes), max(sizes)
        growth = quotient(median(resolves[large]), median(resolves[small]))
        rows.append(row(f"resolve at {large} over {small} versions", growth, "times", "<= 1.3", met=growth <= 1.3))
    return rows


def prepare(work: Path, size: int) -> Path:
    """A registry with a remote on the same disk."""
    root, bare = work / "project", work / "remote.git"
    build(root, size)
    made.git(work, "clone", "-q", "--bare", str(root), str(bare))
    made.git(root, "remote", "add", "origin", str(bare))
    made.git(root, "fetch", "-q", "origin")
    return root


def changing(root: Path, size: int) -> list[Row]:
    """Verify everything, then promote."""
    events = sum(1 for _ in (root / MODELS).glob("*/events/*"))
    checked = timed([*COMMAND, "verify"], root)
    promoted = median([timed([*COMMAND, "promote", recipe], root) for recipe in PROMOTED])
    met = checked <= 10 if size >= 10_000 else None
    return [
        row(f"verify, {events} events", checked, "s", "<= 10" if met is not None else "", met=met),
        row(f"promote, {size} versions", promoted, "s", "<= 2", met=promoted <= 2),
    ]


def beside(root: Path, size: int, gto: str, resolve: Seconds) -> list[Row]:
    """GTO's time for the same, and how many times ours that is."""
    build_gto(root, size)
    other = median([timed([gto, "show", f"{made.MODEL}#prod"], root) for _ in range(2)])
    faster = quotient(other, resolve)
    met = faster >= 50 if size >= 2000 else None
    return [
        row(f"GTO show model#stage, {size} versions", other, "s"),
        row(f"GTO show, {size} versions", timed([gto, "show"], root), "s"),
        row(f"GTO register, {size} versions", timed([gto, "register", "another"], root), "s"),
        row(
            f"GTO's time to resolve over ours, {size} versions",
            faster,
            "times",
            ">= 50" if met is not None else "",
            met=met,
        ),
    ]


def quotient(one: Seconds, other: Seconds) -> Seconds:
    """How many times `other` is in `one`, by the wall and by the processor."""
    result = Seconds(one / other)
    result.cpu = one.cpu / other.cpu
    return result


class Seconds(float):
    """Wall time of a process, and the processor time that it and its children used: the latter barely depends on
    what else the machine does.
    """

    cpu: float


def timed(command: Sequence[str], where: Path) -> Seconds:
    """How long a process takes; one that fails ends the benchmark."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
    seconds, after = Seconds(time.perf_counter() - begin), resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds.cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed: {done.stderr[-2000:]}")
    return seconds


def median(times: Sequence[Seconds]) -> Seconds:
    """The medians of wall and of processor time."""
    middle = Seconds(statistics.median(times))
    middle.cpu = statistics.median(item.cpu for item in times)
    return middle


def build(root: Path, size: int) -> None:
    """A project whose registry has `size` versions over 20 models, one commit each, written by `git fast-import`."""
    made.STEPS.update({name: [{"quantize": {"scheme": "fp16"}}] for name in PROMOTED})
    made.make_repository(root)
    made.write_run(root, recipes=tuple(PROMOTED))
    first = made.commit_all(root)
    template = sample_record(root.parent / "sample")
    names = [made.MODEL, *(f"model-{number:02d}" for number in range(1, MODEL_COUNT))]
    states = {name: Channels(model=name) for name in names}
    stream = subprocess.Popen(["git", "fast-import", "--quiet"], cwd=root, stdin=subprocess.PIPE)
    assert stream.stdin is not None
    for number in range(size):
        name = names[number % MODEL_COUNT]
        states[name], files = grow(states[name], template, number)
        stream.stdin.write(commit_stream(files, first if number == 0 else None, number))
    stream.stdin.close()
    if stream.wait() != 0:
        raise SystemExit("git fast-import failed")
    made.git(root, "reset", "-q", "--hard", "main")


def sample_record(root: Path) -> dict[str, Any]:
    """A record as a real promotion writes it."""
    made.make_repository(root)
    made.write_run(root)
    made.commit_all(root)
    promote(root, PromotionRequest("int8"))
    where = version_path(made.MODEL, "v1")
    content = parse_yaml((root / where).read_text(), where)
    assert isinstance(content, dict)
    return content


def grow(channels: Channels, template: dict[str, Any], number: int) -> tuple[Channels, dict[str, bytes]]:
    """One promotion more: the new state and the files that it writes."""
    model, version = channels.model, f"v{channels.versions + 1}"
    digest = sha256_bytes(str(number).encode())
    event_number = channels.head.event + 1 if channels.head else 1
    artifact = {**template["artifacts"][0], "digest": digest}
    own = {"model": model, "version": version, "event": event_number, "artifacts": [artifact]}
    record = VersionRecord.model_validate({**template, **own})
    data = render_fast(record)
    entry = NewRecord(version=version, digest=digest, record=sha256_bytes(data))
    event = Event(
        number=event_number,
        model=model,
        kind="promoted",
        at="2026-11-01T00:00:00Z",
        by="Test <test@example.org>",
        records=[entry],
        target={"version": version, "digest": digest, "record": entry.record},
        previous=channels.head.digest if channels.head else NO_EVENT,
    )
    folded = rollout.apply(channels, event)
    event = event.model_copy(update={"after": rollout.after(folded), "state": folded.digest()})
    event_data = render_fast(event)
    folded = folded.model_copy(update={"head": Head(event=event_number, digest=sha256_bytes(event_data))})
    return folded, {
        version_path(model, version): data,
        event_path(model, event_number): event_data,
        channels_path(model): render(folded),
    }


def render_fast(document: VersionRecord | Event) -> bytes:
    """As `render`, for documents whose bytes only need a digest: JSON is YAML too, but this is what YAML looks like."""
    try:
        from yaml import CSafeDumper, dump
    except ImportError:
        return dump_yaml(document.to_json()).encode()
    text = dump(document.to_json(), Dumper=CSafeDumper, sort_keys=False, allow_unicode=True, width=110)
    assert isinstance(text, str)
    return text.encode()


def commit_stream(files: dict[str, bytes], parent: str | None, number: int) -> bytes:
    """One commit in fast-import's format."""
    parts = [
        b"commit refs/heads/main\ncommitter Test <test@example.org> %d +0000\ndata 1\nx\n" % (1_790_000_000 + number)
    ]
    if parent:
        parts.append(f"from {parent}\n".encode())
    for path, data in files.items():
        parts.append(f"M 100644 inline {path}\ndata {len(data)}\n".encode() + data + b"\n")
    return b"".join(parts) + b"\n"


def build_gto(root: Path, size: int) -> None:
    """A repository with as many commits, each with GTO's version tag, and a stage tag on each model's newest."""
    made.make_repository(root)
    commits = [f"commit refs/heads/main\nmark :{n + 1}\ncommitter T <t@e.org> {1_790_000_000 + n} +0000\ndata 1\nx\n"
               f"M 100644 inline f\ndata {len(str(n))}\n{n}\n\n" for n in range(size)]  # fmt: skip
    names = [made.MODEL, *(f"model-{number:02d}" for number in range(1, MODEL_COUNT))]
    tags = []
    for n in range(size):
        name, version = names[n % MODEL_COUNT], n // MODEL_COUNT + 1
        tags.append(tag(f"{name}@v{version}.0.0", n + 1, 1_790_000_000 + n))
        if n >= size - MODEL_COUNT:
            tags.append(tag(f"{name}#prod#1", n + 1, 1_790_000_000 + n))
    text = "".join(commits + tags)
    subprocess.run(["git", "fast-import", "--quiet"], cwd=root, input=text.encode(), check=True)
    made.git(root, "reset", "-q", "--hard", "main")


def tag(name: str, mark: int, at: int) -> str:
    """One annotated tag in fast-import's format."""
    return f"tag {name}\nfrom :{mark}\ntagger T <t@e.org> {at} +0000\ndata 1\nx\n"


def many_recipes(root: Path, count: int) -> list[str]:
    """A committed pipeline run with that many recipes that passed."""
    names = [f"r{number:03d}" for number in range(count)]
    made.STEPS.update({name: [{"quantize": {"scheme": "fp16"}}] for name in names})
    made.make_repository(root)
    made.write_run(root, recipes=tuple(names))
    made.commit_all(root)
    return names


def races(work: Path, count: int) -> list[Row]:
    """Everybody promotes at once; every accepted event must be there exactly once, in one chain."""
    source = work / "source"
    names = many_recipes(source, count)
    bare = work / "remote.git"
    made.git(work, "clone", "-q", "--bare", str(source), str(bare))
    clones = [clone(source, bare, work / name) for name in names]
    begin = time.perf_counter()
    processes = [
        subprocess.Popen(
            [*COMMAND, "promote", name, "--json"], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for name, root in zip(names, clones, strict=True)
    ]
    answers = [process.communicate() for process in processes]
    seconds = time.perf_counter() - begin
    accepted = [
        json.loads(out) for (out, _), process in zip(answers, processes, strict=True) if process.returncode == 0
    ]
    told = sum(
        process.returncode == 2 and b"error:" in err for (_, err), process in zip(answers, processes, strict=True)
    )
    (checked,) = verify_models(clone(source, bare, work / "fresh"))
    numbers = sorted(answer["event"]["number"] for answer in accepted)
    sound = numbers == list(range(1, checked.events + 1)) and len(accepted) + told == count
    attempts = sorted(answer["attempts"] for answer in accepted)
    return [
        row(
            f"races: accepted of {count} promoters",
            len(accepted),
            "promotions",
            "each event once, chain intact",
            met=sound,
        ),
        row("races: losers told", told, "promotions"),
        row("races: attempts, median and most", statistics.median(attempts), f"(most {attempts[-1]})"),
        row("races: all done after", seconds, "s"),
    ]


def clone(source: Path, bare: Path, root: Path) -> Path:
    """A clone with what the pipeline made."""
    made.git(root.parent, "clone", "-q", str(bare), str(root))
    made.identify(root, root.name, f"{root.name}@example.org")
    for folder in ("artifacts", "measurements"):
        shutil.copytree(source / folder, root / folder)
    return root


def kills(work: Path, count: int) -> list[Row]:
    """Promotions killed at random; after each, the state is the one before or the one after."""
    root = work / "project"
    names = many_recipes(root, count + 1)
    usual = timed([*COMMAND, "promote", names[0], "--no-push"], root)
    effects = count_effects(root, names[1])
    generator = random.Random(1)
    found = {"before": 0, "after": 0, "between": 0, "finished": 0}
    for position, name in enumerate(names[2:]):
        before = len(events(root))
        seen_before = stable_or_none(root, made.MODEL)
        if position % 2:
            code = run_and_kill([*COMMAND, "promote", name, "--no-push"], root, generator.uniform(0.3, 1.6) * usual)
        else:
            # Between any two effects on files and processes: this covers what a clock on a busy machine misses.
            code = die(root, name, generator.randint(1, effects))
        found["finished"] += code == 0
        found[state_after(root, before, seen_before)] += 1
    sound = found["between"] == 0
    return [row(f"kill -9: between, of {count - 1} promotions", found["between"], "promotions", "0", met=sound)] + [
        row(f"kill -9: {name}", found[name], "promotions") for name in ("before", "after", "finished")
    ]


def count_effects(root: Path, name: str) -> int:
    """How many processes, links and renames a promotion starts or makes: one that is let through counts them."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(_count, (root, name))


def _count(root: Path, name: str) -> int:
    calls = 0

    def seen() -> None:
        nonlocal calls
        calls += 1

    _promote_watched(root, name, seen)
    return calls


def die(root: Path, name: str, deadly: int) -> int:
    """A process that promotes and dies by signal 9 before its n-th effect; its exit code."""
    calls = 0

    def seen() -> None:
        nonlocal calls
        calls += 1
        if calls == deadly:
            os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=_promote_watched, args=(root, name, seen))
    process.start()
    process.join()
    return int(process.exitcode or 0)


def _promote_watched(root: Path, name: str, seen: Callable[[], None]) -> None:
    """Promote, and call `seen` before each effect. For a process of its own: it changes the standard library."""

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            seen()
            return function(*arguments, **more)

        return call

    subprocess.run, os.link = watched(subprocess.run), watched(os.link)
    Path.replace = watched(Path.replace)  # type: ignore[method-assign]
    promote(root, PromotionRequest(name), settings=Settings(push=False))


def run_and_kill(command: Sequence[str], where: Path, after: float) -> int:
    """Run a command and kill it after some seconds; its exit code."""
    process = subprocess.Popen(command, cwd=where, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return process.wait(after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        return process.wait()


def state_after(root: Path, before: int, seen_before: object) -> str:
    """`before`, `after` or `between`: what a reader saw at once, and what a command found and mended."""
    seen = stable_or_none(root, made.MODEL)
    Store(root).repair()
    mended = stable_or_none(root, made.MODEL)
    count = len(events(root))
    (checked,) = verify_models(root)
    clean = Git(root).dirty() == []
    if not clean or checked.events != count or seen not in (seen_before, mended) or count not in (before, before + 1):
        return "between"
    return "after" if count > before else "before"


def events(root: Path) -> list[Path]:
    """Event files of the model."""
    return sorted((root / MODELS / made.MODEL / "events").glob("*.yaml"))


@contextmanager
def small_disk(where: str) -> Iterator[Path]:
    """A folder on a small file system: the one that was named, or a tmpfs that is mounted for the while."""
    if where != "mount":
        yield Path(where)
        return
    with tempfile.TemporaryDirectory(prefix="registry-disk-") as folder:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", folder], check=False)
        if done.returncode != 0:
            raise SystemExit("a small file system cannot be mounted here: name one with --full-disk, or none")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


LARGEST_LEFT = 160_000
"""Bytes: enough for a promotion."""


def full_disk(mount: Path, count: int) -> list[Row]:
    """Promote with less and less space; each must end before or after, and succeed again with space."""
    root = mount / "project"
    names = many_recipes(root, count)
    promote(root, PromotionRequest(names[0]), settings=Settings(push=False))
    found = {"before": 0, "after": 0, "between": 0}
    refused = 0
    for position, name in enumerate(names[1:]):
        before, seen = len(events(root)), stable_or_none(root, made.MODEL)
        with filled(mount, leave=position * LARGEST_LEFT // count):
            try:
                promote(root, PromotionRequest(name), settings=Settings(push=False))
            except (StateError, OSError):
                refused += 1
        found[state_after(root, before, seen)] += 1
    return [
        row(
            f"full disk: between, of {count - 1} promotions",
            found["between"],
            "promotions",
            "0",
            met=not found["between"],
        ),
        row("full disk: refused for want of space", refused, "promotions"),
        row("full disk: before", found["before"], "promotions"),
        row("full disk: after", found["after"], "promotions"),
    ]


class filled:  # noqa: N801  # used as a verb in `with`
    """A file system with `leave` bytes of space, rounded to its blocks."""

    def __init__(self, mount: Path, leave: int) -> None:
        self.ballast, self.leave = mount / "ballast", leave

    def __enter__(self) -> None:
        space = os.statvfs(self.ballast.parent)
        with self.ballast.open("wb") as file:
            file.write(b"0" * max(0, space.f_bavail * space.f_frsize - self.leave))

    def __exit__(self, *_: object) -> None:
        self.ballast.unlink()


def row(name: str, value: float, unit: str, bar: str = "", *, met: bool | None = None) -> Row:
    """One figure, with the bar that it has to keep."""
    return {"name": name, "value": value, "cpu": getattr(value, "cpu", None), "unit": unit, "bar": bar, "met": met}


def table(rows: list[Row]) -> str:
    """The rows in markdown."""
    return "\n".join(_lines(rows))


def _lines(rows: list[Row]) -> Iterator[str]:
    yield "| what | wall | processor | unit | bar | met |"
    yield "|---|---|---|---|---|---|"
    for item in rows:
        met: Callable[[Any], str] = {True: "yes", False: "NO", None: ""}.__getitem__
        cpu = "" if item["cpu"] is None else f"{item['cpu']:.3g}"
        yield f"| {item['name']} | {item['value']:.3g} | {cpu} | {item['unit']} | {item['bar']} | {met(item['met'])} |"


if __name__ == "__main__":
    main()
