"""What may be deleted from nodes, and when: every law that stands between a file and its loss."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

from cloudgrpc.meta import changes, copies, nodes, orphans, uploads
from cloudgrpc.meta.db import now
from cloudgrpc.meta.models import Chunk, Copy, Stray, new_id
from cloudgrpc.meta.orphans import Findings
from cloudgrpc.meta.uploads import Planned
from contract.meta_fixture import HOUR, SECOND, Meta, plan

if TYPE_CHECKING:
    from cloudgrpc.meta.accounts import Caller
    from cloudgrpc.meta.orphans import DueStray

NODES = ["node1", "node2", "node3"]
GRACE = 600 * SECOND


@pytest.fixture
def alice(database: Meta) -> Caller:
    person = database.enroll()
    database.sql("DELETE FROM node")
    for node_id in NODES:
        database.add_node(node_id)
    return person


def put(database: Meta, person: Caller, *on: str) -> str:
    """A chunk of a file on these nodes; returns its id."""
    (chunk_id,) = database.chunks_of(database.put(person, new_id(), 10, on=on))
    return chunk_id


def stray(database: Meta, node_id: str, chunk_id: str = "") -> str:
    """A file on a node that no copy row names, seen by a round just now."""
    found = chunk_id or new_id()
    database.sql(
        f"INSERT INTO stray (node_id, chunk_id, first_seen_at) VALUES ('{node_id}', '{found}', {database.run(now)})"
    )
    return found


def age_strays(database: Meta, micros: int = GRACE + SECOND) -> None:
    database.age("stray", "first_seen_at", micros)


def age_orphans(database: Meta, micros: int = GRACE + SECOND) -> None:
    database.age("chunk", "unreferenced_at", micros, "unreferenced_at IS NOT NULL")


def strays(database: Meta, node_id: str = "node1") -> dict[str, Stray]:
    return {one.chunk_id: one for one in database.run(lambda: list(Stray.select().where(Stray.node == node_id)))}


def due(database: Meta, node_id: str = "node1", factor: int = 2, limit: int = 100) -> dict[str, DueStray]:
    return {one.chunk_id: one for one in database.read(orphans.due_strays, node_id, GRACE, factor, limit)}


def doom(database: Meta, chunk_id: str, *verified: str, node_id: str = "node1", factor: int = 2) -> bool:
    return database.run(orphans.doom_stray, node_id, chunk_id, GRACE, verified, factor)


def doomed(database: Meta, node_id: str = "node1", limit: int = 100) -> set[str]:
    return set(database.read(orphans.doomed_on, node_id, limit))


def look_at(database: Meta, *node_ids: str) -> None:
    for node_id in node_ids:
        database.run(nodes.note_inventory, node_id, is_collecting=True, files=0, unknown=0)


# Orphans


def test_an_orphan_is_doomed_on_every_node_after_its_grace_and_never_earlier(database: Meta, alice: Caller) -> None:
    gone, kept = database.orphan(alice, on=["node1", "node2"]), put(database, alice, "node1", "node2")
    age_orphans(database, GRACE - 60 * SECOND)
    assert database.run(orphans.doom_orphans, GRACE, 100) == 0
    age_orphans(database, 61 * SECOND)
    assert database.run(orphans.doom_orphans, GRACE, 100) == 2
    assert doomed(database, "node1") == doomed(database, "node2") == {gone}
    assert database.state(kept, "node1") == "good"
    assert database.run(orphans.doom_orphans, GRACE, 100) == 0


def test_bad_copies_of_orphans_are_doomed_too(database: Meta, alice: Caller) -> None:
    gone = database.orphan(alice, on=["node1"])
    database.lose(gone, "node1")
    age_orphans(database)
    assert database.run(orphans.doom_orphans, GRACE, 100) == 1


def test_a_chunk_that_a_file_names_is_never_doomed_whatever_its_row_says(database: Meta, alice: Caller) -> None:
    chunk_id = put(database, alice, "node1")
    database.sql("UPDATE chunk SET unreferenced_at = 1")
    assert database.run(orphans.doom_orphans, GRACE, 100) == 0
    assert database.state(chunk_id, "node1") == "good"
    look_at(database, *NODES)
    assert database.run(orphans.forget_bare_chunks, GRACE, 100) == 0


def test_orphans_beyond_the_limit_are_doomed_by_the_next_rounds(database: Meta, alice: Caller) -> None:
    gone = {database.orphan(alice, on=["node1"]) for _ in range(5)}
    age_orphans(database)
    assert [database.run(orphans.doom_orphans, GRACE, 2) for _ in range(4)] == [2, 2, 1, 0]
    assert doomed(database) == gone
    assert doomed(database, limit=3) < gone


def test_two_leaders_by_mistake_doom_each_copy_once(database: Meta, alice: Caller) -> None:
    for _ in range(5):
        database.orphan(alice, on=["node1", "node2"])
    age_orphans(database)
    assert sum(database.race([functools.partial(orphans.doom_orphans, GRACE, 100)] * 3)) == 10


def test_only_after_a_node_has_answered_do_the_rows_go(database: Meta, alice: Caller) -> None:
    gone, kept = database.orphan(alice, on=["node1", "node2"]), put(database, alice, "node1")
    age_orphans(database)
    database.run(orphans.doom_orphans, GRACE, 100)
    lost = stray(database, "node1")
    fresh = stray(database, "node1")
    age_strays(database)
    assert doom(database, lost)
    database.run(orphans.confirm_deleted, "node1", [gone, lost, fresh, kept])
    assert (database.state(gone, "node1"), database.state(gone, "node2")) == (None, "doomed")
    assert database.state(kept, "node1") == "good"
    assert set(strays(database)) == {fresh}
    assert doomed(database, "node1") == set()
    assert database.events("chunks.collected") == 1


def test_no_answer_is_no_event(database: Meta, alice: Caller) -> None:
    database.run(orphans.confirm_deleted, "node1", [])
    assert database.events("chunks.collected") == 0


def test_a_chunk_without_copies_is_remembered_until_all_nodes_were_looked_at_twice_the_grace_later(
    database: Meta, alice: Caller
) -> None:
    # One that was only planned may still be found on a node, which is then known by this row.
    upload_id, planned = database.begin(alice, "a", 10), new_id()
    database.run(plan, upload_id, Planned(0, planned))
    database.run(uploads.abandon, upload_id)
    with_copy = database.orphan(alice, on=["node1"])
    seen = database.begin(alice, "b", 10)
    stray_chunk = stray(database, "node2")
    database.run(plan, seen, Planned(0, stray_chunk))
    database.run(uploads.abandon, seen)
    look_at(database, *NODES)
    age_orphans(database, 2 * GRACE - 60 * SECOND)
    look_at(database, *NODES)
    assert database.run(orphans.forget_bare_chunks, GRACE, 100) == 0
    age_orphans(database, 61 * SECOND)
    database.age("node", "inventory_at", 61 * SECOND)
    look_at(database, "node1", "node2")
    assert database.run(orphans.forget_bare_chunks, GRACE, 100) == 0, "nobody has looked at node3 since"
    look_at(database, "node3")
    assert database.run(orphans.forget_bare_chunks, GRACE, 100) == 1
    left = database.run(lambda: {one.chunk_id for one in Chunk.select()})
    assert left == {with_copy, stray_chunk}


def test_a_node_where_collecting_is_stopped_is_told_to_delete_nothing(database: Meta, alice: Caller) -> None:
    gone, lost = database.orphan(alice, on=["node1"]), stray(database, "node1")
    age_orphans(database)
    age_strays(database)
    database.run(orphans.doom_orphans, GRACE, 100)
    assert doom(database, lost)
    assert doomed(database) == {gone, lost}
    database.run(nodes.note_inventory, "node1", is_collecting=False, files=10, unknown=5)
    assert doomed(database) == set()
    assert due(database) == {}
    assert doomed(database, "nobody") == set()
    database.run(nodes.note_inventory, "node1", is_collecting=True, files=10, unknown=0)
    assert doomed(database) == {gone, lost}


def test_collecting_stops_and_goes_on_with_one_event_each(database: Meta, alice: Caller) -> None:
    for is_collecting in (True, False, False, True, True):
        database.run(nodes.note_inventory, "node1", is_collecting=is_collecting, files=10, unknown=3)
    assert [database.events(f"collecting.{word}") for word in ("stopped", "resumed")] == [1, 1]


# Inventories


def test_a_copy_whose_file_is_not_there_is_bad(database: Meta, alice: Caller) -> None:
    here, missing = put(database, alice, "node1"), put(database, alice, "node1")
    elsewhere = put(database, alice, "node2")
    assert database.compare("node1", here) == Findings(unknown=0, missing=1)
    assert [database.state(one, "node1") for one in (here, missing)] == ["good", "bad"]
    assert database.state(elsewhere, "node2") == "good"
    assert strays(database) == {}
    assert database.compare("node1", here) == Findings(unknown=0, missing=0)
    assert database.events("copy.bad") == 1


def test_a_copy_that_came_after_the_list_was_asked_for_is_not_called_missing(database: Meta, alice: Caller) -> None:
    old = put(database, alice, "node2")
    listed_at = database.run(now)
    new = put(database, alice, "node1")
    assert database.run(copies.add_good, old, "node1")
    assert database.compare("node1", listed_at=listed_at) == Findings(unknown=0, missing=0)
    assert [database.state(one, "node1") for one in (old, new)] == ["good", "good"]


def test_a_page_says_nothing_of_what_is_outside_its_span(database: Meta, alice: Caller) -> None:
    chunks = sorted(put(database, alice, "node1") for _ in range(6))
    lost = sorted(stray(database, "node1") for _ in range(2))
    span = (chunks[1], chunks[3])
    found = database.run(orphans.compare_page, "node1", [], span, database.run(now), 1)
    assert found.missing == 2
    assert [database.state(one, "node1") for one in chunks] == ["good", "good", "bad", "bad", "good", "good"]
    assert set(strays(database)) == {one for one in lost if not span[0] < one <= span[1]}


def test_a_doomed_copy_is_neither_missing_nor_a_stray(database: Meta, alice: Caller) -> None:
    gone, other = database.orphan(alice, on=["node1"]), database.orphan(alice, on=["node1"])
    age_orphans(database)
    database.run(orphans.doom_orphans, GRACE, 100)
    assert database.compare("node1", gone) == Findings(unknown=0, missing=0)
    assert [database.state(one, "node1") for one in (gone, other)] == ["doomed", "doomed"]
    assert strays(database) == {}


def test_a_chunk_on_its_way_is_neither_unknown_nor_a_stray(database: Meta, alice: Caller) -> None:
    upload_id, planned = database.begin(alice, "a", 20), new_id()
    sent = database.send(upload_id, 0, 10, on=["node1"])
    database.run(plan, upload_id, Planned(1, planned))
    assert database.compare("node1", sent, planned) == Findings(unknown=0, missing=0)
    assert strays(database) == {}


def test_a_file_of_an_abandoned_upload_is_known_but_stray(database: Meta, alice: Caller) -> None:
    upload_id, planned = database.begin(alice, "a", 20), new_id()
    sent = database.send(upload_id, 0, 10, on=["node2"])
    database.run(plan, upload_id, Planned(1, planned))
    database.run(uploads.abandon, upload_id)
    assert database.compare("node1", sent, planned) == Findings(unknown=0, missing=0)
    assert set(strays(database)) == {sent, planned}


def test_files_that_no_row_names_are_counted_and_age_from_when_they_were_first_seen(
    database: Meta, alice: Caller
) -> None:
    known, unknown = put(database, alice, "node1"), sorted(new_id() for _ in range(3))
    before = database.run(now)
    assert database.compare("node1", known, *unknown) == Findings(unknown=3, missing=0)
    first = strays(database)
    assert set(first) == set(unknown)
    assert all(before <= one.first_seen_at <= database.run(now) for one in first.values())
    database.age("stray", "first_seen_at", HOUR)
    assert database.compare("node1", known, *unknown) == Findings(unknown=3, missing=0)
    assert {key: one.first_seen_at for key, one in strays(database).items()} == {
        key: one.first_seen_at - HOUR for key, one in first.items()
    }


def test_a_stray_that_went_is_forgotten_and_ages_anew_when_it_is_back(database: Meta, alice: Caller) -> None:
    lost = new_id()
    database.compare("node1", lost)
    age_strays(database, HOUR)
    database.compare("node1")
    assert strays(database) == {}
    database.compare("node1", lost)
    assert strays(database)[lost].first_seen_at > database.run(now) - HOUR


def test_strays_of_one_node_are_not_those_of_another(database: Meta, alice: Caller) -> None:
    lost = new_id()
    database.compare("node1", lost)
    database.compare("node2")
    assert set(strays(database, "node1")) == {lost}


def test_a_file_of_a_needed_chunk_that_is_short_of_copies_is_a_copy_to_look_at(database: Meta, alice: Caller) -> None:
    short, whole = put(database, alice, "node1"), put(database, alice, "node1", "node3")
    assert database.compare("node2", short, whole, wanted=2) == Findings(unknown=0, missing=0)
    assert database.state(short, "node2") == "bad"
    assert set(strays(database, "node2")) == {whole}
    database.lose(short, "node1")
    assert {(doubt.chunk_id, doubt.node_id) for doubt in database.read(copies.doubts, 10)} == {
        (short, "node1"),
        (short, "node2"),
    }
    assert database.run(copies.add_good, short, "node2")


def test_a_stray_whose_chunk_became_short_is_a_copy_to_look_at_and_no_stray_any_more(
    database: Meta, alice: Caller
) -> None:
    chunk_id = put(database, alice, "node2", "node3")
    database.compare("node1", chunk_id, wanted=2)
    assert set(strays(database)) == {chunk_id}
    database.lose(chunk_id, "node2")
    database.compare("node1", chunk_id, wanted=2)
    assert database.state(chunk_id, "node1") == "bad"
    assert strays(database) == {}


def test_a_doomed_stray_is_no_copy_to_look_at(database: Meta, alice: Caller) -> None:
    chunk_id = put(database, alice, "node2", "node3")
    database.compare("node1", chunk_id, wanted=2)
    age_strays(database)
    assert doom(database, chunk_id, "node2", "node3")
    database.lose(chunk_id, "node2")
    database.compare("node1", chunk_id, wanted=2)
    assert database.state(chunk_id, "node1") is None
    assert doomed(database) == {chunk_id}


def test_an_inventory_taken_while_uploads_end_finds_no_stray_among_them(database: Meta, alice: Caller) -> None:
    listed: list[str] = []
    for _ in range(4):
        open_uploads = [database.begin(alice, new_id(), 10) for _ in range(4)]
        listed += [database.send(upload_id, 0, 10, on=["node1"]) for upload_id in open_uploads]
        compare = functools.partial(orphans.compare_page, "node1", listed, ("", ""), database.run(now), 1)
        answers = database.race(
            [compare, *(functools.partial(uploads.commit, one, [], "d", 1) for one in open_uploads)]
        )
        assert answers[0] == Findings(unknown=0, missing=0)
        assert strays(database) == {}


# Strays


def test_a_stray_is_due_after_its_grace_and_never_earlier(database: Meta, alice: Caller) -> None:
    lost = stray(database, "node1")
    age_strays(database, GRACE - 60 * SECOND)
    assert due(database) == {}
    assert not doom(database, lost)
    age_strays(database, 61 * SECOND)
    assert due(database)[lost].keepers == ()
    assert doom(database, lost)
    assert due(database) == {}
    assert doomed(database) == {lost}


def test_a_stray_that_became_a_copy_is_kept(database: Meta, alice: Caller) -> None:
    chunk_id = put(database, alice, "node1", "node2")
    stray(database, "node1", chunk_id)
    age_strays(database)
    assert not doom(database, chunk_id, "node1", "node2")
    assert doomed(database) == set()


def test_a_stray_of_an_open_upload_is_kept(database: Meta, alice: Caller) -> None:
    upload_id, planned = database.begin(alice, "a", 10), stray(database, "node1")
    database.run(plan, upload_id, Planned(0, planned))
    age_strays(database)
    assert not doom(database, planned)
    database.run(uploads.abandon, upload_id)
    assert doom(database, planned)


def test_a_stray_that_was_never_seen_or_went_is_not_doomed(database: Meta, alice: Caller) -> None:
    assert not doom(database, new_id())
    assert database.run(Stray.select().count) == 0


def test_an_extra_copy_of_a_needed_chunk_goes_only_after_those_that_stay_were_verified(
    database: Meta, alice: Caller
) -> None:
    chunk_id = put(database, alice, "node2", "node3")
    stray(database, "node1", chunk_id)
    age_strays(database)
    waiting = due(database)[chunk_id]
    assert (set(waiting.keepers), waiting.checksum) == ({"node2", "node3"}, f"sum-{chunk_id}")
    assert not doom(database, chunk_id)
    assert not doom(database, chunk_id, "node2")
    assert not doom(database, chunk_id, "node2", "node1")  # its own word says nothing
    assert doom(database, chunk_id, "node2", "node3")
    assert doomed(database) == {chunk_id}


def test_the_last_file_of_a_needed_chunk_is_kept_when_every_node_is_on_its_way_out(
    database: Meta, alice: Caller
) -> None:
    only = put(database, alice, "node1")
    database.sql("UPDATE node SET draining_at = 1")
    database.sql(f"UPDATE copy SET state = 'bad' WHERE chunk_id = '{only}'")
    assert database.read(copies.needless_bad, 2, 10) == []
    database.sql(f"DELETE FROM copy WHERE chunk_id = '{only}'")
    stray(database, "node1", only)
    age_strays(database)
    assert due(database) == {}
    assert not doom(database, only)


def test_a_keeper_that_turned_bad_after_it_was_verified_does_not_count(database: Meta, alice: Caller) -> None:
    chunk_id = put(database, alice, "node2", "node3")
    stray(database, "node1", chunk_id)
    age_strays(database)
    database.lose(chunk_id, "node3")
    assert due(database) == {}
    assert not doom(database, chunk_id, "node2", "node3")


def test_a_stray_of_a_chunk_that_no_file_needs_any_more_needs_no_keeper(database: Meta, alice: Caller) -> None:
    file_id = database.put(alice, "a", 10, on=["node2", "node3"])
    (chunk_id,) = database.chunks_of(file_id)
    stray(database, "node1", chunk_id)
    age_strays(database)
    assert not doom(database, chunk_id)
    database.run(changes.purge, alice, file_id)
    database.sweep()
    assert doom(database, chunk_id)


def test_strays_that_must_wait_do_not_starve_those_that_need_not(database: Meta, alice: Caller) -> None:
    for _ in range(5):
        stray(database, "node1", put(database, alice, "node2"))
    age_strays(database)
    lost = stray(database, "node1")
    age_strays(database)
    assert lost in due(database, limit=1)


def test_two_leaders_by_mistake_doom_a_stray_once(database: Meta, alice: Caller) -> None:
    lost = stray(database, "node1")
    age_strays(database)
    assert doom(database, lost)
    doomed_at = strays(database)[lost].doomed_at
    assert not doom(database, lost)
    assert strays(database)[lost].doomed_at == doomed_at


def test_no_copy_is_left_without_its_node(database: Meta, alice: Caller) -> None:
    put(database, alice, *NODES)
    assert database.run(Copy.select().count) == 3
    with pytest.raises(Exception, match=r"(?i)foreign key"):
        database.sql("DELETE FROM node WHERE node_id = 'node1'")
    assert database.run(Copy.select().count) == 3
