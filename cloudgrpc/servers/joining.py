"""How a machine joins: with a code it asks the gateway for the papers of a node, and keeps them."""

from __future__ import annotations

import asyncio
import getpass
import hashlib
import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from cloudgrpc import handshakes, rpc
from cloudgrpc.core import join_code
from cloudgrpc.errors import (
    CertificateElsewhere,
    CertificateUntrusted,
    FolderForeign,
    JoinCodeElsewhere,
    JoinCodeForOther,
    JoinCodeUnreadable,
    LocalFile,
    PapersExpired,
    SettingsWrong,
    UsageWrong,
)
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import JoinServiceStub
from cloudgrpc.trust import private
from cloudgrpc.trust.authority import KEY_FILE, request_digest
from cloudgrpc.trust.bundle import CA_FILE, bundle_digest
from cloudgrpc.trust.identity import RESERVED, node_identity
from cloudgrpc.trust.joined import Joined, Use, read_joined, write_joined
from cloudgrpc.trust.papers import FOLDER, Papers
from cloudgrpc.trust.secrets import CLUSTER, file_of, is_generated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudgrpc.config import Config
    from cloudgrpc.core.join_code import JoinCode

log = logging.getLogger(__name__)

CALL_S = 20.0
MOST_BYTES = 64 << 10
WAY_OUT = "make certificates there: cloudgrpc certs init, and start the gateway again"


def read_code(told: str) -> str:
    """`told`: a file, or "-" for standard input, where a person types it unseen. Never the code itself, since all
    processes of a machine see each other's arguments. Raises: LocalFile, JoinCodeUnreadable."""
    if told != "-":
        try:
            with Path(told).expanduser().open("rb") as file:
                return file.read(MOST_BYTES).decode(errors="replace")
        except OSError as error:
            raise LocalFile(path=told, reason=error.strerror or error) from error
    if not sys.stdin.isatty():  # the rest of it is not ours
        return sys.stdin.readline(MOST_BYTES)
    try:
        return getpass.getpass("Join code, from cloudgrpc certs invite (it is not shown): ")
    except EOFError:
        raise JoinCodeUnreadable(reason="it is empty") from None


def papers_of(config: Config, node_id: str) -> Papers | None:
    """None: the node did not join. Raises: PapersExpired, SettingsWrong, LocalFile."""
    if node_id in RESERVED:  # what lies there by its name is not its own
        return None
    papers = Papers.open(config.data_folder / FOLDER, node_identity(node_id))
    if papers is not None and papers.expires_at < time.time():
        raise PapersExpired(node_id=node_id, when=time.strftime("%Y-%m-%d %H:%M", time.localtime(papers.expires_at)))
    return papers


async def join(config: Config, node_id: str, told: str) -> bool:
    """Make a key and get its certificate. False: this very code was used here, so that nothing is to be done.

    Every step can be repeated after a crash: the gateway gives its answer again to the same key, and what a node starts
    with comes last. Raises: JoinCodeUnreadable, JoinCodeForOther, FolderForeign, what the gateway refuses, what keeps
    the two sides from agreeing, SettingsWrong, LocalFile.
    """
    code = join_code.decoded(told)
    if code.node_id != node_id:
        raise JoinCodeForOther(node_id=node_id)
    if node_id in RESERVED:
        raise UsageWrong(reason=f"no node can join as {node_id}: the cluster's own files are called so")
    folder = config.data_folder / FOLDER
    papers, digest = Papers(folder, node_identity(node_id)), hashlib.sha256(code.secret.encode()).hexdigest()
    private.make_folder(folder)
    standing = read_joined(folder)
    if standing is not None and standing.cluster_id != code.cluster_id:
        raise FolderForeign(folder=folder, owner="a node of another cluster")
    if standing is not None and papers.is_certified:
        use = standing.uses.get(node_id)
        if use is not None and use.code == digest and use.key != papers.pending:
            print(f"{node_id} has joined with this code before; it is not needed any more", flush=True)
            return False
    request = papers.request()
    reply = await _ask(code, pb.JoinRequest(secret=code.secret, node_id=node_id, csr=request))
    _check_authority(folder, reply.authorities)
    _keep_secrets(config, list(reply.cluster_secrets))
    with private.changing(folder):
        standing = read_joined(folder)
        uses = (standing.uses if standing else {}) | {node_id: Use(digest, request_digest(request))}
        place = reply.cluster_host or code.host, reply.cluster_port
        write_joined(folder, Joined(code.cluster_id, code.host, code.port, *place, uses))
    papers.accept(reply.certificate, reply.authorities)
    until = time.strftime("%Y-%m-%d", time.localtime(papers.expires_at))
    print(
        f"{node_id} has its certificate, good until {until} and renewed by itself; later starts need no code",
        flush=True,
    )
    return True


async def _ask(code: JoinCode, request: pb.JoinRequest) -> pb.JoinResponse:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        root = x509.load_der_x509_certificate(code.root).public_bytes(Encoding.PEM)
    except ValueError as error:
        raise JoinCodeUnreadable(reason="the certificate in it is damaged") from error
    tls, address = rpc.Tls(b"", b"", root), rpc.address(code.host, code.port)
    options = [*rpc.CHANNEL_OPTIONS, rpc.as_named(code.name)]
    async with grpc.aio.secure_channel(address, rpc.channel_credentials(tls), options=options) as channel:
        try:
            reply: pb.JoinResponse = await JoinServiceStub(channel).Join(request, timeout=CALL_S)
        except grpc.aio.AioRpcError as failure:
            seen = None
            if failure.code() is grpc.StatusCode.UNAVAILABLE:
                seen = await asyncio.to_thread(handshakes.look, code.host, code.port, tls, code.name, WAY_OUT)
            if isinstance(seen, (CertificateUntrusted, CertificateElsewhere)):
                names = isinstance(seen, CertificateElsewhere)
                reason = "its certificate has another name" if names else "its certificate is by another authority"
                raise JoinCodeElsewhere(address=address, reason=reason) from failure
            raise seen or rpc.error_of(failure, address) from failure
    return reply


def _check_authority(folder: Path, authorities: bytes) -> None:
    """Raises: FolderForeign when an authority lives in this folder, and it is not the one that answered."""
    if (folder / KEY_FILE).exists():
        ours = private.read(folder / CA_FILE, is_secret=False) or b""
        if bundle_digest(ours) != bundle_digest(authorities):
            raise FolderForeign(folder=folder, owner="the gateway of another cluster")


def _keep_secrets(config: Config, accepted: Sequence[str]) -> None:
    """The cluster's secret, where a node finds it. Raises: SettingsWrong when another one is configured; LocalFile."""
    path = file_of(config, CLUSTER)
    if path is None or not is_generated(config, CLUSTER):
        if config.cluster.secret not in accepted:
            raise SettingsWrong(faults="[cluster] secret: is not that of the cluster; take the setting away, and join")
        return
    with private.changing(path.parent):
        kept = private.read(path)
        # Where the gateway itself lives, or another node that joined, it is there already.
        if kept is None or kept.decode(errors="replace").split()[:1] != list(accepted[:1]):
            private.write(path, "".join(f"{each}\n" for each in accepted).encode())
