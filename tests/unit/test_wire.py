"""Messages packed by hand are the very bytes that protobuf makes, and what is taken apart is what protobuf reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.wire import (
    CHECKSUM_LETTERS,
    fill_data,
    fill_store_request,
    filled,
    lay,
    lay_filled,
    pack_data,
    pack_retrieve_response,
    pack_store_request,
    split_data,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


def write(room: memoryview, data: bytes) -> None:
    room[:] = data


SIZES = st.sampled_from([0, 1, 127, 128, 16_383, 16_384, 4 << 20])
DATA = st.binary() | SIZES  # bytes, or so many zeros: hypothesis would write out four million of them


@settings(deadline=None)  # for 12 MiB on a busy machine
@given(st.text("0123456789abcdef", max_size=40), st.lists(DATA, max_size=3), st.text(max_size=70))
def test_chunks_on_the_wire_are_what_protobuf_writes(chunk_id: str, drawn: list[bytes | int], checksum: str) -> None:
    parts = [bytes(one) for one in drawn]
    data = b"".join(parts)
    request = pb.StoreChunkRequest(chunk_id=chunk_id, chunk_data=data, checksum=checksum)
    response = pb.RetrieveChunkResponse(success=True, chunk_data=data, checksum=checksum)
    packed, seen = pack_store_request(chunk_id, parts, checksum)
    assert packed == request.SerializeToString(deterministic=True)
    assert seen == data
    assert pack_retrieve_response(data, checksum) == response.SerializeToString(deterministic=True)


@settings(deadline=None)
@given(st.text("0123456789abcdef", max_size=40), DATA)
def test_a_chunk_written_into_its_message_is_packed_alike(chunk_id: str, drawn: bytes | int) -> None:
    data, checksum = bytes(drawn), "c5" * (CHECKSUM_LETTERS // 2)
    checked: list[bytes] = []

    def check(seen: memoryview) -> str:
        checked.append(bytes(seen))
        return checksum

    packed, seen, told = fill_store_request(chunk_id, len(data), lambda room: write(room, data), check)
    assert (packed, seen) == pack_store_request(chunk_id, [data], checksum)
    assert (told, checked) == (checksum, [data])


def test_bytes_that_are_filled_are_new_each_time_and_their_filler_s_error_is_told() -> None:
    one, other = (filled(3, lambda room, letter=letter: write(room, letter * 3)) for letter in (b"a", b"b"))
    assert (one, other, hash(one), filled(0, lambda _: None)) == (b"aaa", b"bbb", hash(b"aaa"), b"")
    with pytest.raises(ZeroDivisionError):
        filled(3, lambda _: 1 / 0)


@settings(deadline=None)
@given(DATA.filter(bool))
def test_a_piece_of_a_file_is_what_protobuf_writes_both_ways(drawn: bytes | int) -> None:
    data = bytes(drawn)
    assert pack_data(data) == pb.UploadFileRequest(chunk_data=data).SerializeToString()
    assert fill_data(len(data), lambda room: write(room, data)) == pack_data(data)
    assert pack_data(data) == pb.DownloadFileResponse(chunk_data=data).SerializeToString()


@given(st.binary(max_size=400), st.integers(1, 200))
def test_pieces_filled_where_they_are_sent_from_are_packed_like_any_other(data: bytes, piece_bytes: int) -> None:
    def write_all(rooms: Sequence[memoryview]) -> None:
        at = 0
        for room in rooms:
            write(room, data[at : at + len(room)])
            at += len(room)

    filled_pieces = lay_filled(len(data), piece_bytes, write_all)
    assert all(piece.message == pack_data(piece.data) for piece in filled_pieces)
    for pieces in (filled_pieces, lay(data, piece_bytes)):
        assert b"".join(piece.data for piece in pieces) == data
        assert [len(piece.data) for piece in pieces[:-1]] == [piece_bytes] * (len(pieces) - 1)
        for piece in pieces:
            assert piece.packed() == pack_data(piece.data)
            assert piece.part(1, 3).data == piece.data[1:3]
            assert len(piece.data) == 1 or piece.part(1, 3).packed() == pack_data(piece.data[1:3])


@settings(deadline=None)
@given(st.text(max_size=40), DATA, st.text(max_size=70))
def test_a_message_is_taken_apart_without_loss(chunk_id: str, drawn: bytes | int, checksum: str) -> None:
    data = bytes(drawn)
    message = pb.StoreChunkRequest(chunk_id=chunk_id, chunk_data=data, checksum=checksum).SerializeToString()
    seen, rest = split_data(message)
    assert seen == data
    assert pb.StoreChunkRequest.FromString(rest) == pb.StoreChunkRequest(chunk_id=chunk_id, checksum=checksum)


@given(st.binary(max_size=200))
def test_any_bytes_are_split_or_left_whole(message: bytes) -> None:
    seen, rest = split_data(message)
    assert len(seen) + len(rest) <= len(message)
    assert rest == message or len(rest) < len(message)
