"""A cluster of real processes with certificates: its authority is made, and nodes join it, as operators do that."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import grpc

from cloudgrpc import rpc
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.trust.authority import Authority
from cloudgrpc.trust.gateway_papers import HERE, certify
from cloudgrpc.trust.identity import THE_GATEWAY, Identity, node_identity
from cloudgrpc.trust.papers import FOLDER, Papers
from cluster_harness import Cluster
from operating import admin_key
from program import HOST, free_ports
from user import CALL_S

if TYPE_CHECKING:
    from pathlib import Path

    from program import Program


class TlsCluster(Cluster):
    """`days`: that certificates are good for. All share one data folder, unless a node is given its own."""

    def __init__(self, folder: Path, nodes: int = 3, days: float = 90, **settings: Any) -> None:
        super().__init__(folder, nodes, tls_certificate_days=days, **settings)
        self.port = free_ports(2)
        self.certs = self.data / FOLDER
        self.authority = Authority.create(self.certs, days)
        certify(self.authority, Papers(self.certs, THE_GATEWAY), HERE)

    @property
    def cluster_port(self) -> int:
        return self.port + 1

    @property
    def ca(self) -> Path:
        return self.certs / "ca.crt"

    @property
    def people(self) -> rpc.Tls:
        """What people believe, who show nothing."""
        return rpc.Tls(b"", b"", self.authority.bundle)

    def papers(self, identity: Identity = THE_GATEWAY) -> rpc.Tls:
        return Papers(self.certs, identity).tls

    @property
    def channel(self) -> grpc.Channel:
        if self._channel is None:
            self._channel = tls_channel(self.port, self.people)
        return self._channel

    def invite(self, node_id: str) -> str:
        """The code by which it joins."""
        request = pb.InviteNodeRequest(admin_key=admin_key(self), node_id=node_id, address=self.address)
        return self.admin.InviteNode(request, timeout=CALL_S).code

    def start_node(self, node_id: str, **how: Any) -> Program:
        if node_id not in self.programs and not how.get("data"):
            code = self.folder / f"{node_id}.code"
            code.write_text(self.invite(node_id))
            how["more_words"] = ["--join", str(code)]
        return super().start_node(node_id, **how)

    def wait_ready(self, program: Program, port: int, seconds: float = 20) -> None:
        expected = THE_GATEWAY if program.name == "gateway" else node_identity(program.name)

        def ready() -> bool:
            with closing(tls_channel(port, self.papers(), expected)) as channel:
                try:
                    grpc.channel_ready_future(channel).result(timeout=0.3)
                except grpc.FutureTimeoutError:
                    return False
                return True

        self.wait(lambda: ready() or not program.is_running, seconds, f"{program.name} listening")
        if not program.is_running:
            raise AssertionError(f"{program.name} ended with exit code {program.wait()}\n{program.tail()}")


def tls_channel(port: int, tls: rpc.Tls, expected: Identity | None = None) -> grpc.Channel:
    options: list[tuple[str, Any]] = [*rpc.CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
    if expected:
        options.append(rpc.as_named(expected.host))
    return grpc.secure_channel(f"{HOST}:{port}", rpc.channel_credentials(tls), options=options)
