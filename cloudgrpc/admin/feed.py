"""Events as they come, over however many connections: none is lost, none comes twice."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cloudgrpc.admin.lookout import Start
from cloudgrpc.errors import GatewayUnreachable, Internal, TooSlow, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cloudgrpc.admin.lookout import Kinds, Lookout
    from cloudgrpc.errors import CloudError
    from cloudgrpc.pb import cloud_storage_pb2 as pb

RETRY_S = 1.0
# What a gateway tells, or leaves untold, while it goes down, is away, or comes up.
PASSING = (Unavailable, TooSlow, Internal)


def follow(
    lookout: Lookout,
    kinds: Kinds,
    start: Start,
    notice: Callable[[CloudError | None], object],
    pause: Callable[[float], object] = time.sleep,
) -> Iterator[pb.SystemEvent]:
    """Without an end. `notice` is told once when the connection was lost, and None when it is back.

    Raises: whatever does not pass by itself, such as AdminKeyWrong.
    """
    is_lost = False
    while True:
        try:
            if is_lost:
                # The stream itself says nothing before there is an event.
                lookout.status()
                is_lost = False
                notice(None)
            for event in lookout.events(kinds, start):
                start = Start(event.event_id)
                yield event
            error: CloudError = GatewayUnreachable(address=lookout.address)
        except PASSING as failure:
            error = failure
        if not is_lost:
            is_lost = True
            notice(error)
        pause(RETRY_S)
