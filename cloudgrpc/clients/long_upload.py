"""Uploading a large file in chunks that the gateway keeps as they arrive, so that it can go on where it was.

BeginUpload    reserves room, under a `fingerprint` by which this very file is known again after a restart
PutChunks      sends a gap in what is stored; once for each, in order
FinishUpload   makes it the file's newest version, if the content is what was read here

After a lost connection GetUpload tells the gaps that are left. After a restart of this program ListUploads tells the
upload by its fingerprint, and what is stored already is read again and hashed, but not sent.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from cloudgrpc.clients.calls import AWAY, AWAY_OR_SLOW
from cloudgrpc.clients.sending import Uploaded
from cloudgrpc.clients.session import CALL_TIMEOUT_S
from cloudgrpc.clients.source import Pieces
from cloudgrpc.core.chunking import chunk_count
from cloudgrpc.errors import (
    CloudError,
    FileChanged,
    Missing,
    UploadBusy,
    UploadEnded,
    UploadUnfinished,
    VersionMoved,
)
from cloudgrpc.pb import cloud_storage_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cloudgrpc.clients.progress import Meter
    from cloudgrpc.clients.sending import Sender
    from cloudgrpc.clients.source import Source

FINISH_TIMEOUT_S = 600.0  # a gateway that does not know all of the content reads it back from its nodes
ASK_TIMEOUT_S = 5.0  # once a person has pressed Ctrl-C

# After these nobody can go on with it. An upload that ended is no such case: another process may have taken it over.
HOPELESS = (FileChanged, VersionMoved)


@dataclass(frozen=True)
class Kept:
    """What the gateway keeps of an upload that broke off."""

    path: Path
    size: int
    stored_bytes: int | None  # None: the gateway could not be asked
    ends_at: str  # RFC 3339


class LongUpload:
    def __init__(
        self,
        sender: Sender,
        source: Source,
        request: pb.BeginUploadRequest,
        meter: Meter,
        standing: pb.UploadStatus | None,
    ) -> None:
        """`standing`: an unfinished upload of this very file, to go on with."""
        self._sender = sender
        self._session = sender.session
        self._uploads = sender.session.gateway.uploads
        self._source = source
        self._request = request
        self._meter = meter
        self._status = standing or pb.UploadStatus()
        self._is_begun = standing is not None
        self._is_to_ask = standing is not None  # whether what is known of it may be out of date
        self._kept_bytes = self._status.stored_bytes
        self._told = 0  # bytes, to the meter

    def run(self) -> Uploaded:
        """Raises: LocalFile, FileChanged, UploadDiffers, UploadEnded, and whatever the gateway refuses."""
        if not self._is_begun:
            self._status = self._begun()
        faults = (*AWAY_OR_SLOW, UploadUnfinished, UploadBusy)
        try:
            return self._sender.calls.persistently(self._go_on, faults, lambda: self._status.stored_bytes)
        except HOPELESS:
            self._drop()
            raise

    def kept(self) -> Kept | None:
        """What the gateway keeps of it. None: nothing; then it is dropped, so that no room stays reserved for it."""
        if not self._is_begun:
            return None
        try:
            # Whoever left before the answer to BeginUpload finds the upload by its request_id.
            self._status = self._ask(ASK_TIMEOUT_S) if self._status.upload_id else self._begin(ASK_TIMEOUT_S)
        except (UploadEnded, Missing):
            return None
        except CloudError:
            return Kept(self._source.path, self._source.size, None, self._status.ends_at) if self._is_to_ask else None
        stored = self._status.stored_bytes
        if not stored:
            self._drop()
        if not stored or self._status.file_id:
            return None
        return Kept(self._source.path, self._source.size, stored, self._status.ends_at)

    def _drop(self) -> None:
        """As far as the gateway can be told so now; else it ends by itself some day."""
        request = pb.CancelUploadRequest(session_token=self._session.token, upload_id=self._status.upload_id)
        with suppress(CloudError):
            self._session.call(self._uploads.CancelUpload, request, ASK_TIMEOUT_S)

    def _begun(self) -> pb.UploadStatus:
        self._is_begun = True  # perhaps, until the answer is here
        try:
            return self._sender.calls.persistently(self._begin, AWAY)
        except AWAY_OR_SLOW:
            raise
        except CloudError:
            self._is_begun = False
            raise

    def _begin(self, timeout_s: float = CALL_TIMEOUT_S) -> pb.UploadStatus:
        return self._session.call(self._uploads.BeginUpload, self._request, timeout_s).upload

    def _ask(self, timeout_s: float = CALL_TIMEOUT_S) -> pb.UploadStatus:
        request = pb.GetUploadRequest(session_token=self._session.token, upload_id=self._status.upload_id)
        return self._session.call(self._uploads.GetUpload, request, timeout_s).upload

    def _go_on(self) -> Uploaded:
        if self._is_to_ask:
            self._status = self._ask()
        self._is_to_ask = True
        self._moved(self._stored_below(self._source.hashed) - self._told)
        for first, count in gaps(self._status):
            self._put(first, count)
        self._source.hash_until(self._source.size, self._checked)
        return self._finish()

    def _put(self, first: int, count: int) -> None:
        chunk_bytes = self._status.chunk_bytes
        start, end = first * chunk_bytes, min((first + count) * chunk_bytes, self._source.size)
        # Here, not between two messages, where it would look like silence.
        self._source.hash_until(start, self._checked)
        header = pb.PutChunksHeader(
            session_token=self._session.token, upload_id=self._status.upload_id, first=first, count=count
        )
        pieces = Pieces(self._source, start, end, self._moved, chunk_bytes)
        head = pb.PutChunksRequest(header=header).SerializeToString()
        self._sender.send(self._session.gateway.put_chunks, head, pieces)
        if pieces.fault:
            raise pieces.fault

    def _finish(self) -> Uploaded:
        self._source.check_unchanged()
        metadata = self._request.metadata
        request = pb.FinishUploadRequest(
            session_token=self._session.token,
            upload_id=self._status.upload_id,
            checksum=self._source.checksum,
            # Who goes on with an upload may expect another version than who began it.
            expected_version=metadata.expected_version if metadata.HasField("expected_version") else None,
        )
        future = self._uploads.FinishUpload.future(request, timeout=FINISH_TIMEOUT_S)
        with self._sender.calls.under_way(future):
            try:
                reply = future.result()
            except grpc.RpcError as failure:
                raise self._session.gateway.error_of(failure) from failure
        uploaded = Uploaded(reply.file_id, reply.checksum, self._source.size, reply.version, self._kept_bytes)
        uploaded.check(self._source.checksum, self._status.filename)
        return uploaded

    def _moved(self, count: int) -> None:
        self._told += count
        self._meter.moved(count)

    def _checked(self, count: int) -> None:
        self._told += count
        self._meter.kept(count)

    def _stored_below(self, end: int) -> int:
        """How many of the first `end` bytes are stored."""
        return sum(max(0, min(stop, end) - start) for start, stop in self._stored())

    def _stored(self) -> Iterator[tuple[int, int]]:
        """In bytes, from and to."""
        chunk_bytes = self._status.chunk_bytes
        for span in self._status.stored:
            yield span.first * chunk_bytes, min((span.first + span.count) * chunk_bytes, self._source.size)


def gaps(status: pb.UploadStatus) -> Iterator[tuple[int, int]]:
    """What is not stored: the first chunk of each gap, and how many there are."""
    at, end = 0, chunk_count(status.file_size, status.chunk_bytes)
    for span in status.stored:
        if span.first > at:
            yield at, span.first - at
        at = span.first + span.count
    if at < end:
        yield at, end - at
