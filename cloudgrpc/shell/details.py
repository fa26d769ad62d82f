"""Everything there is to know about one file or folder: what `stat` tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.clients import render
from cloudgrpc.core.units import size_words
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.shell.entries import facts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudgrpc.clients.places import Place, Places
    from cloudgrpc.clients.session import Session

LABEL_LETTERS = 13
MAY = {"own": "do everything", "write": "read and write", "read": "read"}


class Details:
    def __init__(self, session: Session, places: Places) -> None:
        self._session = session
        self._places = places

    def facts(self, place: Place) -> dict[str, object]:
        """Those of `entries.facts`, and:

        owner        an e-mail address; null for lists of shares
        shared_with  a list of {"email", "permission", "shared_at", "until"}, the last null for never
        """
        whole = self._places.whole(place)
        shares = [
            {
                "email": share.shared_with_email,
                "permission": share.permission,
                "shared_at": share.shared_at,
                "until": share.until or None,
            }
            for share in self._shares(whole)
        ]
        return {**facts(whole), "owner": whole.owner_email or None, "shared_with": shares}

    def show(self, place: Place) -> None:
        for label, words in self._lines(self._places.whole(place)):
            print(f"{render.styled(label.ljust(LABEL_LETTERS), render.BOLD)}{render.shown(words)}")

    def _lines(self, place: Place) -> Iterator[tuple[str, str]]:
        yield "Path", place.path
        if place.file:
            yield from _of_file(place.file)
        elif place.folder:
            yield "Kind", "folder"
            yield "Holds", f"{render.count(place.folder.file_count, 'file')}, without those in folders below it"
            yield "ID", place.folder.folder_id
        else:
            yield "Kind", "what others share with you"
        entry = place.file or place.folder
        if entry is None:
            return
        yield "Created", render.when(entry.created_at)
        yield "Modified", render.when(entry.modified_at or entry.created_at)
        yield "Owner", place.owner_email
        yield "You may", MAY.get(place.permission, place.permission)
        for share in self._shares(place):
            end = f", until {render.when(share.until)}" if share.until else ""
            yield "Shared with", f"{share.shared_with_email} ({MAY.get(share.permission, share.permission)}{end})"

    def _shares(self, place: Place) -> Iterator[pb.ShareEntry]:
        """Of this very place; what a folder above it is shared with is told there."""
        entry = place.file or place.folder
        if place.permission != "own" or not entry or not entry.is_shared:
            return
        request = pb.ListSharesRequest(session_token=self._session.token, file_id=place.entry_id)
        while True:
            page = self._session.call(self._session.gateway.sharing.ListShares, request)
            yield from page.shares
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


def _of_file(file: pb.FileEntry) -> Iterator[tuple[str, str]]:
    yield "Kind", "file"
    exact = f" ({file.file_size:,} bytes)" if file.file_size >= 1024 else ""
    yield "Size", f"{size_words(file.file_size)}{exact}"
    yield "Type", file.mime_type
    yield "Version", str(file.version)
    yield "ID", file.file_id
    yield "Checksum", file.checksum
