"""Reading tables of a FlatBuffers file that nobody has confirmed: every offset is checked, nothing is executed.

The few reads that signatures need, by the format's own description (flatbuffers.dev, "FlatBuffer internals"): a table
begins with the signed distance to its vtable; the vtable gives each field's offset, 0 where a field is left out.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from weighbridge.core.errors import InputError

MOST_ITEMS = 1 << 20
"""Items of a vector at most: a forged length must not make a long loop."""


@dataclass(frozen=True)
class FlatTable:
    """One table within the bytes of a file; `where` names the file in errors (`InputError`)."""

    data: bytes
    position: int
    where: str

    def integer(self, field: int, form: str = "<i", default: int = 0) -> int:
        """A scalar field, `form` as `struct` writes it."""
        offset = self._offset(field)
        return self._unpack(form, offset) if offset else default

    def text(self, field: int) -> str:
        """A string field; empty where it is left out."""
        begin, length = self._vector(field)
        return self._slice(begin, length).decode(errors="replace")

    def integers(self, field: int, form: str = "<i") -> list[int]:
        """A vector of scalars."""
        begin, length = self._vector(field)
        width = struct.calcsize(form)
        return [self._unpack(form, begin + width * index) for index in range(length)]

    def tables(self, field: int) -> list[FlatTable]:
        """A vector of tables."""
        begin, length = self._vector(field)
        return [self._follow(begin + 4 * index) for index in range(length)]

    def table(self, field: int) -> FlatTable | None:
        """One table, of a union too; None where it is left out."""
        offset = self._offset(field)
        return self._follow(offset) if offset else None

    def _vector(self, field: int) -> tuple[int, int]:
        """Where a vector's first item lies, and how many there are."""
        offset = self._offset(field)
        if not offset:
            return 0, 0
        begin = offset + self._unpack("<I", offset)
        length = self._unpack("<I", begin)
        if length > min(MOST_ITEMS, len(self.data)):
            raise self._broken()
        return begin + 4, length

    def _offset(self, field: int) -> int:
        vtable = self.position - self._unpack("<i", self.position)
        entry = 4 + 2 * field
        if entry + 2 > self._unpack("<H", vtable):
            return 0
        relative = self._unpack("<H", vtable + entry)
        return self.position + relative if relative else 0

    def _follow(self, offset: int) -> FlatTable:
        return FlatTable(self.data, offset + self._unpack("<I", offset), self.where)

    def _unpack(self, form: str, offset: int) -> int:
        if not 0 <= offset <= len(self.data) - struct.calcsize(form):
            raise self._broken()
        value: int = struct.unpack_from(form, self.data, offset)[0]
        return value

    def _slice(self, begin: int, length: int) -> bytes:
        if begin + length > len(self.data):
            raise self._broken()
        return self.data[begin : begin + length]

    def _broken(self) -> InputError:
        return InputError("points beyond its own end", where=self.where, fix="is the file truncated?")


def root(data: bytes, identifier: bytes, kind: str, where: str) -> FlatTable:
    """The first table of a file; one with another identifier is an `InputError` that says what was expected."""
    if not data:
        raise InputError("is empty", where=where)
    if data[4:8] != identifier:
        raise InputError(f"is no {kind} file", where=where, fix=f"its bytes 4 to 8 are not {identifier.decode()!r}")
    return FlatTable(data, struct.unpack_from("<I", data)[0], where)
