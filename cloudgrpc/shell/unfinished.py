"""What the shell's uploads command does: showing unfinished uploads, and dropping them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from cloudgrpc.clients import render
from cloudgrpc.clients.transfer import unfinished_uploads
from cloudgrpc.core.units import size_words
from cloudgrpc.errors import Missing, UploadUnknown, UsageWrong
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.shell.attempts import Attempts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudgrpc.clients.session import Session


class Unfinished:
    """What the uploads command does."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def show(self, is_json: bool) -> None:
        uploads = list(unfinished_uploads(self._session))
        folders = {upload.parent_folder_id: self._folder_path(upload.parent_folder_id) for upload in uploads}
        if is_json:
            render.print_json([_facts(upload, folders[upload.parent_folder_id]) for upload in uploads])
            return
        if not uploads:
            print("Nothing is unfinished.")
            return
        rows = [
            (
                f"{upload.stored_bytes / max(upload.file_size, 1):.0%} of {size_words(upload.file_size)}",
                render.when(upload.ends_at),
                upload.upload_id,
                render.shown(f"{(folders[upload.parent_folder_id] or '?').rstrip('/')}/{upload.filename}"),
            )
            for upload in uploads
        ]
        render.print_table(["Stored", "Kept until", "ID", "Name"], rows, right=["Stored"])

    def drop(self, upload_ids: Sequence[str], is_all: bool) -> None:
        """Raises: UsageWrong, and as `Attempts.finish`."""
        if is_all == bool(upload_ids):
            raise UsageWrong(reason="uploads drop wants IDs, as uploads shows them, or --all")
        known = {upload.upload_id: upload for upload in unfinished_uploads(self._session)}
        attempts = Attempts()
        for upload_id in known if is_all else map(str.lower, upload_ids):
            with attempts.one():
                if upload_id not in known:
                    raise UploadUnknown(upload_id=upload_id)
                request = pb.CancelUploadRequest(session_token=self._session.token, upload_id=upload_id)
                self._session.call(self._session.gateway.uploads.CancelUpload, request)
                print(f"Dropped the upload of {render.shown(known[upload_id].filename)}")
        if is_all and not known:
            print("Nothing is unfinished.")
        attempts.finish("dropped")

    def _folder_path(self, folder_id: str) -> str | None:
        """None: it is gone, or no longer shared with me."""
        request = pb.ResolvePathRequest(session_token=self._session.token, folder_id=folder_id)
        with suppress(Missing):
            return self._session.call(self._session.gateway.files.ResolvePath, request).path or "/"
        return None


def _facts(upload: pb.UploadStatus, folder: str | None) -> dict[str, object]:
    """As JSON tells it.

    id                     what `uploads drop` takes
    name
    folder                 its path; null when it is gone
    size stored_bytes      of the file, and of it so far
    created_at ends_at     when it began, and when it is dropped unless it goes on
    """
    return {
        "id": upload.upload_id,
        "name": upload.filename,
        "folder": folder,
        "size": upload.file_size,
        "stored_bytes": upload.stored_bytes,
        "created_at": upload.created_at,
        "ends_at": upload.ends_at,
    }
