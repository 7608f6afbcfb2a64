"""Examples in an `.npz` file: read, mapped, written."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from weighbridge.core.errors import InputError
from weighbridge.core.examples import GROUPS, IGNORED, LABELS, SLICE_PREFIX, Array, Split, beside_inputs
from weighbridge.core.ragged import Ragged, is_ragged, plain


def write_npz(path: Path, split: Split) -> None:
    """Write a split as `.npz`: one array per input by its name (and its `NAME.shapes` where examples differ in length),
    `labels`, `groups`, and `slice:<name>` masks.
    """
    masks = {f"{SLICE_PREFIX}{name}": mask for name, mask in split.slices.items()}
    write_arrays(path, plain({**split.inputs, **beside_inputs(split), **masks}))


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
        return split_of(read_arrays(path, mapped=mapped))
    except FileNotFoundError as error:
        raise InputError("file not found", where=str(path)) from error
    except InputError as error:
        raise InputError(
            error.what, where=error.where if error.where != "data" else str(path), fix=error.fix
        ) from error


def split_of(arrays: dict[str, Array]) -> Split:
    """A split from the arrays of a file, by their names there; see `write_npz`."""
    found = _ragged(arrays)
    labels, groups = found.pop(LABELS, np.zeros((0, 0), np.float32)), found.pop(GROUPS, None)
    slices = {name.removeprefix(SLICE_PREFIX): found.pop(name) for name in list(found) if name.startswith(SLICE_PREFIX)}
    return Split(found, labels.padded(IGNORED) if is_ragged(labels) else labels, slices, groups)


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
