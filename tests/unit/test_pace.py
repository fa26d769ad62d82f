"""How often something may be done, and who is counted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudgrpc.core.pace import Rule, in_seconds, per_hour, take_turn
from cloudgrpc.core.peers import Visitor, visitor_of


def taken(rule: Rule, moments: list[int]) -> list[int]:
    """The moments at which a turn was taken, of those at which one was asked for."""
    due_at, took = 0, []
    for moment in moments:
        due_at, wait = take_turn(rule, due_at, moment)
        if not wait:
            took.append(moment)
    return took


def test_as_many_at_once_as_allowed_then_one_by_one() -> None:
    rule = Rule("", 10, 3)
    assert taken(rule, [100] * 5 + [109, 110, 110, 119, 120]) == [100, 100, 100, 110, 120]


def test_who_waits_as_told_is_let_in_and_who_comes_a_moment_earlier_is_not() -> None:
    rule = Rule("", 7, 2)
    due_at, _ = take_turn(rule, 0, 50)
    due_at, _ = take_turn(rule, due_at, 50)
    _, wait = take_turn(rule, due_at, 51)
    assert take_turn(rule, due_at, 51 + wait - 1)[1] > 0
    assert take_turn(rule, due_at, 51 + wait)[1] == 0


@given(
    every=st.integers(1, 100),
    at_once=st.integers(1, 20),
    gaps=st.lists(st.integers(0, 150), max_size=200),
    window=st.integers(0, 2_000),
)
def test_in_no_window_is_more_done_than_the_rule_says(every: int, at_once: int, gaps: list[int], window: int) -> None:
    moments, moment = [], 10**9
    for gap in gaps:
        moment += gap
        moments.append(moment)
    took = taken(Rule("", every, at_once), moments)
    for start in took:
        assert sum(start <= one <= start + window for one in took) <= at_once + window // every


def test_an_hours_worth_may_come_at_once() -> None:
    assert len(taken(per_hour("", 10), [10**12] * 30)) == 10
    assert len(taken(per_hour("", 10), [10**12 + n * 1_000_000 for n in range(7200)])) in {29, 30}


@pytest.mark.parametrize(("wait", "seconds"), [(0, 0), (1, 1), (1_000_000, 1), (1_000_001, 2)])
def test_seconds_are_rounded_up(wait: int, seconds: int) -> None:
    assert in_seconds(wait) == seconds


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("ipv4:192.0.2.1:4000", "192.0.2.1"),
        ("ipv6:%5B::1%5D:4000", "::1"),
        ("ipv6:[2001:db8:1:2:3:4:5:6]:4000", "2001:db8:1:2::/64"),
        ("unix:/run/socket", "/run/socket"),
        ("", ""),
    ],
)
def test_a_host_is_its_address_or_the_network_it_owns(peer: str, host: str) -> None:
    assert visitor_of(peer, "203.0.113.9", "", behind_proxy=False) == Visitor(peer, host, "")


@pytest.mark.parametrize(
    ("forwarded", "host"), [("", ""), ("203.0.113.9", "203.0.113.9"), ("10.0.0.1, 203.0.113.9", "203.0.113.9")]
)
def test_behind_a_proxy_counts_what_the_proxy_saw_and_no_connection_proves_anything(forwarded: str, host: str) -> None:
    assert visitor_of("ipv4:127.0.0.1:1", forwarded, "", behind_proxy=True) == Visitor("", host, "")


def test_what_a_client_says_of_itself_is_cut_and_cleaned() -> None:
    assert visitor_of("", "", "a\nb\x1b" + "c" * 200, behind_proxy=False).client == "ab" + "c" * 96
