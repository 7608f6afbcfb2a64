"""Examples of a model: its inputs, labels and slices."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.errors import InputError
from weighbridge.core.ragged import Ragged, buckets, is_ragged, plain, values_of

LABELS = "labels"
GROUPS = "groups"
IGNORED = -100
"""The label of what does not count: padding, as PyTorch's losses have it."""
SLICE_PREFIX = "slice:"

Array = NDArray[Any]


@dataclass(frozen=True)
class Split:
    """Examples, mostly with labels.

    `inputs` maps each model input's name to an array (n, …) of numbers or text, or a list of n arrays where examples
    differ in length (they become a `Ragged`). `labels` is (n,) of classes, integers or text, (n,) or (n, k) of floats
    for regression, or what the task says; a list with one array an example is filled up with -100; without labels
    (given none, they are (n, 0)) only agreement with the baseline can be judged. `slices` maps a name to a boolean mask
    (n,). `groups` (n,) of integers or text says which examples belong together (a document, a patient, a video):
    intervals then draw whole groups. Raises `InputError` where lengths, types or values are wrong.
    """

    inputs: Mapping[str, Array]
    labels: Array = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    slices: Mapping[str, Array] = field(default_factory=dict)
    groups: Array | None = None

    def __post_init__(self) -> None:
        if not self.inputs:
            raise InputError("holds no input array", where="data")
        object.__setattr__(self, "inputs", {name: _arrays(name, array) for name, array in self.inputs.items()})
        given: Any = self.labels
        if isinstance(given, list | tuple):
            labels = _arrays(LABELS, given)
            object.__setattr__(self, "labels", labels.padded(IGNORED) if is_ragged(labels) else labels)
        if isinstance(self.labels, np.ndarray) and self.labels.shape == (0, 0):
            first = next(iter(self.inputs.values()))
            count = len(first) if isinstance(first, np.ndarray | Ragged) and first.ndim else 0
            object.__setattr__(self, "labels", np.zeros((count, 0), np.float32))
        for name, array in {LABELS: self.labels, **self.inputs}.items():
            self._check(name, array)
        for name, mask in self.slices.items():
            if mask.dtype != np.bool_ or mask.shape != (len(self),):
                raise InputError(f"slice {name!r} is not a boolean mask over the examples", where="data")
        groups = self.groups
        if groups is not None and (groups.shape != (len(self),) or groups.dtype.kind not in "iuU"):
            raise InputError(
                f"{GROUPS!r} is {groups.dtype} of shape {groups.shape}; expected an integer or a text for each of the "
                f"{len(self)} examples",
                where="data",
            )

    def _check(self, name: str, given: Any) -> None:
        array = given.flat if is_ragged(given) else given
        if isinstance(array, np.ndarray) and array.dtype.kind in "OS":
            raise InputError(
                f"{name!r} is an array of {'bytes' if array.dtype.kind == 'S' else 'Python objects'}",
                where="data",
                fix="expected numbers, or text as a unicode array: array.astype(str)",
            )
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "iufbU":
            raise InputError(f"{name!r} is not an array of numbers or text", where="data")
        if array.ndim == 0:
            raise InputError(f"{name!r} has no examples: it is a single number", where="data")
        if len(given) != len(self):
            raise InputError(f"{name!r} has {len(given)} examples, the labels {len(self)}", where="data")
        if array.dtype.kind == "f" and (_any(np.isinf, array) or (name == LABELS and _any(np.isnan, array))):
            raise InputError(f"{name!r} contains {'NaN or ' if name == LABELS else ''}infinite values", where="data")

    def require_known(self, missing: Collection[str], where: str) -> None:
        """Raise `InputError` for NaN in an input that is not among `missing`, those that may lack values."""
        for name, array in self.inputs.items():
            if name not in missing and array.dtype.kind == "f" and _any(np.isnan, values_of(array)):
                raise InputError(
                    f"{name!r} contains NaN",
                    where=where,
                    fix=f"where these are missing values that the model expects, declare inputs: "
                    f"{{{name}: {{missing: true}}}}",
                )

    @property
    def labelled(self) -> bool:
        """Whether there are labels."""
        return bool(self.labels.ndim != 2 or self.labels.shape[1] > 0)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, chosen: Array | slice) -> Split:
        """The chosen examples, by index or mask, with their slices."""
        return Split(
            {name: array[chosen] for name, array in self.inputs.items()},
            self.labels[chosen],
            {name: mask[chosen] for name, mask in self.slices.items()},
            None if self.groups is None else self.groups[chosen],
        )

    def rows(self, chosen: Array | slice) -> tuple[Mapping[str, Array], Array]:
        """Inputs and labels of the chosen examples, by index or mask: a batch."""
        return {name: array[chosen] for name, array in self.inputs.items()}, self.labels[chosen]

    def kinds(self) -> list[Array]:
        """Indices of the examples that are alike in shape, one array for each kind."""
        return buckets(self.inputs)

    def digest(self) -> str:
        """SHA-256 over names, types, shapes and bytes: the same examples always give the same digest."""
        from weighbridge.core.files import sha256_bytes  # noqa: PLC0415  # a device has no YAML, and this module is sent there

        lines = []
        named = {**self.inputs, **beside_inputs(self)}
        named.update({f"{SLICE_PREFIX}{name}": mask for name, mask in self.slices.items()})
        named = plain(named)
        for name in sorted(named):
            array = np.ascontiguousarray(named[name])
            lines.append(
                f"{name} {array.dtype.str} {array.shape} {sha256_bytes(array.reshape(-1).view(np.uint8).data)}"
            )
        return sha256_bytes("\n".join(lines).encode())


_AT_A_TIME = 1 << 24
"""Bytes of an array that are looked at together."""


def _any(test: Callable[[Array], Array], array: Array) -> bool:
    """Whether any value passes a test; a mapped array is read piece by piece."""
    rows = max(1, _AT_A_TIME // max(1, array[:1].nbytes))
    return any(bool(test(array[start : start + rows]).any()) for start in range(0, len(array), rows))


class LazySplit(Split, ABC):
    """A split that is made when something of it is asked for first."""

    @abstractmethod
    def make(self) -> Split:
        """The split itself."""

    @cached_property
    def whole(self) -> Split:
        """The split, made once."""
        return self.make()

    @property
    def inputs(self) -> Mapping[str, Array]:
        """Arrays (n, …) by the model's input names."""
        return self.whole.inputs

    @property
    def labels(self) -> Array:
        """Classes or values (n,)."""
        return self.whole.labels

    @property
    def slices(self) -> Mapping[str, Array]:
        """Boolean masks (n,) by name."""
        return self.whole.slices

    @property
    def groups(self) -> Array | None:
        """Which examples belong together (n,), where the data says so."""
        return self.whole.groups


def beside_inputs(split: Split) -> dict[str, Array]:
    """What stands beside the inputs of a split, as far as it is there; an input of that name is an `InputError`."""
    labels = {LABELS: split.labels} if split.labelled else {}
    found = labels if split.groups is None else {**labels, GROUPS: split.groups}
    for name in found:
        if name in split.inputs:
            raise InputError(f"an input is called {name!r}, which stands for something else", where="data")
    return found


def _arrays(name: str, given: Any) -> Any:
    """An input as it is, or from a list with one array for each example."""
    if not isinstance(given, list | tuple):
        return given
    try:
        found = Ragged.of([np.asarray(example) for example in given])
    except ValueError as error:
        raise InputError(f"{name!r}: {error}", where="data", fix="give one array an example, alike in type") from error
    return np.stack(list(found)) if (found.shapes == found.shapes[:1]).all() else found
