"""Files over the wire as the tests see them: people, contents, and connections that break."""

from __future__ import annotations

import itertools
import random
import socket
import sqlite3
import threading
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import grpc
import psycopg2
from blake3 import blake3

from cloudgrpc import rpc
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import FileServiceStub, UploadServiceStub
from program import HOST
from user import CALL_S, User

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from google.protobuf.message import Message

    from cluster_harness import Cluster

MIB = 1 << 20
CHUNK = 4 * MIB

_numbers = itertools.count(1)


def someone(cluster: Cluster) -> User:
    return cluster.enroll(f"person{next(_numbers)}@example.org")


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def digest(data: bytes) -> str:
    return f"blake3:{blake3(data).hexdigest()}"


def send(user: User, messages: Iterable[pb.UploadFileRequest]) -> pb.UploadFileResponse:
    return user.cluster.files.UploadFile(iter(messages), timeout=CALL_S)


def metadata(user: User, name: str = "a", size: int = 0, **more: Any) -> pb.UploadFileRequest:
    told = pb.FileMetadata(session_token=user.token, filename=name, file_size=size, **more)
    return pb.UploadFileRequest(metadata=told)


def data(piece: bytes) -> pb.UploadFileRequest:
    return pb.UploadFileRequest(chunk_data=piece)


def kept(user: User) -> object:
    """Everything that the metadata says this person has."""
    mine = f"account_id = '{user.user_id}'"
    entries = user.cluster.rows(f"SELECT entry_id, name, version_id, trashed_at FROM entry WHERE {mine} ORDER BY 1")
    versions = user.cluster.rows(
        f"SELECT version.version_id, size_bytes FROM version JOIN entry USING (entry_id) WHERE {mine}"
    )
    return entries, sorted(versions), user.cluster.used_bytes(user.email)


@contextmanager
def nothing_kept(user: User) -> Iterator[None]:
    """Whatever happens inside leaves this person's files and quota as they were."""
    before = kept(user)
    yield
    assert kept(user) == before


def versions_of(user: User, name: str) -> int:
    query = f"SELECT count(*) FROM version JOIN entry USING (entry_id) WHERE entry.account_id = '{user.user_id}'"
    return int(user.cluster.rows(f"{query} AND name = '{name}'")[0][0])


def root_of(user: User) -> str:
    return str(user.cluster.rows(f"SELECT root_id FROM account WHERE account_id = '{user.user_id}'")[0][0])


def arrived(user: User) -> tuple[int, int]:
    """What an open upload of this person has reserved, and how many receipts it has."""
    query = "SELECT count(*) FROM receipt JOIN upload_chunk USING (chunk_id) JOIN upload USING (upload_id)"
    ((receipts,),) = user.cluster.rows(f"{query} WHERE state = 'open' AND account_id = '{user.user_id}'")
    return user.cluster.used_bytes(user.email)[1], receipts


def limit_quota(user: User, quota_bytes: int) -> None:
    statement = f"UPDATE account SET quota_bytes = {quota_bytes} WHERE account_id = '{user.user_id}'"
    place = user.cluster.database
    if place is None:
        with closing(sqlite3.connect(user.cluster.data / "metadata.sqlite3", timeout=10)) as connection, connection:
            connection.execute(statement)
        return
    link = psycopg2.connect(host=place.host, port=place.port, dbname=place.name, user=place.user)
    with closing(link), link, link.cursor() as cursor:
        cursor.execute(statement)


class Wire:
    """A stretch of network between a client and the gateway, which can swallow replies and break."""

    def __init__(self, port: int) -> None:
        self._gateway = (HOST, port)
        self._listener = socket.create_server((HOST, 0))
        self.address = f"{HOST}:{self._listener.getsockname()[1]}"
        self._ends: list[socket.socket] = []
        self._is_cut = False
        self.swallows_replies = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break every connection, as a router that goes down does; nobody gets through any more."""
        self._is_cut = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # who waits there would else be given one more
        self._listener.close()
        self._break()

    def _break(self) -> None:
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._ends.append(client)
                gateway = socket.create_connection(self._gateway)
                self._ends.append(gateway)
                threading.Thread(target=self._carry, args=(client, gateway, False), daemon=True).start()
                threading.Thread(target=self._carry, args=(gateway, client, True), daemon=True).start()
                if self._is_cut:
                    self._break()

    def _carry(self, source: socket.socket, target: socket.socket, is_reply: bool) -> None:
        with suppress(OSError):
            while moved := source.recv(1 << 16):
                if not (is_reply and self.swallows_replies):
                    target.sendall(moved)


@contextmanager
def wire_to(cluster: Cluster) -> Iterator[Wire]:
    wire = Wire(cluster.port)
    try:
        yield wire
    finally:
        wire.cut()


class Halting:
    """An upload that halts after some of its messages, until it is told to go on or broken off."""

    def __init__(self, user: User, messages: Iterable[Message], address: str = "", *, resumable: bool = False) -> None:
        """`resumable`: they are messages of PutChunks, not of UploadFile."""
        options = [*rpc.CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
        self.channel = grpc.insecure_channel(address or user.cluster.address, options=options)
        self.halted, self._over = threading.Event(), threading.Event()
        method: Any = (
            UploadServiceStub(self.channel).PutChunks if resumable else FileServiceStub(self.channel).UploadFile
        )
        self.call = method.future(self._send(messages), timeout=CALL_S)

    def _send(self, messages: Iterable[Message]) -> Iterator[Message]:
        yield from messages
        self.halted.set()  # asked for another one: those before are on their way
        self._over.wait(CALL_S)

    def end(self) -> None:
        self._over.set()
        self.call.cancel()
        self.channel.close()


class Unfinished:
    """An upload of `data` that can be gone on with."""

    def __init__(self, user: User, name: str, data: bytes, fingerprint: str = "", **more: Any) -> None:
        self.user = user
        self.data = data
        self._metadata = pb.FileMetadata(session_token=user.token, filename=name, file_size=len(data), **more)
        self._fingerprint = fingerprint
        self.upload_id = self.begin().upload_id

    def begin(self) -> pb.UploadStatus:
        request = pb.BeginUploadRequest(metadata=self._metadata, fingerprint=self._fingerprint)
        return self.user.cluster.uploads.BeginUpload(request, timeout=CALL_S).upload

    def messages(self, first: int, count: int, data: bytes | None = None) -> Iterator[pb.PutChunksRequest]:
        """`data`: None for the very bytes of those chunks."""
        if data is None:
            data = self.data[first * CHUNK : (first + count) * CHUNK]
        header = pb.PutChunksHeader(session_token=self.user.token, upload_id=self.upload_id, first=first, count=count)
        yield pb.PutChunksRequest(header=header)
        for start in range(0, len(data), MIB):
            yield pb.PutChunksRequest(chunk_data=data[start : start + MIB])

    def put(self, first: int, count: int, data: bytes | None = None) -> int:
        messages = self.messages(first, count, data)
        return self.user.cluster.uploads.PutChunks(messages, timeout=CALL_S).chunks_stored

    def put_missing(self) -> int:
        """Send what is not stored; how many chunks that was."""
        here = {span.first + n for span in self.status().stored for n in range(span.count)}
        return sum(self.put(one, 1) for one in range(-(-len(self.data) // CHUNK)) if one not in here)

    def status(self) -> pb.UploadStatus:
        request = pb.GetUploadRequest(session_token=self.user.token, upload_id=self.upload_id)
        return self.user.cluster.uploads.GetUpload(request, timeout=CALL_S).upload

    def stored(self) -> list[tuple[int, int]]:
        return [(span.first, span.count) for span in self.status().stored]

    def finish(self, checksum: str | None = None) -> pb.FinishUploadResponse:
        """`checksum`: None for the right one."""
        told = digest(self.data) if checksum is None else checksum
        request = pb.FinishUploadRequest(session_token=self.user.token, upload_id=self.upload_id, checksum=told)
        return self.user.cluster.uploads.FinishUpload(request, timeout=CALL_S)

    def cancel(self) -> None:
        request = pb.CancelUploadRequest(session_token=self.user.token, upload_id=self.upload_id)
        self.user.cluster.uploads.CancelUpload(request, timeout=CALL_S)
