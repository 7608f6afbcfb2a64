"""What a search found, for people and programs: only confirmed recipes, what was predicted beside what holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from weighbridge.core.documents import Params, RecipeSection
from weighbridge.core.documents.shared_budgets import content_of
from weighbridge.core.errors import StateError
from weighbridge.core.files import atomic_write, write_json
from weighbridge.core.formatting import percent, quantity, span
from weighbridge.core.project import PARAMS
from weighbridge.search.advise import flow, one_line
from weighbridge.search.front.pictures import write_pictures
from weighbridge.search.run import Found
from weighbridge.search.trials.confirm import Confirmed
from weighbridge.search.trials.other_devices import DeviceThere
from weighbridge.search.trials.trial import Outcome


def recipes(found: Found) -> dict[str, dict[str, Any]]:
    """Confirmed recipes as sections of `params.yaml`, by name."""
    chosen = {}
    for item, outcome in _confirmed(found):
        name = f"found-{found.goal or 'front'}-{item.number}"
        chosen[name] = {
            "target": found.space.target,
            "steps": found.space.steps(outcome.point, outcome.last.epochs),
            **({"budgets": found.own_budgets} if found.own_budgets else {}),
        }
    return chosen


def as_json(found: Found) -> dict[str, Any]:
    """Everything of a search."""
    rows = []
    for number, outcome in found.tried:
        timing = outcome.timing
        rows.append(
            {
                "number": number,
                "values": found.space.values(outcome.point),
                "ended": outcome.ended,
                "rungs": [vars(rung) for rung in outcome.rungs],
                "bytes_at_most": outcome.bytes_at_most,
                "ratio": timing.ratio if timing else None,
            }
        )
    return {
        "goal": found.goal,
        "target": found.space.target,
        "baseline": found.baseline.model_dump(),
        "limit": found.limit,
        "trials": rows,
        "failed": found.failed,
        "confirmed": [item.to_json() for item in found.confirmed],
        "recipes": recipes(found),
        "elsewhere": [item.to_json() for item in found.elsewhere],
        "importance": found.importance,
        "remarks": list(found.remarks),
        "obstacle": found.obstacle,
    }


def as_text(found: Found) -> str:
    """For a terminal: confirmed recipes, predicted beside confirmed, and what did not hold."""
    lines = []
    for item, outcome in _confirmed(found):
        lines += [_headline(item, outcome, found), *_details(item, outcome), "   steps:"]
        lines += [f"     - {line}" for line in flow(found.space.steps(outcome.point, outcome.last.epochs))]
    held = sum(item.holds for item in found.confirmed)
    ended = [outcome.ended for _, outcome in found.tried]
    lines.append(
        f"{len(found.tried)} recipes tried ({ended.count('dominated')} dominated, {ended.count('hopeless')} that lost "
        f"too much after some training, {ended.count('budget')} beyond a budget by their file), {len(found.failed)} "
        f"failed; {held} of {len(found.confirmed)} of the front confirmed on examples that the search did not see, the "
        f"number of looks corrected for (Holm, 5 %)."
    )
    lines += [f"Not confirmed: trial {item.number}: {item.reason}." for item in found.confirmed if not item.holds]
    for other in found.elsewhere:
        lines += on_device(other)
    lines += list(found.remarks)
    if found.interrupted:
        lines.append("Interrupted; the journal is kept: `weighbridge search resume` goes on.")
    return "\n".join(lines) + "\n"


def on_device(other: DeviceThere) -> list[str]:
    """The confirmed recipes on one other device, and how much of what was gained is lost there."""
    if other.reason:
        return [f"On {other.device}: not weighed: {other.reason}."]
    kept = "" if other.kept is None else f": {percent(max(1 - other.kept, 0))} of the gain here is lost there"
    lines = [f"On {other.device}{kept}."]
    for item in other.recipes:
        there = f"{quantity(item.ratio, 'ratio')} ({span(item.ratio_lower, item.ratio_upper, 'ratio')})"
        text = f"   trial {item.number}: latency {there}, here {quantity(item.ratio_here, 'ratio')}"
        broken = f"; may not keep a budget: {'; '.join(item.broken)}" if item.broken else ""
        lines.append(f"{text}; {quantity(item.drop, 'points')} lost{broken}")
    return lines


def write_results(found: Found) -> Path:
    """`results.json` beside the journal, `trials.csv` for `dvc plots`, pictures and a page of them."""
    write_json(found.folder / "results.json", as_json(found))
    lines = ["trial,bytes,ratio,drop,epochs,ended"]
    for number, outcome in found.tried:
        ratio = f"{outcome.timing.ratio:.4f}" if outcome.timing else ""
        last = outcome.last
        lines.append(f"{number},{last.bytes},{ratio},{last.drop:.5f},{last.epochs},{outcome.ended}")
    atomic_write(found.folder / "trials.csv", ("\n".join(lines) + "\n").encode())
    write_pictures(found.folder, as_json(found), as_text(found))
    return found.folder / "results.json"


def write_recipes(root: Path, added: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Add recipes to `params.yaml`, its comments and order kept; the names that they got.

    Raises `StateError` where the file would not read back as what it was with these recipes.
    """
    path = root / PARAMS
    before = Params.read(path)
    names = {name: _free(name, before.recipes) for name in added}
    text = path.read_text()
    lines = text.splitlines()
    start = next((index for index, line in enumerate(lines) if line.rstrip() == "recipes:"), None)
    if start is None:
        raise StateError("has no block 'recipes:' to add to", where=str(path), fix="copy the recipes by hand")
    end = next((i for i in range(start + 1, len(lines)) if lines[i][:1] not in ("", " ", "#")), len(lines))
    while end > start + 1 and (not lines[end - 1].strip() or lines[end - 1].startswith("#")):
        end -= 1
    block: list[str] = []
    for name, section in added.items():
        block += ["", f"  {names[name]}:", f"    target: {section['target']}", "    steps:"]
        block += [f"      - {line}" for line in flow(section["steps"])]
        if section.get("budgets"):
            block += ["    budgets:", *(f"      - {one_line(budget)}" for budget in section["budgets"])]
    new = "\n".join([*lines[:end], *block, *lines[end:]]) + "\n"
    expected = before.model_dump(mode="json")
    expected["recipes"] |= {
        names[name]: RecipeSection.model_validate(section).model_dump(mode="json") for name, section in added.items()
    }
    written = {key: value for key, value in yaml.safe_load(new).items() if not str(key).startswith("x-")}
    read = Params.model_validate({**written, "budgets": content_of(path)["budgets"]})
    if read.model_dump(mode="json") != expected:
        what = "cannot be extended without changing what it says"
        raise StateError(what, where=str(path), fix="copy the recipes by hand")
    atomic_write(path, new.encode())
    return list(names.values())


def _free(name: str, taken: Mapping[str, Any]) -> str:
    candidates = [name, *(f"{name}-{number}" for number in range(2, len(taken) + 3))]
    return next(item for item in candidates if item not in taken)


def _confirmed(found: Found) -> list[tuple[Confirmed, Outcome]]:
    by_number = dict(found.tried)
    return [(item, by_number[item.number]) for item in found.confirmed if item.holds]


def _headline(item: Confirmed, outcome: Outcome, found: Found) -> str:
    last = outcome.last
    smaller = found.baseline.bytes / last.bytes
    faster = f", latency {quantity(item.ratio, 'ratio')} the baseline's" if item.ratio is not None else ""
    return f"trial {item.number}: {quantity(last.bytes, 'bytes')} ({smaller:.1f}× smaller){faster}"


def _details(item: Confirmed, outcome: Outcome) -> list[str]:
    first, last = outcome.rungs[0], outcome.last
    drop = quantity(last.drop, "points")
    drop += "" if item.expected is None else f", expected {quantity(item.expected, 'points')}"
    held = f"{quantity(item.drop, 'points')} ({span(item.lower, item.upper, 'points')})"
    moved = outcome.bytes_at_most > last.bytes
    anew = f"; trained anew at most {quantity(outcome.bytes_at_most, 'bytes')}" if moved else ""
    rows = [
        f"   bytes: predicted {quantity(first.bytes, 'bytes')}, made {quantity(last.bytes, 'bytes')}{anew}",
        f"   accuracy lost: on what stopped it {drop}; confirmed {held}",
    ]
    if item.ratio is not None and outcome.timing is not None:
        rows.append(
            f"   latency: before training {quantity(outcome.timing.ratio, 'ratio')}; confirmed "
            f"{quantity(item.ratio, 'ratio')} ({span(item.ratio_lower, item.ratio_upper, 'ratio')})"
        )
    return rows


__all__ = ["as_json", "as_text", "recipes", "write_recipes", "write_results"]
