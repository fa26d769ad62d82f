"""The chunk store of another machine, behind NodeService."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Any

import grpc

from cloudgrpc import rpc
from cloudgrpc.chunks.base import Chunk, check_after, check_chunk, check_id, checksum_of
from cloudgrpc.chunks.together import Together
from cloudgrpc.core.scrub import Verified
from cloudgrpc.errors import CATALOGUE, ChunkCorrupt, CloudError, Internal, NodeUnavailable
from cloudgrpc.links import Link
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import NodeServiceStub
from cloudgrpc.wire import pack_store_request, pack_store_requests, split_data

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from cloudgrpc.core.rotation import AnySecret
    from cloudgrpc.core.scrub import Claim

    Answer = TypeVar("Answer")
    Watch = Callable[[CloudError | None], object]

NODE_KEY = "cloudgrpc-node"  # the node a call is meant for: another one may listen on its old port by now
IDS_PER_DELETE = 10_000
IDS_PER_PAGE = 50_000
SMALL_BYTES = 257 << 10  # puts up to this go together with others to the same node: every small file, with its head
SLOWEST_READ = 4 << 20  # bytes a second: a disk that reads slower beside other work is not well
# A call that came just as the node ended its connection for its age, in gRPC's words. What is small gRPC sends again by
# itself; whatever a node is asked may be repeated.
AGED = "max_age"
TRIES = 5  # and no more, as these words are what the other side says
COPY_TIMEOUTS = 4  # a copy is read, sent, flushed, and waits its turn on both nodes


class _Calls:
    """What a node is asked on one connection."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.stub = NodeServiceStub(channel)
        # Takes the message as bytes, so that all replicas of a chunk send the same ones.
        self.store: grpc.aio.UnaryUnaryMultiCallable[bytes, pb.StoreChunkResponse] = channel.unary_unary(
            "/cloudstorage.NodeService/StoreChunk", response_deserializer=pb.StoreChunkResponse.FromString
        )
        self.store_many: grpc.aio.UnaryUnaryMultiCallable[bytes, pb.StoreChunksResponse] = channel.unary_unary(
            "/cloudstorage.NodeService/StoreChunks", response_deserializer=pb.StoreChunksResponse.FromString
        )
        self.retrieve: grpc.aio.UnaryUnaryMultiCallable[pb.RetrieveChunkRequest, bytes] = channel.unary_unary(
            "/cloudstorage.NodeService/RetrieveChunk", request_serializer=pb.RetrieveChunkRequest.SerializeToString
        )


class RemoteStore:
    """The store of the node at `host:port`. Made within a running event loop; `timeout_s` limits every call.

    `node_id` "" means whichever node is there. `papers`: what we show and believe, None for plaintext; `expected`: the
    name in the node's certificate. `watch` hears how each call ended: None, or the node's failure.
    """

    def __init__(
        self,
        node_id: str,
        host: str,
        port: int,
        secret: AnySecret,
        timeout_s: float,
        *,
        papers: Callable[[], rpc.Tls] | None = None,
        expected: str = "",
        watch: Watch = lambda _: None,
    ) -> None:
        self.name = node_id or rpc.address(host, port)
        self._timeout_s = timeout_s
        self._watch = watch
        self._secret = secret
        self._node_id = node_id
        self._link = Link(host, port, _Calls, papers=papers, expected=expected)
        self._closed = False
        self._small = Together(self._put_together)

    async def put(self, chunk: Chunk) -> tuple[str, ...]:
        check_chunk(chunk)
        if chunk.wire is None:
            # The same bytes, seen in the message: kept twice they made the gateway grow by 215 MiB instead of 175.
            chunk.wire, chunk.data = pack_store_request(chunk.chunk_id, [chunk.data], chunk.checksum)
        if len(chunk.wire) > SMALL_BYTES:
            await self._call(lambda calls: calls.store, chunk.wire)
        else:
            await self._small.put(chunk.wire)
        return (self.name,)

    async def get(self, chunk_id: str) -> Chunk:
        chunk = await self.fetch(chunk_id)
        if checksum_of(chunk.data) != chunk.checksum:
            raise ChunkCorrupt(chunk_id=chunk_id)
        return chunk

    async def fetch(self, chunk_id: str) -> Chunk:
        """As `get`, but whether the bytes match the checksum told is for the caller to find out."""
        packed = await self._call(lambda calls: calls.retrieve, pb.RetrieveChunkRequest(chunk_id=check_id(chunk_id)))
        data, rest = split_data(packed)
        return Chunk(chunk_id, data, pb.RetrieveChunkResponse.FromString(rest).checksum)

    async def delete(self, chunk_ids: Sequence[str]) -> list[str]:
        for chunk_id in chunk_ids:
            check_id(chunk_id)
        still_here: list[str] = []
        for start in range(0, len(chunk_ids), IDS_PER_DELETE):
            batch = pb.DeleteChunksRequest(chunk_ids=chunk_ids[start : start + IDS_PER_DELETE])
            still_here += (await self._call(lambda calls: calls.stub.DeleteChunks, batch)).failed_chunk_ids
        return still_here

    async def page(self, after: str, limit: int) -> list[str]:
        check_after(after)
        ids: list[str] = []
        while len(ids) < limit:
            wanted = pb.ListChunksRequest(page_size=min(limit - len(ids), IDS_PER_PAGE), page_token=after)
            response = await self._call(lambda calls: calls.stub.ListChunks, wanted)
            ids += response.chunk_ids
            after = response.next_page_token
            if not after:
                break
        return ids

    async def copy_from(self, chunk_id: str, checksum: str, host: str, port: int, source_id: str = "") -> None:
        """Have this node fetch a chunk from the node at `host:port` and keep it. `source_id` "": whichever is there.

        Raises: what `get` raises there and `put` here; ChunkCorrupt when the source has other bytes under this id.
        """
        check_chunk(Chunk(chunk_id, b"", checksum))
        request = pb.CopyChunkRequest(
            chunk_id=chunk_id, checksum=checksum, source_host=host, source_port=port, source_node_id=source_id
        )
        # What this node tells may be of the other one, which failed to give it the chunk.
        await self._call(
            lambda calls: calls.stub.CopyChunk,
            request,
            timeouts=COPY_TIMEOUTS,
            watch=lambda failure: self._watch(failure if failure and failure.facts else None),
        )

    async def verify(self, claims: Sequence[Claim]) -> Verified:
        """Have this node read chunks and compare them; at most 1000. Raises: NodeUnavailable, when nothing is known."""
        request = pb.VerifyChunksRequest(
            chunks=[pb.ChunkClaim(chunk_id=check_id(one.chunk_id), checksum=one.checksum) for one in claims]
        )
        read_s = sum(one.length for one in claims) / SLOWEST_READ
        timeouts = 1 + math.ceil(read_s / self._timeout_s)
        response = await self._call(lambda calls: calls.stub.VerifyChunks, request, timeouts=timeouts)
        outcomes = [_outcome(outcome) for outcome in response.outcomes]
        if len(outcomes) != len(claims):
            raise self._unavailable("it did not tell what became of each chunk")
        return Verified(outcomes, response.bytes_read)

    async def _put_together(self, packed: Sequence[bytes]) -> list[CloudError | None]:
        """Keep several small chunks; what became of each. Raises: NodeUnavailable, when nothing is known."""
        response = await self._call(
            lambda calls: calls.store_many,
            pack_store_requests(packed),
            watch=lambda failure: failure and self._watch(failure),
        )
        outcomes = [_outcome(outcome) for outcome in response.outcomes]
        for outcome in outcomes:
            self._watch(outcome)
        return outcomes

    async def close(self) -> None:
        """Calls under way fail as if the node were gone."""
        self._closed = True
        await self._link.close()

    async def _call(
        self, method: Callable[[_Calls], Any], request: object, timeouts: int = 1, watch: Watch | None = None
    ) -> Any:
        """`method`: which of the calls; the stubs' own types are of the synchronous kind. `watch` instead of ours."""
        if self._closed:
            raise self._unavailable("the connection was closed")
        watch = watch or self._watch
        try:
            answer = await self._answer(method, request, self._timeout_s * timeouts)
        except grpc.aio.AioRpcError as failure:
            error = await self._error(failure, self._timeout_s * timeouts)
            if not self._closed:
                watch(error)
            raise error from failure
        except asyncio.CancelledError as error:
            # Closing a channel cancels its calls, which must not look as if our caller had been cancelled.
            task = asyncio.current_task()
            if self._closed and not (task and task.cancelling()):
                raise self._unavailable("the connection was closed") from error
            raise
        watch(None)
        return answer

    async def _answer(self, method: Callable[[_Calls], Any], request: object, timeout_s: float) -> Any:
        metadata = ((rpc.SECRET_KEY, self._secret.current), (NODE_KEY, self._node_id))
        ends_at = time.monotonic() + timeout_s
        for tries_left in reversed(range(TRIES)):
            try:
                return await method(self._link.calls)(request, timeout=ends_at - time.monotonic(), metadata=metadata)
            except grpc.aio.AioRpcError as failure:
                if self._closed or not tries_left or AGED not in (failure.details() or ""):
                    raise
        raise AssertionError("the last try returns or raises")

    async def _error(self, failure: grpc.aio.AioRpcError, timeout_s: float) -> CloudError:
        """What the node said; without a code of ours, it was not the node that spoke."""
        if any(key == rpc.ERROR_KEY for key, _ in failure.trailing_metadata() or ()):
            return rpc.error_of(failure, self.name)
        if failure.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return self._unavailable(f"no answer within {timeout_s:g} s")
        if why := await self._link.why(failure):
            return self._unavailable(str(why))
        return self._unavailable(f"{failure.code().name}: {failure.details() or 'no reason given'}")

    def _unavailable(self, reason: str) -> NodeUnavailable:
        return NodeUnavailable(node_id=self.name, reason=reason.rstrip("."))


def _outcome(outcome: pb.StoreOutcome) -> CloudError | None:
    return CATALOGUE.get(outcome.error_code, Internal).told(outcome.message) if outcome.error_code else None
