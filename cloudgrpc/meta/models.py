"""The tables, each column with the law it keeps.

Every `_at` column is UTC in microseconds since 1970, by the database's own clock (db.now); `_bytes` are bytes. Ids are
32 random hexadecimal digits and never used again.

    account ─< session                folder and file are entries of one tree per account:
    account ─< entry ─< version ─< extent >─ chunk ─< copy >─ node
    account ─< upload ─< upload_chunk ─< receipt >─ node            (an upload on its way)
    entry ─< share                                                  (who else may use it, and all below it)
    stray: a file on a node that no copy row names, since it was first seen
"""

from __future__ import annotations

import secrets

from peewee import (
    SQL,
    AutoField,
    BigIntegerField,
    BooleanField,
    Check,
    CompositeKey,
    DatabaseProxy,
    ForeignKeyField,
    IntegerField,
    Model,
    TextField,
)

# Bound by db.open_database; a process has one metadata database.
DATABASE = DatabaseProxy()


def new_id() -> str:
    return secrets.token_hex(16)


class Table(Model):
    class Meta:
        database = DATABASE
        legacy_table_names = False


class Cluster(Table):
    """One row: which cluster this database is about. Nodes of another cluster are refused by it."""

    cluster_id = TextField(primary_key=True)
    created_at = BigIntegerField()
    last_event_number = BigIntegerField(default=0)  # given to an event
    repair_asked_at = BigIntegerField(default=0)  # nodes that went offline before are not waited for
    restored_at = BigIntegerField(null=True)  # from a backup, and not reconciled yet: read-only
    backup_made_at = BigIntegerField(null=True)  # of the backup that this database was restored from
    sealing_since_at = BigIntegerField(null=True)  # upkeep seals what was stored plain; null: nothing of it is known
    master_key_id = TextField(default="")  # that every gateway must have; "": none has begun to seal
    digest_key_id = TextField(default="")  # of the gateway that began last


class Lease(Table):
    """Who does a job that one gateway at a time should do. A hint, not a lock: two leaders must be harmless."""

    name = TextField(primary_key=True)
    holder = TextField()
    until_at = BigIntegerField()


class Account(Table):
    """A person. used + reserved never passes quota by an upload: the reservation is one conditional UPDATE."""

    account_id = TextField(primary_key=True)
    email = TextField(unique=True)  # in the form of core.otp.check_email
    full_name = TextField()
    quota_bytes = BigIntegerField(constraints=[Check("quota_bytes >= 0")])
    used_bytes = BigIntegerField(default=0, constraints=[Check("used_bytes >= 0")])  # logical, of every version
    reserved_bytes = BigIntegerField(default=0, constraints=[Check("reserved_bytes >= 0")])  # of open uploads
    root_id = TextField()  # the entry that is the root folder; "" once the account was removed and its rows go
    created_at = BigIntegerField()
    last_login_at = BigIntegerField(null=True)
    closes_at = BigIntegerField(null=True)  # when the files of a closed account go; null: it is open
    disabled_at = BigIntegerField(null=True)  # by an operator: nobody signs in to it
    disabled_reason = TextField(default="")  # for the person
    wrapped_key = TextField(default="")  # "<master id>:<base64>": wraps the keys of what it owns; "": none yet


class OtpChallenge(Table):
    """The newest code sent to an address; a new one takes the row, so the old one is void."""

    email = TextField(primary_key=True)
    digest = TextField()  # keyed; the code itself is nowhere
    expires_at = BigIntegerField()
    attempts = IntegerField(default=0)  # wrong ones; used up at otp.MAX_ATTEMPTS


class Proof(Table):
    """A verified address, good for one Enroll or Login: by token, or by the connection that verified."""

    digest = TextField(primary_key=True)  # of the verification token, keyed
    email = TextField(index=True)
    expires_at = BigIntegerField()
    peer = TextField()  # "" where a proxy stands before the gateway
    peer_expires_at = BigIntegerField()


class Session(Table):
    digest = TextField(primary_key=True)  # of the session token, keyed
    session_id = TextField(unique=True)  # what a person sees of it
    account = ForeignKeyField(Account, on_delete="CASCADE")
    created_at = BigIntegerField()
    expires_at = BigIntegerField(index=True)
    peer = TextField()
    last_used_at = BigIntegerField(default=0)  # to the minute
    client = TextField(default="")  # the program, as it told itself


class Pace(Table):
    """How often something was done: see core.pace."""

    name = TextField(primary_key=True)
    due_at = BigIntegerField(index=True)


class Entry(Table):
    """A folder or a file. It is live when it hangs below its account's root folder; names are unique in a folder.

    What is deleted is taken out of its folder (no parent, trashed_at), with all it holds still below it, and so is what
    is deleted for good (no parent, purged_at): its room is free at once, and its rows go little by little.
    """

    parent_id: str | None
    account_id: str
    entry_id = TextField(primary_key=True)
    account = ForeignKeyField(Account, on_delete="CASCADE")
    # null: the root folder, or the top of something in the trash or purged
    parent = ForeignKeyField("self", null=True, on_delete="RESTRICT")
    kind = TextField(constraints=[Check("kind IN ('folder', 'file')")])
    name = TextField()  # as given
    name_key = TextField()  # as compared, core.paths.name_key
    version_id = TextField(null=True)  # the version people see; null for a folder
    created_at = BigIntegerField()
    modified_at = BigIntegerField()
    trashed_at = BigIntegerField(null=True)  # only of what was named when it was deleted
    trashed_from_id = TextField(null=True)  # the folder it was in; no foreign key, since that may go
    trashed_path = TextField(default="")  # that folder's path then
    purged_at = BigIntegerField(null=True)

    class Meta:
        # The index of lists; uniqueness among the live is in the migration, since peewee writes no partial index here.
        indexes = ((("parent", "kind", "name_key", "entry_id"), False),)


class Version(Table):
    """One content of a file. Never changed; the newest is the one its entry names."""

    entry_id: str
    version_id = TextField(primary_key=True)
    entry = ForeignKeyField(Entry, on_delete="CASCADE")
    number = IntegerField()  # 1, 2, 3 … within the file
    size_bytes = BigIntegerField()
    digest = TextField()  # "blake3:<hex>" of the content; sealed where there is a key, see core.sealing
    mime_type = TextField()
    created_at = BigIntegerField()
    made_by = TextField(default="")  # the e-mail of who made it
    wrapped_key = TextField(default="")  # of its chunks and digest, wrapped by its owner's; "": they are not sealed yet

    class Meta:
        indexes = ((("entry", "number"), True),)


class Share(Table):
    """Somebody else may use an entry and all below it. Its id is the token that the grantee opens it by."""

    account_id: str
    share_id = TextField(primary_key=True)
    entry = ForeignKeyField(Entry, on_delete="CASCADE")
    account = ForeignKeyField(Account, on_delete="CASCADE")  # the owner's
    email = TextField()  # of the grantee, in the form of core.otp.check_email; need not be enrolled
    permission = TextField(constraints=[Check("permission IN ('read', 'write')")])
    created_at = BigIntegerField()
    until_at = BigIntegerField(null=True)  # null: for good

    class Meta:
        indexes = (
            (("entry", "email"), True),
            (("email", "created_at", "share_id"), False),
            (("account", "created_at", "share_id"), False),
        )


class Chunk(Table):
    """Stored bytes. Lives as long as an extent names it, and a grace time longer."""

    chunk_id = TextField(primary_key=True)
    length = IntegerField()
    checksum = (
        TextField()
    )  # BLAKE3 of the stored bytes, hex; "" if it was planned by a dead upload and maybe never sent
    created_at = BigIntegerField()
    unreferenced_at = BigIntegerField(null=True, index=True)  # null: an extent names it
    is_sealed = BooleanField(default=False)  # with the key of the versions that name it


class Extent(Table):
    """A version's bytes: its chunks by position. The foreign key is the reference; there are no counters."""

    version = ForeignKeyField(Version, on_delete="CASCADE")
    position = IntegerField()
    chunk = ForeignKeyField(Chunk, on_delete="RESTRICT")
    length = IntegerField()

    class Meta:
        primary_key = CompositeKey("version", "position")


class AdminKey(Table):
    """A key of one operator, beside the gateway's own."""

    name = TextField(primary_key=True)  # stays taken when it is revoked, for the events name it
    role = TextField(constraints=[Check("role IN ('view', 'operate')")])
    digest = TextField(unique=True)  # of the key, which is random enough to need no salt
    created_at = BigIntegerField()
    created_by = TextField()
    last_used_at = BigIntegerField(null=True)  # to the minute
    revoked_at = BigIntegerField(null=True)


class Invite(Table):
    """A code by which one machine may join as one node, once."""

    digest = TextField(primary_key=True)  # of the code's secret
    node_id = TextField(index=True)
    created_by = TextField()
    created_at = BigIntegerField()
    expires_at = BigIntegerField(index=True)
    used_by = TextField(default="")  # digest of the public key that it was used for: that one may ask again


class Certificate(Table):
    """What the cluster's authority signed for a node."""

    serial = TextField(primary_key=True)  # hexadecimal
    node_id = TextField()
    authority = TextField()  # the id of the one that signed it
    issued_at = BigIntegerField()
    expires_at = BigIntegerField(index=True)  # in the migration also an index of the revoked ones
    revoked_at = BigIntegerField(null=True)

    class Meta:
        indexes = ((("node_id", "issued_at"), False),)


class RemovedNode(Table):
    """A node's folder that an operator removed: it must not join again with what it holds."""

    instance_id = TextField(primary_key=True)
    node_id = TextField()
    removed_at = BigIntegerField()


class Node(Table):
    node_id = TextField(primary_key=True)
    instance_id = TextField()  # of its folder; another folder may take the id only while the node is offline
    host = TextField()
    port = IntegerField()
    capacity_bytes = BigIntegerField()
    used_bytes = BigIntegerField()
    chunk_count = IntegerField()
    cpu_cores = IntegerField()
    is_online = BooleanField()
    is_read_only = BooleanField(default=False)
    registered_at = BigIntegerField()
    last_heartbeat_at = BigIntegerField()
    offline_since_at = BigIntegerField(null=True)  # null: online
    inventory_at = BigIntegerField(null=True)  # when its files were last compared with copy rows
    is_collecting = BooleanField(default=True)  # false: too many of its files are unknown, nothing is deleted there
    zone = TextField(default="")  # "": a zone of its own
    read_only_reason = TextField(default="")  # for operators
    metrics_address = TextField(default="")
    draining_at = BigIntegerField(null=True)  # since when it is on its way out; null: it is not
    scrub_after = TextField(default="")  # the last chunk id that the pass under way has read
    scrub_began_at = BigIntegerField(null=True)  # null: no pass is under way
    scrubbed_at = BigIntegerField(null=True)  # when the last pass came to its end
    scrub_asked_at = BigIntegerField(null=True)  # by an operator: the pass is made as fast as the settings allow
    scrub_bad = BigIntegerField(default=0)  # found by the pass under way, or by the last one


class Copy(Table):
    """A chunk on a node. good: counted and read; bad: missing or damaged there, made again by repair; doomed: the node
    is told to delete it, and nothing may lean on it any more."""

    chunk = ForeignKeyField(Chunk, on_delete="RESTRICT")
    node = ForeignKeyField(Node, on_delete="RESTRICT")
    state = TextField(constraints=[Check("state IN ('good', 'bad', 'doomed')")])
    created_at = BigIntegerField()

    class Meta:
        primary_key = CompositeKey("chunk", "node")
        indexes = (
            (("node", "chunk"), False),
            (("state", "node"), False),
        )  # the second in the migration: of not good ones


class Stray(Table):
    """A file on a node that no copy row names. It ages from first_seen_at, never from its own dates."""

    node = ForeignKeyField(Node, on_delete="CASCADE")
    chunk_id = TextField(index=True)  # no foreign key: mostly there is no such chunk
    first_seen_at = BigIntegerField()
    doomed_at = BigIntegerField(null=True)  # set once, by the transaction that checked again

    class Meta:
        primary_key = CompositeKey("node", "chunk_id")


class Upload(Table):
    """An upload on its way, or (kept for a while) what was answered to it. Only an open one with a live lease can
    receive and commit."""

    account_id: str
    upload_id = TextField(primary_key=True)
    account = ForeignKeyField(Account, on_delete="CASCADE")  # whose drive it goes to, and whose quota pays
    actor_id = TextField(default="")  # the account that uploads
    # The folder, or the file whose next content this is. No foreign key: it may go meanwhile, and commit then refuses.
    parent_id = TextField()
    name = TextField()
    mime_type = TextField()
    size_bytes = BigIntegerField()  # also what is reserved while it is open
    request_id = TextField(null=True)  # the client's; unique per actor
    state = TextField(constraints=[Check("state IN ('open', 'committed', 'abandoned')")])
    lease_until_at = BigIntegerField()
    created_at = BigIntegerField()
    is_resumable = BooleanField(default=False)  # it may rest between two streams
    fingerprint = TextField(default="")  # the client's word for what it uploads
    expected_version = IntegerField(null=True)  # that the file must have at commit; 0: no file
    entry_id = TextField(null=True)  # the answer, once committed
    chunks_stored = IntegerField(default=0)
    digest = TextField(default="")
    version = IntegerField(default=0)
    wrapped_key = TextField(default="")  # as the version's that it becomes

    class Meta:
        indexes = ((("actor_id", "request_id"), True), (("state", "lease_until_at"), False))


class UploadChunk(Table):
    """A chunk id that an upload uses or is about to use: written before the chunk is sent, so that no crash leaves a
    chunk on a node whose id no row knows."""

    chunk_id = TextField(primary_key=True)
    upload = ForeignKeyField(Upload, on_delete="CASCADE")
    position = IntegerField()
    length = IntegerField(null=True)  # null: planned, no receipts yet
    checksum = TextField(default="")

    class Meta:
        indexes = ((("upload", "position"), True),)


class Receipt(Table):
    """A node has said: this chunk is on my disk, flushed."""

    chunk = ForeignKeyField(UploadChunk, on_delete="CASCADE")
    node_id = TextField()

    class Meta:
        primary_key = CompositeKey("chunk", "node_id")


class Event(Table):
    """What changed state, written in the same transaction. Holds no secret."""

    event_id = AutoField()
    # Its place in the order that is told to others, given after its commit: of two transactions the one with the
    # smaller event_id may commit later, and whoever follows by it would miss that. null: not given yet.
    number = BigIntegerField(null=True, unique=True)
    at = BigIntegerField(index=True)
    kind = TextField()
    account_id = TextField(default="")  # whose account or drive changed
    actor_id = TextField(default="")  # who changed it, when that was somebody else
    node_id = TextField(default="")
    message = TextField()
    details = TextField(constraints=[SQL("DEFAULT '{}'")], default="{}")  # JSON
