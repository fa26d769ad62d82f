"""The whole, nodes and accounts in the words of the wire, as operators see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc import __version__
from cloudgrpc.core.units import rfc3339
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.services import event_views, payment_views, views

if TYPE_CHECKING:
    from cloudgrpc.actions.overview import NodeView, Status
    from cloudgrpc.actions.speeds import Speed, Speeds
    from cloudgrpc.meta.sessions import Standing
    from cloudgrpc.meta.users import Details, User

UNMEASURED = -1.0


def status(told: Status, speeds: Speeds, started_at: int) -> pb.SystemStatusResponse:
    figures, now = told.figures, speeds.now
    return pb.SystemStatusResponse(
        success=True,
        global_capacity_bytes=figures.capacity_bytes,
        global_allocated_bytes=figures.allocated_bytes,
        global_used_bytes=figures.used_bytes,
        total_users=figures.users,
        total_nodes=len(told.nodes),
        online_nodes=sum(node.record.state.is_online for node in told.nodes),
        total_files=told.count.files,
        total_chunks=told.count.chunks,
        system_health=told.health,
        version=__version__,
        started_at=rfc3339(started_at),
        mode=told.mode,
        sessions=figures.sessions,
        uploads=figures.uploads,
        disabled_users=figures.disabled_users,
        chunks=_chunk_counts(told),
        up_bytes_s=now.up,
        down_bytes_s=now.down,
        speeds=map(_speed, speeds.spans),
        payments_today=figures.payments_today,
        revenue_today_xaf=figures.revenue_today_xaf,
        payments_attention=figures.payments_attention,
        warnings=told.warnings,
        can_write=told.can_write,
        encrypts=told.encrypts,
        promised_bytes=figures.promised_bytes,
        promisable_bytes=told.promisable_bytes,
        asked_at=rfc3339(figures.asked_at),
        last_event_id=figures.last_event_id,
    )


def node_info(node: NodeView) -> pb.NodeInfo:
    row, health = node.record.row, node.health
    return pb.NodeInfo(
        node_id=row.node_id,
        host=row.host,
        port=row.port,
        storage_capacity=row.capacity_bytes,
        storage_used=row.used_bytes,
        status=node.status,
        last_heartbeat=rfc3339(row.last_heartbeat_at),
        chunk_count=row.chunk_count,
        health_score=health.score,
        zone=row.zone,
        reason=health.reason,
        latency_ms=UNMEASURED if health.latency_s is None else health.latency_s * 1000,
        error_rate=health.error_rate,
        heartbeat_age_s=health.heartbeat_age_s,
        registered_at=rfc3339(row.registered_at),
        offline_since=rfc3339(row.offline_since_at),
        cpu_cores=row.cpu_cores,
        draining_since=rfc3339(row.draining_at),
        copies_left=node.copies_left,
        copies_stuck=node.record.copies_stuck if node.copies_left else 0,
        drain_seconds_left=node.drain_seconds_left,
        scrubbed_at=rfc3339(row.scrubbed_at),
        scrub_progress=node.scrub_progress,
        scrub_bad=row.scrub_bad,
        collecting=row.is_collecting,
        metrics_address=row.metrics_address,
        inventory_at=rfc3339(row.inventory_at),
        instance_id=row.instance_id,
    )


def user_info(user: User) -> pb.UserInfo:
    account = user.account
    return pb.UserInfo(
        user_id=account.account_id,
        email=account.email,
        name=account.full_name,
        storage_allocated=account.quota_bytes,
        storage_used=account.used_bytes,
        created_at=rfc3339(account.created_at),
        last_login=rfc3339(account.last_login_at),
        file_count=user.files,
        disabled_at=rfc3339(account.disabled_at),
        disabled_reason=account.disabled_reason,
        closes_at=rfc3339(account.closes_at),
        reserved_bytes=account.reserved_bytes,
        sessions=user.sessions,
    )


def user_details(told: Details) -> pb.UserDetailsResponse:
    return pb.UserDetailsResponse(
        success=True,
        user=user_info(told.user),
        files=map(views.file_entry, told.files),
        sessions=map(_session, told.sessions),
        payments=map(payment_views.full_record, told.payments),
        events=map(event_views.event, told.events),
        trash_bytes=told.usage.trash_bytes,
        version_bytes=told.usage.version_bytes,
        folder_count=told.usage.total_folders,
    )


def _chunk_counts(told: Status) -> pb.ChunkCounts:
    count = told.count
    return pb.ChunkCounts(
        whole=count.whole,
        missing=count.missing,
        lost=count.lost,
        copies_missing=count.copies_missing,
        bytes_missing=count.bytes_missing,
        repair_seconds_left=told.repair_seconds_left,
        repair_bytes_s=told.repair_bytes_s,
        counted_at=rfc3339(count.counted_at),
        copies_wanted=count.copies_wanted,
        write_quorum=told.quorum,
        unsealed=count.unsealed,
        bytes_unsealed=count.bytes_unsealed,
    )


def _speed(speed: Speed) -> pb.SpeedSample:
    return pb.SpeedSample(up_bytes_s=speed.up, down_bytes_s=speed.down, span_s=speed.span_s)


def _session(session: Standing) -> pb.SessionInfo:
    return pb.SessionInfo(
        session_id=session.session_id,
        created_at=rfc3339(session.created_at),
        last_used_at=rfc3339(session.last_used_at),
        expires_at=rfc3339(session.expires_at),
        peer=session.host,
        client=session.client,
    )
