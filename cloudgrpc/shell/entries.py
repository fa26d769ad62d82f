"""What is told of a file or folder: as facts for programs, and as a row for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc.clients import render
from cloudgrpc.clients.places import UNTOLD
from cloudgrpc.core.units import size_words

if TYPE_CHECKING:
    from cloudgrpc.clients.places import Place


def facts(place: Place) -> dict[str, object]:
    """As JSON tells it.

    path name   as a person types them
    kind        "file" or "folder"
    id          null for the root folder and for lists of shares
    size        bytes of the newest content; null for a folder
    files       how many a folder holds, without those in its folders; null for a file, or where it is not told
    type        such as "image/png"; null for a folder
    version checksum                of the newest content; null for a folder
    created_at modified_at          null where they are not told
    is_shared is_deleted            shared with others; in the trash
    permission  what I may do: "own", "write" or "read"
    """
    file = place.file
    entry = file or place.folder
    return {
        "path": place.path,
        "name": place.name,
        "kind": "folder" if place.is_folder else "file",
        "id": place.entry_id or None if entry else None,
        "size": file.file_size if file else None,
        "files": file_count(place),
        "type": file.mime_type or None if file else None,
        "version": file.version or None if file else None,
        "checksum": file.checksum or None if file else None,
        "created_at": entry.created_at or None if entry else None,
        "modified_at": entry.modified_at or None if entry else None,
        "is_shared": entry.is_shared if entry else False,
        "is_deleted": place.is_deleted,
        "permission": place.permission,
    }


def size_cell(place: Place) -> str:
    """A file's size; how many files a folder holds."""
    if place.file:
        return size_words(place.file.file_size)
    files = file_count(place)
    return "" if files is None else render.count(files, "file")


def file_count(place: Place) -> int | None:
    """How many files a folder holds, without those in its folders; None where it is not told, and for a file."""
    return place.folder.file_count if place.folder and place.folder.file_count != UNTOLD else None


def modified_cell(place: Place) -> str:
    entry = place.file or place.folder
    return render.when(entry.modified_at or entry.created_at) if entry else ""


def id_cell(place: Place) -> str:
    return "" if place.is_shared_list else render.shown(place.entry_id)


def version_cell(place: Place) -> str:
    return str(place.file.version) if place.file else ""


def shared_cell(place: Place) -> str:
    """Of one's own: whether it is shared. Of another's: what I may do."""
    if place.permission != "own":
        return place.permission
    entry = place.file or place.folder
    return "yes" if entry and entry.is_shared else ""


def name_cell(place: Place, name: str) -> str:
    """`name`: how the place is called here, which may be a path."""
    return render.path_words(name, place.is_folder) + ("  (in the trash)" if place.is_deleted else "")


def name_style(place: Place) -> str:
    return render.FOLDER if place.is_folder else ""
