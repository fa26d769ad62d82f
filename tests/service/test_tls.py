"""TLS between real processes: the whole job with certificates, and everybody who must be refused, on both sides."""

from __future__ import annotations

import asyncio
import io
import os
import re
import ssl
import tempfile
import time
from collections import Counter
from concurrent import futures
from contextlib import closing, redirect_stderr
from typing import TYPE_CHECKING, Any, cast

import grpc
import pytest

from cloudgrpc import cli, handshakes, rpc
from cloudgrpc.chunks.base import Chunk, checksum_of
from cloudgrpc.chunks.remote import AGED, TRIES, RemoteStore
from cloudgrpc.clients.session import Gateway, Session
from cloudgrpc.clients.transfer import Transfers
from cloudgrpc.clients.trusting import connected
from cloudgrpc.config import Cluster, Config, Data
from cloudgrpc.errors import (
    CertificateOver,
    CertificateRefused,
    CertificateRevoked,
    CloudError,
    ClusterSecretWrong,
    Exit,
    IdentityWrong,
    NodeUnavailable,
    PlaintextCall,
)
from cloudgrpc.links import Link
from cloudgrpc.meta.models import new_id
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import NodeServiceStub
from cloudgrpc.trust import private
from cloudgrpc.trust.authority import Authority
from cloudgrpc.trust.gateway_papers import certify
from cloudgrpc.trust.identity import THE_GATEWAY, Identity, node_identity
from cloudgrpc.trust.papers import Papers
from cloudgrpc.trust.secrets import Secret
from cluster_harness import PATIENT
from operating import admin, admin_key
from program import HOST, PATIENCE_S
from tls_cluster import TlsCluster, tls_channel
from user import CALL_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from program import Program

STRANGER = "a" * 32
EXPECTED = THE_GATEWAY.host
DAY_S = 86400


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsCluster]:
    cluster = TlsCluster(tmp_path_factory.mktemp("tls"), **PATIENT)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


def issued(folder: Path, authority: Authority, identity: Identity, roots: bytes) -> rpc.Tls:
    """The papers of a party as this authority makes them, which believes `roots`."""
    papers = Papers(folder, identity)
    certify(authority, papers, [])
    return rpc.Tls(papers.tls.key, papers.tls.certificate, roots)


def expired(tls: TlsCluster, folder: Path, identity: Identity) -> rpc.Tls:
    """By the cluster's own authority, an hour ago, for a minute."""
    then = Authority(tls.certs, 60 / DAY_S, lambda: time.time() - 3600)
    return issued(folder, then, identity, tls.authority.bundle)


def secret_of(tls: TlsCluster) -> Secret:
    return Secret.of((tls.data / "secrets" / "cluster.key").read_text().strip())


def asked(
    tls: TlsCluster,
    port: int,
    shown: rpc.Tls | None,
    expected: Identity,
    method: str,
    request: Any,
    secret: str = "",
) -> Any:
    """What a party of the cluster hears that shows these papers. `secret` "": the cluster's. Raises: CloudError, as
    that party tells it."""

    async def ask() -> Any:
        link: Link[Any] = Link(
            HOST, port, NodeServiceStub, papers=(lambda: shown) if shown else None, expected=expected.host
        )
        metadata = ((rpc.SECRET_KEY, secret or secret_of(tls).current),)
        try:
            return await getattr(link.calls, method)(request, timeout=CALL_S, metadata=metadata)
        except grpc.aio.AioRpcError as failure:
            raise await link.why(failure) or rpc.error_of(failure, link.address) from failure
        finally:
            await link.close()

    return asyncio.run(ask())


def registered(tls: TlsCluster, shown: rpc.Tls | None, node_id: str = "node9") -> Any:
    request = pb.RegisterNodeRequest(
        node_id=node_id, host=HOST, port=1, storage_capacity=1, instance_id=STRANGER, cpu_cores=1
    )
    return asked(tls, tls.cluster_port, shown, THE_GATEWAY, "RegisterNode", request)


def events(tls: TlsCluster, kind: str) -> list[str]:
    return [row[0] for row in tls.rows(f"SELECT message FROM event WHERE kind = '{kind}' ORDER BY event_id")]


def told_by(tls: TlsCluster, name: str, words: str) -> None:
    """The refused side says it in its log, and an event records it."""
    tls.wait(lambda: words in tls.programs[name].err.read_text(), what=f"{name} saying {words!r}")


def recorded(tls: TlsCluster, kind: str, *words: str) -> None:
    def found() -> bool:
        return any(all(word in message for word in words) for message in events(tls, kind))

    tls.wait(found, what=f"an event {kind} with {words}: {events(tls, kind)}")


def test_the_whole_job_is_done_with_tls_and_a_lost_copy_goes_from_node_to_node(tls: TlsCluster) -> None:
    alice = tls.enroll("alice@example.org")
    content = os.urandom(9 << 20)
    file_id = alice.upload("film.bin", content).file_id
    lost = tls.chunks_of(file_id)[0]
    holder = tls.holders(lost)[0]
    tls.chunk_files(holder)[lost].unlink()
    assert alice.download(file_id) == content
    assert "node1" in admin(tls, "--nodes")  # the data folder has what the gateway is believed by
    tls.wait(lambda: len(tls.holders(lost)) == 2, what="the copy made again")
    assert alice.download(file_id) == content


@pytest.mark.parametrize(
    ("kind", "ours", "theirs"),
    [
        ("none", "it wants one, and none was shown", "it showed no certificate"),
        ("stranger", "by no authority that is trusted there", "its certificate is by no authority of this cluster"),
        ("expired", "it expired on", "its certificate has expired"),
    ],
)
@pytest.mark.parametrize("where", ["gateway", "node1"])
def test_a_caller_without_a_good_certificate_is_refused_with_words_on_both_sides(
    tls: TlsCluster, tmp_path: Path, where: str, kind: str, ours: str, theirs: str
) -> None:
    bundle, port = tls.authority.bundle, tls.cluster_port if where == "gateway" else tls.node_port("node1")
    stranger = Authority.create(tmp_path / "stranger")
    shown = {
        "none": lambda: rpc.Tls(b"", b"", bundle),
        "stranger": lambda: issued(tmp_path / "stranger", stranger, node_identity("node2"), bundle),
        "expired": lambda: expired(tls, tmp_path, node_identity("node2")),
    }[kind]()
    expected = THE_GATEWAY if where == "gateway" else node_identity(where)
    with pytest.raises(CloudError, match=ours) as refused:
        asked(tls, port, shown, expected, "ListChunks", pb.ListChunksRequest())
    assert refused.value.code == "certificate_refused"
    told_by(tls, where, f"port {port}, did not come about: {theirs}")
    recorded(tls, "refused.handshake_refused", f"port {port},", theirs)


def test_a_server_by_another_authority_or_out_of_date_or_for_another_name_is_not_spoken_to(
    tls: TlsCluster, tmp_path: Path
) -> None:
    bundle, node1 = tls.authority.bundle, tls.papers(node_identity("node1"))
    stranger = Authority.create(tmp_path / "stranger")
    for shown, code in (
        (issued(tmp_path / "stranger", stranger, THE_GATEWAY, bundle), "certificate_untrusted"),
        (expired(tls, tmp_path, THE_GATEWAY), "certificate_expired"),
        (tls.papers(node_identity("node2")), "certificate_elsewhere"),  # a node in the gateway's place
    ):
        with serving(shown) as (port, heard), pytest.raises(CloudError) as refused:
            asked(tls, port, node1, THE_GATEWAY, "Heartbeat", pb.HeartbeatRequest())
        assert refused.value.code == code
        assert not heard
    assert "node2.node.cloudgrpc, not for gateway.gateway.cloudgrpc" in str(refused.value)


def test_a_node_cannot_do_what_only_a_gateway_may(tls: TlsCluster) -> None:
    node2, node1 = tls.papers(node_identity("node2")), node_identity("node1")
    port, chunk = tls.node_port("node1"), STRANGER
    for method, request in (
        ("StoreChunk", pb.StoreChunkRequest(chunk_id=chunk, chunk_data=b"x", checksum=checksum_of(b"x"))),
        ("DeleteChunks", pb.DeleteChunksRequest(chunk_ids=[chunk])),
        ("ListChunks", pb.ListChunksRequest()),
    ):
        with pytest.raises(IdentityWrong, match="needs the certificate of a gateway; what was shown is node2"):
            asked(tls, port, node2, node1, method, request)
    told_by(tls, "node1", "needs the certificate of a gateway; what was shown is node2.node.cloudgrpc")
    recorded(tls, "refused.identity_wrong", "node1 refused", "what was shown is node2.node.cloudgrpc")
    with pytest.raises(CloudError) as answered:  # nodes fetch from each other
        asked(tls, port, node2, node1, "RetrieveChunk", pb.RetrieveChunkRequest(chunk_id=chunk))
    assert answered.value.code == "chunk_missing"


def test_a_node_speaks_for_itself_only(tls: TlsCluster) -> None:
    node2 = tls.papers(node_identity("node2"))
    with pytest.raises(IdentityWrong, match="the node 'node1' that it speaks of; what was shown is node2"):
        registered(tls, node2, "node1")
    with pytest.raises(IdentityWrong, match="a node; what was shown is gateway"):
        registered(tls, tls.papers(), "node1")
    told_by(tls, "gateway", "what was shown is node2.node.cloudgrpc")
    recorded(tls, "refused.identity_wrong", "RegisterNode", "what was shown is node2.node.cloudgrpc")


def test_a_wrong_secret_is_told_as_such_since_a_node_that_runs_waits_until_it_is_put_right(tls: TlsCluster) -> None:
    node2, request = tls.papers(node_identity("node2")), pb.HeartbeatRequest(node_id="node2")
    with pytest.raises(ClusterSecretWrong):
        asked(tls, tls.cluster_port, node2, THE_GATEWAY, "Heartbeat", request, secret="w" * 40)
    recorded(tls, "refused.cluster_secret_wrong", "Heartbeat")
    with pytest.raises(ClusterSecretWrong):
        asked(
            tls,
            tls.node_port("node1"),
            tls.papers(),
            node_identity("node1"),
            "ListChunks",
            pb.ListChunksRequest(),
            secret="w" * 40,
        )


def test_a_node_with_the_certificate_of_another_one_stops_and_says_why(tls: TlsCluster, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("certs", "secrets"):
        (data / name).mkdir(mode=0o700, parents=True)
    (data / "certs" / "ca.crt").write_bytes(tls.authority.bundle)
    (data / "certs" / "joined.json").write_bytes((tls.certs / "joined.json").read_bytes())
    for ending in ("key", "crt"):
        (data / "certs" / f"node8.{ending}").touch(0o600)
        (data / "certs" / f"node8.{ending}").write_bytes((tls.certs / f"node2.{ending}").read_bytes())
    (data / "secrets" / "cluster.key").touch(0o600)
    (data / "secrets" / "cluster.key").write_text(secret_of(tls).current + "\n")
    node = tls.start_node("node8", ready=False, data=data)
    assert node.wait() != Exit.OK
    assert "node2" in node.err.read_text()


def test_a_call_to_a_node_that_shows_the_certificate_of_another_is_told_so(tls: TlsCluster) -> None:
    async def fetched() -> None:
        store = RemoteStore(
            "node1",
            HOST,
            tls.node_port("node2"),
            secret_of(tls),
            CALL_S,
            papers=tls.papers,
            expected=node_identity("node1").host,
        )
        try:
            await store.get(STRANGER)
        finally:
            await store.close()

    with pytest.raises(NodeUnavailable, match=r"shows a certificate for node2\.node\.cloudgrpc, not for node1"):
        asyncio.run(fetched())


def test_plaintext_to_tls_is_explained_and_recorded(tls: TlsCluster) -> None:
    left = tls.run("admin", "--gateway", tls.address, "--status", admin_key=admin_key(tls))
    assert left.returncode == Exit.NOT_NOW
    assert left.stderr.count("\n") == 2, left.stderr
    assert f"{tls.address} speaks TLS only" in left.stderr
    assert "--ca FILE" in left.stderr
    told_by(tls, "gateway", f"the gateway, port {tls.port}, did not come about: it spoke plaintext")
    recorded(tls, "refused.handshake_refused", f"port {tls.port},", "it spoke plaintext")
    with pytest.raises(CloudError, match="speaks TLS only"):
        registered(tls, None)
    recorded(tls, "refused.handshake_refused", f"port {tls.cluster_port},", "it spoke plaintext")
    assert ".cc:" not in tls.gateway.err.read_text()  # gRPC's own words for it


def test_who_was_spoken_to_with_tls_never_hears_plaintext_again(tls: TlsCluster) -> None:
    key: dict[str, Any] = {"admin_key": admin_key(tls)}
    known = tls.folder / "home" / ".config" / "cloudgrpc" / "gateways.json"
    status = ("admin", "--gateway", tls.address, "--status")
    assert tls.run(*status, "--ca", str(tls.ca), **key).returncode == Exit.OK
    assert tls.run(*status, **key).returncode == Exit.OK
    with serving(None) as (port, heard):
        known.write_text(known.read_text().replace(tls.address, f"{HOST}:{port}"))
        left = tls.run("admin", "--gateway", f"{HOST}:{port}", "--status", **key)
        assert (left.returncode, heard) == (Exit.NOT_NOW, [])
    assert f"{HOST}:{port} does not speak TLS; nothing was sent there." in left.stderr
    assert str(known) in left.stderr


def test_nobody_begins_with_plaintext_to_another_machine(tmp_path: Path) -> None:
    config = Config(data=Data(folder=str(tmp_path)))
    for address in ("drive.example.org:50051", "192.0.2.14:50051", "[2001:db8::1]:50051"):
        with pytest.raises(PlaintextCall, match=re.escape(address)):
            connected(config, address)
    for address in ("127.0.0.1:50051", "localhost:50051", "[::1]:50051"):
        connected(config, address).close()
    trusting = Config(data=config.data, cluster=Cluster(allow_plaintext=True))
    connected(trusting, "192.0.2.14:50051").close()


def test_a_revoked_node_is_refused_by_the_gateway_and_by_the_other_nodes(tls: TlsCluster) -> None:
    node3 = tls.papers(node_identity("node3"))
    reply = tls.admin.RevokeNode(pb.RevokeNodeRequest(admin_key=admin_key(tls), node_id="node3"), timeout=CALL_S)
    assert len(reply.serials) == 1
    assert tls.node("node3").wait() == CertificateRevoked.exit_code
    assert "was revoked" in tls.node("node3").err.read_text()
    with pytest.raises(CertificateRevoked):
        registered(tls, node3, "node3")
    recorded(tls, "refused.certificate_revoked", "node3.node.cloudgrpc", reply.serials[0])
    request = pb.RetrieveChunkRequest(chunk_id=STRANGER)

    def refused() -> bool:
        try:
            asked(tls, tls.node_port("node1"), node3, node_identity("node1"), "RetrieveChunk", request)
        except CloudError as error:
            return isinstance(error, CertificateRevoked)
        return False

    tls.wait(refused, what="node1 having heard of it")
    recorded(tls, "refused.certificate_revoked", "node1 refused", reply.serials[0])


def test_a_connection_does_not_outlive_the_certificate_it_was_made_with(tls: TlsCluster, tmp_path: Path) -> None:
    over = CertificateOver.code
    for life_s in (2, 8, 32):  # a machine that is busy may need all of the first to connect
        short = Authority(tls.certs, life_s / DAY_S)
        shown = issued(tmp_path / f"{life_s}", short, node_identity("node2"), tls.authority.bundle)
        with closing(tls_channel(tls.cluster_port, shown, THE_GATEWAY)) as channel:
            if answer(tls, channel) != "node_unknown":
                continue
            tls.wait(lambda channel=channel: answer(tls, channel) == over, 2 * PATIENCE_S, "the certificate's end")
            return
    raise AssertionError("never connected")


def answer(tls: TlsCluster, channel: grpc.Channel) -> str:
    """The code of the error that a node hears there whose folder is not known."""
    request = pb.HeartbeatRequest(node_id="node2", instance_id=STRANGER)
    metadata = ((rpc.SECRET_KEY, secret_of(tls).current),)
    with pytest.raises(grpc.RpcError) as failed:
        NodeServiceStub(channel).Heartbeat(request, timeout=CALL_S, metadata=metadata)
    return rpc.error_of(cast("grpc.Call", failed.value), "").code


def test_why_a_connection_failed_is_found_out_without_a_key_on_any_disk(
    tls: TlsCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    mine = tls.papers(node_identity("node1"))
    assert handshakes.look(HOST, tls.cluster_port, mine, THE_GATEWAY.host) is None
    stranger = issued(tmp_path / "stranger", Authority.create(tmp_path / "other"), node_identity("node1"), mine.roots)
    told = handshakes.look(HOST, tls.cluster_port, stranger, THE_GATEWAY.host)
    assert isinstance(told, CertificateRefused)


def test_a_connection_is_made_anew_after_a_while_and_no_call_is_lost(tls: TlsCluster) -> None:
    shown, peers = tls.papers(), []

    async def hear(_request: bytes, context: Any) -> bytes:
        peers.append(context.peer())
        await asyncio.sleep(0.01)
        return b""

    async def ask() -> None:
        server = grpc.aio.server(options=rpc.cluster_options(connection_s=0.2))
        handler = grpc.unary_unary_rpc_method_handler(hear)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a", {"b": handler}),))
        port = rpc.listen(server, HOST, 0, "", rpc.server_credentials(lambda: shown, demand=True))
        await server.start()
        link = Link(HOST, port, lambda channel: channel.unary_unary("/a/b"), papers=lambda: shown, expected=EXPECTED)
        deadline = time.monotonic() + 2 * PATIENCE_S
        while len(set(peers)) < 3:
            assert time.monotonic() < deadline
            await asyncio.gather(*(link.calls(b"", timeout=PATIENCE_S) for _ in range(4)))
        await link.close()
        await server.stop(None)

    asyncio.run(ask())


def test_no_chunk_is_refused_by_a_connection_whose_age_is_up() -> None:
    """gRPC keeps what is small, to send it again by itself; a chunk it does not keep. On a machine that stands still at
    times the same chunk meets several connections at their end, which is seldom enough to be helped along here."""
    data, peers, met = bytes(512 << 10), set[str](), Counter[bytes]()

    async def keep(request: bytes, context: Any) -> bytes:
        peers.add(context.peer())
        met[request[:40]] += 1
        if met[request[:40]] < 3:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"GOAWAY received; Debug Text: {AGED}")
        return pb.StoreChunkResponse(success=True).SerializeToString()

    async def put() -> None:
        server = grpc.aio.server(options=rpc.cluster_options(connection_s=0.05))
        handlers = {"StoreChunk": grpc.unary_unary_rpc_method_handler(keep)}
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("cloudstorage.NodeService", handlers),),
        )
        port = rpc.listen(server, HOST, 0, "")
        await server.start()
        store = RemoteStore("", HOST, port, Secret.of("a" * 40), 20)
        try:
            while len(peers) < 40:
                chunks = [Chunk(new_id(), data, checksum_of(data)) for _ in range(8)]
                await asyncio.gather(*map(store.put, chunks))
        finally:
            await store.close()
            await server.stop(None)

    asyncio.run(put())


def test_a_node_that_refuses_for_ever_as_if_for_its_age_is_not_asked_for_ever() -> None:
    asked = 0

    async def refuse(_request: bytes, context: Any) -> None:
        nonlocal asked
        asked += 1
        await context.abort(grpc.StatusCode.UNAVAILABLE, AGED)

    async def put() -> None:
        server = grpc.aio.server()
        handlers = {"StoreChunk": grpc.unary_unary_rpc_method_handler(refuse)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("cloudstorage.NodeService", handlers),))
        port = rpc.listen(server, HOST, 0, "")
        await server.start()
        store = RemoteStore("", HOST, port, Secret.of("a" * 40), PATIENCE_S)
        try:
            data = bytes(512 << 10)
            with pytest.raises(NodeUnavailable, match=AGED):
                await store.put(Chunk(new_id(), data, checksum_of(data)))
        finally:
            await store.close()
            await server.stop(None)

    asyncio.run(put())
    assert asked == TRIES


def test_certificates_are_renewed_while_people_and_nodes_lose_nothing(tmp_path: Path) -> None:
    """Good for twelve seconds, renewed after eight: a process that stands still for three is not too late."""
    tls = TlsCluster(tmp_path / "brief", nodes=2, days=12 / DAY_S, **PATIENT)
    try:
        tls.start()
        user = tls.enroll("bob@example.org")
        names = [THE_GATEWAY, node_identity("node1"), node_identity("node2")]
        first = {name: tls.papers(name).certificate for name in names}
        source, back = tmp_path / "source", tmp_path / "back"
        source.write_bytes(os.urandom(6 << 20))
        with Gateway(tls.address, tls.people) as gateway:
            transfers = Transfers(Session(gateway, user.token))
            deadline, after = time.monotonic() + 3 * PATIENCE_S, 2
            while after:
                assert time.monotonic() < deadline
                uploaded = transfers.upload_file(source)  # a further version each time
                transfers.download_file(uploaded.file_id, back)
                assert back.read_bytes() == source.read_bytes()
                after -= all(tls.papers(name).certificate != first[name] for name in names)
        assert events(tls, "node.offline") == []
        assert "failed at chunk" not in tls.gateway.err.read_text()
        for node_id in ("node1", "node2"):  # with fresh papers, by the next call or heartbeat
            for log, port in ((tls.gateway.err, tls.node_port(node_id)), (tls.node(node_id).err, tls.cluster_port)):
                words = f"{HOST}:{port} is made anew"
                tls.wait(lambda log=log, words=words: words in log.read_text(), what=f"{words!r} in {log.name}")
    finally:
        tls.close()


def test_beyond_this_machine_nobody_listens_in_plaintext_and_both_ways_out_are_told(tmp_path: Path) -> None:
    told = io.StringIO()
    with redirect_stderr(told):
        for words in (["gateway", "--host", "0.0.0.0"], ["node", "node1", "9", "1", "--host", "0.0.0.0"]):
            assert cli.run([*words, "--data-dir", str(tmp_path / "new")]) == Exit.NOT_NOW
    assert told.getvalue().count("certs init") == told.getvalue().count("allow_plaintext = true") == 2


class Heard(grpc.GenericRpcHandler):
    """Answers nothing, and remembers what was asked."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def service(self, details: grpc.HandlerCallDetails) -> None:
        self.calls.append(details.method)


class serving:  # noqa: N801 - reads as a verb
    """A gRPC server with these papers, or in plaintext, that does nothing; its port, and what it was asked."""

    def __init__(self, tls: rpc.Tls | None, port: int = 0) -> None:
        self._heard = Heard()
        self._server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[self._heard])
        credentials = rpc.server_credentials(lambda: tls, demand=False) if tls else None
        where = f"{HOST}:{port}"
        self._port = (
            self._server.add_secure_port(where, credentials) if credentials else self._server.add_insecure_port(where)
        )

    def __enter__(self) -> tuple[int, list[str]]:
        self._server.start()
        return self._port, self._heard.calls

    def __exit__(self, *_: object) -> None:
        self._server.stop(0)


class WithOwn(TlsCluster):
    """People are shown a certificate that an authority of the world's has signed."""

    def __init__(self, folder: Path) -> None:
        self.world = Authority.create(folder / "world")
        self.own, self.own_key = folder / "own.crt", folder / "own.key"
        super().__init__(folder, nodes=1, tls_certificate_file=self.own, tls_key_file=self.own_key, **PATIENT)
        self.give(days=10)

    def give(self, days: float) -> bytes:
        """A certificate as others make it."""
        papers = Papers(self.folder / f"for {days} days", Identity("node", "own"))
        signs = Authority(self.folder / "world", days)
        given = signs.issue(papers.request(), papers.identity, ["localhost", HOST]).certificate
        # The key first, as the settings say.
        for path, content in ((self.own_key, papers._next_key.read_bytes()), (self.own, given)):
            private.write(path, content)
        return given

    @property
    def people(self) -> rpc.Tls:
        return rpc.Tls(b"", b"", self.world.bundle)

    def wait_ready(self, program: Program, port: int, seconds: float = 20) -> None:
        super().wait_ready(program, self.cluster_port if port == self.port else port, seconds)


def test_people_can_be_shown_another_certificate_which_is_told_of_before_it_ends(tmp_path: Path) -> None:
    tls = WithOwn(tmp_path)
    try:
        tls.start()  # the node joins by a code that knows the gateway by that very certificate
        user = tls.enroll("carol@example.org")
        with Gateway(tls.address, tls.people) as gateway:
            source = tmp_path / "source"
            source.write_bytes(b"kept")
            assert Transfers(Session(gateway, user.token)).upload_file(source).file_id
        words = "The certificate in [tls] certificate_file ends on"
        tls.wait(lambda: any(words in told for told in events(tls, "certificate.unrenewed")), what="its end told")
        assert any(words in told for told in warnings_of(tls))
        fresh = tls.give(days=60)

        def is_shown() -> bool:
            shown = ssl.get_server_certificate((HOST, tls.port))
            return ssl.PEM_cert_to_DER_cert(shown) == ssl.PEM_cert_to_DER_cert(fresh.decode())

        tls.wait(is_shown, what="the new one being shown")
        assert not any(words in told for told in warnings_of(tls))
    finally:
        tls.close()


def warnings_of(tls: TlsCluster) -> list[str]:
    reply = tls.admin.GetSystemStatus(pb.SystemStatusRequest(admin_key=admin_key(tls)), timeout=CALL_S)
    return list(reply.warnings)
