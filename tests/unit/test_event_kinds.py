"""The table of events: it has every kind that is recorded, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import cloudgrpc
from cloudgrpc.core.event_kinds import KINDS, REFUSAL, is_recorded, kinds_of
from cloudgrpc.errors import AdminKeyWrong, AdminRoleTooLow, InvalidField, Missing, NotSignedIn, QuotaExceeded

PACKAGE = Path(cloudgrpc.__file__).parent
SOURCES = {path: path.read_text() for folder in ("meta", "actions") for path in (PACKAGE / folder).glob("*.py")}
# What an event is recorded with; a payment's kinds are told without what they all begin with.
RECORDS = re.compile(r"\b(?:_?record|change|note_act)\b")


def literals() -> set[str]:
    return {one for text in SOURCES.values() if RECORDS.search(text) for one in re.findall(r'"([a-z_.]+)"', text)}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith(REFUSAL)])
def test_every_kind_of_the_table_is_recorded_somewhere(kind: str) -> None:
    assert {kind, kind.removeprefix("payment.")} & literals()


def test_refusals_are_recorded_of_who_may_not_and_of_who_does_too_much() -> None:
    assert all(is_recorded(kind) for kind in (NotSignedIn, AdminKeyWrong(), AdminRoleTooLow))
    assert not is_recorded(QuotaExceeded), "a full drive is nobody's attack"
    assert not is_recorded(Missing)
    assert {f"{REFUSAL}{AdminKeyWrong.code}", f"{REFUSAL}{AdminRoleTooLow.code}"} <= KINDS.keys()


def test_a_type_is_a_kind_or_with_a_dot_at_its_end_the_beginning_of_some() -> None:
    assert kinds_of(["node.joined"]) == {"node.joined"}
    assert kinds_of(["node.", "code.made"]) == {"code.made", *(kind for kind in KINDS if kind.startswith("node."))}
    assert f"{REFUSAL}{AdminKeyWrong.code}" in kinds_of(["refused."])
    assert kinds_of([]) == set()


@pytest.mark.parametrize(
    "told", ["", ".", "node", "node.join", "nodes.", "node.joined.", "NODE.", "node.joined\0", "*"]
)
def test_a_type_that_means_nothing_is_refused(told: str) -> None:
    with pytest.raises(InvalidField, match="types"):
        kinds_of(["node.", told])


def test_so_many_types_are_no_filter() -> None:
    assert kinds_of(["node.joined"] * 100) == {"node.joined"}
    with pytest.raises(InvalidField, match="100"):
        kinds_of(["node.joined"] * 101)
