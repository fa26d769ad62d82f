"""What operators see of the cluster; every call shows the admin key."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from cloudgrpc.pb import cloud_storage_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cloudgrpc.clients.session import Gateway

PAGE = 500
LOOK_TIMEOUT_S = 5.0  # for what is asked again and again


@dataclass(frozen=True)
class Start:
    """From where on events are told: after that one, or since a moment of the wire."""

    after_id: int | None = None
    since: str = ""


@dataclass(frozen=True)
class Kinds:
    """Which events. `types`: none for all; one that ends with "." means all that begin so. `user`: "" for all."""

    types: Sequence[str] = ()
    user: str = ""


class Lookout:
    def __init__(self, gateway: Gateway, key: str) -> None:
        self._gateway = gateway
        self._key = key

    @property
    def address(self) -> str:
        return self._gateway.address

    def status(self) -> pb.SystemStatusResponse:
        request = pb.SystemStatusRequest(admin_key=self._key)
        return self._gateway.call(self._gateway.admin.GetSystemStatus, request, LOOK_TIMEOUT_S)

    def nodes(self) -> list[pb.NodeInfo]:
        request = pb.ListNodesRequest(admin_key=self._key)
        return list(self._gateway.call(self._gateway.admin.ListAllNodes, request, LOOK_TIMEOUT_S).nodes)

    def users(self, search: str = "", most: int = 0) -> Iterator[pb.UserInfo]:
        """At most so many; 0: all there are."""
        return islice(self._users(search, min(most or PAGE, PAGE)), most or None)

    def _users(self, search: str, page_size: int) -> Iterator[pb.UserInfo]:
        request = pb.ListUsersRequest(admin_key=self._key, search=search, page_size=page_size)
        while True:
            reply = self._gateway.call(self._gateway.admin.ListAllUsers, request)
            yield from reply.users
            if not reply.next_page_token:
                return
            request.page_token = reply.next_page_token

    def user(self, who: str) -> pb.UserDetailsResponse:
        """By e-mail address or id. Raises: UserUnknown."""
        request = pb.UserDetailsRequest(admin_key=self._key, user_id=who)
        return self._gateway.call(self._gateway.admin.GetUserDetails, request)

    def events(self, kinds: Kinds, start: Start, stop_at_end: bool = False) -> Iterator[pb.SystemEvent]:
        """In their order; without an end, unless that is wanted."""
        request = pb.StreamEventsRequest(
            admin_key=self._key,
            after_id=start.after_id,
            since=start.since,
            types=kinds.types,
            user=kinds.user,
            stop_at_end=stop_at_end,
        )
        return self._gateway.stream(self._gateway.admin.StreamSystemEvents, request)

    def last_events(self, kinds: Kinds, most: int) -> list[pb.SystemEvent]:
        """The newest, in their order."""
        newest = self.status().last_event_id
        back = most
        while True:
            # Only some of those in the window may be wanted: then it grows.
            after_id = max(0, newest - back)
            found = deque(self.events(kinds, Start(after_id), stop_at_end=True), most)
            if len(found) >= most or not after_id:
                return list(found)
            back *= 8
