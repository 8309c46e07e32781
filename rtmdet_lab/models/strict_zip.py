"""Zip archives as PyTorch writes them, read by one strict rule: no two readers could disagree about what such a file holds.

The table of contents is the one that ends where the file ends. The entries it lists must fill the file from the first byte
to the table, one after the other, each as its own header says, stored as they are. So a file has no second table, no bytes
between or around its entries, none that overlap, and none that are larger unpacked than in the file.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

MOST_ENTRIES = 200_000

_LOCAL = struct.Struct("<4s5H3I2H")  # before an entry
_LISTED = struct.Struct("<4s6H3I5H2I")  # an entry in the table of contents
_END, _LOCATOR, _END64 = struct.Struct("<4s4H2IH"), struct.Struct("<4sIQI"), struct.Struct("<4sQ2H2I4Q")
_SHORT_SUMS, _LONG_SUMS = struct.Struct("<4s3I"), struct.Struct("<4sI2Q")  # after an entry whose header left them open
_LEFT_OPEN, _UTF8 = 0x8, 0x800  # flags of an entry; no other is taken
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF  # stand in a short field whose value is in a long one
_LONG_FIELDS = 1  # the extra field that has those


class UnreadableFile(ValueError):
    """The file is not a checkpoint that can be read safely; the message says why."""


class _Entry(NamedTuple):
    name: bytes
    flags: int
    checksum: int
    size: int  # bytes
    offset: int  # of its header
    start: int = 0  # of its data


class StrictZip:
    """The entries of an open archive by name; each is compared with its checksum when it is read."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        """Reads the table of contents.

        Raises:
            UnreadableFile: truncated, or not laid out as described above.
        """
        self._file = file
        table, count, table_start = self._table(size)
        self.entries: dict[str, _Entry] = {}
        for entry in self._laid_out(sorted(_listed(table, count), key=lambda entry: entry.offset), table_start):
            try:
                name = entry.name.decode()
            except UnicodeDecodeError as error:
                raise _damaged("an entry's name is no text") from error
            if name in self.entries:
                raise _damaged("it holds two entries of one name")
            self.entries[name] = entry
        # PyTorch can be told to compute no checksums; it then writes zeros throughout.
        self._checked = any(entry.checksum for entry in self.entries.values())

    def read(self, name: str) -> bytearray:
        """Returns the content of an entry."""
        content = bytearray(self.entries[name].size)
        self.read_into(name, memoryview(content))
        return content

    def read_into(self, name: str, memory: memoryview) -> None:
        """Fills ``memory``, as many bytes as the entry has, with its content."""
        entry = self.entries[name]
        self._file.seek(entry.start)
        fill(self._file, memory)
        if self._checked and zlib.crc32(memory) != entry.checksum:
            raise UnreadableFile(f"is damaged: {name!r} in it does not have its checksum")

    def _table(self, size: int) -> tuple[bytes, int, int]:
        """Returns the table of contents, how many entries it lists, and where it begins."""
        if size < _END.size:
            raise UnreadableFile(f"is damaged or truncated: its table of contents is missing after {size} bytes")
        end = size - _END.size
        signature, *numbers, count, length, start, comment = _END.unpack(self._bytes(end, _END.size))
        if signature != b"PK\5\6":
            raise UnreadableFile(f"is damaged or truncated: its table of contents is missing after {size} bytes")
        if comment or numbers != [0, 0, count]:
            raise _damaged("it is one of several parts, or does not end after its table of contents")
        locator_at = end - _LOCATOR.size
        if locator_at >= _END64.size and self._bytes(locator_at, 4) == b"PK\6\7":
            end = locator_at - _END64.size
            _, *located = _LOCATOR.unpack(self._bytes(locator_at, _LOCATOR.size))
            signature, own, _, _, *long = _END64.unpack(self._bytes(end, _END64.size))
            shorter = zip((count, length, start), long[3:], (_FULL16, _FULL32, _FULL32), strict=True)
            agree = all(short in (value, full) for short, value, full in shorter)
            if located != [0, end, 1] or (signature, own) != (b"PK\6\6", 44) or long[:3] != [0, 0, long[3]] or not agree:
                raise _damaged("its two tables of contents contradict each other")
            count, length, start = long[3:]
        if start + length != end or count > min(length // _LISTED.size, MOST_ENTRIES):
            raise _damaged("its table of contents does not lie where it says")
        return self._bytes(start, length), count, start

    def _laid_out(self, entries: list[_Entry], end: int) -> Iterator[_Entry]:
        """Yields the entries with the place of their data, which lie one after the other from 0 to ``end``."""
        places = [entry.offset for entry in entries] + [end]
        if places[0] != 0:
            raise _damaged("something stands before its first entry")
        for entry, following in zip(entries, places[1:], strict=True):
            head = self._bytes(entry.offset, _LOCAL.size)
            signature, _, flags, method, _, _, checksum, packed, size, name_length, extra_length = _LOCAL.unpack(head)
            start = entry.offset + _LOCAL.size + name_length + extra_length
            own_name = self._bytes(entry.offset + _LOCAL.size, name_length)
            if (signature, own_name, flags, method) != (b"PK\3\4", entry.name, entry.flags, 0):
                raise _damaged("an entry is not what the table of contents says")
            told = (entry.checksum, entry.size, entry.size)
            left_open = flags & _LEFT_OPEN and not (checksum or packed or size)
            long = checksum == entry.checksum and packed == size == _FULL32 <= entry.size
            if not (left_open or long or (checksum, packed, size) == told):
                raise _damaged("an entry does not have the size that the table of contents says")
            rest = following - start - entry.size
            sums = {_SHORT_SUMS.size: _SHORT_SUMS, _LONG_SUMS.size: _LONG_SUMS}.get(rest) if flags & _LEFT_OPEN else None
            if rest and (sums is None or sums.unpack(self._bytes(following - rest, rest)) != (b"PK\7\x08", *told)):
                raise _damaged("its entries overlap, or something stands between them")
            if not rest and flags & _LEFT_OPEN and left_open and entry.size:
                raise _damaged("an entry does not say its size")
            yield entry._replace(start=start)

    def _bytes(self, start: int, count: int) -> bytes:
        self._file.seek(start)
        content = self._file.read(count)
        if len(content) != count:
            raise _damaged("it ends too early")
        return content


def fill(file: BinaryIO, memory: memoryview) -> None:
    """Fills all of ``memory`` from ``file``.

    Raises:
        UnreadableFile: the file ends before.
    """
    done = 0
    while done < len(memory):
        count = file.readinto(memory[done:])
        if not count:
            raise UnreadableFile(f"is damaged: it ends {len(memory) - done} bytes too early")
        done += count


def _listed(table: bytes, count: int) -> Iterator[_Entry]:
    """Yields the entries of a table of contents."""
    place = 0
    for _ in range(count):
        if place + _LISTED.size > len(table):
            raise _damaged("its table of contents ends too early")
        head = _LISTED.unpack_from(table, place)
        signature, _, _, flags, method, _, _, checksum, packed, size, name_length, extra_length, comment, disk = head[:14]
        offset = head[16]
        if signature != b"PK\1\2" or comment or disk:
            raise _damaged("its table of contents is not one")
        if method:
            raise UnreadableFile("holds compressed entries, which no checkpoint has")
        if flags & ~(_LEFT_OPEN | _UTF8):
            raise _damaged("it holds encrypted entries")
        place += _LISTED.size
        name, extra = table[place : place + name_length], table[place + name_length : place + name_length + extra_length]
        place += name_length + extra_length
        size, packed, offset = _long_fields(extra, [size, packed, offset])
        if packed != size:
            raise _damaged("an entry has two sizes")
        yield _Entry(name, flags, checksum, size, offset)
    if place != len(table):
        raise _damaged("something stands behind its table of contents")


def _long_fields(extra: bytes, short: list[int]) -> list[int]:
    """Returns the fields of an entry, those that are too large for their place from the extra field for them."""
    wanted = [number for number, value in enumerate(short) if value == _FULL32]
    place, values = 0, None
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, place)
        content = extra[place + 4 : place + 4 + length]
        place += 4 + length
        if kind == _LONG_FIELDS:
            if values is not None or not wanted or length != 8 * len(wanted) or len(content) != length:
                raise _damaged("an entry's size is told twice")
            values = struct.unpack(f"<{len(wanted)}Q", content)
    if place != len(extra) or bool(wanted) != (values is not None):
        raise _damaged("an entry does not say its size")
    for number, value in zip(wanted, values or (), strict=True):
        short[number] = value
    return short


def _damaged(reason: str) -> UnreadableFile:
    return UnreadableFile(f"is damaged or not a checkpoint ({reason})")
