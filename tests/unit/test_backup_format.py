"""A backup file gives back what was packed, or is refused: cut anywhere, with any byte changed, or of anything else."""

from __future__ import annotations

import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudgrpc.core.backup_format import GZIP, PIECE_BYTES, SEAL_BYTES, Header, Packer, Part, Seal, read
from cloudgrpc.errors import BackupUnreadable

HEADER = {"cloudgrpc_backup": 1, "program": "1", "schema": ["1"], "cluster_id": "c", "made_at": 1, "engine": "sqlite"}
VALUES = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text()


def packed(*lines: Any) -> bytes:
    packer = Packer()
    return packer.pack(lines) + packer.finish()


def whole(rows: list[list[Any]]) -> bytes:
    heading = {"table": "account", "columns": ["a", "b"]}
    return packed(HEADER, heading, *rows, {"rows": {"account": len(rows)}})


def check_seal(data: bytes, piece: int = 7) -> None:
    seal = Seal()
    for start in range(0, len(data), piece):
        seal.update(data[start : start + piece])
    seal.check()


def rows_in(data: bytes, piece: int = 1000) -> list[list[Any]]:
    body = data[:-SEAL_BYTES]
    parts = list(read(body[start : start + piece] for start in range(0, len(body), piece)))
    assert isinstance(parts[0], Header)
    return [row for part in parts[1:] if isinstance(part, Part) for row in part.rows]


@given(st.lists(st.tuples(VALUES, VALUES).map(list)), st.integers(1, 300))
def test_what_was_packed_comes_back(rows: list[list[Any]], piece: int) -> None:
    data = whole(rows)
    check_seal(data, piece)
    assert rows_in(data, piece) == rows


def test_much_is_read_little_by_little() -> None:
    rows = [["x" * 1000, number] for number in range(5 * PIECE_BYTES // 1000)]
    data = whole(rows)
    parts = list(read([data[:-SEAL_BYTES]]))
    assert max(len(part.rows) for part in parts if isinstance(part, Part)) < len(rows) / 4
    assert rows_in(data) == rows


def test_any_byte_changed_or_cut_off_is_seen() -> None:
    data = whole([["alice", 1], ["bob", 2]])
    for place in range(len(data)):
        with pytest.raises(BackupUnreadable):
            check_seal(data[:place])
        for bit in (1, 128):
            with pytest.raises(BackupUnreadable):
                check_seal(data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :])
    with pytest.raises(BackupUnreadable):
        check_seal(data + b"x")


ROWS = {"rows": {"account": 1}}
HEADING = {"table": "account", "columns": ["a"]}


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [HEADER],
        [HEADER, HEADING, ["x"]],
        [HEADER, HEADING, ["x"], {"rows": {"account": 2}}],
        [HEADER, HEADING, ["x"], {"rows": {}}],
        [HEADER, HEADING, ["x"], ROWS, ["y"]],
        [HEADER, HEADING, ["x"], ROWS, HEADING],
        [HEADER, HEADING, ["x"], HEADING, ["y"], {"rows": {"account": 2}}],
        [HEADER, HEADING, ["x", "y"], ROWS],
        [HEADER, HEADING, [["x"]], ROWS],
        [HEADER, HEADING, [{"x": 1}], ROWS],
        [HEADER, ["x"], ROWS],
        [HEADER, {"table": "account"}, ["x"], ROWS],
        [{**HEADER, "cloudgrpc_backup": 2}, HEADING, ["x"], ROWS],
        [{"cloudgrpc_backup": 1}, HEADING, ["x"], ROWS],
        [HEADING, ["x"], ROWS],
    ],
)
def test_what_is_packed_otherwise_is_refused(lines: list[Any]) -> None:
    with pytest.raises(BackupUnreadable):
        list(read([packed(*lines)[:-SEAL_BYTES]]))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no gzip",
        zlib.compress(b"nor this"),
        zlib.compress(b"no JSON\n", wbits=GZIP),
        zlib.compress(b"1\n", wbits=GZIP),
        zlib.compress(b'{"unended', wbits=GZIP),
        zlib.compress(b"x" * (18 << 20), wbits=GZIP),
    ],
)
def test_bytes_that_are_no_backup_are_refused(body: bytes) -> None:
    with pytest.raises(BackupUnreadable):
        list(read([body]))


@given(st.binary(max_size=200))
def test_no_bytes_do_harm(body: bytes) -> None:
    with pytest.raises(BackupUnreadable):
        list(read([body]))
