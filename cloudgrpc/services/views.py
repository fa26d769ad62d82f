"""Files and folders in the words of the wire, and ids as clients tell them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from cloudgrpc.core.units import rfc3339
from cloudgrpc.errors import Missing, ShareUnknown
from cloudgrpc.meta.files import File, Folder
from cloudgrpc.pb import cloud_storage_pb2 as pb

if TYPE_CHECKING:
    from cloudgrpc.meta.searching import Found
    from cloudgrpc.meta.sharing import WithMe

ENTRY_ID = re.compile(r"[0-9a-f]{32}\Z")


def file_id(told: str, what: str = "File") -> str:
    """Raises: Missing for what is no id; it never reaches the database, whose engines differ in what they take."""
    if not ENTRY_ID.match(told):
        raise Missing(what=f"{what} {told}")
    return told


def share_token(told: str) -> str:
    """Raises: ShareUnknown."""
    if not ENTRY_ID.match(told):
        raise ShareUnknown(what=f"Share {told}")
    return told


def folder_id(told: str) -> str:
    """Empty for the root folder. Raises: Missing."""
    return file_id(told, "Folder") if told else ""


def expected_version(request: Any) -> int | None:
    """The version that the client wants to find; None if it does not say."""
    return request.expected_version if request.HasField("expected_version") else None


def file_entry(file: File) -> pb.FileEntry:
    return pb.FileEntry(
        file_id=file.file_id,
        filename=file.name,
        file_size=file.size_bytes,
        mime_type=file.mime_type,
        created_at=rfc3339(file.created_at),
        modified_at=rfc3339(file.modified_at),
        is_shared=file.is_shared,
        is_deleted=file.is_trashed,
        version=file.version,
        checksum=file.digest,
        parent_folder_id=file.parent_id,
    )


def folder_entry(folder: Folder) -> pb.FolderEntry:
    return pb.FolderEntry(
        folder_id=folder.folder_id,
        folder_name=folder.name,
        created_at=rfc3339(folder.created_at),
        file_count=folder.file_count,
        is_deleted=folder.is_trashed,
        modified_at=rfc3339(folder.modified_at),
        is_shared=folder.is_shared,
        parent_folder_id=folder.parent_id,
    )


def entry(view: File | Folder) -> dict[str, Any]:
    """As the field `file` or `folder`, of which a message has one."""
    return {"file": file_entry(view)} if isinstance(view, File) else {"folder": folder_entry(view)}


def info(file: File, offset: int, length: int) -> pb.FileInfo:
    """Of a download of `length` bytes from `offset` on."""
    return pb.FileInfo(
        filename=file.name,
        file_size=file.size_bytes,
        mime_type=file.mime_type,
        total_chunks=file.chunk_count,
        checksum=file.digest,
        version=file.version,
        offset=offset,
        length=length,
    )


def found_entry(found: Found) -> pb.FoundEntry:
    return pb.FoundEntry(path=found.path, **entry(found.entry))


def shared_file(share: WithMe) -> pb.SharedFileEntry:
    return pb.SharedFileEntry(
        file_id=share.entry_id,
        filename=share.name,
        shared_by_email=share.owner_email,
        permission=share.terms.permission,
        shared_at=rfc3339(share.created_at),
        is_folder=share.is_folder,
        until=rfc3339(share.terms.until_at),
        share_token=share.share_id,
        file_size=share.size_bytes,
    )
