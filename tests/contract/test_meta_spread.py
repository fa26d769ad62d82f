"""Where copies lie, counted over all of them; and giving up those that are too many, never one that is needed."""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING

import pytest

from cloudgrpc.meta import copies, node_acts, orphans, spread
from cloudgrpc.meta.models import new_id
from cloudgrpc.meta.spread import Spare
from contract import meta_fixture
from contract.meta_fixture import GB, HOUR, SECOND, Meta

if TYPE_CHECKING:
    from cloudgrpc.core.repair import Shortage
    from cloudgrpc.core.spread import Survey
    from cloudgrpc.meta.accounts import Caller

NODES = ["node1", "node2", "node3", "node4"]

pytestmark = pytest.mark.usefixtures("unsealed")  # lengths are those that tests give


@pytest.fixture
def alice(database: Meta) -> Caller:
    person = database.enroll(quota=1 << 40)
    database.sql("DELETE FROM node")
    for node_id in NODES:
        database.add_node(node_id)
    return person


def put(database: Meta, person: Caller, *on: str, length: int = 10) -> str:
    (chunk_id,) = database.chunks_of(database.put(person, new_id(), length, on=on))
    return chunk_id


def look(database: Meta, factor: int = 2, *, with_sizes: bool = False) -> Survey:
    return database.read(spread.look, factor, HOUR, with_sizes=with_sizes)


def groups(database: Meta, *, with_sizes: bool = False) -> dict[frozenset[str], tuple[int, int]]:
    return {group.holders: (group.chunks, group.size_bytes) for group in look(database, with_sizes=with_sizes).groups}


def short(database: Meta, factor: int = 2) -> dict[str, Shortage]:
    return {one.chunk_id: one for one in database.read(meta_fixture.shortages, factor, HOUR, 100)}


def in_zones(database: Meta, **zones: str) -> None:
    for node_id, zone in zones.items():
        database.sql(f"UPDATE node SET zone = '{zone}' WHERE node_id = '{node_id}'")


def give_up(database: Meta, *spares: Spare, factor: int = 2) -> list[str]:
    return database.run(spread.give_up, spares, factor)


# Looking


def test_chunks_are_counted_by_the_nodes_of_their_good_copies(database: Meta, alice: Caller) -> None:
    for length in (1, 2, 3):
        put(database, alice, "node2", "node1", length=length)
    put(database, alice, "node1", "node3", length=7)
    bad, doomed, lost = (put(database, alice, "node1", "node2", length=20) for _ in range(3))
    database.lose(bad, "node2")
    database.sql(f"UPDATE copy SET state = 'doomed' WHERE chunk_id = '{doomed}' AND node_id = 'node1'")
    for node_id in ("node1", "node2"):
        database.lose(lost, node_id)
    expected = {("node1", "node2"): (3, 6), ("node1", "node3"): (1, 7), ("node1",): (1, 20), ("node2",): (1, 20)}
    assert groups(database, with_sizes=True) == {frozenset(key): value for key, value in expected.items()}
    assert groups(database) == {frozenset(key): (chunks, 0) for key, (chunks, _) in expected.items()}


def test_a_look_knows_the_nodes_and_how_many_copies_are_wanted(database: Meta, alice: Caller) -> None:
    database.set_offline("node1", for_us=SECOND)
    database.set_offline("node2", for_us=2 * HOUR)
    database.run(node_acts.drain, "node3", 2, "key")
    survey = look(database, factor=9)
    assert survey.wanted == 3
    seen = {one.node_id: (one.is_online, one.is_staying, one.counts, one.takes) for one in survey.members.values()}
    assert seen == {
        "node1": (False, True, True, False),
        "node2": (False, True, False, False),
        "node3": (True, False, False, False),
        "node4": (True, True, True, True),
    }
    choosy = database.read(spread.look, 2, HOUR, ["node3"])
    assert not any(one.takes for one in choosy.members.values())


def test_the_signs_change_with_the_nodes_and_not_with_their_fill(database: Meta, alice: Caller) -> None:
    seen = [database.read(spread.signs, HOUR)]
    database.sql("UPDATE node SET used_bytes = 17 WHERE node_id = 'node1'")
    assert database.read(spread.signs, HOUR) == seen[0]
    database.set_offline("node1", for_us=SECOND)
    seen.append(database.read(spread.signs, HOUR))
    seen.append(database.read(spread.signs, SECOND))  # the delay is over
    database.run(node_acts.drain, "node2", 2, "key")
    seen.append(database.read(spread.signs, SECOND))
    database.run(node_acts.ask_for_repair, "key", is_now=False)  # at a gateway that does not lead, say
    seen.append(database.read(spread.signs, SECOND))
    assert all(one != other for one, other in itertools.combinations(seen, 2))


def test_chunks_are_found_by_their_groups_up_to_a_limit_and_a_length(database: Meta, alice: Caller) -> None:
    pair = [put(database, alice, "node1", "node2", length=length) for length in (1, 5, 9)]
    put(database, alice, "node1", "node3")
    database.orphan(alice, on=["node1", "node2"])
    survey = look(database)
    wanted = [group for group in survey.groups if group.holders == {"node1", "node2"}]
    found = database.read(spread.find, survey, [(wanted, 100)], 100)
    assert {one.chunk_id for one in found} == set(pair)
    assert all(set(one.holders) == {"node1", "node2"} and one.checksum == f"sum-{one.chunk_id}" for one in found)
    assert {one.chunk_id for one in database.read(spread.find, survey, [(wanted, 5)], 100)} == set(pair[:2])
    assert len(database.read(spread.find, survey, [(wanted, 100), (wanted, 100)], 2)) == 2


@pytest.mark.parametrize("with_sizes", [False, True])
def test_chunks_are_found_by_their_good_copies_whatever_others_they_have(
    database: Meta, alice: Caller, with_sizes: bool
) -> None:
    whole, bad, doomed = (put(database, alice, "node1", "node2") for _ in range(3))
    database.sql(f"INSERT INTO copy VALUES ('{bad}', 'node3', 'bad', 1), ('{doomed}', 'node3', 'doomed', 1)")
    alone, gone = put(database, alice, "node1", "node2"), database.orphan(alice, on=["node1", "node2", "node3"])
    for chunk_id in (alone, gone):
        database.lose(chunk_id, "node2")
    every = put(database, alice, "node1", "node2", "node3")
    survey = look(database, with_sizes=with_sizes)
    expected = {("node1", "node2"): {whole, bad, doomed}, ("node1",): {alone}, ("node1", "node2", "node3"): {every}}
    for holders, chunk_ids in expected.items():
        wanted = [group for group in survey.groups if group.holders == set(holders)]
        found = database.read(spread.find, survey, [(wanted, 100)], 100)
        assert sorted(one.chunk_id for one in found) == sorted(chunk_ids)
        assert {frozenset(one.holders) for one in found} == {frozenset(holders)}
    found = database.read(spread.find, survey, [(survey.groups, 100)], 100)
    assert sorted(one.chunk_id for one in found) == sorted(set().union(*expected.values()))


def test_what_could_not_be_copied_a_moment_ago_is_left_out_of_what_is_short(database: Meta, alice: Caller) -> None:
    chunk_ids = [put(database, alice, "node1") for _ in range(4)]
    survey = look(database)
    waiting = set(chunk_ids[:2])
    assert {one.chunk_id for one in database.read(copies.short, survey, 10, waiting)} == set(chunk_ids[2:])
    assert len(database.read(copies.short, survey, 2, waiting)) == 2  # these do not fill the list
    away = survey.without(["node1", "node9"])
    assert database.read(copies.short, away, 10) == []


# Zones


def test_copies_in_one_zone_are_short_of_another_zone(database: Meta, alice: Caller) -> None:
    in_zones(database, node1="a", node2="a", node3="b", node4="b")
    doubled, well = put(database, alice, "node1", "node2"), put(database, alice, "node1", "node3")
    assert set(short(database)) == {doubled}
    one = short(database)[doubled]
    assert (one.missing, one.spread, set(one.counted), one.is_urgent) == (1, 1, {"node1", "node2"}, False)
    database.sql("UPDATE node SET is_read_only = TRUE WHERE zone = 'b'")
    assert short(database) == {}
    assert well not in short(database)


def test_a_zone_that_has_no_room_for_the_chunk_is_not_asked_for(database: Meta, alice: Caller) -> None:
    in_zones(database, node1="a", node2="a", node3="a", node4="b")
    big = put(database, alice, "node1", "node2", length=GB // 2)
    small = put(database, alice, "node1", "node2")
    assert set(short(database)) == {big, small}
    database.sql(f"UPDATE node SET used_bytes = {GB - 100} WHERE node_id = 'node4'")
    assert set(short(database)) == {small}


# Giving up


def test_a_copy_is_given_up_when_enough_others_were_verified(database: Meta, alice: Caller) -> None:
    one, other = put(database, alice, *NODES[:3]), put(database, alice, *NODES[:3])
    spares = [Spare(one, "node3", ["node1", "node2"]), Spare(other, "node1", ["node2", "node3"])]
    assert sorted(give_up(database, *spares)) == sorted([one, other])
    assert [database.state(one, node) for node in NODES[:3]] == ["good", "good", "doomed"]
    assert [database.state(other, node) for node in NODES[:3]] == ["doomed", "good", "good"]
    assert database.read(orphans.doomed_on, "node3", 10) == [one]
    assert database.events("copies.given_up") == 2
    assert give_up(database, *spares) == []


def test_nothing_is_given_up_while_too_few_were_verified(database: Meta, alice: Caller) -> None:
    chunk_id = put(database, alice, *NODES[:3])
    found = database.digest()
    assert give_up(database, Spare(chunk_id, "node3", ["node1"])) == []
    assert give_up(database, Spare(chunk_id, "node3", ["node1", "node3"])) == []
    assert give_up(database, Spare(chunk_id, "node4", ["node1", "node2"])) == []
    assert give_up(database, Spare(chunk_id, "node3", ["node1", "node2"]), factor=3) == []
    assert give_up(database, Spare(new_id(), "node3", ["node1", "node2"])) == []
    assert give_up(database) == []
    assert database.digest() == found
    database.set_offline("node2", for_us=SECOND)  # after its copy was read
    found = database.digest()
    assert give_up(database, Spare(chunk_id, "node3", ["node1", "node2"])) == []
    assert database.digest() == found


def test_what_turned_bad_or_began_to_leave_after_it_was_verified_does_not_count(database: Meta, alice: Caller) -> None:
    chunk_id = put(database, alice, *NODES)
    spare = Spare(chunk_id, "node4", ["node1", "node2"])
    database.run(node_acts.drain, "node1", 2, "key")
    assert give_up(database, spare) == []
    database.run(node_acts.undrain, "node1", 2, "key")
    database.lose(chunk_id, "node2")
    assert give_up(database, spare) == []
    assert give_up(database, Spare(chunk_id, "node4", ["node1", "node2", "node3"])) == [chunk_id]


def test_of_what_no_file_needs_one_verified_copy_elsewhere_is_enough(database: Meta, alice: Caller) -> None:
    gone, needed = database.orphan(alice, on=["node1", "node2"]), put(database, alice, "node1", "node2")
    alone = database.orphan(alice, on=["node1"])
    held = {one.chunk_id: set(one.holders) for one in database.read(spread.unneeded_on, "node1", 10)}
    assert held == {gone: {"node1", "node2"}, alone: {"node1"}}
    assert give_up(database, Spare(gone, "node1", []), Spare(alone, "node1", ["node1"])) == []
    assert give_up(database, Spare(gone, "node1", ["node2"]), Spare(needed, "node1", ["node2"])) == [gone]


def test_nothing_on_a_node_that_is_away_is_given_up_before_it_is_back(database: Meta, alice: Caller) -> None:
    """It went after somebody looked, and its copy may be the last one by the time it is back."""
    chunk_id, gone = put(database, alice, *NODES[:3]), database.orphan(alice, on=NODES[:3])
    spares = [Spare(one, "node3", ["node1", "node2"]) for one in (chunk_id, gone)]
    database.set_offline("node3")
    assert give_up(database, *spares) == []
    assert database.state(chunk_id, "node3") == database.state(gone, "node3") == "good"
    database.add_node("node3")
    assert set(give_up(database, *spares)) == {chunk_id, gone}


def test_a_bad_copy_of_what_no_file_needs_is_given_up_when_another_node_has_it_whole(
    database: Meta, alice: Caller
) -> None:
    gone, alone = (database.orphan(alice, on=["node1", "node2"]) for _ in range(2))
    needed = put(database, alice, "node1", "node2", "node3")
    for chunk_id in (gone, alone, needed):
        database.lose(chunk_id, "node1")
    database.lose(alone, "node2")
    held = {one.chunk_id: set(one.holders) for one in database.read(spread.unneeded_on, "node1", 10)}
    assert held == {gone: {"node2"}}
    spares = [Spare(one, "node1", ["node2", "node3"]) for one in (gone, alone, needed)]
    assert give_up(database, *spares, *spares) == [gone]
    assert [database.state(one, "node1") for one in (gone, alone, needed)] == ["doomed", "bad", "bad"]
    assert database.read(orphans.doomed_on, "node1", 10) == [gone]


def test_whoever_gives_up_copies_at_once_leaves_the_wanted_ones(database: Meta, alice: Caller) -> None:
    """Two leaders by mistake, who chose differently."""
    chunk_ids = [put(database, alice, *NODES[:3]) for _ in range(6)]
    works = []
    for turn in range(4):
        order = chunk_ids if turn % 2 else chunk_ids[::-1]
        spares = []
        for number, chunk_id in enumerate(order):
            victim = NODES[(number + turn) % 3]
            spares.append(Spare(chunk_id, victim, [one for one in NODES[:3] if one != victim]))
        works.append(functools.partial(spread.give_up, spares, 2))
    assert all(isinstance(answer, list) for answer in database.race(works))
    for chunk_id in chunk_ids:
        states = [database.state(chunk_id, one) for one in NODES[:3]]
        assert sorted(map(str, states)) == ["doomed", "good", "good"]


def test_a_copy_that_turns_bad_while_another_is_given_up_ends_in_repair_never_in_loss(
    database: Meta, alice: Caller
) -> None:
    for _ in range(6):
        chunk_id = put(database, alice, "node1", "node2")
        database.race(
            [
                functools.partial(spread.give_up, [Spare(chunk_id, "node2", ["node1"])], 1),
                functools.partial(copies.mark_bad, chunk_id, "node1", "test"),
            ]
        )
        # Whichever was first: a file is still on a disk, and nothing that is doomed is read.
        assert database.state(chunk_id, "node1") == "bad"
        assert database.state(chunk_id, "node2") in {"good", "doomed"}
