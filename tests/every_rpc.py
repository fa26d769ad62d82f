"""Every RPC of the contract: what it needs, a request that works, and a way to call it with whatever bytes.

`RPCS` is the table. A method of the descriptors that has no row here fails a test, so nothing new goes unwalked.
"""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

import grpc

from cloudgrpc import rpc
from cloudgrpc.chunks.base import checksum_of
from cloudgrpc.pb import cloud_storage_pb2 as pb
from user import CALL_S, User, upload_messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from google.protobuf.message import Message

    from cluster_harness import Cluster

METHODS = {
    f"{service.name}/{method.name}": method
    for service in pb.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}

# Limits are tested elsewhere; here they would only stand in the way.
UNLIMITED: dict[str, object] = {
    "limits_resend_s": 0.001,
    "limits_codes_per_hour": 1_000_000_000,
    "limits_peer_codes_per_hour": 1_000_000_000,
    "limits_tries_per_hour": 1_000_000_000,
    "limits_peer_tries_per_hour": 1_000_000_000,
    "limits_calls_per_second": 1_000_000,
    "limits_peer_calls_per_second": 1_000_000,
    "limits_admin_tries_per_hour": 1_000_000_000,
}

FREE = "00000000000000000000000000000000"  # an id that nothing has
CONTENT = b"what is in it"
LINGER_S = 0.05  # a stream that is left stays open so long, for the cancellation to come before its end


class Needs(Enum):
    """What a caller must show."""

    NOTHING = "nothing"
    PROOF = "a verified address"
    SESSION = "a session"
    LATER = "not offered yet"
    ADMIN_KEY = "the admin key"
    JOIN_CODE = "a join code"
    SECRET_OF_GATEWAY = "the cluster's secret, at a gateway"
    SECRET_OF_NODE = "the cluster's secret, at a node"


@dataclass
class Person:
    """Somebody with one thing of each kind, all of them named so that they are recognised wherever they turn up."""

    user: User
    name: str
    file_id: str = ""
    inner_id: str = ""  # a file in the folder
    folder_id: str = ""
    trashed_id: str = ""
    root_id: str = ""
    version_id: str = ""
    chunk_id: str = ""
    chunk_checksum: str = ""
    upload_id: str = ""  # of one chunk, which was not sent
    whole_upload_id: str = ""  # of an empty file: it can be finished
    share_token: str = ""  # of `folder_id`, with nobody who is enrolled
    given_token: str = ""  # of a folder that somebody else shares with this person
    given_id: str = ""
    session_id: str = ""  # of another session than `user` speaks with
    payment_id: str = ""  # of a payment under way
    key_name: str = ""  # of an admin key
    request_id: str = ""
    proof: str = ""  # a verification token for the address
    more_tokens: list[str] = field(default_factory=list)

    @property
    def cluster(self) -> Cluster:
        return self.user.cluster

    @property
    def token(self) -> str:
        return self.user.token

    @property
    def email(self) -> str:
        return self.user.email

    @property
    def ids(self) -> dict[str, str]:
        """What only this person may know of, by what it names."""
        return {
            "a file": self.file_id,
            "a file in a folder": self.inner_id,
            "a folder": self.folder_id,
            "a trashed file": self.trashed_id,
            "the root folder": self.root_id,
            "a version": self.version_id,
            "a chunk": self.chunk_id,
            "an upload": self.upload_id,
            "a whole upload": self.whole_upload_id,
            "a share": self.share_token,
            "a share with them": self.given_token,
            "what is shared with them": self.given_id,
            "a session": self.session_id,
            "a payment": self.payment_id,
            "the account": self.user.user_id,
        }

    @property
    def words(self) -> list[str]:
        """What must not be told to anybody else: ids, tokens, and names, all of which begin with `name`."""
        return [*self.ids.values(), self.request_id, self.token, *self.more_tokens, self.proof, self.name]


def settle(cluster: Cluster, name: str, giver: User) -> Person:
    """Enroll somebody, sign in once more, and keep something of everything. `giver`: who shares something with them."""
    user = cluster.enroll(f"{name}@example.org", f"{name} Person")
    person = Person(user, name, request_id=f"{name}-request")
    person.given_id = giver.mkdir(f"{name}-given")
    person.given_token = giver.share(person.given_id, user.email)
    person.folder_id = user.mkdir(f"{name}-folder")
    person.inner_id = user.upload(f"{name}-inner", CONTENT, folder=person.folder_id).file_id
    person.share_token = user.share(person.folder_id, f"friend-of-{name}@example.org")
    person.file_id = user.upload(f"{name}-file", CONTENT, request_id=person.request_id).file_id
    user.upload(f"{name}-file", CONTENT)  # its second version
    person.upload_id = user.begin(f"{name}-upload", len(CONTENT))
    person.whole_upload_id = user.begin(f"{name}-whole", 0)
    person.trashed_id = user.upload(f"{name}-trashed", CONTENT).file_id
    user.delete(person.trashed_id)
    sign_in_again(person)
    person.root_id = str(cluster.rows(f"SELECT root_id FROM account WHERE account_id = '{user.user_id}'")[0][0])
    person.version_id = str(cluster.rows(f"SELECT version_id FROM entry WHERE entry_id = '{person.file_id}'")[0][0])
    person.chunk_id = cluster.chunks_of(person.file_id)[0]
    query = f"SELECT checksum FROM chunk WHERE chunk_id = '{person.chunk_id}'"
    person.chunk_checksum = str(cluster.rows(query)[0][0])
    person.proof = cluster.prove(user.email)
    pay_again(person)
    give_key_again(person)
    return person


def pay_again(person: Person) -> None:
    """A payment under way, which `payment_id` names. It also waits for an operator, who may end it."""
    person.payment_id = secrets.token_hex(16)
    values = {
        "payment_id": person.payment_id,
        "account_id": person.user.user_id,
        "email": person.email,
        "tier_id": f"tier-{person.payment_id}",
        "tier_name": f"{person.name}-tier",
        "mode": "sandbox",
        "provider": "mtn_momo",
        "phone": "23767*****12",
        "state": "processing",
        "reference": f"{person.name}-{person.payment_id}",
        "attention": f"{person.name}-attention",
    }
    told = ", ".join(f"'{value}'" for value in values.values())
    person.cluster.change(
        f"INSERT INTO payment ({', '.join(values)}, storage_bytes, price_xaf, amount_xaf, created_at)"
        f" VALUES ({told}, 1, 500, 10, 1)"
    )


def give_key_again(person: Person) -> None:
    """An admin key, which `key_name` names; nobody knows what it is."""
    person.key_name = f"{person.name}-{secrets.token_hex(8)}"
    person.cluster.change(
        "INSERT INTO admin_key (name, role, digest, created_at, created_by)"
        f" VALUES ('{person.key_name}', 'operate', '{secrets.token_hex(32)}', 1, 'a test')"
    )


def sign_in_again(person: Person) -> None:
    """The other session, which `session_id` names."""
    person.more_tokens.append(person.cluster.login(person.email).token)
    newest = f"account_id = '{person.user.user_id}' ORDER BY created_at DESC LIMIT 1"
    person.session_id = str(person.cluster.rows(f"SELECT session_id FROM session WHERE {newest}")[0][0])


@dataclass(frozen=True)
class Rpc:
    """`ask`: the messages of a call that works. `to_others`: how somebody else's session is answered when it asks for
    these very things; "OK" where the request names none and the answer is about whoever asks."""

    needs: Needs
    ask: Callable[[Person], list[Message]]
    to_others: str = "OK"


def _session(make: Callable[[Person], Message], to_others: str = "OK") -> Rpc:
    return Rpc(Needs.SESSION, lambda person: [make(person)], to_others)


def _ones_own(make: Callable[[Person], Message]) -> Rpc:
    """For things of the person's own; those of others do not exist."""
    return _session(make, "NOT_FOUND")


def _admins(make: Callable[[Person], Any]) -> Rpc:
    """The request gets the key besides."""

    def ask(person: Person) -> list[Message]:
        request = make(person)
        request.admin_key = admin_key(person.cluster)
        return [request]

    return Rpc(Needs.ADMIN_KEY, ask)


def _later(make: Callable[[Person], Message]) -> Rpc:
    return Rpc(Needs.LATER, lambda person: [make(person)], "UNIMPLEMENTED")


def _gateways(make: Callable[[Person], Message]) -> Rpc:
    return Rpc(Needs.SECRET_OF_GATEWAY, lambda person: [make(person)])


def _nodes(make: Callable[[Person], Message]) -> Rpc:
    return Rpc(Needs.SECRET_OF_NODE, lambda person: [make(person)])


RPCS: dict[str, Rpc] = {
    "AuthService/SendOTP": Rpc(Needs.NOTHING, lambda person: [pb.SendOTPRequest(email=person.email)]),
    "AuthService/VerifyOTP": Rpc(Needs.NOTHING, lambda p: [pb.VerifyOTPRequest(email=p.email, otp="000000")]),
    "AuthService/Enroll": Rpc(
        Needs.PROOF,
        lambda p: [pb.EnrollRequest(email=p.email, full_name=f"{p.name} Person", verification_token=p.proof)],
    ),
    "AuthService/Login": Rpc(Needs.PROOF, lambda p: [pb.LoginRequest(email=p.email, verification_token=p.proof)]),
    "AuthService/Logout": _session(lambda p: pb.LogoutRequest(session_token=p.token)),
    "AuthService/WhoAmI": _session(lambda p: pb.WhoAmIRequest(session_token=p.token)),
    "AuthService/ListSessions": _session(lambda p: pb.ListSessionsRequest(session_token=p.token)),
    "AuthService/EndSession": _ones_own(lambda p: pb.EndSessionRequest(session_token=p.token, session_id=p.session_id)),
    "AuthService/ChangeName": _session(lambda p: pb.ChangeNameRequest(session_token=p.token, full_name="Another Name")),
    "AuthService/ExportAccount": _session(lambda p: pb.ExportAccountRequest(session_token=p.token)),
    "AuthService/CloseAccount": _session(
        lambda p: pb.CloseAccountRequest(session_token=p.token, verification_token=p.proof), "UNAUTHENTICATED"
    ),
    "AuthService/ReopenAccount": _session(lambda p: pb.ReopenAccountRequest(session_token=p.token)),
    "FileService/UploadFile": Rpc(
        Needs.SESSION,
        lambda p: list(upload_messages(p.token, "new", CONTENT, folder=p.folder_id, request_id="new")),
        "NOT_FOUND",
    ),
    "FileService/UploadFiles": _session(
        lambda p: pb.UploadFilesRequest(
            session_token=p.token,
            files=[
                pb.SmallFile(
                    metadata=pb.FileMetadata(filename="small", file_size=len(CONTENT), parent_folder_id=p.folder_id),
                    content=CONTENT,
                )
            ],
        )
    ),
    "FileService/DownloadFile": _ones_own(lambda p: pb.DownloadFileRequest(session_token=p.token, file_id=p.file_id)),
    "FileService/ListFiles": _ones_own(
        lambda p: pb.ListFilesRequest(session_token=p.token, folder_id=p.folder_id, page_size=1)
    ),
    "FileService/DeleteFile": _ones_own(
        lambda p: pb.DeleteFileRequest(session_token=p.token, file_id=p.file_id, permanent=True)
    ),
    "FileService/GetFileMetadata": _ones_own(
        lambda p: pb.FileMetadataRequest(session_token=p.token, file_id=p.file_id)
    ),
    "FileService/CreateFolder": _ones_own(
        lambda p: pb.CreateFolderRequest(session_token=p.token, folder_name="made", parent_folder_id=p.folder_id)
    ),
    "FileService/ShareFile": _ones_own(
        lambda p: pb.ShareFileRequest(
            session_token=p.token, file_id=p.file_id, share_with_email="x@example.org", permission="read"
        )
    ),
    "FileService/GetSharedFiles": _session(lambda p: pb.GetSharedFilesRequest(session_token=p.token)),
    "FileService/ResolvePath": _ones_own(
        lambda p: pb.ResolvePathRequest(session_token=p.token, path=f"/{p.name}-folder/{p.name}-inner")
    ),
    "FileService/MoveFile": _ones_own(
        lambda p: pb.MoveFileRequest(session_token=p.token, file_id=p.file_id, target_folder_id=p.folder_id)
    ),
    "FileService/RenameFile": _ones_own(
        lambda p: pb.RenameFileRequest(session_token=p.token, file_id=p.file_id, new_name="renamed", expected_version=2)
    ),
    "FileService/CopyFile": _ones_own(
        lambda p: pb.CopyFileRequest(session_token=p.token, file_id=p.folder_id, new_name="copy")
    ),
    "FileService/DeleteFolder": _ones_own(
        lambda p: pb.DeleteFolderRequest(session_token=p.token, folder_id=p.folder_id, recursive=True)
    ),
    "FileService/SearchFiles": _ones_own(
        lambda p: pb.SearchFilesRequest(session_token=p.token, folder_id=p.folder_id, name="*inner")
    ),
    "HistoryService/ListTrash": _session(lambda p: pb.ListTrashRequest(session_token=p.token)),
    "HistoryService/RestoreFile": _ones_own(
        lambda p: pb.RestoreFileRequest(session_token=p.token, file_id=p.trashed_id)
    ),
    "HistoryService/EmptyTrash": _session(lambda p: pb.EmptyTrashRequest(session_token=p.token)),
    "HistoryService/ListVersions": _ones_own(
        lambda p: pb.ListVersionsRequest(session_token=p.token, file_id=p.file_id)
    ),
    "HistoryService/RestoreVersion": _ones_own(
        lambda p: pb.RestoreVersionRequest(session_token=p.token, file_id=p.file_id, version=1)
    ),
    "HistoryService/DeleteVersion": _ones_own(
        lambda p: pb.DeleteVersionRequest(session_token=p.token, file_id=p.file_id, version=1)
    ),
    "HistoryService/ListHistory": _session(lambda p: pb.ListHistoryRequest(session_token=p.token)),
    "SharingService/ListShares": _ones_own(lambda p: pb.ListSharesRequest(session_token=p.token, file_id=p.folder_id)),
    "SharingService/UnshareFile": _ones_own(
        lambda p: pb.UnshareFileRequest(session_token=p.token, share_token=p.share_token)
    ),
    "SharingService/OpenShare": _ones_own(
        lambda p: pb.OpenShareRequest(session_token=p.token, share_token=p.given_token)
    ),
    "UploadService/BeginUpload": _ones_own(
        lambda p: pb.BeginUploadRequest(
            metadata=pb.FileMetadata(session_token=p.token, filename="begun", parent_folder_id=p.folder_id)
        )
    ),
    "UploadService/PutChunks": Rpc(
        Needs.SESSION,
        lambda p: [
            pb.PutChunksRequest(header=pb.PutChunksHeader(session_token=p.token, upload_id=p.upload_id, count=1)),
            pb.PutChunksRequest(chunk_data=CONTENT),
        ],
        "NOT_FOUND",
    ),
    "UploadService/GetUpload": _ones_own(lambda p: pb.GetUploadRequest(session_token=p.token, upload_id=p.upload_id)),
    "UploadService/ListUploads": _session(lambda p: pb.ListUploadsRequest(session_token=p.token)),
    "UploadService/FinishUpload": _ones_own(
        lambda p: pb.FinishUploadRequest(session_token=p.token, upload_id=p.whole_upload_id)
    ),
    "UploadService/CancelUpload": _ones_own(
        lambda p: pb.CancelUploadRequest(session_token=p.token, upload_id=p.upload_id)
    ),
    "StorageService/GetStorageInfo": _session(lambda p: pb.StorageInfoRequest(session_token=p.token)),
    "StorageService/GetStorageUsage": _session(lambda p: pb.StorageUsageRequest(session_token=p.token)),
    "PaymentService/GetStorageTiers": Rpc(Needs.NOTHING, lambda p: [pb.GetStorageTiersRequest()]),
    "PaymentService/InitiatePayment": _session(
        lambda p: pb.InitiatePaymentRequest(
            session_token=p.token, tier_id="basic", provider="mtn_momo", phone_number="237670000012", request_id="buy"
        ),
        "UNAVAILABLE",  # for everybody: these clusters have no account at Campay
    ),
    "PaymentService/CheckPaymentStatus": _ones_own(
        lambda p: pb.CheckPaymentStatusRequest(session_token=p.token, payment_id=p.payment_id)
    ),
    "PaymentService/GetPaymentHistory": _session(lambda p: pb.GetPaymentHistoryRequest(session_token=p.token, limit=9)),
    "PaymentService/CancelPayment": _ones_own(
        lambda p: pb.CancelPaymentRequest(session_token=p.token, payment_id=p.payment_id)
    ),
    "JoinService/Join": Rpc(
        Needs.JOIN_CODE, lambda p: [pb.JoinRequest(secret=p.name, node_id="node9", csr=b"no request for a certificate")]
    ),
    "NodeService/RenewCertificate": _gateways(
        lambda p: pb.RenewCertificateRequest(node_id="node1", csr=b"no request for a certificate")
    ),
    "NodeService/RegisterNode": _gateways(
        lambda p: pb.RegisterNodeRequest(
            node_id="stranger", host="127.0.0.1", port=1, storage_capacity=1, cpu_cores=1, instance_id=FREE
        )
    ),
    "NodeService/Heartbeat": _gateways(
        lambda p: pb.HeartbeatRequest(node_id="node1", storage_used=1, instance_id=_instance_id(p.cluster))
    ),
    "NodeService/StoreChunk": _nodes(lambda p: _new_chunk()),
    "NodeService/RetrieveChunk": _nodes(lambda p: pb.RetrieveChunkRequest(chunk_id=p.chunk_id)),
    "NodeService/DeleteChunk": _nodes(lambda p: pb.DeleteChunkRequest(chunk_id=p.chunk_id)),
    "NodeService/ListChunks": _nodes(lambda p: pb.ListChunksRequest(page_size=1)),
    "NodeService/StoreChunks": _nodes(lambda p: pb.StoreChunksRequest(chunks=[_new_chunk()])),
    "NodeService/DeleteChunks": _nodes(lambda p: pb.DeleteChunksRequest(chunk_ids=[p.chunk_id])),
    "NodeService/VerifyChunks": _nodes(
        lambda p: pb.VerifyChunksRequest(chunks=[pb.ChunkClaim(chunk_id=p.chunk_id, checksum=p.chunk_checksum)])
    ),
    "NodeService/CopyChunk": _nodes(
        lambda p: pb.CopyChunkRequest(
            chunk_id=p.chunk_id,
            checksum=p.chunk_checksum,
            source_host="127.0.0.1",
            source_port=p.cluster.node_port("node1"),
        )
    ),
    "AdminService/GetSystemStatus": _admins(lambda p: pb.SystemStatusRequest()),
    "AdminService/StreamSystemEvents": _admins(lambda p: pb.StreamEventsRequest(user=p.email, stop_at_end=True)),
    "AdminService/ListAllUsers": _admins(lambda p: pb.ListUsersRequest(search=p.email, page_size=1)),
    "AdminService/ListAllNodes": _admins(lambda p: pb.ListNodesRequest()),
    "AdminService/ListPayments": _admins(lambda p: pb.ListPaymentsRequest(user=p.email, page_size=1)),
    "AdminService/GetPaymentTotals": _admins(lambda p: pb.PaymentTotalsRequest(user=p.email)),
    "AdminService/ReconcilePayment": _admins(lambda p: pb.ReconcilePaymentRequest(payment_id=p.payment_id)),
    "AdminService/SetPaymentReference": _admins(
        lambda p: pb.SetPaymentReferenceRequest(payment_id=p.payment_id, transaction_ref="a-reference")
    ),
    "AdminService/ClosePayment": _admins(
        lambda p: pb.ClosePaymentRequest(payment_id=p.payment_id, reason="nothing came")
    ),
    "AdminService/RefundPayment": _admins(
        lambda p: pb.RefundPaymentRequest(payment_id=p.payment_id, reason="paid twice")
    ),
    # Not its drain: the other tests need the node.
    "AdminService/DrainNode": _admins(lambda p: pb.DrainNodeRequest(node_id="node1", undrain=True)),
    "AdminService/RemoveNode": _admins(lambda p: pb.RemoveNodeRequest(node_id="node1", dry_run=True)),
    "AdminService/StartRepair": _admins(lambda p: pb.StartRepairRequest(now=True)),
    "AdminService/StartScrub": _admins(lambda p: pb.StartScrubRequest(node_id="node1")),
    "AdminService/CheckCluster": _admins(lambda p: pb.CheckClusterRequest()),
    "AdminService/BackupMetadata": _admins(lambda p: pb.BackupMetadataRequest()),
    "AdminService/RestoreMetadata": _admins(lambda p: pb.RestoreMetadataRequest(data=CONTENT)),
    "AdminService/ReconcileCluster": _admins(lambda p: pb.ReconcileClusterRequest()),
    "AdminService/GetUserDetails": _admins(lambda p: pb.UserDetailsRequest(user_id=p.user.user_id)),
    "AdminService/AddAdminKey": _admins(
        lambda p: pb.AddAdminKeyRequest(name=f"key-{secrets.token_hex(8)}", role="view")
    ),
    "AdminService/ListAdminKeys": _admins(lambda p: pb.ListAdminKeysRequest()),
    "AdminService/RevokeAdminKey": _admins(lambda p: pb.RevokeAdminKeyRequest(name=p.key_name)),
    # Where there is no authority, as in these clusters, nobody can be invited, and none has a certificate.
    "AdminService/InviteNode": _admins(lambda p: pb.InviteNodeRequest(node_id="node9")),
    "AdminService/RevokeNode": _admins(lambda p: pb.RevokeNodeRequest(node_id="node9")),
    "AdminService/ListCertificates": _admins(lambda p: pb.ListCertificatesRequest()),
    "AdminService/ListMasterKeys": _admins(lambda p: pb.ListMasterKeysRequest()),
    "AdminService/SetQuota": _admins(lambda p: pb.SetQuotaRequest(user=p.email, quota_bytes=1 << 30)),
    "AdminService/SetUserDisabled": _admins(
        lambda p: pb.SetUserDisabledRequest(user=p.user.user_id, reason="no reason")  # lets them in again
    ),
}


def names(*needs: Needs) -> list[str]:
    """The methods that need one of these."""
    return [name for name, row in RPCS.items() if row.needs in needs]


def with_fields(messages: Sequence[Message], **values: Any) -> list[Message]:
    """A copy in which every field of these names has this value, wherever in a message it stands."""
    copies = []
    for message in messages:
        copy = type(message)()
        copy.CopyFrom(message)
        _set(copy, values)
        copies.append(copy)
    return copies


def _set(message: Any, values: dict[str, Any]) -> None:
    for name in set(message.DESCRIPTOR.fields_by_name) & set(values):
        setattr(message, name, values[name])
    for told, value in message.ListFields():
        if told.message_type and not told.is_repeated:
            _set(value, values)


def _new_chunk() -> pb.StoreChunkRequest:
    return pb.StoreChunkRequest(chunk_id=FREE, chunk_data=CONTENT, checksum=checksum_of(CONTENT))


def _instance_id(cluster: Cluster) -> str:
    return str(cluster.rows("SELECT instance_id FROM node WHERE node_id = 'node1'")[0][0])


def admin_key(cluster: Cluster) -> str:
    return (cluster.data / "secrets" / "admin.key").read_text().strip()


def cluster_secret(cluster: Cluster) -> str:
    return (cluster.data / "secrets" / "cluster.key").read_text().strip()


@dataclass(frozen=True)
class Outcome:
    """How a call ended: the status, our code for it ("" when none came), the words, and the replies until then."""

    status: str
    code: str
    words: str
    replies: tuple[bytes, ...]

    @property
    def told(self) -> bytes:
        """Everything that the caller learned."""
        return b"\n".join([self.words.encode(), *self.replies])


def call(
    channel: grpc.Channel,
    name: str,
    messages: Sequence[Message | bytes],
    metadata: Sequence[tuple[str, str]] = (),
    *,
    take: int | None = None,
    leave: Callable[[Any], None] | None = None,
    timeout_s: float = CALL_S,
) -> Outcome:
    """Send these messages, which may be any bytes, and tell how it ended.

    `take`: cancel after so many replies of a stream; `leave`: is called with the call once all its messages are sent,
    and a stream of them is then still open.
    """
    sent = threading.Event()
    under_way = _start(channel, name, _sending(messages, sent, stays_open=leave is not None), metadata, timeout_s)
    if leave is not None:
        under_way.add_done_callback(lambda _: sent.set())  # it may be answered before everything is sent
        sent.wait(timeout_s)
        leave(under_way)
    replies: list[bytes] = []
    try:
        for reply in under_way if METHODS[name].server_streaming else _only(under_way):
            replies.append(reply)
            if take is not None and len(replies) >= take:
                under_way.cancel()
    except grpc.FutureCancelledError:
        return Outcome("CANCELLED", "", "", ())
    except grpc.RpcError:
        code = next((str(value) for key, value in under_way.trailing_metadata() or () if key == rpc.ERROR_KEY), "")
        return Outcome(under_way.code().name, code, under_way.details() or "", tuple(replies))
    return Outcome("OK", "", "", tuple(replies))


def _start(
    channel: grpc.Channel,
    name: str,
    messages: Iterator[bytes],
    metadata: Sequence[tuple[str, str]],
    timeout_s: float,
) -> Any:
    """The call under way, its replies as bytes."""
    method, path = METHODS[name], f"/cloudstorage.{name}"
    options: dict[str, Any] = {"metadata": tuple(metadata), "timeout": timeout_s}
    if method.client_streaming:
        return channel.stream_unary(path).future(messages, **options)
    only = next(messages)
    next(messages, None)  # tells that it was sent
    if method.server_streaming:
        return channel.unary_stream(path)(only, **options)
    return channel.unary_unary(path).future(only, **options)


def _only(under_way: Any) -> Iterator[bytes]:
    yield under_way.result()


def _sending(messages: Sequence[Message | bytes], sent: threading.Event, *, stays_open: bool) -> Iterator[bytes]:
    for message in messages:
        yield message if isinstance(message, bytes) else message.SerializeToString()
    sent.set()
    if stays_open:
        time.sleep(LINGER_S)
