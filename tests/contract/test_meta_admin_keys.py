"""The keys of single operators: given, found by what is shown, and revoked; and that guessing does not pay."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from cloudgrpc.actions.admins import Admins
from cloudgrpc.core.operators import OWN_KEY, Operator, Role
from cloudgrpc.core.peers import VISITOR, Visitor
from cloudgrpc.errors import (
    AdminKeyTaken,
    AdminKeyUnknown,
    AdminKeyWrong,
    AdminRoleTooLow,
    CloudError,
    InvalidField,
    TooManyTries,
)
from cloudgrpc.meta.models import DATABASE, AdminKey

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from contract.meta_fixture import Meta

OWN = "the gateway's very own key, long enough"
TRIES = 5
OWNER = Operator(OWN_KEY, Role.OWN)
MINUTE_US = 60_000_000


class Office:
    """The admins of one gateway; `act` is a moment in its life."""

    def __init__(self, meta: Meta) -> None:
        self.meta = meta
        self.admins = Admins(meta.database, OWN, TRIES)

    def act(self, *doings: Coroutine[Any, Any, Any], host: str = "192.0.2.1") -> list[Any]:
        """All at once, from one host; answers and errors."""

        async def together() -> list[Any]:
            VISITOR.set(Visitor("", host, "a test"))
            return await asyncio.gather(*doings, return_exceptions=True)

        answers = asyncio.run(together())
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, CloudError):
                raise answer
        return answers

    def do(self, doing: Coroutine[Any, Any, Any], host: str = "192.0.2.1") -> Any:
        (answer,) = self.act(doing, host=host)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def add(self, name: str, role: str = "operate") -> str:
        return str(self.do(self.admins.add(OWNER, name, role)))

    def check(self, key: str, needs: Role = Role.VIEW) -> Operator:
        operator: Operator = self.do(self.admins.check(key, needs))
        return operator


@pytest.fixture
def office(database: Meta) -> Office:
    return Office(database)


def test_a_key_opens_what_its_role_may(office: Office) -> None:
    view, operate = office.add("looker", "view"), office.add("night-shift")
    assert office.check(OWN, Role.OWN) == OWNER
    assert office.check(operate, Role.OPERATE) == Operator("night-shift", Role.OPERATE)
    assert office.check(operate, Role.VIEW).name == "night-shift"
    assert office.check(view, Role.VIEW) == Operator("looker", Role.VIEW)
    for key, needs in ((view, Role.OPERATE), (view, Role.OWN), (operate, Role.OWN)):
        with pytest.raises(AdminRoleTooLow):
            office.check(key, needs)


def test_a_role_too_low_is_no_wrong_guess(office: Office) -> None:
    view = office.add("looker", "view")
    for _ in range(TRIES + 3):
        with pytest.raises(AdminRoleTooLow, match="looker has the role view; this needs the role operate"):
            office.check(view, Role.OPERATE)
    assert office.check(view).name == "looker"


def test_only_the_digest_of_a_key_is_kept(office: Office) -> None:
    key = office.add("somebody")
    assert len(key) >= 43
    stored = repr(office.meta.digest())
    assert key not in stored
    assert hashlib.sha256(key.encode()).hexdigest() in stored


def test_a_revoked_key_opens_nothing_at_any_gateway_and_its_name_stays_taken(office: Office) -> None:
    key, other = office.add("somebody"), Office(office.meta)
    operator = other.check(key)
    other.do(other.admins.check_still(operator))
    assert office.do(office.admins.revoke(OWNER, "somebody"))
    with pytest.raises(AdminKeyWrong):
        other.check(key)
    with pytest.raises(AdminKeyWrong):
        other.do(other.admins.check_still(operator))
    assert not office.do(office.admins.revoke(OWNER, "somebody")), "it was before"
    with pytest.raises(AdminKeyTaken):
        office.add("somebody", "view")
    (kept,) = office.do(office.admins.keys())
    assert (kept.name, kept.role, kept.created_by, kept.revoked_at is None) == ("somebody", "operate", OWN_KEY, False)
    office.do(office.admins.check_still(OWNER))


def test_giving_and_revoking_are_an_event_each_that_names_the_operator(office: Office) -> None:
    office.add("somebody", "view")
    for _ in range(2):
        office.do(office.admins.revoke(OWNER, "somebody"))
    told = office.meta.rows("SELECT kind, details FROM event WHERE kind > 'admin_key.' ORDER BY event_id")
    told = [row for row in told if row[0].startswith("admin_key.")]
    assert [kind for kind, _ in told] == ["admin_key.added", "admin_key.revoked"]
    for _, details in told:
        assert json.loads(details) == {"by": "operator", "operator": OWN_KEY, "name": "somebody"}


@pytest.mark.parametrize("name", ["", "-a", ".a", "A", "é", "a b", "a\0", "a\n", "a" * 64, "a/b"])
def test_names_are_plain_and_short(office: Office, name: str) -> None:
    with pytest.raises(InvalidField, match="name"):
        office.add(name)
    with pytest.raises(AdminKeyUnknown):
        office.do(office.admins.revoke(OWNER, name))
    assert office.add("a.b_c-0" * 9)


@pytest.mark.parametrize("role", ["", "own", "VIEW", "view "])
def test_a_role_that_nobody_can_give_is_refused(office: Office, role: str) -> None:
    with pytest.raises(InvalidField, match="role"):
        office.add("somebody", role)
    assert office.do(office.admins.keys()) == []


def test_two_who_give_the_same_name_at_once_do_not_both(office: Office) -> None:
    answers = office.act(*(office.admins.add(OWNER, "same", "view") for _ in range(6)))
    assert sum(isinstance(answer, str) for answer in answers) == 1
    assert sum(isinstance(answer, AdminKeyTaken) for answer in answers) == 5


def test_the_last_use_is_known_to_the_minute(office: Office) -> None:
    key = office.add("somebody")

    def used_at() -> int | None:
        at: int | None = office.meta.run(AdminKey.get_by_id, "somebody").last_used_at
        return at

    assert used_at() is None
    office.check(key)
    first = used_at()
    assert first is not None
    assert first % MINUTE_US == 0
    office.meta.age("admin_key", "last_used_at", 30_000_000)
    within = used_at()
    office.check(key)
    assert within is not None
    if time.time() * 1e6 - within < MINUTE_US:
        assert used_at() == within, "not written for every call"
    office.meta.age("admin_key", "last_used_at", 5 * MINUTE_US)
    office.check(key)
    now_at = used_at()
    assert now_at is not None
    assert now_at >= first


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_key_opens_the_views_also_while_nothing_can_be_written(office: Office) -> None:
    """As on a full disk: that is when operators come to look."""
    key = office.add("grafana", "view")
    office.meta.run(lambda: DATABASE.execute_sql("PRAGMA query_only = 1"))
    try:
        assert office.check(key).name == "grafana"
    finally:
        office.meta.run(lambda: DATABASE.execute_sql("PRAGMA query_only = 0"))


# Guessing


def test_who_guessed_too_often_is_not_told_whether_a_key_is_right_others_are(office: Office) -> None:
    key = office.add("somebody")
    for _ in range(TRIES):
        with pytest.raises(AdminKeyWrong):
            office.check("wrong")
    for shown in ("wrong", key, OWN):
        with pytest.raises(TooManyTries):
            office.check(shown)
    operator: Operator = office.do(office.admins.check(key), host="198.51.100.2")
    assert operator.name == "somebody"


@pytest.mark.parametrize("right", [OWN, "named"])
def test_a_right_guess_in_a_burst_of_wrong_ones_is_not_looked_at(office: Office, right: str) -> None:
    key = office.add("named") if right == "named" else right
    guesses = [f"wrong {n}" for n in range(60)]
    answers = office.act(*(office.admins.check(guess) for guess in [*guesses, key, *guesses]))
    assert not [answer for answer in answers if isinstance(answer, Operator)]
    assert sum(isinstance(answer, AdminKeyWrong) for answer in answers) == TRIES
    assert sum(isinstance(answer, TooManyTries) for answer in answers) == 121 - TRIES


def test_good_keys_do_not_wait_for_the_guesses_of_others(office: Office) -> None:
    """Twenty dashboards ask at once, while somebody elsewhere guesses."""
    key = office.add("dashboard", "view")

    judged: list[None] = []

    async def look() -> int:
        VISITOR.set(Visitor("", "192.0.2.1", "a dashboard"))
        for _ in range(50):
            await office.admins.check(key, Role.VIEW)
        return len(judged)

    async def guess_once() -> None:
        with suppress(CloudError):
            await office.admins.check("wrong")
        judged.append(None)

    async def guess() -> None:
        VISITOR.set(Visitor("", "198.51.100.2", "a guesser"))
        await asyncio.gather(*(guess_once() for _ in range(200)))

    (judged_meanwhile, _) = office.act(look(), guess())
    assert judged_meanwhile < 150
    assert not office.admins._guesses, "nothing is kept of hosts that are done"
