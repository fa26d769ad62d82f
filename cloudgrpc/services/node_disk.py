"""The half of NodeService that a node serves: its disk on the wire. The gateway serves the other half."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, NoReturn

import grpc

from cloudgrpc.actions.node_disk import MAX_PUT, MAX_VERIFY
from cloudgrpc.actions.readiness import Ready
from cloudgrpc.chunks.base import Chunk
from cloudgrpc.chunks.remote import NODE_KEY
from cloudgrpc.errors import NodeUnavailable
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import NodeServiceServicer, add_NodeServiceServicer_to_server
from cloudgrpc.wire import pack_retrieve_response, split_data

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cloudgrpc.actions.node_disk import NodeDisk
    from cloudgrpc.errors import CloudError
    from cloudgrpc.meters import Meters

SERVICE = "cloudstorage.NodeService"

Context = grpc.aio.ServicerContext[Any, Any]
Handler = Any  # grpc.RpcMethodHandler: its four behaviours are untyped


class NodeDiskService(NodeServiceServicer):
    """`meters`: count what goes to the disk and comes from it for others."""

    def __init__(self, disk: NodeDisk, meters: Meters) -> None:
        self._disk = disk
        self._count_in = meters.transferred_bytes.labels("in").inc
        self._count_out = meters.transferred_bytes.labels("out").inc
        self._count_scrubbed = meters.scrubbed_bytes.inc

    async def RegisterNode(self, request: pb.RegisterNodeRequest, context: Context) -> NoReturn:
        raise NotImplementedError  # the gateway's half

    async def Heartbeat(self, request: pb.HeartbeatRequest, context: Context) -> NoReturn:
        raise NotImplementedError  # the gateway's half

    async def RenewCertificate(self, request: pb.RenewCertificateRequest, context: Context) -> NoReturn:
        raise NotImplementedError  # the gateway's half

    async def StoreChunk(self, request: Any, context: Context) -> pb.StoreChunkResponse:
        """`request`: a Chunk, which `add_node_disk` has taken from the message without a copy."""
        await self._disk.store.put(request)
        self._count_in(len(request.data))
        return pb.StoreChunkResponse(success=True)

    async def StoreChunks(self, request: pb.StoreChunksRequest, context: Context) -> pb.StoreChunksResponse:
        """One chunk more than may be shows that there are too many; to unpack all of them would hold up the loop."""
        chunks = [Chunk(one.chunk_id, one.chunk_data, one.checksum) for one in request.chunks[: MAX_PUT + 1]]
        failures = await self._disk.put_each(chunks)
        self._count_in(sum(len(one.data) for one, failure in zip(chunks, failures, strict=True) if not failure))
        return pb.StoreChunksResponse(success=True, outcomes=map(_outcome, failures))

    async def VerifyChunks(self, request: pb.VerifyChunksRequest, context: Context) -> pb.VerifyChunksResponse:
        verified = await self._disk.verify([(one.chunk_id, one.checksum) for one in request.chunks[: MAX_VERIFY + 1]])
        self._count_scrubbed(verified.bytes_read)
        return pb.VerifyChunksResponse(
            success=True, outcomes=map(_outcome, verified.outcomes), bytes_read=verified.bytes_read
        )

    async def RetrieveChunk(self, request: pb.RetrieveChunkRequest, context: Context) -> Any:
        """The response as it is on the wire, packed in one copy from where the disk was read to."""
        packed, length = await self._disk.store.get_as(request.chunk_id, _pack_chunk)
        self._count_out(length)
        return packed

    async def DeleteChunk(self, request: pb.DeleteChunkRequest, context: Context) -> pb.DeleteChunkResponse:
        await self._disk.delete_one(request.chunk_id)
        return pb.DeleteChunkResponse(success=True)

    async def ListChunks(self, request: pb.ListChunksRequest, context: Context) -> pb.ListChunksResponse:
        page = await self._disk.list_ids(request.node_id, request.page_size, request.page_token)
        return pb.ListChunksResponse(chunk_ids=page.chunk_ids, total_chunks=page.total, next_page_token=page.next_token)

    async def DeleteChunks(self, request: pb.DeleteChunksRequest, context: Context) -> pb.DeleteChunksResponse:
        still_here = await self._disk.delete_many(request.chunk_ids)
        return pb.DeleteChunksResponse(success=True, failed_chunk_ids=still_here)

    async def CopyChunk(self, request: pb.CopyChunkRequest, context: Context) -> pb.CopyChunkResponse:
        wanted = Chunk(request.chunk_id, b"", request.checksum)
        source = request.source_node_id, request.source_host, request.source_port
        self._count_in(await self._disk.copy_here(wanted, *source))
        return pb.CopyChunkResponse(success=True)


class NodeDoor(grpc.aio.ServerInterceptor):
    """Lets a call through once the node has joined its cluster, and only if it is meant for this node.

    The gateway may place a chunk here before its answer to our registration has arrived: such a call waits a moment.
    """

    def __init__(self, node_id: str, patience_s: float = 2.0) -> None:
        self._node_id = node_id
        self._patience_s = patience_s
        self._opened = asyncio.Event()

    def open(self) -> None:
        self._opened.set()

    async def look(self) -> Ready:
        is_open = self._opened.is_set()
        return Ready(is_open, is_open, [] if is_open else ["It has not joined its cluster yet."])

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]], details: grpc.HandlerCallDetails
    ) -> Handler:
        handler = await continuation(details)
        meant = next((value for key, value in details.invocation_metadata or () if key == NODE_KEY), "")
        if handler is None or not str(details.method).startswith(f"/{SERVICE}/"):
            return handler
        if meant not in {"", self._node_id}:
            return _refusing(NodeUnavailable(node_id=meant, reason=f"node {self._node_id} is at its address"))
        if not await self._is_open():
            return _refusing(NodeUnavailable(node_id=self._node_id, reason="it has not joined its cluster yet"))
        return handler

    async def _is_open(self) -> bool:
        if not self._opened.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._opened.wait(), self._patience_s)
        return self._opened.is_set()


def add_node_disk(disk: NodeDisk, server: grpc.aio.Server, meters: Meters) -> None:
    service = NodeDiskService(disk, meters)
    handlers: dict[str, Any] = {
        "RetrieveChunk": grpc.unary_unary_rpc_method_handler(service.RetrieveChunk, pb.RetrieveChunkRequest.FromString),
        "StoreChunk": grpc.unary_unary_rpc_method_handler(
            service.StoreChunk, _unpack_chunk, pb.StoreChunkResponse.SerializeToString
        ),
    }
    add_NodeServiceServicer_to_server(service, server)
    # Of two handlers of one method the one registered later counts.
    server.add_registered_method_handlers(SERVICE, handlers)


def _outcome(failure: CloudError | None) -> pb.StoreOutcome:
    return pb.StoreOutcome(error_code=failure.code, message=str(failure)) if failure else pb.StoreOutcome()


def _pack_chunk(chunk: Chunk) -> tuple[bytes, int]:
    """And how many bytes of it are the chunk's own."""
    return pack_retrieve_response(chunk.data, chunk.checksum), len(chunk.data)


def _unpack_chunk(message: bytes) -> Chunk:
    data, rest = split_data(message)
    request = pb.StoreChunkRequest.FromString(rest)
    return Chunk(request.chunk_id, request.chunk_data or data, request.checksum)


def _refusing(error: NodeUnavailable) -> Handler:
    async def refuse(_request: object, _context: Context) -> NoReturn:
        raise error

    return grpc.unary_unary_rpc_method_handler(refuse)  # every RPC of NodeService is unary
