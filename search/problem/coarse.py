"""About a hundred points that stand for a space, for what can be known without training."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from weighbridge.search.problem.space import WITHOUT, Point, Space, Value
from weighbridge.search.problem.weight_forms import NOTHING, SHARE, plain


def coarse(space: Space) -> list[Point]:
    """About a hundred points that stand for the space: one width for all layers, few sparsities, every form.

    The least of everything comes first: where that is too large, so is every other. Then each form of weights alone,
    which needs no training and is quick to make. The rest is spread, so that the first few stand for all.
    """
    points = list(dict.fromkeys(_grid(space)))
    least = [space.point({name: values[-1] for name, values in space.knobs.items()})]
    spread = [point for start in range(5) for point in points[start::5]]
    return list(dict.fromkeys([*least, *_forms(space), *spread]))


def _forms(space: Space) -> list[Point]:
    """Those made for such a model first, and last what takes longest to make."""
    alone = [str(form) for form in space.knobs.get("form", ()) if form != NOTHING]
    alone.sort(key=lambda form: (form.startswith(SHARE), plain(form)))
    return [space.point({"form": form}) for form in alone]


def _grid(space: Space) -> Iterator[Point]:
    knobs = space.knobs
    named = [name for name in knobs if name.startswith("width")]
    widths = (0.0, *sorted(space.section.widths)) if named else (0.0,)
    sparsities = tuple(map(float, knobs.get("sparsity", (0.0,))))
    chosen = {sparsities[0], sparsities[len(sparsities) // 2], sparsities[-1]}
    teacher = bool(knobs.get("teacher"))
    for width, sparsity, form in itertools.product(widths, sorted(chosen), map(str, knobs.get("form", (NOTHING,)))):
        values: dict[str, Value] = {"sparsity": sparsity, "form": form, "teacher": teacher}
        values |= dict.fromkeys(named, width)
        point = space.point(values)
        if not space.empty(point):
            yield point
    for factor in knobs.get("factor", ())[1:]:
        yield space.point({"factor": factor, "teacher": teacher})
    layers = [name for name in knobs if name.startswith(WITHOUT)]
    alone: list[dict[str, Value]] = [{name: True} for name in layers]
    alone += [{"depth": share} for share in knobs.get("depth", ())[1:]]
    alone += [{**dict.fromkeys(layers, True), **dict.fromkeys(named, width)} for width in widths if layers]
    for shorter in alone:
        yield space.point({**shorter, "teacher": teacher})


__all__ = ["coarse"]
