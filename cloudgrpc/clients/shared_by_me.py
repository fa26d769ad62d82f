"""What I share with others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.pb import cloud_storage_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudgrpc.clients.session import Session

PAGE = 1000


def shared_by_me(session: Session, entry_id: str = "") -> Iterator[pb.ShareEntry]:
    """All shares, or those of one file or folder itself, the newest first. Raises: Missing, OwnerOnly."""
    request = pb.ListSharesRequest(session_token=session.token, file_id=entry_id, page_size=PAGE)
    while True:
        page = session.call(session.gateway.sharing.ListShares, request)
        yield from page.shares
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token
