"""The certificates of a demo cluster: an authority of its own, and nodes that join by codes, as those elsewhere do."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

import grpc

from cloudgrpc import rpc
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import AdminServiceStub
from cloudgrpc.trust.authority import KEY_FILE, Authority
from cloudgrpc.trust.gateway_papers import open_gateway_papers
from cloudgrpc.trust.identity import node_identity
from cloudgrpc.trust.joined import read_joined
from cloudgrpc.trust.papers import FOLDER, Papers
from cloudgrpc.trust.secrets import ADMIN, shared_secret

if TYPE_CHECKING:
    from pathlib import Path

    from cloudgrpc.config import Config

CALL_S = 10.0


def is_wanted(told: bool, folder: Path) -> bool:
    """Whether it was asked for, or there are certificates already: nothing goes back to plaintext."""
    return told or (folder / FOLDER / KEY_FILE).exists()


def cluster_port_of(folder: Path) -> int | None:
    """Where its nodes were told to find the gateway; None: none has joined."""
    joined = read_joined(folder / FOLDER)
    return joined.cluster_port if joined else None


class DemoTrust:
    """`config`: whose data folder is the cluster's. Makes the authority and the gateway's certificate, if they are not
    there. Raises: SettingsWrong, LocalFile."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._folder = config.data_folder / FOLDER
        authority = Authority.create(self._folder, config.tls.certificate_days)
        self._gateway = open_gateway_papers(config)
        self._roots = authority.bundle

    @property
    def people(self) -> rpc.Tls:
        return rpc.Tls(b"", b"", self._roots)

    @property
    def gateway(self) -> rpc.Tls:
        """What the gateway shows to nodes."""
        assert self._gateway is not None  # noqa: S101 - where there is an authority, they are made
        return self._gateway.tls

    def code_file(self, node_id: str) -> Path | None:
        """Where its code to join will be; None: it has joined."""
        joined = Papers(self._folder, node_identity(node_id)).is_certified
        # One whose folder was deleted is another node: its certificate may have gone with the one before.
        is_known = (self._config.data_folder / f"node_storage_{node_id}").exists()
        return None if joined and is_known else self._folder / f"{node_id}.code"

    def invite(self, address: str, node_ids: list[str]) -> None:
        """Ask the gateway, which runs by now, for the codes of those that did not join. Raises: what it refuses."""
        credentials = rpc.channel_credentials(self.people)
        with grpc.secure_channel(address, credentials, options=rpc.CHANNEL_OPTIONS) as channel:
            for node_id in node_ids:
                path = self.code_file(node_id)
                if path is None:
                    continue
                key = shared_secret(self._config, ADMIN)
                request = pb.InviteNodeRequest(admin_key=key, node_id=node_id, address=address)
                try:
                    code = AdminServiceStub(channel).InviteNode(request, timeout=CALL_S).code
                except grpc.RpcError as failure:
                    raise rpc.error_of(cast("grpc.Call", failure), address) from failure
                path.unlink(missing_ok=True)
                with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                    file.write(code + "\n")

    def tidy(self) -> None:
        """Codes are of no use any more."""
        for path in self._folder.glob("*.code"):
            path.unlink(missing_ok=True)
