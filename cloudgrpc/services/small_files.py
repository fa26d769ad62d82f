"""A message with many small files, and the one that tells what became of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudgrpc import rpc
from cloudgrpc.actions.small_uploads import SmallFile
from cloudgrpc.errors import CloudError, InvalidField, UploadSizeWrong
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.services import incoming

if TYPE_CHECKING:
    from cloudgrpc.meta.accounts import Caller
    from cloudgrpc.meta.uploads import Answer


def check(request: pb.UploadFilesRequest) -> None:
    """Raises: InvalidField; then nothing of it is kept."""
    if not 1 <= len(request.files) <= rpc.BATCH_FILES:
        raise InvalidField(field="files", reason=f"must be 1 to {rpc.BATCH_FILES}")
    if sum(len(file.content) for file in request.files) > rpc.BATCH_BYTES:
        raise InvalidField(field="files", reason=f"must have at most {rpc.BATCH_BYTES} bytes of content together")
    request_ids = [file.metadata.request_id for file in request.files if file.metadata.request_id]
    if len(set(request_ids)) < len(request_ids):
        raise InvalidField(field="files", reason="must not have the same request_id twice")


def small_file(caller: Caller, file: pb.SmallFile) -> SmallFile | CloudError:
    """What is to be stored, or why it cannot be."""
    try:
        wish = incoming.wish(caller, file.metadata)
        if len(file.content) > rpc.SMALL_FILE_BYTES:
            reason = f"must be at most {rpc.SMALL_FILE_BYTES} bytes; use UploadFile for more"
            raise InvalidField(field="content", reason=reason)
        if wish.size_bytes != len(file.content):
            raise UploadSizeWrong(announced=wish.size_bytes, received=len(file.content))
    except CloudError as error:
        return error
    return SmallFile(wish, file.content)


def outcome(came: Answer | CloudError) -> pb.UploadOutcome:
    if isinstance(came, CloudError):
        return pb.UploadOutcome(error_code=came.code, status=came.status, message=rpc.short(str(came)))
    return pb.UploadOutcome(
        file_id=came.file_id, chunks_stored=came.chunks_stored, checksum=came.digest, version=came.version
    )
