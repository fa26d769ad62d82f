"""Where everything of a demo cluster is to be, and what its children are told by their environment."""

from __future__ import annotations

import contextlib
import secrets
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc import rpc
from cloudgrpc.config import Cluster, Upkeep
from cloudgrpc.errors import CloudError, UsageWrong
from cloudgrpc.servers import demo_trust

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from cloudgrpc.config import Config

HOST = "127.0.0.1"
MOST_NODES = 50
FIRST_NODE_PORT = 9001
CLUSTER_OFFSET = 4  # from the gateway's port: behind those of HTTP and sandbox
NODE_HTTP_OFFSET = 100  # 9001 speaks gRPC, 9101 HTTP

# What a demo waits for in seconds rather than minutes, unless the configuration says otherwise.
DEMO = {("upkeep", "repair_delay_s"): 10.0}
SELF_TEST = {
    ("cluster", "heartbeat_s"): 1.0,
    ("cluster", "offline_after_s"): 3.0,
    ("upkeep", "round_s"): 1.0,
    ("upkeep", "repair_delay_s"): 2.0,
}


@dataclass(frozen=True)
class Plan:
    """Where everything of the cluster is to be."""

    folder: Path
    gateway_port: int
    node_ports: dict[str, int]
    http_port: int
    node_http_ports: dict[str, int]
    sandbox_port: int | None  # None: payments go where the settings say
    cluster_port: int | None  # where nodes are heard once there are certificates; None: everything is plaintext

    @property
    def webhook(self) -> str:
        return f"http://{HOST}:{self.http_port}/webhooks/campay"

    @property
    def gateway(self) -> str:
        return f"{HOST}:{self.gateway_port}"


def plan_of(config: Config, args: argparse.Namespace, folder: Path) -> Plan:
    """Raises: UsageWrong, PortInUse."""
    if not 1 <= args.nodes <= MOST_NODES:
        raise UsageWrong(reason=f"--nodes must be 1 to {MOST_NODES}")
    if args.self_test and args.nodes <= config.cluster.replication_factor:
        raise UsageWrong(reason=f"--self-test kills a node, so it needs more than {config.cluster.replication_factor}")
    free = bool(args.self_test)  # a test does not need the usual ports
    gateway_port = args.gateway_port or (_free_port() if free else config.gateway.port)
    first = args.node_port or FIRST_NODE_PORT
    names = [f"node{number}" for number in range(1, args.nodes + 1)]
    ports = {name: _free_port() if free and not args.node_port else first + offset for offset, name in enumerate(names)}
    for name, port, flag in [
        ("gateway", gateway_port, "--gateway-port"),
        *((n, p, "--node-port") for n, p in ports.items()),
    ]:
        if not 1 <= port <= 65535:
            raise UsageWrong(reason=f"{flag}: the port of {name} would be {port}")
        rpc.check_port(HOST, port, flag)
    if len({gateway_port, *ports.values()}) <= len(ports):
        raise UsageWrong(reason="--gateway-port and the ports of the nodes overlap")
    # Nobody types these, so any port will do where the usual ones are taken.
    taken = {gateway_port, *ports.values()}
    http_port = config.http.port or _port_near(gateway_port + 1, taken)
    is_pretended = not config.campay.mode and not config.database.host  # with PostgreSQL a gateway refuses the sandbox
    taken.add(http_port)
    sandbox_port = _port_near(gateway_port + 2, taken) if is_pretended else None
    taken |= {sandbox_port} if sandbox_port else set()
    node_http_ports = {}
    for name, port in ports.items():
        node_http_ports[name] = _port_near(port + NODE_HTTP_OFFSET, taken)
        taken.add(node_http_ports[name])
    return Plan(
        folder,
        gateway_port,
        ports,
        http_port,
        node_http_ports,
        sandbox_port,
        _cluster_port(args, folder, gateway_port + CLUSTER_OFFSET, taken),
    )


def _cluster_port(args: argparse.Namespace, folder: Path, usual: int, taken: set[int]) -> int | None:
    """Nodes that joined remember where it was. Raises: PortInUse, SettingsWrong."""
    if not demo_trust.is_wanted(args.tls, folder):
        return None
    port = demo_trust.cluster_port_of(folder)
    if port is None:
        return _port_near(usual, taken)
    rpc.check_port(HOST, port, "--data-dir")
    return port


def _port_near(wanted: int, taken: set[int]) -> int:
    """The wanted port, or any if it is not free."""
    if wanted not in taken and wanted <= 65535:
        with contextlib.suppress(CloudError):
            rpc.check_port(HOST, wanted, "")
            return wanted
    return _free_port()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def environment_of(config: Config, plan: Plan, is_self_test: bool) -> dict[str, str]:
    defaults = {"cluster": Cluster(), "upkeep": Upkeep()}
    wanted = {**DEMO, **(SELF_TEST if is_self_test else {})}
    told = {
        f"CLOUDGRPC_{section}_{key}".upper(): str(value)
        for (section, key), value in wanted.items()
        if getattr(getattr(config, section), key) == getattr(defaults[section], key)
    }
    told["CLOUDGRPC_HTTP_PORT"] = str(plan.http_port)
    if plan.cluster_port:
        told["CLOUDGRPC_CLUSTER_LISTEN"] = f"{HOST}:{plan.cluster_port}"
    return told | _sandbox_account(plan)


def _sandbox_account(plan: Plan) -> dict[str, str]:
    """By which gateway and sandbox know each other, until the cluster stops."""
    if not plan.sandbox_port:
        return {}
    return {
        "CAMPAY_BASE_URL": f"http://{HOST}:{plan.sandbox_port}/api",
        "CAMPAY_APP_USERNAME": "demo-cluster",
        "CAMPAY_APP_PASSWORD": secrets.token_urlsafe(16),
        "CLOUDGRPC_CAMPAY_WEBHOOK_KEY": secrets.token_urlsafe(32),
    }
