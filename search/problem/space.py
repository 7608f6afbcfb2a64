"""The space of recipes as typed data, derived from the recipe grammar.

A point is a few choices, one per knob; `steps` writes it as the steps of a recipe. Every point is a valid recipe by
construction: an order that the grammar refuses, or a step that would change no byte, has no point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from weighbridge.compress.recipe.recipe import read_steps
from weighbridge.compress.steps import Step
from weighbridge.core.documents import RecipeSection, SearchSection, TrainSection
from weighbridge.core.errors import InputError
from weighbridge.core.facts.targets import TARGETS
from weighbridge.search.problem.weight_forms import NOTHING, SHARE, Stored, forms, quantizing

PACKS = (NOTHING, "static-int8", "qat-int8", "weight-int8")
"""Forms of weights, besides shared ones, in which zeros can be stored in less by `pack`."""
WITHOUT = "without:"
"""Begins the knob of a layer that may go."""
MOST_LAYERS = 8
"""Up to so many layers get a width each, and may go each; more share one."""
ROUND_TO = 4
RATES = (0.5, 1.0, 2.0)
"""Peak learning rates of fine-tuning, as multiples of the training's own."""
PARTS = {"channels": (2, 1.0), "factorize": (2, 1.0), "zeros": (6, 1.5), "share": (2, 0.5), "quantize": (2, 0.5)}
"""Kind of step → its part of a recipe's epochs, and of its learning rate; those of benchmarks/recipes.yaml."""

Value = float | str | bool
Values = Mapping[str, Value]


@dataclass(frozen=True)
class Point:
    """One recipe of the space."""

    widths: tuple[float, ...] = ()
    """Share of the channels that go, for each of the space's layers; one for all where it has none by name."""
    gone: tuple[str, ...] = ()
    """Layers that go as a whole."""
    depth: float = 0.0
    """Share of the removable layers that go, where they have no names here."""
    factor: float = 0.0
    """Rank kept by `factorize`, as a share; 0 without it."""
    sparsity: float = 0.0
    form: str = NOTHING
    """How weights are stored: `none`, `share-3`, or a scheme of `quantize`, with what is added to it."""
    teacher: bool = False
    rate: float = 1.0


@dataclass(frozen=True)
class Space:
    """What a search chooses from, for one target."""

    target: str
    section: SearchSection
    train: TrainSection
    module: bool
    """Whether there is a PyTorch module; an ONNX file takes lowering steps alone."""
    layers: tuple[str, ...] = ()
    """Layers whose widths are chosen one by one."""
    removable: tuple[str, ...] = ()
    """Layers that can go as a whole; each by itself where they are few."""
    stored: Stored = field(default_factory=Stored)
    """What decides how weights can be stored."""

    @property
    def knobs(self) -> dict[str, tuple[Value, ...]]:
        """Name → values, in order; the first of each asks for nothing."""
        section, use = self.section, set(self.section.techniques)
        packs = "pack" in TARGETS[self.target].steps
        found: dict[str, tuple[Value, ...]] = {}
        if self.module and "prune-channels" in use:
            found |= dict.fromkeys(self._widths, (0.0, *sorted(section.widths)))
        if self.removable and "prune-layers" in use:
            named: dict[str, tuple[Value, ...]] = {f"{WITHOUT}{name}": (False, True) for name in self._named}
            found.update(named or {"depth": (0.0, *sorted(section.depths))})
        if self.module and "factorize" in use:
            found["factor"] = (0.0, *sorted(section.factors, reverse=True))
        if self.module and packs and "prune-weights" in use:
            found["sparsity"] = (0.0, *sorted(section.sparsities))
        found["form"] = (NOTHING, *forms(section, TARGETS[self.target], self.stored, trains=self.trains))
        if self.trains:
            found["rate"] = RATES
            if section.teacher and self.train.loss == "cross_entropy" and self.train.loop is None:
                found["teacher"] = (False, True)
        return {name: values for name, values in found.items() if len(values) > 1}

    @property
    def _widths(self) -> list[str]:
        return [f"width:{name}" for name in self.layers] or ["width"]

    @property
    def _named(self) -> tuple[str, ...]:
        return self.removable if len(self.removable) <= MOST_LAYERS else ()

    @property
    def trains(self) -> bool:
        """Whether any step can train."""
        return self.module and self.section.epochs > 0

    def check(self, where: str) -> None:
        """Refuse a space without a single recipe."""
        knobs = self.knobs.keys() - {"rate", "teacher"}
        if not knobs:
            raise InputError(
                f"the space is empty: no technique of {', '.join(self.section.techniques) or 'an empty list'} "
                f"acts on {'the module' if self.module else 'an ONNX file'} for {self.target}",
                where=f"{where}: search",
                fix="allow more techniques or values",
            )

    def point(self, values: Values) -> Point:
        """The point of these values; knobs that have no effect beside the others are at rest."""
        form = str(values.get("form", NOTHING))
        sparsity = float(values.get("sparsity", 0.0)) if form in PACKS or form.startswith(SHARE) else 0.0
        gone = tuple(name for name in self._named if values.get(f"{WITHOUT}{name}"))
        left = [0.0 if _within(name, gone) else float(values.get(f"width:{name}", 0.0)) for name in self.layers]
        point = Point(
            widths=tuple(left) if self.layers else (float(values.get("width", 0.0)),),
            gone=gone,
            depth=float(values.get("depth", 0.0)),
            factor=float(values.get("factor", 0.0)),
            sparsity=sparsity,
            form=form,
            teacher=bool(values.get("teacher", False)),
            rate=float(values.get("rate", 1.0)),
        )
        if self.trainable(point):
            return point
        return replace(point, teacher=False, rate=1.0)

    def values(self, point: Point) -> dict[str, Value]:
        """The knobs' values of a point."""
        found: dict[str, Value] = dict(zip(self._widths, point.widths, strict=True)) if point.widths else {}
        found |= {f"{WITHOUT}{name}": name in point.gone for name in self._named}
        found |= {"depth": point.depth, "factor": point.factor, "sparsity": point.sparsity, "form": point.form}
        found |= {"teacher": point.teacher, "rate": point.rate}
        return {name: found[name] for name in self.knobs if name in found}

    def trainable(self, point: Point) -> bool:
        """Whether a step of the point can train."""
        return self.trains and bool(self._kinds(point))

    def empty(self, point: Point) -> bool:
        """Whether the point asks for nothing: the baseline is no recipe."""
        return not self._kinds(replace(point, form=NOTHING)) and point.form == NOTHING

    def steps(self, point: Point, epochs: int) -> list[dict[str, Any]]:
        """The steps as `params.yaml` has them, with `epochs` of fine-tuning in all."""
        share = dict(zip(self._kinds(point), apportioned(self._kinds(point), epochs), strict=True))
        keep = {"keep": list(self.section.keep)} if self.section.keep else {}
        tuned = {kind: self._finetune(point, kind, count) for kind, count in share.items()}
        # Layers that get no zeros must be there, under their names, when the others get theirs.
        named = self.stored.smallest if point.sparsity else ()
        dense = [*self.section.keep, *(name for name in named if not _within(name, point.gone))]
        still = {"keep": dense} if dense else {}
        steps = self._cut(point, keep, still, tuned.get("channels", {}))
        if point.factor:
            steps.append({"factorize": {"ratio": point.factor, **still, **tuned["factorize"]}})
        if point.sparsity:
            # Each layer keeps its share of the zeros, so that bytes are known before training.
            cubic = {"schedule": "cubic", "scope": "global-once"} if share["zeros"] > 1 else {}
            magnitude = {"method": "magnitude", "sparsity": point.sparsity, **cubic}
            steps.append({"prune": {**magnitude, **still, **tuned["zeros"]}})
        steps += self._stored(point, keep, tuned)
        if point.form.startswith(SHARE) or point.sparsity:
            steps.append({"pack": {}})
        return steps

    def read(self, point: Point, epochs: int) -> list[Step]:
        """The validated steps of a point."""
        section = RecipeSection(target=self.target, steps=self.steps(point, epochs))
        return read_steps(section, "search")

    def _stored(self, point: Point, keep: dict[str, Any], tuned: Mapping[str, Any]) -> list[dict[str, Any]]:
        if point.form.startswith(SHARE):
            bits = int(point.form.removeprefix(SHARE))
            where = {"biases": 4, **tuned["share"]} if self.module else {"on": "file"}
            return [{"share": {"bits": bits, **where, **keep}}]
        if point.form == NOTHING:
            return []
        steps = quantizing(point.form, self.section.keep, self.stored.tables)
        if point.form == "qat-int8":
            training = tuned.get("quantize", {})
            # Without training it is the same file as the other.
            steps[0]["quantize"] |= training or {"scheme": "static-int8"}
        return steps

    def _cut(
        self, point: Point, keep: dict[str, Any], still: dict[str, Any], tuned: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """Layers go first, then channels: one step where all widths are the same, else one for each width. Training
        follows the last.
        """
        steps: list[dict[str, Any]] = []
        if point.gone:
            steps.append({"method": "depth", "layers": list(point.gone)})
        elif point.depth:
            steps.append({"method": "depth", "ratio": point.depth, **still})
        method = {"method": "structured", "round_to": ROUND_TO}
        left = {width for name, width in zip(self.layers, point.widths, strict=False) if not _within(name, point.gone)}
        if len(left or set(point.widths)) == 1 and any(point.widths):
            steps.append({**method, "ratio": max(point.widths), **keep})
        else:
            for level in sorted({width for width in point.widths if width}):
                layers = [layer for layer, width in zip(self.layers, point.widths, strict=True) if width == level]
                steps.append({**method, "ratio": level, "layers": layers})
        if steps:
            steps[-1] |= tuned
        return [{"prune": step} for step in steps]

    def _kinds(self, point: Point) -> list[str]:
        """Kinds of steps that can train, in order."""
        asked = {
            "channels": bool(any(point.widths) or point.gone or point.depth),
            "factorize": bool(point.factor),
            "zeros": bool(point.sparsity),
            "share": point.form.startswith(SHARE) and self.module,
            "quantize": point.form == "qat-int8",
        }
        return [kind for kind, wanted in asked.items() if wanted]

    def _finetune(self, point: Point, kind: str, epochs: int) -> dict[str, Any]:
        if not epochs:
            return {}
        rate = float(f"{self.train.lr * point.rate * PARTS[kind][1]:.3g}")
        taught = {"distill": {"temperature": 4, "weight": 0.5, "validation": 0.05}} if point.teacher else {}
        return {"finetune": {"epochs": epochs, "lr": rate, "batch_size": min(64, self.train.batch_size), **taught}}


def apportioned(kinds: Sequence[str], epochs: int) -> list[int]:
    """Epochs of each trainable step: by their parts, one at least, the last first where there are too few."""
    if epochs < len(kinds):
        return [0] * (len(kinds) - epochs) + [1] * epochs
    parts = [PARTS[kind][0] for kind in kinds]
    shares = [max(1, int(epochs * part / sum(parts))) for part in parts]
    while sum(shares) > epochs:
        shares[shares.index(max(shares))] -= 1
    if shares:
        shares[shares.index(max(shares))] += epochs - sum(shares)
    return shares


def _within(layer: str, gone: Sequence[str]) -> bool:
    """Whether a layer is one of those that go, or inside one."""
    return any(layer == name or layer.startswith(f"{name}.") for name in gone)


__all__ = ["WITHOUT", "Point", "Space", "apportioned"]
