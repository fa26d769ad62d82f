"""Events are followed over lost connections: none is lost, none comes twice."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import pytest

from cloudgrpc.admin.feed import follow
from cloudgrpc.admin.lookout import Kinds, Lookout, Start
from cloudgrpc.errors import AdminKeyWrong, CloudError, GatewayUnreachable
from cloudgrpc.pb import cloud_storage_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator


class Wire(Lookout):
    """A gateway with ten events, whose connection breaks as the script says: after so many events, or before any."""

    def __init__(self, *script: int | CloudError) -> None:
        self._script = list(script)

    @property
    def address(self) -> str:
        return "a gateway"

    def status(self) -> pb.SystemStatusResponse:
        if self._script and isinstance(self._script[0], CloudError):
            step = self._script.pop(0)
            assert isinstance(step, CloudError)
            raise step
        return pb.SystemStatusResponse()

    def events(self, kinds: Kinds, start: Start, stop_at_end: bool = False) -> Iterator[pb.SystemEvent]:
        step = self._script.pop(0) if self._script else 10
        if isinstance(step, CloudError):
            raise step
        first = 1 if start.since else (start.after_id or 0) + 1
        for event_id in range(first, min(11, first + step)):
            yield pb.SystemEvent(event_id=event_id)
        if step != 10:
            raise GatewayUnreachable(address=self.address)


def followed(wire: Wire, start: Start) -> tuple[list[int], list[str]]:
    notices: list[str] = []

    def notice(error: CloudError | None) -> None:
        notices.append("lost" if error else "back")

    events = follow(wire, Kinds(), start, notice, lambda _: None)
    return [event.event_id for event in islice(events, 10 - (start.after_id or 0))], notices


def test_nothing_is_lost_and_nothing_comes_twice_over_lost_connections() -> None:
    away = GatewayUnreachable(address="a gateway")
    found, notices = followed(Wire(3, away, away, 0, 2, away, 10), Start(after_id=0))
    assert found == list(range(1, 11))
    assert notices == ["lost", "back"] * 3


def test_what_begins_at_a_time_goes_on_after_the_last_event() -> None:
    found, _ = followed(Wire(0, 4, 10), Start(since="2026-11-23T00:00:00Z"))
    assert found == list(range(1, 11))


def test_a_stream_that_the_gateway_ended_is_opened_again() -> None:
    found, notices = followed(Wire(), Start(after_id=4))
    assert found == list(range(5, 11))
    assert notices == []


def test_what_does_not_pass_by_itself_ends_it() -> None:
    with pytest.raises(AdminKeyWrong):
        followed(Wire(2, AdminKeyWrong()), Start(after_id=0))
