"""Scrubbing in the metadata: passes that go on where they were, whoever leads them, and what they find."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest

from cloudgrpc.errors import NodeUnknown
from cloudgrpc.meta import scrubs
from cloudgrpc.meta.db import now
from cloudgrpc.meta.models import Node
from contract.meta_fixture import HOUR, Meta

if TYPE_CHECKING:
    from cloudgrpc.meta.accounts import Caller

NODES = ["node1", "node2"]
SPAN = 100 * HOUR
KEY = "anna's key"


@pytest.fixture
def alice(database: Meta) -> Caller:
    person = database.enroll(quota=1 << 40)
    database.sql("DELETE FROM node")
    for node_id in NODES:
        database.add_node(node_id)
    return person


def node(database: Meta, node_id: str = "node1") -> Any:
    return database.run(Node.get_by_id, node_id)


def due(database: Meta, span: float = SPAN) -> list[str]:
    return [one.node_id for one in database.read(scrubs.due, span)]


def begun(database: Meta, node_id: str = "node1") -> int:
    began = database.run(scrubs.begin, node_id)
    assert began is not None
    return began


def test_a_pass_begins_a_fifth_of_the_span_after_the_node_came_or_the_last_pass_ended(
    database: Meta, alice: Caller
) -> None:
    assert due(database) == []
    database.age("node", "registered_at", SPAN // 5, "node_id = 'node2'")
    assert due(database) == ["node2"]
    assert database.run(scrubs.end, "node2", begun(database, "node2"))
    assert due(database) == []
    database.age("node", "scrubbed_at", SPAN // 5, "node_id = 'node2'")
    assert due(database) == ["node2"]
    database.set_offline("node2")
    assert due(database) == []


def test_a_pass_waits_until_its_place_is_due(database: Meta, alice: Caller) -> None:
    began = begun(database)
    assert due(database) == ["node1"]  # nothing was read yet
    database.run(scrubs.note, "node1", began, "8" + "0" * 31, [])
    assert due(database) == []
    database.age("node", "scrub_began_at", int(SPAN * 0.41), "node_id = 'node1'")
    assert due(database) == ["node1"]


def test_chunks_are_claimed_by_id_with_the_checksums_they_should_have(database: Meta, alice: Caller) -> None:
    chunk_ids = sorted(
        chunk for n in range(6) for chunk in database.chunks_of(database.put(alice, f"f{n}", n + 1, on=NODES))
    )
    elsewhere = database.chunks_of(database.put(alice, "elsewhere", 1, on=["node2"]))[0]
    database.lose(chunk_ids[0], "node1")
    database.sql(f"UPDATE copy SET state = 'doomed' WHERE chunk_id = '{chunk_ids[1]}' AND node_id = 'node1'")
    database.sql(f"UPDATE chunk SET checksum = '' WHERE chunk_id = '{chunk_ids[2]}'")
    claims = database.read(scrubs.next_claims, "node1", "", 2)
    assert [one.chunk_id for one in claims] == chunk_ids[3:5]
    assert all(one.checksum == f"sum-{one.chunk_id}" for one in claims)
    (last,) = database.read(scrubs.next_claims, "node1", claims[-1].chunk_id, 2)
    assert last.chunk_id == chunk_ids[5]
    assert elsewhere not in {one.chunk_id for one in claims}
    assert database.read(scrubs.next_claims, "node1", last.chunk_id, 2) == []


def test_what_a_pass_finds_is_noted_once_and_never_goes_back(database: Meta, alice: Caller) -> None:
    (chunk_id,) = database.chunks_of(database.put(alice, "f", 1, on=NODES))
    began = begun(database)
    bad = [(chunk_id, "damaged")]
    first = database.run(scrubs.note, "node1", began, chunk_id, bad)
    again = database.run(scrubs.note, "node1", began, "0" * 32, bad)
    assert [(one.bad, one.is_going_on) for one in (first, again)] == [(1, True), (0, True)]
    assert database.state(chunk_id, "node1") == "bad"
    assert database.events("copy.bad") == 1
    assert (node(database).scrub_after, node(database).scrub_bad) == (chunk_id, 1)


def test_a_pass_that_ended_tells_what_it_found_and_when(database: Meta, alice: Caller) -> None:
    (chunk_id,) = database.chunks_of(database.put(alice, "f", 1, on=NODES))
    began = begun(database)
    database.run(scrubs.note, "node1", began, chunk_id, [(chunk_id, "damaged")])
    before = database.run(now)
    assert database.run(scrubs.end, "node1", began)
    found = node(database)
    assert (found.scrub_after, found.scrub_began_at, found.scrub_asked_at, found.scrub_bad) == ("", None, None, 1)
    assert before <= found.scrubbed_at <= database.run(now)
    assert not database.run(scrubs.end, "node1", began)
    assert database.events("scrub.done") == 1


def test_an_asked_pass_begins_anew_and_does_not_wait_and_the_old_one_ends_unnoticed(
    database: Meta, alice: Caller
) -> None:
    (chunk_id,) = database.chunks_of(database.put(alice, "f", 1, on=NODES))
    began = begun(database)
    database.run(scrubs.note, "node1", began, "f" * 32, [])
    assert database.run(scrubs.ask, "", KEY) == NODES
    assert (node(database).scrub_after, node(database).scrub_began_at > began) == ("", True)
    assert not database.run(scrubs.end, "node1", began)
    noted = database.run(scrubs.note, "node1", began, "e" * 32, [(chunk_id, "damaged")])
    assert (noted.bad, noted.is_going_on, node(database).scrub_after) == (1, False, "")  # bad is bad all the same
    new = begun(database)
    database.run(scrubs.note, "node1", new, "f" * 32, [])
    assert due(database) == NODES
    assert database.run(scrubs.end, "node1", new)
    assert due(database) == ["node2"]
    with pytest.raises(NodeUnknown):
        database.run(scrubs.ask, "node9", KEY)
    assert database.events("scrub.asked") == 2


def test_two_that_lead_a_pass_at_once_begin_and_end_one(database: Meta, alice: Caller) -> None:
    began = database.race([functools.partial(scrubs.begin, "node1")] * 4)
    assert len(set(began)) == 1
    assert sorted(database.race([functools.partial(scrubs.end, "node1", began[0])] * 4)) == [False, False, False, True]
    assert database.run(scrubs.begin, "node9") is None
