"""Laws of planning repairs: from where to where, and never where a copy must not go."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from cloudgrpc.core.placement import Candidate
from cloudgrpc.core.repair import Shortage, plan

if TYPE_CHECKING:
    from cloudgrpc.core.repair import CopyOrder

NODES = [f"node{n}" for n in range(7)]
SOME_NODES = st.lists(st.sampled_from(NODES), unique=True, max_size=5)
LENGTHS = st.integers(1, 100)
FEW = settings(max_examples=40)


@dataclass(frozen=True)
class Case:
    shortages: list[Shortage]
    takers: dict[str, Candidate]
    online: frozenset[str]
    draws: list[float]

    def plan(self) -> list[CopyOrder]:
        draws = itertools.cycle(self.draws)
        return plan(self.shortages, self.takers, self.online, lambda: next(draws))

    def shortage(self, chunk_id: str) -> Shortage:
        return next(one for one in self.shortages if one.chunk_id == chunk_id)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    shortages = [
        Shortage(
            chunk_id=f"chunk{number}",
            length=draw(LENGTHS),
            checksum=f"sum{number}",
            holders=tuple(draw(SOME_NODES)),
            barred=frozenset(draw(SOME_NODES)),
            missing=draw(st.integers(1, 3)),
        )
        for number in range(draw(st.integers(0, 8)))
    ]
    online = frozenset(draw(st.lists(st.sampled_from(NODES), unique=True)))
    free = draw(st.lists(st.integers(0, 300), min_size=len(NODES), max_size=len(NODES)))
    suspects = draw(SOME_NODES)
    takers = {
        node: Candidate(node, room, node in suspects)
        for node, room in zip(NODES, free, strict=True)
        if node in online and draw(st.booleans())
    }
    return Case(shortages, takers, online, draw(st.lists(st.floats(1e-9, 0.999), min_size=1, max_size=20)))


@FEW
@given(cases())
def test_no_copy_goes_to_a_node_that_holds_the_chunk_is_barred_from_it_or_takes_none(case: Case) -> None:
    for order in case.plan():
        shortage = case.shortage(order.chunk_id)
        assert order.target in case.takers
        assert order.target not in shortage.holders
        assert order.target not in shortage.barred


@FEW
@given(cases())
def test_no_node_is_sent_more_than_it_has_room_for(case: Case) -> None:
    planned: Counter[str] = Counter()
    for order in case.plan():
        planned[order.target] += order.length
    assert all(planned[node] <= case.takers[node].free_bytes for node in planned)


@FEW
@given(cases())
def test_a_chunk_gets_no_more_copies_than_are_missing_and_each_on_a_node_of_its_own(case: Case) -> None:
    targets: dict[str, list[str]] = {}
    for order in case.plan():
        targets.setdefault(order.chunk_id, []).append(order.target)
    for chunk_id, nodes in targets.items():
        assert len(nodes) <= case.shortage(chunk_id).missing
        assert len(nodes) == len(set(nodes))


@FEW
@given(cases())
def test_a_copy_is_read_from_holders_that_are_online_and_carries_the_chunks_own_facts(case: Case) -> None:
    for order in case.plan():
        shortage = case.shortage(order.chunk_id)
        assert order.sources
        assert set(order.sources) == set(shortage.holders) & case.online
        assert (order.length, order.checksum) == (shortage.length, shortage.checksum)


@FEW
@given(cases())
def test_the_rarest_chunk_is_copied_first(case: Case) -> None:
    rarity = [len(case.shortage(order.chunk_id).holders) for order in case.plan()]
    assert rarity == sorted(rarity)


@FEW
@given(cases())
def test_every_chunk_that_can_be_read_and_has_a_roomy_node_left_gets_a_copy(case: Case) -> None:
    orders = case.plan()
    served = {order.chunk_id for order in orders}
    used: Counter[str] = Counter()
    for order in orders:
        used[order.target] += order.length
    for shortage in case.shortages:
        if shortage.chunk_id in served or not set(shortage.holders) & case.online:
            continue
        for node in case.takers.values():
            has_room = node.free_bytes - used[node.node_id] >= shortage.length
            assert not has_room or node.node_id in {*shortage.holders, *shortage.barred}


def shortage(chunk_id: str, *holders: str, missing: int = 1, spread: int = 0, is_urgent: bool = True) -> Shortage:
    return Shortage(chunk_id, 1, "sum", holders, frozenset(), missing, spread, holders, is_urgent)


def test_what_would_be_lost_sooner_comes_first_however_rare_the_rest_is() -> None:
    takers = {"taker": Candidate("taker", 100)}
    short = [shortage("leaving", "node1", is_urgent=False), shortage("urgent", "node1", "node2")]
    orders = plan(short, takers, frozenset(NODES), lambda: 0.5)
    assert [(order.chunk_id, order.is_urgent) for order in orders] == [("urgent", True), ("leaving", False)]


def test_a_copy_for_the_sake_of_a_zone_goes_to_a_zone_without_one_or_nowhere() -> None:
    zones = {"node1": "a", "node2": "a"}
    same, other = Candidate("same", 1000, zone="a"), Candidate("other", 1, zone="b")
    short = [shortage("chunk", "node1", "node2", spread=1)]
    for takers, targets in (([same, other], ["other"]), ([same], []), ([], [])):
        orders = plan(short, {one.node_id: one for one in takers}, frozenset(zones), lambda: 0.5, zones)
        assert [order.target for order in orders] == targets


def test_a_missing_copy_goes_to_another_zone_first_but_rather_to_the_same_than_nowhere() -> None:
    zones = {"node1": "a"}
    same, other = Candidate("same", 1000, zone="a"), Candidate("other", 1, zone="b")
    for takers, target in (([same, other], "other"), ([same], "same")):
        orders = plan(
            [shortage("chunk", "node1")], {one.node_id: one for one in takers}, frozenset(zones), lambda: 0.5, zones
        )
        assert [order.target for order in orders] == [target]
