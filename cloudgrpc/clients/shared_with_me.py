"""What others share with me, by owner, each thing under a name of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudgrpc.core.paths import free_name, name_key
from cloudgrpc.pb import cloud_storage_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from cloudgrpc.clients.session import Session

PAGE = 1000


@dataclass(frozen=True)
class Share:
    name: str  # as it stands in paths
    entry: pb.SharedFileEntry


Shares = dict[str, dict[str, Share]]  # by the owner's e-mail, then by name key


def shared_with_me(session: Session) -> Shares:
    return by_owner(_entries(session))


def by_owner(entries: Iterable[pb.SharedFileEntry]) -> Shares:
    """Two things of one name become `a.jpg` and `a (2).jpg`, in the order they were shared."""
    found: Shares = {}
    for entry in sorted(entries, key=lambda entry: (entry.shared_at, entry.share_token)):
        shares = found.setdefault(entry.shared_by_email, {})
        name = _free_name(entry.filename, shares)
        shares[name_key(name)] = Share(name, entry)
    return found


def _free_name(name: str, taken: Container[str]) -> str:
    return free_name(name, lambda told: name_key(told) in taken) if name_key(name) in taken else name


def _entries(session: Session) -> Iterator[pb.SharedFileEntry]:
    request = pb.GetSharedFilesRequest(session_token=session.token, page_size=PAGE)
    while True:
        page = session.call(session.gateway.files.GetSharedFiles, request)
        yield from page.shared_files
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token
