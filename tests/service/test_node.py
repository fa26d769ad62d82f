"""A node on the wire: who may call it, the limits of its lists, copies between nodes, and a node as a process."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
import threading
from concurrent import futures
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from chunk_stores import KNOWN, SECRET, Driven, chunk_of, driving, open_disk, random_chunk, serving, tree
from cloudgrpc import rpc
from cloudgrpc.actions import node_disk
from cloudgrpc.chunks.base import Chunk, checksum_of
from cloudgrpc.chunks.remote import RemoteStore
from cloudgrpc.core.scrub import Claim
from cloudgrpc.errors import (
    ChunkCorrupt,
    ChunkMissing,
    CloudError,
    ClusterSecretWrong,
    InvalidField,
    NodeForeign,
    NodeIdTaken,
    NodeRemoved,
    NodeUnavailable,
    NodeUnknown,
    NotOffered,
)
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import (
    NodeServiceServicer,
    NodeServiceStub,
    add_NodeServiceServicer_to_server,
)
from cloudgrpc.trust.secrets import Secret
from program import PATIENCE_S, ROOT, clean_environment, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

REQUESTS = {
    "RegisterNode": pb.RegisterNodeRequest(node_id="node1"),
    "Heartbeat": pb.HeartbeatRequest(node_id="node1"),
    "StoreChunk": pb.StoreChunkRequest(chunk_id="a" * 32, chunk_data=b"x", checksum=checksum_of(b"x")),
    "RetrieveChunk": pb.RetrieveChunkRequest(chunk_id="a" * 32),
    "DeleteChunk": pb.DeleteChunkRequest(chunk_id="a" * 32),
    "ListChunks": pb.ListChunksRequest(),
    "DeleteChunks": pb.DeleteChunksRequest(chunk_ids=["a" * 32]),
    "VerifyChunks": pb.VerifyChunksRequest(chunks=[pb.ChunkClaim(chunk_id="a" * 32)]),
    "CopyChunk": pb.CopyChunkRequest(chunk_id="a" * 32, checksum="0" * 32, source_host="127.0.0.1", source_port=1),
}


class Nodes:
    """Real nodes in this process, each on its own folder and port."""

    def __init__(self, runner: asyncio.Runner, stack: contextlib.AsyncExitStack, folder: Path) -> None:
        self.runner, self.stack, self.folder = runner, stack, folder

    def start(self, node_id: str, *, joined: bool = True, **settings: Any) -> Any:
        return self.runner.run(self._start(node_id, joined, settings))

    def remote(self, node_id: str, port: int, secret: str = SECRET) -> Any:
        return Driven(self.runner, self.runner.run(self._remote(node_id, port, secret)))

    def call(self, node: Any, method: str, request: Any = None, *metadata: tuple[str, str]) -> Any:
        """Raises the CloudError that the node answered."""
        return self.runner.run(_called(node.port, method, request or REQUESTS[method], metadata))

    def refusals(self, node: Any, methods: Iterable[str], *metadata: tuple[str, str]) -> list[CloudError]:
        """What the node answers to all of these, called at once; AssertionError when it does one of them."""

        async def call() -> list[CloudError]:
            calls = [_called(node.port, method, REQUESTS[method], metadata) for method in methods]
            answers = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(answer, CloudError) for answer in answers), answers
            return answers

        return self.runner.run(call())

    async def _start(self, node_id: str, joined: bool, settings: dict[str, Any]) -> Any:
        disk = open_disk(self.folder / node_id, node_id, **settings)
        self.stack.callback(disk.close)
        port = await self.stack.enter_async_context(serving(disk, joined=joined))
        remote = await self._remote(node_id, port, SECRET)
        return SimpleNamespace(port=port, disk=Driven(self.runner, disk), remote=Driven(self.runner, remote))

    async def _remote(self, node_id: str, port: int, secret: str) -> RemoteStore:
        store = RemoteStore(node_id, "127.0.0.1", port, Secret.of(secret), PATIENCE_S)
        self.stack.push_async_callback(store.close)
        return store


async def _called(port: int, method: str, request: Any, metadata: Sequence[tuple[str, str]]) -> Any:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=rpc.CHANNEL_OPTIONS) as channel:
        stub: Any = getattr(NodeServiceStub(channel), method)
        try:
            return await stub(request, metadata=metadata, timeout=PATIENCE_S)
        except grpc.aio.AioRpcError as failure:
            raise rpc.error_of(failure, "node") from failure


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    with driving() as (runner, stack):
        yield Nodes(runner, stack, tmp_path)


def with_secret(secret: str = SECRET) -> tuple[str, str]:
    return (rpc.SECRET_KEY, secret)


@pytest.mark.parametrize("method", REQUESTS)
def test_without_the_cluster_secret_no_call_gets_through(nodes: Nodes, method: str) -> None:
    node = nodes.start("node1")
    before = tree(nodes.folder)
    for metadata in ([], [with_secret("")], [with_secret(SECRET + "x")], [with_secret(SECRET[:-1])]):
        with pytest.raises(ClusterSecretWrong):
            nodes.call(node, method, None, *metadata)
    assert tree(nodes.folder) == before


@pytest.mark.parametrize("method", ["RegisterNode", "Heartbeat"])
def test_the_gateways_half_is_not_offered_by_a_node(nodes: Nodes, method: str) -> None:
    with pytest.raises(NotOffered, match=method):
        nodes.call(nodes.start("node1"), method, None, with_secret())


def test_before_it_has_joined_a_node_refuses_chunks(nodes: Nodes) -> None:
    """All at once, since each waits a moment for it to join."""
    node = nodes.start("node1", joined=False)
    methods = REQUESTS.keys() - {"RegisterNode", "Heartbeat"}
    for refusal in nodes.refusals(node, methods, with_secret()):
        assert isinstance(refusal, NodeUnavailable)
        assert "not joined" in str(refusal)


def test_a_call_meant_for_another_node_is_refused(nodes: Nodes) -> None:
    """Else two copies could lie on one node, when it took over the port of another."""
    node = nodes.start("node1")
    mistaken = nodes.remote("node2", node.port)
    with pytest.raises(NodeUnavailable, match="node1 is at its address"):
        mistaken.put(random_chunk())
    assert node.disk.chunk_count == 0


@pytest.mark.parametrize("chunk_id", ["", "../../x", "a" * 31, "A" * 32, "a" * 32 + "\n"])
def test_no_call_takes_what_is_not_an_id(nodes: Nodes, chunk_id: str) -> None:
    node = nodes.start("node1")
    before = tree(nodes.folder)
    for method, request in {
        "StoreChunk": pb.StoreChunkRequest(chunk_id=chunk_id, chunk_data=b"x", checksum=checksum_of(b"x")),
        "RetrieveChunk": pb.RetrieveChunkRequest(chunk_id=chunk_id),
        "DeleteChunk": pb.DeleteChunkRequest(chunk_id=chunk_id),
        "DeleteChunks": pb.DeleteChunksRequest(chunk_ids=["a" * 32, chunk_id]),
        "VerifyChunks": pb.VerifyChunksRequest(chunks=[pb.ChunkClaim(chunk_id=one) for one in ("a" * 32, chunk_id)]),
        "CopyChunk": pb.CopyChunkRequest(
            chunk_id=chunk_id, checksum="0" * 32, source_host="127.0.0.1", source_port=node.port
        ),
    }.items():
        with pytest.raises(InvalidField, match="chunk_id"):
            nodes.call(node, method, request, with_secret())
    assert tree(nodes.folder) == before


def test_a_client_of_the_plain_contract_gets_bytes_and_checksum(nodes: Nodes) -> None:
    node = nodes.start("node1")
    chunk = random_chunk(4 << 20)
    request = pb.StoreChunkRequest(chunk_id=chunk.chunk_id, chunk_data=chunk.data, checksum=chunk.checksum)
    assert nodes.call(node, "StoreChunk", request, with_secret()).success
    answer = nodes.call(node, "RetrieveChunk", pb.RetrieveChunkRequest(chunk_id=chunk.chunk_id), with_secret())
    assert answer == pb.RetrieveChunkResponse(success=True, chunk_data=chunk.data, checksum=chunk.checksum)
    assert nodes.call(node, "DeleteChunk", pb.DeleteChunkRequest(chunk_id=chunk.chunk_id), with_secret()).success
    with pytest.raises(ChunkMissing):
        nodes.call(node, "RetrieveChunk", pb.RetrieveChunkRequest(chunk_id=chunk.chunk_id), with_secret())


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.ListChunksRequest(page_size=-1), "page_size"),
        (pb.ListChunksRequest(page_size=50_001), "page_size"),
        (pb.ListChunksRequest(node_id="node2"), "node_id"),
        (pb.ListChunksRequest(page_token="../x"), "page_token"),
    ],
)
def test_a_list_that_makes_no_sense_is_refused(nodes: Nodes, request_: pb.ListChunksRequest, field: str) -> None:
    with pytest.raises(InvalidField, match=field):
        nodes.call(nodes.start("node1"), "ListChunks", request_, with_secret())


def test_lists_come_whole_or_in_pages(nodes: Nodes) -> None:
    node = nodes.start("node1")
    ids = sorted(chunk.chunk_id for chunk in [random_chunk(1) for _ in range(7)])
    for chunk_id in ids:
        node.remote.put(chunk_of(b"x", chunk_id))
    whole = nodes.call(node, "ListChunks", pb.ListChunksRequest(node_id="node1"), with_secret())
    assert (list(whole.chunk_ids), whole.total_chunks, whole.next_page_token) == (ids, 7, "")
    seen: list[str] = []
    token = ""
    while True:
        request = pb.ListChunksRequest(page_size=3, page_token=token)
        page = nodes.call(node, "ListChunks", request, with_secret())
        seen += page.chunk_ids
        token = page.next_page_token
        if not token:
            break
    assert seen == ids
    exact = nodes.call(node, "ListChunks", pb.ListChunksRequest(page_size=7), with_secret())
    assert exact.next_page_token == ""


def test_the_longest_whole_list_fits_a_message_and_a_longer_one_is_refused() -> None:
    class ManyIds:
        name = "node1"
        chunk_count = 0

        async def page(self, _after: str, limit: int) -> list[str]:
            return ["a" * 32] * min(limit, self.chunk_count)

    store: Any = ManyIds()
    disk = node_disk.NodeDisk(store, lambda _host, _port: pytest.fail("no copy was asked for"))
    store.chunk_count = node_disk.MAX_WHOLE_LIST
    page = asyncio.run(disk.list_ids("", 0, ""))
    reply = pb.ListChunksResponse(chunk_ids=page.chunk_ids, total_chunks=page.total, next_page_token=page.next_token)
    assert 0 <= rpc.MESSAGE_BYTES - reply.ByteSize() < 200
    store.chunk_count += 1
    with pytest.raises(CloudError, match="4 MiB"):
        asyncio.run(disk.list_ids("", 0, ""))


def test_many_chunks_are_deleted_in_one_call_but_not_too_many(nodes: Nodes) -> None:
    node = nodes.start("node1")
    chunks = [random_chunk() for _ in range(5)]
    for chunk in chunks:
        node.remote.put(chunk)
    ids = [chunk.chunk_id for chunk in chunks]
    answer = nodes.call(node, "DeleteChunks", pb.DeleteChunksRequest(chunk_ids=[*ids, "0" * 32]), with_secret())
    assert answer.success
    assert list(answer.failed_chunk_ids) == []
    assert node.disk.chunk_count == 0
    with pytest.raises(InvalidField, match="chunk_ids"):
        nodes.call(node, "DeleteChunks", pb.DeleteChunksRequest(chunk_ids=["0" * 32] * 10_001), with_secret())


def test_too_many_chunks_in_one_call_are_refused_and_none_is_kept(nodes: Nodes) -> None:
    node = nodes.start("node1")
    chunk = random_chunk(1)
    many = [pb.StoreChunkRequest(chunk_id=chunk.chunk_id, chunk_data=chunk.data, checksum=chunk.checksum)] * 1001
    with pytest.raises(InvalidField, match="chunks"):
        nodes.call(node, "StoreChunks", pb.StoreChunksRequest(chunks=many), with_secret())
    assert node.disk.chunk_count == 0
    kept = nodes.call(node, "StoreChunks", pb.StoreChunksRequest(chunks=many[:1000]), with_secret())
    assert len(kept.outcomes) == 1000
    assert node.disk.chunk_count == 1


def test_a_node_reads_its_chunks_and_tells_which_are_whole(nodes: Nodes) -> None:
    node = nodes.start("node1")
    whole, damaged, mistaken = random_chunk(5000), random_chunk(6000), random_chunk(7000)
    for chunk in (whole, damaged, mistaken):
        node.remote.put(chunk)
    place = node.disk.path / damaged.chunk_id[:2] / damaged.chunk_id
    place.write_bytes(place.read_bytes()[:-1] + b"?")
    claims = [
        *(Claim(chunk.chunk_id, chunk.checksum, len(chunk.data)) for chunk in (whole, damaged)),
        Claim(mistaken.chunk_id, whole.checksum, 7000),
        Claim("0" * 32, whole.checksum, 1),
        Claim(whole.chunk_id, "", 5000),
    ]
    verified = node.remote.verify(claims)
    kinds = [type(outcome) for outcome in verified.outcomes]
    assert kinds == [type(None), ChunkCorrupt, ChunkCorrupt, ChunkMissing, type(None)]
    assert verified.bytes_read == 5000 + 7000 + 5000
    # What is not what was claimed but whole by itself stays: the claim may be the wrong one.
    assert [path.name[:32] for path in (node.disk.path / "quarantine").iterdir()] == [damaged.chunk_id]
    assert bytes(node.remote.get(mistaken.chunk_id).data) == mistaken.data


def test_more_chunks_than_one_call_may_read_are_refused(nodes: Nodes) -> None:
    node = nodes.start("node1")
    claims = [pb.ChunkClaim(chunk_id="0" * 32)] * 1001
    with pytest.raises(InvalidField, match="chunks"):
        nodes.call(node, "VerifyChunks", pb.VerifyChunksRequest(chunks=claims), with_secret())
    answer = nodes.call(node, "VerifyChunks", pb.VerifyChunksRequest(chunks=claims[:1000]), with_secret())
    assert {outcome.error_code for outcome in answer.outcomes} == {"chunk_missing"}
    assert len(answer.outcomes) == 1000


def test_a_remote_store_deletes_more_than_one_call_may(nodes: Nodes) -> None:
    node = nodes.start("node1")
    chunk = random_chunk()
    node.remote.put(chunk)
    assert node.remote.delete([f"{number:032x}" for number in range(10_001)] + [chunk.chunk_id]) == []
    assert node.disk.chunk_count == 0


def test_a_node_copies_a_chunk_from_another(nodes: Nodes) -> None:
    source, target = nodes.start("node1"), nodes.start("node2")
    chunk = random_chunk(4 << 20)
    source.remote.put(chunk)
    target.remote.copy_from(chunk.chunk_id, chunk.checksum, "127.0.0.1", source.port)
    target.remote.copy_from(chunk.chunk_id, chunk.checksum, "127.0.0.1", source.port)
    assert target.disk.get(chunk.chunk_id) == chunk
    assert source.disk.get(chunk.chunk_id) == chunk
    assert target.disk.chunk_count == 1


def test_a_copy_of_other_bytes_than_asked_for_is_not_kept(nodes: Nodes) -> None:
    source, target = nodes.start("node1"), nodes.start("node2")
    chunk = random_chunk()
    source.remote.put(chunk)
    with pytest.raises(ChunkCorrupt):
        target.remote.copy_from(chunk.chunk_id, checksum_of(b"what was asked for"), "127.0.0.1", source.port)
    assert target.disk.chunk_count == 0


def test_a_copy_of_a_damaged_chunk_is_not_kept(nodes: Nodes) -> None:
    source, target = nodes.start("node1"), nodes.start("node2")
    chunk = random_chunk()
    source.remote.put(chunk)
    path = source.disk.path / chunk.chunk_id[:2] / chunk.chunk_id
    path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))
    with pytest.raises(ChunkCorrupt):
        target.remote.copy_from(chunk.chunk_id, chunk.checksum, "127.0.0.1", source.port)
    assert target.disk.chunk_count == 0


def test_a_copy_from_a_dead_node_says_so(nodes: Nodes) -> None:
    target = nodes.start("node1")
    with pytest.raises(NodeUnavailable):
        target.remote.copy_from("a" * 32, "0" * 32, "127.0.0.1", free_port())
    with pytest.raises(ChunkMissing):
        target.remote.copy_from("a" * 32, "0" * 32, "127.0.0.1", nodes.start("node2").port)
    with pytest.raises(InvalidField, match="source"):
        target.remote.copy_from("a" * 32, "0" * 32, "", 0)


def test_a_dead_node_is_unavailable_and_names_itself(nodes: Nodes) -> None:
    remote = nodes.remote("node7", free_port())
    for call in (
        lambda: remote.put(random_chunk()),
        lambda: remote.get("a" * 32),
        lambda: remote.delete(["a" * 32]),
        lambda: remote.page("", 1),
    ):
        with pytest.raises(NodeUnavailable, match="node7"):
            call()


def test_a_server_that_is_no_node_is_unavailable(nodes: Nodes) -> None:
    async def start() -> tuple[grpc.aio.Server, int]:
        server = grpc.aio.server()
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return server, port

    server, port = nodes.runner.run(start())
    with pytest.raises(NodeUnavailable, match="UNIMPLEMENTED"):
        nodes.remote("node1", port).get("a" * 32)
    nodes.runner.run(server.stop(None))


def test_a_wrong_secret_is_named_as_such(nodes: Nodes) -> None:
    node = nodes.start("node1")
    with pytest.raises(ClusterSecretWrong):
        nodes.remote("node1", node.port, "another secret").put(random_chunk())


def test_closing_a_store_fails_its_calls_and_cancels_nobody() -> None:
    async def main(port: int) -> None:
        store = RemoteStore("node1", "127.0.0.1", port, KNOWN, 30)
        under_way = asyncio.create_task(store.get("a" * 32))
        await asyncio.sleep(0.05)
        await store.close()
        with pytest.raises(NodeUnavailable, match="closed"):
            await under_way
        with pytest.raises(NodeUnavailable, match="closed"):
            await store.get("a" * 32)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        asyncio.run(main(silent.getsockname()[1]))


def test_bytes_that_a_node_sends_damaged_are_not_taken(nodes: Nodes) -> None:
    node = nodes.start("node1")

    async def lie(chunk_id: str, make: Callable[[Chunk], bytes]) -> bytes:
        return make(Chunk(chunk_id, b"not what the checksum says", checksum_of(b"what it says")))

    node.disk.inner.get_as = lie
    with pytest.raises(ChunkCorrupt):
        node.remote.get("a" * 32)


class Gateway(NodeServiceServicer):
    """A gateway's half of NodeService whose answers a test decides; keeps what nodes said."""

    def __init__(self) -> None:
        self.registered: list[pb.RegisterNodeRequest] = []
        self.heard: list[pb.HeartbeatRequest] = []
        self.refusals: list[CloudError | None] = []  # of one registration after the other; None: it is taken in
        self.heartbeat_refusals: list[CloudError] = []
        self.forgets = 0
        self.changed = threading.Condition()

    def RegisterNode(self, request: pb.RegisterNodeRequest, context: Any) -> pb.RegisterNodeResponse:  # noqa: N802
        with self.changed:
            self.registered.append(request)
            self.changed.notify_all()
        if self.refusals and (refusal := self.refusals.pop(0)):
            self._refuse(context, refusal)
        return pb.RegisterNodeResponse(success=True, cluster_id="c1", pool_capacity_bytes=5 << 30, heartbeat_s=0.05)

    def Heartbeat(self, request: pb.HeartbeatRequest, context: Any) -> pb.HeartbeatResponse:  # noqa: N802
        with self.changed:
            self.heard.append(request)
            self.changed.notify_all()
        if self.heartbeat_refusals:
            self._refuse(context, self.heartbeat_refusals.pop(0))
        if self.forgets:
            self.forgets -= 1
            self._refuse(context, NodeUnknown(node_id=request.node_id))
        return pb.HeartbeatResponse(success=True)

    def wait_for(self, what: Any) -> None:
        with self.changed:
            assert self.changed.wait_for(what, PATIENCE_S)

    def _refuse(self, context: Any, error: CloudError) -> None:
        context.set_trailing_metadata(rpc.trailers_of(error))
        context.abort(rpc.status_of(error), str(error))


@contextlib.contextmanager
def running_gateway(gateway: Gateway, port: int = 0) -> Iterator[int]:
    server = grpc.server(futures.ThreadPoolExecutor(4))
    add_NodeServiceServicer_to_server(gateway, server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield bound
    finally:
        server.stop(None).wait()


@contextlib.contextmanager
def node_process(
    folder: Path,
    gateway_port: int,
    *,
    node_id: str = "node1",
    port: int = 0,
    host: str = "127.0.0.1",
    more: Sequence[str] = (),
    zone: str = "",
    capacity_gb: str = "0.5",
) -> Iterator[subprocess.Popen[str]]:
    environment = clean_environment() | {
        "PYTHONPATH": str(ROOT),
        "CLOUDGRPC_DATA_FOLDER": str(folder),
        "CLOUDGRPC_GATEWAY_PORT": str(gateway_port),
        "CLOUDGRPC_CLUSTER_SECRET": SECRET,
        "CLOUDGRPC_NODE_ZONE": zone,
    }
    words = ["node", "--host", host, "--cpus", "3", *more, "--", node_id, str(port), capacity_gb]
    command = [sys.executable, "-m", "cloudgrpc", *words]
    process = subprocess.Popen(
        command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_a_node_registers_heartbeats_and_stops_when_asked(tmp_path: Path) -> None:
    gateway = Gateway()
    with running_gateway(gateway) as gateway_port, node_process(tmp_path, gateway_port) as process:
        gateway.wait_for(lambda: len(gateway.heard) >= 2)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE_S)
    said = gateway.registered[0]
    assert process.returncode == 0
    assert f"node1 listens on 127.0.0.1:{said.port}, keeps up to 512.0 MB in {tmp_path}/node_storage_node1" in out
    assert "5.0 GB" in out.partition("joins")[2]
    assert (said.node_id, said.host, said.cpu_cores, said.storage_capacity) == ("node1", "127.0.0.1", 3, 1 << 29)
    assert said.cluster_id == ""
    assert gateway.heard[0].instance_id == said.instance_id
    assert "Traceback" not in err


def test_a_node_tells_its_zone_and_why_it_is_read_only(tmp_path: Path) -> None:
    disk = open_disk(tmp_path / "node_storage_node1")
    asyncio.run(disk.put(random_chunk(1 << 20)))
    disk.close()
    for zone in ("room-1", "room-2"):
        gateway = Gateway()
        # The flag goes before the settings.
        settings: Any = {"more": ["--zone", zone] if zone == "room-2" else [], "zone": "room-1"}
        with (
            running_gateway(gateway) as gateway_port,
            node_process(tmp_path, gateway_port, capacity_gb="0.0005", **settings) as process,
        ):
            gateway.wait_for(lambda gateway=gateway: gateway.heard)
            process.terminate()
            out, _ = process.communicate(timeout=PATIENCE_S)
        told = gateway.registered[-1]
        assert (told.zone, told.read_only, told.read_only_reason) == (zone, True, "full: 1.0 MB of 524.3 KB used")
        assert gateway.heard[-1].read_only_reason == "full: 1.0 MB of 524.3 KB used"
        assert "takes no new chunks: full: 1.0 MB of 524.3 KB used" in out


def test_a_node_waits_for_its_gateway_and_says_so_once(tmp_path: Path) -> None:
    gateway, port = Gateway(), free_port()
    with node_process(tmp_path, port) as process:
        assert process.stderr is not None
        assert "waiting for the gateway" in process.stderr.readline()
        with running_gateway(gateway, port):
            gateway.wait_for(lambda: gateway.heard)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert "waiting" not in err


def test_a_forgotten_node_registers_again_with_its_cluster(tmp_path: Path) -> None:
    gateway = Gateway()
    gateway.forgets = 1
    with running_gateway(gateway) as gateway_port, node_process(tmp_path, gateway_port):
        gateway.wait_for(lambda: len(gateway.registered) >= 2)
    assert [request.cluster_id for request in gateway.registered[:2]] == ["", "c1"]
    assert len({request.instance_id for request in gateway.registered}) == 1


def test_a_node_that_was_in_outlives_a_secret_that_is_changed_too_early(tmp_path: Path) -> None:
    """Its file is read again, so that whoever changes it can still put it right."""
    gateway = Gateway()
    gateway.heartbeat_refusals = [ClusterSecretWrong(), ClusterSecretWrong(), NodeUnknown(node_id="node1")]
    gateway.refusals = [None, ClusterSecretWrong()]
    with running_gateway(gateway) as gateway_port, node_process(tmp_path, gateway_port) as process:
        gateway.wait_for(lambda: len(gateway.registered) >= 3 and len(gateway.heard) >= 4)
        process.terminate()
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert "waiting for the gateway" in err


def test_a_node_whose_id_is_taken_tries_again(tmp_path: Path) -> None:
    gateway = Gateway()
    gateway.refusals = [NodeIdTaken(node_id="node1"), NodeIdTaken(node_id="node1")]
    with running_gateway(gateway) as gateway_port, node_process(tmp_path, gateway_port) as process:
        gateway.wait_for(lambda: gateway.heard)
        process.terminate()
        _, err = process.communicate(timeout=PATIENCE_S)
    assert err.count("belongs to another folder") == 1


@pytest.mark.parametrize(
    "refusal",
    [
        ClusterSecretWrong(),
        NodeForeign(node_id="node1", theirs="c2", ours="c1"),
        NodeRemoved(node_id="node1"),
        InvalidField(field="f", reason="r"),
    ],
)
def test_a_refusal_that_waiting_does_not_mend_ends_the_node(tmp_path: Path, refusal: CloudError) -> None:
    gateway = Gateway()
    gateway.refusals = [refusal]
    with running_gateway(gateway) as gateway_port, node_process(tmp_path, gateway_port) as process:
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == refusal.exit_code
    assert f"{refusal}\n{refusal.hint}" in err


def test_a_node_of_another_cluster_ends_and_keeps_its_own(tmp_path: Path) -> None:
    disk = open_disk(tmp_path / "node_storage_node1")
    asyncio.run(disk.adopt("c2"))
    disk.close()
    with running_gateway(Gateway()) as gateway_port, node_process(tmp_path, gateway_port) as process:
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == NodeForeign.exit_code
    assert "belongs to cluster c2, this is cluster c1" in err
    disk = open_disk(tmp_path / "node_storage_node1")
    assert disk.identity.cluster_id == "c2"
    disk.close()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"node_id": "../evil"}, "node id '../evil' must be"),
        ({"node_id": "-x"}, "node id '-x' must be"),
        ({"host": "0.0.0.0"}, "Listening on 0.0.0.0 without TLS"),
        ({"port": 70_000}, "port 70000 must be"),
        ({"more": ["--zone", "room 1"]}, "zone 'room 1' must be 1 to 63 of letters, digits,"),
    ],
)
def test_a_node_refuses_to_start_wrongly_and_makes_nothing(tmp_path: Path, settings: Any, words: str) -> None:
    with node_process(tmp_path / "data", 1, **settings) as process:
        _, err = process.communicate(timeout=PATIENCE_S)
    assert err.startswith(words)
    assert process.returncode != 0
    assert list(tmp_path.iterdir()) == []


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with node_process(tmp_path, 1, port=port) as process:
            _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 15
    assert f"Port {port} on 127.0.0.1 is in use by another program." in err


def test_a_node_ends_with_its_parent_when_told_to(tmp_path: Path) -> None:
    with node_process(tmp_path, free_port(), more=["--exit-with-parent"]) as process:
        assert process.stdout is not None
        assert "listens" in process.stdout.readline()
        process.communicate(timeout=PATIENCE_S)  # closes its standard input
    assert process.returncode == 0
