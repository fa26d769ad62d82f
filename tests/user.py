"""Somebody signed in to a cluster, speaking the wire contract, and how a call is expected to fail."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import grpc

from cloudgrpc import rpc
from cloudgrpc.pb import cloud_storage_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cloudgrpc.errors import CloudError
    from cluster_harness import Cluster

CALL_S = 60.0


@dataclass
class User:
    """Somebody signed in, speaking the wire contract."""

    cluster: Cluster
    email: str
    user_id: str
    token: str

    def upload(
        self,
        name: str,
        data: bytes | Iterable[bytes],
        *,
        size: int | None = None,
        folder: str = "",
        request_id: str = "",
    ) -> pb.UploadFileResponse:
        """`data`: the bytes, or pieces of at most 1 MiB together with `size`. `folder`: a folder's id."""
        messages = upload_messages(self.token, name, data, size=size, folder=folder, request_id=request_id)
        return self.cluster.files.UploadFile(messages, timeout=CALL_S)

    def upload_small(self, *files: pb.SmallFile) -> list[pb.UploadOutcome]:
        """What becomes of each, see `small_file`."""
        request = pb.UploadFilesRequest(session_token=self.token, files=files)
        return list(self.cluster.files.UploadFiles(request, timeout=CALL_S).outcomes)

    def begin(self, name: str, size: int, folder: str = "") -> str:
        """An upload to be gone on with; its id."""
        metadata = pb.FileMetadata(session_token=self.token, filename=name, file_size=size, parent_folder_id=folder)
        request = pb.BeginUploadRequest(metadata=metadata)
        return self.cluster.uploads.BeginUpload(request, timeout=CALL_S).upload.upload_id

    def buy(self, phone: str, tier: str = "starter", request_id: str = "") -> pb.InitiatePaymentResponse:
        request = pb.InitiatePaymentRequest(
            session_token=self.token, tier_id=tier, provider="mtn_momo", phone_number=phone, request_id=request_id
        )
        return self.cluster.payments.InitiatePayment(request, timeout=CALL_S)

    def payment(self, payment_id: str) -> pb.CheckPaymentStatusResponse:
        request = pb.CheckPaymentStatusRequest(session_token=self.token, payment_id=payment_id)
        return self.cluster.payments.CheckPaymentStatus(request, timeout=CALL_S)

    def quota(self) -> int:
        request = pb.StorageInfoRequest(session_token=self.token)
        return self.cluster.storage.GetStorageInfo(request, timeout=CALL_S).allocated_bytes

    def download(self, file_id: str) -> bytes:
        return b"".join(piece.chunk_data for piece in self.pieces(file_id))

    def pieces(self, file_id: str) -> Iterator[pb.DownloadFileResponse]:
        """The messages of a download, the first of which tells about the file."""
        request = pb.DownloadFileRequest(session_token=self.token, file_id=file_id)
        return iter(self.cluster.files.DownloadFile(request, timeout=CALL_S))

    def ls(self, folder: str = "", *, include_deleted: bool = False) -> pb.ListFilesResponse:
        request = pb.ListFilesRequest(session_token=self.token, folder_id=folder, include_deleted=include_deleted)
        return self.cluster.files.ListFiles(request, timeout=CALL_S)

    def names(self, folder: str = "") -> list[str]:
        return [entry.filename for entry in self.ls(folder).files]

    def mkdir(self, name: str, parent: str = "") -> str:
        request = pb.CreateFolderRequest(session_token=self.token, folder_name=name, parent_folder_id=parent)
        return self.cluster.files.CreateFolder(request, timeout=CALL_S).folder_id

    def metadata(self, file_id: str) -> pb.FileMetadataResponse:
        request = pb.FileMetadataRequest(session_token=self.token, file_id=file_id)
        return self.cluster.files.GetFileMetadata(request, timeout=CALL_S)

    def delete(self, file_id: str, *, permanent: bool = False) -> None:
        request = pb.DeleteFileRequest(session_token=self.token, file_id=file_id, permanent=permanent)
        self.cluster.files.DeleteFile(request, timeout=CALL_S)

    def move(self, entry_id: str, folder: str = "", name: str = "") -> None:
        request = pb.MoveFileRequest(session_token=self.token, file_id=entry_id, target_folder_id=folder, new_name=name)
        self.cluster.files.MoveFile(request, timeout=CALL_S)

    def resolve(self, path: str, folder: str = "") -> pb.ResolvePathResponse:
        request = pb.ResolvePathRequest(session_token=self.token, path=path, folder_id=folder)
        return self.cluster.files.ResolvePath(request, timeout=CALL_S)

    def share(self, entry_id: str, email: str, permission: str = "", until: str = "") -> str:
        """The share's token."""
        request = pb.ShareFileRequest(
            session_token=self.token, file_id=entry_id, share_with_email=email, permission=permission, until=until
        )
        return self.cluster.files.ShareFile(request, timeout=CALL_S).share_token

    def unshare(self, share_token: str = "", file_id: str = "", email: str = "") -> None:
        request = pb.UnshareFileRequest(
            session_token=self.token, share_token=share_token, file_id=file_id, shared_with_email=email
        )
        self.cluster.sharing.UnshareFile(request, timeout=CALL_S)

    def shares(self, file_id: str = "") -> list[pb.ShareEntry]:
        request = pb.ListSharesRequest(session_token=self.token, file_id=file_id)
        return list(self.cluster.sharing.ListShares(request, timeout=CALL_S).shares)

    def shared_with_me(self) -> list[pb.SharedFileEntry]:
        request = pb.GetSharedFilesRequest(session_token=self.token)
        return list(self.cluster.files.GetSharedFiles(request, timeout=CALL_S).shared_files)

    def search(self, folder: str = "", **wanted: Any) -> list[str]:
        """The paths of what is found, in order."""
        request = pb.SearchFilesRequest(session_token=self.token, folder_id=folder, **wanted)
        paths = []
        while True:
            reply = self.cluster.files.SearchFiles(request, timeout=CALL_S)
            paths += [found.path for found in reply.found]
            if not reply.next_page_token:
                return sorted(paths)
            request.page_token = reply.next_page_token

    def history(self) -> list[pb.HistoryEntry]:
        request = pb.ListHistoryRequest(session_token=self.token, page_size=1000)
        return list(self.cluster.history.ListHistory(request, timeout=CALL_S).entries)

    def storage(self) -> pb.StorageInfoResponse:
        return self.cluster.storage.GetStorageInfo(pb.StorageInfoRequest(session_token=self.token), timeout=CALL_S)


def upload_messages(
    token: str,
    name: str,
    data: bytes | Iterable[bytes],
    *,
    size: int | None = None,
    folder: str = "",
    request_id: str = "",
    mime_type: str = "application/octet-stream",
) -> Iterator[pb.UploadFileRequest]:
    """What UploadFile is sent: metadata, then bytes. `size` is what is announced, len(data) when None."""
    announced = len(data) if size is None and isinstance(data, bytes) else size or 0
    metadata = pb.FileMetadata(
        session_token=token,
        filename=name,
        file_size=announced,
        mime_type=mime_type,
        parent_folder_id=folder,
        request_id=request_id,
    )
    yield pb.UploadFileRequest(metadata=metadata)
    for piece in _cut(data) if isinstance(data, bytes) else data:
        yield pb.UploadFileRequest(chunk_data=piece)


def small_file(name: str, data: bytes, *, size: int | None = None, folder: str = "", **more: Any) -> pb.SmallFile:
    """`size`: what is announced, len(data) when None."""
    announced = len(data) if size is None else size
    metadata = pb.FileMetadata(filename=name, file_size=announced, parent_folder_id=folder, **more)
    return pb.SmallFile(metadata=metadata, content=data)


@contextmanager
def refused(status: str, code: str = "") -> Iterator[list[CloudError]]:
    """Expect a call to fail with this gRPC status, and with this code of ours if one is named.

    The list holds the error afterwards, as a client sees it.
    """
    found: list[CloudError] = []
    try:
        yield found
    except grpc.RpcError as failure:
        call = cast("grpc.Call", failure)
        found.append(rpc.error_of(call, "the gateway"))
        assert call.code().name == status, f"{call.code().name} instead of {status}: {call.details()}"
        assert not code or found[0].code == code, f"{found[0].code} instead of {code}: {call.details()}"
    else:
        raise AssertionError(f"the call succeeded; {status} was expected")


def _cut(data: bytes) -> Iterator[bytes]:
    return (data[start : start + rpc.PIECE_BYTES] for start in range(0, len(data), rpc.PIECE_BYTES))
