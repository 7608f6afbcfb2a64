"""`.npz` archives that somebody else wrote: what they unpack to is known before anything is unpacked.

`numpy.load` believes a header: a hundred bytes can ask for terabytes, and a small archive can unpack to any size.
"""

from __future__ import annotations

import os
import tokenize
import zipfile
import zlib
from collections.abc import Collection
from io import BufferedReader
from math import prod
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.errors import InputError
from weighbridge.core.opening import open_file

Array = NDArray[Any]

MOST_MEMBERS = 1_000
LONGEST_HEADER = 10_000
"""Bytes of an array's header: numpy parses it as Python, in time and depth that grow with it."""
UNREADABLE = (
    OSError, ValueError, KeyError, EOFError, RuntimeError, NotImplementedError, MemoryError, OverflowError,
    SyntaxError, zipfile.BadZipFile, zlib.error, tokenize.TokenError,
)  # fmt: skip
"""What reading raises for archives that are cut off, damaged, encrypted or made up."""
_STEP = 1 << 20
_NAME_LENGTHS = 26
"""Where a member's local header says how long its name and its extra field are (APPNOTE.TXT 4.3.7)."""
_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_arrays(
    path: Path, *, only: Collection[str] | None = None, most: int | None = None, mapped: bool = False
) -> dict[str, Array]:
    """The arrays of an archive by name, or those in `only`, `most` bytes of them (this machine's memory) at most.

    `mapped`: arrays that are not compressed are compared with the archive's checksum and then mapped; `most` does not
    hold for them, and what is written to them stays in memory.

    Raises `InputError` for what is not a readable archive of plain arrays of numbers (pickled objects are never
    loaded), a name that occurs twice, an array whose header does not fit its bytes, and too many or too large ones.
    A missing file is `FileNotFoundError`.
    """
    where = str(path)
    try:
        with open_file(path) as file, zipfile.ZipFile(file) as archive:
            members = _members(archive, where, most if most is not None else _memory(), mapped=mapped)
            wanted = {name: item for name, item in members.items() if only is None or name in only}
            return {
                name: _mapped(archive, item, file, f"{where}: {name}")
                if mapped and _plain(item)
                else _array(archive, item, f"{where}: {name}")
                for name, item in wanted.items()
            }
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        raise _unreadable(where) from error


def _plain(item: zipfile.ZipInfo) -> bool:
    return item.compress_type == zipfile.ZIP_STORED


def _members(archive: zipfile.ZipFile, where: str, most: int, *, mapped: bool) -> dict[str, zipfile.ZipInfo]:
    items = archive.infolist()
    if len(items) > MOST_MEMBERS:
        raise InputError(f"contains {len(items):,} arrays; at most {MOST_MEMBERS:,} are read", where=where)
    size = sum(item.file_size for item in items if not (mapped and _plain(item)))
    if size > most:
        raise InputError(f"unpacks to {size:,} bytes; at most {most:,} are read", where=where)
    members = {item.filename.removesuffix(".npy"): item for item in items}
    if len(members) != len(items):
        raise InputError("contains two arrays of one name", where=where)
    return members


def _array(archive: zipfile.ZipFile, item: zipfile.ZipInfo, where: str) -> Array:
    with archive.open(item) as file:
        shape, column_major, dtype, size = _described(file, item, where)
        data = bytearray(size)
        view = memoryview(data)
        for start in range(0, size, _STEP):
            part = file.read(min(_STEP, size - start))
            view[start : start + len(part)] = part
        file.read(1)  # the end: here the archive's checksum is compared
        return np.ndarray(shape, dtype, buffer=data, order="F" if column_major else "C")


def _mapped(archive: zipfile.ZipFile, item: zipfile.ZipInfo, whole: BufferedReader, where: str) -> Array:
    """An array where it lies in the archive's file, after its bytes were read once for the checksum."""
    with archive.open(item) as file:
        shape, column_major, dtype, size = _described(file, item, where)
        begins = file.tell()
        while file.read(_STEP):
            pass
    if size == 0:
        return np.zeros(shape, dtype)
    whole.seek(item.header_offset + _NAME_LENGTHS)  # the local header's own: an extra field may differ
    lengths = int.from_bytes(whole.read(2), "little") + int.from_bytes(whole.read(2), "little")
    offset = item.header_offset + _NAME_LENGTHS + 4 + lengths + begins
    order: Literal["F", "C"] = "F" if column_major else "C"
    return np.asarray(np.memmap(whole, dtype, "c", offset, shape, order))


def _described(file: IO[bytes], item: zipfile.ZipInfo, where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, order, type and bytes of an array, which are all that is left of its member."""
    shape, column_major, dtype = _header(file, where)
    if dtype.hasobject:
        raise InputError("contains pickled objects", where=where, fix="save plain numeric arrays")
    size = prod(shape) * dtype.itemsize
    left = item.file_size - file.tell()
    if size != left:
        raise InputError(f"its header describes {size:,} bytes, the archive has {left:,}", where=where)
    return shape, column_major, dtype, size


def _header(file: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    reader = _READERS.get(np.lib.format.read_magic(file))
    if reader is None:
        raise InputError("is not an array of numbers", where=where)
    shape, column_major, dtype = reader(file, max_header_size=LONGEST_HEADER)
    if any(length < 0 for length in shape):
        raise InputError("has a negative length", where=where)
    return shape, column_major, dtype


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _unreadable(where: str) -> InputError:
    return InputError(
        "is not a readable .npz file", where=where, fix="write it with numpy.savez from plain numeric arrays"
    )
