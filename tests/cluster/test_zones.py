"""Zones and health with the whole program: where copies go, and what an operator sees of a node that falls silent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.pb import cloud_storage_pb2 as pb
from user import CALL_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from cluster_harness import Cluster
    from user import User

ZONES = {"node1": "east", "node2": "east", "node3": "west", "node4": "west"}
KEY = "the key of the operators"


def seen(cluster: Cluster) -> dict[str, pb.NodeInfo]:
    answer = cluster.admin.ListAllNodes(pb.ListNodesRequest(admin_key=KEY), timeout=CALL_S)
    return {node.node_id: node for node in answer.nodes}


def holders(cluster: Cluster, alice: User, *names: str) -> list[list[str]]:
    files = [alice.upload(name, name.encode() * 100) for name in names]
    return [cluster.holders(chunk_id) for file in files for chunk_id in cluster.chunks_of(file.file_id)]


def test_copies_go_to_both_zones_and_to_no_node_that_fell_silent(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=0, admin_key=KEY, cluster_offline_after_s=4)
    for node_id, zone in ZONES.items():
        cluster.start_node(node_id, ready=False, node_zone=zone)
    cluster.wait(lambda: len(cluster.online()) == 4, what="four nodes")
    alice = cluster.enroll("alice@example.org")
    for nodes in holders(cluster, alice, *"abcdefgh"):
        assert {ZONES[node_id] for node_id in nodes} == {"east", "west"}, nodes

    cluster.wait(lambda: all(node.latency_ms > 0 for node in seen(cluster).values()), what="each node measured")
    found = seen(cluster)
    assert {node_id: (node.zone, node.reason) for node_id, node in found.items()} == {
        node_id: (zone, "") for node_id, zone in ZONES.items()
    }
    assert all(node.health_score > 0.3 for node in found.values())

    cluster.pause("node1")
    cluster.wait(lambda: seen(cluster)["node1"].reason, what="node1 unwell")
    silent = seen(cluster)["node1"]
    assert "its last heartbeat is" in silent.reason
    assert silent.health_score < 0.3
    for nodes in holders(cluster, alice, *"ijkl"):
        assert nodes in (["node2", "node3"], ["node2", "node4"])
    cluster.resume("node1")
    cluster.wait(lambda: not seen(cluster)["node1"].reason, what="node1 well again")
