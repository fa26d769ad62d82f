"""Small files on their way in one message: what a call costs is paid once for dozens of them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from cloudgrpc import rpc
from cloudgrpc.clients.calls import AWAY
from cloudgrpc.clients.local_files import check_local_name, local_fault, mime_type
from cloudgrpc.clients.sending import Uploaded
from cloudgrpc.clients.source import source_of
from cloudgrpc.errors import CloudError, Internal, NotOffered
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.wire import filled

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cloudgrpc.clients.calls import Calls
    from cloudgrpc.clients.session import Session

TIMEOUT_S = 300.0  # for the four of a mebibyte each that may be under way, by a line of 128 kbit/s


@dataclass
class Parcel:
    """A file that was read. `outcome`: None until it is known."""

    path: Path
    message: pb.SmallFile
    checksum: str
    outcome: Uploaded | CloudError | None = None

    @property
    def size(self) -> int:
        return len(self.message.content)

    @property
    def is_waiting(self) -> bool:
        return self.outcome is None or isinstance(self.outcome, AWAY)


def pack(path: Path, folder_id: str) -> Parcel | None:
    """None: it is not small any more. Raises: LocalFile, FileChanged."""
    with source_of(path) as source:
        if source.size > rpc.SMALL_FILE_BYTES:
            return None
        try:
            content = filled(source.size, lambda room: source.read(0, room))
        except OSError as error:
            raise local_fault(error, path) from error
        metadata = pb.FileMetadata(
            filename=check_local_name(path, path.name),
            file_size=source.size,
            mime_type=mime_type(path.name),
            parent_folder_id=folder_id,
            request_id=uuid.uuid4().hex,
        )
        return Parcel(path, pb.SmallFile(metadata=metadata, content=content), source.checksum)


class Batch:
    def __init__(self, session: Session, calls: Calls, parcels: Sequence[Parcel]) -> None:
        self._session = session
        self._calls = calls
        self._parcels = parcels

    def run(self) -> None:
        """Every parcel gets its outcome. Raises: NotOffered by an older gateway."""
        try:
            self._calls.persistently(self._send, AWAY, lambda: -len(self._waiting()))
        except NotOffered:
            raise
        except CloudError as error:
            for parcel in self._waiting():
                parcel.outcome = parcel.outcome or error

    def _waiting(self) -> list[Parcel]:
        return [parcel for parcel in self._parcels if parcel.is_waiting]

    def _send(self) -> None:
        """Send what waits. Raises: what the gateway told of the call, or of the first that is to be sent again."""
        sent = self._waiting()
        request = pb.UploadFilesRequest(session_token=self._session.token, files=[parcel.message for parcel in sent])
        future = self._session.gateway.files.UploadFiles.future(request, timeout=TIMEOUT_S)
        with self._calls.under_way(future):
            try:
                reply = future.result()
            except grpc.RpcError as failure:
                raise self._session.gateway.error_of(failure) from failure
        if len(reply.outcomes) != len(sent):
            raise Internal.told("The gateway did not tell what became of each file.")
        for parcel, outcome in zip(sent, reply.outcomes, strict=True):
            parcel.outcome = self._judged(parcel, outcome)
        for parcel in sent:
            if isinstance(parcel.outcome, AWAY):
                raise parcel.outcome

    def _judged(self, parcel: Parcel, outcome: pb.UploadOutcome) -> Uploaded | CloudError:
        if outcome.error_code:
            address = self._session.gateway.address
            return rpc.told_error(outcome.error_code, outcome.status, outcome.message, address)
        uploaded = Uploaded(outcome.file_id, outcome.checksum, parcel.size, outcome.version)
        try:
            uploaded.check(parcel.checksum, parcel.path.name)
        except CloudError as error:
            return error
        return uploaded
