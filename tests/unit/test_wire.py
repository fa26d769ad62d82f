"""Messages packed by hand are the very bytes that protobuf makes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloudgrpc.chunks.base import Chunk
from cloudgrpc.chunks.wire import pack_retrieve_response, pack_store_request
from cloudgrpc.pb import cloud_storage_pb2 as pb

SIZES = st.sampled_from([0, 1, 127, 128, 16_383, 16_384, 4 << 20])


@given(st.text("0123456789abcdef", max_size=40), st.binary() | SIZES.map(bytes), st.text(max_size=70))
def test_chunks_on_the_wire_are_what_protobuf_writes(chunk_id: str, data: bytes, checksum: str) -> None:
    chunk = Chunk(chunk_id, data, checksum)
    request = pb.StoreChunkRequest(chunk_id=chunk_id, chunk_data=data, checksum=checksum)
    response = pb.RetrieveChunkResponse(success=True, chunk_data=data, checksum=checksum)
    assert pack_store_request(chunk) == request.SerializeToString(deterministic=True)
    assert pack_retrieve_response(chunk) == response.SerializeToString(deterministic=True)
