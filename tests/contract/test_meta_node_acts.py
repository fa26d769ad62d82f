"""What operators do with nodes: draining, and removing without ever losing what nobody said may be lost."""

from __future__ import annotations

import functools
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from cloudgrpc.errors import LastNode, NodeNotEmpty, NodeNotOffline, NodeUnknown, UploadEnded
from cloudgrpc.meta import changes, copies, node_acts, nodes, orphans, scrubs, uploads
from cloudgrpc.meta.db import now
from cloudgrpc.meta.models import Event, Node, RemovedNode, new_id
from cloudgrpc.meta.uploads import Answer, Planned, Stored
from contract import meta_fixture
from contract.meta_fixture import HOUR, KEEP, NOT_IDS, SECOND, Meta, plan

if TYPE_CHECKING:
    from cloudgrpc.meta.accounts import Caller
    from cloudgrpc.meta.node_acts import Draining, Loss

NODES = ["node1", "node2", "node3"]
KEY = "anna's key"


@pytest.fixture
def alice(database: Meta) -> Caller:
    """With three nodes and nothing else that counts as one."""
    person = database.enroll(quota=1 << 40)
    database.sql("DELETE FROM node")
    for node_id in NODES:
        database.add_node(node_id)
    return person


def put(database: Meta, person: Caller, *on: str) -> str:
    (chunk_id,) = database.chunks_of(database.put(person, new_id(), 10, on=on))
    return chunk_id


def drain(database: Meta, node_id: str, factor: int = 2) -> Draining:
    return database.run(node_acts.drain, node_id, factor, KEY)


def remove(database: Meta, node_id: str, *, is_lost: bool = False) -> Loss:
    return database.run(node_acts.remove, node_id, KEY, is_lost=is_lost)


def draining(database: Meta) -> set[str]:
    return {one.node_id for one in database.read(nodes.all_nodes) if one.draining_at is not None}


# Draining


def test_a_drain_says_how_many_copies_there_will_be_and_is_asked_once(database: Meta, alice: Caller) -> None:
    put(database, alice, "node1", "node2")
    first, again = drain(database, "node1", 3), drain(database, "node1", 3)
    assert (first.copies_wanted, first.copies_before, first.is_new, first.copies_left) == (2, 3, True, 1)
    assert (again.copies_wanted, again.copies_before, again.is_new) == (2, 3, False)
    assert draining(database) == {"node1"}
    assert database.events("node.draining") == 1
    event = database.run(Event.get, Event.kind == "node.draining")
    assert (event.node_id, KEY in event.details) == ("node1", True)


def test_a_drain_is_taken_back(database: Meta, alice: Caller) -> None:
    drain(database, "node1", 3)
    back = database.run(node_acts.undrain, "node1", 3, KEY)
    assert (back.copies_wanted, back.copies_before, back.is_new) == (3, 2, True)
    assert not database.run(node_acts.undrain, "node1", 3, KEY).is_new
    assert draining(database) == set()
    assert database.events("node.undrained") == 1


def test_the_last_node_that_stays_cannot_be_drained(database: Meta, alice: Caller) -> None:
    drain(database, "node1")
    drain(database, "node2")
    found = database.digest()
    with pytest.raises(LastNode):
        drain(database, "node3")
    with pytest.raises(NodeUnknown):
        drain(database, "node9")
    with pytest.raises(NodeUnknown):
        database.run(node_acts.undrain, "node9", 2, KEY)
    assert database.digest() == found


def test_of_all_nodes_drained_at_once_one_stays(database: Meta, alice: Caller) -> None:
    answers = database.race([functools.partial(node_acts.drain, one, 2, KEY) for one in NODES])
    assert Counter(type(one).__name__ for one in answers) == {"Draining": 2, "LastNode": 1}
    assert len(draining(database)) == 2


def test_copies_left_are_all_that_keep_a_node_from_being_removed(database: Meta, alice: Caller) -> None:
    chunk_ids = [put(database, alice, "node1", "node2") for _ in range(3)]
    database.sql(f"UPDATE copy SET state = 'doomed' WHERE chunk_id = '{chunk_ids[0]}' AND node_id = 'node1'")
    database.lose(chunk_ids[1], "node1")
    database.send(database.begin(alice, "open", 5), 0, 5, on=["node1", "node3"])
    assert [database.read(node_acts.copies_left, one) for one in NODES] == [4, 3, 1]
    assert database.read(node_acts.copies_stuck, "node1") == 0
    database.lose(chunk_ids[1], "node2")
    assert [database.read(node_acts.copies_stuck, one) for one in NODES] == [1, 1, 0]


def test_that_a_node_is_drained_is_told_once_a_drain_when_nothing_is_left(database: Meta, alice: Caller) -> None:
    chunk_id = put(database, alice, "node1", "node2")
    assert not database.run(node_acts.note_drained, "node3")  # empty, but not drained
    drain(database, "node1")
    database.sql("UPDATE copy SET state = 'doomed' WHERE node_id = 'node1'")
    assert not database.run(node_acts.note_drained, "node1")  # it has not said that the file is gone
    database.run(orphans.confirm_deleted, "node1", [chunk_id])
    assert database.run(node_acts.note_drained, "node1")
    assert not database.run(node_acts.note_drained, "node1")
    database.run(node_acts.undrain, "node1", 2, KEY)
    drain(database, "node1")
    assert database.run(node_acts.note_drained, "node1")
    assert database.events("node.drained") == 2


def test_copies_on_a_draining_node_count_for_nothing_but_are_read(database: Meta, alice: Caller) -> None:
    chunk_id = put(database, alice, "node1", "node2")
    drain(database, "node1")
    (short,) = database.read(meta_fixture.shortages, 2, HOUR, 10)
    assert (short.chunk_id, set(short.holders), short.missing) == (chunk_id, {"node1", "node2"}, 1)
    assert not short.is_urgent
    database.set_offline("node1")
    (short,) = database.read(meta_fixture.shortages, 2, HOUR, 10)
    assert short.is_urgent


# Removing


def test_an_empty_node_is_removed_and_its_folder_is_remembered(database: Meta, alice: Caller) -> None:
    put(database, alice, "node1", "node2")
    lost = remove(database, "node3")
    assert (lost.copies, lost.chunks, lost.files, lost.names) == (0, 0, 0, [])
    assert {one.node_id for one in database.read(nodes.all_nodes)} == {"node1", "node2"}
    assert database.run(RemovedNode.get).instance_id == "folder of node3"
    assert database.events("node.removed") == 1
    with pytest.raises(NodeUnknown):
        remove(database, "node3")


@pytest.mark.parametrize("node_id", NOT_IDS)
def test_nothing_is_done_with_what_is_no_node(database: Meta, alice: Caller, node_id: str) -> None:
    found = database.digest()
    for act in (
        functools.partial(drain, database, node_id),
        functools.partial(database.run, node_acts.undrain, node_id, 2, KEY),
        functools.partial(database.read, node_acts.loss, node_id),
        functools.partial(remove, database, node_id),
        functools.partial(remove, database, node_id, is_lost=True),
        functools.partial(database.run, scrubs.ask, node_id, KEY),
    ):
        with pytest.raises(NodeUnknown):
            act()
    assert database.digest() == found


@pytest.mark.parametrize("state", ["good", "bad", "doomed"])
def test_a_node_with_any_copy_is_not_removed(database: Meta, alice: Caller, state: str) -> None:
    put(database, alice, "node1", "node2")
    database.sql(f"UPDATE copy SET state = '{state}' WHERE node_id = 'node1'")
    found = database.digest()
    with pytest.raises(NodeNotEmpty, match="1 copies"):
        remove(database, "node1")
    with pytest.raises(NodeNotOffline):
        remove(database, "node1", is_lost=True)
    assert database.digest() == found


def test_a_node_with_what_an_upload_has_sent_is_not_removed(database: Meta, alice: Caller) -> None:
    upload_id = database.begin(alice, "open", 5)
    database.send(upload_id, 0, 5, on=["node1", "node2"])
    with pytest.raises(NodeNotEmpty):
        remove(database, "node1")
    database.commit(upload_id, quorum=2)


def test_with_a_lost_node_go_chunks_of_which_no_other_node_has_a_good_copy(database: Meta, alice: Caller) -> None:
    folder = database.mkdir(alice, "papers")
    database.put(alice, "alone", 10, 10, on=["node1"], parent_id=folder)
    trashed = database.put(alice, "trashed", 10, on=["node1"])
    database.run(changes.trash, alice, trashed)
    purged = database.put(alice, "purged", 10, on=["node1"])
    database.run(changes.purge, alice, purged)
    shared, damaged = put(database, alice, "node1", "node2"), put(database, alice, "node1", "node2")
    database.lose(damaged, "node2")
    bad = put(database, alice, "node1")
    database.lose(bad, "node1")
    database.orphan(alice, on=["node1"])
    database.set_offline("node1")
    would = database.read(node_acts.loss, "node1")
    lost = remove(database, "node1", is_lost=True)
    assert (lost.copies, lost.files) == (would.copies, would.files) == (8, 4)
    assert lost.chunks == would.chunks
    assert list(lost.names) == list(would.names)
    told = {name.removeprefix(f"{alice.email}: ") for name in lost.names}
    assert {"/papers/alone", "/trashed"} < told
    assert "/purged" not in told
    assert [database.state(one, "node1") for one in (shared, damaged, bad)] == [None] * 3
    assert database.state(shared, "node2") == "good"
    assert [one.chunk_id for one in database.read(meta_fixture.shortages, 2, HOUR, 10)] == [shared]
    database.check_books(alice)


def test_many_lost_files_are_counted_and_some_are_named(database: Meta, alice: Caller) -> None:
    for _ in range(node_acts.NAMED + 5):
        put(database, alice, "node1")
    lost = database.read(node_acts.loss, "node1")
    assert (lost.files, len(lost.names)) == (node_acts.NAMED + 5, node_acts.NAMED)


def test_an_upload_ends_clearly_when_too_few_nodes_are_left_of_its_own(database: Meta, alice: Caller) -> None:
    upload_id = database.begin(alice, "gone", 10)
    database.send(upload_id, 0, 10, on=["node1", "node2"])
    database.set_offline("node1")
    remove(database, "node1", is_lost=True)
    with pytest.raises(UploadEnded):
        database.commit(upload_id, quorum=2)
    assert database.run(uploads.abandon, upload_id)
    database.check_books(alice)


def test_a_receipt_that_comes_after_its_node_was_removed_counts_for_nothing(database: Meta, alice: Caller) -> None:
    remove(database, "node1")
    for name, quorum, on in (("one", 2, ("node1", "node2")), ("two", 2, ("node1", "node2", "node3"))):
        upload_id, planned = database.begin(alice, name, 10), Planned(0, new_id())
        database.run(plan, upload_id, planned)
        stored = [Stored(planned.chunk_id, 10, "sum", on)]
        if len(on) - 1 < quorum:
            with pytest.raises(UploadEnded):
                database.run(uploads.commit, upload_id, stored, "d", quorum, KEEP)
            assert database.run(uploads.abandon, upload_id)
        else:
            database.run(uploads.commit, upload_id, stored, "d", quorum, KEEP)
            assert [database.state(planned.chunk_id, one) for one in on] == [None, "good", "good"]
    assert not database.run(copies.add_good, planned.chunk_id, "node1")
    with pytest.raises(NodeUnknown):
        database.compare("node1", planned.chunk_id)
    database.check_books(alice)


def test_whatever_commits_while_its_node_is_removed_keeps_its_quorum_or_ends(database: Meta, alice: Caller) -> None:
    for turn in range(4):
        database.add_node("going", instance_id=f"folder{turn}")
        database.set_offline("going")
        ready = []
        for number in range(4):
            upload_id, planned = database.begin(alice, f"{turn}-{number}", 10), Planned(0, new_id())
            database.run(plan, upload_id, planned)
            on = ("node1", "going") if number % 2 else ("node1", "node2", "going")
            ready.append((upload_id, Stored(planned.chunk_id, 10, "sum", on)))
        removal = functools.partial(node_acts.remove, "going", KEY, is_lost=True)
        commits = [functools.partial(uploads.commit, one, [stored], "d", 2, KEEP) for one, stored in ready]
        *ended, lost = database.race([*commits, removal])
        assert isinstance(lost, node_acts.Loss), lost
        for answer, (upload_id, stored) in zip(ended, ready, strict=True):
            assert isinstance(answer, Answer | UploadEnded), answer
            if isinstance(answer, Answer):
                # Committed before: then the removal told of it; or after, on the others.
                kept = sum(database.state(stored.chunk_id, one) == "good" for one in stored.node_ids)
                assert kept == len(stored.node_ids) - 1
                assert kept >= 2 or lost.copies
            else:
                assert database.run(uploads.abandon, upload_id)
    assert not database.rows("SELECT 1 FROM copy WHERE node_id = 'going'")
    database.check_books(alice)


def test_asking_for_repair_ends_the_waiting_for_nodes_that_are_away(database: Meta, alice: Caller) -> None:
    put(database, alice, "node1", "node2")
    database.set_offline("node2", for_us=SECOND)
    database.run(node_acts.ask_for_repair, KEY, is_now=False)
    assert database.read(meta_fixture.shortages, 2, HOUR, 10) == []
    database.run(node_acts.ask_for_repair, KEY, is_now=True)
    assert len(database.read(meta_fixture.shortages, 2, HOUR, 10)) == 1
    database.sql(f"UPDATE node SET offline_since_at = {database.run(now) + 1} WHERE node_id = 'node2'")
    assert database.read(meta_fixture.shortages, 2, HOUR, 10) == []  # it went after that
    assert database.events("repair.asked") == 2
    assert database.run(Node.select().count) == 3
