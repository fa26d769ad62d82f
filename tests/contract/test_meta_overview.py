"""What operators look at: the whole in figures, nodes, and accounts; on both engines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cloudgrpc.errors import UserUnknown
from cloudgrpc.meta import changes, closing, overview, users
from contract.meta_fixture import GB, HOUR, NOT_IDS, SECOND, Meta

if TYPE_CHECKING:
    from cloudgrpc.meta.accounts import Caller
    from cloudgrpc.meta.overview import Overview
    from cloudgrpc.meta.users import Details, User

DAY = 24 * HOUR


def figures(database: Meta) -> Overview:
    return database.read(overview.overview)


def listed(database: Meta, search: str = "", limit: int = 100) -> list[User]:
    return database.read(users.page, search, None, limit)[0]


def details(database: Meta, user: str) -> Details:
    return database.read(users.details, user, 100, 20, 50)


def pay(
    database: Meta, person: Caller, payment_id: str, state: str, *, begun: int, completed: int | None = None
) -> None:
    database.sql(
        "INSERT INTO payment (payment_id, account_id, email, tier_id, tier_name, mode, provider, phone, state,"
        " storage_bytes, price_xaf, amount_xaf, created_at, completed_at) VALUES"
        f" ('{payment_id}', '{person.account_id}', '{person.email}', '{payment_id}', 't', 'demo', 'mtn', '2',"
        f" '{state}', {GB}, 500, 10, {begun}, {completed or 'NULL'})"
    )


# The whole


def test_an_empty_database_has_figures_too(database: Meta) -> None:
    told = figures(database)
    assert (told.users, told.allocated_bytes, told.used_bytes, told.sessions, told.uploads) == (0, 0, 0, 0, 0)
    assert told.restored_at is None


def test_the_figures_are_sums_of_what_is_there(database: Meta) -> None:
    alice, bob = database.enroll(GB), database.enroll(2 * GB)
    database.put(alice, "a", 10)
    database.put(bob, "b", 20)
    database.begin(bob, "c", 5)
    told = figures(database)
    assert (told.users, told.allocated_bytes, told.used_bytes) == (2, 3 * GB, 30)
    assert (told.sessions, told.uploads, told.disabled_users) == (2, 1, 0)
    assert told.capacity_bytes == 1 << 60


def test_what_ran_out_is_not_counted(database: Meta) -> None:
    alice = database.enroll()
    database.begin(alice, "a", 5)
    database.age("upload", "lease_until_at", 2 * HOUR)
    database.age("session", "expires_at", 2 * HOUR)
    told = figures(database)
    assert (told.sessions, told.uploads) == (0, 0)


def test_an_account_that_was_removed_is_not_counted(database: Meta) -> None:
    alice = database.enroll()
    database.sql(f"UPDATE account SET closes_at = 1 WHERE account_id = '{alice.account_id}'")
    assert database.run(closing.remove, alice.account_id)
    assert figures(database).users == 0
    assert listed(database) == []
    with pytest.raises(UserUnknown):
        details(database, alice.account_id)


def test_payments_count_on_the_day_they_were_begun_and_money_on_the_day_it_came(database: Meta) -> None:
    alice = database.enroll()
    told, today = figures(database), 0
    while told.asked_at // DAY * DAY != today:  # again, should midnight come in between
        today = told.asked_at // DAY * DAY
        database.sql("DELETE FROM payment")
        pay(database, alice, "1", "completed", begun=today - SECOND, completed=today)
        pay(database, alice, "2", "completed", begun=today - DAY, completed=today - 1)
        pay(database, alice, "3", "completed", begun=today, completed=today)
        pay(database, alice, "4", "pending", begun=today)
        told = figures(database)
    assert told.payments_today == {"completed": 1, "pending": 1}
    assert told.revenue_today_xaf == 20
    assert told.promised_bytes == told.allocated_bytes + GB  # what is under way is promised too


def test_payments_that_wait_for_an_operator_are_counted(database: Meta) -> None:
    alice = database.enroll()
    pay(database, alice, "1", "processing", begun=1)
    database.sql("UPDATE payment SET attention = 'look'")
    assert figures(database).payments_attention == 1


def test_a_node_that_is_drained_tells_what_is_left_on_it(database: Meta) -> None:
    alice = database.enroll()
    database.add_node("node1")
    database.put(alice, "a", 1, 1, on=["node1"])
    assert [node.copies_left for node in database.read(overview.node_records)] == [0, 0]
    database.sql("UPDATE node SET draining_at = 1 WHERE node_id = 'node1'")
    left = {node.row.node_id: node.copies_left for node in database.read(overview.node_records)}
    assert left == {"node1": 2, "pool": 0}


# Accounts


def test_accounts_are_listed_the_newest_first_with_files_and_sessions(database: Meta) -> None:
    alice, bob = database.enroll(), database.enroll()
    for name in ("a", "b", "c"):
        database.put(alice, name, 1)
    gone = database.mkdir(alice, "gone")
    database.put(alice, "inner", 1, parent_id=gone)
    database.run(changes.trash, alice, gone)
    told = listed(database)
    assert [user.account.email for user in told] == [bob.email, alice.email]
    assert [(user.files, user.sessions) for user in told] == [(0, 1), (3, 1)]


def test_pages_of_accounts_give_each_once(database: Meta) -> None:
    people = [database.enroll().email for _ in range(7)]
    database.sql("UPDATE account SET created_at = 1")  # the same moment, as when many are brought in at once
    found, after = list[str](), None
    for _ in range(4):
        page, after = database.read(users.page, "", after, 2)
        found += [user.account.email for user in page]
    assert after is None
    assert sorted(found) == sorted(people)


@pytest.mark.parametrize("search", ["ÉLODIE", "éLo", "erson A", "x@EXAMPLE"])
def test_a_search_finds_in_address_and_name_whatever_the_case(database: Meta, search: str) -> None:
    database.enroll()
    wanted = database.enroll()
    database.sql(
        "UPDATE account SET full_name = 'Élodie Person A', email = 'xx@example.com'"
        f" WHERE account_id = '{wanted.account_id}'"
    )
    database.sql(f"UPDATE account SET full_name = 'Other' WHERE account_id <> '{wanted.account_id}'")
    assert [user.account.account_id for user in listed(database, search)] == [wanted.account_id]


def test_a_search_is_paged_as_well(database: Meta) -> None:
    for _ in range(5):
        database.enroll()
    page, after = database.read(users.page, "person", None, 3)
    assert len(page) == 3
    rest, end = database.read(users.page, "PERSON", after, 3)
    assert len(rest) == 2
    assert end is None
    assert not {user.account.email for user in page} & {user.account.email for user in rest}


def test_details_are_found_by_id_and_by_address(database: Meta) -> None:
    alice = database.enroll()
    for told in (alice.account_id, alice.email, f" {alice.email.upper()} "):
        assert details(database, told).user.account.account_id == alice.account_id


@pytest.mark.parametrize("user", [*NOT_IDS, "", "nobody@example.org"])
def test_nobody_is_found_by_what_is_none(database: Meta, user: str) -> None:
    database.enroll()
    with pytest.raises(UserUnknown):
        details(database, user)


def test_details_show_the_newest_live_files(database: Meta) -> None:
    alice, bob = database.enroll(), database.enroll()
    database.put(bob, "not hers", 1)
    folder = database.mkdir(alice, "folder")
    kept = [database.put(alice, f"f{number}", 1, parent_id=folder if number % 2 else "") for number in range(5)]
    gone = database.mkdir(alice, "gone")
    database.put(alice, "inner", 1, parent_id=gone)
    database.run(changes.trash, alice, gone)
    database.run(changes.trash, alice, kept[4])
    database.put(alice, "f1", 9, parent_id=folder)  # the newest now
    told = details(database, alice.email)
    assert [file.name for file in told.files] == ["f1", "f3", "f2", "f0"]
    assert (told.files[0].size_bytes, told.files[0].version) == (9, 2)
    assert told.user.files == 4
    assert told.usage.trash_bytes == 2
    assert told.usage.version_bytes == 1
    assert told.usage.total_folders == 1


def test_the_newest_live_files_are_found_behind_many_deleted_ones(
    database: Meta, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users, "FILES_AT_ONCE", 2)
    alice = database.enroll()
    database.put(alice, "old", 1)
    gone = database.mkdir(alice, "gone")
    for number in range(5):
        database.put(alice, f"f{number}", 1, parent_id=gone)
    database.run(changes.trash, alice, gone)
    assert [file.name for file in details(database, alice.email).files] == ["old"]


def test_details_show_sessions_payments_and_events(database: Meta) -> None:
    alice = database.enroll()
    pay(database, alice, "older", "failed", begun=1)
    pay(database, alice, "newer", "pending", begun=2)
    told = details(database, alice.email)
    assert len(told.sessions) == 1
    assert [payment.payment_id for payment in told.payments] == ["newer", "older"]
    assert [event.kind for event in told.events][-1] == "account.enrolled"
    assert {event.account_id for event in told.events} == {alice.account_id}
