"""Laws of choosing nodes, and of how many copies there are to be."""

from __future__ import annotations

import math
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cloudgrpc.core.placement import Candidate, order, wanted_copies, write_quorum
from cloudgrpc.core.quota import promise_limit

if TYPE_CHECKING:
    from collections.abc import Collection

TB = 1 << 40
FREE = st.integers(-TB, 20 * TB) | st.integers(0, 10)
DRAWS = st.floats(1e-9, 1, exclude_max=True)
SMALL = st.integers(1, 20)
FEW = settings(max_examples=40)


ZONES = st.sampled_from(["", "east", "west", "north"])
TAKEN = st.lists(st.sampled_from(["east", "west", "node:node0"]), max_size=4)


@st.composite
def nodes_and_draws(draw: st.DrawFn, zones: st.SearchStrategy[str] = ZONES) -> list[tuple[Candidate, float]]:
    free = draw(st.lists(st.tuples(FREE, st.booleans(), zones, DRAWS), max_size=12))
    return [(Candidate(f"node{n}", room, suspect, zone), u) for n, (room, suspect, zone, u) in enumerate(free)]


def placed(pairs: list[tuple[Candidate, float]], length: int, taken: Collection[str] = ()) -> list[Candidate]:
    return order([node for node, _ in pairs], length, [draw for _, draw in pairs], taken)


@FEW
@given(nodes_and_draws(), st.integers(0, TB), TAKEN)
def test_the_order_is_of_every_node_with_room_and_of_no_other(
    pairs: list[tuple[Candidate, float]], length: int, taken: list[str]
) -> None:
    roomy = [node for node, _ in pairs if node.free_bytes >= length and node.free_bytes > 0]
    assert sorted(node.node_id for node in placed(pairs, length, taken)) == sorted(node.node_id for node in roomy)


@FEW
@given(nodes_and_draws(), st.integers(0, TB), TAKEN)
def test_a_suspect_comes_after_every_node_that_is_none(
    pairs: list[tuple[Candidate, float]], length: int, taken: list[str]
) -> None:
    suspects = [node.is_suspect for node in placed(pairs, length, taken)]
    assert suspects == sorted(suspects)


@FEW
@given(nodes_and_draws(), st.integers(0, TB))
def test_the_first_nodes_are_in_as_many_zones_as_there_are_with_room(
    pairs: list[tuple[Candidate, float]], length: int
) -> None:
    trusted = [node for node in placed(pairs, length) if not node.is_suspect]
    zones = len({node.zone_key for node in trusted})
    for first in range(len(trusted) + 1):
        assert len({node.zone_key for node in trusted[:first]}) == min(first, zones)


@FEW
@given(nodes_and_draws(), st.integers(0, TB), TAKEN)
def test_each_node_is_in_a_zone_that_holds_no_more_copies_than_any_other_left(
    pairs: list[tuple[Candidate, float]], length: int, taken: list[str]
) -> None:
    held = Counter(taken)
    trusted = [node for node in placed(pairs, length, taken) if not node.is_suspect]
    for place, node in enumerate(trusted):
        assert held[node.zone_key] == min(held[other.zone_key] for other in trusted[place:])
        held[node.zone_key] += 1


@FEW
@given(nodes_and_draws(st.just("")), st.integers(0, TB))
def test_without_zones_chance_and_room_alone_decide(pairs: list[tuple[Candidate, float]], length: int) -> None:
    ranks = {node.node_id: (node.is_suspect, -math.log(draw) / max(node.free_bytes, 1)) for node, draw in pairs}
    found = [ranks[node.node_id] for node in placed(pairs, length)]
    assert found == sorted(found)


def test_a_copy_goes_to_the_zone_that_holds_fewest_however_full_it_is() -> None:
    nodes = [Candidate("east2", TB, zone="east"), Candidate("west1", 10, zone="west"), Candidate("alone", 5)]
    held = [["east", "node:alone"], ["west", "east"], ["east", "east", "west", "node:alone", "node:alone"]]
    assert [order(nodes, 1, [0.9, 0.1, 0.1], taken)[0].node_id for taken in held] == ["west1", "alone", "west1"]


@FEW
@given(nodes_and_draws(), st.randoms(use_true_random=False))
def test_the_order_does_not_depend_on_how_the_nodes_were_listed(
    pairs: list[tuple[Candidate, float]], chance: random.Random
) -> None:
    roomy = [pair for pair in pairs if pair[0].free_bytes > 0]
    assume(len({math.log(draw) / node.free_bytes for node, draw in roomy}) == len(roomy))  # no two tie
    shuffled = pairs[:]
    chance.shuffle(shuffled)
    assert placed(pairs, 1) == placed(shuffled, 1)


@given(st.integers(1, TB), st.integers(1, TB), DRAWS)
def test_of_two_nodes_with_the_same_draw_the_emptier_comes_first(one: int, other: int, draw: float) -> None:
    assume(one != other)
    nodes = [Candidate("one", one), Candidate("other", other)]
    assert order(nodes, 1, [draw, draw])[0].free_bytes == max(one, other)


def test_a_node_comes_first_as_often_as_its_share_of_the_free_space() -> None:
    chance = random.Random(1)
    nodes = [Candidate("half", 500), Candidate("third", 300), Candidate("fifth", 200), Candidate("late", 900, True)]
    tries = 4_000
    first = [order(nodes, 1, [chance.random() for _ in nodes])[0] for _ in range(tries)]
    for node, share in zip(nodes, [0.5, 0.3, 0.2, 0], strict=True):
        assert first.count(node) / tries == pytest.approx(share, abs=0.03)


def test_chance_decides_between_small_nodes_beside_a_huge_one() -> None:
    # One node is 10,000 times as empty as the others: the second copies still go to each of those.
    chance = random.Random(1)
    nodes = [Candidate("huge", 10 * TB), Candidate("small1", 1 << 30), Candidate("small2", 1 << 30)]
    tries = 1_000
    second = [order(nodes, 1, [chance.random() for _ in nodes])[1].node_id for _ in range(tries)]
    assert second.count("small2") / tries == pytest.approx(0.5, abs=0.06)


@given(SMALL, st.integers(0, 20))
def test_there_are_never_more_copies_wanted_than_nodes_are_registered(factor: int, registered: int) -> None:
    assert 1 <= wanted_copies(factor, registered) <= max(1, min(factor, registered))
    assert wanted_copies(factor, registered + 1) >= wanted_copies(factor, registered)
    assert wanted_copies(factor, factor + registered) == factor


@given(SMALL, SMALL, st.integers(0, 20))
def test_a_quorum_is_at_least_one_and_never_more_than_wanted(setting: int, factor: int, registered: int) -> None:
    wanted = wanted_copies(factor, registered)
    quorum = write_quorum(setting, wanted)
    assert 1 <= quorum <= max(1, wanted)
    assert quorum <= setting


@given(st.integers(0, 1 << 50), SMALL, st.floats(1, 100))
def test_more_capacity_never_lowers_and_more_copies_never_raise_what_may_be_promised(
    capacity: int, copies: int, overcommit: float
) -> None:
    limit = promise_limit(capacity, copies, overcommit)
    assert promise_limit(capacity + TB, copies, overcommit) >= limit >= promise_limit(capacity, copies + 1, overcommit)
    assert promise_limit(0, copies, overcommit) == 0
