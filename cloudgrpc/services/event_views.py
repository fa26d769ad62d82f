"""Events as the wire tells them to operators."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from cloudgrpc.core.units import EPOCH
from cloudgrpc.pb import cloud_storage_pb2 as pb

if TYPE_CHECKING:
    from cloudgrpc.meta.event_lists import Told


def event(told: Told) -> pb.SystemEvent:
    return pb.SystemEvent(
        event_id=told.number,
        event_type=told.kind,
        timestamp=_timestamp(told.at),
        message=told.message,
        user_id=told.account_id,
        node_id=told.node_id,
        by=told.by,
        details=told.details,
    )


def _timestamp(micros: int) -> str:
    """To the microsecond, as several events come within a millisecond."""
    moment = EPOCH + timedelta(microseconds=micros)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
