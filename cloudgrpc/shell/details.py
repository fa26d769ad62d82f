"""Everything there is to know about one file or folder: what `stat` tells."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from cloudgrpc.clients import render
from cloudgrpc.clients.shared_by_me import shared_by_me
from cloudgrpc.core.paths import name_key
from cloudgrpc.core.units import size_words
from cloudgrpc.shell.entries import facts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudgrpc.clients.places import Place, Places
    from cloudgrpc.clients.session import Session
    from cloudgrpc.pb import cloud_storage_pb2 as pb

LABEL_LETTERS = 13
MAY = {"own": "do everything", "write": "read and write", "read": "read"}


class Details:
    def __init__(self, session: Session, places: Places) -> None:
        self._session = session
        self._places = places

    def facts(self, place: Place) -> dict[str, object]:
        """Those of `entries.facts`, and:

        owner        an e-mail address; null for lists of shares
        shared_with  a list of {"email", "permission", "shared_at", "until", "through"}: `until` is null for never,
                     `through` is the path of the folder above that is shared, null for what is shared itself
        """
        whole = self._places.whole(place)
        shares = [
            {
                "email": share.shared_with_email,
                "permission": share.permission,
                "shared_at": share.shared_at,
                "until": share.until or None,
                "through": through or None,
            }
            for share, through in self._shares(whole)
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
        for share, through in self._shares(place):
            may = f"may {MAY.get(share.permission, share.permission)}"
            end = f", until {render.when(share.until)}" if share.until else ""
            way = f", through {through}" if through else ""
            yield "Shared with", f"{share.shared_with_email} {may}{end}{way}"

    def _shares(self, place: Place) -> list[tuple[pb.ShareEntry, str]]:
        """By whom it can be reached: its own shares, then those of the folders above it, the nearest first, each with
        that folder's path ("": its own)."""
        if place.permission != "own" or not place.entry_id:
            return []
        own = [(share, "") for share in self._all_shares if share.file_id == place.entry_id]
        above = [share for share in self._all_shares if _is_above(share, place.path)]
        above.sort(key=lambda share: len(share.path), reverse=True)
        return own + [(share, share.path) for share in above]

    @cached_property
    def _all_shares(self) -> list[pb.ShareEntry]:
        return list(shared_by_me(self._session))


def _is_above(share: pb.ShareEntry, path: str) -> bool:
    """`path`: as it was typed; the gateway tells that of a share, "" for one in the trash."""
    return bool(share.path) and name_key(path).startswith(f"{name_key(share.path)}/")


def _of_file(file: pb.FileEntry) -> Iterator[tuple[str, str]]:
    yield "Kind", "file"
    exact = f" ({file.file_size:,} bytes)" if file.file_size >= 1024 else ""
    yield "Size", f"{size_words(file.file_size)}{exact}"
    yield "Type", file.mime_type
    yield "Version", str(file.version)
    yield "ID", file.file_id
    yield "Checksum", file.checksum or "unknown: its key does not open, and it cannot be read"
