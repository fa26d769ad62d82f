"""Moving files between this computer and a gateway, in constant memory; what breaks off goes on where it was.

How a file goes up is told in `sending`, `batches` and `long_upload`, how it comes down in `receiving`.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING

from cloudgrpc import rpc
from cloudgrpc.clients.batches import Batch, Parcel, pack
from cloudgrpc.clients.calls import AWAY, Calls
from cloudgrpc.clients.local_files import check_local_name, fingerprint, mime_type
from cloudgrpc.clients.long_upload import LongUpload
from cloudgrpc.clients.progress import Unwatched
from cloudgrpc.clients.receiving import FileDownload, Reader, copy_out
from cloudgrpc.clients.sending import Sender, Uploaded
from cloudgrpc.clients.source import Pieces, source_of
from cloudgrpc.errors import CloudError, NotOffered
from cloudgrpc.pb import cloud_storage_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from cloudgrpc.clients.long_upload import Kept
    from cloudgrpc.clients.progress import Meter
    from cloudgrpc.clients.receiving import Downloaded, Extent
    from cloudgrpc.clients.session import Session
    from cloudgrpc.clients.source import Source

LONG_BYTES = 8 << 20  # what is larger can go on after it broke off; what is not is sent again in no time
PAGE = 100
UNWATCHED = Unwatched()

Unfinished = Mapping[str, pb.UploadStatus]  # by fingerprint


class Transfers:
    """Uploads and downloads of one session; safe to use from several threads."""

    def __init__(self, session: Session) -> None:
        rpc.tune_allocator()
        self._session = session
        self._calls = Calls()
        self._sender = Sender(session, self._calls)
        self._uploads: set[LongUpload] = set()  # that did not end yet, or broke off
        self._downloads: set[FileDownload] = set()
        self._takes_batches = True  # as far as we know

    def upload_file(
        self,
        path: Path,
        folder_id: str = "",
        meter: Meter = UNWATCHED,
        *,
        unfinished: Unfinished | None = None,
        expected_version: int | None = None,
    ) -> Uploaded:
        """`folder_id`: or a file's, which gets the content as its next. `unfinished`: go on with the one in it that is
        of this file, if any.

        Raises: LocalFile, FileChanged, UploadDiffers, and whatever the gateway refuses.
        """
        with source_of(path) as source:
            metadata = pb.FileMetadata(
                session_token=self._session.token,
                filename=check_local_name(path, path.name),
                file_size=source.size,
                mime_type=mime_type(path.name),
                parent_folder_id=folder_id,
                request_id=uuid.uuid4().hex,
                expected_version=expected_version,
            )
            if source.size > LONG_BYTES:
                return self._upload_long(source, metadata, meter, unfinished or {})
            return self._calls.persistently(lambda: self._upload(source, metadata, meter), AWAY)

    def upload_together(
        self, files: Sequence[tuple[Path, str]], meter: Meter = UNWATCHED
    ) -> list[Uploaded | CloudError | None]:
        """What becomes of small files, each with the id of its folder, that go in one message: as `upload_file`
        returns, or raises. None: it has to go by itself, for it has grown, or the gateway is an older one."""
        found = [self._packed(*file) for file in files]
        room, parcels = rpc.BATCH_BYTES, list[Parcel]()
        for parcel in found:
            if isinstance(parcel, Parcel) and parcel.size <= room:
                room -= parcel.size
                parcels.append(parcel)
        try:
            if parcels:
                Batch(self._session, self._calls, parcels).run()
        except NotOffered:
            self._takes_batches = False
        for parcel in parcels:
            if isinstance(parcel.outcome, Uploaded):
                meter.moved(parcel.size)
        return [one.outcome if isinstance(one, Parcel) else one for one in found]

    def download_file(
        self, file_id: str, target: Path, meter: Meter = UNWATCHED, *, version: int = 0, is_exact: bool = False
    ) -> Downloaded:
        """Fetch into `target`, or, unless `is_exact`, into it under the name the gateway tells when it is a folder.
        `version`: 0 is the newest.

        Raises: LocalFile, ContentDiffers, InvalidField for a name that could lead elsewhere, and whatever the gateway
        refuses.
        """
        download = FileDownload(self.reader(file_id, version), self._calls, target, is_exact, meter)
        self._downloads.add(download)
        downloaded = download.run()
        self._downloads.discard(download)
        return downloaded

    def copy_out(self, reader: Reader, out: BinaryIO, extent: Extent, meter: Meter = UNWATCHED) -> pb.FileInfo:
        """Write a file's bytes to `out`, as they come.

        Raises: ContentDiffers, OSError, and whatever the gateway refuses.
        """
        return copy_out(reader, self._calls, out, extent, meter)

    def reader(self, file_id: str, version: int = 0) -> Reader:
        return Reader(self._session, self._calls, file_id, version)

    def unfinished(self) -> Unfinished:
        """The person's unfinished uploads, of those of one file the one that is furthest."""
        found = sorted(unfinished_uploads(self._session), key=lambda upload: upload.stored_bytes)
        return {upload.fingerprint: upload for upload in found}

    def cancel(self) -> None:
        """End all transfers under way; each raises in its own thread."""
        self._calls.stop()

    def kept_uploads(self) -> list[Kept]:
        """What the gateway keeps of uploads that broke off. Asks it, briefly."""
        return [kept for upload in list(self._uploads) if (kept := upload.kept())]

    def kept_parts(self) -> int:
        """How many bytes of downloads that broke off are kept on this computer."""
        return sum(download.kept_bytes for download in list(self._downloads))

    def _packed(self, path: Path, folder_id: str) -> Parcel | CloudError | None:
        try:
            return pack(path, folder_id) if self._takes_batches else None
        except CloudError as error:
            return error

    def _upload_long(self, source: Source, metadata: pb.FileMetadata, meter: Meter, unfinished: Unfinished) -> Uploaded:
        mark = fingerprint(source.path, source.state, metadata.parent_folder_id, metadata.filename)
        request = pb.BeginUploadRequest(metadata=metadata, fingerprint=mark)
        upload = LongUpload(self._sender, source, request, meter, unfinished.get(mark))
        self._uploads.add(upload)
        uploaded = upload.run()
        self._uploads.discard(upload)
        return uploaded

    def _upload(self, source: Source, metadata: pb.FileMetadata, meter: Meter) -> Uploaded:
        pieces = Pieces(source, 0, source.size, meter.moved)
        head = pb.UploadFileRequest(metadata=metadata).SerializeToString()
        if source.size <= rpc.SMALL_FILE_BYTES:
            reply = self._sender.send_small(head, pieces)
        else:
            reply = self._sender.send(self._session.gateway.upload, head, pieces)
        uploaded = Uploaded(reply.file_id, reply.checksum, source.size, reply.version)
        # A gateway that has the file already (the reply to an earlier try was lost) answers before all of it is read.
        if source.hashed == source.size:
            uploaded.check(source.checksum, metadata.filename)
        return uploaded


def unfinished_uploads(session: Session) -> Iterator[pb.UploadStatus]:
    request = pb.ListUploadsRequest(session_token=session.token, page_size=PAGE)
    while True:
        page = session.call(session.gateway.uploads.ListUploads, request)
        yield from page.uploads
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def standing_upload(path: Path, folder_id: str, unfinished: Unfinished) -> pb.UploadStatus | None:
    """The unfinished upload of this very file into this very folder, if there is one. Raises: LocalFile."""
    with source_of(path) as source:
        return unfinished.get(fingerprint(path, source.state, folder_id, path.name))
