"""Messages packed by hand are the very bytes that protobuf makes, and what is taken apart is what protobuf reads."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.wire import pack_data, pack_retrieve_response, pack_store_request, split_data

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
@given(DATA.filter(bool))
def test_a_piece_of_a_file_is_what_protobuf_writes_both_ways(drawn: bytes | int) -> None:
    data = bytes(drawn)
    assert pack_data(data) == pb.UploadFileRequest(chunk_data=data).SerializeToString()
    assert pack_data(data) == pb.DownloadFileResponse(chunk_data=data).SerializeToString()


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
