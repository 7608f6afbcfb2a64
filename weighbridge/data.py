"""The contract of a user's data factory, and the `.npz` form of an evaluation set.

A data factory is a callable without arguments that returns a `Data`. Arrays are numpy's; nothing here
imports a deep-learning library, so that the gate can load the same factory.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import zipfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.errors import InputError
from weighbridge.core.ragged import Ragged, buckets, is_ragged, plain, values_of

__all__ = [
    "Array",
    "Data",
    "LazySplit",
    "Ragged",
    "Split",
    "StreamedSplit",
    "call_factory",
    "code_folder",
    "examples_of",
    "import_callable",
    "load_data",
    "read_npz",
    "search_below",
    "write_arrays",
    "write_npz",
]

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
        named = {**self.inputs, **_beside(self)}
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


class LazySplit(Split):
    """A split that is made when something of it is asked for first."""

    def make(self) -> Split:
        """The split itself."""
        raise NotImplementedError

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


class StreamedSplit(LazySplit):
    """A data set of PyTorch, Hugging Face or numpy, read example by example into a file, which is mapped."""

    def __init__(self, source: Any, names: Sequence[str], role: str) -> None:
        self.__dict__.update(source=source, names=tuple(names), role=role, most=None, missing=None)

    def bound(self, most: int | None) -> None:
        """Read `most` examples of a stream that does not say its length."""
        self.__dict__["most"] = most

    def require_known(self, missing: Collection[str], where: str) -> None:
        """As for any split, once the examples are read."""
        self.__dict__["missing"] = (missing, where)

    def read(self) -> None:
        """Read the examples now, where that was not done."""
        len(self.whole)

    def make(self) -> Split:
        """The examples, read; an `InputError` where one does not fit, or a stream to train on has no end."""
        from weighbridge.core.formats.example_stream import length_of, spooled  # noqa: PLC0415  # see `Split.digest`

        source, where = self.__dict__["source"], f"data.factory: {self.__dict__['role']}"
        most = None if length_of(source) is not None else self.__dict__["most"]
        if most is None and self.__dict__["role"] == "train" and length_of(source) is None:
            raise InputError(
                "is a stream of unknown length",
                where=where,
                fix="give train.steps in params.yaml, or the data set a __len__",
            )
        split = _split_of(spooled(source, self.__dict__["names"], where, most))
        if self.__dict__["missing"] is not None:
            split.require_known(*self.__dict__["missing"])
        return split


@dataclass(frozen=True)
class Data:
    """What a data factory returns: named splits, and the code around the model that users wait for too.

    Each of `train`, `test` and `calibration` may be a data set instead of a `Split`: a torch `Dataset` or
    `IterableDataset`, a Hugging Face data set, a numpy memory map, any iterable. It is read example by example. An
    example is a mapping of names to values (`labels` or `label`, `groups` and `slice:NAME` among them), or a tuple of
    the inputs `names`, with a label last.
    """

    train: Split
    test: Split
    calibration: Split | None = None
    """Taken from train (class-balanced) where it is None; never from test."""
    preprocess: Callable[[Any], Mapping[str, Array]] | None = None
    """From one raw example to the model's inputs, each (1, …)."""
    postprocess: Callable[[list[Array]], Any] | None = None
    """From the model's outputs to the answer."""
    raw: Any = None
    """A sequence of raw examples for `preprocess`, as long as test."""
    names: Sequence[str] = ("input",)
    """The model's inputs in the order of an example that is a tuple."""

    def __post_init__(self) -> None:
        for role in ("train", "test", "calibration"):
            given: Any = getattr(self, role)
            if given is not None and not isinstance(given, Split):
                object.__setattr__(self, role, StreamedSplit(given, self.names, role))


def import_callable(reference: str, where: str) -> Callable[..., Any]:
    """Import `package.module:callable` with the current folder on the path, and the repository's top after it.

    A module or name that is missing, or does not import, is an `InputError` that says which.
    """
    module_name, _, name = reference.partition(":")
    if not module_name or not name:
        raise InputError(f"{reference!r} is not 'package.module:callable'", where=where)
    here = Path.cwd()
    search_below(here)
    try:
        with contextlib.chdir(code_folder(here, module_name)):
            module = importlib.import_module(module_name)
    except Exception as error:  # a user's module may raise anything while it is imported
        raise InputError(f"{module_name} does not import: {error!r}", where=where) from error
    found = getattr(module, name, None)
    if not callable(found):
        raise InputError(f"{module_name} has no callable {name!r}", where=where)
    return found  # type: ignore[no-any-return]


def search_below(project: Path) -> None:
    """Have modules found in a project's folder first, then at the top of its repository, then where Python looks."""
    from weighbridge.core.user_code import repository_top  # noqa: PLC0415  # see `Split.digest`

    home = project.resolve()
    wanted = [str(folder) for folder in dict.fromkeys([home, repository_top(home) or home])]
    missing = [folder for folder in wanted if folder not in sys.path]
    if wanted[0] in sys.path:
        place = sys.path.index(wanted[0]) + 1
        sys.path[place:place] = missing
    else:
        sys.path[:0] = missing


def code_folder(project: Path, module: str) -> Path:
    """Where a module of the user's is looked up from: the project's folder, or the top of its repository.

    Its code runs there, so that a path such as `data/train.csv` means the same as in the user's own scripts.
    """
    from weighbridge.core.user_code import repository_top  # noqa: PLC0415  # see `Split.digest`

    first = module.partition(".")[0]
    for folder in (project, repository_top(project)):
        if folder is not None and ((folder / f"{first}.py").is_file() or (folder / first).is_dir()):
            return folder
    return project


def call_factory(reference: str, where: str) -> Any:
    """Import and call a factory without arguments, in its `code_folder`; whatever it raises is an `InputError` that
    names it.
    """
    factory = import_callable(reference, where)
    try:
        with contextlib.chdir(code_folder(Path.cwd(), reference.partition(":")[0])):
            return factory()
    except Exception as error:  # a user's factory may raise anything
        raise InputError(f"{reference} failed: {error!r}", where=where) from error


def load_data(reference: str, where: str = "params.yaml: data.factory", missing: Collection[str] | None = ()) -> Data:
    """Call a data factory and check what it returned; inputs in `missing` may contain NaN, any where it is None."""
    data = call_factory(reference, where)
    if not isinstance(data, Data):
        raise InputError(
            f"{reference} returned {type(data).__name__}", where=where, fix="expected a weighbridge.data.Data"
        )
    for name, split in (("train", data.train), ("test", data.test)):
        if not isinstance(split, StreamedSplit) and len(split) == 0:
            raise InputError(f"the {name} split is empty", where=where)
    for part in (data.train, data.test, data.calibration):
        if part is not None and missing is not None:
            part.require_known(missing, where)
    return data


def write_npz(path: Path, split: Split) -> None:
    """Write a split as `.npz`: one array per input by its name (and its `NAME.shapes` where examples differ in length),
    `labels`, `groups`, and `slice:<name>` masks.
    """
    masks = {f"{SLICE_PREFIX}{name}": mask for name, mask in split.slices.items()}
    write_arrays(path, plain({**split.inputs, **_beside(split), **masks}))


def _beside(split: Split) -> dict[str, Array]:
    """What stands beside the inputs of a split, as far as it is there; an input of that name is an `InputError`."""
    labels = {LABELS: split.labels} if split.labelled else {}
    found = labels if split.groups is None else {**labels, GROUPS: split.groups}
    for name in found:
        if name in split.inputs:
            raise InputError(f"an input is called {name!r}, which stands for something else", where="data")
    return found


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays as `.npz`; the same arrays give the same bytes, whatever they are called."""
    from weighbridge.core.files import atomic_path  # noqa: PLC0415  # see `Split.digest`

    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            # A fixed date: the same arrays give the same bytes.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.ascontiguousarray(arrays[name]), allow_pickle=False)


def read_npz(path: Path, *, mapped: bool = False) -> Split:
    """Read a split from `.npz`; pickled arrays are refused, never loaded. Every problem is an `InputError`.

    `mapped`: arrays of an archive that is not compressed stay on disk, and are read where they are looked at. For
    files that are replaced, never written again in place.
    """
    from weighbridge.core.formats.npz_file import read_arrays  # noqa: PLC0415  # see `Split.digest`

    try:
        return _split_of(read_arrays(path, mapped=mapped))
    except FileNotFoundError as error:
        raise InputError("file not found", where=str(path)) from error
    except InputError as error:
        raise InputError(
            error.what, where=error.where if error.where != "data" else str(path), fix=error.fix
        ) from error


def _split_of(arrays: dict[str, Array]) -> Split:
    found = _ragged(arrays)
    labels, groups = found.pop(LABELS, np.zeros((0, 0), np.float32)), found.pop(GROUPS, None)
    slices = {name.removeprefix(SLICE_PREFIX): found.pop(name) for name in list(found) if name.startswith(SLICE_PREFIX)}
    return Split(found, labels.padded(IGNORED) if is_ragged(labels) else labels, slices, groups)


def _arrays(name: str, given: Any) -> Any:
    """An input as it is, or from a list with one array for each example."""
    if not isinstance(given, list | tuple):
        return given
    try:
        found = Ragged.of([np.asarray(example) for example in given])
    except ValueError as error:
        raise InputError(f"{name!r}: {error}", where="data", fix="give one array an example, alike in type") from error
    return np.stack(list(found)) if (found.shapes == found.shapes[:1]).all() else found


def _ragged(arrays: Mapping[str, Array]) -> dict[str, Any]:
    """Arrays of a file, where `NAME.lengths` cuts `NAME` along its first axis, and `NAME.shapes` gives whole shapes."""
    found: dict[str, Any] = dict(arrays)
    for name in arrays:
        array, _, kind = name.rpartition(".")
        if kind not in {"lengths", "shapes"} or array not in arrays:
            continue
        make = Ragged.by_lengths if kind == "lengths" else Ragged
        try:
            found[array] = make(found[array], found.pop(name))
        except ValueError as error:
            raise InputError(f"{array!r} does not fit {name!r}: {error}", where="data") from error
    return found


def examples_of(path: Path, test: float, seed: int = 7) -> Data:
    """One `.npz` of examples as test and training splits; `test` is the share of the first, drawn by the seed.

    Examples of one group stay together. Raises `InputError` as `read_npz` does, and where a split would be empty.
    """
    every = read_npz(path)
    units = np.arange(len(every)) if every.groups is None else np.unique(every.groups, return_inverse=True)[1]
    names = np.random.default_rng(seed).permutation(int(units.max(initial=-1)) + 1)
    if len(names) < 2:
        raise InputError("has fewer than two examples, or two groups", where=str(path), fix="give more")
    chosen = np.isin(units, names[: max(1, min(len(names) - 1, round(test * len(names))))])
    return Data(train=every.take(np.flatnonzero(~chosen)), test=every.take(np.flatnonzero(chosen)))
