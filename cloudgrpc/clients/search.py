"""Searching what lies below a folder, page by page: what `find` and `du` ask the gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.clients.address import Address, address_of
from cloudgrpc.clients.places import Place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudgrpc.clients.session import Session
    from cloudgrpc.pb import cloud_storage_pb2 as pb

PAGE = 1000


def search(session: Session, folder: Place, request: pb.SearchFilesRequest) -> Iterator[list[Place]]:
    """What fits `request` below a folder, each page by path, but pages in no order. Raises: Missing."""
    request.session_token, request.folder_id, request.page_size = session.token, folder.entry_id, PAGE
    while True:
        page = session.call(session.gateway.files.SearchFiles, request)
        yield sorted((_place(folder, found) for found in page.found), key=lambda place: place.path)
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def _place(folder: Place, found: pb.FoundEntry) -> Place:
    path = path_from(folder.path, found.path)
    if found.HasField("file"):
        file = found.file
        return Place(file.file_id, file.filename, path, file, permission=folder.permission)
    inner = found.folder
    return Place(inner.folder_id, inner.folder_name, path, folder=inner, permission=folder.permission)


def path_from(searched: str, told: str) -> str:
    """What a person types for what lies at `told`: a path from their root folder, or, where the folder `searched` lies
    in a share, from what was shared and with its name."""
    address = address_of(searched)
    if not address.is_shared:
        return told
    below = address_of(told).names[1:]
    return str(Address((*address.names[:2], *below), is_shared=True))
