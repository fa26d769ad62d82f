"""Zones and health with the whole program: where copies go, and what an operator sees of a node that falls silent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.pb import cloud_storage_pb2 as pb
from cluster_harness import PATIENT, Cluster
from user import CALL_S

if TYPE_CHECKING:
    from collections.abc import Callable

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
    # So long that nobody but the node that falls silent is unwell, whatever stands still for a moment.
    cluster = make_cluster(nodes=0, admin_key=KEY, **{**PATIENT, "cluster_offline_after_s": 6})
    for node_id, zone in ZONES.items():
        cluster.start_node(node_id, ready=False, node_zone=zone)
    for node_id in ZONES:
        cluster.wait_joined(node_id)
    alice = cluster.enroll("alice@example.org")
    for nodes in holders(cluster, alice, *"abcdefgh"):
        assert {ZONES[node_id] for node_id in nodes} == {"east", "west"}, nodes

    def are_well() -> bool:
        return all(node.latency_ms > 0 and node.health_score > 0.5 for node in seen(cluster).values())

    cluster.wait(are_well, what="each node measured, and well")
    assert {node_id: node.zone for node_id, node in seen(cluster).items()} == ZONES

    cluster.pause("node1")
    cluster.wait(lambda: seen(cluster)["node1"].reason, what="node1 unwell")
    silent = seen(cluster)["node1"]
    assert "its last heartbeat is" in silent.reason
    assert silent.health_score < 0.3
    for nodes in holders(cluster, alice, *"ijkl"):
        assert nodes in (["node2", "node3"], ["node2", "node4"])
    cluster.resume("node1")
    cluster.wait(lambda: not seen(cluster)["node1"].reason, what="node1 well again")
