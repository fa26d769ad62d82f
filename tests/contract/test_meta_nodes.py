"""Storage nodes and the copies on them: who is there, what is short, what is read from where."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

import pytest

from cloudgrpc.core.sealing import TAG_BYTES
from cloudgrpc.errors import NodeIdTaken, NodeRemoved, NodeUnknown
from cloudgrpc.meta import copies, nodes
from cloudgrpc.meta.db import locked, now
from cloudgrpc.meta.files import Holder
from cloudgrpc.meta.models import Copy, Event, Node, Receipt, RemovedNode, Stray, new_id
from contract import meta_fixture
from contract.meta_fixture import GB, HOUR, SECOND, Meta, introduction

if TYPE_CHECKING:
    from cloudgrpc.core.repair import Shortage
    from cloudgrpc.meta.accounts import Caller
    from cloudgrpc.meta.nodes import NodeState

NODES = ["node1", "node2", "node3"]


@pytest.fixture
def alice(database: Meta) -> Caller:
    """With three nodes and nothing else that counts as one."""
    person = database.enroll(quota=1 << 40)
    database.sql("DELETE FROM node")
    for node_id in NODES:
        database.add_node(node_id)
    return person


def put(database: Meta, person: Caller, *on: str, length: int = 10) -> str:
    """A chunk of a file on these nodes; returns its id."""
    (chunk_id,) = database.chunks_of(database.put(person, new_id(), length, on=on))
    return chunk_id


def node(database: Meta, node_id: str) -> NodeState:
    return next(one for one in database.read(nodes.all_nodes) if one.node_id == node_id)


def beat(database: Meta, node_id: str, used: int = 0, *, is_read_only: bool = False, reason: str = "") -> bool:
    folder = f"folder of {node_id}"
    return database.run(nodes.heartbeat, node_id, folder, used, 3, is_read_only=is_read_only, read_only_reason=reason)


def register(database: Meta, node_id: str, **facts: Any) -> int:
    return database.run(nodes.register, dataclasses.replace(introduction(node_id), **facts))


def last_event(database: Meta, kind: str) -> Event:
    return database.run(Event.select().where(Event.kind == kind).order_by(Event.event_id.desc()).get)


def shortages(database: Meta, factor: int = 2, delay_us: int = HOUR, limit: int = 100) -> dict[str, Shortage]:
    return {one.chunk_id: one for one in database.read(meta_fixture.shortages, factor, delay_us, limit)}


# Joining, leaving, coming back


def test_a_nodes_capacity_joins_the_pool_at_once_and_counts_once(database: Meta) -> None:
    assert database.add_node("node1", capacity=GB) == GB
    assert database.add_node("node2", capacity=2 * GB) == 3 * GB
    assert database.add_node("node2", capacity=3 * GB) == 4 * GB == database.read(nodes.pool_capacity)
    assert database.events("node.joined") == 2


def test_nodes_that_register_at_once_are_all_taken_in_once(database: Meta) -> None:
    same = [functools.partial(nodes.register, introduction("node1"))] * 4
    others = [functools.partial(nodes.register, introduction(f"other{n}")) for n in range(4)]
    answers = database.race([*same, *others])
    assert all(isinstance(answer, int) for answer in answers)
    assert database.run(Node.select().count) == 5
    assert database.events("node.joined") == 5


def test_a_stranger_cannot_take_the_id_of_a_node_that_is_online(database: Meta, alice: Caller) -> None:
    found = database.digest()
    with pytest.raises(NodeIdTaken):
        database.add_node("node1", instance_id="stranger")
    assert database.digest() == found


def test_of_strangers_that_take_an_offline_id_at_once_one_gets_it(database: Meta, alice: Caller) -> None:
    database.set_offline("node1")
    answers = database.race([functools.partial(nodes.register, introduction("node1", f"new{n}")) for n in range(4)])
    assert sum(isinstance(answer, NodeIdTaken) for answer in answers) == 3
    assert database.events("node.replaced") == 1


def test_another_folder_under_an_offline_id_makes_the_old_copies_bad_at_once(database: Meta, alice: Caller) -> None:
    chunk_id, gone = put(database, alice, "node1", "node2"), database.orphan(alice, on=["node1"])
    database.sql(f"UPDATE copy SET state = 'doomed' WHERE chunk_id = '{gone}'")
    upload_id = database.begin(alice, "open", 1)
    database.send(upload_id, 0, 1, on=["node1", "node2"])
    database.sql(f"INSERT INTO stray (node_id, chunk_id, first_seen_at) VALUES ('node1', '{new_id()}', 1)")
    database.set_offline("node1")
    database.add_node("node1", instance_id="new folder")
    assert (database.state(chunk_id, "node1"), database.state(chunk_id, "node2")) == ("bad", "good")
    assert database.state(gone, "node1") is None
    assert database.run(lambda: [one.node_id for one in Receipt.select()]) == ["node2"]
    assert database.run(Stray.select().count) == 0
    assert node(database, "node1").is_online


def test_the_same_folder_comes_back_with_its_copies(database: Meta, alice: Caller) -> None:
    chunk_id = put(database, alice, "node1", "node2")
    database.set_offline("node1")
    database.add_node("node1")
    assert database.state(chunk_id, "node1") == "good"
    assert (database.events("node.returned"), database.events("node.replaced")) == (1, 0)


def test_a_heartbeat_brings_a_node_back_and_says_so_once(database: Meta, alice: Caller) -> None:
    database.set_offline("node1")
    assert beat(database, "node1", used=7)
    assert not beat(database, "node1", used=8)
    state = node(database, "node1")
    assert (state.is_online, state.offline_since_at, state.used_bytes, state.chunk_count) == (True, None, 8, 3)
    assert database.events("node.returned") == 1


def test_a_full_node_takes_no_chunks_until_it_says_so_again(database: Meta, alice: Caller) -> None:
    for is_read_only in (True, True, False, False):
        beat(database, "node1", is_read_only=is_read_only)
        assert bool(node(database, "node1").barred) is is_read_only
    assert (database.events("node.read_only"), database.events("node.writable")) == (1, 1)


def test_why_a_node_is_read_only_is_kept_and_told_once(database: Meta, alice: Caller) -> None:
    beat(database, "node1", is_read_only=True, reason="a write failed 2 s ago: Input/output error")
    beat(database, "node1", is_read_only=True, reason="a write failed 7 s ago: Input/output error")
    state = node(database, "node1")
    assert state.barred == state.read_only_reason == "a write failed 7 s ago: Input/output error"
    told = last_event(database, "node.read_only")
    assert (told.node_id, told.message) == (
        "node1",
        "node1 takes no new chunks: a write failed 2 s ago: Input/output error",
    )
    beat(database, "node1")
    assert (node(database, "node1").barred, node(database, "node1").read_only_reason) == ("", "")
    assert (database.events("node.read_only"), database.events("node.writable")) == (1, 1)


def test_a_node_that_comes_back_read_only_says_so_when_it_registers(database: Meta, alice: Caller) -> None:
    for _ in range(2):
        register(database, "node1", is_read_only=True, read_only_reason="full: 1.0 GB of 1.0 GB used")
    register(database, "new", is_read_only=True, read_only_reason="full: 1.0 GB of 1.0 GB used")
    assert node(database, "node1").barred
    assert last_event(database, "node.read_only").message == "new takes no new chunks: full: 1.0 GB of 1.0 GB used"
    assert database.events("node.read_only") == 2
    register(database, "node1")
    assert not node(database, "node1").barred
    assert database.events("node.writable") == 1


def test_a_node_keeps_its_zone_and_a_move_is_an_event(database: Meta, alice: Caller) -> None:
    for zone in ("", "east", "east", "west", ""):
        register(database, "node1", zone=zone, metrics_address="127.0.0.1:9101")
        assert (node(database, "node1").zone, node(database, "node1").metrics_address) == (zone, "127.0.0.1:9101")
    register(database, "new", zone="east")
    assert database.events("node.zone") == 3
    assert last_event(database, "node.zone").message == "node1 is in no zone any more"


def test_the_age_of_a_heartbeat_is_told_by_the_databases_clock(database: Meta, alice: Caller) -> None:
    database.age("node", "last_heartbeat_at", 3600 * SECOND, "node_id = 'node1'")
    database.age("node", "last_heartbeat_at", -3600 * SECOND, "node_id = 'node2'")  # a clock that was set back
    assert node(database, "node1").heartbeat_age_s == pytest.approx(3600, abs=60)
    assert node(database, "node2").heartbeat_age_s == 0


# Removed, and on the way out


def remove(node_id: str) -> None:
    """As the act of removing does it."""
    folder = locked(Node.select().where(Node.node_id == node_id)).get().instance_id
    RemovedNode.insert(instance_id=folder, node_id=node_id, removed_at=now()).execute()
    Node.delete().where(Node.node_id == node_id).execute()


def test_a_removed_folder_is_refused_under_every_id_and_a_new_one_is_taken(database: Meta, alice: Caller) -> None:
    database.run(remove, "node1")
    found = database.digest()
    for node_id in ("node1", "other"):
        with pytest.raises(NodeRemoved):
            register(database, node_id, instance_id="folder of node1")
    with pytest.raises(NodeUnknown):
        beat(database, "node1")
    assert database.digest() == found
    register(database, "node1", instance_id="a new folder")
    assert node(database, "node1").is_online


def test_a_node_that_registers_while_it_is_removed_is_refused(database: Meta, alice: Caller) -> None:
    for tries in range(5):
        database.add_node(f"gone{tries}")
        again = functools.partial(nodes.register, introduction(f"gone{tries}"))
        database.race([again, functools.partial(remove, f"gone{tries}"), again])
        with pytest.raises(NodeRemoved):
            database.run(again)
        assert f"gone{tries}" not in {one.node_id for one in database.read(nodes.all_nodes)}


def test_draining_outlives_a_restart_and_ends_with_another_folder(database: Meta, alice: Caller) -> None:
    database.sql(
        "UPDATE node SET draining_at = 1, scrub_after = 'ff', scrub_began_at = 2, scrubbed_at = 3, scrub_bad = 4"
    )
    database.add_node("node1")
    beat(database, "node1")
    state = node(database, "node1")
    assert (state.draining_at, state.scrub_began_at) == (1, 2)
    assert "draining" in state.barred
    database.set_offline("node1")
    database.add_node("node1", instance_id="another folder")
    state = node(database, "node1")
    assert (state.draining_at, state.scrub_after, state.scrub_began_at, state.scrubbed_at) == (None, "", None, None)
    assert (state.scrub_bad, state.barred) == (0, "")


def test_a_heartbeat_of_an_unknown_node_or_folder_is_refused(database: Meta, alice: Caller) -> None:
    found = database.digest()
    for node_id, instance_id in (("nobody", "folder of nobody"), ("node1", "another folder")):
        with pytest.raises(NodeUnknown):
            database.run(nodes.heartbeat, node_id, instance_id, 0, 0, is_read_only=False)
    assert database.digest() == found


def test_a_node_not_heard_of_goes_offline_once(database: Meta, alice: Caller) -> None:
    database.age("node", "last_heartbeat_at", HOUR + SECOND, "node_id = 'node1'")
    database.age("node", "last_heartbeat_at", HOUR // 2, "node_id = 'node2'")
    called = database.race([functools.partial(nodes.call_late, HOUR)] * 3)
    assert sorted(called) == [[], [], ["node1"]]
    assert [one.is_online for one in database.read(nodes.all_nodes)] == [False, True, True]
    assert node(database, "node1").offline_since_at is not None
    assert database.run(nodes.call_late, HOUR) == []
    assert database.events("node.offline") == 1
    assert database.read(nodes.pool_capacity) == 3 * GB  # what was promised stays promised


def test_one_gateway_at_a_time_leads_and_another_only_after_its_lease(database: Meta) -> None:
    def take(holder: str) -> functools.partial[bool]:
        return functools.partial(nodes.take_lease, "upkeep", holder, HOUR)

    assert sum(database.race([take(f"gateway{n}") for n in range(5)])) == 1
    (leader,) = [one for one in range(5) if database.run(take(f"gateway{one}"))]
    assert not database.run(take("late"))
    database.age("lease", "until_at", HOUR + SECOND)
    assert database.run(take("late"))
    assert not database.run(take(f"gateway{leader}"))


def test_an_inventory_is_due_when_it_is_old_or_never_was_taken(database: Meta, alice: Caller) -> None:
    assert sorted(database.read(nodes.due_for_inventory, HOUR)) == NODES
    database.run(nodes.note_inventory, "node1", is_collecting=True, files=0, unknown=0)
    database.run(nodes.note_inventory, "node2", is_collecting=True, files=0, unknown=0)
    database.age("node", "inventory_at", 2 * HOUR, "node_id = 'node2'")
    database.set_offline("node3")
    assert database.read(nodes.due_for_inventory, HOUR) == ["node2"]


# Copies


def test_who_holds_a_chunk_is_told_good_copies_first_and_without_the_doomed(database: Meta, alice: Caller) -> None:
    chunk_id = put(database, alice, *NODES)
    database.lose(chunk_id, "node1")
    bad, good = Holder("node1", False), {Holder("node2", True), Holder("node3", True)}
    found = database.read(copies.holders, [chunk_id, "f" * 32])
    assert found["f" * 32] == []
    assert set(found[chunk_id][:2]) == good
    assert found[chunk_id][2] == bad
    database.sql("UPDATE copy SET state = 'doomed' WHERE node_id = 'node3'")
    assert Holder("node3", True) not in database.read(copies.holders, [chunk_id])[chunk_id]


def test_a_bad_copy_is_noted_once_and_a_doomed_one_stays_doomed(database: Meta, alice: Caller) -> None:
    chunk_id = put(database, alice, "node1", "node2")
    assert database.run(copies.mark_bad, chunk_id, "node1", "damaged")
    assert not database.run(copies.mark_bad, chunk_id, "node1", "damaged")
    assert not database.run(copies.mark_bad, chunk_id, "node3", "never there")
    database.sql("UPDATE copy SET state = 'doomed' WHERE node_id = 'node2'")
    assert not database.run(copies.mark_bad, chunk_id, "node2", "damaged")
    assert database.state(chunk_id, "node2") == "doomed"
    assert database.events("copy.bad") == 1


def test_a_verified_copy_is_good_whether_it_is_new_or_was_bad(database: Meta, alice: Caller) -> None:
    chunk_id = put(database, alice, "node1", "node2")
    database.lose(chunk_id, "node1")
    assert database.run(copies.add_good, chunk_id, "node1")
    assert database.run(copies.add_good, chunk_id, "node3")
    assert [database.state(chunk_id, one) for one in NODES] == ["good"] * 3
    assert database.events("copy.made") == 2


def test_a_copy_that_is_doomed_or_of_a_chunk_that_is_going_is_not_taken(database: Meta, alice: Caller) -> None:
    chunk_id, gone = put(database, alice, "node1"), database.orphan(alice, on=["node1"])
    database.sql(f"UPDATE copy SET state = 'doomed' WHERE chunk_id = '{chunk_id}'")
    database.sql(
        "INSERT INTO stray (node_id, chunk_id, first_seen_at, doomed_at) "
        f"VALUES ('node2', '{chunk_id}', 1, 2), ('node3', '{chunk_id}', 1, NULL)"
    )
    found = database.digest()
    for one, node_id in ((chunk_id, "node1"), (chunk_id, "node2"), (gone, "node2"), (new_id(), "node1")):
        assert not database.run(copies.add_good, one, node_id)
    assert database.digest() == found
    assert database.run(copies.add_good, chunk_id, "node3")  # a stray that was not doomed becomes a copy
    assert database.run(Stray.select().where(Stray.node == "node3").count) == 0


# Shortages


def test_a_chunk_is_short_when_a_node_went_longer_ago_than_the_delay(database: Meta, alice: Caller) -> None:
    chunk_id = put(database, alice, "node1", "node2")
    assert shortages(database) == {}
    database.set_offline("node2", for_us=HOUR)
    assert shortages(database, delay_us=HOUR + 60 * SECOND) == {}
    short = shortages(database, delay_us=HOUR - SECOND)[chunk_id]
    assert (short.missing, set(short.holders), short.barred) == (1, {"node1", "node2"}, frozenset())
    assert (short.length, short.checksum) == (10 + TAG_BYTES, f"sum-{chunk_id}")
    beat(database, "node2")
    assert shortages(database, delay_us=0) == {}


def test_a_bad_copy_is_missing_at_once_and_its_node_may_get_a_new_one(database: Meta, alice: Caller) -> None:
    chunk_id = put(database, alice, "node1", "node2")
    database.lose(chunk_id, "node2")
    short = shortages(database)[chunk_id]
    assert (short.missing, short.holders, short.barred) == (1, ("node1",), frozenset())


def test_no_more_copies_are_wanted_than_nodes_are_registered(database: Meta, alice: Caller) -> None:
    chunk_id = put(database, alice, "node1")
    assert shortages(database, factor=5)[chunk_id].missing == 2
    database.add_node("node4")
    assert shortages(database, factor=5)[chunk_id].missing == 3
    assert shortages(database, factor=1) == {}


def test_the_rarest_chunks_come_first(database: Meta, alice: Caller) -> None:
    database.add_node("node4")
    three = [put(database, alice, *NODES) for _ in range(3)]
    one = [put(database, alice, "node1") for _ in range(3)]
    two = [put(database, alice, "node1", "node2") for _ in range(3)]
    listed = list(shortages(database, factor=4))
    assert [set(listed[:3]), set(listed[3:6]), set(listed[6:])] == [set(one), set(two), set(three)]
    assert set(shortages(database, factor=4, limit=2)) < set(one)


def test_chunks_that_cannot_be_read_do_not_starve_those_that_can(database: Meta, alice: Caller) -> None:
    lost = [put(database, alice, "node1") for _ in range(5)]
    lost += [put(database, alice, "node2") for _ in range(2)]
    for chunk_id in lost[5:]:
        database.lose(chunk_id, "node2")
    readable = put(database, alice, "node1", "node2")
    database.set_offline("node1", for_us=HOUR)
    assert set(shortages(database, delay_us=SECOND, limit=1)) == {readable}


def test_chunks_that_no_node_can_take_do_not_starve_those_that_some_can(database: Meta, alice: Caller) -> None:
    # A full node and a dead one: what the dead one shared with the other has nowhere to go.
    stuck = [put(database, alice, "node1", "node3") for _ in range(5)]
    big = [put(database, alice, "node1", "node2", length=3 * GB // 2) for _ in range(2)]
    movable = put(database, alice, "node2", "node3")
    beat(database, "node2", is_read_only=True)
    database.set_offline("node3", for_us=HOUR)
    assert set(shortages(database, delay_us=SECOND, limit=1)) == {movable}
    assert set(shortages(database, delay_us=SECOND)) == {movable}
    beat(database, "node2")
    assert set(shortages(database, delay_us=SECOND)) == {movable, *stuck}
    assert not set(big) & set(shortages(database, factor=3, delay_us=SECOND))
    database.add_node("node4", capacity=3 * GB)
    assert set(big) <= set(shortages(database, factor=3, delay_us=SECOND))


def test_what_no_file_needs_is_not_copied(database: Meta, alice: Caller) -> None:
    gone = database.orphan(alice, on=["node1"])
    assert gone not in shortages(database, factor=3)


def test_a_node_told_to_delete_its_copy_is_barred_from_getting_one(database: Meta, alice: Caller) -> None:
    chunk_id = put(database, alice, *NODES)
    database.sql("UPDATE copy SET state = 'doomed' WHERE node_id = 'node2'")
    database.sql("DELETE FROM copy WHERE node_id = 'node3'")
    database.sql(
        f"INSERT INTO stray (node_id, chunk_id, first_seen_at, doomed_at) VALUES ('node3', '{chunk_id}', 1, 2)"
    )
    assert shortages(database)[chunk_id].barred == {"node2", "node3"}


# Doubts and needless bad copies


def test_a_bad_copy_is_looked_at_again_only_while_nothing_better_can_be_read(database: Meta, alice: Caller) -> None:
    chunk_id, gone = put(database, alice, "node1", "node2"), put(database, alice, "node1")
    database.lose(gone, "node1")
    database.lose(chunk_id, "node1")
    database.sql(f"UPDATE chunk SET unreferenced_at = 1 WHERE chunk_id = '{gone}'")
    assert database.read(copies.doubts, 10) == []
    database.set_offline("node2")
    (doubt,) = database.read(copies.doubts, 10)
    assert (doubt.chunk_id, doubt.checksum, doubt.node_id) == (chunk_id, f"sum-{chunk_id}", "node1")
    database.set_offline("node1")
    assert database.read(copies.doubts, 10) == []


def test_doubts_that_stay_do_not_starve_the_others(database: Meta, alice: Caller) -> None:
    chunks = {put(database, alice, "node1") for _ in range(8)}
    for chunk_id in chunks:
        database.lose(chunk_id, "node1")
    seen: set[str] = set()
    for _ in range(200):
        seen |= {doubt.chunk_id for doubt in database.run(copies.doubts, 2)}
        if seen == chunks:
            break
    assert seen == chunks


def test_a_bad_copy_is_forgotten_once_there_are_enough_good_ones(database: Meta, alice: Caller) -> None:
    enough, short = put(database, alice, *NODES), put(database, alice, *NODES)
    database.lose(enough, "node1")
    database.lose(short, "node1")
    database.lose(short, "node2")
    needless = database.read(copies.needless_bad, 2, 10)
    assert needless == [(enough, "node1")]
    database.run(copies.drop_bad, [*needless, (short, "node1")], 2)
    assert [database.state(enough, one) for one in NODES] == [None, "good", "good"]
    assert [database.state(short, one) for one in NODES] == ["bad", "bad", "good"]
    assert database.read(copies.needless_bad, 2, 10) == []


def test_copies_made_good_and_called_bad_at_once_end_as_one_of_both(database: Meta, alice: Caller) -> None:
    chunk_id = put(database, alice, "node1")
    works = [functools.partial(copies.add_good, chunk_id, "node2")] * 3
    works += [functools.partial(copies.mark_bad, chunk_id, "node1", "damaged")] * 2
    answers = database.race(works)
    assert answers[:3] == [True] * 3
    assert sorted(answers[3:]) == [False, True]
    assert database.run(Copy.select().where(Copy.chunk == chunk_id).count) == 2


def test_the_clock_that_ages_copies_is_the_databases(database: Meta, alice: Caller) -> None:
    before = database.run(now)
    chunk_id = put(database, alice, "node1")
    created = database.run(Copy.get, Copy.chunk == chunk_id).created_at
    assert before <= created <= database.run(now)
