"""What strangers must not see or change: everything that is stored, watched while they try."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import grpc

from cloudgrpc import rpc
from every_rpc import with_fields

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from google.protobuf.message import Message

    from cluster_harness import Cluster
    from every_rpc import Outcome, Person

Dump = dict[str, list[str]]  # rows by table

# The record of what was tried, and the house's own bookkeeping.
UNWATCHED = {"event", "sqlite_sequence", "pace", "lease"}
UNWATCHED_COLUMNS = {"inventory_at", "last_used_at"}
# Of what does not exist, where it is not simply not_found.
CODES = {"AuthService/EndSession": "session_unknown", "HistoryService/RestoreFile": "not_in_trash"}
CODES |= dict.fromkeys(["SharingService/OpenShare", "SharingService/UnshareFile"], "share_unknown")
CODES |= {
    f"UploadService/{name}": "upload_unknown" for name in ("PutChunks", "GetUpload", "FinishUpload", "CancelUpload")
}
CODES |= dict.fromkeys(["PaymentService/CheckPaymentStatus", "PaymentService/CancelPayment"], "payment_unknown")
ID_FIELDS = (
    "file_id",
    "folder_id",
    "parent_folder_id",
    "session_id",
    "target_folder_id",
    "upload_id",
    "share_token",
    "payment_id",
)


class Watch:
    """Sees whatever changes: every row of every table, and every chunk that comes to the node's disk or leaves it."""

    def __init__(self, cluster: Cluster) -> None:
        self._connection = cluster._connect()
        self._connection.row_factory = sqlite3.Row
        self._disk = cluster.node_folder("node1")
        self._seen: tuple[int, Dump] = (-1, {})

    def close(self) -> None:
        self._connection.close()

    def look(self) -> Dump:
        """All tables; read again only when somebody has committed since."""
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if version != self._seen[0]:
            self._seen = (version, self._read())
        return {**self._seen[1], "disk": [f"{one.name} {one.stat().st_mtime_ns}" for one in os.scandir(self._disk)]}

    @contextmanager
    def nothing_changes(self, because: str) -> Iterator[None]:
        before = self.look()
        yield
        after = self.look()
        changed = [key for key in before.keys() | after.keys() if before.get(key) != after.get(key)]
        assert not changed, f"{because}: changed {changed}"

    def _read(self) -> Dump:
        found = self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        tables = [row[0] for row in found if row[0] not in UNWATCHED]
        return {table: sorted(map(_told, self._connection.execute(f"SELECT * FROM {table}"))) for table in tables}


def _told(row: sqlite3.Row) -> str:
    return repr([value for key, value in zip(row.keys(), row, strict=True) if key not in UNWATCHED_COLUMNS])


def about(person: Person, everything: Dump) -> list[str]:
    """The rows that name this person or anything of theirs."""
    return [row for rows in everything.values() for row in rows if any(word in row for word in person.words)]


def check_refused(outcome: Outcome, status: str, code: str, because: str) -> None:
    assert (outcome.status, outcome.code) == (status, code), f"{because}: {outcome}"
    assert not outcome.replies, f"{because}: {outcome}"


def check_told_nothing(outcome: Outcome, person: Person, because: str, asked: bytes = b"") -> None:
    """Neither words nor replies hold anything of this person's that the caller had not said itself."""
    leaked = [word for word in person.words if word and word.encode() in outcome.told and word.encode() not in asked]
    assert not leaked, f"{because}: told {leaked}: {outcome}"


def with_id(name: str, messages: Sequence[Message], entry_id: str) -> list[Message]:
    """The same call for this id, in every field that takes one."""
    fields = dict.fromkeys(ID_FIELDS, entry_id)
    if name == "SharingService/UnshareFile":
        del fields["file_id"]  # instead of the token
    return with_fields(messages, **fields)


@contextmanager
def connect(address: str) -> Iterator[grpc.Channel]:
    options = [*rpc.CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
    with closing(grpc.insecure_channel(address, options=options)) as channel:
        yield channel
