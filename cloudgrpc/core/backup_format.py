"""A backup of the metadata as a file, the same from either engine: whole, or refused.

    gzip of lines of JSON, and after it 32 bytes: BLAKE3 of all before them
        {"cloudgrpc_backup":1,"program":"0.1.0","schema":["0001_first",…],"cluster_id":…,"made_at":…,"engine":…}
        {"table":"account","columns":["account_id","email",…]}
        ["5c…","alice@example.org",…]              a row of it, and more; each table comes once
        …
        {"rows":{"account":12,…}}                  how many there were of each

Whatever a row leans on (a folder, an account, a chunk) comes before it.
"""

from __future__ import annotations

import itertools
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from blake3 import blake3

from cloudgrpc.errors import BackupUnreadable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

T = TypeVar("T")

FORMAT = 1
LEVEL = 1  # of 9: half the time of the usual 6, for a tenth more bytes
GZIP = 31  # zlib's word for the largest window, with gzip's header
SEAL_BYTES = 32
PIECE_BYTES = 1 << 20  # unpacked at once: a line takes less
LONGEST_LINE = 16 << 20

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(list[str | int | float | bool | None] | dict[str, Any])


class Header(msgspec.Struct):
    """What a backup is. `made_at`: by the clock of the database it was made of."""

    cloudgrpc_backup: int
    program: str
    schema: list[str]
    cluster_id: str
    made_at: int
    engine: str


class Heading(msgspec.Struct):
    """The rows of this table follow."""

    table: str
    columns: list[str]


class Counts(msgspec.Struct):
    """The end."""

    rows: dict[str, int]


@dataclass(frozen=True)
class Part:
    """Some rows of a table."""

    heading: Heading
    rows: list[list[Any]]


class Packer:
    """Lines in, bytes of the file out."""

    def __init__(self) -> None:
        self._zip = zlib.compressobj(LEVEL, wbits=GZIP)
        self._digest = blake3()

    def pack(self, lines: Sequence[object]) -> bytes:
        return self._seen(self._zip.compress(_ENCODER.encode_lines(lines)))

    def finish(self) -> bytes:
        return self._seen(self._zip.flush()) + self._digest.digest()

    def _seen(self, packed: bytes) -> bytes:
        self._digest.update(packed)
        return packed


class Seal:
    """Sees a file go by, and tells whether it ends with the digest of all before."""

    def __init__(self) -> None:
        self._digest = blake3()
        self._last = b""

    def update(self, data: bytes) -> None:
        held = self._last + data
        self._digest.update(held[:-SEAL_BYTES])
        self._last = held[-SEAL_BYTES:]

    def check(self) -> None:
        """Raises: BackupUnreadable."""
        if self._digest.digest() != self._last:
            raise BackupUnreadable(reason="it is cut or damaged, or is no backup")


def read(pieces: Iterable[bytes]) -> Iterator[Header | Part]:
    """The header, then rows. `pieces`: of the file without its seal, which was checked.

    Raises: BackupUnreadable, also in the middle.
    """
    reader = _Reader()
    for lines in _lines(pieces):
        for is_rows, group in itertools.groupby(lines, lambda line: isinstance(line, list)):
            if is_rows:
                yield reader.rows(list(group))
            else:
                yield from filter(None, map(reader.word, group))
    reader.end()


class _Reader:
    """Where in the file the reading is."""

    def __init__(self) -> None:
        self._header: Header | None = None
        self._heading: Heading | None = None
        self._counts: dict[str, int] = {}
        self._told: Counts | None = None

    def rows(self, rows: list[list[Any]]) -> Part:
        if self._heading is None or self._told is not None:
            raise BackupUnreadable(reason="it has rows of no table")
        if any(len(row) != len(self._heading.columns) for row in rows):
            raise BackupUnreadable(reason=f"a row of {self._heading.table} has other columns than its table")
        self._counts[self._heading.table] += len(rows)
        return Part(self._heading, rows)

    def word(self, line: dict[str, Any]) -> Header | None:
        """What is no row; the header is returned."""
        if self._header is None:
            self._header = _header(line)
            return self._header
        if self._told is not None:
            raise BackupUnreadable(reason="it goes on after its end")
        if "rows" in line:
            self._told = _as(line, Counts)
            return None
        self._heading = _as(line, Heading)
        if self._heading.table in self._counts:
            raise BackupUnreadable(reason=f"its table {self._heading.table} comes twice")
        self._counts[self._heading.table] = 0
        return None

    def end(self) -> None:
        if self._told is None or self._told.rows != self._counts:
            raise BackupUnreadable(reason="it does not hold as many rows as it says")


def _header(line: dict[str, Any]) -> Header:
    if "cloudgrpc_backup" not in line:
        raise BackupUnreadable(reason="it is no backup of CloudGrpc's metadata")
    if line["cloudgrpc_backup"] != FORMAT:
        raise BackupUnreadable(reason="it is of another format: use the version of CloudGrpc that made it, or a newer")
    return _as(line, Header)


def _as(line: dict[str, Any], kind: type[T]) -> T:
    try:
        return msgspec.convert(line, kind)
    except msgspec.ValidationError as error:
        raise BackupUnreadable(reason=f"a line of it makes no sense: {error}") from error


def _lines(pieces: Iterable[bytes]) -> Iterator[list[Any]]:
    """Decoded, many at a time; memory stays small whatever the file unpacks to."""
    unzip = zlib.decompressobj(wbits=GZIP)
    rest = b""
    for piece in pieces:
        left = piece
        while left:
            try:
                data = unzip.decompress(left, PIECE_BYTES)
            except zlib.error as error:
                raise BackupUnreadable(reason=f"it cannot be unpacked: {error}") from error
            left = unzip.unconsumed_tail
            whole, _, rest = (rest + data).rpartition(b"\n")
            if len(rest) > LONGEST_LINE:
                raise BackupUnreadable(reason="a line of it has no end")
            yield _decoded(whole)
    if rest or not unzip.eof:
        raise BackupUnreadable(reason="it ends too early")


def _decoded(whole: bytes) -> list[Any]:
    try:
        lines: list[Any] = _DECODER.decode_lines(whole)
    except msgspec.DecodeError as error:
        raise BackupUnreadable(reason=f"a line of it cannot be read: {error}") from error
    return lines
