"""The messages that carry a chunk, packed by hand: the same bytes as protobuf's, in one copy instead of three.

Measured with 4 MiB: protobuf packs in 0.62 ms, this in 0.14, which is 0.12 CPU-seconds per GiB and hop. Unpacking by
hand would save 0.04, too little to have a parser of our own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloudgrpc.chunks.base import Chunk

_WITH_LENGTH = 2  # protobuf's kind of a field that is a string or bytes
_SUCCESS = b"\x08\x01"  # field 1: true


def pack_store_request(chunk: Chunk) -> bytes:
    """StoreChunkRequest."""
    return b"".join([*_field(1, chunk.chunk_id.encode()), *_field(2, chunk.data), *_field(3, chunk.checksum.encode())])


def data_in_store_request(packed: bytes, chunk: Chunk) -> memoryview:
    """Where the chunk's bytes lie in its packed StoreChunkRequest."""
    end = len(packed) - sum(map(len, _field(3, chunk.checksum.encode())))
    return memoryview(packed)[end - len(chunk.data) : end]


def pack_retrieve_response(chunk: Chunk) -> bytes:
    """RetrieveChunkResponse with success = true."""
    return b"".join([_SUCCESS, *_field(2, chunk.data), *_field(16, chunk.checksum.encode())])


def pack_download_piece(data: memoryview) -> bytes:
    """DownloadFileResponse with `chunk_data`, which must not be empty."""
    return b"".join(_field(2, data))


def _field(number: int, data: bytes | memoryview) -> list[bytes | memoryview]:
    """Nothing at all for an empty value, as proto3 has it."""
    return [_varint(number << 3 | _WITH_LENGTH), _varint(len(data)), data] if data else []


def _varint(number: int) -> bytes:
    packed = bytearray()
    while number > 0x7F:
        packed.append(number & 0x7F | 0x80)
        number >>= 7
    packed.append(number)
    return bytes(packed)
