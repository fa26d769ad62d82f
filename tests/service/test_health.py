"""gRPC's own health service and reflection, at a gateway and at a node."""

from __future__ import annotations

import os
import queue
import signal
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb import cloud_storage_pb2_grpc as stubs
from cluster_harness import PATIENT, Cluster
from program import HOST
from user import CALL_S

if TYPE_CHECKING:
    from collections.abc import Iterator

OURS = {f"cloudstorage.{name}" for name in pb.DESCRIPTOR.services_by_name}
WRITING = {"cloudstorage.FileService", "cloudstorage.UploadService"}
BESIDES = {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("health"), nodes=2, **PATIENT)
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def node(cluster: Cluster) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"{HOST}:{cluster.node_port('node1')}") as channel:
        yield channel


def health(channel: grpc.Channel, service: str = "") -> str:
    request = health_pb2.HealthCheckRequest(service=service)
    told = health_pb2_grpc.HealthStub(channel).Check(request, timeout=CALL_S)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(told.status))


def wait_for(status: str, channel: grpc.Channel, services: set[str], cluster: Cluster) -> None:
    """They change one after the other, and none serves for a moment after the machine has stopped the process."""
    cluster.wait(lambda: {health(channel, service) for service in services} == {status}, what=f"{services} {status}")


def test_every_service_serves_while_all_is_well(cluster: Cluster) -> None:
    wait_for("SERVING", cluster.channel, {"", *OURS}, cluster)


def test_a_service_that_is_not_there_is_unknown(cluster: Cluster) -> None:
    with pytest.raises(grpc.RpcError) as error:
        health(cluster.channel, "cloudstorage.NoService")
    assert error.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_node_serves_once_it_has_joined(node: grpc.Channel, cluster: Cluster) -> None:
    wait_for("SERVING", node, {"", "cloudstorage.NodeService"}, cluster)


def test_reflection_tells_every_service_and_message(cluster: Cluster, node: grpc.Channel) -> None:
    told = ProtoReflectionDescriptorDatabase(cluster.channel)
    assert set(told.get_services()) == OURS | BESIDES
    file = told.FindFileContainingSymbol("cloudstorage.FileService")
    assert {message.name for message in file.message_type} == set(pb.DESCRIPTOR.message_types_by_name)
    assert set(ProtoReflectionDescriptorDatabase(node).get_services()) == {"cloudstorage.NodeService"} | BESIDES


def test_that_these_are_open_opens_nothing_else(cluster: Cluster, node: grpc.Channel) -> None:
    for channel in (cluster.channel, node):
        for call, request in (("Heartbeat", pb.HeartbeatRequest()), ("ListChunks", pb.ListChunksRequest())):
            with pytest.raises(grpc.RpcError) as error:
                getattr(stubs.NodeServiceStub(channel), call)(request, timeout=CALL_S)
            assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_bytes_that_are_no_message_are_refused(cluster: Cluster) -> None:
    ask: Any = cluster.channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
    for sent in ([b"\xff\xff"], [b"\x0a\x00", b"\x3a\x05"]):
        with pytest.raises(grpc.RpcError) as error:
            list(ask(iter(sent), timeout=CALL_S))
        assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_writes_without_a_quorum_are_told_at_once_to_who_watches(cluster: Cluster) -> None:
    wait_for("SERVING", cluster.channel, {"", *OURS}, cluster)
    seen: queue.Queue[str] = queue.Queue()
    names = health_pb2.HealthCheckResponse.ServingStatus
    stream = health_pb2_grpc.HealthStub(cluster.channel).Watch(health_pb2.HealthCheckRequest(service=""))

    def watch() -> None:
        with suppress(grpc.RpcError):
            for told in stream:
                seen.put(names.Name(told.status))

    def told(status: str) -> None:
        while seen.get(timeout=CALL_S) != status:
            pass

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    told("SERVING")
    cluster.lose("node2")
    told("NOT_SERVING")
    wait_for("NOT_SERVING", cluster.channel, WRITING, cluster)
    wait_for("SERVING", cluster.channel, OURS - WRITING, cluster)
    cluster.start_node("node2")
    told("SERVING")
    stream.cancel()
    watching.join()


def test_a_gateway_that_stops_says_so_first(cluster: Cluster) -> None:
    """Who watches hears of it while calls under way are still served."""
    wait_for("SERVING", cluster.channel, {""}, cluster)
    stream = health_pb2_grpc.HealthStub(cluster.channel).Watch(health_pb2.HealthCheckRequest(service=""))
    assert next(stream).status == health_pb2.HealthCheckResponse.SERVING
    os.kill(cluster.gateway.pid, signal.SIGTERM)
    assert next(stream).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert cluster.gateway.wait() == 0
