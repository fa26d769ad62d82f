"""Uploads, deletes and collecting in any order, against a model of a few lines: the books always balance."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test
from peewee import fn

from cloudgrpc.errors import QuotaExceeded, UploadEnded
from cloudgrpc.meta import changes, copies, files, nodes, orphans, sweeping, uploads
from cloudgrpc.meta.db import rows
from cloudgrpc.meta.models import Chunk, Copy, Extent, UploadChunk
from contract.meta_fixture import HOUR, Meta

if TYPE_CHECKING:
    from cloudgrpc.meta.accounts import Caller

NODES = ["node1", "node2", "node3"]
QUORUM = 2
QUOTA = 100
KEPT = 3  # versions of a file
GRACE = HOUR  # longer than any run, so that only what is aged on purpose is old
NAMES = st.sampled_from(["a", "b"])


class Drive(RuleBasedStateMachine):
    """A person's drive, and what it should be: sizes of open uploads, and of the versions of files."""

    database: Meta
    open_uploads = Bundle("open_uploads")
    file_ids = Bundle("file_ids")

    def __init__(self) -> None:
        super().__init__()
        self.person: Caller = self.database.enroll(quota=QUOTA)
        self.database.sql("DELETE FROM node WHERE node_id = 'pool'")
        for node_id in NODES:
            self.database.add_node(node_id)
        self.reserved: dict[str, tuple[str, int]] = {}
        self.sent: Counter[str] = Counter()
        self.chunks: dict[str, int] = {}
        self.versions: dict[str, list[int]] = {}
        self.live: dict[str, str] = {}
        self.expired: set[str] = set()

    def teardown(self) -> None:
        # What the next drive finds is its own; its nodes are the same.
        for file_id in list(self.versions):
            self.database.run(changes.purge, self.person, file_id)
        for upload_id in self.reserved:
            self.database.run(uploads.abandon, upload_id)
        self.database.sweep()

    @property
    def free(self) -> int:
        used = sum(map(sum, self.versions.values()))
        return QUOTA - used - sum(size for _, size in self.reserved.values())

    @rule(target=open_uploads, name=NAMES, size=st.integers(0, 60))
    def begin(self, name: str, size: int) -> str:
        if size > self.free:
            with pytest.raises(QuotaExceeded):
                self.database.begin(self.person, name, size)
            return ""
        upload_id = self.database.begin(self.person, name, size)
        self.reserved[upload_id] = name, size
        self.chunks[upload_id] = 0
        return upload_id

    @rule(upload_id=open_uploads, part=st.integers(1, 60), on=st.permutations(NODES), count=st.integers(QUORUM, 3))
    def send(self, upload_id: str, part: int, on: list[str], count: int) -> None:
        if upload_id not in self.reserved:
            return
        left = self.reserved[upload_id][1] - self.sent[upload_id]
        if upload_id in self.expired:
            with pytest.raises(UploadEnded):
                self.database.send(upload_id, self.chunks[upload_id], 1, on[:count])
            self.chunks[upload_id] += 1  # written down, and never stored
        elif left:
            length = min(part, left)
            self.database.send(upload_id, self.chunks[upload_id], length, on[:count])
            self.sent[upload_id] += length
            self.chunks[upload_id] += 1

    @rule(target=file_ids, upload_id=open_uploads, in_time=st.integers(0, 9))
    def commit(self, upload_id: str, in_time: int) -> str:
        name, size = self.reserved.get(upload_id, ("", -1))
        if not in_time:
            self.database.age("upload", "lease_until_at", 2 * HOUR, f"upload_id = '{upload_id}'")
            self.expired.add(upload_id)
        if upload_id in self.expired or self.sent[upload_id] != size:
            with pytest.raises(UploadEnded):
                self.database.commit(upload_id, QUORUM)
            return ""
        file_id = self.database.commit(upload_id, QUORUM, KEPT).file_id
        assert file_id == self.live.get(name, file_id)
        del self.reserved[upload_id]
        self.live[name] = file_id
        self.versions[file_id] = [*self.versions.get(file_id, []), size][-KEPT:]
        return file_id

    @rule(upload_id=consumes(open_uploads))
    def abandon(self, upload_id: str) -> None:
        assert self.database.run(uploads.abandon, upload_id) is (upload_id in self.reserved)
        self.reserved.pop(upload_id, None)

    @rule(file_id=file_ids)
    def trash(self, file_id: str) -> None:
        if file_id in self.live.values():
            self.database.run(changes.trash, self.person, file_id)
            self.live = {name: one for name, one in self.live.items() if one != file_id}

    @rule(file_id=consumes(file_ids))
    def purge(self, file_id: str) -> None:
        if file_id in self.versions:
            self.database.run(changes.purge, self.person, file_id)
            self.live = {name: one for name, one in self.live.items() if one != file_id}
            del self.versions[file_id]

    @rule(limit=st.integers(1, 5))
    def sweep(self, limit: int) -> None:
        self.database.run(sweeping.sweep, limit)

    @rule(node_id=st.sampled_from(NODES), is_repaired=st.booleans())
    def lose_and_repair(self, node_id: str, is_repaired: bool) -> None:
        """Every copy on a node turns out bad; each is made again, or not."""
        here = Copy.select(Copy.chunk).where((Copy.node == node_id) & (Copy.state == "good"))
        for (chunk_id,) in self.database.run(rows, here):
            self.database.lose(chunk_id, node_id)
        if is_repaired:
            for (chunk_id,) in self.database.run(rows, Copy.select(Copy.chunk).where(Copy.node == node_id)):
                is_going = self.database.unreferenced_at(chunk_id) is not None
                assert self.database.run(copies.add_good, chunk_id, node_id) is not is_going

    @rule(waits=st.booleans())
    def collect(self, waits: bool) -> None:
        if waits:
            self.database.age("chunk", "unreferenced_at", 3 * GRACE, "unreferenced_at IS NOT NULL")
        count = self.database.run(orphans.doom_orphans, GRACE, 1000)
        assert waits or not count
        for node_id in NODES:
            self.database.run(orphans.confirm_deleted, node_id, self.database.read(orphans.doomed_on, node_id, 1000))
            self.database.run(nodes.note_inventory, node_id, is_collecting=True, files=0, unknown=0)
        self.database.run(orphans.forget_bare_chunks, GRACE, 1000)
        if waits:
            orphaned = Chunk.select().where(Chunk.unreferenced_at.is_null(False))
            assert self.database.run(orphaned.count) == 0

    @invariant()
    def account_says_what_is_stored(self) -> None:
        used = sum(map(sum, self.versions.values()))
        reserved = sum(size for _, size in self.reserved.values())
        assert self.database.used(self.person.account_id) == (used, reserved)
        assert self.database.counted(self.person.account_id) == (used, reserved)
        assert self.free >= 0
        page = self.database.read(files.page, self.person, "", with_trash=False, after=None, limit=100)
        assert {file.name: (file.file_id, file.size_bytes) for file in page.files} == {
            name: (file_id, self.versions[file_id][-1]) for name, file_id in self.live.items()
        }

    @invariant()
    def chunks_are_kept_exactly_as_long_as_a_file_names_them(self) -> None:
        self.database.run(check_chunks)


def check_chunks() -> None:
    named = {chunk_id for (chunk_id,) in rows(Extent.select(Extent.chunk))}
    aging = {chunk_id for (chunk_id,) in rows(Chunk.select(Chunk.chunk_id).where(Chunk.unreferenced_at.is_null(False)))}
    known = {chunk_id for (chunk_id,) in rows(Chunk.select(Chunk.chunk_id))}
    held = dict(rows(Copy.select(Copy.chunk, fn.COUNT(Copy.node)).group_by(Copy.chunk)))
    doomed = {chunk_id for (chunk_id,) in rows(Copy.select(Copy.chunk).where(Copy.state == "doomed"))}
    on_the_way = {chunk_id for (chunk_id,) in rows(UploadChunk.select(UploadChunk.chunk_id))}
    assert known == named | aging
    assert not named & aging
    assert not named & doomed
    assert not on_the_way & known
    assert all(held[chunk_id] >= QUORUM for chunk_id in named)


@pytest.mark.timeout(1800)
def test_the_books_balance_whatever_is_uploaded_deleted_lost_and_collected(
    database: Meta, pytestconfig: pytest.Config
) -> None:
    is_long = pytestconfig.getoption("--soak")
    runs = settings(max_examples=100 if is_long else 6, stateful_step_count=60 if is_long else 20, deadline=None)
    machine = type("Drive", (Drive,), {"database": database})
    run_state_machine_as_test(machine, settings=runs)
