"""The statements of every upload, in the order of their use; what they mean together is told in `uploads`."""

from __future__ import annotations

from typing import Any

from peewee import SQL, Case, Value, fn

from cloudgrpc.core.sealing import TAG_BYTES
from cloudgrpc.meta.db import locked
from cloudgrpc.meta.models import Account, Chunk, Copy, Entry, Extent, Node, Receipt, Upload, UploadChunk, Version
from cloudgrpc.meta.prepared import Prepared, blank
from cloudgrpc.meta.sealing import owners_key

EARLIER = Prepared(
    lambda: locked(
        Upload.select(
            Upload.upload_id,
            Upload.state,
            Upload.name,
            Upload.size_bytes,
            Upload.parent_id,
            Upload.entry_id,
            Upload.chunks_stored,
            Upload.digest,
            Upload.version,
            Upload.is_resumable,
            Upload.lease_until_at,
            Upload.wrapped_key,
            owners_key(Upload.account),
        ).where((Upload.actor_id == blank("actor_id")) & (Upload.request_id == blank("request_id")))
    )
)
RESERVE = Prepared(
    lambda: (
        Account.update(reserved_bytes=Account.reserved_bytes + blank("size_bytes"))
        .where(
            (Account.account_id == blank("account_id"))
            & (Account.quota_bytes - Account.used_bytes - Account.reserved_bytes >= blank("size_bytes"))
        )
        .returning(Account.wrapped_key)
    )
)
OPEN = Prepared(
    lambda: Upload.insert(
        upload_id=blank("upload_id"),
        account=blank("owner_id"),
        actor_id=blank("actor_id"),
        parent_id=blank("parent_id"),
        name=blank("name"),
        mime_type=blank("mime_type"),
        size_bytes=blank("size_bytes"),
        request_id=blank("request_id"),
        state="open",
        lease_until_at=blank("lease_until_at"),
        created_at=blank("created_at"),
        expected_version=blank("expected_version"),
        is_resumable=blank("is_resumable"),
        fingerprint=blank("fingerprint"),
        wrapped_key=blank("wrapped_key"),
    )
)
PLAN = Prepared(
    lambda: UploadChunk.insert(
        chunk_id=blank("chunk_id"), upload=blank("upload_id"), position=blank("position"), length=None, checksum=""
    )
)
STANDING = Prepared(
    lambda: UploadChunk.select(UploadChunk.chunk_id).where(
        (UploadChunk.upload == blank("upload_id"))
        & (UploadChunk.position >= blank("first"))
        & (UploadChunk.position <= blank("last"))
    )
)
# Written out: a parameter that is compared with what a partial index is about makes SQLite plan anew each time it runs.
_IS_OPEN = Upload.state == SQL("'open'")
RENEW = Prepared(
    lambda: Upload.update(lease_until_at=blank("lease_until_at")).where(
        (Upload.upload_id == blank("upload_id")) & _IS_OPEN & (Upload.lease_until_at > blank("now"))
    )
)
FILL = Prepared(
    lambda: UploadChunk.update(length=blank("length"), checksum=blank("checksum")).where(
        (UploadChunk.chunk_id == blank("chunk_id")) & (UploadChunk.upload == blank("upload_id"))
    )
)
RECEIPT = Prepared(lambda: Receipt.insert(chunk=blank("chunk_id"), node_id=blank("node_id")))
LOCK_DRIVE = Prepared(
    lambda: locked(
        Account.select(Account.account_id).where(
            Account.account_id == Upload.select(Upload.account).where(Upload.upload_id == blank("upload_id"))
        )
    )
)
TO_COMMIT = Prepared(
    lambda: locked(
        Upload.select(
            Upload.upload_id,
            Upload.account,
            Upload.parent_id,
            Upload.name,
            Upload.mime_type,
            Upload.size_bytes,
            Upload.expected_version,
            Upload.wrapped_key,
            owners_key(Upload.account),
            Account.account_id,
            Account.email,
            Account.root_id,
            Account.disabled_at,
            Account.disabled_reason,
        )
        .join(Account, on=(Account.account_id == Upload.actor_id))
        .where((Upload.upload_id == blank("upload_id")) & _IS_OPEN & (Upload.lease_until_at > blank("now")))
    )
)


def receipts_of_chunk() -> Any:
    """Not those of nodes that were removed since."""
    its_node = Receipt.select(fn.COUNT(Receipt.node_id)).join(Node, on=(Node.node_id == Receipt.node_id))
    return its_node.where(Receipt.chunk == UploadChunk.chunk_id)


WHOLE = Prepared(
    lambda: UploadChunk.select(
        fn.COUNT(UploadChunk.chunk_id),
        fn.COALESCE(fn.SUM(UploadChunk.length), 0),
        fn.COALESCE(fn.MAX(UploadChunk.position), -1),
        fn.COALESCE(fn.SUM(Case(None, [(receipts_of_chunk() < blank("quorum"), 1)], 0)), 0),
        fn.COALESCE(fn.SUM(receipts_of_chunk()), 0),
    ).where(UploadChunk.upload == blank("upload_id"))
)
NEW_FILE = Prepared(
    lambda: Entry.insert(
        entry_id=blank("entry_id"),
        account=blank("account_id"),
        parent=blank("parent_id"),
        kind="file",
        name=blank("name"),
        name_key=blank("name_key"),
        version_id=blank("version_id"),
        created_at=blank("now"),
        modified_at=blank("now"),
    )
)
NEXT_NUMBER = Prepared(
    lambda: Version.select(fn.COALESCE(fn.MAX(Version.number), 0) + 1).where(Version.entry == blank("entry_id"))
)
NEWEST = Prepared(
    lambda: Entry.update(version_id=blank("version_id"), modified_at=blank("now")).where(
        Entry.entry_id == blank("entry_id")
    )
)
NEW_VERSION = Prepared(
    lambda: Version.insert(
        version_id=blank("version_id"),
        entry=blank("entry_id"),
        number=blank("number"),
        size_bytes=blank("size_bytes"),
        digest=blank("digest"),
        mime_type=blank("mime_type"),
        created_at=blank("now"),
        made_by=blank("made_by"),
        wrapped_key=blank("wrapped_key"),
    )
)


def _adopt_chunks(which: Any) -> Any:
    """What an upload tells of a chunk is of its plain bytes; the chunk's own length is of those that are stored."""
    is_sealed = Upload.wrapped_key != ""
    return Chunk.insert_from(
        UploadChunk.select(
            UploadChunk.chunk_id,
            fn.COALESCE(UploadChunk.length + Case(None, [(is_sealed, TAG_BYTES)], 0), 0),
            UploadChunk.checksum,
            _bigint("now"),
            _bigint("unreferenced_at"),
            is_sealed,
        )
        .join(Upload)
        .where(which),
        [
            Chunk.chunk_id,
            Chunk.length,
            Chunk.checksum,
            Chunk.created_at,
            Chunk.unreferenced_at,
            Chunk.is_sealed,
        ],
    )


def _adopt_copies(which: Any) -> Any:
    return Copy.insert_from(
        Receipt.select(Receipt.chunk, Receipt.node_id, Value("good"), _bigint("now"))
        .join(Node, on=(Node.node_id == Receipt.node_id))
        .join(UploadChunk, on=(UploadChunk.chunk_id == Receipt.chunk))
        .where(which),
        [Copy.chunk, Copy.node, Copy.state, Copy.created_at],
    )


ADOPT_CHUNKS = Prepared(lambda: _adopt_chunks(UploadChunk.upload == blank("upload_id")))
ADOPT_COPIES = Prepared(lambda: _adopt_copies(UploadChunk.upload == blank("upload_id")))
ADOPT_EXTENTS = Prepared(
    lambda: Extent.insert_from(
        UploadChunk.select(blank("version_id"), UploadChunk.position, UploadChunk.chunk_id, UploadChunk.length).where(
            UploadChunk.upload == blank("upload_id")
        ),
        [Extent.version, Extent.position, Extent.chunk, Extent.length],
    )
)
FORGET_CHUNKS = Prepared(lambda: UploadChunk.delete().where(UploadChunk.upload == blank("upload_id")))
# The same for one chunk.
ADOPT_CHUNK = Prepared(lambda: _adopt_chunks(UploadChunk.chunk_id == blank("chunk_id")))
ADOPT_COPIES_OF_CHUNK = Prepared(lambda: _adopt_copies(UploadChunk.chunk_id == blank("chunk_id")))
FORGET_CHUNK = Prepared(lambda: UploadChunk.delete().where(UploadChunk.chunk_id == blank("chunk_id")))
CHARGE = Prepared(
    lambda: Account.update(
        used_bytes=Account.used_bytes + blank("size_bytes"), reserved_bytes=Account.reserved_bytes - blank("size_bytes")
    ).where(Account.account_id == blank("account_id"))
)
COMMITTED = Prepared(
    lambda: Upload.update(
        state="committed",
        entry_id=blank("entry_id"),
        chunks_stored=blank("chunks_stored"),
        digest=blank("digest"),
        version=blank("version"),
    ).where(Upload.upload_id == blank("upload_id"))
)


def _bigint(name: str) -> Any:
    """PostgreSQL takes a selected parameter for text unless it is told its type."""
    return blank(name).cast("BIGINT")
