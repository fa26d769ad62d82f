"""The gate of a restored drive: what changes a person's things is refused until an operator has reconciled it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cloudgrpc.actions.standing import Standing

    Context = grpc.aio.ServicerContext[Any, Any]
    Handler = Any  # grpc.RpcMethodHandler: its four behaviours are untyped

PREFIX = "/cloudstorage."
# Every RPC that changes what people have, or who they are. All of them answer once.
REFUSED = frozenset(
    {
        *(f"AuthService/{name}" for name in ("Enroll", "ChangeName", "CloseAccount", "ReopenAccount")),
        *(
            f"FileService/{name}"
            for name in ("UploadFile", "UploadFiles", "CreateFolder", "MoveFile", "RenameFile", "CopyFile")
        ),
        *(f"FileService/{name}" for name in ("DeleteFile", "DeleteFolder", "ShareFile")),
        *(f"HistoryService/{name}" for name in ("RestoreFile", "EmptyTrash", "RestoreVersion", "DeleteVersion")),
        "SharingService/UnshareFile",
        *(f"UploadService/{name}" for name in ("BeginUpload", "PutChunks", "FinishUpload", "CancelUpload")),
        *(f"PaymentService/{name}" for name in ("InitiatePayment", "CancelPayment")),
    }
)
# What only reads, signs in and out, and what nodes and operators do.
OFFERED = frozenset(
    {
        *(f"AuthService/{name}" for name in ("SendOTP", "VerifyOTP", "Login", "Logout", "EndSession")),
        *(f"AuthService/{name}" for name in ("WhoAmI", "ListSessions", "ExportAccount")),
        *(f"FileService/{name}" for name in ("DownloadFile", "ListFiles", "GetFileMetadata", "GetSharedFiles")),
        *(f"FileService/{name}" for name in ("ResolvePath", "SearchFiles")),
        *(f"HistoryService/{name}" for name in ("ListTrash", "ListVersions", "ListHistory")),
        *(f"SharingService/{name}" for name in ("ListShares", "OpenShare")),
        *(f"UploadService/{name}" for name in ("GetUpload", "ListUploads")),
        *(f"StorageService/{name}" for name in ("GetStorageInfo", "GetStorageUsage")),
        *(f"PaymentService/{name}" for name in ("GetStorageTiers", "CheckPaymentStatus", "GetPaymentHistory")),
    }
)
OFFERED_SERVICES = frozenset({"AdminService", "NodeService", "JoinService"})


class ReadOnly(grpc.aio.ServerInterceptor):
    """Comes behind ErrorsToStatuses, in whose task the call runs."""

    def __init__(self, standing: Standing) -> None:
        self._standing = standing

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]], details: grpc.HandlerCallDetails
    ) -> Handler:
        handler = await continuation(details)
        if handler is None or str(details.method).removeprefix(PREFIX) not in REFUSED:
            return handler
        kind = "stream_unary" if handler.request_streaming else "unary_unary"
        behaviour = getattr(handler, kind)

        async def answer(request: object, context: Context) -> object:
            await self._standing.check()
            return await behaviour(request, context)

        return handler._replace(**{kind: answer})
